package gossip

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

func everyone(string) bool { return true }

func row(owner, key string, version uint64, value string) Row {
	r := Row{Network: "n", Owner: owner, Key: key, Version: version, Deleted: value == ""}
	if !r.Deleted {
		r.Value = []byte(value)
	}
	return r
}

func TestMerge(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name  string
		given []Row
		row   Row
		want  outcome
		live  string // rows afterwards
	}{
		{"first", nil, row("a", "k", 1, "x"), applied, "[a/k=x]"},
		{"newer", []Row{row("a", "k", 1, "x")}, row("a", "k", 2, "y"), applied, "[a/k=y]"},
		{"older", []Row{row("a", "k", 2, "y")}, row("a", "k", 1, "x"), stale, "[a/k=y]"},
		{"same", []Row{row("a", "k", 2, "y")}, row("a", "k", 2, "z"), stale, "[a/k=y]"},
		{"delete", []Row{row("a", "k", 1, "x")}, row("a", "k", 2, ""), applied, "[]"},
		{"delete of nothing", nil, row("a", "k", 2, ""), applied, "[]"},
		{"no resurrection", []Row{row("a", "k", 2, "")}, row("a", "k", 1, "x"), stale, "[]"},
		{"written again", []Row{row("a", "k", 2, "")}, row("a", "k", 3, "x"), applied, "[a/k=x]"},
		{"owners apart", []Row{row("a", "k", 2, "y")}, row("b", "k", 1, "x"), applied, "[a/k=y b/k=x]"},
		{"sorted", []Row{row("b", "k", 2, "y"), row("a", "m", 1, "x")}, row("a", "k", 1, "z"), applied, "[a/k=z a/m=x b/k=y]"},
		{"full", []Row{row("a", "k", 1, "x"), row("a", "l", 2, "x"), row("b", "m", 1, "x")}, row("a", "n", 9, "x"), full, "[a/k=x a/l=x b/m=x]"},
		{"full, new owner", []Row{row("a", "k", 1, "x"), row("a", "l", 2, "x"), row("b", "m", 1, "x")}, row("c", "n", 9, "x"), full, "[a/k=x a/l=x b/m=x]"},
		{"full, known row", []Row{row("a", "k", 1, "x"), row("a", "l", 2, "x"), row("b", "m", 1, "x")}, row("a", "k", 9, "y"), applied, "[a/k=y a/l=x b/m=x]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := newTable(3)
			for _, r := range c.given {
				tab.merge(r, now)
			}
			if got := tab.merge(c.row, now); got != c.want {
				t.Errorf("outcome %d, expected %d", got, c.want)
			}
			if got := fmt.Sprint(brief(tab.live("n", everyone))); got != c.live {
				t.Errorf("rows %s, expected %s", got, c.live)
			}
			check(t, tab)
		})
	}
}

func brief(rows []Row) (out []string) {
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%s/%s=%s", r.Owner, r.Key, r.Value))
	}
	return out
}

// check holds the running count and digests against the rows themselves.
func check(t *testing.T, tab *table) {
	t.Helper()
	n := 0
	for owner, o := range tab.owners {
		var sum uint64
		for key, e := range o.rows {
			n++
			if !e.deleted {
				sum ^= hashRow(key, e.version)
			}
			if e.version <= o.floor {
				t.Errorf("row %s/%s of version %d is void (floor %d) and still there", owner, key, e.version, o.floor)
			}
		}
		if sum != o.digest {
			t.Errorf("digest of %s is %x, its rows say %x", owner, o.digest, sum)
		}
	}
	if n != tab.count {
		t.Errorf("count %d, %d rows found", tab.count, n)
	}
}

func TestFloor(t *testing.T) {
	tab, now := newTable(10), time.Unix(1000, 0)
	tab.merge(row("a", "k", 1, "x"), now)
	tab.merge(row("a", "l", 3, "y"), now)
	tab.merge(row("a", "m", 2, ""), now)
	tab.merge(row("b", "k", 1, "z"), now)
	if !tab.raise("a", 2) {
		t.Error("a live row went and it was not said")
	}
	if tab.raise("a", 1) {
		t.Error("a floor went down")
	}
	if got := fmt.Sprint(brief(tab.live("n", everyone))); got != "[a/l=y b/k=z]" {
		t.Errorf("rows %s", got)
	}
	if got := tab.merge(row("a", "k", 2, "again"), now); got != stale {
		t.Errorf("a void row: outcome %d", got)
	}
	tab.raise("c", 5)
	if got := tab.merge(row("c", "k", 5, "x"), now); got != stale {
		t.Errorf("a void row of an owner not seen before: outcome %d", got)
	}
	check(t, tab)
	if !tab.drop("b") || tab.drop("b") || tab.count != 1 {
		t.Errorf("dropping b left %d rows", tab.count)
	}
}

func TestReap(t *testing.T) {
	tab, at := newTable(10), time.Unix(1000, 0)
	tab.merge(row("a", "k", 1, ""), at)
	tab.merge(row("a", "l", 2, ""), at.Add(time.Minute))
	tab.merge(row("a", "m", 3, "x"), at)
	tab.reap(at.Add(time.Second))
	if tab.count != 2 {
		t.Errorf("%d rows left, expected the young tombstone and the live row", tab.count)
	}
	if _, ok := tab.get("a", "l"); !ok {
		t.Error("the young tombstone is gone")
	}
	check(t, tab)
}

// TestMergeAnyOrder gives tables the same rows and floors in different orders, some
// twice.
func TestMergeAnyOrder(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var rows []Row
		floors := map[int]bool{}
		for v := range 40 {
			r := row(string(rune('a'+rng.IntN(3))), string(rune('k'+rng.IntN(4))), uint64(v+1), "x")
			if rng.IntN(3) == 0 {
				r = row(r.Owner, r.Key, r.Version, "")
			}
			floors[v+1] = rng.IntN(10) == 0
			rows = append(rows, r)
		}
		var want []Row
		for round := range 4 {
			tab := newTable(100)
			order := slices.Concat(rng.Perm(len(rows)), rng.Perm(len(rows))[:10])
			for _, i := range order {
				if floors[int(rows[i].Version)] {
					tab.raise(rows[i].Owner, rows[i].Version)
				} else {
					tab.merge(rows[i], time.Unix(0, 0))
				}
			}
			check(t, tab)
			got := slices.Concat(tab.all("n", "a"), tab.all("n", "b"), tab.all("n", "c"))
			if round > 0 && !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: %v in one order, %v in another", seed, got, want)
			}
			want = got
		}
	}
}

// TestCompare lets two random tables exchange what they find to differ: then they
// are equal, and only rows that differed were sent.
func TestCompare(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 2))
		a, b := newTable(1000), newTable(1000)
		for v := range 60 {
			r := row(string(rune('a'+rng.IntN(4))), fmt.Sprint(rng.IntN(6)), uint64(v+1), "x")
			if rng.IntN(4) == 0 {
				r = row(r.Owner, r.Key, r.Version, "")
			}
			if rng.IntN(8) > 0 {
				a.merge(r, time.Time{})
			}
			if rng.IntN(8) > 0 {
				b.merge(r, time.Time{})
			}
		}
		for _, owner := range b.differing(a.digests(everyone), everyone) {
			give, want := a.compare("n", b.versions(owner))
			for _, r := range give {
				if b.merge(r, time.Time{}) != applied {
					t.Fatalf("seed %d: row %v was sent for nothing", seed, r)
				}
			}
			for _, w := range want {
				e, ok := b.get(w.owner, w.key)
				if !ok || a.merge(e.row("n", w.owner, w.key), time.Time{}) != applied {
					t.Fatalf("seed %d: row %v was asked for in vain", seed, w)
				}
			}
		}
		if la, lb := a.live("n", everyone), b.live("n", everyone); !reflect.DeepEqual(la, lb) {
			t.Fatalf("seed %d:\n%v\n%v", seed, brief(la), brief(lb))
		}
		if d := a.differing(b.digests(everyone), everyone); len(d) > 0 {
			t.Fatalf("seed %d: equal tables differ by digest in %v", seed, d)
		}
	}
}

func TestCompareKeepsOutVoid(t *testing.T) {
	a, b := newTable(10), newTable(10)
	a.raise("x", 5)
	b.merge(row("x", "k", 4, "old"), time.Time{})
	if _, want := a.compare("n", b.versions("x")); len(want) > 0 {
		t.Errorf("asks for %v, which is void here", want)
	}
}

// TestCompareLeavesTombstones: a tombstone goes only where its row still lives.
func TestCompareLeavesTombstones(t *testing.T) {
	a, b := newTable(10), newTable(10)
	a.merge(row("x", "unknown there", 4, ""), time.Time{})
	b.merge(row("x", "unknown here", 5, ""), time.Time{})
	a.merge(row("x", "alive there", 7, ""), time.Time{})
	b.merge(row("x", "alive there", 6, "old"), time.Time{})
	give, want := a.compare("n", b.versions("x"))
	if len(want) > 0 || len(give) != 1 || give[0].Key != "alive there" {
		t.Errorf("gives %v and wants %v, expected one tombstone given", give, want)
	}
}

func TestDifferingAdmits(t *testing.T) {
	a := newTable(10)
	a.merge(row("x", "k", 1, "v"), time.Time{})
	onlyY := func(o string) bool { return o == "y" }
	ds := []ownerDigest{{"y", 3}, {"z", 4}}
	if got := a.differing(ds, onlyY); !slices.Equal(got, []string{"y"}) {
		t.Errorf("differing: %v, expected y alone", got)
	}
	if got := a.digests(onlyY); len(got) > 0 {
		t.Errorf("digests: %v, expected none", got)
	}
}

// TestHashSpreads looks for keys and versions whose exclusive or is that of
// others: a digest that missed differences.
func TestHashSpreads(t *testing.T) {
	seen := map[uint64]string{}
	for k := range 300 {
		for v := range uint64(300) {
			key := fmt.Sprint("endpoint-", k)
			h := hashRow(key, v) ^ hashRow(key, v+1)
			if other, ok := seen[h]; ok {
				t.Fatalf("%s at %d and %s change the digest alike", key, v, other)
			}
			seen[h] = fmt.Sprintf("%s at %d", key, v)
		}
	}
}

func at(s byte) time.Time { return time.Unix(int64(s), 0) }
