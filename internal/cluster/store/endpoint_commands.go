package store

import (
	"errors"
	"net/netip"
	"slices"

	"weft/internal/cnm"
	"weft/internal/ipam"
)

// AllocateEndpoint gives an endpoint of a node its addresses on a network: those
// asked for, or the next free ones of each family the network has. Asked again
// with the same ID it answers the same.
type AllocateEndpoint struct {
	ID      string
	Network string     // id
	Node    string     // id
	IPv4    netip.Addr // invalid: any
	IPv6    netip.Addr
}

// ReleaseEndpoint gives an endpoint's addresses back. One that is not there is no
// error; one of another node than Node is. An empty Node is any.
type ReleaseEndpoint struct {
	ID   string
	Node string
}

// ReleaseNode releases what a node no longer has: all its endpoints but those of
// Except that were allocated up to version Before; 0 means at any time. A node
// that tells what it has names the version it saw, so that what it asks for
// meanwhile is safe.
type ReleaseNode struct {
	Node   string
	Except []string
	Before uint64
}

func (AllocateEndpoint) kind() string { return "endpoint allocate" }
func (ReleaseEndpoint) kind() string  { return "endpoint release" }
func (ReleaseNode) kind() string      { return "endpoint release of node" }

func (a AllocateEndpoint) apply(c *change) error {
	if old, there := c.Endpoints.Get(a.ID); there {
		if old.Network != a.Network || old.Node != a.Node || !fits(a.IPv4, old.IPv4) || !fits(a.IPv6, old.IPv6) {
			return cnm.Errorf(cnm.Conflict, "endpoint %s exists already, with %s on network %s at node %s",
				cnm.ShortID(a.ID), addresses(old), cnm.ShortID(old.Network), old.Node)
		}
		c.result.Endpoint = &old
		return nil
	}
	nw, there := c.Networks.Get(a.Network)
	if !there {
		return cnm.Errorf(cnm.NotFound, "network %s not found", cnm.ShortID(a.Network))
	}
	if _, there := c.Nodes.Get(a.Node); !there {
		return cnm.Errorf(cnm.NotFound, "node %s not found", a.Node)
	}
	if a.ID == "" {
		return cnm.Errorf(cnm.Invalid, "an endpoint needs an identifier")
	}
	if c.Endpoints.Len() == MaxEndpoints {
		return cnm.Errorf(cnm.Unavailable, "the swarm has %d endpoints, the most there can be", MaxEndpoints)
	}
	e := Endpoint{ID: a.ID, Version: c.index, Network: a.Network, Node: a.Node}
	var err error
	if e.IPv4, err = c.m.take(a.Network, a.IPv4, true); err != nil {
		return err
	}
	if e.IPv6, err = c.m.take(a.Network, a.IPv6, false); err != nil {
		c.m.giveBack(a.Network, e.IPv4)
		c.m.resume(&nw)
		return err
	}
	nw.Endpoints++
	nw.Latest = c.m.latest(a.Network)
	c.Networks = c.Networks.with(nw.ID, nw)
	c.Endpoints = c.Endpoints.with(e.ID, e)
	c.result.Endpoint = &e
	c.touch()
	return nil
}

// fits reports whether an address asked for is the one that was given.
func fits(want netip.Addr, has netip.Prefix) bool { return !want.IsValid() || want == has.Addr() }

// addresses writes an endpoint's addresses.
func addresses(e Endpoint) string {
	switch {
	case !e.IPv6.IsValid():
		return e.IPv4.String()
	case !e.IPv4.IsValid():
		return e.IPv6.String()
	}
	return e.IPv4.String() + " and " + e.IPv6.String()
}

// take takes one address of a family: the one wanted, or the next of the first
// pool that has one. A network without pools of the family gives none.
func (m *machine) take(network string, want netip.Addr, v4 bool) (netip.Prefix, error) {
	if want.IsValid() {
		p, err := m.poolOf(network, want)
		if err == nil && want.Is4() != v4 {
			err = cnm.Errorf(cnm.Invalid, "address %s is of the other family than was asked for", want)
		}
		if err != nil {
			return netip.Prefix{}, err
		}
		if err := p.Reserve(want); err != nil {
			return netip.Prefix{}, addressError(err)
		}
		return netip.PrefixFrom(want, p.Subnet.Bits()), nil
	}
	var full error
	for _, p := range m.pools[network] {
		if p.Subnet.Addr().Is4() != v4 {
			continue
		}
		a, err := p.Allocate()
		if err == nil {
			return netip.PrefixFrom(a, p.Subnet.Bits()), nil
		}
		if !errors.Is(err, ipam.ErrExhausted) {
			return netip.Prefix{}, addressError(err)
		}
		full = err
	}
	if full != nil {
		return netip.Prefix{}, addressError(full)
	}
	return netip.Prefix{}, nil
}

// poolOf returns the pool an address of a network belongs to.
func (m *machine) poolOf(network string, a netip.Addr) (*ipam.Pool, error) {
	for _, p := range m.pools[network] {
		if p.Subnet.Contains(a) {
			return p, nil
		}
	}
	return nil, cnm.Errorf(cnm.Invalid, "no configured subnet contains IP address %s", a)
}

// giveBack releases addresses that are taken.
func (m *machine) giveBack(network string, addrs ...netip.Prefix) {
	for _, a := range addrs {
		if !a.IsValid() {
			continue
		}
		if p, err := m.poolOf(network, a.Addr()); err == nil {
			p.Release(a.Addr()) // it is the endpoint's, so it is in use
		}
	}
}

// latest returns the places where giving goes on.
func (m *machine) latest(network string) []netip.Addr {
	pools := m.pools[network]
	out := make([]netip.Addr, len(pools))
	for i, p := range pools {
		out[i] = p.Latest()
	}
	return out
}

func (r ReleaseEndpoint) apply(c *change) error {
	e, there := c.Endpoints.Get(r.ID)
	if !there {
		return nil
	}
	if r.Node != "" && r.Node != e.Node {
		return cnm.Errorf(cnm.Forbidden, "endpoint %s is not of node %s but of %s", cnm.ShortID(r.ID), r.Node, e.Node)
	}
	c.release([]Endpoint{e})
	return nil
}

func (r ReleaseNode) apply(c *change) error {
	keep := slices.Sorted(slices.Values(r.Except))
	c.release(c.endpointsOf(func(e Endpoint) bool {
		_, kept := slices.BinarySearch(keep, e.ID)
		return e.Node == r.Node && !kept && (r.Before == 0 || e.Version <= r.Before)
	}))
	return nil
}

// endpointsOf returns the endpoints that a condition holds for.
func (c *change) endpointsOf(which func(Endpoint) bool) (out []Endpoint) {
	for _, e := range c.Endpoints.All() {
		if which(e) {
			out = append(out, e)
		}
	}
	return out
}

// release gives back what endpoints have, and forgets them. It cannot fail.
func (c *change) release(gone []Endpoint) {
	if len(gone) == 0 {
		return
	}
	ids := make([]string, len(gone))
	for i, e := range gone {
		ids[i] = e.ID
		c.m.giveBack(e.Network, e.IPv4, e.IPv6)
		if nw, there := c.Networks.Get(e.Network); there {
			nw.Endpoints--
			c.Networks = c.Networks.with(nw.ID, nw)
		}
	}
	c.Endpoints = c.Endpoints.without(ids...)
	c.result.Released = len(gone)
	c.touch()
}
