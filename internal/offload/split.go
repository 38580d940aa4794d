package offload

import (
	"encoding/binary"

	"weft/internal/frame"
)

// MaxSegments is the most wire frames one superframe may stand for. Linux lets
// no TCP segment be smaller than 48 bytes (tcp_min_snd_mss): 65,535/48 rounded
// up to a power of two.
const MaxSegments = 2048

// splitArena holds any superframe that may be split: its payload once, and per
// segment the slot's room and up to 22+120+60 bytes of headers, in practice far
// less; a superframe that does not fit is refused.
const splitArena = 64<<10 + MaxSegments*(frame.Headroom+frame.Tailroom+128)

// A Splitter cuts superframes into wire frames in its own arena.
type Splitter struct {
	frames []frame.Frame
	arena  []byte
	used   int
}

// NewSplitter returns a splitter with its arena.
func NewSplitter() *Splitter {
	return &Splitter{frames: make([]frame.Frame, MaxSegments), arena: make([]byte, splitArena)}
}

// Split returns the wire frames that f stands for, their checksums complete. f
// must have been parsed. A frame with nothing left undone is returned as it is,
// on its own bytes. The reason is not NotDropped if f cannot be split.
//
// borrowed: the frames are valid until the next call.
func (s *Splitter) Split(f *frame.Frame) ([]frame.Frame, frame.Reason) {
	if f.Offload.GSO == frame.GSONone {
		w, r := s.Finish(f)
		if r != frame.NotDropped {
			return nil, r
		}
		s.frames[0] = *w
		return s.frames[:1], frame.NotDropped
	}
	var c cut
	if !c.plan(f) {
		return nil, frame.Unsegment
	}
	n := max(1, (len(c.payload)+c.size-1)/c.size)
	slot := frame.Headroom + len(c.header) + frame.Tailroom
	if n > MaxSegments || n*slot+len(c.payload) > len(s.arena) {
		return nil, frame.Unsegment
	}
	s.used = 0
	for i := range n {
		part := c.payload[i*c.size:]
		if i < n-1 {
			part = part[:c.size]
		}
		w := &s.frames[i]
		s.place(w, f, c.header, part)
		c.patch(w.Bytes(), i, i == n-1, len(part))
	}
	return s.frames[:n], frame.NotDropped
}

// Finish returns f with its transport checksum complete: f itself when it is,
// else a copy in the splitter's arena. It refuses superframes.
//
// borrowed: the frame is valid until the next call.
func (s *Splitter) Finish(f *frame.Frame) (*frame.Frame, frame.Reason) {
	if f.Offload.GSO != frame.GSONone {
		return nil, frame.Unsegment
	}
	if f.Offload.Flags&frame.NeedsCsum == 0 {
		return f, frame.NotDropped
	}
	start, end := int(f.Offload.CsumStart), packetEnd(f)
	at := start + int(f.Offload.CsumOffset)
	if at+2 > end || frame.Headroom+f.Len()+frame.Tailroom > len(s.arena) {
		return nil, frame.BadOffload
	}
	s.used = 0
	w := &s.frames[0]
	s.place(w, f, f.Bytes(), nil)
	// The field holds the pseudo-header's sum, so summing over it completes it.
	// It may be UDP's inside a tunnel; to the others both forms of 0 are one.
	b := w.Bytes()
	put(b[at:], frame.Checksum(b[start:end], 0), true)
	return w, frame.NotDropped
}

// place builds a wire frame of header and part behind headroom in the arena,
// with f's metadata but nothing left undone.
func (s *Splitter) place(w, f *frame.Frame, header, part []byte) {
	at := s.used + frame.Headroom
	end := at + len(header) + len(part)
	copy(s.arena[at:], header)
	copy(s.arena[at+len(header):], part)
	w.Wrap(s.arena[s.used:end+frame.Tailroom:end+frame.Tailroom], frame.Headroom)
	w.Truncate(end - at)
	w.View, w.In, w.VNI = f.View, f.In, f.VNI
	s.used = end + frame.Tailroom
}

// packetEnd returns where the IP packet ends in a parsed frame; behind it there
// is only padding. For other protocols that is the frame's end.
func packetEnd(f *frame.Frame) int {
	b, l3 := f.Bytes(), int(f.View.L3)
	switch f.View.EtherType {
	case frame.EtherIPv4:
		return l3 + int(binary.BigEndian.Uint16(b[l3+2:]))
	case frame.EtherIPv6:
		return l3 + 40 + int(binary.BigEndian.Uint16(b[l3+4:]))
	}
	return len(b)
}

// put stores a transport checksum. 0 means "none" to UDP, whose sums of 0 are
// sent in their other form, 0xffff (RFC 768).
func put(b []byte, sum uint16, udp bool) {
	if sum == 0 && udp {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b, sum)
}
