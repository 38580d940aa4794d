package arp

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/frame"
)

// A Verdict is what [Table.Answer] made of a frame.
type Verdict uint8

// The verdicts.
const (
	// Ignore: nothing to answer here; the frame goes its way.
	Ignore Verdict = iota
	// Reply: the frame has become the reply, to leave where it came in.
	Reply
	// Unknown: a well-formed request for a neighbour that nobody here knows.
	Unknown
	// Bad: malformed; nothing may act on it.
	Bad
)

// String returns the lower-case name.
func (v Verdict) String() string { return [...]string{"ignore", "reply", "unknown", "bad"}[v] }

// Answer decides about f, which must have been parsed, and turns a request for a
// known neighbour into the neighbour's reply, in place; VLAN tags stay. It
// allocates nothing. The frame's bytes must be the caller's to write.
//
// Not answered: a host that asks for the address it has (RFC 5227, 2.3: an
// announcement; RFC 4862, 5.4: its own address tried again), and, when the
// neighbour is only learned, whatever tests that it is still there: a request
// sent to one host (RFC 4861, 7.3.3), an ARP probe (RFC 5227, 2.1.1), duplicate
// address detection. A static neighbour is answered for in these cases too.
func (t *Table) Answer(f *frame.Frame) Verdict {
	switch f.View.EtherType {
	case frame.EtherARP:
		return t.answerARP(f)
	case frame.EtherIPv6:
		return t.answerND(f)
	}
	return Ignore
}

func (t *Table) answerARP(f *frame.Frame) Verdict {
	p, v := arpBytes(f)
	if v != Reply {
		return v
	}
	if binary.BigEndian.Uint16(p[offOp:]) != OpRequest {
		return Ignore
	}
	asker, target := [4]byte(p[offSPA:]), [4]byte(p[offTPA:])
	if target[0]&0xf0 == 0xe0 || target[0] == 127 || target == [4]byte{255, 255, 255, 255} {
		return Bad // never one interface's
	}
	if asker == target {
		return Ignore
	}
	sha := frame.MAC(p[offSHA:])
	mac, v := t.decide(f, netip.AddrFrom4(target), sha, asker == [4]byte{})
	if v != Reply {
		return v
	}
	// RFC 826, "swap hardware and protocol fields".
	p[offOp+1] = OpReply
	copy(p[offTHA:offTPA], p[offSHA:offTHA])
	copy(p[offSHA:], mac[:])
	copy(p[offSPA:], target[:])
	copy(p[offTPA:], asker[:])
	readdress(f, sha, mac)
	return Reply
}

// decide looks the target of a request up. asker is the hardware address that
// asks; probe is set while it does not own its address yet.
func (t *Table) decide(f *frame.Frame, target netip.Addr, asker frame.MAC, probe bool) (frame.MAC, Verdict) {
	e := t.get(target)
	if e == nil {
		return frame.MAC{}, Unknown
	}
	mac := e.mac()
	if mac == asker {
		return frame.MAC{}, Ignore
	}
	if !e.static && (probe || !isGroup(f.DstMAC())) {
		return frame.MAC{}, Ignore
	}
	return mac, Reply
}

// readdress sets the Ethernet addresses and clears what is left undone.
func readdress(f *frame.Frame, dst, src frame.MAC) {
	b := f.Bytes()
	copy(b, dst[:])
	copy(b[6:], src[:])
	f.Offload = frame.Offload{}
}

func (t *Table) answerND(f *frame.Frame) Verdict {
	var n nd
	if v := n.read(f); v != Reply {
		return v
	}
	if n.icmp[0] != typeNS {
		return Ignore
	}
	asker := f.SrcMAC()
	if n.hasLink {
		asker = n.link
	}
	src, target := n.src(), n.target()
	if src == target {
		return Ignore
	}
	mac, v := t.decide(f, target, asker, src.IsUnspecified())
	if v != Reply {
		return v
	}
	return n.advertise(f, asker, mac)
}

// advertise turns the solicitation into the advertisement (RFC 4861, 7.2.4): it
// carries the target's link-layer address and nothing else, whatever options and
// extension headers the request had.
func (n *nd) advertise(f *frame.Frame, asker, mac frame.MAC) Verdict {
	size := int(f.View.L3) + ip6Len + ndLen + llOptLen
	if f.Len() < size && !f.Grow(size-f.Len()) {
		return Ignore // no tailroom: a frame of this length has no way to be answered
	}
	f.Truncate(size)
	target := [16]byte(n.icmp[ndTarget:])
	flags := byte(FlagSolicited | FlagOverride)
	p := f.Bytes()[f.View.L3:]
	copy(p[ip6Dst:], p[ip6Src:ip6Dst])
	if [16]byte(p[ip6Src:]) == [16]byte{} {
		// The asker owns no address yet: tell all nodes, ff02::1, at their
		// Ethernet group address (RFC 4861, 7.2.4; RFC 2464, 7).
		copy(p[ip6Dst:], []byte{0: 0xff, 1: 2, 15: 1})
		asker, flags = frame.MAC{0x33, 0x33, 0, 0, 0, 1}, FlagOverride
	}
	copy(p, []byte{0x60, 0, 0, 0, 0, ndLen + llOptLen, frame.ProtoICMPv6, 255})
	copy(p[ip6Src:], target[:])
	icmp := p[ip6Len:]
	clear(icmp)
	icmp[0], icmp[4] = typeNA, flags
	copy(icmp[ndTarget:], target[:])
	icmp[ndLen], icmp[ndLen+1] = optTarget, 1
	copy(icmp[ndLen+2:], mac[:])
	finish(p)
	readdress(f, asker, mac)
	f.View.L4 = f.View.L3 + ip6Len
	f.View.Proto = frame.ProtoICMPv6
	return Reply
}
