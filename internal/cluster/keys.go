package cluster

import (
	"cmp"
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
// A key of the gossip is first made known, and after a grace, in which every view
// has brought it, the one to seal with; the one before it stays to be opened with.
// The epoch's beginning is the clock: so that the next begins a swarm's Spec.KeyRotation
// after it, the leader begins to rotate the grace before, and at once when a node was
// removed.
//
// A new root comes with its certificate signed by the old one, and both are trusted
// (pki, root.go). Members see new roots in their views and renew. When the last one
// has, and a grace is over, finishRoot takes the old one away; until then join tokens
// name the old one.

// defaultKeyRotation is Docker's.
const defaultKeyRotation = 12 * time.Hour

// keyGrace is how long a new key of the gossip is only opened with, until every
// node that is not cut off has heard of it: half the time between two rotations, if that
// is less.
const keyGrace = 3 * time.Second

// rootGrace is how long a root is trusted that nobody needs any more: the answer to the
// last renewal may be lost, with its leader or without, and that node asks again by its
// old certificate. A new leader begins the grace anew.
const rootGrace = 3 * time.Second

// minKeyRotation is the shortest time between two rotations.
const minKeyRotation = time.Second

// rotation returns the time between two rotations of the keys, and the grace.
func (g *manager) rotation() (every, grace time.Duration) {
	every = cmp.Or(g.cluster().Spec.KeyRotation, defaultKeyRotation)
	return every, min(keyGrace, every/2)
}

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
	_, grace := g.rotation()
	t := time.NewTimer(grace)
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

// rotationDue returns how long it is until a rotation is begun.
func (g *manager) rotationDue(now time.Time) time.Duration {
	every, grace := g.rotation()
	return g.cluster().EpochSince.Add(every - grace).Sub(now)
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

// finishRoot ends the replacing of a root rootGrace after all members have renewed.
func (g *manager) finishRoot(ctx context.Context) error {
	s, ends := g.store.State(), g.rootEnds
	g.rootEnds = time.Time{}
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
	if ends.IsZero() {
		ends = time.Now().Add(rootGrace)
	}
	if g.rootEnds = ends; time.Until(ends) > 0 {
		return nil
	}
	root.Cross = nil
	_, err := g.apply(ctx, store.SetRoots{Version: s.Cluster.Version, Roots: []store.Root{root}, Now: g.m.cfg.now()})
	return err
}
