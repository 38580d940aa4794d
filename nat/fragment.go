package nat

import (
	"encoding/binary"
	"sync"

	"weft/internal/frame"
)

// Theory of operation: fragments
//
// Only the first fragment of a datagram has ports. It is translated like any packet,
// and what its addresses became is kept for the others, for fragmentLife seconds or
// until the datagram is complete. A later fragment that comes before its first one is
// dropped: nothing is held back here, so nothing can be filled with what never comes.
//
// First fragments too short for their transport header are dropped (RFC 1858, 3), and so
// is what overlaps what has been let through (RFC 5722), which no fragment that would
// reach into the header can help (RFC 1858, 4).
//
// There is room for fragmentSlots datagrams of each hash of source addresses, the
// oldest gives way: nobody's fragments displace those of others, but by chance. What
// comes from the outside and from the inside has room of its own.

const (
	fragmentLife    = 30 // seconds, as Linux has it; RFC 791, 3.2 has 15 to 120
	fragmentBuckets = 64
	fragmentSlots   = 16
	fragmentPieces  = 6
)

// A datagram is one of which the first fragment has been seen.
type datagram struct {
	src, dst     addr
	id           uint32
	proto        uint8 // 0 for IPv6, where it is no part of the key
	used         bool
	toSrc, toDst addr
	side         Side
	begun        uint32
	end          uint16 // in 8-byte units, 0 while the last fragment has not been seen
	pieces       [fragmentPieces]piece
	n            int
}

// A piece is a run of a datagram's bytes, in units of 8.
type piece struct{ from, to uint16 }

type fragmentBucket struct {
	mu        sync.Mutex
	datagrams *[fragmentSlots]datagram // nil until needed
}

// fragments holds the datagrams that come from one side.
type fragments [fragmentBuckets]fragmentBucket

// A fragment is what a fragment's header says of it.
type fragment struct {
	id    uint32
	proto uint8
	piece piece
	last  bool
}

// readFragment reads the fragment fields (RFC 791, 3.1; RFC 8200, 4.5) and reports
// whether they make sense.
func readFragment(f *frame.Frame) (fr fragment, ok bool) {
	v, b := &f.View, f.Bytes()
	h := b[v.L3:]
	n := 0
	if v.EtherType == frame.EtherIPv4 {
		field := binary.BigEndian.Uint16(h[6:])
		fr.id, fr.proto, fr.last = uint32(binary.BigEndian.Uint16(h[4:])), h[9], field&0x2000 == 0
		fr.piece.from = field & 0x1fff
		n = int(binary.BigEndian.Uint16(h[2:])) - int(h[0]&15)*4
	} else {
		next, at := h[6], 40
		for next != 44 { // Parse has walked to it
			next, at = h[at], at+(int(h[at+1])+1)*8
		}
		field := binary.BigEndian.Uint16(h[at+2:])
		fr.id, fr.last = binary.BigEndian.Uint32(h[at+4:]), field&1 == 0
		fr.piece.from = field >> 3
		n = 40 + int(binary.BigEndian.Uint16(h[4:])) - at - 8
	}
	fr.piece.to = fr.piece.from + uint16((n+7)/8)
	whole := n > 0 && (fr.last || n%8 == 0)
	fits := int(fr.piece.from)*8+n <= 65535
	return fr, whole && fits
}

// firstFragment keeps what becomes of a datagram's addresses.
func (t *Table) firstFragment(f *frame.Frame, p *packet, to *tuple, side Side, now uint32) frame.Reason {
	fr, ok := readFragment(f)
	if !ok {
		return frame.BadFragment
	}
	b := t.fragmentsOf(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.datagrams == nil {
		b.datagrams = new([fragmentSlots]datagram)
	}
	oldest := &b.datagrams[0]
	for i := range b.datagrams {
		d := &b.datagrams[i]
		if d.is(p, &fr, now) {
			return frame.BadFragment // another one overlaps the first
		}
		if oldest.used && (!d.used || int32(d.begun-oldest.begun) < 0) {
			oldest = d
		}
	}
	*oldest = datagram{src: p.src, dst: p.dst, id: fr.id, proto: fr.proto, used: true, toSrc: to.src, toDst: to.dst, side: side, begun: now}
	oldest.add(&fr)
	return frame.NotDropped
}

// laterFragment translates a fragment by its datagram's first.
func (t *Table) laterFragment(f *frame.Frame, p *packet, now uint32) (Side, frame.Reason) {
	fr, ok := readFragment(f)
	if !ok {
		return Outside, frame.BadFragment
	}
	b := t.fragmentsOf(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.datagrams == nil {
		return Outside, frame.StrayFragment
	}
	for i := range b.datagrams {
		d := &b.datagrams[i]
		if !d.is(p, &fr, now) {
			continue
		}
		if !d.add(&fr) {
			return Outside, frame.BadFragment
		}
		p.rewriteAddresses(f, &tuple{src: d.toSrc, dst: d.toDst}, 1)
		return d.side, frame.NotDropped
	}
	return Outside, frame.StrayFragment
}

func (t *Table) fragmentsOf(p *packet) *fragmentBucket {
	side := 0
	if p.c.inside() {
		side = 1
	}
	return &t.frags[side][t.keys.host(p.src)%fragmentBuckets]
}

func (d *datagram) is(p *packet, fr *fragment, now uint32) bool {
	return d.used && d.id == fr.id && d.proto == fr.proto && d.src == p.src && d.dst == p.dst && int32(now-d.begun) < fragmentLife
}

// add notes a fragment and reports whether it may pass: it overlaps nothing, ends
// where the datagram ends, and the gaps can still be told apart. A complete datagram
// is forgotten.
func (d *datagram) add(fr *fragment) bool {
	p := fr.piece
	if d.end != 0 && (fr.last || p.to > d.end) {
		return false
	}
	at := 0
	for at < d.n && d.pieces[at].to <= p.from {
		at++
	}
	if at < d.n && d.pieces[at].from < p.to || fr.last && at < d.n {
		return false
	}
	switch after, before := at < d.n && d.pieces[at].from == p.to, at > 0 && d.pieces[at-1].to == p.from; {
	case after && before:
		d.pieces[at-1].to = d.pieces[at].to
		copy(d.pieces[at:], d.pieces[at+1:d.n])
		d.n--
	case before:
		d.pieces[at-1].to = p.to
	case after:
		d.pieces[at].from = p.from
	case d.n == fragmentPieces:
		return false
	default:
		copy(d.pieces[at+1:], d.pieces[at:d.n])
		d.pieces[at] = p
		d.n++
	}
	if fr.last {
		d.end = p.to
	}
	if d.n == 1 && d.end != 0 && d.pieces[0] == (piece{0, d.end}) {
		d.used = false
	}
	return true
}
