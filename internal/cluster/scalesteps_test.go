//go:build !race

package cluster

import (
	"cmp"
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"time"

	"weft/internal/cluster/gossip"
)

// run takes the steps of a simulation, each of which notes its figures.
func (s *simulation) run(before uint64) {
	s.report(s.until(10*time.Minute, s.strangers).Seconds(), "members-s")
	s.report(float64(s.f.Total().Wire())/float64(len(s.nodes))/1e3, "members-kB/node")
	s.load()
	time.Sleep(simSettle)
	s.report(float64(heap()-before)/float64(len(s.nodes))/(1<<20), "MiB/node")
	s.quiet()
	s.single()
	s.churn()
	if len(s.nodes[0].networks) < simNetworks {
		s.arrivals()
	}
	s.until(time.Minute, s.incomplete)
	if why := s.unlike(); why != "" {
		s.t.Error(why)
	}
}

// load attaches all nodes and makes all endpoints at once: the worst beginning.
func (s *simulation) load() {
	var wg sync.WaitGroup
	for _, n := range s.nodes {
		wg.Go(func() {
			for _, network := range n.networks {
				n.g.Attach(s.t.Context(), network) // whoever has it may have no rows yet
			}
		})
	}
	wg.Wait()
	s.f.Total()
	start := time.Now()
	for _, n := range s.nodes {
		for i := range simEndpoints {
			s.put(n, n.networks[i%len(n.networks)])
		}
	}
	s.until(10*time.Minute, s.incomplete)
	s.report(time.Since(start).Seconds(), "load-s")
	s.report(float64(s.f.Total().Wire())/float64(len(s.nodes))/1e3, "load-kB/node")
}

// traffic reports what nodes sent in some time, and returns the mean in bytes per
// second.
func (s *simulation) traffic(name string, took time.Duration) float64 {
	var sum, most float64
	var datagrams, streams int
	for _, t := range s.f.Sent() {
		b := float64(t.Wire()) / took.Seconds()
		sum, most = sum+b, max(most, b)
		datagrams, streams = datagrams+t.Datagrams, streams+t.Streams
	}
	n := float64(len(s.nodes))
	s.report(sum/n, name+"-B/s")
	s.report(most, name+"-most-B/s")
	s.report(float64(datagrams)/n/took.Seconds(), name+"-datagrams/s")
	s.report(float64(streams)/n/took.Seconds(), name+"-streams/s")
	return sum / n
}

// quiet measures a cluster in which nothing happens. Five minutes hold two of
// memberlist's exchanges of everything, which are rarer the more nodes there are.
func (s *simulation) quiet() {
	const took = 5 * time.Minute
	s.f.Total()
	tables, cpu := s.spoken(), processor()
	time.Sleep(took)
	s.report((processor()-cpu)/took.Seconds()/float64(len(s.nodes))*1e3, "quiet-CPU-ms/s")
	s.report((s.spoken()-tables)/took.Seconds()/float64(len(s.nodes)), "quiet-tables-B/s")
	if mean := s.traffic("quiet", took); mean > 30_000 {
		s.t.Errorf("a node at rest sends %.0f bytes a second, at most 30,000 are allowed", mean)
	}
}

// spoken returns the bytes of messages about tables that all nodes have sent.
func (s *simulation) spoken() (sum float64) {
	for _, n := range s.nodes {
		st := n.g.Stats()
		sum += float64(st.PacketBytes + st.StreamBytes)
	}
	return sum
}

// processor returns the seconds of processor time that this process used so far.
func processor() float64 {
	runtime.GC() // which brings the metrics up to date
	v := []metrics.Sample{{Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"}}
	metrics.Read(v)
	return v[0].Value.Float64() - v[1].Value.Float64()
}

// single makes one endpoint a second, and measures when the others know of it.
func (s *simulation) single() {
	for range 100 {
		n := s.nodes[s.rng.IntN(len(s.nodes))]
		s.watch.add(s.put(n, n.networks[s.rng.IntN(len(n.networks))]), s.with)
		time.Sleep(time.Second)
	}
	s.seen("one")
}

// seen reports the times since the last call, once everybody has seen everything.
func (s *simulation) seen(name string) {
	s.t.Helper()
	s.until(5*time.Minute, s.watch.unseen)
	took := s.watch.take()
	at := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1e3 }
	s.report(at(0.5), name+"-p50-ms")
	s.report(at(0.99), name+"-p99-ms")
	s.report(at(1), name+"-max-ms")
	if at(0.99) > 2000 {
		s.t.Errorf("%s: an endpoint is known after %.0f ms at the 99th percentile, at most 2,000 are allowed", name, at(0.99))
	}
}

// churn has endpoints come and go all over the cluster.
func (s *simulation) churn() {
	const took = time.Minute
	s.f.Total()
	cpu := processor()
	for i := range int(took.Seconds()) * simChanges {
		n := s.nodes[s.rng.IntN(len(s.nodes))]
		if i%2 == 0 {
			s.watch.add(s.put(n, n.networks[s.rng.IntN(len(n.networks))]), s.with)
		} else {
			s.removeOldest(n)
		}
		time.Sleep(time.Second / simChanges)
	}
	s.report((processor()-cpu)/took.Seconds()/float64(len(s.nodes))*1e3, "churn-CPU-ms/s")
	s.traffic("churn", took)
	s.seen("churn")
}

// arrivals makes endpoints on nodes that did not have the network: they attach to
// it first, as Member.Use does.
func (s *simulation) arrivals() {
	for range 40 {
		n := s.nodes[s.rng.IntN(len(s.nodes))]
		network := s.networks[s.rng.IntN(len(s.networks))]
		if n.has[network] {
			continue
		}
		start := time.Now()
		if err := n.g.Attach(s.t.Context(), network); err != nil {
			s.t.Errorf("attach: %v", err)
		}
		row := s.put(n, network)
		s.watch.addSince(row, s.with, start)
		n.networks, n.has[network] = append(n.networks, network), true
		s.with[network] = append(s.with[network], n)
		time.Sleep(time.Second)
	}
	s.seen("arrival")
}

// A watch notes when nodes see rows.
type watch struct {
	mu      sync.Mutex
	pending map[string][]*sighting // by network
	took    []time.Duration
}

// A sighting is a row that some nodes have yet to see.
type sighting struct {
	row   rowName
	since time.Time
	by    map[*simNode]bool
}

func (w *watch) add(row rowName, with map[string][]*simNode) { w.addSince(row, with, time.Now()) }

func (w *watch) addSince(row rowName, with map[string][]*simNode, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := &sighting{row, since, map[*simNode]bool{}}
	for _, n := range with[row.network] {
		if n.id != row.owner {
			x.by[n] = true
		}
	}
	w.pending[row.network] = append(w.pending[row.network], x)
}

// look is called on a node when a network's rows have changed there.
func (w *watch) look(n *simNode, network string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var rows []gossip.Row
	w.pending[network] = slices.DeleteFunc(w.pending[network], func(x *sighting) bool {
		if !x.by[n] {
			return false
		}
		if rows == nil {
			rows = n.g.Rows(network)
		}
		_, found := slices.BinarySearchFunc(rows, x.row, func(r gossip.Row, want rowName) int {
			return cmp.Or(cmp.Compare(r.Owner, want.owner), cmp.Compare(r.Key, want.key))
		})
		if found {
			w.took = append(w.took, time.Since(x.since))
			delete(x.by, n)
		}
		return len(x.by) == 0
	})
}

// unseen says how many rows somebody has not seen.
func (w *watch) unseen() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, list := range w.pending {
		n += len(list)
	}
	if n > 0 {
		return "some have not seen a row"
	}
	return ""
}

// take returns the times noted, sorted, and forgets them.
func (w *watch) take() []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	took := w.took
	w.took = nil
	if len(took) == 0 {
		took = []time.Duration{math.MaxInt64} // nobody saw anything
	}
	slices.Sort(took)
	return took
}
