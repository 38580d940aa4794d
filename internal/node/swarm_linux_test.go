package node

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
	"weft/vxlan"
)

// The ports of the nodes of these tests, which are not those other packages' tests
// use at the same time.
const (
	swarmControlPort  = 22377
	swarmGossipPort   = 27946
	swarmDataPathPort = 24790
)

func swarmConfig(t *testing.T, last byte) Config {
	t.Helper()
	c := overlayConfig(t, last)
	c.NodeName = fmt.Sprintf("node%d", last)
	c.ControlPort, c.GossipPort, c.DataPathPort = swarmControlPort, swarmGossipPort, swarmDataPathPort
	return c
}

// swarm makes a swarm of nodes at 127.0.0.1 and up, the first its manager.
func swarm(t *testing.T, count byte) map[byte]*Node {
	t.Helper()
	return swarmOf(t, count, swarmConfig)
}

func swarmOf(t *testing.T, count byte, config func(t *testing.T, last byte) Config) map[byte]*Node {
	t.Helper()
	nodes := map[byte]*Node{1: openBeside(t, config(t, 1))}
	if _, err := nodes[1].SwarmInit(t.Context(), cnm.SwarmInit{}); err != nil {
		t.Fatal(err)
	}
	for last := byte(2); last <= count; last++ {
		nodes[last] = openBeside(t, config(t, last))
		joinSwarm(t, nodes[last], nodes[1])
	}
	return nodes
}

func joinSwarm(t *testing.T, n, manager *Node) {
	t.Helper()
	s, err := manager.Swarm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(loopback(1), swarmControlPort)
	if err := n.SwarmJoin(t.Context(), cnm.SwarmJoin{Token: s.WorkerToken, Remotes: []netip.AddrPort{at}}); err != nil {
		t.Fatal(err)
	}
}

// inTime waits until something holds.
func inTime(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// reachInTime wants a sandbox to reach one of another node: one that has started
// again, or changed its role, tells its rows anew, and for a moment there are none.
func reachInTime(t *testing.T, n *Node, from string, to cnm.Sandbox) {
	t.Helper()
	inTime(t, from+" reaches "+to.Spec.Name, func() bool {
		_, code := execute(t, n, from, "ask", netip.AddrPortFrom(addr4(to, "over"), 7000).String(), "hello")
		return code == 0
	})
}

// underlayOf makes a node believe that the kernel answers so when it asks for the
// underlay's MTU.
func underlayOf(n *Node, answer func(*vxlan.Socket, netip.Addr) (int, error)) {
	n.path.mu.Lock()
	defer n.path.mu.Unlock()
	n.path.pathMTU = answer
}

// TestSwarm is a swarm of three nodes, and what its users see: sandboxes on any node
// reach each other by addresses given in turn, nobody is looked for on the
// underlay, a node that starts again goes on, one that leaves is gone.
func TestSwarm(t *testing.T) {
	watchLeaks(t)
	nodes := swarm(t, 3)
	id, _, err := nodes[2].NetworkCreate(t.Context(), cnm.Network{Name: "over", Driver: cnm.DriverOverlay, EnableIPv4: true})
	if err != nil {
		t.Fatal(err)
	}
	boxes := map[byte]cnm.Sandbox{}
	for last := byte(1); last <= 3; last++ {
		inTime(t, "the network is known", func() bool { _, err := nodes[last].Network("over"); return err == nil })
		boxes[last] = mustRun(t, nodes[last], cnm.SandboxSpec{Name: fmt.Sprintf("demo%d", last), Cmd: program("serve", ":7000"), Networks: on("over")})
		if got, want := addr4(boxes[last], "over"), netip.AddrFrom4([4]byte{10, 0, 1, last + 1}); got != want {
			t.Errorf("demo%d got %s, expected %s", last, got, want)
		}
	}
	everybody := func(from ...byte) {
		t.Helper()
		for _, f := range from {
			for to, sb := range boxes {
				if f != to {
					inTime(t, fmt.Sprintf("demo%d is known on node %d", to, f), func() bool { return knowsMAC(nodes[f], "over", sb) })
					reachInTime(t, nodes[f], fmt.Sprintf("demo%d", f), sb)
				}
			}
		}
	}
	everybody(1, 2, 3)
	for last, n := range nodes {
		// Everything that crossed was unicast: no ARP, no neighbour solicitation.
		peers, _ := n.Peers()
		for _, p := range peers {
			if p.Drops["unknown-arp"]+p.Drops["unknown-mac"]+p.Drops["mac-limit"] != 0 {
				t.Errorf("node %d: %+v", last, p)
			}
		}
		nw, err := n.Network("over")
		if err != nil || nw.ID != id || nw.Scope != cnm.ScopeSwarm || len(nw.Peers) != 2 {
			t.Errorf("node %d: %+v, %v", last, nw, err)
		}
		inTime(t, "the loopback's MTU is made use of", func() bool { nw, err := n.Network("over"); return err == nil && nw.MTU == 65485 })
	}

	// A node that has a smaller underlay has it for all.
	mtuIs := func(want int) func() bool {
		return func() bool { nw, err := nodes[1].Network("over"); return err == nil && nw.MTU == want }
	}
	underlayOf(nodes[3], func(s *vxlan.Socket, peer netip.Addr) (int, error) {
		if peer == loopback(2) {
			return 9000, nil
		}
		return s.PathMTU(peer)
	})
	inTime(t, "a smaller MTU is heard of", mtuIs(9000-50))
	underlayOf(nodes[3], (*vxlan.Socket).PathMTU)
	inTime(t, "a larger MTU is heard of", mtuIs(65485))

	// Its own addresses alone can be asked for once.
	mustNetwork(t, nodes[1], cnm.Network{Name: "fixed", Driver: cnm.DriverOverlay, IPAM: pool("10.66.30.0/24")})
	join := cnm.EndpointConfig{IPv4: netip.MustParseAddr("10.66.30.7")}
	inTime(t, "the network is known", func() bool { _, err := nodes[2].Network("fixed"); return err == nil })
	for last := byte(1); last <= 2; last++ {
		err := nodes[last].NetworkConnect(t.Context(), "fixed", boxes[last].ID, join)
		if last == 1 && err != nil || last == 2 && (err == nil || !strings.Contains(err.Error(), "in use")) {
			t.Errorf("node %d asked for %s: %v", last, join.IPv4, err)
		}
	}
	if err := nodes[1].NetworkRemove(t.Context(), "over"); !errors.Is(err, cnm.Forbidden) && !errors.Is(err, cnm.Conflict) {
		t.Errorf("a network in use on other nodes: %v", err)
	}

	// A node that starts again has what it had.
	cfg := nodes[3].cfg
	nodes[3].Close()
	nodes[3] = openBeside(t, cfg)
	everybody(1, 3)

	// What ends is forgotten everywhere, and its address given to nobody for a while.
	kill(t, nodes[2], boxes[2].ID)
	inTime(t, "demo2 is forgotten", func() bool { return !knowsMAC(nodes[1], "over", boxes[2]) && !knowsMAC(nodes[3], "over", boxes[2]) })
	inTime(t, "demo2 has ended", func() bool { return len(nodes[2].onSwarm()) == 0 })
	if err := nodes[2].SwarmLeave(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := nodes[2].Network("over"); !errors.Is(err, cnm.NotFound) {
		t.Errorf("a node that left has the network: %v", err)
	}
	inTime(t, "two nodes are left", func() bool { l, err := nodes[3].SwarmNodes(t.Context()); return err == nil && len(l) == 2 })
	if err := nodes[3].SwarmLeave(t.Context(), false); !errors.Is(err, cnm.Unavailable) || !strings.Contains(err.Error(), "demo3 on over") {
		t.Errorf("left with a sandbox on the network: %v", err)
	}
}

// knowsMAC reports whether a node's forwarding table has a sandbox of another node.
func knowsMAC(n *Node, network string, sb cnm.Sandbox) bool {
	rows, err := n.FDB(network)
	if err != nil {
		return false
	}
	for _, r := range rows {
		if r.MAC == sb.Endpoints[0].MAC && r.Static {
			return true
		}
	}
	return false
}

// TestSwarmRoles promotes a node and lets it lead, while sandboxes talk.
func TestSwarmRoles(t *testing.T) {
	watchLeaks(t)
	nodes := swarm(t, 2)
	mustNetwork(t, nodes[1], cnm.Network{Name: "over", Driver: cnm.DriverOverlay})
	inTime(t, "the network is known", func() bool { _, err := nodes[2].Network("over"); return err == nil })
	one := mustRun(t, nodes[1], cnm.SandboxSpec{Name: "one", Cmd: program("serve", ":7000"), Networks: on("over")})
	two := mustRun(t, nodes[2], cnm.SandboxSpec{Name: "two", Cmd: program("serve", ":7000"), Networks: on("over")})
	setRole := func(by *Node, name string, role cnm.Role) {
		t.Helper()
		s, err := by.SwarmNode(t.Context(), name)
		if err == nil {
			s.Spec.Role = role
			err = by.SwarmNodeUpdate(t.Context(), s.ID, s.Version, s.Spec)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := nodes[2].SwarmNodeUpdate(t.Context(), "x", 0, cnm.NodeSpec{}); !errors.Is(err, cnm.Unavailable) {
		t.Errorf("a worker changed a node: %v", err)
	}
	setRole(nodes[1], "node2", cnm.Manager)
	inTime(t, "node2 is a manager", func() bool { return nodes[2].SwarmInfo().Manager && nodes[2].SwarmInfo().Managers == 2 })
	setRole(nodes[1], "node1", cnm.Worker)
	inTime(t, "node2 leads alone", func() bool {
		s, err := nodes[2].SwarmNode(t.Context(), "self")
		return err == nil && s.Leader && s.Voter && !nodes[1].SwarmInfo().Manager
	})
	inTime(t, "one is known again", func() bool { return knowsMAC(nodes[2], "over", one) })
	inTime(t, "two is known again", func() bool { return knowsMAC(nodes[1], "over", two) })
	reachInTime(t, nodes[2], "two", one)
	three := mustRun(t, nodes[1], cnm.SandboxSpec{Name: "three", Cmd: program("serve", ":7000"), Networks: on("over")})
	if got := addr4(three, "over"); got != netip.MustParseAddr("10.0.1.4") {
		t.Errorf("three got %s", got)
	}
}

// TestSwarmVNI: a node's own overlay and one of the swarm do not share a VNI.
func TestSwarmVNI(t *testing.T) {
	watchLeaks(t)
	n := swarm(t, 1)[1]
	mustNetwork(t, n, overlayNetwork(1, 2)) // VNI 4097, as the swarm's first
	mustNetwork(t, n, cnm.Network{Name: "far", Driver: cnm.DriverOverlay})
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "one", Cmd: program("sleep"), Networks: on("far")})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), id); !errors.Is(err, cnm.Conflict) || !strings.Contains(err.Error(), "has VNI 4097, and so has network over") {
		t.Errorf("two networks with one VNI: %v", err)
	}
	if err := n.NetworkRemove(t.Context(), "over"); err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), id); err != nil {
		t.Errorf("alone: %v", err)
	}
}

// TestSwarmLocked: a locked manager starts without what it knows, keeps what lives
// on it, and goes on when it is unlocked.
func TestSwarmLocked(t *testing.T) {
	watchLeaks(t)
	cfg := swarmConfig(t, 1)
	n := openBeside(t, cfg)
	if _, err := n.SwarmInit(t.Context(), cnm.SwarmInit{Spec: cnm.SwarmSpec{}}); err != nil {
		t.Fatal(err)
	}
	mustNetwork(t, n, cnm.Network{Name: "over", Driver: cnm.DriverOverlay})
	mustRun(t, n, cnm.SandboxSpec{Name: "one", Cmd: program("serve", ":7000"), Networks: on("over")})
	two := mustRun(t, n, cnm.SandboxSpec{Name: "two", Cmd: program("serve", ":7000"), Networks: on("over")})
	s, err := n.Swarm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Spec.AutoLock = true
	if err := n.SwarmUpdate(t.Context(), s.Version, s.Spec, cnm.SwarmRotate{}); err != nil {
		t.Fatal(err)
	}
	key, err := n.SwarmUnlockKey(t.Context())
	if err != nil || !strings.HasPrefix(key, "SWMKEY-1-") {
		t.Fatalf("key %q, %v", key, err)
	}
	inTime(t, "the store's key is sealed", func() bool {
		b, err := os.ReadFile(filepath.Join(n.swarmDir(), "raft", "cluster.key"))
		return err == nil && strings.Contains(string(b), `"Sealed"`)
	})
	n.Close()
	n = openBeside(t, cfg)
	if i := n.SwarmInfo(); i.State != "locked" || i.Addr != loopback(1) || i.Control.Port() != swarmControlPort || len(i.DataPath) != 1 {
		t.Fatalf("%+v", i)
	}
	if err := n.SwarmLeave(t.Context(), false); err == nil || !strings.Contains(err.Error(), "sandboxes are on networks") {
		t.Errorf("left with sandboxes: %v", err)
	}
	reach(t, n, "one", addr4(two, "over"), true)
	if _, err := n.Swarm(t.Context()); err == nil || !strings.Contains(err.Error(), "needs to be unlocked") {
		t.Errorf("a locked manager answers: %v", err)
	}
	for _, wrong := range []string{"wrong", "", "SWMKEY-1-foo", "SWMKEY-1-" + strings.Repeat("a", 43)} { // each leaves it locked
		if err := n.SwarmUnlock(t.Context(), wrong); !errors.Is(err, cnm.Invalid) {
			t.Errorf("key %q: %v", wrong, err)
		}
		if i := n.SwarmInfo(); i.State != "locked" {
			t.Fatalf("after key %q: %+v", wrong, i)
		}
	}
	if _, _, err := n.NetworkCreate(t.Context(), cnm.Network{Name: "early", Driver: cnm.DriverOverlay, EnableIPv4: true}); err == nil || !strings.Contains(err.Error(), "needs to be unlocked") {
		t.Errorf("a network while locked: %v", err)
	}
	early, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "early", Cmd: program("serve", ":7000"), Networks: on("over")})
	if err == nil {
		err = n.SandboxStart(t.Context(), early)
	}
	if err == nil || !strings.Contains(err.Error(), "needs to be unlocked") {
		t.Errorf("a sandbox while locked: %v", err)
	}
	if err := n.SwarmUnlock(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	inTime(t, "it leads", func() bool { s, err := n.SwarmNode(t.Context(), "self"); return err == nil && s.Leader })
	if got := addr4(mustRun(t, n, cnm.SandboxSpec{Name: "three", Networks: on("over")}), "over"); got != netip.MustParseAddr("10.0.1.4") {
		t.Errorf("three got %s", got)
	}
}

// TestSwarmDamaged: what keeps a node from taking up its membership does not keep the
// daemon from starting, nor sandboxes from talking, and can be left behind.
func TestSwarmDamaged(t *testing.T) {
	watchLeaks(t)
	cfg := swarmConfig(t, 1)
	n := openBeside(t, cfg)
	if i := n.SwarmInfo(); i.State != "inactive" || i.Addr != loopback(1) || i.Control.Port() != swarmControlPort || i.DataPath[0].Port() != swarmDataPathPort {
		t.Errorf("%+v", i)
	}
	if _, err := n.SwarmInit(t.Context(), cnm.SwarmInit{}); err != nil {
		t.Fatal(err)
	}
	if s, err := n.Swarm(t.Context()); err != nil || s.Spec.CertExpiry != 90*24*time.Hour || s.Spec.KeyRotation != 12*time.Hour {
		t.Errorf("%+v, %v", s.Spec, err)
	}
	mustNetwork(t, n, cnm.Network{Name: "over", Driver: cnm.DriverOverlay})
	one := mustRun(t, n, cnm.SandboxSpec{Name: "one", Cmd: program("serve", ":7000"), Networks: on("over")})
	two := mustRun(t, n, cnm.SandboxSpec{Name: "two", Cmd: program("serve", ":7000"), Networks: on("over")})
	n.Close()
	file := filepath.Join(n.swarmDir(), "identity.pem")
	if err := os.WriteFile(file, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	n = openBeside(t, cfg)
	if i := n.SwarmInfo(); i.State != "error" || !strings.Contains(i.Error, file) {
		t.Errorf("%+v", i)
	}
	reach(t, n, "one", addr4(two, "over"), true)
	if _, err := n.SwarmInit(t.Context(), cnm.SwarmInit{}); err == nil || !strings.Contains(err.Error(), "swarm leave --force") {
		t.Errorf("another swarm was made: %v", err)
	}
	for _, sb := range []cnm.Sandbox{one, two} {
		kill(t, n, sb.ID)
	}
	inTime(t, "all have ended", func() bool { return len(n.onSwarm()) == 0 })
	if err := n.SwarmLeave(t.Context(), false); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("left without force: %v", err)
	}
	if err := n.SwarmLeave(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := n.SwarmInit(t.Context(), cnm.SwarmInit{}); err != nil {
		t.Errorf("a new swarm: %v", err)
	}
}
