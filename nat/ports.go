package nat

import (
	"math/bits"
	"sync/atomic"
)

// A portSet holds which of the 65,536 ports, or identifiers, of an outside address
// are taken. Shards take and release bits without a lock.
type portSet struct {
	words [1024]atomic.Uint64
	used  atomic.Int64
}

// take takes one port and reports whether it was free.
func (s *portSet) take(p uint16) bool {
	w, bit := &s.words[p>>6], uint64(1)<<(p&63)
	for {
		old := w.Load()
		if old&bit != 0 {
			return false
		}
		if w.CompareAndSwap(old, old|bit) {
			s.used.Add(1)
			return true
		}
	}
}

func (s *portSet) release(p uint16) {
	s.words[p>>6].And(^(uint64(1) << (p & 63)))
	s.used.Add(-1)
}

// takeAny takes a port of the range that may be had, looking upwards from a place of
// the caller's choice, which is to be random (RFC 6056, 3.3.1).
func (s *portSet) takeAny(r PortRange, from uint16, may func(uint16) bool) (uint16, bool) {
	if r.Last < r.First || r.Last == 0 || s.used.Load() >= 65536 {
		return 0, false
	}
	n := int(r.Last-r.First) + 1
	start := int(r.First) + int(from)%n
	if p, ok := s.scan(start, int(r.Last), may); ok {
		return p, true
	}
	return s.scan(int(r.First), start-1, may)
}

// scan takes the first port that may be had from first to last.
func (s *portSet) scan(first, last int, may func(uint16) bool) (uint16, bool) {
	for p := first; p <= last; {
		free := ^s.words[p>>6].Load() >> (p & 63)
		if free == 0 {
			p = (p | 63) + 1
			continue
		}
		if p += bits.TrailingZeros64(free); p > last {
			break
		}
		if may(uint16(p)) && s.take(uint16(p)) {
			return uint16(p), true
		}
		p++
	}
	return 0, false
}
