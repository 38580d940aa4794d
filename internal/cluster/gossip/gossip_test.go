package gossip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 5)
		put(t, gs[0], "k", "v1")
		shows(t, 100*time.Millisecond, "n1/k=v1", gs...)
		put(t, gs[0], "k", "v2")
		put(t, gs[4], "l", "w")
		shows(t, 100*time.Millisecond, "n1/k=v2 n5/l=w", gs...)
		remove(t, gs[0], "k")
		shows(t, 100*time.Millisecond, "n5/l=w", gs...)
		if !reflect.DeepEqual(gs[1].Peers("net"), []string{"n1", "n3", "n4", "n5"}) {
			t.Errorf("peers of n2: %v", gs[1].Peers("net"))
		}
	})
}

// TestQuiet: what says the same again is not sent, and what was spread is not sent
// for ever.
func TestQuiet(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 3)
		put(t, gs[0], "k", "v")
		time.Sleep(5 * time.Second)
		before := gs[0].Stats().Packets
		put(t, gs[0], "k", "v")
		remove(t, gs[0], "never there")
		time.Sleep(5 * time.Second)
		if n := gs[0].Stats().Packets - before; n > 4 {
			t.Errorf("%d datagrams for nothing new, expected digests at most", n)
		}
	})
}

func TestBigRow(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 4)
		for _, size := range []int{1100, 1200, 1250, 1300, 2000, MaxValue} {
			value := strings.Repeat("x", size)
			put(t, gs[1], "big", value)
			shows(t, time.Second, "n2/big="+value, gs...)
		}
		for _, g := range gs {
			if s := g.Stats(); s.Unsent > 0 || s.Malformed > 0 {
				t.Errorf("%s: %+v", g.cfg.NodeID, s)
			}
		}
	})
}

// TestOnlyWhoHasIt: rows go to nodes of the network alone, so the others receive
// no message of it.
func TestOnlyWhoHasIt(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 3)
		out := f.node(t, 4, bootstrap(1))
		within(t, 5*time.Second, func() string {
			if len(out.Peers("net")) != 3 {
				return fmt.Sprint("peers ", out.Peers("net"))
			}
			return ""
		})
		for i := range 50 {
			put(t, gs[i%3], fmt.Sprint(i), "v")
		}
		time.Sleep(2 * time.Minute)
		if n := out.Stats().NotAttached; n != 0 || out.Rows("net") != nil {
			t.Errorf("a node outside received %d messages and has rows %v", n, out.Rows("net"))
		}
		if err := out.Put("net", "k", nil); !errors.Is(err, ErrNotAttached) {
			t.Errorf("put: %v", err)
		}
		if err := out.Delete("net", "k"); !errors.Is(err, ErrNotAttached) {
			t.Errorf("delete: %v", err)
		}
	})
}

func TestAttachSyncs(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 3)
		value := strings.Repeat("x", 1000)
		for i := range 900 { // several parts
			put(t, gs[i%3], fmt.Sprint(i), value)
		}
		time.Sleep(time.Minute)
		late := f.node(t, 4, bootstrap(1))
		within(t, 5*time.Second, func() string {
			if len(late.Peers("net")) != 3 {
				return "does not know its peers"
			}
			return ""
		})
		start := time.Now()
		if err := late.Attach(t.Context(), "net"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("attached after %v", took)
		}
		if n := len(late.Rows("net")); n != 900 {
			t.Errorf("%d rows when Attach returned, expected 900", n)
		}
		if err := late.Attach(t.Context(), "net"); err != nil || len(late.Rows("net")) != 900 {
			t.Errorf("attached twice: %v, %d rows", err, len(late.Rows("net")))
		}
		if late.Stats().StreamBytes > 1<<20 || late.Stats().Packets > 100 {
			t.Errorf("what was fetched was gossiped again: %+v", late.Stats())
		}
	})
}

func TestAttachAlone(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		g := f.node(t, 1)
		start := time.Now()
		if err := g.Attach(t.Context(), "net"); err != nil || time.Since(start) > 0 {
			t.Errorf("attaching alone: %v after %v", err, time.Since(start))
		}
		for name, id := range map[string]string{"none": "", "long": strings.Repeat("x", MaxID+1), "reserved": leaving} {
			if err := g.Attach(t.Context(), id); err == nil {
				t.Errorf("%s id was taken", name)
			}
		}
	})
}

func TestAttachWithoutAnswer(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 3)
		put(t, gs[0], "k", "v")
		g := f.node(t, 4, bootstrap(1))
		within(t, 5*time.Second, func() string {
			if len(g.Peers("net")) != 3 {
				return "does not know its peers"
			}
			return ""
		})
		f.Split(host(4))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := g.Attach(ctx, "net")
		if !errors.Is(err, ErrNotSynced) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if time.Since(start) > time.Second {
			t.Errorf("returned after %v", time.Since(start))
		}
		f.Split()
		shows(t, time.Minute, "n1/k=v", g)
	})
}

func TestDetach(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 3)
		put(t, gs[0], "old", "v")
		put(t, gs[1], "k", "v")
		shows(t, time.Second, "n1/old=v n2/k=v", gs...)
		gs[0].Detach("net")
		gs[0].Detach("net")
		shows(t, time.Second, "n2/k=v", gs[1:]...)
		if rows := gs[0].Rows("net"); rows != nil {
			t.Errorf("rows after detaching: %v", rows)
		}
		if p := gs[1].Peers("net"); !slices.Equal(p, []string{"n3"}) {
			t.Errorf("peers after detaching: %v", p)
		}
		if err := gs[0].Attach(t.Context(), "net"); err != nil {
			t.Fatal(err)
		}
		put(t, gs[0], "new", "v")
		shows(t, time.Second, "n1/new=v n2/k=v", gs...)
		time.Sleep(2 * time.Minute) // comparing does not bring the old one back
		shows(t, 0, "n1/new=v n2/k=v", gs...)
	})
}

// TestDetachLost: the message is lost for one node, and digests tell it.
func TestDetachLost(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 3)
		put(t, gs[0], "k", "v")
		shows(t, time.Second, "n1/k=v", gs...)
		f.Faults(1, 0, time.Millisecond)
		gs[0].Detach("net")
		time.Sleep(3 * time.Second)
		f.Faults(0, 0, time.Millisecond)
		shows(t, 2*time.Minute, "", gs[1], gs[2])
	})
}

func TestCallbacks(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		var mu sync.Mutex
		networks, members := map[string]int{}, 0
		gs := f.cluster(t, 2, func(c *Config) {
			if c.NodeID == "n2" {
				c.Changed = func(id string) { mu.Lock(); networks[id]++; mu.Unlock() }
				c.MembersChanged = func() { mu.Lock(); members++; mu.Unlock() }
			}
		})
		told := func() (int, int) {
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			n, m := networks["net"], members
			clear(networks)
			members = 0
			return n, m
		}
		if n, m := told(); n == 0 || m == 0 {
			t.Errorf("joining and attaching: told %d and %d times", n, m)
		}
		put(t, gs[0], "k", "v")
		if n, m := told(); n != 1 || m != 0 {
			t.Errorf("a row: told %d and %d times", n, m)
		}
		gs[0].Put("net", "k", []byte("v"))
		if n, m := told(); n != 0 || m != 0 {
			t.Errorf("nothing new: told %d and %d times", n, m)
		}
		gs[0].Close()
		time.Sleep(time.Minute)
		if n, m := told(); n == 0 || m == 0 {
			t.Errorf("a death: told %d and %d times", n, m)
		}
		shows(t, 0, "", gs[1])
	})
}

func TestBounds(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		g := f.node(t, 1)
		if err := g.Attach(t.Context(), "net"); err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{
			"key":   g.Put("net", strings.Repeat("k", MaxKey+1), nil),
			"value": g.Put("net", "k", make([]byte, MaxValue+1)),
		} {
			if !errors.Is(err, ErrTooBig) {
				t.Errorf("%s over the bound: %v", name, err)
			}
		}
		if err := g.Put("net", "", nil); err == nil {
			t.Error("a row without key was taken")
		}
		g.networks["net"].table.limit = 2
		put(t, g, "a", "1")
		put(t, g, "b", "1")
		if err := g.Put("net", "c", nil); !errors.Is(err, ErrFull) || g.Stats().Full != 1 {
			t.Errorf("a third row of two: %v, counted %d", err, g.Stats().Full)
		}
		put(t, g, "a", "2")
	})
}

func TestConfig(t *testing.T) {
	good := Config{NodeID: "n", Keys: [][]byte{testKey}, Bind: netip.MustParseAddrPort("127.0.0.1:0")}
	for _, c := range []struct {
		name string
		edit func(*Config)
		want string
	}{
		{"no id", func(c *Config) { c.NodeID = "" }, "node: expected an id"},
		{"long id", func(c *Config) { c.NodeID = strings.Repeat("x", 129) }, "node of 129 bytes"},
		{"no keys", func(c *Config) { c.Keys = nil }, "at least one key"},
		{"key size", func(c *Config) { c.Keys = [][]byte{testKey, {1}} }, "key 1 of 1 bytes"},
		{"meta", func(c *Config) { c.Meta = make([]byte, 512) }, "meta of 512 bytes"},
		{"name", func(c *Config) { c.Name = strings.Repeat("x", 256) }, "name of 256"},
		{"no address", func(c *Config) { c.Bind = netip.AddrPort{} }, "address to bind to"},
		{"negative timing", func(c *Config) { c.Timings.Tick = -1 }, "timing -1ns"},
		{"dropped after reaped", func(c *Config) { c.Timings.Reap = time.Minute }, "deleted rows could come back"},
		{"first version", func(c *Config) { c.FirstVersion = maxVersion }, "first version"},
		{"address of nobody here", func(c *Config) { c.Bind = netip.MustParseAddrPort("192.0.2.1:0") }, "listen on 192.0.2.1:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := good
			c.edit(&cfg)
			g, err := Start(cfg)
			if err == nil {
				g.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, expected %q", err, c.want)
			}
		})
	}
}

// TestTimings: what is set holds, what is not is the profile's.
func TestTimings(t *testing.T) {
	for _, tt := range []struct {
		name           string
		profile        Profile
		timings        Timings
		probe, timeout time.Duration
	}{
		{"one site", LAN, Timings{}, time.Second, 500 * time.Millisecond},
		{"far sites", WAN, Timings{}, 5 * time.Second, 3 * time.Second},
		{"faster", LAN, Timings{Probe: 200 * time.Millisecond}, 200 * time.Millisecond, 100 * time.Millisecond},
		{"slower", LAN, Timings{Probe: 3 * time.Second}, 3 * time.Second, 500 * time.Millisecond},
		{"both", WAN, Timings{Probe: 2 * time.Second, ProbeTimeout: 1500 * time.Millisecond}, 2 * time.Second, 1500 * time.Millisecond},
	} {
		c := Config{NodeID: "a", Profile: tt.profile, Timings: tt.timings}
		if m := c.memberlist(nil, func() {}); m.ProbeInterval != tt.probe || m.ProbeTimeout != tt.timeout {
			t.Errorf("%s: probes every %v within %v, expected %v and %v", tt.name, m.ProbeInterval, m.ProbeTimeout, tt.probe, tt.timeout)
		}
	}
}
