package vswitch

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sort"
)

// A prefixTable finds the longest prefix that an address is in. Prefixes are entered, then
// seal makes of them ranges that do not overlap, each with what its longest prefix has, in
// the order of their addresses: looking up is a binary search. It is immutable from then on.
type prefixTable[V any] struct {
	families [2][]prefixRange[V] // IPv4, IPv6
	entered  map[netip.Prefix]V
}

// A prefixRange begins at an address and ends where the next one begins.
type prefixRange[V any] struct {
	from address
	in   bool // it is in a prefix
	val  V
}

// An address is one of 128 bits, an IPv4 one mapped into them.
type address struct{ hi, lo uint64 }

func addressOf(a netip.Addr) address {
	b := a.As16()
	return address{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

func (a address) less(b address) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// next returns the address behind, 0 behind the last.
func (a address) next() address {
	if a.lo++; a.lo == 0 {
		a.hi++
	}
	return a
}

// last returns the last address of a prefix.
func last(p netip.Prefix) address {
	a, host := addressOf(p.Addr()), p.Addr().BitLen()-p.Bits()
	if host >= 64 {
		a.lo = ^uint64(0)
		a.hi |= uint64(1)<<(host-64) - 1
		return a
	}
	a.lo |= uint64(1)<<host - 1
	return a
}

// add enters a prefix. It returns false for one that is there already or is none.
func (t *prefixTable[V]) add(p netip.Prefix, v V) bool {
	p = p.Masked()
	if _, there := t.entered[p]; there || !p.IsValid() || p.Addr().Is4In6() {
		return false
	}
	if t.entered == nil {
		t.entered = map[netip.Prefix]V{}
	}
	t.entered[p] = v
	return true
}

// seal makes the ranges. A prefix is open from its first address to its last; of several
// that are open the one opened last is the longest.
func (t *prefixTable[V]) seal() {
	var sorted []netip.Prefix
	for p := range t.entered {
		sorted = append(sorted, p)
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var open [2][]netip.Prefix
	for _, p := range sorted {
		f := familyOf(p.Addr())
		for n := len(open[f]); n > 0 && last(open[f][n-1]).less(addressOf(p.Addr())); n-- {
			open[f] = t.shut(f, open[f])
		}
		open[f] = append(open[f], p)
		t.begin(f, addressOf(p.Addr()), open[f])
	}
	for f := range open {
		for len(open[f]) > 0 {
			open[f] = t.shut(f, open[f])
		}
	}
	t.entered = nil
}

// shut ends the prefix opened last.
func (t *prefixTable[V]) shut(f int, open []netip.Prefix) []netip.Prefix {
	n := len(open) - 1
	t.begin(f, last(open[n]).next(), open[:n])
	return open[:n]
}

// begin makes a range begin, in the prefix opened last, if one is open.
func (t *prefixTable[V]) begin(f int, from address, open []netip.Prefix) {
	r := prefixRange[V]{from: from}
	if n := len(open); n > 0 {
		r.in, r.val = true, t.entered[open[n-1]]
	}
	list := t.families[f]
	switch n := len(list); {
	case n > 0 && list[n-1].from == from:
		list[n-1] = r
	case from == (address{}) && n > 0: // behind the last address there is
	default:
		t.families[f] = append(list, r)
	}
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// lookup returns what was entered with the longest prefix that a is in.
func (t *prefixTable[V]) lookup(a netip.Addr) (v V, ok bool) {
	list, at := t.families[familyOf(a)], addressOf(a)
	i := sort.Search(len(list), func(i int) bool { return at.less(list[i].from) })
	if i == 0 {
		return v, false
	}
	return list[i-1].val, list[i-1].in
}
