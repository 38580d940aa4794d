package vswitch

import (
	"net/netip"
	"slices"
)

// A prefixTable finds the longest prefix that an address is in. It is immutable: one
// map for each length that occurs, of which there are few.
type prefixTable[V any] struct{ v4, v6 []prefixLength[V] }

// A prefixLength holds the prefixes of one length, the longest first.
type prefixLength[V any] struct {
	bits int
	at   map[netip.Addr]V
}

// add enters a prefix, masked; the table must not be shared yet. It returns false for
// a prefix that is there already or is none.
func (t *prefixTable[V]) add(p netip.Prefix, v V) bool {
	p = p.Masked()
	if !p.IsValid() || p.Addr().Is4In6() {
		return false
	}
	list := &t.v6
	if p.Addr().Is4() {
		list = &t.v4
	}
	i, found := slices.BinarySearchFunc(*list, p.Bits(), func(l prefixLength[V], bits int) int { return bits - l.bits })
	if !found {
		*list = slices.Insert(*list, i, prefixLength[V]{p.Bits(), map[netip.Addr]V{}})
	}
	at := (*list)[i].at
	if _, there := at[p.Addr()]; there {
		return false
	}
	at[p.Addr()] = v
	return true
}

// lookup returns what was entered with the longest prefix that a is in.
func (t *prefixTable[V]) lookup(a netip.Addr) (v V, ok bool) {
	list := t.v6
	if a.Is4() {
		list = t.v4
	}
	for i := range list {
		p, err := a.Prefix(list[i].bits)
		if err != nil {
			return v, false
		}
		if v, ok = list[i].at[p.Addr()]; ok {
			return v, true
		}
	}
	return v, false
}
