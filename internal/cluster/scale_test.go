//go:build !race

package cluster

// The race detector's own runtime breaks down under bubbles of this many goroutines.

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/cluster/gossip"
	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/internal/nettest/fabric"
)

// Theory of operation: the simulation
//
// Real nodes of the gossip (memberlist, sealing and all) in one process, in a time of
// their own: a bubble of testing/synctest, whose clock moves on when everybody waits.
// So computing costs no time, and two processors can be a thousand; what it costs is
// measured apart. Rows are those of endpoints, as Member announces them. The
// managers' word and the data path are not there.
//
// WEFT_SIMULATION names what to simulate: "500x5" is 500 nodes with 5 networks each,
// several separated by commas. The figures are printed in the format of Go benchmarks.

const (
	simNetworks  = 50
	simEndpoints = 40 // of a node
	simSettle    = 90 * time.Second
	simChanges   = 20 // endpoints that come or go in the cluster, a second
)

// A simNode is one node of a simulation.
type simNode struct {
	g        *gossip.Gossip
	id       string
	addr     netip.AddrPort
	networks []string
	has      map[string]bool
	serial   int
	living   []rowName // its endpoints, oldest first
}

type rowName struct{ network, owner, key string }

// A simulation is a cluster in a bubble.
type simulation struct {
	t        *testing.T
	f        *fabric.Fabric
	rng      *rand.Rand
	nodes    []*simNode
	networks []string
	with     map[string][]*simNode // who has a network
	watch    *watch
	figures  []string
}

// newSimulation starts the nodes one after the other: a cluster after a power cut.
func newSimulation(t *testing.T, nodes, each int) *simulation {
	s := &simulation{t: t, f: fabric.New(1), rng: rand.New(rand.NewPCG(1, 2)), with: map[string][]*simNode{}}
	s.watch = &watch{pending: map[string][]*sighting{}}
	// Datagrams of a data centre: a tenth of a percent is lost.
	s.f.Faults(0.001, 0, 2*time.Millisecond)
	for range simNetworks {
		s.networks = append(s.networks, cnm.NewID())
	}
	key := newGossipKey()
	var everybody []netip.AddrPort
	for i := range nodes {
		n := &simNode{id: newID(), addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 7946), has: map[string]bool{}}
		s.nodes = append(s.nodes, n)
		everybody = append(everybody, n.addr)
	}
	for i, n := range s.nodes {
		g, err := gossip.Start(gossip.Config{
			NodeID: n.id, Name: fmt.Sprint("host-", i), Keys: [][]byte{key}, Transport: s.f.Port(n.addr),
			Bootstrap: func() []netip.AddrPort { return everybody }, // as the view that a member kept says
			Changed:   func(network string) { s.watch.look(n, network) },
		})
		if err != nil {
			t.Fatal(err)
		}
		n.g = g
		t.Cleanup(func() { g.Close() })
		time.Sleep(20 * time.Millisecond)
	}
	s.place(each)
	return s
}

// place gives each node a number of networks, at random, and each network as many
// nodes as every other.
func (s *simulation) place(each int) {
	share := simNetworks / each
	for k := range each {
		for j, i := range s.rng.Perm(len(s.nodes)) {
			n, network := s.nodes[i], s.networks[k*share+j%share]
			n.networks = append(n.networks, network)
			n.has[network] = true
			s.with[network] = append(s.with[network], n)
		}
	}
}

// put makes an endpoint on a node.
func (s *simulation) put(n *simNode, network string) rowName {
	n.serial++
	mac := frame.MAC{2, 0x42, n.addr.Addr().As4()[2], n.addr.Addr().As4()[3], byte(n.serial >> 8), byte(n.serial)}
	name := fmt.Sprintf("service-%d.%s", n.serial%20, n.id[:8])
	e := Endpoint{
		ID: cnm.NewID(), Sandbox: name, Names: []string{name, "service"}, MAC: mac, VTEP: netip.AddrPortFrom(n.addr.Addr(), 4789),
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{172, 16, mac[4], mac[5]}), netip.MustParseAddr("fe80::42:acff:fe10:102")},
	}
	b, err := e.encode()
	if err == nil {
		err = n.g.Put(network, e.ID, b)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	row := rowName{network, n.id, e.ID}
	n.living = append(n.living, row)
	return row
}

// removeOldest ends a node's oldest endpoint.
func (s *simulation) removeOldest(n *simNode) {
	row := n.living[0]
	n.living = n.living[1:]
	if err := n.g.Delete(row.network, row.key); err != nil {
		s.t.Fatal(err)
	}
}

// until waits for a condition, for a time at most, and returns how long it took.
func (s *simulation) until(most time.Duration, unmet func() string) time.Duration {
	s.t.Helper()
	start := time.Now()
	for step := 10 * time.Millisecond; ; step = min(2*step, time.Second) {
		why := unmet()
		if why == "" {
			return time.Since(start)
		}
		if time.Since(start) > most {
			s.t.Fatalf("after %v: %s", most, why)
		}
		time.Sleep(step)
	}
}

// strangers says who does not know everybody.
func (s *simulation) strangers() string {
	for _, n := range s.nodes {
		if got := len(n.g.Members()); got != len(s.nodes) {
			return fmt.Sprintf("node %s knows %d of %d members", n.addr, got, len(s.nodes))
		}
	}
	return ""
}

// incomplete says whose table lacks a row.
func (s *simulation) incomplete() string {
	for network, nodes := range s.with {
		want := 0
		for _, n := range nodes {
			for _, row := range n.living {
				if row.network == network {
					want++
				}
			}
		}
		for _, n := range nodes {
			if got := len(n.g.Rows(network)); got != want {
				return fmt.Sprintf("node %s has %d of %d rows", n.addr, got, want)
			}
		}
	}
	return ""
}

// unlike says which nodes' tables are not the same.
func (s *simulation) unlike() string {
	for network, nodes := range s.with {
		first := nodes[0].g.Rows(network)
		for _, n := range nodes[1:] {
			rows := n.g.Rows(network)
			for i, r := range rows {
				if len(rows) != len(first) || r.Key != first[i].Key || r.Version != first[i].Version || !bytes.Equal(r.Value, first[i].Value) {
					return fmt.Sprintf("the tables of %s and %s differ", n.addr, nodes[0].addr)
				}
			}
		}
	}
	return ""
}

// report notes a figure.
func (s *simulation) report(value float64, unit string) {
	s.figures = append(s.figures, fmt.Sprintf("%.4g %s", value, unit))
	s.t.Logf("%12.4g %s", value, unit)
}

// TestScale simulates a cluster and holds it to what DESIGN promises of the largest:
// an endpoint is known within 2 s at the 99th percentile, and a node at rest sends
// at most 30 kB/s.
func TestScale(t *testing.T) {
	what := os.Getenv("WEFT_SIMULATION")
	if what == "" {
		what = "40x5"
	}
	for spec := range strings.SplitSeq(what, ",") {
		var nodes, each int
		if _, err := fmt.Sscanf(spec, "%dx%d", &nodes, &each); err != nil || nodes < 10 || each < 1 || simNetworks%each != 0 {
			t.Fatalf("WEFT_SIMULATION %q: expected nodes x networks of each, such as 500x5", spec)
		}
		t.Run(spec, func(t *testing.T) {
			before := heap()
			synctest.Test(t, func(t *testing.T) {
				t.Cleanup(func() { time.Sleep(time.Minute) }) // what memberlist began ends
				s := newSimulation(t, nodes, each)
				s.run(before)
				fmt.Printf("BenchmarkScale/%s 1 %s\n", spec, strings.Join(s.figures, " "))
			})
		})
	}
}

// heap returns the bytes in use, after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
