package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// id returns a complete identifier that ends in n.
func id(n int) string { return fmt.Sprintf("%064x", n) }

func key(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

func initCluster() InitCluster {
	return InitCluster{
		Cluster: Cluster{ID: "cluster", Created: t0, Roots: []Root{{Certificate: []byte("cert"), Key: []byte("key")}},
			Secrets: Secrets{"w", "m"}, GossipKeys: [][]byte{key(1)}},
		Node: node("n1", cnm.Manager),
	}
}

func node(name string, role cnm.Role) PutNode {
	return PutNode{ID: name, Hostname: "host", Spec: cnm.NodeSpec{Role: role, Availability: cnm.Active}, Addr: netip.MustParseAddr("127.0.0.1"), Now: t0}
}

// overlay returns the command that makes network n of the given subnets.
func overlay(n int, name string, subnets ...string) CreateNetwork {
	nw := cnm.Network{ID: id(n), Name: name, Created: t0, Scope: "swarm", Driver: cnm.DriverOverlay, EnableIPv4: true}
	for _, s := range subnets {
		nw.IPAM.Config = append(nw.IPAM.Config, cnm.Pool{Subnet: netip.MustParsePrefix(s)})
	}
	return CreateNetwork{nw}
}

// changed returns a network command with something else about it.
func (n CreateNetwork) changed(f func(*cnm.Network)) CreateNetwork {
	f(&n.Network)
	return n
}

func alloc(e, n int) AllocateEndpoint {
	return AllocateEndpoint{ID: id(e), Network: id(n), Node: "n1"}
}

// A bench is a machine under test, with its next index.
type bench struct {
	*machine
	index uint64
}

func newBench(t testing.TB, cmds ...Command) *bench {
	b := &bench{machine: newMachine()}
	for _, c := range append([]Command{initCluster()}, cmds...) {
		b.must(t, c)
	}
	return b
}

func (b *bench) do(c Command) (Result, error) {
	doc, err := Encode(c)
	if err != nil {
		return Result{}, err
	}
	b.index++
	r, _, err := b.apply(b.index, doc)
	return r, err
}

func (b *bench) must(t testing.TB, c Command) Result {
	t.Helper()
	r, err := b.do(c)
	if err != nil {
		t.Fatalf("%s: %v", c.kind(), err)
	}
	return r
}

func (b *bench) bytes(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := b.state.Load().write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// copied returns a machine restored from the state of b.
func (b *bench) copied(t testing.TB) *bench {
	t.Helper()
	s, err := readState(bytes.NewReader(b.bytes(t)))
	if err != nil {
		t.Fatal(err)
	}
	c := &bench{machine: newMachine(), index: b.index}
	if err := c.restore(s); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRefused holds every command's refusals: kind and words, and that nothing
// has changed, in the state or in the addresses given next.
func TestRefused(t *testing.T) {
	with := func(cmds ...Command) []Command { return cmds }
	six := func(n *cnm.Network) { n.EnableIPv6 = true }
	option := func(k, v string) func(*cnm.Network) {
		return func(n *cnm.Network) { n.Options = map[string]string{k: v} }
	}
	second := initCluster()
	second.Cluster.ID = "other"
	for _, c := range []struct {
		name   string
		before []Command
		cmd    Command
		kind   cnm.Kind
		want   string
	}{
		{"second cluster", nil, second, cnm.Conflict, "already part of swarm cluster"},
		{"old spec", with(SetSpec{Now: t0}), SetSpec{Version: 1, Now: t0}, cnm.Conflict, "update out of sequence: version 1 was seen, 2 is current"},
		{"negative expiry", nil, SetSpec{Spec: cnm.SwarmSpec{CertExpiry: -1}}, cnm.Invalid, "negative"},
		{"autolock without key", nil, SetSpec{Spec: cnm.SwarmSpec{AutoLock: true}}, cnm.Invalid, "needs an unlock key"},
		{"no secret", nil, RotateToken{}, cnm.Invalid, "no secret"},
		{"same secrets", nil, RotateToken{Secrets: Secrets{Worker: "m"}}, cnm.Invalid, "same secret"},
		{"no roots", nil, SetRoots{}, cnm.Invalid, "0 certificate authorities"},
		{"old roots", with(SetSpec{Now: t0}), SetRoots{Version: 1, Roots: []Root{{Certificate: []byte("x")}}}, cnm.Conflict, "out of sequence"},
		{"root without certificate", nil, SetRoots{Roots: []Root{{}}}, cnm.Invalid, "authority 1 has no certificate"},
		{"short key", nil, AddGossipKey{key(2)[:5]}, cnm.Invalid, "5 bytes"},
		{"fourth key", with(AddGossipKey{key(2)}, AddGossipKey{key(3)}), AddGossipKey{key(4)}, cnm.Conflict, "drop one first"},
		{"unknown key", nil, UseGossipKey{key(2)}, cnm.NotFound, "not known"},
		{"key in use", nil, DropGossipKey{key(1)}, cnm.Conflict, "use another first"},
		{"nameless node", nil, PutNode{ID: "n2", Spec: cnm.NodeSpec{Role: cnm.Worker}}, cnm.Invalid, "host name"},
		{"roleless node", nil, PutNode{ID: "n2", Hostname: "h"}, cnm.Invalid, `role ""`},
		{"taken name", with(UpdateNode{ID: "n1", Spec: cnm.NodeSpec{Name: "a", Role: cnm.Manager, Availability: cnm.Active}}),
			PutNode{ID: "n2", Hostname: "h", Spec: cnm.NodeSpec{Name: "a", Role: cnm.Worker}}, cnm.Conflict, "name a is already in use by node n1"},
		{"unknown node", nil, UpdateNode{ID: "n9"}, cnm.NotFound, "node n9 not found"},
		{"old node", nil, UpdateNode{ID: "n1", Version: 77}, cnm.Conflict, "out of sequence"},
		{"availability", nil, UpdateNode{ID: "n1", Spec: cnm.NodeSpec{Role: cnm.Manager, Availability: "busy"}}, cnm.Invalid, `"busy"`},
		{"last manager", nil, UpdateNode{ID: "n1", Spec: cnm.NodeSpec{Role: cnm.Worker, Availability: cnm.Active}}, cnm.Forbidden, "last manager"},
		{"manager removed", nil, RemoveNode{ID: "n1", Force: true}, cnm.Forbidden, "demote it"},
		{"busy node removed", with(node("n2", cnm.Worker), overlay(1, "a"), AllocateEndpoint{ID: id(7), Network: id(1), Node: "n2"}), RemoveNode{ID: "n2"}, cnm.Conflict, "still has 1 endpoints"},
		{"short id", nil, overlay(1, "a").changed(func(n *cnm.Network) { n.ID = "1" }), cnm.Invalid, `network ID "1"`},
		{"bad name", nil, overlay(1, "a b"), cnm.Invalid, "invalid network name"},
		{"driver", nil, overlay(1, "a").changed(func(n *cnm.Network) { n.Driver = "bridge" }), cnm.Unsupported, `"bridge"`},
		{"name again", with(overlay(1, "a")), overlay(2, "a"), cnm.Conflict, "network with name a already exists"},
		{"id again", with(overlay(1, "a")), overlay(1, "b"), cnm.Conflict, "is that of network a already"},
		{"second ingress", with(overlay(1, "a").changed(func(n *cnm.Network) { n.Ingress = true })),
			overlay(2, "b").changed(func(n *cnm.Network) { n.Ingress = true }), cnm.Conflict, "already present"},
		{"VNI again", with(overlay(1, "a")), overlay(2, "b").changed(option(cnm.OptVNI, "4097")), cnm.Conflict, "VNI 4097 is in use by network a"},
		{"ingress VNI", nil, overlay(2, "b").changed(option(cnm.OptVNI, "4096")), cnm.Conflict, "kept for the ingress"},
		{"two VNIs", nil, overlay(2, "b").changed(option(cnm.OptVNI, "5,6")), cnm.Invalid, "2 VNIs for 1 subnets"},
		{"unknown option", nil, overlay(2, "b").changed(option("colour", "red")), cnm.Invalid, "colour"},
		{"overlap", with(overlay(1, "a", "10.9.0.0/16")), overlay(2, "b", "10.8.0.0/24", "10.9.1.0/24"), cnm.Forbidden, "10.9.1.0/24 and 10.9.0.0/16 of network a"},
		{"unknown network removed", nil, RemoveNetwork{id(1)}, cnm.NotFound, "not found"},
		{"busy network removed", with(overlay(1, "a"), alloc(7, 1)), RemoveNetwork{id(1)}, cnm.Forbidden, "active endpoints (1 in the swarm)"},
		{"endpoint of no network", nil, alloc(7, 1), cnm.NotFound, "network 000000000000 not found"},
		{"endpoint of no node", with(overlay(1, "a")), AllocateEndpoint{ID: id(7), Network: id(1), Node: "x"}, cnm.NotFound, "node x"},
		{"endpoint without id", with(overlay(1, "a")), AllocateEndpoint{Network: id(1), Node: "n1"}, cnm.Invalid, "identifier"},
		{"endpoint elsewhere", with(overlay(1, "a"), overlay(2, "b"), alloc(7, 1)), alloc(7, 2), cnm.Conflict, "exists already, with 10.0.1.2/24"},
		{"taken address", with(overlay(1, "a"), alloc(7, 1)), AllocateEndpoint{ID: id(8), Network: id(1), Node: "n1", IPv4: netip.MustParseAddr("10.0.1.2")}, cnm.Forbidden, "already in use"},
		{"foreign address", with(overlay(1, "a")), AllocateEndpoint{ID: id(8), Network: id(1), Node: "n1", IPv4: netip.MustParseAddr("10.7.1.2")}, cnm.Invalid, "no configured subnet"},
		{"family", with(overlay(1, "a", "fd01::/64").changed(six)), AllocateEndpoint{ID: id(8), Network: id(1), Node: "n1", IPv4: netip.MustParseAddr("fd01::9")}, cnm.Invalid, "other family"},
		{"release of another's", with(overlay(1, "a"), alloc(7, 1)), ReleaseEndpoint{ID: id(7), Node: "n2"}, cnm.Forbidden, "not of node n2 but of n1"},
		{"full", with(overlay(1, "a", "10.5.0.0/30"), alloc(7, 1)), alloc(8, 1), cnm.Unavailable, "no available IPv4 addresses"},
		// The IPv4 address that was taken first must be given again next.
		{"second family full", with(overlay(1, "a", "10.5.0.0/24", "fd01::/126").changed(six), alloc(6, 1), alloc(7, 1)), alloc(8, 1), cnm.Unavailable, "no available IPv6 addresses"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.before...)
			old, oldBytes := b.state.Load(), b.bytes(t)
			_, err := b.do(c.cmd)
			if !errors.Is(err, c.kind) || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.want)) {
				t.Fatalf("error %v, want %q of kind %q", err, c.want, c.kind)
			}
			if b.state.Load() != old || !bytes.Equal(b.bytes(t), oldBytes) {
				t.Fatal("a refused command changed the state")
			}
			sameFuture(t, b, b.copied(t))
		})
	}
}

// sameFuture fails unless two machines answer the same from now on.
func sameFuture(t *testing.T, a, b *bench) {
	t.Helper()
	cmds := []Command{overlay(90, "later"), ReleaseEndpoint{ID: id(7)}}
	for nw := range a.state.Load().Networks.All() {
		for i := range 3 {
			cmds = append(cmds, AllocateEndpoint{ID: id(1000 + i), Network: nw, Node: "n1"}, ReleaseEndpoint{ID: id(1000 + i)})
		}
	}
	for _, c := range cmds {
		ra, ea := a.do(c)
		rb, eb := b.do(c)
		if !reflect.DeepEqual(ra, rb) || fmt.Sprint(ea) != fmt.Sprint(eb) {
			t.Fatalf("%s %+v: %+v %v, the other one %+v %v", c.kind(), c, ra, ea, rb, eb)
		}
	}
	if !bytes.Equal(a.bytes(t), b.bytes(t)) {
		t.Fatal("the states differ")
	}
}

// TestDeterministic applies a random log to a machine, and at random moments goes
// on with one that was restored from its state; it must not make a difference.
func TestDeterministic(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			whole, cut := newBench(t, node("n2", cnm.Worker)), newBench(t, node("n2", cnm.Worker))
			done := 0
			for range 600 {
				c := randomCommand(r)
				ra, ea := whole.do(c)
				rb, eb := cut.do(c)
				if fmt.Sprint(ea) != fmt.Sprint(eb) || !reflect.DeepEqual(ra, rb) {
					t.Fatalf("%s %+v: %+v %v, restored %+v %v", c.kind(), c, ra, ea, rb, eb)
				}
				if ea == nil {
					done++
				}
				if r.IntN(20) == 0 {
					cut = cut.copied(t)
				}
			}
			if !bytes.Equal(whole.bytes(t), cut.bytes(t)) {
				t.Fatal("the states differ")
			}
			if done < 300 {
				t.Fatalf("only %d commands of 600 did something", done)
			}
			if n := whole.state.Load().Endpoints.Len(); n == 0 {
				t.Fatal("nothing is left to compare")
			}
		})
	}
}

// randomCommand is one that may or may not succeed.
func randomCommand(r *rand.Rand) Command {
	n := 1 + r.IntN(6)
	who := fmt.Sprint("n", 1+r.IntN(2))
	e := id(100 + r.IntN(200))
	switch k := r.IntN(100); {
	case k < 12:
		subnets := [][]string{nil, {"0.0.0.0/29"}, {"10.44.0.0/28"}, {"fd01::/125"}, {"10.3.0.0/29", "10.4.0.0/29"}}[r.IntN(5)]
		return overlay(n, fmt.Sprint("net", n), subnets...).changed(func(w *cnm.Network) { w.EnableIPv6 = r.IntN(2) == 0 })
	case k < 16:
		return RemoveNetwork{id(n)}
	case k < 70:
		return AllocateEndpoint{ID: e, Network: id(n), Node: who}
	case k < 94:
		return ReleaseEndpoint{ID: e}
	case k < 96:
		return ReleaseNode{Node: who, Except: []string{e, id(150), id(120)}, Before: uint64(r.IntN(400))}
	case k < 98:
		return RemoveNode{ID: "n2", Force: r.IntN(2) == 0}
	}
	return node("n2", cnm.Worker)
}

// A full table refuses with its bound; what is in it goes on.
func TestFull(t *testing.T) {
	b := newBench(t)
	for i := b.state.Load().Nodes.Len(); i < MaxNodes; i++ {
		b.must(t, node(fmt.Sprint("w", i), cnm.Worker))
	}
	if _, err := b.do(node("more", cnm.Worker)); !errors.Is(err, cnm.Unavailable) || !strings.Contains(err.Error(), "4096 nodes") {
		t.Fatalf("a node too many: %v", err)
	}
	b.must(t, node("w7", cnm.Worker))
	b.must(t, overlay(1, "a"))
	full := *b.state.Load()
	for i := 2; full.Networks.Len() < MaxNetworks; i++ { // without addresses: making them takes a while
		full.Networks = full.Networks.with(id(i), Network{Network: cnm.Network{ID: id(i), Name: fmt.Sprint("net", i)}})
	}
	b.state.Store(&full)
	if _, err := b.do(overlay(MaxNetworks, "more")); !errors.Is(err, cnm.Unavailable) || !strings.Contains(err.Error(), "8192 networks") {
		t.Fatalf("a network too many: %v", err)
	}
	b.must(t, alloc(1, 1))
}
