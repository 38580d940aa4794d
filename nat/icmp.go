package nat

import (
	"encoding/binary"

	"weft/internal/frame"
)

// Theory of operation: ICMP errors
//
// An error is about a packet that went the other way, and quotes it as it was where
// the error was made. Turned round, the quoted tuple is that of a packet going the
// error's way: it leads to the flow, and the flow says what it is called on the other
// side. Errors about packets that no flow sent are dropped; none makes, refreshes or
// ends a flow (RFC 5508, REQ-6; RFC 5382, REQ-9).
//
// The sender of an error from the outside is any router, whose address stays. One
// from the inside appears as the flow's outside address, for no other of the inside's
// may be seen there (RFC 5508, REQ-5).

// translatedError reports whether an ICMP type is an error that goes with a flow:
// unreachable, time exceeded, parameter problem; version 6's packet too big. Source
// quench (RFC 6633) and redirects do not pass a router.
func translatedError(typ uint8, v6 bool) bool {
	if v6 {
		return 1 <= typ && typ <= 4
	}
	return typ == 3 || typ == 11 || typ == 12
}

// A quote is the packet quoted in an error.
type quote struct {
	tuple
	c      class
	answer bool
	ip, l4 []byte // from its headers on
}

// translateError takes an ICMP error to the other side.
func (t *Table) translateError(f *frame.Frame, p *packet) (Side, frame.Reason) {
	if f.View.Fragment || !soundError(f, p.c.v6()) {
		return Outside, frame.BadICMP
	}
	to, r := t.translateErrorOnce(f, p, 1)
	if r != frame.NotDropped || !p.c.inside() {
		return Inside, r
	}
	if t.rules.Load().outsideAt(to) == nil {
		return Outside, r
	}
	if r := p.readAddresses(f, 0); r != frame.NotDropped {
		return Inside, r
	}
	_, r = t.translateErrorOnce(f, p, 0)
	return Inside, r
}

// soundError verifies the checksum, unless that is to be finished by another.
func soundError(f *frame.Frame, v6 bool) bool {
	if f.Offload.Flags&frame.NeedsCsum != 0 {
		return true
	}
	n := f.L4Len()
	pseudo := uint64(0)
	if v6 {
		pseudo = f.PseudoSum(n)
	}
	return frame.Checksum(f.Bytes()[f.View.L4:][:n], pseudo) == 0
}

// translateErrorOnce takes an error over the border once and returns whom it is for
// there.
func (t *Table) translateErrorOnce(f *frame.Frame, p *packet, hops uint8) (addr, frame.Reason) {
	l4 := f.Bytes()[f.View.L4:][:f.L4Len()]
	var q quote
	if !q.read(l4[8:], p.c.v6()) {
		return addr{}, frame.BadICMP
	}
	if q.src != p.dst {
		return addr{}, frame.StrayICMP
	}
	way := q.reverse()
	c := q.c | p.c&(classV6|classInside)
	var h hit
	if !t.find(&way, c, t.keys.tuple(&way, c), &h) {
		return addr{}, frame.StrayICMP
	}
	to := tuple{src: p.src, dst: h.to.dst}
	if p.src == way.src || p.c.inside() {
		to.src = h.to.src
	}
	q.rewrite(h.to.reverse(), p.c.v6())
	pseudo := p.rewriteAddresses(f, &to, hops)
	if f.Offload.Flags&frame.NeedsCsum != 0 {
		if p.c.v6() {
			binary.BigEndian.PutUint16(l4[2:], frame.Fold(uint64(binary.BigEndian.Uint16(l4[2:]))+pseudo))
		}
		return to.dst, frame.NotDropped
	}
	l4[2], l4[3] = 0, 0
	sum := uint64(0)
	if p.c.v6() {
		sum = f.PseudoSum(len(l4))
	}
	binary.BigEndian.PutUint16(l4[2:], frame.Checksum(l4, sum))
	return to.dst, frame.NotDropped
}

// quotedLen is how much of a transport header an error quotes at least (RFC 792).
const quotedLen = 8

// read reads the quoted packet and reports whether it is one that a flow could have
// sent.
func (q *quote) read(b []byte, v6 bool) bool {
	q.ip = b
	proto := uint8(0)
	at := 0
	if v6 {
		if len(b) < 40 || b[0]>>4 != 6 {
			return false
		}
		q.src, q.dst = addr6(b[8:]), addr6(b[24:])
		if proto, at = quoted6(b); at == 0 {
			return false
		}
	} else {
		const offset = 0x1fff
		if len(b) < 20 || b[0]>>4 != 4 || int(b[0]&15) < 5 {
			return false
		}
		at = int(b[0]&15) * 4
		// RFC 5508, REQ-3 a: the quoted header's checksum has to be right.
		if len(b) < at || binary.BigEndian.Uint16(b[6:])&offset != 0 || frame.Checksum(b[:at], 0) != 0 {
			return false
		}
		q.src, q.dst, proto = addr4(b[12:]), addr4(b[16:]), b[9]
	}
	if len(b) < at+quotedLen || !ported(proto, v6) {
		return false
	}
	q.l4 = b[at:]
	switch proto {
	case frame.ProtoTCP:
		q.c = class(kindTCP)
	case frame.ProtoUDP:
		q.c = class(kindUDP)
	default:
		return q.readEcho(v6)
	}
	q.ports = binary.BigEndian.Uint32(q.l4)
	return true
}

// quoted6 walks to the transport header of a quoted IPv6 packet and returns 0 when
// there is none.
func quoted6(b []byte) (proto uint8, at int) {
	next, at := b[6], 40
	for range 8 {
		switch next {
		case 0, 60: // hop-by-hop, destination options
			if len(b) < at+8 {
				return 0, 0
			}
			next, at = b[at], at+(int(b[at+1])+1)*8
		case 44: // fragment
			if len(b) < at+8 || binary.BigEndian.Uint16(b[at+2:])&0xfff8 != 0 {
				return 0, 0
			}
			next, at = b[at], at+8
		default:
			return next, at
		}
	}
	return 0, 0
}

func (q *quote) readEcho(v6 bool) bool {
	q.c = class(kindEcho)
	id := binary.BigEndian.Uint16(q.l4[4:])
	switch typ := q.l4[0]; {
	case !v6 && typ == echoRequest4, v6 && typ == echoRequest6:
		q.ports = join(id, 0)
	case !v6 && typ == echoReply4, v6 && typ == echoReply6:
		q.ports, q.answer = join(0, id), true
	default:
		return false
	}
	return true
}

// rewrite changes the quoted packet's tuple. Its transport checksum, where that much is
// quoted, is changed with it.
func (q *quote) rewrite(to tuple, v6 bool) {
	pseudo := to.src.sum() + to.dst.sum() + uint64(^frame.Fold(q.src.sum()+q.dst.sum()))
	if v6 {
		to.src.put(q.ip[8:], true)
		to.dst.put(q.ip[24:], true)
	} else {
		to.src.put(q.ip[12:], false)
		to.dst.put(q.ip[16:], false)
		sum := binary.BigEndian.Uint16(q.ip[10:])
		binary.BigEndian.PutUint16(q.ip[10:], ^frame.Fold(uint64(^sum)+pseudo))
	}
	change := uint64(to.ports) + uint64(^q.ports)
	at := 16
	switch q.c.kind() {
	case kindTCP:
		binary.BigEndian.PutUint32(q.l4, to.ports)
	case kindUDP:
		binary.BigEndian.PutUint32(q.l4, to.ports)
		at = 6
	default:
		id := to.sport()
		if q.answer {
			id = to.dport()
		}
		binary.BigEndian.PutUint16(q.l4[4:], id)
		if at = 2; !v6 {
			pseudo = 0
		}
	}
	if len(q.l4) < at+2 {
		return
	}
	sum := binary.BigEndian.Uint16(q.l4[at:])
	if sum == 0 && q.c.kind() == kindUDP {
		return
	}
	if sum = ^frame.Fold(uint64(^sum) + pseudo + change); sum == 0 && q.c.kind() == kindUDP {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(q.l4[at:], sum)
}
