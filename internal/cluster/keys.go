package cluster

import (
	"context"
	"time"

	"weft/internal/cluster/pki"
	"weft/internal/cluster/store"
	"weft/internal/cnm"
)

// Theory of operation: keys and roots that are replaced
//
// Both are replaced by the leader, in steps that are each agreed on, so that the
// next leader goes on where one was lost.
//
// A key of the gossip is first made known, and after keyGrace, in which every view
// has brought it, the one to seal with; the one before it stays to be opened with.
// The epoch's beginning is the clock: a swarm's Spec.KeyRotation after it the leader
// rotates by itself.
//
// A new root comes with its certificate signed by the old one, and both are trusted
// (pki, root.go). Members see new roots in their views and renew. When the last one
// has, finishRoot takes the old one away; until then join tokens name the old one.

// defaultKeyRotation is Docker's.
const defaultKeyRotation = 12 * time.Hour

// keyGrace is how long a new key of the gossip is only opened with, until every
// node that is not cut off has heard of it.
const keyGrace = 3 * time.Second

// rotateKeys makes a new key of the gossip known and, when all have heard of it, the
// one to seal with. The one before it can still be opened with; older ones go. It is
// done once at a time: another one would drop the key that is not in use yet.
func (g *manager) rotateKeys(ctx context.Context) error {
	if !g.rotating.CompareAndSwap(false, true) {
		return cnm.Errorf(cnm.Conflict, "the gossip's key is being replaced already: it takes %v", keyGrace)
	}
	defer g.rotating.Store(false)
	keys := g.cluster().GossipKeys
	for _, old := range keys[min(1, len(keys)):] {
		if _, err := g.apply(ctx, store.DropGossipKey{Key: old}); err != nil {
			return err
		}
	}
	key := newGossipKey()
	if _, err := g.apply(ctx, store.AddGossipKey{Key: key}); err != nil {
		return err
	}
	t := time.NewTimer(keyGrace)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, err := g.apply(ctx, store.UseGossipKey{Key: key}); err != nil {
		return err
	}
	c := g.cluster()
	_, err := g.apply(ctx, store.AdvanceEpoch{From: c.Epoch, Now: g.m.cfg.now()})
	return err
}

// rotationDue returns how long it is until the keys are rotated.
func (g *manager) rotationDue(now time.Time) time.Duration {
	c := g.cluster()
	every := c.Spec.KeyRotation
	if every == 0 {
		every = defaultKeyRotation
	}
	return c.EpochSince.Add(every).Sub(now)
}

// replaceRoot begins to replace the root.
func (g *manager) replaceRoot(ctx context.Context, now time.Time) error {
	c := g.cluster()
	if len(c.Roots) != 1 {
		return cnm.Errorf(cnm.Conflict, "the swarm's root certificate is being replaced already: a node has yet to renew its certificate")
	}
	old, err := pki.ParseRoot(c.Roots[0].Certificate, c.Roots[0].Key)
	if err != nil {
		return err
	}
	fresh, err := pki.NewRoot(c.ID, now)
	if err != nil {
		return err
	}
	cross, err := fresh.CrossSign(old)
	if err != nil {
		return err
	}
	key, err := fresh.KeyPEM()
	if err != nil {
		return err
	}
	roots := []store.Root{{Certificate: fresh.CertPEM(), Key: key, Cross: cross}, c.Roots[0]}
	_, err = g.apply(ctx, store.SetRoots{Version: c.Version, Roots: roots, Now: now})
	return err
}

// finishRoot ends the replacing of a root once all members have renewed.
func (g *manager) finishRoot(ctx context.Context) error {
	s := g.store.State()
	if len(s.Cluster.Roots) < 2 {
		return nil
	}
	root := s.Cluster.Roots[0]
	for _, n := range s.Nodes.All() {
		// By what it was issued under, not by when: clocks differ.
		if n.Certificate.Root != digest(root.Certificate) {
			return nil
		}
	}
	root.Cross = nil
	_, err := g.apply(ctx, store.SetRoots{Version: s.Cluster.Version, Roots: []store.Root{root}, Now: g.m.cfg.now()})
	return err
}
