package cluster

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
)

// A host is one node of a test: its configuration and, while it runs, its member.
type host struct {
	*Member
	cfg Config
}

// loopback returns the configuration of a node on 127.0.0.n, with ports that are
// free.
func loopback(t *testing.T, n byte) Config {
	t.Helper()
	a := netip.AddrFrom4([4]byte{127, 0, 0, n})
	return Config{
		Dir: filepath.Join(t.TempDir(), "swarm"), Name: "node" + string('0'+rune(n)), Bind: a, Advertise: a,
		ControlPort: freePort(t, a), GossipPort: freePort(t, a), DataPath: []netip.AddrPort{netip.AddrPortFrom(a, 4789)},
		Log: slog.New(slog.NewTextHandler(logTo{t}, &slog.HandlerOptions{Level: slog.LevelInfo})), Changed: func() {},
	}
}

// freePort returns a port that is free for TCP and UDP.
func freePort(t *testing.T, a netip.Addr) uint16 {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		at := l.Addr().(*net.TCPAddr).AddrPort()
		u, err := net.ListenPacket("udp", at.String())
		l.Close()
		if err == nil {
			u.Close()
			return at.Port()
		}
	}
	t.Fatal("no free port")
	return 0
}

// logTo writes a log into a test's, until the test has ended.
type logTo struct{ t *testing.T }

func (l logTo) Write(b []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

// cluster starts a manager and some workers.
func testCluster(t *testing.T, workers int) []*host {
	t.Helper()
	c := loopback(t, 1)
	m, err := Init(t.Context(), c, cnm.SwarmInit{})
	if err != nil {
		t.Fatal(err)
	}
	hosts := []*host{{m, c}}
	t.Cleanup(func() {
		for _, h := range hosts {
			h.Close()
		}
	})
	for i := range workers {
		hosts = append(hosts, joinTest(t, hosts[0], byte(i+2), false))
	}
	return hosts
}

// joinTest makes a node a member by one of its manager's tokens.
func joinTest(t *testing.T, manager *host, n byte, asManager bool) *host {
	t.Helper()
	s, err := manager.Swarm()
	if err != nil {
		t.Fatal(err)
	}
	token := s.WorkerToken
	if asManager {
		token = s.ManagerToken
	}
	c := loopback(t, n)
	m, err := Join(t.Context(), c, cnm.SwarmJoin{Token: token, Remotes: []netip.AddrPort{manager.self().Control}})
	if err != nil {
		t.Fatal(err)
	}
	return &host{m, c}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func overlayNet(t *testing.T, m *Member, name string) cnm.Network {
	t.Helper()
	nw, err := cnm.ValidateNetwork(cnm.Network{Name: name, Driver: "overlay", EnableIPv4: true})
	if err != nil {
		t.Fatal(err)
	}
	nw.ID, nw.Created = cnm.NewID(), time.Now()
	made, err := m.CreateNetwork(t.Context(), nw)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// endpoint gives a node an endpoint on a network and tells the others.
func (h *host) endpoint(t *testing.T, network string, name string) Endpoint {
	t.Helper()
	if err := h.Use(t.Context(), network); err != nil {
		t.Fatal(err)
	}
	defer h.Unuse(network)
	e := Endpoint{ID: cnm.NewID(), Sandbox: name, Names: []string{name}, VTEP: h.cfg.DataPath[0]}
	v4, _, err := h.Allocate(t.Context(), Want{Endpoint: e.ID, Network: network})
	if err != nil {
		t.Fatal(err)
	}
	e.Addrs, e.MAC = []netip.Addr{v4.Addr()}, cnm.MACFromIPv4(v4.Addr())
	h.SetShares(map[string]Share{network: {MTU: 1450, Endpoints: []Endpoint{e}}})
	return e
}

// TestThreeMembers is the life of a small cluster: addresses in the order they are
// asked for, rows that reach the nodes that have the network and no other, a node
// that dies and returns, and one that leaves.
func TestThreeMembers(t *testing.T) {
	hosts := testCluster(t, 2)
	front := overlayNet(t, hosts[1].Member, "front") // a worker may ask, too
	if want := "10.0.1.0/24"; front.IPAM.Config[0].Subnet.String() != want || front.Options[cnm.OptVNIList] != "" && front.Options[cnm.OptVNIList] != "4097" {
		t.Errorf("%+v, the subnet was to be %s", front, want)
	}
	eventually(t, "the network is known to all", func() bool {
		for _, h := range hosts {
			if nw := h.View().network(front.ID); nw == nil || nw.Options[cnm.OptVNIList] != "4097" {
				return false
			}
		}
		return true
	})
	var eps []Endpoint
	for i, h := range hosts {
		e := h.endpoint(t, front.ID, "demo")
		if want := netip.AddrFrom4([4]byte{10, 0, 1, byte(i + 2)}); e.Addrs[0] != want {
			t.Errorf("endpoint %d got %s, expected %s", i, e.Addrs[0], want)
		}
		eps = append(eps, e)
	}
	knows := func(h *host, others ...int) func() bool {
		return func() bool {
			t := h.Neighbours(front.ID)
			if len(t.Nodes) != len(others) || len(t.Endpoints) != len(others) {
				return false
			}
			for _, o := range others {
				found := false
				for _, e := range t.Endpoints {
					found = found || e.ID == eps[o].ID && e.MAC == eps[o].MAC && e.VTEP == eps[o].VTEP && e.Node == hosts[o].ID()
				}
				if !found {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "the first knows the others", knows(hosts[0], 1, 2))
	eventually(t, "the second knows the others", knows(hosts[1], 0, 2))
	eventually(t, "the third knows the others", knows(hosts[2], 0, 1))
	eventually(t, "the third knows what MTU the others have", func() bool {
		nodes := hosts[2].Neighbours(front.ID).Nodes
		return nodes[0].MTU == 1450 && nodes[1].MTU == 1450
	})

	// A node that has nothing on the network hears nothing of it.
	hosts[2].SetShares(nil)
	hosts[2].Release(eps[2].ID)
	eventually(t, "the first has heard that the third is off", knows(hosts[0], 1))
	if got := hosts[2].gossip.Rows(front.ID); len(got) != 0 {
		t.Errorf("a node off the network has rows of it: %v", got)
	}
	// Its address is free, and not the next to be given: the next is .5.
	if e := hosts[2].endpoint(t, front.ID, "demo"); e.Addrs[0] != netip.AddrFrom4([4]byte{10, 0, 1, 5}) {
		t.Errorf("got %s, expected the next in turn", e.Addrs[0])
	} else {
		eps[2] = e
	}

	// A worker that starts again is the same node, also while no manager answers.
	hosts[0].Close()
	hosts[1].Close()
	back, err := Open(t.Context(), hosts[1].cfg)
	if err != nil {
		t.Fatal(err)
	}
	if back.ID() != hosts[1].ID() || back.View().network(front.ID) == nil {
		t.Errorf("node %s knows %+v", back.ID(), back.View())
	}
	hosts[1].Member = back
	if err := back.Use(t.Context(), front.ID); err != nil {
		t.Fatal(err)
	}
	back.SetShares(map[string]Share{front.ID: {Endpoints: []Endpoint{eps[1]}}})
	eventually(t, "the third knows the second again", knows(hosts[2], 1))
	// Only new addresses wait, and the error names the manager.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, _, err := back.Allocate(ctx, Want{Endpoint: cnm.NewID(), Network: front.ID}); !errors.Is(err, cnm.Unavailable) ||
		!strings.Contains(err.Error(), hosts[0].self().Control.String()) {
		t.Errorf("an address without a manager: %v", err)
	}
	// The manager returns.
	first, err := Open(t.Context(), hosts[0].cfg)
	if err != nil {
		t.Fatal(err)
	}
	hosts[0].Member = first
	if err := first.Use(t.Context(), front.ID); err != nil {
		t.Fatal(err)
	}
	first.SetShares(map[string]Share{front.ID: {Endpoints: []Endpoint{eps[0]}}})
	back.Keep([]string{eps[1].ID})
	eventually(t, "the first knows the others again", knows(hosts[0], 1, 2))
	if e := hosts[1]; !asksAgain(t, e, front.ID) {
		t.Error("no address after the manager's return")
	}

	// A node that leaves is forgotten.
	if err := hosts[2].Leave(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the third has left", func() bool { return len(first.Nodes()) == 2 && knows(hosts[0], 1)() })
	if _, err := Open(t.Context(), hosts[2].cfg); !errors.Is(err, ErrNone) {
		t.Errorf("a node that has left opens: %v", err)
	}
}

// asksAgain reports whether a node can get an address.
func asksAgain(t *testing.T, h *host, network string) bool {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, _, err := h.Allocate(ctx, Want{Endpoint: cnm.NewID(), Network: network})
	if err != nil {
		t.Log(err)
	}
	return err == nil
}
