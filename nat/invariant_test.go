package nat

import (
	"maps"
	"math/bits"
	"slices"
	"strings"
	"testing"
)

func sameWords(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// checkTable holds everything a table knows of its flows against the flows: each is in
// the index by both tuples, in its source's list, in the wheel; mappings have their
// ports, and nothing else is anywhere. Nobody may use the table meanwhile.
func checkTable(t testing.TB, tab *Table) {
	t.Helper()
	alive, byRank := map[uint32]bool{}, [ranks]int{}
	heads, ports := 0, map[*portSet]map[uint16]bool{}
	rs := tab.rules.Load()
	for i := uint32(1); i < tab.pool.given(); i++ {
		f := tab.pool.at(i)
		s := f.state.Load()
		if s&live == 0 {
			continue
		}
		alive[i] = true
		byRank[rankOf(s)]++
		if rankOf(s) != judge(s) {
			t.Fatalf("flow %d: rank %d, want %d", i, rankOf(s), judge(s))
		}
		for d := range 2 {
			tup := f.came(d)
			c := classOf(s, d)
			var h hit
			if !tab.find(&tup, c, tab.keys.tuple(&tup, c), &h) || h.slot != i || h.d != d || h.to != f.leaves(d) {
				t.Fatalf("flow %d is not found by its way %d", i, d)
			}
		}
		if s&mapped == 0 {
			continue
		}
		o := f.orig()
		head := tab.findSocket(o.src, o.sport(), classOf(s, 0))
		if head == noFlow {
			t.Fatalf("flow %d has no mapping", i)
		}
		if f.peers.prev == noFlow {
			heads++
			if head != i {
				t.Fatalf("flow %d is first of a mapping, and %d too", i, head)
			}
		}
		x, hx := f.xlat(), tab.pool.at(head).xlat()
		if x.src != hx.src || x.sport() != hx.sport() {
			t.Fatalf("flow %d appears from another port than its mapping", i)
		}
		set := &rs.outsideAt(x.src).ports[class(s).kind()]
		if ports[set] == nil {
			ports[set] = map[uint16]bool{}
		}
		ports[set][x.sport()] = true
	}
	for i := range rs.outside {
		for k := range rs.outside[i].ports {
			set, n := &rs.outside[i].ports[k], 0
			for w := range set.words {
				n += bits.OnesCount64(set.words[w].Load())
			}
			if n != len(ports[set]) || set.used.Load() != int64(n) {
				t.Fatalf("%d ports taken, %d counted, %d have a mapping", n, set.used.Load(), len(ports[set]))
			}
			for p := range ports[set] {
				if set.words[p>>6].Load()&(1<<(p&63)) == 0 {
					t.Fatalf("port %d is not taken", p)
				}
			}
		}
	}
	checkIndex(t, tab, 2*len(alive)+heads)
	checkSources(t, tab, alive, byRank)
}

// checkIndex counts entries.
func checkIndex(t testing.TB, tab *Table, want int) {
	t.Helper()
	entries, spilled, away := 0, 0, 0
	for i := range tab.index.shards {
		sh := &tab.index.shards[i]
		buckets := *sh.buckets.Load()
		n := 0
		for j := range buckets {
			b := &buckets[j]
			used := 0
			for k := range b.slots {
				if b.slots[k] != 0 {
					used++
					if first(b.place[k], len(buckets)) != j {
						away++
					}
				}
			}
			n += used
			spilled += int(b.spilled)
		}
		if sh.used != n {
			t.Fatalf("index shard of %d entries counts %d", n, sh.used)
		}
		entries += n
	}
	if entries != want || spilled != away {
		t.Fatalf("%d entries in the index, want %d; %d in second buckets, %d counted", entries, want, away, spilled)
	}
}

// checkSources holds lists, counts and wheels against the flows there are.
func checkSources(t testing.TB, tab *Table, live map[uint32]bool, byRank [ranks]int) {
	t.Helper()
	listed, timed := map[uint32]bool{}, map[uint32]bool{}
	for i := range tab.shards {
		sh := &tab.shards[i]
		if len(sh.byHost)+len(sh.unused) != len(sh.sources) {
			t.Fatalf("%d sources, %d used, %d not", len(sh.sources), len(sh.byHost), len(sh.unused))
		}
		for _, no := range sh.byHost {
			src := &sh.sources[no]
			total, ports := uint32(0), [kinds]uint32{}
			for r := range ranks {
				n := uint32(0)
				for k := src.lists[r].head; k != noFlow; k = tab.pool.at(k).family.next {
					s := tab.pool.at(k).state.Load()
					if rankOf(s) != r || tab.pool.at(k).owner.Load() != sh.ref(no) || listed[k] {
						t.Fatalf("flow %d is in a wrong list", k)
					}
					if s&mapped != 0 && tab.pool.at(k).peers.prev == noFlow {
						ports[class(s).kind()]++
					}
					listed[k] = true
					n++
				}
				if n != src.n[r] {
					t.Fatalf("list of %d flows counts %d", n, src.n[r])
				}
				total += n
			}
			if total != src.flows || total == 0 || ports != src.ports {
				t.Fatalf("source of %d flows counts %d; %v ports, counted %v", total, src.flows, ports, src.ports)
			}
		}
		n := 0
		for j := range sh.wheel.slots {
			for k := sh.wheel.slots[j]; k != noFlow; k = tab.pool.at(k).timer.next {
				timed[k] = true
				n++
			}
		}
		if n != sh.wheel.flows {
			t.Fatalf("wheel of %d flows counts %d", n, sh.wheel.flows)
		}
	}
	if !maps.Equal(live, listed) || !maps.Equal(live, timed) {
		t.Fatalf("%d flows, %d in lists, %d in wheels", len(live), len(listed), len(timed))
	}
	s := tab.Stats()
	if s.Flows != len(live) || [ranks]int{s.Unanswered, s.Loose, s.Established} != byRank {
		t.Fatalf("%d flows, %v by rank; counted %+v", len(live), byRank, s)
	}
	if s.Created != uint64(len(live))+s.Expired+s.EvictedUnanswered+s.EvictedLoose+s.EvictedEstablished+s.Ended {
		t.Fatalf("flows made and ended do not add up: %+v", s)
	}
}
