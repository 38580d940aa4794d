package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/cluster/pki"
	"weft/internal/cnm"
)

// A wrongClock is a clock that a test sets.
type wrongClock struct{ off atomic.Int64 }

func (c *wrongClock) now() time.Time { return time.Now().Add(time.Duration(c.off.Load())) }

func (c *wrongClock) set(off time.Duration) { c.off.Store(int64(off)) }

// rootOf returns the root that a manager issues under.
func rootOf(t *testing.T, h *host) *pki.Root {
	t.Helper()
	r := h.manager.cluster().Roots[0]
	root, err := pki.ParseRoot(r.Certificate, r.Key)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// forged returns the configuration of a client with a certificate of a root, issued
// at a time for an hour.
func forged(t *testing.T, root *pki.Root, s pki.Subject, at time.Time) *tls.Config {
	t.Helper()
	key, csr, err := request()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := root.Issue(csr, s, at, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	id, err := pki.NewIdentity(key, chain, root.CertPEM())
	if err != nil {
		t.Fatal(err)
	}
	c := pki.Credentials{Identity: func() *pki.Identity { return id }, Now: func() time.Time { return at }}.Client(pki.Peer{})
	c.VerifyConnection = nil // the server's certificate does not matter here
	return c
}

// open is knock that leaves the connection open, with what the first read says.
func open(t *testing.T, at netip.AddrPort, config *tls.Config, proto string) (net.Conn, error) {
	t.Helper()
	c, err := dialControl(t.Context(), sockets{}, at.String(), proto, config)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if proto == protoRPC {
		io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	}
	if _, err = c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil // it is open, and there is nothing to say
	}
	return c, err
}

// TestCertificatesRefused: certificates that are not valid now, or not of this
// swarm's root, open nothing, and each is counted by what is wrong with it.
func TestCertificatesRefused(t *testing.T) {
	clock := new(wrongClock)
	clock.set(-2 * time.Hour) // the root is older than what ends here
	c := loopback(t, 1)
	c.Now = clock.now
	m, err := Init(t.Context(), c, cnm.SwarmInit{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	clock.set(0)
	hosts := []*host{{m, c}}
	hosts = append(hosts, joinTest(t, hosts[0], 2, false))
	defer hosts[1].Close()
	at, now := hosts[0].self().Control, time.Now()
	cluster := hosts[0].View().Cluster
	foreign, err := pki.NewRoot(cluster, now) // the same names, another key
	if err != nil {
		t.Fatal(err)
	}
	own := rootOf(t, hosts[0])
	worker := pki.Subject{Node: hosts[1].ID(), Cluster: cluster, Role: pki.Worker}
	manager := pki.Subject{Node: hosts[0].ID(), Cluster: cluster, Role: pki.Manager}
	elsewhere := pki.Subject{Node: hosts[0].ID(), Cluster: "another", Role: pki.Manager}
	for _, tt := range []struct {
		name, proto, reason string
		config              *tls.Config
	}{
		{"good worker", protoRPC, "", forged(t, own, worker, now)},
		{"good manager", protoRaft, "", forged(t, own, manager, now)},
		{"ended worker", protoRPC, refusedExpired, forged(t, own, worker, now.Add(-61*time.Minute))},
		{"ended manager", protoRaft, refusedExpired, forged(t, own, manager, now.Add(-61*time.Minute))},
		{"worker of two hours on", protoRPC, refusedExpired, forged(t, own, worker, now.Add(2*time.Hour))},
		{"worker of a clock half an hour ahead", protoRPC, "", forged(t, own, worker, now.Add(30*time.Minute))},
		{"another root's worker", protoRPC, refusedForeign, forged(t, foreign, worker, now)},
		{"another root's manager", protoRaft, refusedForeign, forged(t, foreign, manager, now)},
		{"this root's manager of another swarm", protoRaft, refusedForeign, forged(t, own, elsewhere, now)},
		{"a worker replicates", protoRaft, refusedRole, forged(t, own, worker, now)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := hosts[0].refused.counts()
			_, err := open(t, at, tt.config, tt.proto)
			if (err == nil) != (tt.reason == "") {
				t.Errorf("answered %v", err)
			}
			if tt.reason != "" {
				eventually(t, "it is counted as "+tt.reason, func() bool { return hosts[0].refused.counts()[tt.reason] == before[tt.reason]+1 })
			}
		})
	}
	if !asksAgain(t, hosts[1], overlayNet(t, hosts[1].Member, "front").ID) {
		t.Error("a member gets no address after all that")
	}
}

// TestWorkerAsksForManagers: a worker's certificate opens calls, and none of those
// that are the managers', nor can it speak for others.
func TestWorkerAsksForManagers(t *testing.T) {
	hosts := testCluster(t, 2)
	w, ctx := hosts[1], t.Context()
	manager := hosts[0].View().node(hosts[0].ID())
	spec := manager.Spec
	spec.Role = cnm.Worker
	at := hosts[0].self().Control
	for name, do := range map[string]func() error{
		"update the swarm": func() error {
			_, err := askOne[none](ctx, w.Member, at, "UpdateSwarm", &swarmRequest{Rotate: cnm.SwarmRotate{WorkerToken: true}})
			return err
		},
		"demote the manager": func() error {
			_, err := askOne[none](ctx, w.Member, at, "UpdateNode", &specRequest{ID: manager.ID, Spec: spec})
			return err
		},
		"remove another": func() error {
			_, err := askOne[none](ctx, w.Member, at, "RemoveNode", &removeRequest{ID: hosts[2].ID(), Force: true})
			return err
		},
		"promote itself": func() error {
			self := w.self()
			self.Spec.Role, self.Control = cnm.Manager, netip.AddrPortFrom(w.cfg.Advertise, 1)
			if _, err := askOne[none](ctx, w.Member, at, "Announce", &nodeRequest{self}); err != nil {
				return err
			}
			if n, _ := hosts[0].manager.node(w.ID()); n.Spec.Role == cnm.Manager || n.Control.IsValid() {
				t.Errorf("it is %+v", n)
			}
			return errors.New("as it was")
		},
		"take the name of another": func() error {
			self := w.self()
			self.ID, self.Hostname = hosts[2].ID(), "mine"
			if _, err := askOne[none](ctx, w.Member, at, "Announce", &nodeRequest{self}); err != nil {
				return err
			}
			if n, _ := hosts[0].manager.node(hosts[2].ID()); n.Hostname == "mine" {
				t.Error("it speaks for another")
			}
			return errors.New("only its own")
		},
	} {
		if err := do(); err == nil {
			t.Errorf("a worker can %s", name)
		}
	}
	if got := len(hosts[0].View().Nodes); got != 3 {
		t.Errorf("%d nodes after all that", got)
	}
}

// TestRemovedNodes: a node that was removed while it ran, with all it had open, hears
// nothing more and changes nothing more.
func TestRemovedNodes(t *testing.T) {
	hosts := testCluster(t, 1)
	worker, at := hosts[1], hosts[0].self().Control
	standby := joinTest(t, hosts[0], 3, true)
	t.Cleanup(standby.Close)
	eventually(t, "the standby is known", func() bool {
		n := hosts[0].View().node(standby.ID())
		return n != nil && n.Spec.Role == cnm.Manager && standby.View().node(standby.ID()) != nil
	})
	id := standby.identity.Load() // a manager's: it may be given a worker's before it is removed
	creds := pki.Credentials{Identity: func() *pki.Identity { return id }, Now: standby.cfg.now}.Client(pki.Peer{Roles: []pki.Role{pki.Manager}})
	replication, err := open(t, at, creds, protoRaft)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []*host{worker, standby} {
		if err := hosts[0].RemoveNode(t.Context(), h.ID(), true); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "they are gone", func() bool { return len(hosts[0].View().Nodes) == 1 })
	replication.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := replication.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("replication that stood goes on: %v", err)
	}
	if _, err := open(t, at, creds, protoRaft); err == nil {
		t.Error("a removed manager replicates")
	}
	eventually(t, "both are counted as refused", func() bool { return hosts[0].refused.counts()[refusedRemoved] >= 2 })
	for _, h := range []*host{worker, standby} {
		h.links.reset()
		_, err := askOne[none](t.Context(), h.Member, at, "Announce", &nodeRequest{h.self()})
		if !errors.Is(err, cnm.Forbidden) || !strings.Contains(err.Error(), "no longer part of the swarm") {
			t.Errorf("a removed node asks: %v", err)
		}
	}
	overlayNet(t, hosts[0].Member, "front")
	time.Sleep(200 * time.Millisecond)
	if v := worker.View(); len(v.Networks) != 0 {
		t.Errorf("a removed worker hears of %+v", v.Networks)
	}
	if got := len(hosts[0].View().Nodes); got != 1 {
		t.Errorf("%d nodes after all that", got)
	}
}

// TestExpiredMember: a member whose certificate has ended says so, names the clock,
// and goes on when the clock was the fault.
func TestExpiredMember(t *testing.T) {
	hosts := testCluster(t, 0)
	s, err := hosts[0].Swarm()
	if err != nil {
		t.Fatal(err)
	}
	short := s.Spec
	short.CertExpiry = pki.MinValidity
	if err := hosts[0].UpdateSwarm(t.Context(), 0, short, cnm.SwarmRotate{}); err != nil {
		t.Fatal(err)
	}
	clock := new(wrongClock)
	c := loopback(t, 2)
	c.Now = clock.now
	m, err := Join(t.Context(), c, cnm.SwarmJoin{Token: s.WorkerToken, Remotes: []netip.AddrPort{hosts[0].self().Control}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	nw := overlayNet(t, hosts[0].Member, "front")
	clock.set(61 * time.Minute)
	m.links.reset()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, _, err = m.Allocate(ctx, Want{Endpoint: cnm.NewID(), Network: nw.ID})
	for _, want := range []string{"certificate of node " + m.ID() + " ended", "is this machine's clock right?", "leave the swarm and join again"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
	clock.set(0)
	// A dial that began by the wrong time may end now.
	eventually(t, "an address with the right time", func() bool { return asksAgain(t, &host{m, c}, nw.ID) })
}

// TestClocksApart: joining and renewing bear clocks that are less than an hour apart,
// whoever is right; beyond that both say so, and nothing changes.
func TestClocksApart(t *testing.T) {
	clock := new(wrongClock)
	c := loopback(t, 1)
	c.Now = clock.now
	manager, err := Init(t.Context(), c, cnm.SwarmInit{})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	s, err := manager.Swarm()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		off  time.Duration
		good bool
	}{
		{"an hour ahead", 59 * time.Minute, true},
		{"an hour behind", -59 * time.Minute, true},
		{"two hours ahead", 2 * time.Hour, false},
		{"the year before", -365 * 24 * time.Hour, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock.set(0)
			old := joinTest(t, &host{manager, c}, 2, false)
			defer old.Close()
			before := old.identity.Load()
			clock.set(tt.off)
			defer clock.set(0)
			renewed := old.renewNow()
			if (renewed == nil) != tt.good || (old.identity.Load() == before) == tt.good {
				t.Errorf("renewed: %v", renewed)
			}
			jc := loopback(t, 3)
			fresh, joined := Join(t.Context(), jc, cnm.SwarmJoin{Token: s.WorkerToken, Remotes: []netip.AddrPort{manager.self().Control}})
			if (joined == nil) != tt.good {
				t.Errorf("joined: %v", joined)
			}
			clock.set(0)
			if joined == nil {
				fresh.Leave(t.Context(), false)
			}
			if _, err := os.Stat(jc.Dir); !os.IsNotExist(err) {
				t.Errorf("%s is left: %v", jc.Dir, err)
			}
			for _, err := range []error{renewed, joined} {
				// A manager whose own certificate is not valid by its clock says why in its log.
				if err != nil && !strings.Contains(err.Error(), "clock right?") && !strings.Contains(err.Error(), "remote error: tls: internal error") {
					t.Errorf("it says %v", err)
				}
			}
			old.Leave(t.Context(), false)
			eventually(t, "the manager is alone again", func() bool { return len(manager.View().Nodes) == 1 })
		})
	}
}
