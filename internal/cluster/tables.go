package cluster

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"weft/internal/cluster/gossip"
	"weft/internal/cnm"
	"weft/ipsec"
)

// Theory of operation: who lives where
//
// A network's rows are gossiped among the nodes that have it. This node has a
// network while one of its endpoints is on it, and while Use says that one is about
// to be; having it, it hears the others' rows before Use returns. SetShares says
// what there is to tell; the announcer makes the gossip say so, one change after
// the other, and is woken by it and by Unuse.
//
// What the others say is decoded once and kept in tables until the gossip tells of
// a change. A row counts if its owner is a node by the managers' word.

// attachTime bounds how long the announcer waits for a network's rows: the node
// has started again, and what it has not heard by then comes by digest.
const attachTime = time.Second

// A Peer is another node that has a network.
type Peer struct {
	ID, Name string
	DataPath []netip.AddrPort
	MTU      int                  // bytes of the largest IP packet it can send to all others; 0: it did not say
	Keys     []ipsec.Announcement // verified; of an encrypted network
}

// A Share is what this node has of a network.
type Share struct {
	MTU       int      // as a Peer's
	Keys      [][]byte // announcements, signed by Sign
	Endpoints []Endpoint
}

// Neighbours are the other nodes that have a network, and who lives there. It is
// not to be changed.
type Neighbours struct {
	Nodes     []Peer
	Endpoints []Endpoint
}

// Use makes this node have a network, also while nobody here is on it, until Unuse
// is called as often. When it returns, the node knows who is on the network
// elsewhere, if any of the nodes that know could be asked before ctx ended.
func (m *Member) Use(ctx context.Context, network string) error {
	m.mu.Lock()
	m.uses[network]++
	m.attached[network] = true
	m.mu.Unlock()
	select {
	case <-m.joined:
	case <-ctx.Done():
	}
	err := m.gossip.Attach(ctx, network)
	if errors.Is(err, gossip.ErrNotSynced) {
		m.log.Warn("nobody told yet who is on a network", "network", cnm.ShortID(network), "error", err)
		err = nil
	}
	if err != nil {
		m.Unuse(network)
	}
	return err
}

// Unuse ends a Use.
func (m *Member) Unuse(network string) {
	m.mu.Lock()
	if m.uses[network]--; m.uses[network] <= 0 {
		delete(m.uses, network)
	}
	m.mu.Unlock()
	wake(m.toAnnounce)
}

// SetShares says what this node has, by network, with an entry for each network that
// this node has, be it empty. It does not wait.
func (m *Member) SetShares(shares map[string]Share) {
	want := make(map[string]map[string][]byte, len(shares))
	for network, share := range shares {
		rows := make(map[string][]byte, len(share.Endpoints)+1)
		if b, err := encodeNode(&share); err != nil {
			m.log.Error("this node's own row cannot be told to the other nodes", "error", err)
		} else if b != nil {
			rows[nodeKey] = b
		}
		for i := range share.Endpoints {
			e := &share.Endpoints[i]
			b, err := e.encode()
			if err != nil {
				m.log.Error("an endpoint cannot be told to the other nodes", "error", err)
				continue
			}
			rows[e.ID] = b
		}
		want[network] = rows
	}
	m.mu.Lock()
	m.wanted = want
	m.mu.Unlock()
	wake(m.toAnnounce)
}

// announcer is the goroutine that makes the gossip say what it should.
func (m *Member) announcer() {
	said := make(map[string]map[string][]byte) // by network and endpoint
	<-m.joined
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.toAnnounce:
		}
		want, unused := m.changes()
		for _, network := range unused {
			delete(said, network)
		}
		for network, rows := range want {
			if said[network] == nil {
				said[network] = make(map[string][]byte)
			}
			m.announce(network, said[network], rows)
		}
		for network, was := range said {
			if want[network] == nil { // held by a Use alone: nobody lives here
				m.announce(network, was, nil)
			}
		}
		if want != nil && !m.settled.Swap(true) {
			m.forget("")
		}
	}
}

// changes returns what there is to tell, and the networks that this node has no
// longer. It has left them when it returns: a Use comes before that, and the network
// is none of them, or after it, and attaches again.
func (m *Member) changes() (want map[string]map[string][]byte, unused []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for network := range m.wanted {
		m.attached[network] = true
	}
	for network := range m.attached {
		if m.wanted[network] == nil && m.uses[network] == 0 {
			unused = append(unused, network)
			delete(m.attached, network)
			m.gossip.Detach(network) // waits for nobody, and calls nobody: it may be with mu held
		}
	}
	return m.wanted, unused
}

// announce makes the rows of one network what they should be; said follows.
func (m *Member) announce(network string, said, rows map[string][]byte) {
	ctx, cancel := context.WithTimeout(m.ctx, attachTime)
	defer cancel()
	if err := m.gossip.Attach(ctx, network); err != nil && !errors.Is(err, gossip.ErrNotSynced) {
		m.log.Error("a network cannot be gossiped about", "network", cnm.ShortID(network), "error", err)
		return
	}
	for id := range said {
		if rows[id] == nil {
			m.gossip.Delete(network, id)
			delete(said, id)
		}
	}
	for id, value := range rows {
		if bytes.Equal(said[id], value) {
			continue
		}
		if err := m.gossip.Put(network, id, value); err != nil {
			m.log.Error("an endpoint cannot be told to the other nodes", "network", cnm.ShortID(network), "error", err)
			continue
		}
		said[id] = value
	}
}

// Settled reports whether Neighbours can be believed: a member that was opened just
// now has yet to hear of the networks this node has, after the first SetShares.
func (m *Member) Settled() bool { return m.settled.Load() }

// Neighbours returns who else has a network and who lives there.
func (m *Member) Neighbours(network string) *Neighbours {
	m.mu.Lock()
	t, version := m.tables[network], m.tableVersion
	m.mu.Unlock()
	if t != nil {
		return t
	}
	t = m.neighbours(network)
	m.mu.Lock()
	if m.tableVersion == version { // else it is old already
		m.tables[network] = t
	}
	m.mu.Unlock()
	return t
}

func (m *Member) neighbours(network string) *Neighbours {
	view := m.View()
	t := new(Neighbours)
	for _, id := range m.gossip.Peers(network) {
		if n := view.node(id); n != nil {
			t.Nodes = append(t.Nodes, Peer{ID: id, Name: n.Hostname, DataPath: n.DataPath})
		}
	}
	for _, r := range m.gossip.Rows(network) {
		if r.Owner == m.id || view.node(r.Owner) == nil {
			continue
		}
		if r.Key == nodeKey {
			if i := slices.IndexFunc(t.Nodes, func(p Peer) bool { return p.ID == r.Owner }); i >= 0 {
				m.nodeRow(view.node(r.Owner), r.Value, &t.Nodes[i])
			}
			continue
		}
		e, err := decodeEndpoint(r.Key, r.Value)
		if err != nil {
			m.badRow(r.Owner, err)
			continue
		}
		e.Node = r.Owner
		t.Endpoints = append(t.Endpoints, e)
	}
	return t
}

// nodeRow adds to a peer what it says of itself on a network.
func (m *Member) nodeRow(n *Node, value []byte, p *Peer) {
	w, err := decodeNode(value)
	if err == nil {
		p.MTU = w.MTU
		p.Keys, err = m.announcements(n, w.Keys)
	}
	if err != nil {
		m.badRow(n.ID, err)
	}
}

// badRow logs a node's first row that makes no sense.
func (m *Member) badRow(owner string, err error) {
	m.mu.Lock()
	known := m.badOwners[owner]
	m.badOwners[owner] = true
	m.mu.Unlock()
	if !known {
		m.log.Warn("a node gossips what makes no sense", "node", owner, "error", err)
	}
}

// forget drops the tables of one network, or of all, and tells the node.
func (m *Member) forget(network string) {
	m.mu.Lock()
	m.tableVersion++
	if network == "" {
		clear(m.tables)
	} else {
		delete(m.tables, network)
	}
	m.mu.Unlock()
	m.cfg.Changed()
}

// wake fills a channel of one place.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
