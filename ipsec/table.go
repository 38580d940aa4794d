package ipsec

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// maxSame is how many SAs may have one source and SPI: each costs a forger's
// packet one decryption.
const maxSame = 4

// A Table holds the SAs a node receives by. It is immutable; its owner publishes
// another when SAs come or go. An SA keeps its window from table to table.
type Table struct {
	entries map[source]entry
	n       int
}

// A source is a sender's address, IPv6 or IPv4-mapped in two words, and an SPI.
type source struct {
	hi, lo uint64
	spi    uint32
}

// An entry holds the SAs of a source, nearly always one.
type entry struct {
	first *Inbound
	rest  []*Inbound
}

// NewTable returns a table of the SAs, and those there was no room for: more than
// four have their source address and SPI, which does not happen by chance.
func NewTable(sas []*Inbound) (t *Table, refused []*Inbound) {
	t = &Table{entries: make(map[source]entry, len(sas))}
	for _, sa := range sas {
		key := sourceOf(sa.vtep.Addr(), sa.spi)
		e := t.entries[key]
		switch {
		case e.first == nil:
			e.first = sa
		case e.first == sa || slices.Contains(e.rest, sa):
			continue
		case len(e.rest) == maxSame-1:
			refused = append(refused, sa)
			continue
		default:
			e.rest = append(e.rest, sa)
		}
		t.entries[key] = e
		t.n++
	}
	return t, refused
}

// Len returns the number of SAs.
func (t *Table) Len() int { return t.n }

// Lookup returns the first SA of a source address and an SPI, nil if there is
// none. An IPv4-mapped address is the IPv4 address, a zone is no part of it.
func (t *Table) Lookup(a netip.Addr, spi uint32) *Inbound { return t.find(a, spi).first }

func (t *Table) find(a netip.Addr, spi uint32) entry {
	if t == nil {
		return entry{}
	}
	return t.entries[sourceOf(a, spi)]
}

func sourceOf(a netip.Addr, spi uint32) source {
	b := a.As16()
	return source{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:]), spi}
}
