package cluster

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"

	"weft/internal/cluster/pki"
	"weft/internal/cluster/store"
	"weft/internal/cnm"
)

// Theory of operation: a swarm from a backup
//
// A node in no swarm makes itself the only manager of the swarm that a backup is of.
// It signs its certificate with the root in the backup. A node that was in that
// swarm, by its name and the address it gossips at, is itself again, labels and
// leases included; any other is a new one. The directory is made beside its place
// and moved there when it is whole.
//
// Workers that find the node, at the address of a manager they know of, take its
// view, which is newer than theirs (store, backup.go). What was a manager has a copy
// of its own, and goes on by that until it leaves.

// A Backup is a swarm that can be restored.
type Backup struct{ state *store.State }

// ReadBackup reads what Member.Backup wrote. Errors say what is wrong with it.
func ReadBackup(r io.Reader) (*Backup, error) {
	s, err := store.ReadBackup(r)
	if err != nil {
		return nil, err
	}
	return &Backup{s}, nil
}

// Backup writes what the managers have agreed on, as far as this one knows, secrets
// included: the root's key, the tokens, the keys of the gossip.
func (m *Member) Backup(w io.Writer) error {
	if m.manager == nil {
		return forManagers(caller{m.id, m.role})
	}
	return m.manager.store.Backup(w)
}

// Restore makes this node, which is in no swarm, the only manager of a backup's.
func Restore(ctx context.Context, c Config, b *Backup) (*Member, error) {
	if err := vacant(c.Dir); err != nil {
		return nil, err
	}
	aside := c
	aside.Dir = c.Dir + ".restored"
	err := os.RemoveAll(aside.Dir) // of an attempt that a crash ended
	if err == nil {
		c.UnlockKey, err = aside.rebuild(b.state)
	}
	if err == nil {
		if err = os.Remove(c.Dir); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(aside.Dir, c.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(aside.Dir))
	}
	m, err := Open(ctx, c)
	if err == nil {
		err = m.awaitLead(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.Dir))
	}
	return m, nil
}

// rebuild makes the directory of a member from a state, and returns the key that
// opens it, if there is one.
func (c *Config) rebuild(backup *store.State) (unlockKey string, err error) {
	f := memberFile{ID: newID(), Cluster: backup.Cluster.ID, Role: cnm.Manager}
	for _, n := range backup.Nodes.All() {
		if n.Hostname == c.Name && n.Gossip == netip.AddrPortFrom(c.Advertise, c.GossipPort) {
			f.ID = n.ID
		}
	}
	key, csr, err := request()
	if err != nil {
		return "", err
	}
	chain, cert, err := issue(&backup.Cluster, csr, pki.Subject{Node: f.ID, Cluster: f.Cluster, Role: pki.Manager}, c.now())
	if err != nil {
		return "", cnm.Errorf(cnm.Invalid, "the backup cannot be used: %w", err)
	}
	self := selfNode(f.ID, cnm.Manager, *c)
	state, err := store.Restore(c.store(f.ID), backup, putNode(&self, cert, c.now()))
	if err != nil {
		return "", err
	}
	v := viewOf(state, []string{f.ID})
	id, err := pki.NewIdentity(key, chain, v.Roots)
	if err != nil {
		return "", cnm.Errorf(cnm.Invalid, "the backup cannot be used: %w", err)
	}
	return state.Cluster.UnlockKey, c.save(f, id, v)
}

// awaitLead waits until this manager, which has no others, leads. After an error
// the member is closed.
func (m *Member) awaitLead(ctx context.Context) error {
	for m.manager != nil && !m.manager.leads() {
		_, changed := m.manager.store.Watch()
		if m.manager.leads() {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			m.Close()
			return ctx.Err()
		}
	}
	return nil
}
