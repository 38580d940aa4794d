package vswitch

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestPrefixTable holds the table against looking at all prefixes.
func TestPrefixTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		var table prefixTable[netip.Prefix]
		var all []netip.Prefix
		for range rng.IntN(12) {
			p := netip.PrefixFrom(randomAddr(rng), 0)
			p = netip.PrefixFrom(p.Addr(), rng.IntN(p.Addr().BitLen()+1)).Masked()
			fresh := true
			for _, q := range all {
				fresh = fresh && p != q
			}
			if table.add(p, p) != fresh {
				t.Fatalf("round %d: entering %s again, or not", round, p)
			}
			if fresh {
				all = append(all, p)
			}
		}
		table.seal()
		for range 100 {
			a := randomAddr(rng)
			if len(all) > 0 && rng.IntN(2) == 0 { // at an edge
				p := all[rng.IntN(len(all))]
				a = p.Addr()
				if rng.IntN(2) == 0 && a.Prev().IsValid() {
					a = a.Prev()
				}
			}
			want, found := netip.Prefix{}, false
			for _, p := range all {
				if p.Contains(a) && (!found || p.Bits() > want.Bits()) {
					want, found = p, true
				}
			}
			if got, ok := table.lookup(a); ok != found || ok && got != want {
				t.Fatalf("round %d, %v: %s is in %s, %v, want %s, %v", round, all, a, got, ok, want, found)
			}
		}
	}
	if (&prefixTable[int]{}).add(netip.Prefix{}, 1) {
		t.Error("no prefix was entered")
	}
}

// randomAddr returns addresses that share much.
func randomAddr(rng *rand.Rand) netip.Addr {
	few := []byte{0, 1, 0x80, 0xff}
	if rng.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{few[rng.IntN(4)], few[rng.IntN(4)], few[rng.IntN(4)], few[rng.IntN(4)]})
	}
	a := [16]byte{0: few[rng.IntN(4)], 1: few[rng.IntN(4)], 7: few[rng.IntN(4)], 8: few[rng.IntN(4)], 15: few[rng.IntN(4)]}
	if rng.IntN(4) == 0 {
		for i := range a {
			a[i] = 0xff
		}
	}
	return netip.AddrFrom16(a)
}
