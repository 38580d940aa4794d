package store

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"weft/internal/cnm"
	"weft/internal/ipam"
)

// Theory of operation: the machine
//
// A machine holds the latest State and the allocator that follows from it. One
// goroutine applies commands; anybody reads the state. A command works on a copy of
// the state's top (the tables share what does not change); when it fails, the copy
// is dropped and nothing has happened. The allocator is changed in place, so a
// command touches it last, behind its checks, and puts back what it took if it
// fails then.
//
// Applying is a function of state and command alone: no clock, no randomness, no
// order of a Go map. A machine that was restored from a state gives the same
// addresses as the one that made it: what is taken follows from networks and
// endpoints, and the place where giving goes on is kept with each network.
type machine struct {
	state atomic.Pointer[State]
	addrs *ipam.Allocator
	pools map[string][]*ipam.Pool // by network, in the order of IPAM.Config
}

// A change is one command's work.
type change struct {
	State  // becomes the state, if the command does not fail
	index  uint64
	m      *machine
	result Result
}

func newMachine() *machine {
	m := &machine{}
	m.state.Store(&State{})
	return m
}

// apply makes one change. An error says why nothing was changed; changed is
// whether there is a new state.
func (m *machine) apply(index uint64, doc []byte) (r Result, changed bool, err error) {
	before := m.state.Load()
	c, err := Decode(doc)
	if err != nil {
		return Result{}, false, err
	}
	ch := &change{State: *before, index: index, m: m}
	if _, first := c.(InitCluster); ch.Cluster.ID == "" && !first {
		return Result{}, false, cnm.Errorf(cnm.Unavailable, "command %s: there is no cluster yet", c.kind())
	}
	ch.Version = 0 // until something is said to have changed
	if err := c.apply(ch); err != nil {
		return Result{}, false, err
	}
	r = ch.result
	if ch.Version == 0 {
		r.Version = before.Version
		return r, false, nil
	}
	r.Version = ch.Version
	m.state.Store(&ch.State)
	return r, true, nil
}

// touch says that the state changes.
func (c *change) touch() { c.Version = c.index }

// restore replaces the state. On an error nothing has changed.
func (m *machine) restore(s *State) error {
	n := newMachine()
	if s.Cluster.ID != "" {
		if err := n.prepare(&s.Cluster); err != nil {
			return err
		}
	}
	for id, nw := range s.Networks.All() {
		if err := n.reopen(nw); err != nil {
			return fmt.Errorf("network %s (%s): %w", nw.Name, id, err)
		}
	}
	for id, e := range s.Endpoints.All() {
		if err := n.reserve(e); err != nil {
			return fmt.Errorf("endpoint %s: %w", id, err)
		}
	}
	m.addrs, m.pools = n.addrs, n.pools
	m.state.Store(s)
	return nil
}

// prepare makes the allocator of a cluster.
func (m *machine) prepare(c *Cluster) error {
	var ranges []ipam.Range
	v4 := false
	for _, p := range c.Pools {
		size := c.SubnetSize
		if p.Addr().Is6() {
			size = max(64, p.Bits())
		}
		v4 = v4 || p.Addr().Is4()
		ranges = append(ranges, ipam.Range{Base: p, Size: size})
	}
	if !v4 {
		ranges = append(ranges, ipam.Overlays()...)
	}
	a, err := ipam.New(c.ID, ranges)
	if err != nil {
		return addressError(err)
	}
	m.addrs, m.pools = a, map[string][]*ipam.Pool{}
	return nil
}

// reserve takes the addresses of an endpoint that was there before.
func (m *machine) reserve(e Endpoint) error {
	for _, p := range []netip.Prefix{e.IPv4, e.IPv6} {
		if !p.IsValid() {
			continue
		}
		pool, _ := m.poolOf(e.Network, p.Addr())
		if pool == nil {
			return fmt.Errorf("address %s lies in no subnet of network %s", p.Addr(), e.Network)
		}
		if err := pool.Reserve(p.Addr()); err != nil {
			return err
		}
	}
	return nil
}
