package gossip

import (
	"errors"

	"github.com/hashicorp/memberlist"
)

// A delegate is what memberlist calls: see the order of locks in gossip.go.
type delegate struct{ g *Gossip }

func (d delegate) NodeMeta(int) []byte { return joinMeta(d.g.cfg.Name, d.g.cfg.Meta) }

// GetBroadcasts has nothing for memberlist's own gossip: tables have their own.
func (d delegate) GetBroadcasts(int, int) [][]byte { return nil }

// NotifyMsg takes a message of another node.
func (d delegate) NotifyMsg(b []byte) { d.g.receive(b) }

// LocalState is this node's part of the first push-pull with another: the
// cluster's table.
func (d delegate) LocalState(join bool) []byte {
	if !join {
		return nil
	}
	g := d.g
	g.mu.Lock()
	defer g.mu.Unlock()
	// All owners', for the other side may be one that was thought dead, and has to
	// contradict.
	m := &message{kind: kindRows, from: g.cfg.NodeID}
	for owner := range g.cluster.table.owners {
		m.rows = append(m.rows, g.cluster.table.all("", owner)...)
	}
	return m.encode()
}

func (d delegate) MergeRemoteState(b []byte, join bool) {
	if join && len(b) > 0 {
		d.g.receive(b)
	}
}

func (d delegate) NotifyJoin(n *memberlist.Node)   { d.g.joined(n) }
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.g.joined(n) }
func (d delegate) NotifyLeave(n *memberlist.Node)  { d.g.left(n) }

// receive takes a message apart, merges it, and has the answers sent.
func (g *Gossip) receive(b []byte) {
	m, err := decode(b)
	if err != nil {
		g.count(func(s *Stats) {
			if errors.Is(err, errFormat) {
				s.OtherFormat++
			} else {
				s.Malformed++
			}
		})
		return
	}
	answers := g.handle(m)
	if len(answers) == 0 {
		return
	}
	g.work(func() {
		for _, a := range answers {
			var err error
			if m.kind == kindRequest {
				err = g.stream(m.sender(), a.encode())
			} else {
				err = g.sendStream(m.from, a)
			}
			if err != nil {
				return
			}
		}
	})
}

// sender returns the node that made a request: it may have joined so lately that
// it is no member here yet.
func (m *message) sender() memberlist.Node {
	return memberlist.Node{Name: m.from, Addr: m.answerTo.Addr().AsSlice(), Port: m.answerTo.Port()}
}

// handle does what a message says and returns what to answer.
func (g *Gossip) handle(m *message) []*message {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.cluster
	if m.network != "" {
		n = g.networks[m.network]
	}
	if n == nil {
		g.stats.NotAttached++
		return nil
	}
	switch m.kind {
	case kindRows:
		g.mergeLocked(n, m.rows, true)
	case kindReply:
		g.mergeLocked(n, m.rows, false)
		g.repliedLocked(m)
	case kindSum:
		return g.answerSumLocked(n, m)
	case kindDigest:
		return g.answerDigestLocked(n, m)
	case kindVersions:
		return g.answerVersionsLocked(n, m)
	case kindWant:
		return g.answerWantLocked(n, m)
	case kindRequest:
		return g.answerRequestLocked(n, m)
	}
	return nil
}
