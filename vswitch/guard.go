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
// messages are dropped unless allowed; so are IGMP and MLD queries where the
// switch snoops, for they would draw the network's multicast. It works on the
// frame alone and runs before learning, so that a refused frame leaves no trace in
// any table.
//
// Allowed besides the endpoint's own addresses: the link-local address that
// EUI-64 derives from its MAC, and the unspecified one in what a host sends
// before it has an address (asks4, asks6).
//
// What the guard cannot look into it does not let through: IP behind LLC/SNAP,
// an IPv6 header chain longer than Parse walks or cut before its end.

type guard struct {
	on                 bool
	mac                frame.MAC
	ip4                []uint32
	ip6                [][16]byte
	allowRA, allowDHCP bool
	noQuery            bool // on a network that snoops, whoever asks is a router
}

func newGuard(c *PortConfig) guard {
	g := guard{on: c.MAC != frame.MAC{}, mac: c.MAC, allowRA: c.AllowRA, allowDHCP: c.AllowDHCP}
	g.noQuery = c.Domain.cfg.Snooping && !c.AllowRA
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
	if hidesIP(f) {
		return frame.LLCGuard
	}
	return frame.NotDropped
}

// hidesIP reports whether a frame with a length in place of an EtherType carries
// IP, ARP or a VLAN tag behind LLC and SNAP headers (RFC 1042; IEEE 802.1H has
// the other OUI). Some hosts take it like the Ethernet II frame it stands for.
func hidesIP(f *frame.Frame) bool {
	const maxLength = 1500 // IEEE 802.3, 3.2.6
	if f.View.EtherType > maxLength {
		return false
	}
	b := f.Bytes()[f.View.L3:]
	if len(b) < 8 || b[0]&^1 != 0xaa || b[1]&^1 != 0xaa || b[3] != 0 || b[4] != 0 || b[5] != 0 && b[5] != 0xf8 {
		return false
	}
	switch binary.BigEndian.Uint16(b[6:]) {
	case frame.EtherIPv4, frame.EtherIPv6, frame.EtherARP, frame.EtherVLAN, frame.EtherQinQ:
		return true
	}
	return false
}

func (g *guard) check4(f *frame.Frame) frame.Reason {
	v := &f.View
	src := binary.BigEndian.Uint32(f.Bytes()[v.L3+12:])
	if !g.own4(src) && !(src == 0 && asks4(f)) {
		return frame.SpoofedIP
	}
	if v.Proto == frame.ProtoUDP && !g.allowDHCP && !v.Later && fromServer(f, dhcpServer, dhcpClient) {
		return frame.DHCPGuard
	}
	if v.Proto == protoIGMP && g.noQuery && queries4(f) {
		return frame.QueryGuard
	}
	return frame.NotDropped
}

// asks4 reports whether an IPv4 packet is one that a host without an address
// sends: a DHCP client's (RFC 2131, 4.1), or a group report (RFC 3376, 4.2.13).
func asks4(f *frame.Frame) bool {
	v := &f.View
	if v.Proto == protoIGMP {
		return true
	}
	if v.Proto != frame.ProtoUDP || v.L4 == 0 {
		return false
	}
	src, dst := ports(f)
	return src == dhcpClient && dst == dhcpServer
}

// queries4 reports whether an IGMP packet is a query. What is too short to say
// is malformed, or a first fragment that leaves the answer to the next.
func queries4(f *frame.Frame) bool {
	if f.View.Later {
		return false
	}
	ip := f.Bytes()[f.View.L3:]
	ihl := int(ip[0]&15) * 4
	return int(binary.BigEndian.Uint16(ip[2:])) == ihl || ip[ihl] == igmpQuery
}

const protoIGMP = 2

// The UDP ports of DHCP: RFC 2131, 4.1 and RFC 9915 (DHCPv6), 7.2.
const (
	dhcpServer  = 67
	dhcpClient  = 68
	dhcp6Server = 547
	dhcp6Client = 546
)

// ports returns the source and destination port of a frame with an L4 that has
// them.
func ports(f *frame.Frame) (src, dst uint16) {
	b := f.Bytes()[f.View.L4:]
	return binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
}

// fromServer reports whether a UDP datagram could be a DHCP server's. Clients
// look at the port it is sent to, not at the one it comes from. A first fragment
// too short to hold both could be anybody's.
func fromServer(f *frame.Frame, server, client uint16) bool {
	if f.View.L4 == 0 {
		return true
	}
	src, dst := ports(f)
	return src == server || dst == client
}

func (g *guard) check6(f *frame.Frame) frame.Reason {
	b, v := f.Bytes(), &f.View
	src := [16]byte(b[v.L3+8 : v.L3+24])
	if !g.own6(&src) && !(src == [16]byte{} && asks6(f)) {
		return frame.SpoofedIP
	}
	if v.Later {
		return frame.NotDropped // the first fragment was looked into
	}
	switch v.Proto {
	case frame.ProtoUDP:
		if !g.allowDHCP && fromServer(f, dhcp6Server, dhcp6Client) {
			return frame.DHCPGuard
		}
	case 0, 43, 44, 60:
		return frame.RAGuard // extension headers still, where Parse gave up (RFC 7113, 3)
	case frame.ProtoICMPv6:
		if v.L4 == 0 {
			return frame.RAGuard // cut off in the first fragment (RFC 7112, 5)
		}
		switch b[v.L4] {
		case icmp6RA, icmp6Redirect:
			if !g.allowRA {
				return frame.RAGuard
			}
		case icmp6Query:
			if g.noQuery {
				return frame.QueryGuard
			}
		case icmp6RS, icmp6NS, icmp6NA:
			return g.checkSender(f)
		}
	}
	return frame.NotDropped
}

// asks6 reports whether an IPv6 packet is one that a host without an address
// sends: duplicate address detection (RFC 4862, 5.4.2), a router solicitation
// (RFC 4861, 4.1), or a group report (RFC 3590, RFC 3810, 5.2.13).
func asks6(f *frame.Frame) bool {
	v := &f.View
	if v.Proto != frame.ProtoICMPv6 || v.L4 == 0 {
		return false
	}
	switch f.Bytes()[v.L4] {
	case icmp6NS, icmp6RS, icmp6Report, icmp6Done, icmp6Report2:
		return true
	}
	return false
}

// ICMPv6 types of neighbour discovery (RFC 4861, 4).
const (
	icmp6RS       = 133
	icmp6RA       = 134
	icmp6NS       = 135
	icmp6NA       = 136
	icmp6Redirect = 137
)

// checkSender holds the sender binding that an ARP packet or a neighbour
// discovery message claims against the endpoint's own.
func (g *guard) checkSender(f *frame.Frame) frame.Reason {
	addr, mac, ok := arp.Sender(f)
	if !ok {
		return frame.BadARP
	}
	if mac != g.mac {
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
