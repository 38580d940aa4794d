package gossip

import "time"

// keeper does what has its time: it compares digests, reaps tombstones, drops the
// rows of the dead, and forgets members.
func (g *Gossip) keeper() {
	t := time.NewTicker(min(time.Second, g.cfg.Timings.Sync/4, g.cfg.Timings.Drop/4))
	defer t.Stop()
	swept := time.Now()
	for {
		select {
		case <-g.stop.Done():
			return
		case now := <-t.C:
			g.compare(now)
			if now.Sub(swept) >= min(5*time.Second, g.cfg.Timings.Drop/4) {
				swept = now
				g.sweep(now)
			}
		}
	}
}

// compare sends the sums that are due.
func (g *Gossip) compare(now time.Time) {
	g.mu.Lock()
	out := g.compareLocked(g.cluster, now)
	for _, n := range g.networks {
		out = append(out, g.compareLocked(n, now)...)
	}
	g.mu.Unlock()
	for _, s := range out {
		g.send(s)
	}
}

// sweep forgets what has been kept long enough.
func (g *Gossip) sweep(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var gone []string
	for owner, since := range g.absent {
		if now.Sub(since) >= g.cfg.Timings.Drop {
			gone = append(gone, owner)
			delete(g.absent, owner)
		}
	}
	g.sweepTable(g.cluster, gone, now)
	for _, n := range g.networks {
		g.sweepTable(n, gone, now)
	}
	for id, m := range g.members {
		if m.State != Alive && now.Sub(m.gone) >= g.cfg.Timings.Forget {
			delete(g.members, id)
			g.changed.members = true
			g.wakeLocked()
		}
	}
}

func (g *Gossip) sweepTable(n *network, gone []string, now time.Time) {
	for _, owner := range gone {
		n.table.drop(owner)
	}
	n.table.reap(now.Add(-g.cfg.Timings.Reap))
}
