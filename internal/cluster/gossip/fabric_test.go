package gossip

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	under "weft/internal/nettest/fabric"
)

// A fabric is where this package's test nodes live.
type fabric struct{ *under.Fabric }

var testKey = []byte("0123456789abcdef")

// node starts a node "nI" at 10.0.0.I:7946, changed by options, and has the test
// close it.
func (f *fabric) node(t *testing.T, i int, options ...func(*Config)) *Gossip {
	t.Helper()
	c := Config{NodeID: fmt.Sprintf("n%d", i), Name: fmt.Sprintf("host%d", i), Keys: [][]byte{testKey}}
	for _, o := range options {
		o(&c)
	}
	if c.Transport == nil {
		c.Transport = f.Port(place(i))
	}
	g, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func host(i int) netip.Addr { return place(i).Addr() }

func place(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 7946)
}

// bootstrap makes the nodes with some numbers ones to join.
func bootstrap(is ...int) func(*Config) {
	return func(c *Config) {
		c.Bootstrap = func() (addrs []netip.AddrPort) {
			for _, i := range is {
				addrs = append(addrs, place(i))
			}
			return addrs
		}
	}
}

// bubble runs a test with a fabric in a time of its own.
func bubble(t *testing.T, seed uint64, test func(t *testing.T, f *fabric)) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) }) // what memberlist began ends
		test(t, &fabric{under.New(seed)})
	})
}

// cluster starts nodes 1 to n, who know each other, and attaches them to network
// "net".
func (f *fabric) cluster(t *testing.T, n int, options ...func(*Config)) []*Gossip {
	t.Helper()
	var gs []*Gossip
	for i := range n {
		gs = append(gs, f.node(t, i+1, append([]func(*Config){bootstrap(1)}, options...)...))
	}
	within(t, 2*time.Minute, func() string { // memberlist's push-pull is every 30 s
		for _, g := range gs {
			if got := len(alive(g)); got != n {
				return fmt.Sprintf("%s knows %d of %d members", g.cfg.NodeID, got, n)
			}
		}
		return ""
	})
	for _, g := range gs {
		if err := g.Attach(t.Context(), "net"); err != nil {
			t.Fatal(err)
		}
	}
	within(t, 10*time.Second, func() string {
		for _, g := range gs {
			if got := len(g.Peers("net")); got != n-1 {
				return fmt.Sprintf("%s knows %d of %d peers", g.cfg.NodeID, got, n-1)
			}
		}
		return ""
	})
	return gs
}

func alive(g *Gossip) (ids []string) {
	for _, m := range g.Members() {
		if m.State == Alive {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// within waits until a condition says nothing more, for a time at most.
func within(t *testing.T, most time.Duration, unmet func() string) {
	t.Helper()
	deadline := time.Now().Add(most)
	for step := time.Millisecond; ; step = min(2*step, 100*time.Millisecond) {
		why := unmet()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %s", most, why)
		}
		time.Sleep(step)
	}
}

// shows waits until every node has exactly some rows of "net", as brief writes
// them.
func shows(t *testing.T, most time.Duration, want string, gs ...*Gossip) {
	t.Helper()
	within(t, most, func() string {
		for _, g := range gs {
			if got := strings.Join(brief(g.Rows("net")), " "); got != want {
				return fmt.Sprintf("%s has rows %q, expected %q", g.cfg.NodeID, got, want)
			}
		}
		return ""
	})
}

func put(t *testing.T, g *Gossip, key, value string) {
	t.Helper()
	if err := g.Put("net", key, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, g *Gossip, key string) {
	t.Helper()
	if err := g.Delete("net", key); err != nil {
		t.Fatal(err)
	}
}

// testLog logs to the test's output.
func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }
