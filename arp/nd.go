package arp

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/frame"
)

// Neighbour discovery (RFC 4861, 4.3 and 4.4), in bytes from the ICMPv6 header:
//
//	0      1      2          4                8        24
//	| type | code | checksum | flags/reserved | target | options: type, length/8, ... |
const (
	ndLen     = 24 // without options
	ndTarget  = 8
	llOptLen  = 8  // a link-layer address option for Ethernet (RFC 2464, 6)
	ip6Len    = 40 // IPv6 header
	ip6Src    = 8
	ip6Dst    = 24
	rsOptions = 8 // options of a router solicitation start here (4.1)
)

// ICMPv6 types (RFC 4861).
const (
	typeRS = 133
	typeNS = 135
	typeNA = 136
)

// Options (RFC 4861, 4.6.1).
const (
	optSource = 1
	optTarget = 2
)

// The flags of an advertisement (RFC 4861, 4.4).
const (
	FlagRouter    = 0x80
	FlagSolicited = 0x40
	FlagOverride  = 0x20
)

// A Message is a neighbour solicitation, or an advertisement.
type Message struct {
	Advertisement    bool
	SrcMAC, DstMAC   frame.MAC  // of the Ethernet header
	Src, Dst, Target netip.Addr // Src is :: while an address is being tried (DAD)
	Flags            uint8      // of an advertisement
	// LinkAddr is the source (solicitation) or target (advertisement)
	// link-layer address option; HasLinkAddr tells whether it was there.
	LinkAddr    frame.MAC
	HasLinkAddr bool
}

// ParseMessage reads the solicitation or advertisement in f, which must have
// been parsed, and checks what RFC 4861, 7.1.1 and 7.1.2 demand. It returns
// ErrNotARP for other frames.
func ParseMessage(f *frame.Frame) (Message, error) {
	var n nd
	switch n.read(f) {
	case Bad:
		return Message{}, ErrMalformed
	case Ignore:
		return Message{}, ErrNotARP
	}
	m := Message{
		Advertisement: n.icmp[0] == typeNA, SrcMAC: f.SrcMAC(), DstMAC: f.DstMAC(),
		Src: n.src(), Dst: netip.AddrFrom16([16]byte(n.ip[ip6Dst:])), Target: n.target(),
		LinkAddr: n.link, HasLinkAddr: n.hasLink,
	}
	if m.Advertisement {
		m.Flags = n.icmp[4]
	}
	return m, nil
}

// Append appends the message as an Ethernet frame with complete checksum to b.
func (m *Message) Append(b []byte) []byte {
	icmp, opt := byte(typeNS), byte(optSource)
	if m.Advertisement {
		icmp, opt = typeNA, optTarget
	}
	n := ndLen
	if m.HasLinkAddr {
		n += llOptLen
	}
	b = append(append(b, m.DstMAC[:]...), m.SrcMAC[:]...)
	b = binary.BigEndian.AppendUint16(b, frame.EtherIPv6)
	at := len(b)
	src, dst, target := m.Src.As16(), m.Dst.As16(), m.Target.As16()
	b = append(b, 0x60, 0, 0, 0, 0, byte(n), frame.ProtoICMPv6, 255)
	b = append(append(b, src[:]...), dst[:]...)
	b = append(b, icmp, 0, 0, 0, m.Flags, 0, 0, 0)
	b = append(b, target[:]...)
	if m.HasLinkAddr {
		b = append(append(b, opt, 1), m.LinkAddr[:]...)
	}
	finish(b[at:])
	return b
}

// finish writes the checksum of the ICMPv6 message that follows the IPv6 header
// at p directly and reaches to the end of p (RFC 4443, 2.3).
func finish(p []byte) {
	icmp := p[ip6Len:]
	icmp[2], icmp[3] = 0, 0
	binary.BigEndian.PutUint16(icmp[2:], frame.Checksum(icmp, pseudo(p, len(icmp))))
}

// pseudo returns the pseudo-header's sum for an ICMPv6 message of n bytes.
func pseudo(ip []byte, n int) uint64 {
	return frame.Sum(ip[ip6Src:ip6Len], uint64(n)+frame.ProtoICMPv6)
}

// nd is a neighbour discovery message in place.
//
// borrowed: the slices are the frame's, valid while it is.
type nd struct {
	ip, icmp []byte // IPv6 header; ICMPv6 message with its options
	link     frame.MAC
	hasLink  bool
}

func (n *nd) src() netip.Addr    { return netip.AddrFrom16([16]byte(n.ip[ip6Src:])) }
func (n *nd) target() netip.Addr { return netip.AddrFrom16([16]byte(n.icmp[ndTarget:])) }

// read finds a solicitation, an advertisement or a router solicitation in f. It
// returns Reply if n may be looked at, Ignore if f is something else, Bad if it
// breaks a rule of RFC 4861, 6.1.1, 7.1.1 or 7.1.2.
func (n *nd) read(f *frame.Frame) Verdict {
	v := &f.View
	if v.EtherType != frame.EtherIPv6 || v.Proto != frame.ProtoICMPv6 || v.L4 == 0 {
		return Ignore
	}
	b := f.Bytes()
	n.ip = b[v.L3:]
	n.icmp = b[v.L4:][:f.L4Len()]
	kind := n.icmp[0]
	if kind != typeNS && kind != typeNA && kind != typeRS {
		return Ignore
	}
	// RFC 6980, 5: neighbour discovery is never fragmented.
	if v.Fragment || n.ip[7] != 255 || n.icmp[1] != 0 {
		return Bad
	}
	if !n.sumOK(f) {
		return Bad
	}
	return n.readBody(kind)
}

// sumOK verifies the checksum unless the sender, a local kernel, left it undone.
func (n *nd) sumOK(f *frame.Frame) bool {
	if f.Offload.Flags&frame.NeedsCsum != 0 {
		return f.Offload.CsumOffset == 2 && f.Offload.GSO == frame.GSONone
	}
	return frame.Checksum(n.icmp, pseudo(n.ip, len(n.icmp))) == 0
}

func (n *nd) readBody(kind byte) Verdict {
	unspecified := [16]byte(n.ip[ip6Src:]) == [16]byte{}
	if kind == typeRS {
		if len(n.icmp) < rsOptions || !n.options(n.icmp[rsOptions:], optSource) || unspecified && n.hasLink {
			return Bad
		}
		return Reply
	}
	if len(n.icmp) < ndLen || n.icmp[ndTarget] == 0xff {
		return Bad
	}
	multicast := n.ip[ip6Dst] == 0xff
	if kind == typeNA {
		if !n.options(n.icmp[ndLen:], optTarget) || multicast && n.icmp[4]&FlagSolicited != 0 {
			return Bad
		}
		return Reply
	}
	if !n.options(n.icmp[ndLen:], optSource) {
		return Bad
	}
	if unspecified && (n.hasLink || !n.toSolicitedNode()) {
		return Bad
	}
	return Reply
}

// toSolicitedNode reports whether the destination is a solicited-node address,
// ff02::1:ffXX:XXXX (RFC 4291, 2.7.1).
func (n *nd) toSolicitedNode() bool {
	return [13]byte(n.ip[ip6Dst:]) == [13]byte{0xff, 2, 10: 0, 11: 1, 12: 0xff}
}

// options walks the options in b, keeps the link-layer address of the wanted
// kind and reports whether every length is sound. Of two such addresses one host
// takes the first and another the last, so a message with two says nothing that
// could be checked.
func (n *nd) options(b []byte, want byte) bool {
	n.hasLink = false
	for len(b) > 0 {
		if len(b) < 8 {
			return false
		}
		size := int(b[1]) * 8
		if size == 0 || size > len(b) {
			return false // RFC 4861, 4.6: length 0 discards the packet
		}
		if b[0] == want {
			if n.hasLink || size != llOptLen || isGroup(frame.MAC(b[2:])) {
				return false
			}
			n.link, n.hasLink = frame.MAC(b[2:]), true
		}
		b = b[size:]
	}
	return true
}
