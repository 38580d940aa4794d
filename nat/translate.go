package nat

import (
	"encoding/binary"

	"weft/internal/frame"
)

// A packet is what translation has to know of one.
type packet struct {
	tuple
	c       class
	hash    uint64
	flags   uint8 // TCP
	ttl     uint8
	answer  bool // an echo reply
	hairpin bool // from the inside by way of the outside
}

// translate takes a frame from one side to the other: read, resolve, rewrite.
func (t *Table) translate(f *frame.Frame, from class, now uint32) (Side, frame.Reason) {
	var p packet
	if r := p.readAddresses(f, from); r != frame.NotDropped {
		return Outside, r
	}
	if p.ttl <= 1 {
		return Outside, frame.TTLExceeded
	}
	if f.View.Later {
		return t.laterFragment(f, &p, now)
	}
	isError, r := p.readTransport(f)
	if r != frame.NotDropped {
		return Outside, r
	}
	if isError {
		return t.translateError(f, &p)
	}
	var h hit
	side, r := t.resolve(f, &p, now, &h)
	if r != frame.NotDropped {
		return Outside, r
	}
	if f.View.Fragment {
		if r := t.firstFragment(f, &p, &h.to, side, now); r != frame.NotDropped {
			return Outside, r
		}
	}
	p.rewrite(f, &h.to)
	if p.flags&flagSYN != 0 {
		t.clamp(f)
	}
	return side, frame.NotDropped
}

// readAddresses reads the network header.
func (p *packet) readAddresses(f *frame.Frame, from class) frame.Reason {
	v, b := &f.View, f.Bytes()
	p.c = from
	switch v.EtherType {
	case frame.EtherIPv4:
		h := b[v.L3 : v.L3+20]
		p.src, p.dst, p.ttl = addr4(h[12:]), addr4(h[16:]), h[8]
		if h[0] != 0x45 && routed4(b[v.L3:]) {
			return frame.SourceRouted
		}
	case frame.EtherIPv6:
		h := b[v.L3 : v.L3+40]
		p.src, p.dst, p.ttl = addr6(h[8:]), addr6(h[24:]), h[7]
		p.c |= classV6
		if p.src.v4() || p.dst.v4() {
			return frame.Martian // IPv4-mapped, which is on no wire
		}
		if routed6(b[v.L3:]) {
			return frame.SourceRouted
		}
	default:
		return frame.NoPorts
	}
	return frame.NotDropped
}

// readTransport reads the transport header and reports whether it is that of an ICMP
// error.
func (p *packet) readTransport(f *frame.Frame) (isError bool, r frame.Reason) {
	v := &f.View
	if v.L4 == 0 {
		if v.Fragment && ported(v.Proto, p.c.v6()) {
			return false, frame.BadFragment // tiny: its header is not all there
		}
		return false, frame.NoPorts
	}
	l4 := f.Bytes()[v.L4:]
	switch {
	case v.Proto == frame.ProtoTCP:
		p.c |= class(kindTCP)
		p.flags = l4[13]
	case v.Proto == frame.ProtoUDP:
		p.c |= class(kindUDP)
	default:
		return p.readICMP(f)
	}
	p.ports = binary.BigEndian.Uint32(l4)
	return false, frame.NotDropped
}

// ICMP and ICMPv6 echo (RFC 792; RFC 4443, 4).
const (
	echoRequest4 = 8
	echoReply4   = 0
	echoRequest6 = 128
	echoReply6   = 129
)

func (p *packet) readICMP(f *frame.Frame) (isError bool, r frame.Reason) {
	v := &f.View
	if !ported(v.Proto, p.c.v6()) {
		return false, frame.NoPorts
	}
	l4 := f.Bytes()[v.L4:]
	if f.L4Len() < 8 {
		if v.Fragment {
			return false, frame.BadFragment
		}
		return false, frame.BadICMP
	}
	p.c |= class(kindEcho)
	id := binary.BigEndian.Uint16(l4[4:])
	switch typ := l4[0]; {
	case !p.c.v6() && typ == echoRequest4, p.c.v6() && typ == echoRequest6:
		p.ports = join(id, 0)
	case !p.c.v6() && typ == echoReply4, p.c.v6() && typ == echoReply6:
		p.ports, p.answer = join(0, id), true
	case translatedError(typ, p.c.v6()):
		return true, frame.NotDropped
	default:
		return false, frame.NoPorts
	}
	return false, frame.NotDropped
}

// ported reports whether a protocol is one that flows are made of in a family.
func ported(proto uint8, v6 bool) bool {
	switch proto {
	case frame.ProtoTCP, frame.ProtoUDP:
		return true
	case frame.ProtoICMP:
		return !v6
	case frame.ProtoICMPv6:
		return v6
	}
	return false
}

// routed4 reports whether an IPv4 header has a source route option (RFC 791, 3.1),
// which says that its destination is not where it goes in the end, or options that
// contradict themselves.
func routed4(h []byte) bool {
	const end, nop, loose, strict = 0, 1, 131, 137
	for at, n := 20, int(h[0]&15)*4; at < n; {
		switch h[at] {
		case end:
			return false
		case nop:
			at++
			continue
		case loose, strict:
			return true
		}
		if at+1 >= n || h[at+1] < 2 {
			return true
		}
		at += int(h[at+1])
	}
	return false
}

// routed6 reports whether there is a routing header (RFC 8200, 4.4) among the extension
// headers that [frame.Frame.Parse] walked.
func routed6(h []byte) bool {
	const hopByHop, routing, fragment, options = 0, 43, 44, 60
	next, at := h[6], 40
	for next == hopByHop || next == options || next == fragment {
		if at+8 > len(h) {
			return true
		}
		size := (int(h[at+1]) + 1) * 8
		if next == fragment {
			const offset = 0xfff8
			if binary.BigEndian.Uint16(h[at+2:])&offset != 0 {
				return false // data follows, not headers
			}
			size = 8
		}
		next, at = h[at], at+size
	}
	return next == routing
}

// resolve finds or makes the packet's flow and says what becomes of the packet. A
// packet to one of the outside's own addresses goes through two flows: out by its
// sender's, and in by that of whom it is for.
func (t *Table) resolve(f *frame.Frame, p *packet, now uint32, h *hit) (Side, frame.Reason) {
	if r := t.follow(f, p, now, h); r != frame.NotDropped {
		return Outside, r
	}
	if !p.c.inside() {
		return Inside, frame.NotDropped
	}
	if h.s&hairpin == 0 {
		return Outside, frame.NotDropped
	}
	return Inside, t.comeIn(f, p, now, h)
}

// comeIn is the way back in of a packet that has been resolved to leave.
func (t *Table) comeIn(f *frame.Frame, p *packet, now uint32, h *hit) frame.Reason {
	in := *p
	in.tuple, in.hairpin, in.c = h.to, true, p.c&^classInside
	return t.follow(f, &in, now, h)
}

// follow finds or makes a packet's flow, and notes what the packet says of it.
func (t *Table) follow(f *frame.Frame, p *packet, now uint32, h *hit) frame.Reason {
	p.hash = t.keys.tuple(&p.tuple, p.c)
	if p.flags&(flagSYN|flagACK) == flagSYN {
		t.expect(p)
	}
	if !t.find(&p.tuple, p.c, p.hash, h) {
		if r := t.create(f, p, now, h); r != frame.NotDropped {
			return r
		}
	}
	return t.track(f, p, h, now)
}

// expect has the index's memory fetched that making a flow will need: that of the
// packet's tuple and of its mapping.
func (t *Table) expect(p *packet) {
	t.index.touch(p.hash)
	if p.c.inside() {
		t.index.touch(t.keys.socket(p.src, p.sport(), p.c))
	}
}

// clamp lowers the segment size that a SYN asks for to what the outside carries.
func (t *Table) clamp(f *frame.Frame) {
	mtu := t.rules.Load().mtu
	if mtu == 0 {
		return
	}
	if at, limit := f.ExcessMSS(mtu); at != 0 {
		f.SetMSS(at, limit)
	}
}
