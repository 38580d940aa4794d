package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"weft/internal/cnm"
	"weft/internal/ipam"
)

// An ask is an operation on one network, a /28: who has or wants which address.
type ask struct {
	verb    string // "allocate", "release", "read"
	network int
	e       int
}

// An answer is the last octet of the address, 0 for none.
type answer struct {
	host int8
	full bool
}

// A model is one network as one machine would have it: the endpoint of each host,
// and the host given last.
type model struct {
	has    [16]int16
	latest int8
}

// of returns the host of an endpoint, 0 for none.
func (m model) of(e int) int8 { return int8(max(0, slices.Index(m.has[:], int16(e)))) }

// next returns the host that is given next: 2 to 14 in turn.
func (m model) next() int8 {
	for i := range int8(13) {
		h := 2 + (max(m.latest, 1)-1+i)%13
		if m.has[h] == 0 {
			return h
		}
	}
	return 0
}

// step says whether the answer is the one a single machine gives, and what it is
// afterwards.
func (m model) step(a ask, out answer) (bool, model) {
	h := m.of(a.e)
	switch {
	case a.verb == "read":
		return out.host == h, m
	case a.verb == "release":
		if h != 0 {
			m.has[h] = 0
		}
		return true, m
	case h != 0:
		return out.host == h, m
	}
	if h = m.next(); h == 0 {
		return out.full, m
	}
	m.has[h], m.latest = int16(a.e), h
	return out.host == h && !out.full, m
}

func allocations() porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			parts := make([][]porcupine.Operation, 3)
			for _, o := range all {
				n := o.Input.(ask).network
				parts[n] = append(parts[n], o)
			}
			return parts
		},
		Init: func() any { return model{} },
		Step: func(state, in, out any) (bool, any) {
			return state.(model).step(in.(ask), out.(answer))
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprint(in, out) },
	}
}

// TestModel holds the model itself against the machine, one after the other.
func TestModel(t *testing.T) {
	b := newBench(t, overlay(1, "a", "10.5.0.0/28"))
	r := rand.New(rand.NewPCG(7, 7))
	var m model
	for range 2000 {
		a := ask{[]string{"allocate", "release"}[r.IntN(2)], 0, 1 + r.IntN(25)}
		out := try(func(c Command) (Result, error) { return b.do(c) }, nil, a)
		ok, next := m.step(a, *out)
		if !ok {
			t.Fatalf("%+v: the machine gave %+v, the model has %+v", a, *out, m)
		}
		m = next
	}
	if ok, _ := m.step(ask{"read", 0, int(m.has[2])}, answer{host: 3}); ok {
		t.Fatal("the model takes a wrong answer")
	}
}

// try does an operation once; nil is no answer.
func try(apply func(Command) (Result, error), read func() (*State, error), a ask) *answer {
	var out answer
	switch a.verb {
	case "read":
		s, err := read()
		if err != nil {
			return nil
		}
		if e, there := s.Endpoints.Get(id(a.e)); there {
			out.host = int8(e.IPv4.Addr().As4()[3])
		}
	case "release":
		if _, err := apply(ReleaseEndpoint{ID: id(a.e)}); err != nil {
			return nil
		}
	default:
		r, err := apply(alloc(a.e, a.network+1))
		switch {
		case errors.Is(err, ipam.ErrExhausted):
			out.full = true
		case err != nil:
			return nil
		default:
			out.host = int8(r.Endpoint.IPv4.Addr().As4()[3])
		}
	}
	return &out
}

// A client works on endpoints that are its own, and repeats what it got no answer
// to, as nodes do; each operation with its repetitions is one of the history.
type client struct {
	n     int
	f     *fleet
	r     *rand.Rand
	clock *atomic.Int64
	ops   []porcupine.Operation
	again int
}

func (c *client) work(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(c.r.IntN(150)) * time.Millisecond):
		}
		a := ask{verb: "allocate", network: c.r.IntN(3)}
		a.e = 1 + c.n*100 + a.network*10 + c.r.IntN(6)
		switch k := c.r.IntN(10); {
		case k < 3:
			a.verb = "release"
		case k < 5:
			a.verb, a.e = "read", 1+c.r.IntN(4)*100+a.network*10+c.r.IntN(6) // anybody's
		}
		op := porcupine.Operation{ClientId: c.n, Input: a, Call: c.clock.Add(1)}
		for {
			if out := c.once(a); out != nil {
				op.Output = *out
				break
			}
			c.again++
			time.Sleep(time.Duration(20+c.r.IntN(80)) * time.Millisecond)
		}
		op.Return = c.clock.Add(1)
		c.ops = append(c.ops, op)
	}
}

// once asks a manager; whom it takes for the leader, mostly.
func (c *client) once(a ask) *answer {
	names, stores := c.f.running()
	if len(names) == 0 {
		return nil
	}
	s := stores[names[c.r.IntN(len(names))]]
	if to := stores[func() string { id, _ := s.Leader(); return id }()]; to != nil {
		s = to
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	read := func() (*State, error) {
		if err := s.Barrier(ctx); err != nil {
			return nil, err
		}
		return s.State(), nil
	}
	return try(func(cmd Command) (Result, error) { return s.Apply(ctx, cmd) }, read, a)
}

// Allocations look as if one machine did them one after the other, whatever
// happens to managers and links meanwhile (Herlihy and Wing, Linearizability,
// 1990; checked by porcupine).
func TestLinearizable(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { linearizable(t, seed) })
		})
	}
}

func linearizable(t *testing.T, seed uint64) {
	f := newFleet(t, Tuning{SnapshotInterval: 2 * time.Second, SnapshotThreshold: 50, Trailing: 20})
	f.late = func() time.Duration { return time.Duration(rand.IntN(3000)) * time.Microsecond }
	f.grow("n2", "n3")
	for n := range 3 {
		f.must(overlay(n+1, fmt.Sprint("net", n), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(n), 0}), 28).String()))
	}
	var clock atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	clients := make([]*client, 4)
	for n := range clients {
		clients[n] = &client{n: n, f: f, r: rand.New(rand.NewPCG(seed, uint64(n))), clock: &clock}
		wg.Go(func() { clients[n].work(stop) })
	}
	leaders := disturb(f, rand.New(rand.NewPCG(seed, 99)))
	close(stop)
	wg.Wait()
	var history []porcupine.Operation
	again := 0
	for _, c := range clients {
		history, again = append(history, c.ops...), again+c.again
	}
	t.Logf("seed %d: %d operations, %d repetitions, %d leaders", seed, len(history), again, leaders)
	if len(history) < 500 || again < 20 || leaders < 4 {
		t.Errorf("that was too quiet a test")
	}
	if res, info := porcupine.CheckOperationsVerbose(allocations(), history, time.Minute); res != porcupine.Ok {
		path := t.ArtifactDir() + "/history.html"
		t.Errorf("linearizable: %s; see %s (%v)", res, path, porcupine.VisualizePath(allocations(), info, path))
	}
	f.agree(f.must(UpdateNode{ID: "n1", Spec: cnm.NodeSpec{Role: cnm.Manager, Availability: cnm.Active}, Now: t0}).Version)
}

// disturb cuts links and kills managers for a while, and mends all. It returns how
// many times the leader changed.
func disturb(f *fleet, r *rand.Rand) (leaders int) {
	all := []string{"n1", "n2", "n3"}
	last := ""
	for range 12 {
		time.Sleep(time.Duration(500+r.IntN(1500)) * time.Millisecond)
		who, _ := f.leader()
		if who != last {
			last, leaders = who, leaders+1
		}
		if r.IntN(4) == 0 {
			who = all[r.IntN(3)]
		}
		if r.IntN(2) == 0 {
			f.kill(who)
			time.Sleep(time.Duration(r.IntN(4000)) * time.Millisecond)
			f.start(who)
			continue
		}
		var rest []string
		for _, n := range all {
			if n != who {
				rest = append(rest, ctl(n).String())
			}
		}
		f.cut([]string{ctl(who).String()}, rest[:1+r.IntN(2)])
		time.Sleep(time.Duration(r.IntN(5000)) * time.Millisecond)
		f.cut(nil, nil)
	}
	return leaders
}
