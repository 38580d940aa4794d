package cluster

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"weft/internal/cluster/pki"
	"weft/internal/cluster/store"
	"weft/internal/cnm"
)

// tokens returns the tokens of a manager's swarm.
func tokens(t *testing.T, h *host) (worker, manager string) {
	t.Helper()
	s, err := h.Swarm()
	if err != nil {
		t.Fatal(err)
	}
	return s.WorkerToken, s.ManagerToken
}

// TestJoinLeavesNothing: a join that a manager has agreed to, and that fails on the
// node, is taken back: a manager that never was would count among the voters.
func TestJoinLeavesNothing(t *testing.T) {
	hosts := testCluster(t, 0)
	worker, manager := tokens(t, hosts[0])
	for _, tt := range []struct {
		name, token, want string
		spoil             func(t *testing.T, c *Config)
	}{
		{"gossip's TCP port in use", worker, "address already in use", func(t *testing.T, c *Config) { hold(t, "tcp", netip.AddrPortFrom(c.Bind, c.GossipPort)) }},
		{"gossip's UDP port in use", worker, "--gossip-port", func(t *testing.T, c *Config) { hold(t, "udp", netip.AddrPortFrom(c.Bind, c.GossipPort)) }},
		{"control port in use", manager, "control port", func(t *testing.T, c *Config) { hold(t, "tcp", netip.AddrPortFrom(c.Bind, c.ControlPort)) }},
		{"no directory", manager, "not a directory", func(t *testing.T, c *Config) {
			c.Dir += "/below"
			if err := os.WriteFile(strings.TrimSuffix(c.Dir, "/below"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"an address that is not this node's", manager, "cannot assign", func(_ *testing.T, c *Config) { c.Bind = netip.MustParseAddr("192.0.2.1") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := loopback(t, 2)
			tt.spoil(t, &c)
			m, err := Join(t.Context(), c, cnm.SwarmJoin{Token: tt.token, Remotes: []netip.AddrPort{hosts[0].self().Control}})
			if err == nil {
				m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, expected %q", err, tt.want)
			}
			if _, err := os.Stat(c.memberPath()); err == nil {
				t.Error("the node has a membership")
			}
			if got := hosts[0].manager.store.State().Nodes.Len(); got != 1 {
				t.Errorf("the swarm has %d nodes", got)
			}
		})
	}
	eventually(t, "one votes, and one is known", func() bool {
		servers, err := hosts[0].manager.store.Servers()
		return err == nil && len(servers) == 1
	})
	if nw := overlayNet(t, hosts[0].Member, "front"); !asksAgain(t, hosts[0], nw.ID) {
		t.Error("no address after all that")
	}
}

// hold keeps a port until the test has ended.
func hold(t *testing.T, network string, at netip.AddrPort) {
	t.Helper()
	if network == "udp" {
		u, err := net.ListenPacket("udp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { u.Close() })
		return
	}
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// TestPortsInUse: a swarm is not begun on ports that others have, and a member that
// cannot have its own again says which, and stays a member.
func TestPortsInUse(t *testing.T) {
	c := loopback(t, 1)
	for _, port := range []uint16{c.ControlPort, c.GossipPort} {
		l, err := net.Listen("tcp", netip.AddrPortFrom(c.Bind, port).String())
		if err != nil {
			t.Fatal(err)
		}
		m, err := Init(t.Context(), c, cnm.SwarmInit{})
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("a swarm on port %d: %v", port, err)
		}
		if _, err := os.Stat(c.Dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", c.Dir, err)
		}
		l.Close()
	}
	m, err := Init(t.Context(), c, cnm.SwarmInit{})
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	l, err := net.Listen("tcp", netip.AddrPortFrom(c.Bind, c.ControlPort).String())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "control port") {
		t.Errorf("opened %v: %v", again, err)
	}
	l.Close()
	again, err := Open(t.Context(), c)
	if err != nil || again.ID() != m.ID() {
		t.Fatalf("opened %v: %v", again, err)
	}
	again.Close()
}

// TestJoinReplayed: what a node asked to become a member is asked again. With the same
// key it is the same member; with another it is refused, and so is a secret that was
// replaced since.
func TestJoinReplayed(t *testing.T) {
	hosts := testCluster(t, 0)
	secret := hosts[0].manager.cluster().Secrets.Worker
	key, csr, err := request()
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := request()
	if err != nil {
		t.Fatal(err)
	}
	c := loopback(t, 2)
	req := joinRequest{Secret: secret, CSR: csr, Node: selfNode(newID(), cnm.Worker, c)}
	ask := func(req joinRequest) (*joinResponse, error) {
		return hosts[0].manager.admit(t.Context(), caller{}, &req)
	}
	for range 2 {
		resp, err := ask(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pki.NewIdentity(key, resp.Chain, resp.View.Roots); err != nil {
			t.Error(err)
		}
	}
	stolen := req
	stolen.CSR = other
	if _, err := ask(stolen); !errors.Is(err, cnm.Conflict) {
		t.Errorf("another key for a member's id: %v", err)
	}
	leader := req
	leader.Node.ID = hosts[0].ID()
	if _, err := ask(leader); !errors.Is(err, cnm.Conflict) {
		t.Errorf("the leader's id: %v", err)
	}
	promoted := req
	promoted.Secret = hosts[0].manager.cluster().Secrets.Manager
	if _, err := ask(promoted); !errors.Is(err, cnm.Conflict) {
		t.Errorf("the same as a manager: %v", err)
	}
	for name, spoil := range map[string]func(*joinRequest){
		"no id":          func(r *joinRequest) { r.Node.ID = "" },
		"an id of signs": func(r *joinRequest) { r.Node.ID = "a b\nc" },
		"no request":     func(r *joinRequest) { r.Node.ID, r.CSR = newID(), nil },
		"half a request": func(r *joinRequest) { r.Node.ID, r.CSR = newID(), csr[:len(csr)/2] },
		"no name":        func(r *joinRequest) { r.Node.ID, r.Node.Hostname = newID(), "" },
		"a long name":    func(r *joinRequest) { r.Node.ID, r.Node.Hostname = newID(), strings.Repeat("n", 300) },
		"no gossip":      func(r *joinRequest) { r.Node.ID, r.Node.Gossip = newID(), netip.AddrPort{} },
		"a group's gossip": func(r *joinRequest) {
			r.Node.ID, r.Node.Gossip = newID(), netip.MustParseAddrPort("224.0.0.1:7946")
		},
		"many VTEPs": func(r *joinRequest) { r.Node.ID, r.Node.DataPath = newID(), make([]netip.AddrPort, 9) },
	} {
		bad := req
		spoil(&bad)
		if _, err := ask(bad); !errors.Is(err, cnm.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := hosts[0].UpdateSwarm(t.Context(), 0, hosts[0].manager.cluster().Spec, cnm.SwarmRotate{WorkerToken: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(req); !errors.Is(err, cnm.Forbidden) {
		t.Errorf("a secret of before: %v", err)
	}
	if got := hosts[0].manager.store.State().Nodes.Len(); got != 2 {
		t.Errorf("%d nodes", got)
	}
}

// TestJoinWrongPlace: joins by what is no manager, this node itself, and a manager
// that is locked.
func TestJoinWrongPlace(t *testing.T) {
	hosts := testCluster(t, 1)
	worker, _ := tokens(t, hosts[0])
	spec := hosts[0].manager.cluster().Spec
	spec.AutoLock = true
	if err := hosts[0].UpdateSwarm(t.Context(), 0, spec, cnm.SwarmRotate{}); err != nil {
		t.Fatal(err)
	}
	c := loopback(t, 3)
	try := func(name, want string, at netip.AddrPort) {
		t.Helper()
		m, err := Join(t.Context(), c, cnm.SwarmJoin{Token: worker, Remotes: []netip.AddrPort{at}})
		if err == nil {
			m.Close()
		}
		if err == nil || !errors.Is(err, cnm.Unavailable) || !strings.Contains(err.Error(), at.String()) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(c.Dir); !os.IsNotExist(err) {
			t.Errorf("%s: %s is left: %v", name, c.Dir, err)
		}
	}
	try("a worker's gossip", "this is not the control port of a manager", netip.AddrPortFrom(hosts[1].cfg.Advertise, hosts[1].cfg.GossipPort))
	try("a worker's control port", "connection refused: no manager listens there", netip.AddrPortFrom(hosts[1].cfg.Advertise, hosts[1].cfg.ControlPort))
	try("itself", "connection refused", netip.AddrPortFrom(c.Advertise, c.ControlPort))
	if _, err := Join(t.Context(), hosts[1].cfg, cnm.SwarmJoin{Token: worker, Remotes: []netip.AddrPort{hosts[0].self().Control}}); !errors.Is(err, cnm.Conflict) {
		t.Errorf("a member joins: %v", err)
	}
	unlock, err := hosts[0].UnlockKey()
	if err != nil {
		t.Fatal(err)
	}
	control := hosts[0].self().Control
	// The key file follows the settings by itself; what is written here is what it will be.
	eventually(t, "the manager is locked", func() bool {
		b, err := os.ReadFile(hosts[0].cfg.raftDir() + "/cluster.key")
		return err == nil && strings.Contains(string(b), "Sealed")
	})
	hosts[0].Close()
	if _, err := Open(t.Context(), hosts[0].cfg); !errors.Is(err, store.ErrLocked) {
		t.Fatalf("opened without the key: %v", err)
	}
	try("a locked manager", "connection refused", control)
	hosts[0].cfg.UnlockKey = unlock
	if hosts[0].Member, err = Open(t.Context(), hosts[0].cfg); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it leads", hosts[0].manager.leads)
	m, err := Join(t.Context(), c, cnm.SwarmJoin{Token: worker, Remotes: []netip.AddrPort{control}})
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}

// TestJoinsAtOnce: several nodes join at once, some by a wrong token; those that may
// are members, each its own. Of those that all have one name, one is.
func TestJoinsAtOnce(t *testing.T) {
	hosts := testCluster(t, 0)
	worker, _ := tokens(t, hosts[0])
	wrong := worker[:len(worker)-1] + string('0'+('1'-worker[len(worker)-1])&1)
	if wrong == worker {
		wrong = worker[:len(worker)-1] + "z"
	}
	var wg sync.WaitGroup
	members := make([]*Member, 6)
	errs := make([]error, 6)
	for i := range members {
		c := loopback(t, byte(i+2))
		token := worker
		switch {
		case i%3 == 2:
			token = wrong
		case i%3 == 1:
			c.Name = "same"
		}
		wg.Go(func() {
			members[i], errs[i] = Join(t.Context(), c, cnm.SwarmJoin{Token: token, Remotes: []netip.AddrPort{hosts[0].self().Control}})
		})
	}
	wg.Wait()
	ids := map[string]bool{}
	same := 0
	for i, m := range members {
		if m != nil {
			defer m.Close()
			ids[m.ID()] = true
		}
		switch {
		case i%3 == 2:
			if !errors.Is(errs[i], cnm.Forbidden) {
				t.Errorf("join %d: %v", i, errs[i])
			}
		case i%3 == 1 && m != nil:
			same++
		case i%3 == 1:
			if !errors.Is(errs[i], cnm.Conflict) || !strings.Contains(errs[i].Error(), "the name same is taken by node ") || !strings.Contains(errs[i].Error(), "--node-name") {
				t.Errorf("join %d: %v", i, errs[i])
			}
		case errs[i] != nil:
			t.Errorf("join %d: %v", i, errs[i])
		}
	}
	if got := hosts[0].manager.store.State().Nodes.Len(); got != 4 || len(ids) != 3 || same != 1 {
		t.Errorf("%d nodes, ids %v, %d of one name", got, ids, same)
	}
	if got := hosts[0].refused.counts()[refusedToken]; got != 2 {
		t.Errorf("%d tokens refused", got)
	}
	// A name that a user gave is one node's.
	var named []string
	for id := range ids {
		named = append(named, id)
	}
	give := func(id string) error {
		n := hosts[0].View().node(id)
		spec := n.Spec
		spec.Name = "rose"
		return hosts[0].UpdateNode(t.Context(), id, 0, spec)
	}
	eventually(t, "all are known", func() bool { return len(hosts[0].View().Nodes) == 4 })
	if err := errors.Join(give(named[0]), give(named[0])); err != nil {
		t.Error(err)
	}
	if err := give(named[1]); !errors.Is(err, cnm.Conflict) || !strings.Contains(err.Error(), "rose is already in use by node "+named[0]) {
		t.Errorf("a name that is taken: %v", err)
	}
}
