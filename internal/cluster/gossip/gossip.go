package gossip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Theory of operation
//
// One mutex, mu, guards all tables, members and queues; what is done under it is
// short, calls nobody and sends nothing. memberlist calls its delegates with its
// own lock held, and they take mu: so nothing calls memberlist with mu held.
//
// The cluster's own table says which node has which network: a row of it belongs
// to a node, and its key is a network. It is a table like the others, with the id
// "" and all members as its nodes; nodes that join exchange it whole with
// memberlist's first push-pull. The row's version is the floor of the node's rows
// on the network (table.go), so that attaching, detaching and a new life of the
// node begin with nothing. A node contradicts what an earlier life of it said.
//
// Life of a row: Put gives it a version and queues it; a round of gossip sends it
// to a few nodes of the network, at once and again at each tick, up to a number of
// times that grows with the logarithm of the nodes; whoever hears it for the first
// time does the same. What is lost or over a queue's bound is found by digest.
//
// Goroutines, all ended by Close: the notifier (calls the callbacks), the spreader
// (rounds of gossip), the keeper (digests due, reaping), the rejoiner, the admitter of
// streams (inbound.go), up to maxWorkers that each write one node's answers to streams,
// and two for each Attach that asks.

// A Gossip is one node's part in the cluster.
type Gossip struct {
	cfg    Config
	list   *memberlist.Memberlist
	ring   *memberlist.Keyring
	ringMu sync.Mutex // of SetKeys
	lifeMu sync.Mutex // of Leave and Close: memberlist panics at a Leave after its end
	addr   netip.AddrPort

	ready   chan struct{} // closed when list is set: memberlist calls before that
	stop    context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	workers chan struct{} // a token per writer of streams
	kick    chan struct{} // something waits for its first sending
	notify  chan struct{} // something changed

	mu       sync.Mutex
	closed   bool
	version  uint64 // the last that this node gave
	members  map[string]*member
	absent   map[string]time.Time // owners that are not alive -> since when
	cluster  *network
	networks map[string]*network
	asked    map[uint64]*asked // requests that wait for replies
	lastAsk  uint64
	changed  changes
	stats    Stats
}

// A network is a table that this node has, and what it has to do for it.
type network struct {
	id     string
	table  *table
	queue  map[rowKey]*queued
	due    time.Time // of the next comparison of digests
	prefer []string  // nodes to compare with first
}

func newNetwork(id string, due time.Time) *network {
	return &network{id: id, table: newTable(MaxRows), queue: map[rowKey]*queued{}, due: due}
}

// Start begins to gossip: it listens, and joins the bootstrap addresses by and by.
func Start(cfg Config) (*Gossip, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	ring, err := newRing(cfg.Keys)
	if err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	g := newGossip(cfg, ring)
	m := cfg.memberlist(ring, func() { g.count(func(s *Stats) { s.Refused++ }) })
	m.Delegate, m.Events = delegate{g}, delegate{g}
	tr, err := openTransport(g.stop, &cfg, m)
	if err != nil {
		g.cancel()
		return nil, fmt.Errorf("gossip: %w", err)
	}
	m.Transport = tr
	tr.crowded = func() { g.count(func(s *Stats) { s.Crowded++ }) }
	g.spawn(tr.admit)
	if g.list, err = memberlist.Create(m); err != nil {
		g.cancel()
		tr.Shutdown()
		g.tasks.Wait()
		return nil, fmt.Errorf("gossip: %w", err)
	}
	g.addr = address(g.list.LocalNode())
	close(g.ready)
	for _, loop := range []func(){g.notifier, g.spreader, g.keeper, g.rejoiner} {
		g.spawn(loop)
	}
	return g, nil
}

// newGossip returns a node that runs nothing yet.
func newGossip(cfg Config, ring *memberlist.Keyring) *Gossip {
	g := &Gossip{
		cfg: cfg, ring: ring, version: cfg.FirstVersion, ready: make(chan struct{}),
		workers: make(chan struct{}, maxWorkers), kick: make(chan struct{}, 1), notify: make(chan struct{}, 1),
		members: map[string]*member{}, absent: map[string]time.Time{}, networks: map[string]*network{}, asked: map[uint64]*asked{},
		cluster: newNetwork("", time.Now().Add(jitter(cfg.Timings.Sync))),
	}
	g.stop, g.cancel = context.WithCancel(context.Background())
	return g
}

// Addr returns the address that others reach this node at.
func (g *Gossip) Addr() netip.AddrPort { return g.addr }

// spawn runs a task that ends soon after stop, unless the node is closing.
func (g *Gossip) spawn(task func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.tasks.Go(task)
	}
}

// work runs a task that may wait for a stream. It reports false, and counts, when
// too many do so already: what is not sent now is found by digest.
func (g *Gossip) work(task func()) bool {
	select {
	case g.workers <- struct{}{}:
	default:
		g.count(func(s *Stats) { s.Busy++ })
		return false
	}
	g.spawn(func() {
		defer func() { <-g.workers }()
		task()
	})
	return true
}

// Leave tells the others that this node goes: its rows are void at once and it
// counts as left, not dead. It waits until somebody was told, or for the timeout.
// Close comes next.
func (g *Gossip) Leave(timeout time.Duration) error {
	g.lifeMu.Lock()
	defer g.lifeMu.Unlock()
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return fmt.Errorf("gossip: leave: %w", net.ErrClosed)
	}
	for id := range g.networks {
		g.detachLocked(id)
	}
	g.writeLocked(g.cluster, leaving, nil, false)
	g.mu.Unlock()
	g.round(true)
	if err := g.list.Leave(timeout); err != nil {
		return fmt.Errorf("gossip: leave: %w", err)
	}
	return nil
}

// Close ends everything and waits for it; no callback comes later. Without Leave
// before it, the others find the node dead. A callback must not call it.
func (g *Gossip) Close() error {
	g.lifeMu.Lock()
	defer g.lifeMu.Unlock()
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	err := g.list.Shutdown()
	g.tasks.Wait()
	if err != nil {
		return fmt.Errorf("gossip: close: %w", err)
	}
	return nil
}
