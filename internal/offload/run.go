package offload

import (
	"encoding/binary"

	"weft/internal/frame"
)

// A run is a row of segments of one flow that one superframe can stand for, or,
// once closed, only the mark that its flow was seen.
type run struct {
	head        segment
	open        bool // may grow
	verified    bool // head's checksum has been looked at and is right
	at          int  // place of the first frame in the output
	first, tail uint8
	count       uint8
	size        int // payload bytes of every segment but the last
	total       int // payload bytes of all
	psh         uint8
}

// begin makes r the run of s, input i, which is output number at.
func (r *run) begin(s *segment, i uint8, at int) {
	*r = run{
		head: *s, at: at, first: i, tail: i, count: 1, size: len(s.payload), total: len(s.payload),
		open: s.mergeable && s.flags&tcpPSH == 0,
	}
}

// takes reports whether s continues the run: everything the superframe's headers
// say once must be the same, everything they let count up must be next.
func (r *run) takes(s *segment) bool {
	h := &r.head
	if !r.open || !s.mergeable || r.count == maxRun || len(s.payload) > r.size ||
		h.hdr-h.l3+r.total+len(s.payload) > maxIP {
		return false
	}
	if h.l3 != s.l3 || h.l4 != s.l4 || h.hdr != s.hdr || h.f.In != s.f.In || h.f.VNI != s.f.VNI ||
		string(h.b[:h.l3]) != string(s.b[:h.l3]) { // MACs, VLAN tags
		return false
	}
	if h.v6 {
		// Version, traffic class, flow label; next header, hop limit.
		if !same32(h.b, s.b, h.l3) || !same16(h.b, s.b, h.l3+6) {
			return false
		}
	} else if !same16(h.b, s.b, h.l3) || !same32(h.b, s.b, h.l3+6) || !r.nextID(s) {
		return false
	}
	return h.udp || r.nextTCP(s)
}

// same32 and same16 compare the bytes of a at an offset with b's. The lengths are
// known to suffice.
func same32(a, b []byte, at int) bool {
	return binary.NativeEndian.Uint32(a[at:]) == binary.NativeEndian.Uint32(b[at:])
}

func same16(a, b []byte, at int) bool {
	return binary.NativeEndian.Uint16(a[at:]) == binary.NativeEndian.Uint16(b[at:])
}

// nextID applies RFC 6864: with DF set the identification says nothing, else it
// must count up, as it will again when the superframe is cut.
func (r *run) nextID(s *segment) bool {
	const df = 0x40
	return s.b[s.l3+6]&df != 0 || s.id == r.head.id+uint16(r.count)
}

// nextTCP compares all of the TCP header but the checksum and PSH, which may be
// set on the last segment (RFC 9293, 3.1).
func (r *run) nextTCP(s *segment) bool {
	a, b, l4 := r.head.b, s.b, r.head.l4
	return s.seq == r.head.seq+uint32(r.total) && (s.flags^r.head.flags)&^tcpPSH == 0 &&
		same32(a, b, l4+8) && a[l4+12] == b[l4+12] && // acknowledgment, data offset
		same16(a, b, l4+14) && // window
		string(a[l4+18:r.head.hdr]) == string(b[l4+18:r.head.hdr]) // urgent pointer, options
}

// add appends s, input i. A short segment or PSH is the last.
func (r *run) add(s *segment, i uint8) {
	r.tail = i
	r.count++
	r.total += len(s.payload)
	r.psh = s.flags & tcpPSH
	if len(s.payload) < r.size || r.psh != 0 {
		r.open = false
	}
}

// headOK verifies the first frame, once, when a second wants to join it.
func (r *run) headOK() bool {
	if !r.verified {
		r.verified = r.head.sumOK()
	}
	return r.verified
}

// gso returns the superframe's type for runs begun by this segment.
func (s *segment) gso() frame.GSO {
	switch {
	case s.udp:
		return frame.GSOUDP
	case s.v6:
		return frame.GSOTCP6
	}
	return frame.GSOTCP4
}
