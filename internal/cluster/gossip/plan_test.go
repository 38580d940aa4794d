//go:build !race

package gossip

// The race detector's own runtime breaks down now and then under bubbles of this many
// goroutines (SIGSEGV outside of Go code): make test runs these without it.

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A world is a cluster under a fault plan, and what each owner last said.
type world struct {
	t     *testing.T
	f     *fabric
	rng   *rand.Rand
	gs    []*Gossip
	truth []map[string]string // per node; nil while it does not have the network
	log   []string
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%8v ", time.Since(w.start()).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (*world) start() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) } // of every bubble

// fault does one thing to the network or to a node.
func (w *world) fault() {
	i := w.rng.IntN(len(w.gs))
	switch w.rng.IntN(8) {
	case 0:
		loss, dup := w.rng.Float64()*0.6, w.rng.Float64()*0.3
		delay := time.Duration(w.rng.IntN(400)) * time.Millisecond
		w.note("loss %.2f, duplication %.2f, delay to %v", loss, dup, delay)
		w.f.Faults(loss, dup, delay)
	case 1:
		var side []netip.Addr
		for j := range w.gs {
			if w.rng.IntN(2) == 0 {
				side = append(side, host(j+1))
			}
		}
		w.note("split off %v", side)
		w.f.Split(side...)
	case 2:
		w.note("heal")
		w.f.Split()
		w.f.Faults(0, 0, time.Millisecond)
	case 3: // crash and return: what it said is gone
		w.note("restart n%d", i+1)
		w.gs[i].Close()
		time.Sleep(time.Duration(w.rng.IntN(20)) * time.Second)
		w.gs[i] = w.f.node(w.t, i+1, bootstrap(1, 2))
		w.truth[i] = nil
	case 4:
		if w.truth[i] != nil {
			w.note("n%d detaches", i+1)
			w.gs[i].Detach("net")
			w.truth[i] = nil
		}
	default:
		if w.truth[i] == nil {
			w.note("n%d attaches", i+1)
			w.gs[i].Attach(w.t.Context(), "net")
			w.truth[i] = map[string]string{}
		}
	}
}

// write has some nodes put and delete rows, a few of them big.
func (w *world) write() {
	for range w.rng.IntN(20) {
		i, key := w.rng.IntN(len(w.gs)), fmt.Sprint("k", w.rng.IntN(8))
		if w.truth[i] == nil {
			continue
		}
		if w.rng.IntN(3) == 0 {
			w.gs[i].Delete("net", key)
			delete(w.truth[i], key)
			continue
		}
		value := fmt.Sprint(w.rng.Uint64())
		if w.rng.IntN(10) == 0 {
			value += fmt.Sprintf("%*d", w.rng.IntN(MaxValue-30), 0)
		}
		put(w.t, w.gs[i], key, value)
		w.truth[i][key] = value
	}
}

// expected is what every attached node ends up with.
func (w *world) expected() (rows []Row) {
	for i, truth := range w.truth {
		for key, value := range truth {
			rows = append(rows, row(fmt.Sprint("n", i+1), key, 1, value))
		}
	}
	slices.SortFunc(rows, func(a, b Row) int { return slices.Compare([]string{a.Owner, a.Key}, []string{b.Owner, b.Key}) })
	return rows
}

// TestFaultPlan writes and deletes rows while datagrams are lost, doubled and
// overtake each other, while the cluster splits, and while nodes restart, attach
// and detach. After it heals, each node has what the owners said last.
func TestFaultPlan(t *testing.T) {
	seeds := 6
	if testing.Short() {
		seeds = 2
	}
	first := uint64(time.Now().UnixNano())
	for s := range seeds {
		seed := first + uint64(s)
		if s == 0 {
			seed = 1 // one that is the same on every run
		}
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, seed, func(t *testing.T, f *fabric) {
				w := &world{t: t, f: f, rng: rand.New(rand.NewPCG(seed, 3)), gs: f.cluster(t, 6)}
				for range w.gs {
					w.truth = append(w.truth, map[string]string{})
				}
				for range 60 {
					w.fault()
					w.write()
					time.Sleep(time.Duration(w.rng.IntN(8000)) * time.Millisecond)
				}
				w.note("heal for good")
				f.Split()
				f.Faults(0, 0, time.Millisecond)
				w.settled()
				time.Sleep(5 * time.Minute)
				w.settled() // nothing comes back later
			})
		})
	}
}

// settled waits until the tables are equal to the truth, and prints the plan when
// they do not become so.
func (w *world) settled() {
	w.t.Helper()
	defer func() {
		if w.t.Failed() {
			for _, line := range w.log {
				w.t.Log(line)
			}
		}
	}()
	want := w.expected()
	within(w.t, 3*time.Minute, func() string {
		for i, g := range w.gs {
			if w.truth[i] == nil {
				if g.Rows("net") != nil {
					return fmt.Sprintf("n%d has rows of a network it left", i+1)
				}
				continue
			}
			if got, exp := brief(g.Rows("net")), brief(want); !slices.Equal(got, exp) {
				return fmt.Sprintf("n%d has %d rows, expected %d: %.900q and %.900q", i+1, len(got), len(exp), short(got), short(exp))
			}
		}
		return ""
	})
}

func short(rows []string) (out []string) {
	for _, r := range rows {
		out = append(out, r[:min(len(r), 16)])
	}
	return out
}

// TestSimulation runs a hundred nodes on ten networks of twenty nodes each, and
// measures: how long until a row is everywhere, and what a node sends.
func TestSimulation(t *testing.T) {
	nodes, networks, members, rows := 100, 10, 20, 20
	if testing.Short() {
		nodes = 61
	}
	bubble(t, 1, func(t *testing.T, f *fabric) {
		f.Faults(0.01, 0, 2*time.Millisecond)
		var gs []*Gossip
		for i := range nodes {
			gs = append(gs, f.node(t, i+1, bootstrap(1, 2, 3)))
		}
		within(t, 2*time.Minute, func() string {
			for _, g := range gs {
				if len(alive(g)) != nodes {
					return fmt.Sprintf("%s knows %d members", g.cfg.NodeID, len(alive(g)))
				}
			}
			return ""
		})
		with := map[string][]*Gossip{}
		for n := range networks {
			id := fmt.Sprint("net", n)
			for m := range members {
				g := gs[(n*7+m*3)%nodes]
				if err := g.Attach(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				with[id] = append(with[id], g)
			}
		}
		time.Sleep(time.Minute)
		f.Total()
		start := time.Now()
		for id, gs := range with {
			for _, g := range gs {
				for r := range rows {
					if err := g.Put(id, fmt.Sprint("endpoint", r), make([]byte, 100)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		within(t, 2*time.Minute, func() string { return incomplete(with, members*rows) })
		bytes := f.Total().DatagramBytes
		t.Logf("%d rows each for %d nodes after %v: %d bytes a node", members*rows, members, time.Since(start), bytes/nodes)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %v", took)
		}
		one := with["net3"]
		start = time.Now()
		if err := one[0].Put("net3", "one", []byte("v")); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, func() string {
			return incomplete(map[string][]*Gossip{"net3": one}, members*rows+1)
		})
		t.Logf("one more row is everywhere after %v", time.Since(start))
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("one row took %v", took)
		}
		f.Total()
		time.Sleep(2 * time.Minute)
		bytes = f.Total().DatagramBytes
		t.Logf("at rest: %d bytes of datagrams a node and second", bytes/nodes/120)
		if got := bytes / nodes / 120; got > 5000 {
			t.Errorf("%d bytes a node and second at rest", got)
		}
	})
}

// incomplete says which node does not have a number of rows.
func incomplete(with map[string][]*Gossip, rows int) string {
	for id, gs := range with {
		for _, g := range gs {
			if n := len(g.Rows(id)); n != rows {
				return fmt.Sprintf("%s has %d rows of %s, expected %d", g.cfg.NodeID, n, id, rows)
			}
		}
	}
	return ""
}
