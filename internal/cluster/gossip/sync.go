package gossip

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Theory of operation: comparing tables
//
// Each period, per network, a node sends one number to a random node of the network:
// the sum over the owners it counts as alive. That node answers, if its own is
// another, with the digest of each owner; the first answers with the versions of the
// owners whose digest is another than its own, row by row. Then the second sends
// the rows that are newer at its side, and asks for those that are newer at the
// other. No step keeps state: each message is right by itself, whenever it comes.
// Tables that are the same, as most are most of the time, cost one datagram.
//
// Rows found this way are gossiped on, so that what crosses a healed split at one
// place is everywhere within a second.
//
// A node that attaches asks for everything at once, with a request; the answer
// comes in parts, in any order.

// asked is a request that waits for a complete reply.
type asked struct {
	got  map[part]bool
	done chan struct{}
}

// A part is one message of a node's reply.
type part struct {
	from  string
	index uint64
}

// admit says whose rows a table is compared by. In the cluster's table a node that
// leaves counts, for when it comes again it has to hear of it. With mu held.
func (g *Gossip) admit(n *network) func(string) bool {
	if n != g.cluster {
		return g.visible
	}
	return func(owner string) bool {
		m := g.members[owner]
		return m != nil && m.State == Alive
	}
}

// hurry brings a network's next comparison forward.
func (n *network) hurry(to time.Time) {
	if to.Before(n.due) {
		n.due = to
	}
}

// preferLocked has a network compared with a node soon.
func (g *Gossip) preferLocked(n *network, id string) {
	if slices.Contains(n.prefer, id) {
		return
	}
	if len(n.prefer) < fanout {
		n.prefer = append(n.prefer, id)
	} else {
		n.prefer[rand.IntN(fanout)] = id
	}
	n.hurry(time.Now().Add(jitter(g.cfg.Timings.Sync / 50)))
}

// compareSoonLocked has every table that a node shares compared with it soon.
func (g *Gossip) compareSoonLocked(id string) {
	g.preferLocked(g.cluster, id)
	for key, n := range g.networks {
		if e, ok := g.cluster.table.get(id, key); ok && !e.deleted {
			g.preferLocked(n, id)
		}
	}
}

// compareLocked returns what to send when a network's time has come.
func (g *Gossip) compareLocked(n *network, now time.Time) (out []sending) {
	if now.Before(n.due) {
		return nil
	}
	period := g.cfg.Timings.Sync
	n.due = now.Add(period*3/4 + jitter(period/2))
	ids := n.prefer
	n.prefer = nil
	if peers := g.peersLocked(n.id); len(ids) == 0 && len(peers) > 0 {
		ids = append(ids, peers[rand.IntN(len(peers))])
	}
	sum := &message{kind: kindSum, from: g.cfg.NodeID, network: n.id, sum: n.table.sum(g.admit(n))}
	b := sum.encode()
	for _, id := range ids {
		if m := g.members[id]; m != nil && m.State == Alive {
			out = append(out, sending{m.node, b, false})
		}
	}
	return out
}

func (g *Gossip) answerSumLocked(n *network, m *message) []*message {
	if m.sum == n.table.sum(g.admit(n)) {
		return nil
	}
	return []*message{{kind: kindDigest, from: g.cfg.NodeID, network: n.id, digests: n.table.digests(g.admit(n))}}
}

func (g *Gossip) answerDigestLocked(n *network, m *message) (out []*message) {
	var lists []ownerVersions
	for _, owner := range n.table.differing(m.digests, g.admit(n)) {
		lists = append(lists, n.table.versions(owner))
	}
	for _, part := range chunk(lists, versionsSize, maxStream) {
		out = append(out, &message{kind: kindVersions, from: g.cfg.NodeID, network: n.id, versions: part})
	}
	return out
}

func (g *Gossip) answerVersionsLocked(n *network, m *message) []*message {
	var give []Row
	var want []rowKey
	for _, theirs := range m.versions {
		newer, older := n.table.compare(n.id, theirs)
		give = append(give, newer...)
		if theirs.owner != g.cfg.NodeID {
			want = append(want, older...)
			continue
		}
		for _, said := range theirs.rows {
			g.refuteLocked(n, said)
		}
	}
	out := g.rowsMessages(n, give)
	for _, part := range chunk(want, func(k rowKey) int { return len(k.owner) + len(k.key) + 4 }, maxStream) {
		out = append(out, &message{kind: kindWant, from: g.cfg.NodeID, network: n.id, want: part})
	}
	return out
}

func (g *Gossip) answerWantLocked(n *network, m *message) []*message {
	var rows []Row
	for _, w := range m.want {
		if e, ok := n.table.get(w.owner, w.key); ok {
			rows = append(rows, e.row(n.id, w.owner, w.key))
		}
	}
	return g.rowsMessages(n, rows)
}

func (g *Gossip) rowsMessages(n *network, rows []Row) (out []*message) {
	for _, part := range chunk(rows, rowSize, maxStream) {
		out = append(out, g.rowsMessage(n, part))
	}
	return out
}

// answerRequestLocked hands out the whole table: the live rows, and the tombstones
// so young that a datagram with what they deleted may still be underway.
func (g *Gossip) answerRequestLocked(n *network, m *message) []*message {
	rows := n.table.live(n.id, g.visible)
	young := time.Now().Add(-late)
	for owner, o := range n.table.owners {
		for key, e := range o.rows {
			if e.deleted && e.at.After(young) && g.visible(owner) {
				rows = append(rows, e.row(n.id, owner, key))
			}
		}
	}
	parts := chunk(rows, rowSize, maxStream)
	if len(parts) == 0 {
		parts = [][]Row{nil}
	}
	var out []*message
	for i, part := range parts {
		out = append(out, &message{kind: kindReply, from: g.cfg.NodeID, network: n.id, rows: part,
			id: m.id, index: uint64(i), total: uint64(len(parts))})
	}
	return out
}

// repliedLocked counts the parts of a reply.
func (g *Gossip) repliedLocked(m *message) {
	a := g.asked[m.id]
	if a == nil {
		return // not asked, or no longer
	}
	a.got[part{m.from, m.index}] = true
	for i := range m.total {
		if !a.got[part{m.from, i}] {
			return
		}
	}
	close(a.done)
	delete(g.asked, m.id)
}

// sync fetches a network's rows from nodes that have it. It asks two, and again two
// when nothing came for a while; the first complete answer is enough.
func (g *Gossip) sync(ctx context.Context, id string) error {
	a := &asked{got: map[part]bool{}, done: make(chan struct{})}
	g.mu.Lock()
	peers := g.peersLocked(id)
	g.lastAsk++
	m := &message{kind: kindRequest, from: g.cfg.NodeID, network: id, id: g.lastAsk, answerTo: g.addr}
	g.asked[m.id] = a
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.asked, m.id)
		g.mu.Unlock()
	}()
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	for try := 0; try < maxAsks && len(peers) > 0; try++ {
		for _, p := range peers[:min(2, len(peers))] {
			g.spawn(func() { g.sendStream(p, m) })
		}
		peers = append(peers[min(2, len(peers)):], peers[:min(2, len(peers))]...)
		select {
		case <-a.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNotSynced, ctx.Err())
		case <-g.stop.Done():
			return fmt.Errorf("%w: %w", ErrNotSynced, g.stop.Err())
		case <-time.After(askAgain):
		}
	}
	if len(peers) > 0 {
		return fmt.Errorf("%w: %d nodes have it", ErrNotSynced, len(peers))
	}
	return nil
}
