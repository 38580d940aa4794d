package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// Small pieces of text that several listings share.

// shortID is an id as listings show it.
func shortID(id string, whole bool) string {
	if whole || len(id) <= 12 {
		return id
	}
	return id[:12]
}

// ellipsis cuts s to n runes, the last of them an ellipsis, as Docker does with
// commands.
func ellipsis(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

// ago is a moment as a listing shows it: "3 minutes ago".
func ago(t time.Time) string {
	return units.HumanDuration(time.Since(t)) + " ago"
}

// naturalLess orders names with numbers in them as people do: net2 before net10.
func naturalLess(a, b string) bool {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			da, db := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
			if len(da) != len(db) {
				return len(da) < len(db)
			}
			if da != db {
				return da < db
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return a[0] < b[0]
		}
		a, b = a[1:], b[1:]
	}
	return len(a) < len(b)
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// bytesText is a byte count for people, in Docker's decimal units.
func bytesText(n uint64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// rateText is a rate in bits per second.
func rateText(bytesPerSecond float64) string {
	bits := bytesPerSecond * 8
	for _, u := range []string{"bit/s", "kbit/s", "Mbit/s"} {
		if bits < 1000 {
			return fmt.Sprintf("%.3g %s", bits, u)
		}
		bits /= 1000
	}
	return fmt.Sprintf("%.3g Gbit/s", bits)
}
