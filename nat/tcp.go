package nat

import (
	"encoding/binary"

	"weft/internal/frame"
)

// Theory of operation: TCP
//
// A connection is unanswered until its handshake is complete: until then it lives
// TCPTransitory seconds after its last segment, is bounded by MaxUnanswered and is the
// first to be given up. Then it is open, and lives TCPEstablished. When both FINs have
// been seen, or a reset, it is closed and lives TCPTransitory again (RFC 5382, REQ-5;
// RFC 7857, 2.1 and 2.2). What happens meanwhile:
//
//	SYN of the initiator     closed: the connection begins again (TIME-WAIT, RFC
//	                         5382, REQ-5); else it is passed on, and nothing changes
//	SYN of the responder     opens together with the initiator's own (simultaneous
//	                         open, RFC 5382, REQ-2); closed: refused
//	RST in the window        closed (RFC 7857, 2.2); if its sender goes on all the same
//	                         it was not its sender's: open again
//	RST out of the window    is passed on and not believed
//	FIN in the window        closes one direction
//
// The window is what the other side acknowledged last and the window it offered then
// (RFC 9293, 3.10.7.4). Who does not see the traffic cannot guess it, so nobody else
// shortens a connection's life.
//
// A segment of a connection that the table has not seen begin is let in if it could be
// one in the middle: with ACK, and neither SYN, FIN nor RST. So connections survive a
// restart of the table whose ports are preserved, and those to published ports.

// TCP flags (RFC 9293, 3.1) and the window scale option (RFC 7323, 2.2).
const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10

	optScale    = 3
	optScaleLen = 3
	noScale     = 15
)

// begin returns the state of a flow that begins with a packet, or why none does.
func (p *packet) begin(f *frame.Frame) (uint64, frame.Reason) {
	switch p.c.kind() {
	case kindEcho:
		if p.answer {
			return 0, frame.NoFlow
		}
		return 0, frame.NotDropped
	case kindUDP:
		if p.sport() == 0 || p.dport() == 0 {
			return 0, frame.PortZero
		}
		return 0, frame.NotDropped
	}
	if p.sport() == 0 || p.dport() == 0 {
		return 0, frame.PortZero
	}
	switch p.flags & (flagSYN | flagACK | flagRST | flagFIN) {
	case flagSYN:
		return synO | uint64(scaleIn(f))<<scaleShift, frame.NotDropped
	case flagACK:
		const largest = 14 // RFC 7323, 2.3
		return largest<<scaleShift | largest<<(scaleShift+4), frame.NotDropped
	}
	return 0, frame.BadState
}

// scaleIn returns the window scale that a SYN offers, noScale if none.
func scaleIn(f *frame.Frame) byte {
	at := f.TCPOption(optScale, optScaleLen)
	if at == 0 {
		return noScale
	}
	return min(f.Bytes()[at+2], 14)
}

// track notes what a packet of a flow says about it.
func (t *Table) track(f *frame.Frame, p *packet, h *hit, now uint32) frame.Reason {
	if h.f.seen.Load() != now {
		h.f.seen.Store(now)
	}
	if p.c.kind() != kindTCP {
		if h.d == 1 && h.s&replied == 0 {
			return t.change(h, now, func(s uint64) (uint64, frame.Reason) { return s | replied, frame.NotDropped })
		}
		return frame.NotDropped
	}
	if p.flags&(flagSYN|flagFIN|flagRST) == 0 && h.s&(opened|rstO|rstR) == opened {
		h.f.acknowledge(f, h)
		return frame.NotDropped
	}
	seg := segmentOf(f, p, h)
	r := frame.NotDropped
	if s, why := seg.next(h.s); why != frame.NotDropped || s != h.s {
		r = t.change(h, now, seg.next)
	}
	if r == frame.NotDropped && p.flags&flagRST == 0 {
		h.f.note(f, &seg)
	}
	return r
}

// change brings a flow into the state that next makes of the one it is in, under the
// lock of its shard.
func (t *Table) change(h *hit, now uint32, next func(uint64) (uint64, frame.Reason)) frame.Reason {
	sh := t.shardOf(h.f.owner.Load())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s := h.f.state.Load()
	if !same(h.s, s) {
		return frame.NotDropped // it ended a moment ago; this packet still passes
	}
	s, r := next(s)
	if r == frame.NotDropped {
		t.setState(sh, h.f, h.slot, s, now)
		h.s = s
	}
	return r
}

// acknowledge keeps what a segment's sender acknowledges, and the window it offers.
func (f *flow) acknowledge(fr *frame.Frame, h *hit) {
	tcp := fr.Bytes()[fr.View.L4:]
	if tcp[13]&flagACK == 0 {
		return
	}
	w := uint64(binary.BigEndian.Uint16(tcp[14:]))
	if scale := scaleOf(h.s, h.d); scale != noScale && tcp[13]&flagSYN == 0 {
		w <<= scale
	}
	w |= uint64(binary.BigEndian.Uint32(tcp[8:])) << 32
	if f.win[h.d].Load() != w {
		f.win[h.d].Store(w)
	}
}

// A segment is what matters of a TCP segment to the state of its connection.
type segment struct {
	h        *hit
	flags    uint8
	scale    byte // of a SYN
	seq, ack uint32
	end      uint32 // of its data
	inWindow bool
}

func segmentOf(f *frame.Frame, p *packet, h *hit) segment {
	tcp := f.Bytes()[f.View.L4:]
	g := segment{h: h, flags: p.flags, seq: binary.BigEndian.Uint32(tcp[4:]), ack: binary.BigEndian.Uint32(tcp[8:])}
	g.end = g.seq + uint32(f.L4Len()) - uint32(f.View.Payload-f.View.L4)
	if p.flags&flagSYN != 0 {
		g.scale = scaleIn(f)
	}
	other := h.f.win[1-h.d].Load()
	acked, window := uint32(other>>32), uint32(other)
	switch {
	case h.s&(synO|synR) == synO && h.s&opened == 0 && h.d == 1:
		// The initiator has acknowledged nothing: it is for the answer to do so
		// (RFC 9293, 3.10.7.3).
		g.inWindow = p.flags&flagACK != 0 && g.ack == uint32(h.f.win[1].Load()>>32)
	case other != 0:
		g.inWindow = g.end-acked <= window
	}
	return g
}

// note keeps what later segments are held against.
func (f *flow) note(fr *frame.Frame, g *segment) {
	if g.h.d == 0 && g.flags&(flagSYN|flagACK) == flagSYN && g.h.s&(synO|synR|opened) == synO {
		// What the responder will acknowledge.
		f.win[0].Store(0)
		f.win[1].Store(uint64(g.seq+1) << 32)
		return
	}
	f.acknowledge(fr, g.h)
}

// next returns the state that a segment brings a connection of state s into, or why it
// is refused.
func (g *segment) next(s uint64) (uint64, frame.Reason) {
	back := g.h.d == 1
	fin, rst := uint64(finO), uint64(rstO)
	if back {
		fin, rst = finR, rstR
	}
	switch {
	case g.flags&flagRST != 0:
		if g.inWindow {
			s |= rst
		}
		return s, frame.NotDropped
	case g.flags&flagSYN != 0:
		return g.synchronise(s)
	case s&rst != 0:
		s &^= rst // alive
	}
	if back {
		s |= replied
	}
	switch {
	case s&opened != 0 || g.flags&flagACK == 0:
	case s&synO != 0 && s&synR != 0 && !back, s&synO == 0 && back:
		s |= opened
	}
	if g.flags&flagFIN != 0 && g.inWindow {
		s |= fin
	}
	return s, frame.NotDropped
}

// synchronise is next for SYNs.
func (g *segment) synchronise(s uint64) (uint64, frame.Reason) {
	only := g.flags&flagACK == 0
	if closed(s) {
		switch {
		case !only:
			return s, frame.NotDropped
		case g.h.d == 1:
			return s, frame.BadState
		}
		return s&^(seenBits|0xff<<scaleShift) | synO | uint64(g.scale)<<scaleShift, frame.NotDropped
	}
	if s&opened != 0 || s&synO == 0 {
		return s, frame.NotDropped
	}
	if g.h.d == 1 {
		s |= synR | replied
		if scaleOf(s, 0) == noScale || g.scale == noScale { // both or none (RFC 7323, 2.2)
			s &^= 0xff << scaleShift
		} else {
			s = s&^(15<<(scaleShift+4)) | uint64(g.scale)<<(scaleShift+4)
		}
	} else if s&synR == 0 {
		s = s&^(15<<scaleShift) | uint64(g.scale)<<scaleShift // another attempt
	} else if !only {
		s |= opened // simultaneous open
	}
	return s, frame.NotDropped
}
