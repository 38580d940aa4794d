package ipam

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"sort"
)

// A set holds addresses of one family as disjoint spans in order, neighbours
// joined. Its size follows the number of gaps, not that of addresses: a full /8
// is one span, and an IPv6 /64 costs no more than what is used of it.
type set struct {
	spans []span
}

// A span is all addresses from first to last, both included.
type span struct{ first, last netip.Addr }

// at returns the index of the first span that ends at or after a.
func (s *set) at(a netip.Addr) int {
	return sort.Search(len(s.spans), func(i int) bool { return !s.spans[i].last.Less(a) })
}

// has reports whether a is in the set.
func (s *set) has(a netip.Addr) bool {
	i := s.at(a)
	return i < len(s.spans) && !a.Less(s.spans[i].first)
}

// add takes a into the set and reports whether it was not in it.
func (s *set) add(a netip.Addr) bool {
	i := s.at(a)
	if i < len(s.spans) && !a.Less(s.spans[i].first) {
		return false
	}
	left := i > 0 && s.spans[i-1].last.Next() == a
	right := i < len(s.spans) && a.Next() == s.spans[i].first
	switch {
	case left && right:
		s.spans[i-1].last = s.spans[i].last
		s.spans = slices.Delete(s.spans, i, i+1)
	case left:
		s.spans[i-1].last = a
	case right:
		s.spans[i].first = a
	default:
		s.spans = slices.Insert(s.spans, i, span{a, a})
	}
	return true
}

// remove takes a out of the set and reports whether it was in it.
func (s *set) remove(a netip.Addr) bool {
	i := s.at(a)
	if i == len(s.spans) || a.Less(s.spans[i].first) {
		return false
	}
	sp := s.spans[i]
	switch {
	case sp.first == a && sp.last == a:
		s.spans = slices.Delete(s.spans, i, i+1)
	case sp.first == a:
		s.spans[i].first = a.Next()
	case sp.last == a:
		s.spans[i].last = a.Prev()
	default:
		s.spans[i].last = a.Prev()
		s.spans = slices.Insert(s.spans, i+1, span{a.Next(), sp.last})
	}
	return true
}

// free returns the lowest address from first to last that is not in the set.
func (s *set) free(first, last netip.Addr) (netip.Addr, bool) {
	a := first
	if i := s.at(a); i < len(s.spans) && !a.Less(s.spans[i].first) {
		a = s.spans[i].last.Next() // invalid after the last address of all
	}
	if !a.IsValid() || last.Less(a) {
		return netip.Addr{}, false
	}
	return a, true
}

// count returns how many addresses from first to last are in the set, at most
// math.MaxUint64.
func (s *set) count(first, last netip.Addr) uint64 {
	var n uint64
	for i := s.at(first); i < len(s.spans) && !last.Less(s.spans[i].first); i++ {
		sp := s.spans[i]
		if sp.first.Less(first) {
			sp.first = first
		}
		if last.Less(sp.last) {
			sp.last = last
		}
		n = saturate(n, size(sp.first, sp.last))
	}
	return n
}

// size returns the number of addresses from first to last, at most
// math.MaxUint64.
func size(first, last netip.Addr) uint64 {
	a, b := first.As16(), last.As16()
	lo, borrow := bits.Sub64(binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(a[8:]), 0)
	hi, _ := bits.Sub64(binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(a[:]), borrow)
	if hi != 0 {
		return math.MaxUint64
	}
	return saturate(lo, 1)
}

// saturate adds without overflow.
func saturate(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
