package discovery

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Inside the package a name is its text in lower case without the last dot
// ("web.front"), in letters, digits, "-" and "_" only. So the text stands for one name
// on the wire, no escapes are needed, and a question with any other byte in it is not
// for a name of ours.

// Sizes in bytes (RFC 1035, 2.3.4).
const (
	maxName  = 253 // as text without the last dot; 255 on the wire
	maxLabel = 63
)

// fold is what a byte of a label is in a name, 0 when it cannot be in one.
var fold = func() (t [256]byte) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			t[c] = byte(c)
		case c >= 'A' && c <= 'Z':
			t[c] = byte(c + 'a' - 'A')
		}
	}
	return t
}()

// normalize returns s as a name, and whether it can be one.
func normalize(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > maxName {
		return "", false
	}
	lower, label := true, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if label == 0 {
				return "", false
			}
			label = 0
		case fold[c] == 0, label == maxLabel:
			return "", false
		default:
			lower = lower && fold[c] == c
			label++
		}
	}
	if label == 0 {
		return "", false
	}
	if !lower {
		s = strings.ToLower(s)
	}
	return s, true
}

// normalizeOwner is normalize for the name of a record, which may be a wildcard: its
// first label is then "*" (RFC 4592, 2.1.1).
func normalizeOwner(s string) (string, bool) {
	if rest, wild := strings.CutPrefix(s, "*."); wild {
		rest, ok := normalize(rest)
		return "*." + rest, ok && len(rest)+2 <= maxName
	}
	if strings.TrimSuffix(s, ".") == "*" {
		return "*", true
	}
	return normalize(s)
}

// wireName appends to dst the name that is on the wire at msg[at:], and returns it with
// the offset behind it. With ok false the name is malformed, compressed, the root, or
// can be none of ours.
func wireName(dst, msg []byte, at int) (name []byte, end int, ok bool) {
	name = dst
	for {
		if at >= len(msg) {
			return name, at, false
		}
		n := int(msg[at])
		at++
		if n == 0 {
			return name, at, len(name) > len(dst)
		}
		if n > maxLabel || at+n > len(msg) || len(name)-len(dst)+n+1 > maxName+1 {
			return name, at, false
		}
		if len(name) > len(dst) {
			name = append(name, '.')
		}
		for _, c := range msg[at : at+n] {
			f := fold[c]
			if f == 0 {
				return name, at, false
			}
			name = append(name, f)
		}
		at += n
	}
}

// reverseAddr returns the address that a name of the reverse tree stands for: all four
// octets under in-addr.arpa (RFC 1035, 3.5) or all 32 nibbles under ip6.arpa (RFC 3596,
// 2.5).
func reverseAddr(name string) (a netip.Addr, ok bool) {
	if rest, v4 := strings.CutSuffix(name, ".in-addr.arpa"); v4 {
		f := strings.Split(rest, ".")
		if len(f) != 4 {
			return a, false
		}
		a, err := netip.ParseAddr(f[3] + "." + f[2] + "." + f[1] + "." + f[0])
		return a, err == nil && a.Is4()
	}
	rest, v6 := strings.CutSuffix(name, ".ip6.arpa")
	if !v6 || len(rest) != 63 {
		return a, false
	}
	var b [16]byte
	for i := range 32 {
		c := rest[62-2*i]
		n := strings.IndexByte("0123456789abcdef", c)
		if n < 0 || i < 31 && rest[61-2*i] != '.' {
			return a, false
		}
		b[i/2] |= byte(n) << (4 * (1 - i%2))
	}
	return netip.AddrFrom16(b), true
}

// reverseName is the name of an address in the reverse tree.
func reverseName(a netip.Addr) string {
	s, err := dns.ReverseAddr(a.Unmap().WithZone("").String())
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(s, ".")
}
