package cnm

import (
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"strconv"

	"weft/internal/frame"
)

// NewID returns a fresh identifier: 64 lower-case hex digits whose first twelve
// are not all decimal, for those are used as a host name and a program would
// take a number for an address.
func NewID() string {
	var b [32]byte
	for {
		rand.Read(b[:]) // never fails: crypto/rand crashes the program instead
		id := hex.EncodeToString(b[:])
		if _, err := strconv.ParseUint(id[:12], 10, 64); err != nil {
			return id
		}
	}
}

// ShortID returns the first twelve digits, the form shown to users.
func ShortID(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

// IsID reports whether s has the form of a complete identifier.
func IsID(s string) bool { return len(s) == 64 && IsIDPrefix(s) }

// IsIDPrefix reports whether s could be the beginning of an identifier.
func IsIDPrefix(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// MACFromIPv4 returns the address Docker gives an endpoint by its IPv4 address:
// 02:42 and its four bytes. The first byte marks it locally administered.
func MACFromIPv4(a netip.Addr) frame.MAC {
	v4 := a.Unmap().As4()
	return frame.MAC{0x02, 0x42, v4[0], v4[1], v4[2], v4[3]}
}

// RandomMAC returns a random unicast address, locally administered, for
// endpoints without an IPv4 address.
func RandomMAC() frame.MAC {
	var m frame.MAC
	rand.Read(m[:])
	m[0] = m[0]&^1 | 2
	return m
}

// NextIfName returns the first free name of a prefix: eth0, eth1, ... given the
// names in use.
func NextIfName(prefix string, used []string) string {
next:
	for i := 0; ; i++ {
		name := prefix + strconv.Itoa(i)
		for _, u := range used {
			if u == name {
				continue next
			}
		}
		return name
	}
}
