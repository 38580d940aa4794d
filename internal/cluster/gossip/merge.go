package gossip

import (
	"math/rand/v2"
	"time"
)

// mergeLocked takes in rows that another node sent, and passes on what was news.
func (g *Gossip) mergeLocked(n *network, rows []Row, spread bool) {
	now := time.Now()
	for _, r := range rows {
		if r.Owner == g.cfg.NodeID {
			g.refuteLocked(n, keyVersion{r.Key, r.Version, r.Deleted})
			continue
		}
		switch n.table.merge(r, now) {
		case full:
			g.stats.Full++
		case applied:
			if spread {
				g.enqueueLocked(n, r.Owner, r.Key)
			}
			if m := g.members[r.Owner]; m == nil || m.State != Alive {
				if _, known := g.absent[r.Owner]; !known {
					g.absent[r.Owner] = now
				}
			}
			g.appliedLocked(n, r)
		}
	}
}

// appliedLocked draws the conclusions of a row that was taken in.
func (g *Gossip) appliedLocked(n *network, r Row) {
	switch {
	case n != g.cluster:
		if g.visible(r.Owner) {
			g.changed.network(n.id)
		}
	case r.Key == leaving:
		g.touchOwnerLocked(r.Owner)
	default:
		if with := g.networks[r.Key]; with != nil {
			with.table.raise(r.Owner, r.Version)
			// Two nodes that attach at the same time may each have missed the other.
			// A few nodes see to it, however many hear of it.
			if !r.Deleted && r.Owner != g.cfg.NodeID && rand.IntN(1+len(g.peersLocked(r.Key))) < fanout {
				g.preferLocked(with, r.Owner)
			}
		}
		g.changed.network(r.Key)
	}
	g.wakeLocked()
}

// leap is how far a node goes past a version that it never gave, which an earlier
// life gave before the clock went back: further than that life can have written
// since, of which nothing may be known here yet.
const leap = 1 << 32

// refuteLocked contradicts what others say in this node's name, unless it is an
// echo of what it wrote: what an earlier life of it said, or what was invented.
func (g *Gossip) refuteLocked(n *network, said keyVersion) {
	own, known := n.table.get(g.cfg.NodeID, said.key)
	switch {
	case known && said.version <= own.version, said.version <= n.table.floor(g.cfg.NodeID):
		return
	case !known && said.deleted:
		return
	}
	g.stats.Contradicted++
	if said.version >= maxVersion-2*leap {
		return // nothing could be written after it
	}
	if said.version > g.version {
		g.version = said.version + leap
	}
	// What says that the node has a network is the floor of its rows there, which
	// are written again above it.
	var mine []Row
	with := g.networks[said.key]
	if n == g.cluster && with != nil {
		mine = with.table.all(with.id, g.cfg.NodeID)
	}
	g.writeLocked(n, said.key, own.value, !known || own.deleted)
	for _, r := range mine {
		if !r.Deleted {
			g.writeLocked(with, r.Key, r.Value, false)
		}
	}
}

// touchOwnerLocked marks everything that a node's coming or going changes.
func (g *Gossip) touchOwnerLocked(owner string) {
	g.changed.members = true
	for id, n := range g.networks {
		_, has := g.cluster.table.get(owner, id)
		if o := n.table.owners[owner]; has || o != nil && len(o.rows) > 0 {
			g.changed.network(id)
		}
	}
	g.wakeLocked()
}
