package cluster

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"weft/internal/cnm"
)

// backedUp returns a manager's backup, read again.
func backedUp(t *testing.T, h *host) *Backup {
	t.Helper()
	var b bytes.Buffer
	if err := h.Backup(&b); err != nil {
		t.Fatal(err)
	}
	backup, err := ReadBackup(&b)
	if err != nil {
		t.Fatal(err)
	}
	return backup
}

// lose ends a node and takes what it kept.
func (h *host) lose(t *testing.T) {
	t.Helper()
	h.Close()
	if err := os.RemoveAll(h.cfg.Dir); err != nil {
		t.Fatal(err)
	}
}

// restore makes a host of a backup.
func restore(t *testing.T, c Config, b *Backup) *host {
	t.Helper()
	m, err := Restore(t.Context(), c, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return &host{m, c}
}

// TestRestoreHere: the only manager loses its disk and is restored from a backup
// that is older than what its worker knows. It is the same node, the worker follows
// it again, leases and tokens hold.
func TestRestoreHere(t *testing.T) {
	hosts := testCluster(t, 1)
	front := overlayNet(t, hosts[0].Member, "front")
	first, second := hosts[0].endpoint(t, front.ID, "one"), hosts[1].endpoint(t, front.ID, "two")
	before, err := hosts[0].Swarm()
	if err != nil {
		t.Fatal(err)
	}
	backup := backedUp(t, hosts[0])
	late := overlayNet(t, hosts[0].Member, "late")
	eventually(t, "the worker knows of more than the backup", func() bool { return hosts[1].View().network(late.ID) != nil })

	hosts[0].lose(t)
	back := restore(t, hosts[0].cfg, backup)
	if back.ID() != hosts[0].ID() || !back.Manager() {
		t.Errorf("node %s is %s now", hosts[0].ID(), back.ID())
	}
	back.Keep([]string{first.ID})
	eventually(t, "the worker follows", func() bool {
		v := hosts[1].View()
		return v.network(late.ID) == nil && v.network(front.ID) != nil && v.Version >= back.View().Version
	})
	e := hosts[1].endpoint(t, front.ID, "three")
	if want := netip.MustParseAddr("10.0.1.4"); e.Addrs[0] != want || first.Addrs[0] == second.Addrs[0] {
		t.Errorf("got %s, expected %s: the leases of the backup hold", e.Addrs[0], want)
	}
	after, err := back.Swarm()
	if err != nil || after.WorkerToken != before.WorkerToken || after.ManagerToken != before.ManagerToken || !bytes.Equal(after.RootPEM, before.RootPEM) {
		t.Errorf("restored %+v, %v\nof %+v", after, err, before)
	}
	hosts[0] = back
	third := joinTest(t, back, 3, true)
	t.Cleanup(third.Close)
	eventually(t, "another manager has a copy", func() bool { return third.manager.cluster().ID == before.ID })
	again, err := Open(t.Context(), reopened(back))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Close)
	if again.ID() != back.ID() {
		t.Errorf("after a start it is %s", again.ID())
	}
}

// reopened closes a host and returns what it is opened with again.
func reopened(h *host) Config {
	h.Close()
	return h.cfg
}

// TestRestoreElsewhere: another node goes on with the swarm, in the middle of the
// replacing of its root. It is a new node, the old ones are listed as workers that
// are not there.
func TestRestoreElsewhere(t *testing.T) {
	hosts := testCluster(t, 2)
	second := joinTest(t, hosts[0], 4, true)
	t.Cleanup(second.Close)
	s, err := hosts[0].Swarm()
	if err != nil {
		t.Fatal(err)
	}
	hosts[2].Close() // has yet to renew
	if err := hosts[0].UpdateSwarm(t.Context(), 0, s.Spec, cnm.SwarmRotate{Root: true}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := hosts[1].Backup(&b); !errors.Is(err, cnm.Unavailable) || b.Len() > 0 {
		t.Errorf("a worker's backup: %v, %d bytes", err, b.Len())
	}
	backup := backedUp(t, hosts[0])
	for _, h := range []*host{hosts[0], hosts[1], second} {
		h.Close()
	}
	c := loopback(t, 5)
	c.Name = "node1" // the name alone does not make it that one
	back := restore(t, c, backup)
	roles := map[string]cnm.Role{}
	for _, n := range back.Nodes() {
		roles[n.ID] = n.Spec.Role
		if alone := n.ID == back.ID(); alone != (n.Spec.Role == cnm.Manager) || alone != (n.State == cnm.NodeReady) || alone != n.Control.IsValid() {
			t.Errorf("%+v", n)
		}
	}
	if len(roles) != 5 || roles[hosts[0].ID()] != cnm.Worker || roles[second.ID()] != cnm.Worker || roles[back.ID()] != cnm.Manager {
		t.Errorf("the nodes are %v", roles)
	}
	for _, h := range []*host{hosts[0], hosts[1], hosts[2], second} {
		if err := back.RemoveNode(t.Context(), h.ID(), true); err != nil {
			t.Errorf("remove %s: %v", h.ID(), err)
		}
	}
	eventually(t, "the root is replaced, now that nobody has the old one", func() bool { s, err := back.Swarm(); return err == nil && !s.RootRotation })
	joined := joinTest(t, back, 6, false)
	t.Cleanup(joined.Close)
}

// TestRestoreRefused: nothing on the disk changes when a backup cannot be restored.
func TestRestoreRefused(t *testing.T) {
	hosts := testCluster(t, 0)
	backup := backedUp(t, hosts[0])
	if _, err := Restore(t.Context(), hosts[0].cfg, backup); !errors.Is(err, cnm.Conflict) {
		t.Errorf("over a membership: %v", err)
	}
	c := loopback(t, 2)
	c.ControlPort, c.Bind = hosts[0].cfg.ControlPort, hosts[0].cfg.Bind // in use
	if _, err := Restore(t.Context(), c, backup); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("on a port in use: %v", err)
	}
	for _, dir := range []string{c.Dir, c.Dir + ".restored"} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	c = loopback(t, 3)
	if err := os.MkdirAll(c.Dir+".restored/raft", 0o700); err != nil { // a crash's
		t.Fatal(err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	restore(t, c, backup)
	if _, err := os.Stat(c.Dir + ".restored"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a crash left: %v", err)
	}
}

// TestRestoreLocked: a locked swarm is restored with its key, which opens the node
// after its next start.
func TestRestoreLocked(t *testing.T) {
	hosts := testCluster(t, 0)
	s, err := hosts[0].Swarm()
	if err != nil {
		t.Fatal(err)
	}
	s.Spec.AutoLock = true
	if err := hosts[0].UpdateSwarm(t.Context(), 0, s.Spec, cnm.SwarmRotate{}); err != nil {
		t.Fatal(err)
	}
	backup := backedUp(t, hosts[0])
	hosts[0].lose(t)
	back := restore(t, hosts[0].cfg, backup)
	key, err := back.UnlockKey()
	if err != nil || key == "" {
		t.Fatal(key, err)
	}
	c := reopened(back)
	if _, err := Open(t.Context(), c); !errors.Is(err, ErrLocked) {
		t.Errorf("without the key: %v", err)
	}
	c.UnlockKey = key
	m, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}
