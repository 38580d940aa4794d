package node

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/cnm"
)

// The MTU of an overlay is what its paths carry, but for IPv6 never less than IPv6
// needs: then the tunnel tells.
func TestOverlayMTU(t *testing.T) {
	near, far := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	n := &Node{cfg: Config{DataPathPort: 4789, DataPathAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
	n.path = &dataPath{underlay: underlay{cfg: n.cfg.underlay()}}
	for _, c := range []struct {
		name      string
		near, far int // of the underlay; 0: unknown
		six       bool
		mtu       string
		want      int
	}{
		{"unknown", 0, 0, false, "", 1450},
		{"the smaller one", 9000, 1400, false, "", 1350},
		{"one unknown", 9000, 0, false, "", 1450},
		{"small", 9000, 1000, false, "", 950},
		{"small, with IPv6", 9000, 1000, true, "", 1280},
		{"just enough for IPv6", 1330, 1330, true, "", 1280},
		{"more than enough", 1331, 1400, true, "", 1281},
		{"given", 1000, 1000, false, "1400", 1400},
	} {
		n.pathMTU = map[netip.Addr]int{near: c.near, far: c.far}
		options := map[string]string{"weft.vni": "7", "weft.peers": "192.0.2.2,192.0.2.3"}
		if c.mtu != "" {
			options["mtu"] = c.mtu
		}
		nw := n.newNetwork(cnm.Network{Driver: "overlay", EnableIPv6: c.six, Options: options})
		if got := n.mtuLocked(nw); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// The path's MTU to a peer that there is no way to now is the one it had.
func TestPathMTUWithoutRoute(t *testing.T) {
	n := overlayNode(t, 1)
	nw := overlayNetwork(1, 2)
	nw.Options["weft.peers"] += ",192.0.2.7" // not reached from the loopback
	mustNetwork(t, n, nw)
	here, away := loopback(2), netip.MustParseAddr("192.0.2.7")
	if got := n.path.pathMTUs(nil); got[here] != 65535 || got[away] != 0 {
		t.Errorf("at first: %v", got)
	}
	if got := n.path.pathMTUs(map[netip.Addr]int{here: 9000, away: 9000}); got[here] != 65535 || got[away] != 9000 {
		t.Errorf("later: %v", got)
	}
}

// Who is a peer and who this node follows from the addresses the host had when it
// could last be asked.
func TestOwnAddresses(t *testing.T) {
	hosts := func(addrs ...string) func() ([]net.Addr, error) {
		return func() (out []net.Addr, err error) {
			for _, a := range addrs {
				ip, subnet, _ := net.ParseCIDR(a)
				out = append(out, &net.IPNet{IP: ip, Mask: subnet.Mask})
			}
			if len(addrs) == 0 {
				err = errors.New("too many open files")
			}
			return out, err
		}
	}
	n := &Node{cfg: Config{DataPathPort: 4789}}
	n.path = &dataPath{underlay: underlay{cfg: n.cfg.underlay()}}
	nw := n.newNetwork(cnm.Network{Driver: "overlay", Options: map[string]string{"weft.vni": "7", "weft.peers": "192.0.2.1,192.0.2.2"}})
	for _, c := range []struct {
		name string
		read func() ([]net.Addr, error)
		want string
	}{
		{"the first", hosts("192.0.2.1/24", "2001:db8::1/64"), "[192.0.2.2:4789]"},
		{"an error", hosts(), "[192.0.2.2:4789]"},
		{"the other", hosts("192.0.2.2/24"), "[192.0.2.1:4789]"},
	} {
		n.path.underlay.look(c.read)
		if got := join(n.remotesLocked(nw)); got != c.want {
			t.Errorf("%s: peers %s, want %s", c.name, got, c.want)
		}
		if d := (&desired{port: 4789, own: n.path.underlay.own()}); join(nw.overlay.Remotes(d.port, d.own)) != c.want {
			t.Errorf("%s: the plan has other peers", c.name)
		}
	}
	u := underlay{cfg: underlayConfig{bound: true, addrs: []netip.Addr{loopback(1)}}}
	u.look(hosts("192.0.2.1/24"))
	if got := u.own(); !slices.Equal(got, []netip.Addr{loopback(1)}) {
		t.Errorf("with an address of its own: %v", got)
	}
}

// The underlay's socket is served again after no worker took it, and what is dropped
// twice takes nobody else along.
func TestUnderlayServedAgain(t *testing.T) {
	n := overlayNode(t, 1)
	mustNetwork(t, n, overlayNetwork(1, 2))
	n.path.mu.Lock()
	c := n.path.underlay.v4.charges[0]
	w := c.worker
	w.drop(c)
	other := n.path.newCharge(c.fd, c.turn, c.spent) // in the place that is free now
	if err := w.take(other); err != nil {
		t.Error(err)
	}
	w.drop(c)
	if other.dead() || !slices.Contains(*w.ports.Load(), other.served) {
		t.Error("another charge was dropped")
	}
	w.drop(other)
	n.path.mu.Unlock()
	served := func() bool {
		n.path.mu.Lock()
		defer n.path.mu.Unlock()
		return !c.dead()
	}
	if !eventually(served) {
		t.Fatal("the socket is served by nobody")
	}
	before := peerCount(n)
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: loopback(2).AsSlice()}, &net.UDPAddr{IP: loopback(1).AsSlice(), Port: overlayPort})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{8}); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return peerCount(n) == before+1 }) {
		t.Error("a datagram was not received")
	}
}

func peerCount(n *Node) uint64 {
	_, sockets := n.Peers()
	return sockets[0].RxDatagrams
}

// Who starts a sandbox is told that its address found no room among the neighbours.
func TestNeighbourFault(t *testing.T) {
	n := openNode(t, testConfig(t))
	id := mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.44.0/24")})
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front")})
	n.path.mu.Lock()
	table := n.path.domains[id].Neighbours()
	a := netip.MustParseAddr("10.200.0.1")
	for table.SetStatic(a, deriveMAC(a)) == nil {
		a = a.Next()
	}
	n.path.mu.Unlock()
	tulip, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "tulip", Cmd: program("sleep"), Networks: on("front")})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), tulip); err == nil || !strings.Contains(err.Error(), "network front: neighbour 10.66.44.3") {
		t.Errorf("tulip started without its neighbour entry: %v", err)
	}
	if err := n.publish(mustFind(t, n, "rose").ID); err != nil {
		t.Errorf("rose is told of it: %v", err)
	}
}
