package store

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"weft/internal/cnm"
	"weft/internal/ipam"
)

// InitCluster makes the cluster, with the node that is its first manager. Made
// again with the same ID it does nothing.
type InitCluster struct {
	Cluster Cluster
	Node    PutNode
}

// SetSpec sets what a user may set of the swarm. Version is that of the cluster
// the user saw; 0 means any.
type SetSpec struct {
	Version uint64
	Spec    cnm.SwarmSpec
	// UnlockKey replaces the key when it is not empty; it goes with AutoLock.
	UnlockKey string
	Now       time.Time
}

// RotateToken replaces the secrets that are not empty.
type RotateToken struct {
	Secrets Secrets
	Now     time.Time
}

// SetRoots replaces the certificate authorities, if the cluster still is at the
// version; 0 means any.
type SetRoots struct {
	Version uint64
	Roots   []Root
	Now     time.Time
}

// AddGossipKey makes a key known, without using it yet: a node that seals with a
// key must know that all others can open. One that is known stays where it is.
type AddGossipKey struct{ Key []byte }

// UseGossipKey makes a known key the one to seal with.
type UseGossipKey struct{ Key []byte }

// DropGossipKey forgets a key that is not the one to seal with.
type DropGossipKey struct{ Key []byte }

// AdvanceEpoch begins the epoch behind From; when it is not the current one any
// more, somebody else was faster and nothing is done.
type AdvanceEpoch struct {
	From uint64
	Now  time.Time
}

func (InitCluster) kind() string   { return "cluster init" }
func (SetSpec) kind() string       { return "cluster spec" }
func (RotateToken) kind() string   { return "cluster tokens" }
func (SetRoots) kind() string      { return "cluster roots" }
func (AddGossipKey) kind() string  { return "gossip key add" }
func (UseGossipKey) kind() string  { return "gossip key use" }
func (DropGossipKey) kind() string { return "gossip key drop" }
func (AdvanceEpoch) kind() string  { return "epoch" }

func (i InitCluster) apply(c *change) error {
	if c.Cluster.ID != "" {
		if c.Cluster.ID == i.Cluster.ID {
			return nil
		}
		return cnm.Errorf(cnm.Conflict, "this node is already part of swarm %s: leave it before another is made", c.Cluster.ID)
	}
	cl := i.Cluster
	switch {
	case cl.ID == "":
		return cnm.Errorf(cnm.Invalid, "a cluster needs an identifier")
	case len(cl.GossipKeys) > MaxGossipKeys:
		return cnm.Errorf(cnm.Invalid, "%d gossip keys, at most %d", len(cl.GossipKeys), MaxGossipKeys)
	case i.Node.Spec.Role != cnm.Manager:
		return cnm.Errorf(cnm.Invalid, "the first node of a swarm is a manager, not a %s", i.Node.Spec.Role)
	}
	if err := checkRoots(cl.Roots); err != nil {
		return err
	}
	if len(cl.Pools) == 0 {
		for _, r := range ipam.Overlays() {
			cl.Pools, cl.SubnetSize = append(cl.Pools, r.Base), r.Size
		}
	}
	if cl.SubnetSize == 0 {
		cl.SubnetSize = 24
	}
	if err := checkPools(cl.Pools); err != nil {
		return err
	}
	cl.Version, cl.Updated = c.index, cl.Created
	c.Cluster = cl
	if err := i.Node.apply(c); err != nil {
		return err
	}
	if err := c.m.prepare(&cl); err != nil {
		return err
	}
	c.touch()
	return nil
}

// checkPools refuses pools that overlap: a subnet could be cut from either.
func checkPools(pools []netip.Prefix) error {
	for i, p := range pools {
		for _, q := range pools[:i] {
			if p.Overlaps(q) {
				return cnm.Errorf(cnm.Invalid, "default address pools %s and %s overlap", q, p)
			}
		}
	}
	return nil
}

func checkRoots(roots []Root) error {
	if len(roots) == 0 || len(roots) > MaxRoots {
		return cnm.Errorf(cnm.Invalid, "%d certificate authorities, expected 1 to %d", len(roots), MaxRoots)
	}
	for i, r := range roots {
		if len(r.Certificate) == 0 {
			return cnm.Errorf(cnm.Invalid, "certificate authority %d has no certificate", i+1)
		}
	}
	return nil
}

// outOfSequence refuses an update of something that has changed since its author
// looked. The words are Docker's.
func outOfSequence(seen, now uint64) error {
	if seen != 0 && seen != now {
		return cnm.Errorf(cnm.Conflict, "update out of sequence: version %d was seen, %d is current: look again and repeat", seen, now)
	}
	return nil
}

// updateCluster stamps a change of what users see of the cluster.
func (c *change) updateCluster(now time.Time) {
	c.Cluster.Version, c.Cluster.Updated = c.index, now
	c.touch()
}

func (s SetSpec) apply(c *change) error {
	if err := outOfSequence(s.Version, c.Cluster.Version); err != nil {
		return err
	}
	if s.Spec.CertExpiry < 0 || s.Spec.KeyRotation < 0 {
		return cnm.Errorf(cnm.Invalid, "a duration of the swarm's settings is negative")
	}
	key := c.Cluster.UnlockKey
	if s.UnlockKey != "" {
		key = s.UnlockKey
	}
	if !s.Spec.AutoLock {
		key = ""
	} else if key == "" {
		return cnm.Errorf(cnm.Invalid, "autolock needs an unlock key")
	}
	c.Cluster.Spec, c.Cluster.UnlockKey = s.Spec, key
	c.updateCluster(s.Now)
	return nil
}

func (r RotateToken) apply(c *change) error {
	if r.Secrets == (Secrets{}) {
		return cnm.Errorf(cnm.Invalid, "no secret is given to replace one")
	}
	if r.Secrets.Worker != "" {
		c.Cluster.Secrets.Worker = r.Secrets.Worker
	}
	if r.Secrets.Manager != "" {
		c.Cluster.Secrets.Manager = r.Secrets.Manager
	}
	if c.Cluster.Secrets.Worker == c.Cluster.Secrets.Manager {
		return cnm.Errorf(cnm.Invalid, "workers and managers would have the same secret: any worker could become a manager")
	}
	c.updateCluster(r.Now)
	return nil
}

func (s SetRoots) apply(c *change) error {
	if err := outOfSequence(s.Version, c.Cluster.Version); err != nil {
		return err
	}
	if err := checkRoots(s.Roots); err != nil {
		return err
	}
	c.Cluster.Roots = s.Roots
	c.updateCluster(s.Now)
	return nil
}

// keyAt returns the place of a gossip key, or -1.
func (c *change) keyAt(key []byte) int {
	return slices.IndexFunc(c.Cluster.GossipKeys, func(k []byte) bool { return bytes.Equal(k, key) })
}

func (a AddGossipKey) apply(c *change) error {
	switch n := len(a.Key); n {
	case 16, 24, 32: // AES-128, 192, 256
	default:
		return cnm.Errorf(cnm.Invalid, "gossip key of %d bytes, expected 16, 24 or 32", n)
	}
	if c.keyAt(a.Key) >= 0 {
		return nil
	}
	if len(c.Cluster.GossipKeys) == MaxGossipKeys {
		return cnm.Errorf(cnm.Conflict, "%d gossip keys are in use, the most there can be: drop one first", MaxGossipKeys)
	}
	c.Cluster.GossipKeys = append(slices.Clone(c.Cluster.GossipKeys), a.Key)
	c.touch()
	return nil
}

func (u UseGossipKey) apply(c *change) error {
	switch at := c.keyAt(u.Key); at {
	case 0:
	case -1:
		return cnm.Errorf(cnm.NotFound, "the gossip key is not known: add it first")
	default:
		keys := slices.Delete(slices.Clone(c.Cluster.GossipKeys), at, at+1)
		c.Cluster.GossipKeys = slices.Insert(keys, 0, u.Key)
		c.touch()
	}
	return nil
}

func (d DropGossipKey) apply(c *change) error {
	switch at := c.keyAt(d.Key); at {
	case 0:
		return cnm.Errorf(cnm.Conflict, "the gossip key is the one to seal with: use another first")
	case -1:
	default:
		c.Cluster.GossipKeys = slices.Delete(slices.Clone(c.Cluster.GossipKeys), at, at+1)
		c.touch()
	}
	return nil
}

func (a AdvanceEpoch) apply(c *change) error {
	if a.From == c.Cluster.Epoch {
		c.Cluster.Epoch, c.Cluster.EpochSince = a.From+1, a.Now
		c.touch()
	}
	return nil
}
