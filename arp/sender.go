package arp

import (
	"net/netip"

	"weft/internal/frame"
)

// Sender returns the binding of address to MAC that an ARP packet, of whatever
// operation, a neighbour or router solicitation or a neighbour advertisement
// claims, as its receivers would note it. ok is false for other frames and for
// malformed ones. A sender that claims no address yet (ARP probe, duplicate
// address detection) yields the unspecified one. f must have been parsed.
//
// For an advertisement the claim is the target's, which need not be the source
// of the IP packet (RFC 4861, 7.2.5).
func Sender(f *frame.Frame) (addr netip.Addr, mac frame.MAC, ok bool) {
	switch f.View.EtherType {
	case frame.EtherARP:
		p, v := arpBytes(f)
		if v != Reply {
			return netip.Addr{}, frame.MAC{}, false
		}
		return netip.AddrFrom4([4]byte(p[offSPA:])), frame.MAC(p[offSHA:]), true
	case frame.EtherIPv6:
		var n nd
		if n.read(f) != Reply {
			return netip.Addr{}, frame.MAC{}, false
		}
		mac = f.SrcMAC()
		if n.hasLink {
			mac = n.link
		}
		if n.icmp[0] == typeNA {
			return n.target(), mac, true
		}
		return n.src(), mac, true
	}
	return netip.Addr{}, frame.MAC{}, false
}

// Malformed reports whether f speaks ARP or neighbour discovery and breaks its
// rules, so that nothing may act on it. f must have been parsed.
func Malformed(f *frame.Frame) bool {
	if f.View.EtherType == frame.EtherARP {
		_, v := arpBytes(f)
		return v == Bad
	}
	var n nd
	return n.read(f) == Bad
}
