package cluster

import (
	"cmp"
	"context"
	"errors"
	"os"

	"weft/internal/cluster/pki"
	"weft/internal/cluster/store"
	"weft/internal/cnm"
)

// Init makes a cluster of this node alone, its first manager. With ForceNewCluster
// the node is a manager already, and goes on with what it has, without the others.
func Init(ctx context.Context, c Config, o cnm.SwarmInit) (*Member, error) {
	if o.ForceNewCluster {
		return forceNew(ctx, c)
	}
	if err := vacant(c.Dir); err != nil {
		return nil, err
	}
	m, err := initiate(ctx, c, o)
	if err != nil {
		err = errors.Join(err, os.RemoveAll(c.Dir))
	}
	return m, err
}

func initiate(ctx context.Context, c Config, o cnm.SwarmInit) (*Member, error) {
	if err := checkExpiry(o.Spec.CertExpiry); err != nil {
		return nil, err
	}
	f := memberFile{ID: newID(), Cluster: newID(), Role: cnm.Manager}
	now := c.now()
	o.Spec.CertExpiry = cmp.Or(o.Spec.CertExpiry, pki.DefaultValidity)
	o.Spec.KeyRotation = cmp.Or(o.Spec.KeyRotation, defaultKeyRotation)
	root, err := pki.NewRoot(f.Cluster, now)
	if err != nil {
		return nil, err
	}
	key, csr, err := request()
	if err != nil {
		return nil, err
	}
	chain, err := root.Issue(csr, pki.Subject{Node: f.ID, Cluster: f.Cluster, Role: pki.Manager}, now, o.Spec.CertExpiry)
	if err != nil {
		return nil, cnm.Errorf(cnm.Invalid, "%w", err)
	}
	id, err := pki.NewIdentity(key, chain, root.CertPEM())
	if err != nil {
		return nil, err
	}
	rootKey, err := root.KeyPEM()
	if err != nil {
		return nil, err
	}
	self := selfNode(f.ID, cnm.Manager, c)
	if self.Spec.Availability = o.Availability; o.Availability == "" {
		self.Spec.Availability = cnm.Active
	}
	first := store.InitCluster{
		Cluster: store.Cluster{
			ID: f.Cluster, Created: now, Updated: now, Spec: o.Spec, Pools: o.Pools, SubnetSize: o.SubnetSize, DataPathPort: dataPort(c),
			Roots: []store.Root{{Certificate: root.CertPEM(), Key: rootKey}}, GossipKeys: [][]byte{newGossipKey()},
			Secrets: store.Secrets{Worker: pki.NewSecret().String(), Manager: pki.NewSecret().String()},
			Epoch:   1, EpochSince: now,
		},
		Node: putNode(&self, record(id.Certificate(), pki.Manager, root.CertPEM(), now), now),
	}
	m, err := take(c, f, id, &View{Cluster: f.Cluster, GossipKeys: first.Cluster.GossipKeys})
	if err != nil {
		return nil, err
	}
	if m.manager, err = m.startManager(true); err != nil {
		m.Close()
		return nil, err
	}
	if err := m.manager.applySoon(ctx, first); err != nil {
		m.Close()
		return nil, err
	}
	m.setView(m.manager.view())
	if err := m.begin(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func dataPort(c Config) uint16 {
	if len(c.DataPath) == 0 {
		return 0
	}
	return c.DataPath[0].Port()
}

// forceNew makes the only voter of a manager that has lost the others.
func forceNew(ctx context.Context, c Config) (*Member, error) {
	f, _, err := membership(&c)
	if _, none := os.Stat(c.raftDir()); errors.Is(err, ErrNone) || err == nil && none != nil {
		return nil, cnm.Errorf(cnm.Invalid, "--force-new-cluster is for managers: this node has no copy of a swarm's state")
	}
	if err != nil {
		return nil, err
	}
	if err := store.ForceNewCluster(c.store(f.ID)); err != nil {
		return nil, err
	}
	m, err := Open(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := m.awaitLead(ctx); err != nil {
		return nil, err
	}
	return m, nil
}
