package nettest

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/frame"
)

// ARP operations (RFC 826).
const (
	ARPRequestOp = 1
	ARPReplyOp   = 2
)

// ARP returns an ARP packet (RFC 826) in a frame to dst.
func ARP(dst frame.MAC, op uint16, sender, target Host) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, byte(op >> 8), byte(op)}
	b = append(b, sender.MAC[:]...)
	b = append(b, sender.IP.AsSlice()...)
	b = append(b, target.MAC[:]...)
	b = append(b, target.IP.AsSlice()...)
	return Ether(dst, sender.MAC, frame.EtherARP, b)
}

// ARPRequest returns the broadcast question who has an address.
func ARPRequest(from Host, target netip.Addr) []byte {
	return ARP(Broadcast, ARPRequestOp, from, Host{IP: target})
}

// ARPReply returns the answer of from to to.
func ARPReply(from, to Host) []byte { return ARP(to.MAC, ARPReplyOp, from, to) }

// GratuitousARP returns an announcement (RFC 5227, 3).
func GratuitousARP(h Host) []byte { return ARP(Broadcast, ARPRequestOp, h, Host{IP: h.IP}) }

// ARPProbe returns a probe for an address before use (RFC 5227, 2.1.1).
func ARPProbe(h Host) []byte {
	return ARP(Broadcast, ARPRequestOp, Host{MAC: h.MAC, IP: netip.IPv4Unspecified()}, Host{IP: h.IP})
}

// Echo returns a ping or its answer (RFC 792, RFC 4443 4) in a frame.
func Echo(from, to Host, reply bool, id, seq uint16, payload []byte) []byte {
	typ := byte(8)
	switch {
	case from.IP.Is6() && reply:
		typ = 129
	case from.IP.Is6():
		typ = 128
	case reply:
		typ = 0
	}
	l4 := []byte{typ, 0, 0, 0, byte(id >> 8), byte(id), byte(seq >> 8), byte(seq)}
	return ICMP(from, to, 64, append(l4, payload...))
}

// ICMP returns a frame with an ICMP or ICMPv6 message, whose checksum it fills
// in.
func ICMP(from, to Host, ttl uint8, msg []byte) []byte {
	proto := uint8(frame.ProtoICMP)
	msg = append([]byte{}, msg...)
	msg[2], msg[3] = 0, 0
	if from.IP.Is4() {
		binary.BigEndian.PutUint16(msg[2:], checksum(msg, 0))
	} else {
		proto = frame.ProtoICMPv6
		sealL4(from.IP, to.IP, proto, msg, 2)
	}
	return Ether(to.MAC, from.MAC, EtherTypeOf(from.IP), IPTTL(from.IP, to.IP, proto, ttl, msg))
}

// SolicitedNode returns the group a target's solicitations go to (RFC 4291,
// 2.7.1) with its Ethernet address (RFC 2464, 7).
func SolicitedNode(target netip.Addr) Host {
	t := target.As16()
	g := [16]byte{0xff, 2, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]}
	return Host{MAC: frame.MAC{0x33, 0x33, 0xff, t[13], t[14], t[15]}, IP: netip.AddrFrom16(g)}
}

// NeighborSolicit returns a neighbour solicitation (RFC 4861, 4.3). One from the
// unspecified address is for duplicate address detection and has no option.
func NeighborSolicit(from Host, target netip.Addr) []byte {
	msg := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target.AsSlice()...)
	if !from.IP.IsUnspecified() {
		msg = append(msg, 1, 1)
		msg = append(msg, from.MAC[:]...)
	}
	return ICMP(from, SolicitedNode(target), 255, msg)
}

// NeighborAdvert returns a solicited, overriding advertisement (RFC 4861, 4.4).
func NeighborAdvert(from, to Host) []byte {
	msg := append([]byte{136, 0, 0, 0, 0x60, 0, 0, 0}, from.IP.AsSlice()...)
	msg = append(msg, 2, 1)
	return ICMP(from, to, 255, append(msg, from.MAC[:]...))
}

// RouterAdvert returns a router advertisement to all nodes (RFC 4861, 4.2).
func RouterAdvert(from Host) []byte {
	to := Host{MAC: frame.MAC{0x33, 0x33, 0, 0, 0, 1}, IP: netip.IPv6LinkLocalAllNodes()}
	return ICMP(from, to, 255, []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0})
}

// DHCPOffer returns a DHCP server's offer (RFC 2131, 3.1) of an address.
func DHCPOffer(from, to Host) []byte {
	b := make([]byte, 240, 244)
	b[0], b[1], b[2] = 2, 1, 6 // BOOTREPLY, Ethernet
	copy(b[16:], to.IP.AsSlice())
	copy(b[28:], to.MAC[:])
	copy(b[236:], []byte{99, 130, 83, 99}) // magic cookie
	return UDP(from, to, 67, 68, append(b, 53, 1, 2, 255))
}

// Fragments cuts an IPv4 frame into fragments whose IP packets have at most mtu
// bytes (RFC 791, 3.2).
func Fragments(f []byte, mtu int) [][]byte {
	ether, ip := f[:frame.EtherLen], f[frame.EtherLen:]
	ihl := int(ip[0]&15) * 4
	body, step := ip[ihl:], (mtu-ihl)/8*8
	var out [][]byte
	for at := 0; at < len(body); at += step {
		end, more := at+step, uint16(0x2000)
		if end >= len(body) {
			end, more = len(body), 0
		}
		p := append(append([]byte{}, ip[:ihl]...), body[at:end]...)
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		binary.BigEndian.PutUint16(p[4:], 0x4242)
		binary.BigEndian.PutUint16(p[6:], more|uint16(at/8))
		p[10], p[11] = 0, 0
		binary.BigEndian.PutUint16(p[10:], checksum(p[:ihl], 0))
		out = append(out, append(append([]byte{}, ether...), p...))
	}
	return out
}
