package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// Attach gives this node a network: it hears and writes rows of it from now on. It
// returns once the rows of one or two other nodes that have the network are here.
// The error is ErrNotSynced when there are such nodes and none answered
// before ctx ended or within some seconds each; the node is attached all the same.
// To attach twice does nothing.
func (g *Gossip) Attach(ctx context.Context, id string) error {
	if err := checkID("network", id); err != nil {
		return fmt.Errorf("gossip: attach: %w", err)
	}
	if id == leaving {
		return errors.New("gossip: attach: the id is reserved")
	}
	g.mu.Lock()
	if g.networks[id] != nil {
		g.mu.Unlock()
		return nil
	}
	if len(g.networks) >= MaxNetworks {
		g.mu.Unlock()
		return fmt.Errorf("gossip: attach %s: %d networks already: %w", id, MaxNetworks, ErrFull)
	}
	err := g.attachLocked(id)
	g.mu.Unlock()
	if err != nil {
		return fmt.Errorf("gossip: attach %s: %w", id, err)
	}
	if err := g.sync(ctx, id); err != nil {
		return fmt.Errorf("gossip: attach %s: %w", id, err)
	}
	return nil
}

func (g *Gossip) attachLocked(id string) error {
	if err := g.writeLocked(g.cluster, id, nil, false); err != nil {
		return err
	}
	n := newNetwork(id, time.Now().Add(jitter(g.cfg.Timings.Sync)))
	g.networks[id] = n
	for owner := range g.cluster.table.owners {
		if e, ok := g.cluster.table.get(owner, id); ok {
			n.table.raise(owner, e.version)
		}
	}
	return nil
}

// Detach takes a network from this node: its rows are void everywhere, and none
// are kept here.
func (g *Gossip) Detach(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.detachLocked(id)
}

func (g *Gossip) detachLocked(id string) {
	if g.networks[id] == nil {
		return
	}
	delete(g.networks, id)
	g.writeLocked(g.cluster, id, nil, true)
	g.changed.network(id)
}

// Put writes a row of this node; one that says the same already is left alone. The
// value is copied.
func (g *Gossip) Put(id, key string, value []byte) error {
	if err := checkRow(key, value); err != nil {
		return fmt.Errorf("gossip: put: %w", err)
	}
	return g.change(id, func(n *network) error {
		if e, ok := n.table.get(g.cfg.NodeID, key); ok && !e.deleted && bytes.Equal(e.value, value) {
			return nil
		}
		return g.writeLocked(n, key, append([]byte{}, value...), false)
	})
}

// Delete removes a row of this node; one that is not there is no error.
func (g *Gossip) Delete(id, key string) error {
	return g.change(id, func(n *network) error {
		if e, ok := n.table.get(g.cfg.NodeID, key); !ok || e.deleted {
			return nil
		}
		return g.writeLocked(n, key, nil, true)
	})
}

func (g *Gossip) change(id string, do func(*network) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.networks[id]
	if n == nil {
		return fmt.Errorf("gossip: network %s: %w", id, ErrNotAttached)
	}
	if err := do(n); err != nil {
		return fmt.Errorf("gossip: network %s: %w", id, err)
	}
	return nil
}

// writeLocked gives a row of this node the next version and queues it.
func (g *Gossip) writeLocked(n *network, key string, value []byte, deleted bool) error {
	if g.version >= maxVersion {
		return fmt.Errorf("versions are used up: %w", ErrFull)
	}
	g.version++
	r := Row{Network: n.id, Owner: g.cfg.NodeID, Key: key, Version: g.version, Value: value, Deleted: deleted}
	if n.table.merge(r, time.Now()) == full {
		g.stats.Full++
		return fmt.Errorf("%d rows already: %w", MaxRows, ErrFull)
	}
	g.enqueueLocked(n, r.Owner, key)
	g.appliedLocked(n, r)
	return nil
}

// Rows returns the rows of a network that this node has: its own and those of
// alive members, by owner and key. Values must not be written to.
func (g *Gossip) Rows(id string) []Row {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.networks[id]
	if n == nil {
		return nil
	}
	return n.table.live(id, g.visible)
}

// Peers returns the ids of the other alive members that have a network, sorted,
// whether or not this node has it.
func (g *Gossip) Peers(id string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if id == "" {
		return nil
	}
	return g.peersLocked(id)
}
