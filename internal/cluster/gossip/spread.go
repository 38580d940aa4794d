package gossip

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// queued is a row that waits to be gossiped: how often it was sent.
type queued struct{ sent int }

// A sending is one message for one node.
type sending struct {
	to     memberlist.Node
	bytes  []byte
	stream bool
}

// enqueueLocked has a row sent, from the beginning if it waits already.
func (g *Gossip) enqueueLocked(n *network, owner, key string) {
	k := rowKey{owner, key}
	if n.queue[k] == nil && len(n.queue) >= maxQueue {
		g.stats.QueueFull++
		n.hurry(time.Now().Add(time.Second))
		return
	}
	n.queue[k] = &queued{}
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

// spreader runs the rounds of gossip: at each tick, and soon after a row was
// queued for those that were never sent.
func (g *Gossip) spreader() {
	t := time.NewTicker(g.cfg.Timings.Tick)
	defer t.Stop()
	for {
		select {
		case <-g.stop.Done():
			return
		case <-t.C:
			g.round(false)
		case <-g.kick:
			select {
			case <-g.stop.Done():
				return
			case <-time.After(settle):
			}
			g.round(true)
		}
	}
}

// round sends what is queued to a few nodes of each network; fresh: only what was
// never sent.
func (g *Gossip) round(fresh bool) {
	g.mu.Lock()
	out := g.pickLocked(g.cluster, fresh)
	for _, n := range g.networks {
		out = append(out, g.pickLocked(n, fresh)...)
	}
	g.mu.Unlock()
	for _, s := range out {
		g.send(s)
	}
}

// pickLocked chooses nodes and rows of a network, those sent least first, and
// counts them as sent.
func (g *Gossip) pickLocked(n *network, fresh bool) (out []sending) {
	if !n.waiting(fresh) {
		return nil
	}
	all := g.peersLocked(n.id)
	if len(all) == 0 {
		return nil // they wait for the first
	}
	limit := retransmit * int(math.Ceil(math.Log10(float64(len(all)+1))))
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	peers := all[:min(fanout, len(all))]
	small, big := g.takeLocked(n, fresh, len(peers), limit)
	var messages [][]byte
	for _, rows := range chunk(small, rowSize, maxPacket-g.overhead(n)) {
		messages = append(messages, g.rowsMessage(n, rows).encode())
	}
	for _, id := range peers {
		to := g.members[id].node
		for _, b := range messages {
			out = append(out, sending{to, b, false})
		}
		for _, r := range big {
			out = append(out, sending{to, g.rowsMessage(n, []Row{r}).encode(), true})
		}
	}
	return out
}

// waiting reports whether a row is to be sent; fresh: for the first time.
func (n *network) waiting(fresh bool) bool {
	for _, q := range n.queue {
		if !fresh || q.sent == 0 {
			return true
		}
	}
	return false
}

// takeLocked takes rows from a queue, up to a round's bytes: those for datagrams,
// and those too big for one.
func (g *Gossip) takeLocked(n *network, fresh bool, peers, limit int) (small, big []Row) {
	keys := make([]rowKey, 0, len(n.queue))
	for k, q := range n.queue {
		if !fresh || q.sent == 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b rowKey) int {
		return cmp.Or(cmp.Compare(n.queue[a].sent, n.queue[b].sent), cmp.Compare(a.owner, b.owner), cmp.Compare(a.key, b.key))
	})
	bytes := 0
	for _, k := range keys {
		e, ok := n.table.get(k.owner, k.key)
		if !ok {
			delete(n.queue, k) // void by now
			continue
		}
		r := e.row(n.id, k.owner, k.key)
		size := rowSize(r)
		if bytes += size; bytes > roundBytes && bytes > size {
			break
		}
		q, most := n.queue[k], limit
		if size > maxPacket-g.overhead(n) {
			big, most = append(big, r), min(limit, 2*fanout) // a stream is not lost like a datagram
		} else {
			small = append(small, r)
		}
		if q.sent += peers; q.sent >= most {
			delete(n.queue, k)
		}
	}
	return small, big
}

func (g *Gossip) rowsMessage(n *network, rows []Row) *message {
	return &message{kind: kindRows, from: g.cfg.NodeID, network: n.id, rows: rows}
}

// overhead is what a message of a network takes before its rows, in bytes.
func (g *Gossip) overhead(n *network) int { return 2 + 2 + len(g.cfg.NodeID) + 2 + len(n.id) }

// send sends a message; what is lost is found by digest.
func (g *Gossip) send(s sending) {
	if s.stream {
		g.work(func() { g.stream(s.to, s.bytes) })
		return
	}
	g.count(func(st *Stats) { st.Packets++; st.PacketBytes += uint64(len(s.bytes)) })
	if err := g.list.SendBestEffort(&s.to, s.bytes); err != nil {
		g.count(func(st *Stats) { st.Unsent++ })
	}
}

// stream sends a message by a stream and waits until it is written.
func (g *Gossip) stream(to memberlist.Node, b []byte) error {
	select {
	case <-g.stop.Done():
		return g.stop.Err()
	case <-g.ready:
	}
	g.count(func(st *Stats) { st.Streams++; st.StreamBytes += uint64(len(b)) })
	err := g.list.SendReliable(&to, b)
	if err != nil {
		g.count(func(st *Stats) { st.Unsent++ })
	}
	return err
}

// sendStream is stream to a member by its id.
func (g *Gossip) sendStream(id string, m *message) error {
	g.mu.Lock()
	to := g.members[id]
	if to == nil || to.State != Alive || id == g.cfg.NodeID {
		g.mu.Unlock()
		return fmt.Errorf("%s: no such member alive", id)
	}
	node := to.node
	g.mu.Unlock()
	return g.stream(node, m.encode())
}
