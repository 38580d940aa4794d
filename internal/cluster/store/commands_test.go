package store

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"weft/internal/cnm"
)

// What networks become: subnets, gateways and VNIs.
func TestCreateNetwork(t *testing.T) {
	ingress := func(n *cnm.Network) { n.Ingress = true }
	six := func(n *cnm.Network) { n.EnableIPv6 = true }
	for _, c := range []struct {
		name string
		cmds []CreateNetwork
		want string // of the last one
	}{
		{"first", []CreateNetwork{overlay(1, "a")}, "[10.0.1.0/24 10.0.1.1 auto] [4097]"},
		{"second", []CreateNetwork{overlay(1, "a"), overlay(2, "b")}, "[10.0.2.0/24 10.0.2.1 auto] [4098]"},
		{"ingress", []CreateNetwork{overlay(1, "a"), overlay(2, "i").changed(ingress)}, "[10.0.0.0/24 10.0.0.1 auto] [4096]"},
		{"size", []CreateNetwork{overlay(1, "a", "0.0.0.0/26")}, "[10.0.1.0/26 10.0.1.1 auto] [4097]"},
		{"two subnets", []CreateNetwork{overlay(1, "a", "10.5.0.0/16", "10.6.0.0/16")}, "[10.5.0.0/16 10.5.0.1] [10.6.0.0/16 10.6.0.1] [4097 4098]"},
		{"both families", []CreateNetwork{overlay(1, "a", "fd01::/64").changed(six)}, "[10.0.1.0/24 10.0.1.1 auto] [fd01::/64 fd01::1] [4097]"},
		{"own VNI", []CreateNetwork{overlay(1, "a").changed(func(n *cnm.Network) { n.Options = map[string]string{cnm.OptVNI: "77"} })}, "[10.0.1.0/24 10.0.1.1 auto] [77]"},
		{"beside own VNI", []CreateNetwork{overlay(1, "a").changed(func(n *cnm.Network) { n.Options = map[string]string{cnm.OptVNI: "4097"} }), overlay(2, "b")}, "[10.0.2.0/24 10.0.2.1 auto] [4098]"},
		{"no IPAM", []CreateNetwork{overlay(1, "a").changed(func(n *cnm.Network) { n.IPAM.Driver = cnm.IPAMNull })}, "[4097]"},
		{"IPv6 alone", []CreateNetwork{overlay(1, "a", "fd01::/64").changed(func(n *cnm.Network) { n.EnableIPv4, n.EnableIPv6 = false, true })}, "[fd01::/64 fd01::1] [4097]"},
		{"again", []CreateNetwork{overlay(1, "a"), overlay(1, "a")}, "[10.0.1.0/24 10.0.1.1 auto] [4097]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			var last *Network
			for _, n := range c.cmds {
				last = b.must(t, n).Network
			}
			var words []string
			for _, p := range last.IPAM.Config {
				w := fmt.Sprint(p.Subnet, " ", p.Gateway)
				if p.Auto {
					w += " auto"
				}
				words = append(words, "["+w+"]")
			}
			if got := strings.Join(append(words, fmt.Sprint(last.VNIs)), " "); got != c.want {
				t.Fatalf("network %s, want %s", got, c.want)
			}
			kept, _ := b.state.Load().Networks.Get(last.ID)
			if !reflect.DeepEqual(kept, *last) {
				t.Fatalf("kept %+v, answered %+v", kept, *last)
			}
		})
	}
	// An IPv6 subnet nobody chose is the cluster's own, the same on every manager.
	one, two := newBench(t).must(t, overlay(1, "a").changed(six)), newBench(t).must(t, overlay(1, "a").changed(six))
	if s := one.Network.IPAM.Config[1].Subnet; !s.Addr().Is6() || s.Bits() != 64 || s != two.Network.IPAM.Config[1].Subnet {
		t.Fatalf("IPv6 subnet %s", s)
	}
	// What a network had is free for the next one.
	b := newBench(t, overlay(1, "a"), RemoveNetwork{id(1)})
	if r := b.must(t, overlay(2, "a")); r.Network.VNIs[0] != 4097 || r.Network.IPAM.Config[0].Subnet != netip.MustParsePrefix("10.0.1.0/24") {
		t.Fatalf("after a removal: %+v", r.Network)
	}
}

func TestEndpoints(t *testing.T) {
	b := newBench(t, node("n2", cnm.Worker), overlay(1, "a", "10.5.0.0/29", "fd01::/120").changed(func(n *cnm.Network) { n.EnableIPv6 = true }))
	give := func(e int, want string) {
		t.Helper()
		r := b.must(t, alloc(e, 1))
		if got := addresses(*r.Endpoint); got != want {
			t.Fatalf("endpoint %d has %s, want %s", e, got, want)
		}
	}
	give(1, "10.5.0.2/29 and fd01::2/120")
	version := b.state.Load().Version
	give(1, "10.5.0.2/29 and fd01::2/120")
	if b.state.Load().Version != version {
		t.Fatal("a repeated allocation changed the state")
	}
	give(2, "10.5.0.3/29 and fd01::3/120")
	b.must(t, ReleaseEndpoint{ID: id(1)})
	if r := b.must(t, ReleaseEndpoint{ID: id(1)}); r.Released != 0 {
		t.Fatalf("released twice: %+v", r)
	}
	give(3, "10.5.0.4/29 and fd01::4/120") // what was released rests
	r := b.must(t, AllocateEndpoint{ID: id(4), Network: id(1), Node: "n2", IPv4: netip.MustParseAddr("10.5.0.6")})
	if got := addresses(*r.Endpoint); got != "10.5.0.6/29 and fd01::5/120" {
		t.Fatalf("asked for .6, got %s", got)
	}
	give(5, "10.5.0.5/29 and fd01::6/120")
	give(6, "10.5.0.2/29 and fd01::7/120")
	if nw, _ := b.state.Load().Networks.Get(id(1)); nw.Endpoints != 5 {
		t.Fatalf("the network counts %d endpoints, want 5", nw.Endpoints)
	}
	// n1 tells that it has 2 and 6; what it got behind the version it saw stays.
	seen := b.state.Load().Version
	b.must(t, ReleaseEndpoint{ID: id(3)})
	b.must(t, alloc(7, 1))
	if r := b.must(t, ReleaseNode{Node: "n1", Except: []string{id(2), id(6)}, Before: seen}); r.Released != 1 {
		t.Fatalf("released %d of n1, want endpoint 5 alone", r.Released)
	}
	var left []string
	for e := range b.state.Load().Endpoints.All() {
		left = append(left, strings.TrimLeft(e, "0"))
	}
	if !slices.Equal(left, []string{"2", "4", "6", "7"}) {
		t.Fatalf("left are %v", left)
	}
	b.must(t, RemoveNode{ID: "n2", Force: true})
	if s := b.state.Load(); s.Endpoints.Len() != 3 || s.Nodes.Len() != 1 {
		t.Fatalf("%d endpoints and %d nodes after a removal by force", s.Endpoints.Len(), s.Nodes.Len())
	}
	b.must(t, RemoveNode{ID: "n2"})
	b.must(t, ReleaseNode{Node: "n1"})
	b.must(t, RemoveNetwork{id(1)})
	if s := b.state.Load(); s.Endpoints.Len() != 0 || s.Networks.Len() != 0 || len(b.pools) != 0 {
		t.Fatal("something was left behind")
	}
}

func TestClusterCommands(t *testing.T) {
	b := newBench(t)
	cluster := func() Cluster { return b.state.Load().Cluster }
	if c := cluster(); c.SubnetSize != 24 || !slices.Equal(c.Pools, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}) || c.Version != 1 {
		t.Fatalf("defaults: %+v", c)
	}
	if r := b.must(t, initCluster()); r.Version != 1 {
		t.Fatalf("made again: %+v", r)
	}
	keys := func(want ...byte) {
		t.Helper()
		var got []byte
		for _, k := range cluster().GossipKeys {
			got = append(got, k[0])
		}
		if !slices.Equal(got, want) {
			t.Fatalf("keys %v, want %v", got, want)
		}
	}
	b.must(t, AddGossipKey{key(2)})
	b.must(t, AddGossipKey{key(2)})
	b.must(t, AddGossipKey{key(3)})
	keys(1, 2, 3)
	b.must(t, UseGossipKey{key(3)})
	b.must(t, UseGossipKey{key(3)})
	keys(3, 1, 2)
	b.must(t, DropGossipKey{key(1)})
	b.must(t, DropGossipKey{key(1)})
	keys(3, 2)
	if cluster().Version != 1 {
		t.Fatal("keys of the gossip are no business of who updates the swarm")
	}
	b.must(t, AdvanceEpoch{From: 0, Now: t0})
	b.must(t, AdvanceEpoch{From: 0, Now: t0.Add(1)})
	if c := cluster(); c.Epoch != 1 || !c.EpochSince.Equal(t0) {
		t.Fatalf("epoch %d since %s", c.Epoch, c.EpochSince)
	}
	b.must(t, RotateToken{Secrets: Secrets{Worker: "w2"}, Now: t0.Add(2)})
	b.must(t, SetRoots{Version: cluster().Version, Roots: []Root{{Certificate: []byte("new")}, {Certificate: []byte("cert")}}, Now: t0.Add(2)})
	b.must(t, SetSpec{Version: cluster().Version, Spec: cnm.SwarmSpec{AutoLock: true}, UnlockKey: "k", Now: t0.Add(3)})
	b.must(t, SetSpec{Version: cluster().Version, Spec: cnm.SwarmSpec{AutoLock: true}, Now: t0.Add(4)})
	if c := cluster(); c.Secrets != (Secrets{"w2", "m"}) || len(c.Roots) != 2 || c.UnlockKey != "k" || !c.Updated.Equal(t0.Add(4)) {
		t.Fatalf("cluster %+v", c)
	}
	b.must(t, SetSpec{Now: t0})
	if cluster().UnlockKey != "" {
		t.Fatal("the unlock key is kept without autolock")
	}
}

func TestNodeCommands(t *testing.T) {
	b := newBench(t, node("n2", cnm.Worker))
	n, _ := b.state.Load().Nodes.Get("n2")
	b.must(t, UpdateNode{ID: "n2", Version: n.Version, Spec: cnm.NodeSpec{Name: "rose", Role: cnm.Manager, Availability: cnm.Drain}, Now: t0})
	// It comes back, elsewhere; what the user said stays, and so does the version.
	again := node("n2", cnm.Worker)
	again.Addr, again.Certificate.Serial = netip.MustParseAddr("127.0.0.9"), "5"
	r := b.must(t, again)
	if n := r.Node; n.Name() != "rose" || n.Spec.Role != cnm.Manager || n.Spec.Availability != cnm.Drain || n.Version != 3 || n.Addr != again.Addr || n.Certificate.Serial != "5" {
		t.Fatalf("node %+v", n)
	}
	if n, _ := b.state.Load().Nodes.Get("n1"); n.Name() != "host" {
		t.Fatalf("node without a name is called %q", n.Name())
	}
	b.must(t, UpdateNode{ID: "n1", Spec: cnm.NodeSpec{Role: cnm.Worker, Availability: cnm.Active}, Now: t0})
	b.must(t, RemoveNode{ID: "n1"})
	if b.state.Load().Nodes.Len() != 1 {
		t.Fatal("a demoted manager could not be removed")
	}
}

func TestInitRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(*InitCluster)
		want string
	}{
		{"no id", func(i *InitCluster) { i.Cluster.ID = "" }, "needs an identifier"},
		{"worker", func(i *InitCluster) { i.Node.Spec.Role = cnm.Worker }, "not a worker"},
		{"keys", func(i *InitCluster) { i.Cluster.GossipKeys = make([][]byte, 4) }, "4 gossip keys"},
		{"roots", func(i *InitCluster) { i.Cluster.Roots = nil }, "certificate authorities"},
		{"overlap", func(i *InitCluster) {
			i.Cluster.Pools = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16")}
		}, "overlap"},
		{"size", func(i *InitCluster) {
			i.Cluster.Pools, i.Cluster.SubnetSize = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, 8
		}, "size 8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, i := &bench{machine: newMachine()}, initCluster()
			c.f(&i)
			if _, err := b.do(i); !errors.Is(err, cnm.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if b.state.Load().Nodes.Len() != 0 || b.addrs != nil {
				t.Fatal("something was made")
			}
			if _, err := b.do(overlay(1, "a")); !errors.Is(err, cnm.Unavailable) {
				t.Fatalf("a network without a cluster: %v", err)
			}
		})
	}
}
