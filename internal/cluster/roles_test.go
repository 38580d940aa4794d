package cluster

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"weft/internal/cluster/pki"
	"weft/internal/cnm"
)

// reopening lets a host be closed and opened again when its role changes.
func (h *host) reopening(t *testing.T, mu *sync.Mutex) {
	h.Member.cfg.Restart = func() {
		go func() {
			mu.Lock()
			defer mu.Unlock()
			h.Close()
			m, err := Open(t.Context(), h.Member.cfg)
			if err != nil {
				if t.Context().Err() == nil {
					t.Error(err)
				}
				return
			}
			h.Member = m
		}()
	}
}

func (h *host) setRole(t *testing.T, of *host, role cnm.Role) {
	t.Helper()
	n := h.View().node(of.ID())
	spec := n.Spec
	spec.Role = role
	if err := h.UpdateNode(t.Context(), of.ID(), 0, spec); err != nil {
		t.Fatal(err)
	}
}

// TestRoles promotes workers and demotes managers while they run, the leader too.
func TestRoles(t *testing.T) {
	hosts := testCluster(t, 2)
	var mu sync.Mutex
	for _, h := range hosts {
		h.reopening(t, &mu)
	}
	// seen is how a host sees the swarm: which are managers, which vote.
	seen := func(h *host) (managers, voters int) {
		mu.Lock()
		defer mu.Unlock()
		for _, n := range h.View().Nodes {
			if n.Spec.Role == cnm.Manager && n.Control.IsValid() {
				managers++
			}
			if n.Voter {
				voters++
			}
		}
		return managers, voters
	}
	settled := func(what string, managers, voters int) {
		t.Helper()
		eventually(t, what, func() bool {
			for _, h := range hosts {
				if m, v := seen(h); m != managers || v != voters {
					return false
				}
			}
			return true
		})
	}
	settled("one manager", 1, 1)
	hosts[0].setRole(t, hosts[1], cnm.Manager)
	settled("a standby has no vote", 2, 1)
	eventually(t, "the standby has a copy", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return hosts[1].Manager() && hosts[1].manager.cluster().ID == hosts[0].View().Cluster
	})
	hosts[0].setRole(t, hosts[2], cnm.Manager)
	settled("three vote", 3, 3)
	nw := overlayNet(t, hosts[2].Member, "front")
	if !asksAgain(t, hosts[1], nw.ID) {
		t.Error("no address by a manager that does not lead")
	}
	// The leader is demoted: another leads, and the first asks it.
	leader := hosts[0]
	if !leader.manager.leads() {
		t.Fatal("the first does not lead")
	}
	leader.setRole(t, leader, cnm.Worker)
	settled("two managers, one vote", 2, 1)
	eventually(t, "the first is a worker", func() bool { mu.Lock(); defer mu.Unlock(); return !leader.Manager() })
	eventually(t, "the first gets an address", func() bool { return asksAgain(t, leader, nw.ID) })
}

// TestKeysRotate replaces the gossip's key and the root certificate while three
// nodes run; all go on, old tokens end.
func TestKeysRotate(t *testing.T) {
	hosts := testCluster(t, 2)
	nw := overlayNet(t, hosts[0].Member, "front")
	before, err := hosts[0].Swarm()
	if err != nil {
		t.Fatal(err)
	}
	key := hosts[0].View().GossipKeys[0]
	if err := hosts[0].UpdateSwarm(t.Context(), 0, before.Spec, cnm.SwarmRotate{Keys: true, Root: true, WorkerToken: true}); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		eventually(t, "a new key seals", func() bool { return !bytes.Equal(h.View().GossipKeys[0], key) && len(h.View().GossipKeys) == 2 })
		eventually(t, "the new root alone is trusted", func() bool {
			roots := h.identity.Load().RootsPEM()
			return !bytes.Equal(roots, before.RootPEM) && bytes.Equal(roots, h.View().Roots) && bytes.Count(roots, []byte("BEGIN")) == 1
		})
	}
	after, err := hosts[0].Swarm()
	if err != nil || after.WorkerToken == before.WorkerToken || after.ManagerToken == before.ManagerToken || after.RootRotation {
		t.Errorf("%+v, %v", after, err)
	}
	// A row travels under the new key, and a node joins by the new root.
	e := hosts[1].endpoint(t, nw.ID, "rose")
	if err := hosts[2].Use(t.Context(), nw.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the row is there", func() bool {
		n := hosts[2].Neighbours(nw.ID)
		return len(n.Endpoints) == 1 && n.Endpoints[0].ID == e.ID
	})
	hosts = append(hosts, joinTest(t, hosts[0], 4, false))
	t.Cleanup(hosts[3].Close)
	eventually(t, "the fourth is known", func() bool { return len(hosts[1].View().Nodes) == 4 })
}

// TestOldRoot: while a root is replaced, the nodes that have yet to renew are told
// from those that have, and the last of them ends it.
func TestOldRoot(t *testing.T) {
	hosts := testCluster(t, 1)
	old := func() (names []string) {
		for _, n := range hosts[0].Nodes() {
			if n.OldRoot {
				names = append(names, n.Hostname)
			}
		}
		return names
	}
	if names := old(); names != nil {
		t.Errorf("before: %v are behind", names)
	}
	before, err := hosts[0].Swarm()
	if err != nil {
		t.Fatal(err)
	}
	hosts[1].Close()
	if err := hosts[0].UpdateSwarm(t.Context(), 0, before.Spec, cnm.SwarmRotate{Root: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "node2 alone is behind", func() bool { return slices.Equal(old(), []string{"node2"}) })
	if s, err := hosts[0].Swarm(); err != nil || !s.RootRotation || !bytes.Equal(s.OldRootPEM, before.RootPEM) || bytes.Equal(s.RootPEM, before.RootPEM) {
		t.Errorf("meanwhile: %+v, %v", s, err)
	}
	m, err := Open(t.Context(), hosts[1].cfg)
	if err != nil {
		t.Fatal(err)
	}
	hosts[1].Member = m
	eventually(t, "the rotation ends", func() bool {
		s, err := hosts[0].Swarm()
		return err == nil && !s.RootRotation && s.OldRootPEM == nil && old() == nil
	})
}

// TestKeysRotateOnce: who asks for new keys while they are being replaced is refused,
// and spoils nothing.
func TestKeysRotateOnce(t *testing.T) {
	m := testCluster(t, 0)[0]
	s, err := m.Swarm()
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() { first <- m.UpdateSwarm(t.Context(), 0, s.Spec, cnm.SwarmRotate{Keys: true}) }()
	eventually(t, "a key is made known", func() bool { return len(m.manager.cluster().GossipKeys) == 2 })
	fresh := m.manager.cluster().GossipKeys[1]
	if err := m.UpdateSwarm(t.Context(), 0, s.Spec, cnm.SwarmRotate{Keys: true}); !errors.Is(err, cnm.Conflict) {
		t.Errorf("the second: %v", err)
	}
	if err := <-first; err != nil || !bytes.Equal(m.manager.cluster().GossipKeys[0], fresh) {
		t.Errorf("the first: %v", err)
	}
}

// TestUnsavedCertificate: a node whose disk is full when the root is replaced goes on
// with its new certificate, and has it on disk as soon as it can.
func TestUnsavedCertificate(t *testing.T) {
	hosts := testCluster(t, 1)
	nw := overlayNet(t, hosts[0].Member, "front")
	w := hosts[1]
	block := filepath.Join(w.cfg.Dir, "identity.pem.new")
	if err := os.MkdirAll(filepath.Join(block, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := hosts[0].Swarm()
	if err != nil {
		t.Fatal(err)
	}
	if err := hosts[0].UpdateSwarm(t.Context(), 0, s.Spec, cnm.SwarmRotate{Root: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rotation ends", func() bool { s, err := hosts[0].Swarm(); return err == nil && !s.RootRotation })
	eventually(t, "the manager trusts the new root alone", func() bool {
		return bytes.Count(hosts[0].identity.Load().RootsPEM(), []byte("BEGIN")) == 1
	})
	w.links.reset()
	if !asksAgain(t, w, nw.ID) {
		t.Error("no address with the new certificate")
	}
	// Not removed in place: the node tries all the time, and would write amid the removal.
	if err := os.Rename(block, filepath.Join(t.TempDir(), "away")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is on disk", func() bool {
		id, err := pki.LoadIdentity(w.cfg.Dir)
		return err == nil && id.Certificate().Equal(w.identity.Load().Certificate()) && !w.unsaved.Load()
	})
}

// TestLostRenewal: a node that never got the certificate that a manager has given out
// asks once more by its old one, though it was the last.
func TestLostRenewal(t *testing.T) {
	hosts := testCluster(t, 1)
	nw := overlayNet(t, hosts[0].Member, "front")
	w := hosts[1]
	old := w.identity.Load()
	s, err := hosts[0].Swarm()
	if err != nil {
		t.Fatal(err)
	}
	if err := hosts[0].UpdateSwarm(t.Context(), 0, s.Spec, cnm.SwarmRotate{Root: true}); err != nil {
		t.Fatal(err)
	}
	renewed := func() bool { return !w.identity.Load().Certificate().Equal(old.Certificate()) }
	eventually(t, "it has renewed", renewed)
	w.identity.Store(old)
	w.links.reset()
	wake(w.toRenew)
	eventually(t, "it has renewed again", renewed)
	eventually(t, "the manager trusts the new root alone", func() bool {
		return bytes.Count(hosts[0].identity.Load().RootsPEM(), []byte("BEGIN")) == 1
	})
	w.links.reset()
	if !asksAgain(t, w, nw.ID) {
		t.Error("no address with the new certificate")
	}
}

// TestCallsWait: a manager that starts answers no call before it has its gossip.
func TestCallsWait(t *testing.T) {
	hosts := testCluster(t, 1)
	hosts[0].Close()
	c := hosts[0].cfg
	f, id, err := membership(&c)
	if err != nil {
		t.Fatal(err)
	}
	v, err := lastView(&c, f)
	if err != nil {
		t.Fatal(err)
	}
	m := newMember(c, f, id, v)
	t.Cleanup(m.Close)
	if m.manager, err = m.startManager(false); err != nil {
		t.Fatal(err)
	}
	if err := m.awaitLead(t.Context()); err != nil {
		t.Fatal(err)
	}
	remove := func(d time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		_, err := ask(ctx, hosts[1].Member, "RemoveNode", &removeRequest{ID: hosts[1].ID()}, (*manager).removeNode)
		return err
	}
	if err := remove(300 * time.Millisecond); !errors.Is(err, cnm.Unavailable) {
		t.Errorf("before: %v", err)
	}
	if err := m.begin(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it answers", func() bool { err := remove(time.Second); return err == nil || errors.Is(err, cnm.Conflict) })
}
