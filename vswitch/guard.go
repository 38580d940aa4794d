package vswitch

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"weft/arp"
	"weft/internal/frame"
)

// Theory of operation.
//
// The guard is on for every port that has a MAC of its own. Nothing that came
// from such a port may claim to be somebody else: the Ethernet source, the IP
// source, and the sender binding of ARP and neighbour discovery must be the
// endpoint's own. Router advertisements and redirects (RFC 6105) and DHCP server
// messages are dropped unless allowed. It works on the frame alone and runs
// before learning, so that a refused frame leaves no trace in any table.
//
// Allowed besides the endpoint's own addresses: the unspecified source, with
// which a host asks before it has an address (RFC 5227 ARP probes, RFC 2131
// DHCP discover, RFC 4862 duplicate address detection, RFC 2710 and RFC 3810
// reports), and the link-local address that EUI-64 derives from its MAC.

type guard struct {
	on                 bool
	mac                frame.MAC
	ip4                []uint32
	ip6                [][16]byte
	allowRA, allowDHCP bool
}

func newGuard(c *PortConfig) guard {
	g := guard{on: c.MAC != frame.MAC{}, mac: c.MAC, allowRA: c.AllowRA, allowDHCP: c.AllowDHCP}
	for _, a := range c.Addrs {
		if a = a.Unmap(); a.Is4() {
			b := a.As4()
			g.ip4 = append(g.ip4, binary.BigEndian.Uint32(b[:]))
		} else {
			g.ip6 = append(g.ip6, a.As16())
		}
	}
	g.ip6 = append(g.ip6, linkLocal(c.MAC))
	return g
}

// linkLocal returns the EUI-64 link-local address of a MAC (RFC 4291, 2.5.6 and
// appendix A).
func linkLocal(m frame.MAC) [16]byte {
	return [16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}
}

// check is the guard step: NotDropped, or why the frame may not pass. The frame
// has been parsed.
func (g *guard) check(f *frame.Frame) frame.Reason {
	if !g.on {
		return frame.NotDropped
	}
	if f.SrcMAC() != g.mac {
		return frame.SpoofedMAC
	}
	switch f.View.EtherType {
	case frame.EtherIPv4:
		return g.check4(f)
	case frame.EtherIPv6:
		return g.check6(f)
	case frame.EtherARP:
		return g.checkSender(f)
	}
	return frame.NotDropped
}

func (g *guard) check4(f *frame.Frame) frame.Reason {
	b := f.Bytes()
	src := binary.BigEndian.Uint32(b[f.View.L3+12:])
	if src != 0 && !g.own4(src) {
		return frame.SpoofedIP
	}
	if f.View.Proto == frame.ProtoUDP && f.View.L4 != 0 && !g.allowDHCP && srcPort(f) == dhcpServer {
		return frame.DHCPGuard
	}
	return frame.NotDropped
}

// UDP source ports of DHCP servers: RFC 2131, 4.1 and RFC 9915 (DHCPv6), 7.2.
const (
	dhcpServer  = 67
	dhcp6Server = 547
)

func srcPort(f *frame.Frame) uint16 { return binary.BigEndian.Uint16(f.Bytes()[f.View.L4:]) }

func (g *guard) check6(f *frame.Frame) frame.Reason {
	b, v := f.Bytes(), &f.View
	src := [16]byte(b[v.L3+8 : v.L3+24])
	if src != [16]byte{} && !g.own6(&src) {
		return frame.SpoofedIP
	}
	if v.L4 == 0 {
		return g.hidden6(v)
	}
	switch v.Proto {
	case frame.ProtoUDP:
		if !g.allowDHCP && srcPort(f) == dhcp6Server {
			return frame.DHCPGuard
		}
	case frame.ProtoICMPv6:
		switch b[v.L4] {
		case icmp6RA, icmp6Redirect:
			if !g.allowRA {
				return frame.RAGuard
			}
		case icmp6NS, icmp6NA:
			return g.checkSender(f)
		}
	}
	return frame.NotDropped
}

// ICMPv6 types of neighbour discovery (RFC 4861, 4).
const (
	icmp6RA       = 134
	icmp6NS       = 135
	icmp6NA       = 136
	icmp6Redirect = 137
)

// hidden6 judges an IPv6 packet whose transport could not be seen. Neighbour
// discovery must not hide behind fragments (RFC 6980, 5) or long chains of
// extension headers (RFC 7113, 3).
func (g *guard) hidden6(v *frame.View) frame.Reason {
	switch v.Proto {
	case frame.ProtoICMPv6, 0, 43, 44, 60:
		if !g.allowRA && !v.Fragment {
			return frame.RAGuard
		}
	}
	return frame.NotDropped
}

// checkSender holds the sender binding that an ARP packet or a neighbour
// discovery message claims against the endpoint's own.
func (g *guard) checkSender(f *frame.Frame) frame.Reason {
	addr, mac, ok := arp.Sender(f)
	if !ok {
		return frame.BadARP
	}
	if mac != (frame.MAC{}) && mac != g.mac {
		return frame.SpoofedMAC
	}
	if !addr.IsValid() || addr.IsUnspecified() || g.owns(addr) {
		return frame.NotDropped
	}
	return frame.SpoofedIP
}

func (g *guard) owns(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		return g.own4(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return g.own6(&b)
}

func (g *guard) own4(a uint32) bool    { return slices.Contains(g.ip4, a) }
func (g *guard) own6(a *[16]byte) bool { return slices.Contains(g.ip6, *a) }
