package node

import (
	"crypto/sha256"
	"net/netip"

	"weft/internal/cnm"
	"weft/internal/frame"
)

// deriveMAC returns 02:42 and the four bytes of an IPv4 address, as Docker does;
// for an IPv6 address four bytes of its SHA-256, so that it is as stable.
func deriveMAC(a netip.Addr) frame.MAC {
	if a.Is4() {
		return cnm.MACFromIPv4(a)
	}
	b := a.As16()
	sum := sha256.Sum256(b[:])
	return frame.MAC{0x02, 0x42, sum[0], sum[1], sum[2], sum[3]}
}

// linkLocal returns the address a kernel gives itself on an interface with this
// MAC: fe80::/64 and the modified EUI-64 (RFC 4291, appendix A).
func linkLocal(m frame.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}
