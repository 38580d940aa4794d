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

// A Splitter makes wire frames in its own arena, one source frame after the
// other, until it is reset.
type Splitter struct {
	frames []frame.Frame
	n      int // frames used
	arena  []byte
	used   int
}

// NewSplitter returns a splitter with its arena.
func NewSplitter() *Splitter {
	return &Splitter{frames: make([]frame.Frame, MaxSegments), arena: make([]byte, splitArena)}
}

// Reset forgets the frames made so far. Their bytes may be overwritten from here
// on.
func (s *Splitter) Reset() { s.n, s.used = 0, 0 }

// Split returns the wire frames that f stands for, their checksums complete. f
// must have been parsed. A frame with nothing left undone is returned as it is,
// on its own bytes. The reason is not NotDropped if f cannot be split. No frames
// and NotDropped mean that the arena is too full: write what was made so far,
// Reset, and try again.
//
// borrowed: the frames are valid until Reset.
func (s *Splitter) Split(f *frame.Frame) ([]frame.Frame, frame.Reason) {
	if f.Offload.GSO == frame.GSONone {
		return s.finish(f)
	}
	var c cut
	if !c.plan(f) {
		return nil, frame.Unsegment
	}
	n := max(1, (len(c.payload)+c.size-1)/c.size)
	if n > MaxSegments {
		return nil, frame.Unsegment
	}
	slot := frame.Headroom + len(c.header) + frame.Tailroom
	if !s.fits(n, n*slot+len(c.payload)) {
		return nil, s.full(frame.Unsegment)
	}
	ws := s.frames[s.n : s.n+n]
	for i := range ws {
		part := c.payload[i*c.size:]
		if i < n-1 {
			part = part[:c.size]
		}
		b := s.place(&ws[i], f, len(c.header)+len(part))
		copy(b, c.header)
		c.patch(b, i, i == n-1, part)
	}
	return ws, frame.NotDropped
}

// finish returns f with its transport checksum complete: f itself when it is,
// else a copy in the arena.
func (s *Splitter) finish(f *frame.Frame) ([]frame.Frame, frame.Reason) {
	if !s.fits(1, frame.Headroom+f.Len()+frame.Tailroom) {
		return nil, s.full(frame.BadOffload)
	}
	w := &s.frames[s.n : s.n+1][0]
	if f.Offload.Flags&frame.NeedsCsum == 0 {
		*w = *f
		s.n++
		return s.frames[s.n-1 : s.n], frame.NotDropped
	}
	start, end := int(f.Offload.CsumStart), packetEnd(f)
	at := start + int(f.Offload.CsumOffset)
	if at+2 > end {
		return nil, frame.BadOffload
	}
	src := f.Bytes()
	b := s.place(w, f, len(src))
	copy(b[:start], src)
	// The field holds the pseudo-header's sum, so summing over it completes it.
	// It may be UDP's inside a tunnel; to the others both forms of 0 are one.
	sum := frame.CopySum(b[start:], src[start:end], 0)
	put(b[at:], ^frame.Fold(sum), true)
	copy(b[end:], src[end:])
	return s.frames[s.n-1 : s.n], frame.NotDropped
}

// fits reports whether n more frames of so many bytes with all their room can be
// made.
func (s *Splitter) fits(n, bytes int) bool {
	return s.n+n <= len(s.frames) && s.used+bytes <= len(s.arena)
}

// full says why nothing was made: an arena that is in use can be emptied, one
// that is empty is too small for a frame that no sender makes.
func (s *Splitter) full(never frame.Reason) frame.Reason {
	if s.n == 0 {
		return never
	}
	return frame.NotDropped
}

// place makes w the arena's next frame, of n bytes that are yet to be written,
// with f's metadata but nothing left undone.
func (s *Splitter) place(w, f *frame.Frame, n int) []byte {
	end := s.used + frame.Headroom + n + frame.Tailroom
	w.Wrap(s.arena[s.used:end:end], frame.Headroom)
	w.Truncate(n)
	w.View, w.In, w.VNI = f.View, f.In, f.VNI
	s.n++
	s.used = end
	return w.Bytes()
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
