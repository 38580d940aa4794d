package gossip

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func state(g *Gossip, id string) string {
	for _, m := range g.Members() {
		if m.ID == id {
			return m.State.String()
		}
	}
	return "unknown"
}

func becomes(t *testing.T, most time.Duration, id, want string, gs ...*Gossip) {
	t.Helper()
	within(t, most, func() string {
		for _, g := range gs {
			if got := state(g, id); got != want {
				return fmt.Sprintf("%s finds %s %s, expected %s", g.cfg.NodeID, id, got, want)
			}
		}
		return ""
	})
}

// TestDeath: rows of a node out of reach are hidden when it is declared dead, and
// back as soon as it is.
func TestDeath(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 4)
		put(t, gs[3], "k", "v")
		shows(t, time.Second, "n4/k=v", gs...)
		f.Split(host(4))
		time.Sleep(time.Second)
		shows(t, 0, "n4/k=v", gs...) // not yet
		becomes(t, time.Minute, "n4", "dead", gs[:3]...)
		shows(t, 0, "", gs[:3]...)
		shows(t, 0, "n4/k=v", gs[3])
		if p := gs[0].Peers("net"); slices.Contains(p, "n4") {
			t.Errorf("peers %v", p)
		}
		put(t, gs[3], "l", "w") // nobody hears of it
		f.Split()
		becomes(t, time.Minute, "n4", "alive", gs[:3]...)
		shows(t, 10*time.Second, "n4/k=v n4/l=w", gs...)
	})
}

// TestDrop: what the dead wrote is kept for a time, and so is the member.
func TestDrop(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 3, func(c *Config) { c.Timings.Forget = time.Hour })
		put(t, gs[2], "k", "v")
		shows(t, time.Second, "n3/k=v", gs...)
		gs[2].Close()
		becomes(t, time.Minute, "n3", "dead", gs[:2]...)
		held := func() int { gs[0].mu.Lock(); defer gs[0].mu.Unlock(); return gs[0].networks["net"].table.count }
		time.Sleep(24 * time.Minute)
		if held() != 1 {
			t.Errorf("%d rows held after 24 minutes, expected the dead node's", held())
		}
		time.Sleep(3 * time.Minute)
		if held() != 0 {
			t.Errorf("%d rows held after 27 minutes", held())
		}
		time.Sleep(40 * time.Minute)
		becomes(t, 0, "n3", "unknown", gs[:2]...)
	})
}

func TestLeave(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 4)
		put(t, gs[3], "k", "v")
		shows(t, time.Second, "n4/k=v", gs...)
		if err := gs[3].Leave(5 * time.Second); err != nil {
			t.Fatal(err)
		}
		shows(t, 100*time.Millisecond, "", gs[:3]...)
		becomes(t, time.Second, "n4", "left", gs[:3]...)
		gs[3].Close()
		time.Sleep(5 * time.Minute)
		becomes(t, 0, "n4", "left", gs[:3]...)

		again := f.node(t, 4, bootstrap(1))
		becomes(t, 10*time.Second, "n4", "alive", gs[:3]...)
		shows(t, 0, "", gs[:3]...)
		if err := again.Attach(t.Context(), "net"); err != nil {
			t.Fatal(err)
		}
		put(t, again, "k", "new")
		shows(t, 5*time.Second, "n4/k=new", append(gs[:3:3], again)...)
		if n := len(gs[0].Members()); n != 4 {
			t.Errorf("%d members, a restart is no new one", n)
		}
	})
}

// TestRestart starts a node again with its id: what its earlier life wrote goes,
// though nobody declared it dead, and though its clock went back.
func TestRestart(t *testing.T) {
	for _, c := range []struct {
		name  string
		first uint64 // version of the second life
		pause time.Duration
	}{
		{"at once", 0, 0},
		{"after its death", 0, 2 * time.Minute},
		{"clock went back", 5, 0},
		{"clock went back, after its death", 5, 2 * time.Minute},
		{"after its rows were dropped", 5, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, f *fabric) {
				gs := f.cluster(t, 4)
				put(t, gs[3], "old", "v")
				put(t, gs[3], "kept", "v")
				if err := gs[3].Attach(t.Context(), "other"); err != nil {
					t.Fatal(err)
				}
				shows(t, time.Second, "n4/kept=v n4/old=v", gs...)
				gs[3].Close()
				time.Sleep(c.pause)
				again := f.node(t, 4, bootstrap(1), func(cfg *Config) { cfg.FirstVersion = c.first })
				becomes(t, 10*time.Second, "n4", "alive", append(gs[:3:3], again)...)
				if err := again.Attach(t.Context(), "net"); err != nil {
					t.Fatal(err)
				}
				put(t, again, "kept", "w")
				all := append(gs[:3:3], again)
				shows(t, 30*time.Second, "n4/kept=w", all...)
				put(t, again, "new", "w")
				shows(t, time.Second, "n4/kept=w n4/new=w", all...)
				if p := gs[0].Peers("other"); len(p) != 0 {
					t.Errorf("%v have a network of an earlier life", p)
				}
				time.Sleep(2 * time.Minute)
				shows(t, 0, "n4/kept=w n4/new=w", all...)
			})
		})
	}
}

// TestNewAddress: a dead node may return with another address; while it is alive,
// nobody takes its name.
func TestNewAddress(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 3)
		gs[2].Close()
		becomes(t, time.Minute, "n3", "dead", gs[:2]...)
		again := f.node(t, 3, bootstrap(1), func(c *Config) { c.Transport = f.Port(netip.MustParseAddrPort("10.0.9.9:1")) })
		becomes(t, time.Minute, "n3", "alive", gs[:2]...)
		if got := gs[0].Members()[2].Addr; got != again.Addr() {
			t.Errorf("address %v, expected %v", got, again.Addr())
		}
		f.node(t, 2, bootstrap(1), func(c *Config) { c.Transport = f.Port(netip.MustParseAddrPort("10.0.9.8:1")) })
		time.Sleep(time.Minute)
		if got := gs[0].Members()[1].Addr; got != place(2) {
			t.Errorf("address %v, expected that of the first with this id", got)
		}
	})
}

// TestRejoin: a split longer than memberlist remembers heals by the bootstrap
// addresses, and by the dead members that are remembered here.
func TestRejoin(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes []int // that bootstrap
	}{{"bootstrap", []int{1}}, {"no bootstrap left", []int{99}}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, f *fabric) {
				list := []int{1}
				gs := f.cluster(t, 4, func(cfg *Config) {
					cfg.Bootstrap = func() (addrs []netip.AddrPort) {
						for _, i := range list {
							addrs = append(addrs, place(i))
						}
						return addrs
					}
				})
				list = c.nodes
				f.Split(host(3), host(4))
				time.Sleep(10 * time.Minute)
				put(t, gs[0], "a", "v")
				put(t, gs[3], "b", "v")
				shows(t, 0, "n1/a=v", gs[0])
				shows(t, time.Second, "n4/b=v", gs[2:]...)
				f.Split()
				shows(t, 30*time.Second, "n1/a=v n4/b=v", gs...)
			})
		})
	}
}

// TestHeal: what was written on either side of a split is everywhere soon after
// the members are back, long before digests are due.
func TestHeal(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 4, func(c *Config) { c.Timings.Sync = 2 * time.Minute })
		f.Split(host(3), host(4))
		becomes(t, time.Minute, "n3", "dead", gs[:2]...)
		becomes(t, time.Minute, "n4", "dead", gs[:2]...)
		put(t, gs[0], "a", "v")
		put(t, gs[2], "b", "v")
		time.Sleep(time.Minute)
		f.Split()
		for _, id := range []string{"n1", "n2", "n3", "n4"} {
			becomes(t, time.Minute, id, "alive", gs...)
		}
		shows(t, 6*time.Second, "n1/a=v n3/b=v", gs...)
	})
}

// TestMissing compares bootstrap addresses by address and port, and dials nobody
// who is there.
func TestMissing(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 3)
		mapped := netip.AddrPortFrom(netip.AddrFrom16(place(2).Addr().As16()), 7946)
		otherPort := netip.AddrPortFrom(place(2).Addr(), 1)
		gs[0].cfg.Bootstrap = func() []netip.AddrPort { return []netip.AddrPort{place(1), mapped, otherPort, otherPort, place(3)} }
		if got := gs[0].missing(); !slices.Equal(got, []netip.AddrPort{otherPort}) {
			t.Errorf("missing %v, expected %v", got, otherPort)
		}
		gs[1].Close()
		becomes(t, time.Minute, "n2", "dead", gs[0])
		if got := gs[0].missing(); !slices.Equal(got, []netip.AddrPort{mappedBack(mapped), otherPort}) {
			t.Errorf("missing %v, expected the dead node too", got)
		}
	})
}

func mappedBack(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// TestIdleDials: nodes that are all there do not dial each other for the
// bootstrap list.
func TestIdleDials(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		f.cluster(t, 3, func(c *Config) { c.Timings.Sync = time.Hour })
		time.Sleep(time.Minute)
		f.Total()
		time.Sleep(10 * time.Minute)
		// memberlist's own push-pull: each node every 30 s, give or take.
		if dials := f.Total().Streams; dials > 70 {
			t.Errorf("%d streams in ten minutes of three nodes", dials)
		}
	})
}

// TestColdStart: of nodes that all start at once and are told of all others, each
// dials a few, not all.
func TestColdStart(t *testing.T) {
	const nodes = 30
	bubble(t, 1, func(t *testing.T, f *fabric) {
		var all []int
		for i := range nodes {
			all = append(all, i+1)
		}
		var gs []*Gossip
		for _, i := range all {
			gs = append(gs, f.node(t, i, bootstrap(all...)))
		}
		within(t, time.Minute, func() string {
			for _, g := range gs {
				if got := len(alive(g)); got != nodes {
					return fmt.Sprintf("%s knows %d of %d members", g.cfg.NodeID, got, nodes)
				}
			}
			return ""
		})
		if dials := f.Total().Streams; dials > nodes*2*rejoins {
			t.Errorf("%d streams of %d nodes", dials, nodes)
		}
	})
}

// TestTombstones: they are kept for their time, on every node, and a late copy of
// the row does not get past them.
func TestTombstones(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 3)
		put(t, gs[0], "k", "v")
		shows(t, time.Second, "n1/k=v", gs...)
		gs[0].mu.Lock()
		old := gs[0].rowsMessage(gs[0].networks["net"], gs[0].networks["net"].table.all("net", "n1"))
		gs[0].mu.Unlock()
		remove(t, gs[0], "k")
		shows(t, time.Second, "", gs...)
		held := func(g *Gossip) int { g.mu.Lock(); defer g.mu.Unlock(); return g.networks["net"].table.count }
		for range 29 {
			time.Sleep(time.Minute)
			gs[1].receive(old.encode())
			shows(t, 0, "", gs...)
		}
		for _, g := range gs {
			if held(g) != 1 {
				t.Errorf("%s holds %d rows after 29 minutes, expected the tombstone", g.cfg.NodeID, held(g))
			}
		}
		time.Sleep(2 * time.Minute)
		for _, g := range gs {
			if held(g) != 0 {
				t.Errorf("%s holds %d rows after 31 minutes", g.cfg.NodeID, held(g))
			}
		}
		gs[1].receive(old.encode()) // now nobody knows better but the owner
		shows(t, 5*time.Second, "", gs...)
	})
}

// TestContradiction: rows that others invent in a node's name do not last.
func TestContradiction(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 4)
		put(t, gs[0], "k", "v")
		put(t, gs[0], "l", "v")
		shows(t, time.Second, "n1/k=v n1/l=v", gs...)
		forge := func(network, key string, deleted bool) {
			r := Row{Owner: "n1", Key: key, Version: gs[0].cfg.FirstVersion + uint64(time.Hour), Deleted: deleted}
			m := &message{kind: kindRows, from: "n2", network: network, rows: []Row{r}}
			gs[1].receive(m.encode())
		}
		forge("net", "k", true)
		forge("net", "invented", false)
		shows(t, 5*time.Second, "n1/k=v n1/l=v", gs...)
		put(t, gs[0], "k", "w")
		shows(t, time.Second, "n1/k=w n1/l=v", gs...)

		gs[0].cfg.FirstVersion += uint64(2 * time.Hour)
		forge("", "net", true) // "n1 has left the network": its rows are void, and come back
		shows(t, 5*time.Second, "n1/k=w n1/l=v", gs...)
		if gs[0].Stats().Contradicted < 3 {
			t.Errorf("%+v", gs[0].Stats())
		}

		m := &message{kind: kindRows, from: "n2", network: "net", rows: []Row{{Owner: "n1", Key: "k", Version: maxVersion, Deleted: true}}}
		gs[0].receive(m.encode()) // cannot be outdone, and does not use the versions up
		put(t, gs[0], "m", "v")
		shows(t, time.Second, "n1/k=w n1/l=v n1/m=v", gs...)
	})
}

// TestLostGossip: with every datagram of tables lost, digests bring the rows.
func TestLostGossip(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 3)
		put(t, gs[0], "k", "v")
		shows(t, time.Second, "n1/k=v", gs...)
		f.Faults(1, 0, time.Millisecond)
		put(t, gs[0], "l", "v")
		remove(t, gs[0], "k")
		time.Sleep(2 * time.Second) // no longer queued, nobody dead yet
		f.Faults(0, 0, time.Millisecond)
		shows(t, 0, "n1/k=v", gs[1:]...)
		shows(t, 2*time.Minute, "n1/l=v", gs...)
	})
}

// TestQueueFull: what does not fit the queue arrives all the same.
func TestQueueFull(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		gs := f.cluster(t, 3, func(c *Config) { c.Timings.Sync = 10 * time.Minute })
		for i := range maxQueue + 500 {
			put(t, gs[0], fmt.Sprint(i), "v")
		}
		if gs[0].Stats().QueueFull == 0 {
			t.Error("the queue took everything")
		}
		within(t, 30*time.Second, func() string {
			for _, g := range gs {
				if n := len(g.Rows("net")); n != maxQueue+500 {
					return fmt.Sprintf("%s has %d rows", g.cfg.NodeID, n)
				}
			}
			return ""
		})
	})
}
