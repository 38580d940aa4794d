package vswitch

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"weft/internal/frame"
	"weft/nat"
)

// Theory of operation: the router
//
// A Router joins domains inside with the one outside, whose ports lead to a network that
// is not weft's. On each of them it is the gateway: the domain answers ARP, neighbour
// discovery and ping for it as everywhere (answer.go), and IP packets that are for its MAC
// cross (cross.go): they are translated by a [Translator], for nobody outside knows the
// addresses inside, and sent on by what the tables say.
//
//	inside     prefix → domain. Its neighbour table and FDB say the rest. Prefixes of
//	           weft's that no domain here has are entered without one: what is for
//	           them never leaves.
//	routes     prefix → next hop outside, or none where destinations are on the link
//	hops       next hop → MAC, found out by asking; see hops.go
//
// The first two are one immutable snapshot, which Publish replaces; workers load it once
// for each frame that crosses. The outside domain learns no MACs and answers for its own
// addresses alone: whoever else is there speaks for himself.

// A Translator rewrites packets that cross between inside and outside, in place, and keeps
// what it takes to rewrite the answers. It takes a hop from those that it lets pass; one that
// it refuses, for a reason, it leaves as it was. [nat.Table] is the one there is. Several workers call it at a time. now is the switch's coarse clock, in seconds.
type Translator interface {
	// Outbound is for a packet from inside that is for no address inside. It may turn
	// out to be for one that is published: then it goes to Inside.
	Outbound(f *frame.Frame, now uint32) (nat.Side, frame.Reason)
	// Inbound is for a packet from outside to one of the router's addresses there.
	Inbound(f *frame.Frame, now uint32) (nat.Side, frame.Reason)
	// Preview is for a trace: it rewrites a packet from inside, or from outside, as far as
	// can be told beforehand, keeps nothing, and says in words what it does.
	Preview(f *frame.Frame, inside bool) (side nat.Side, words string, r frame.Reason)
}

// A RouterConfig describes a router.
type RouterConfig struct {
	// Outside is a domain made with DomainConfig.Outside, and Port its one port.
	Outside *Domain
	Port    *Port
	// Translator rewrites what crosses.
	Translator Translator
	// Settled is for a router that the outside knows already: it does not announce its
	// addresses.
	Settled bool
}

// A Route is a way on the outside.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr // the next hop; not valid: destinations are on the link
}

// An Inner is a range of addresses inside.
type Inner struct {
	Prefix netip.Prefix
	Domain *Domain // nil: addresses of weft's that are not to be reached from here
}

// A Router is described above.
type Router struct {
	cfg   RouterConfig
	sw    *Switch
	hops  hops
	table atomic.Pointer[routeTable]
	// announced is how often the router has said where it is; Tick's.
	announced int

	mu      sync.Mutex // guards what Publish and Close replace
	domains map[*Domain]bool
	closed  bool
}

// A routeTable is the snapshot that the path reads.
type routeTable struct {
	inside  prefixTable[*Domain]
	routes  prefixTable[way]
	domains map[*Domain]bool // of inside
}

// A way is a route with the address that the router has there.
type way struct{ via, from netip.Addr }

// NewRouter returns a router without any routes.
func (s *Switch) NewRouter(c RouterConfig) (*Router, error) {
	if c.Outside == nil || !c.Outside.cfg.Outside || c.Port == nil || c.Port.domain != c.Outside || c.Translator == nil {
		return nil, errors.New("vswitch: a router needs an outside domain, its port and a translator")
	}
	r := &Router{cfg: c, sw: s, domains: map[*Domain]bool{}}
	if c.Settled {
		r.announced = announcements
	}
	r.hops.init()
	r.table.Store(&routeTable{})
	if !c.Outside.router.CompareAndSwap(nil, r) {
		return nil, fmt.Errorf("vswitch: domain %s has a router", c.Outside.cfg.Name)
	}
	return r, nil
}

// Publish replaces what the router knows. A domain that is named for the first time has
// the router as its gateway from now on, one that is not named any more no longer.
// Prefixes of domains must not be the same.
func (r *Router) Publish(inside []Inner, routes []Route) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("vswitch: the router was closed")
	}
	t := &routeTable{domains: map[*Domain]bool{}}
	for _, in := range inside {
		if !t.inside.add(in.Prefix, in.Domain) {
			return fmt.Errorf("vswitch: %s is inside twice, or is no prefix", in.Prefix)
		}
		if d := in.Domain; d != nil && !t.domains[d] {
			if err := r.mayTake(d); err != nil {
				return err
			}
			t.domains[d] = true
		}
	}
	for _, route := range routes {
		from := r.addressFor(route, routes)
		if from.IsValid() { // of several routes to the same the first counts
			t.routes.add(route.Dst, way{route.Via, from})
		}
	}
	t.inside.seal()
	t.routes.seal()
	r.table.Store(t)
	for d := range t.domains {
		d.router.Store(r)
	}
	for d := range r.domains {
		if !t.domains[d] {
			d.router.CompareAndSwap(r, nil)
		}
	}
	r.domains = t.domains
	return nil
}

// mayTake reports why the router cannot be a domain's gateway.
func (r *Router) mayTake(d *Domain) error {
	switch other := d.router.Load(); {
	case other != nil && other != r:
		return fmt.Errorf("vswitch: domain %s has a router", d.cfg.Name)
	case d == r.cfg.Outside, !d.gateway.on:
		return fmt.Errorf("vswitch: domain %s cannot be inside: it is the outside, or has no gateway", d.cfg.Name)
	case d.exit.Load() != nil:
		return fmt.Errorf("vswitch: domain %s has an exit", d.cfg.Name)
	}
	return nil
}

// addressFor returns the address that the router asks for a route's next hop from: in
// IPv4 one of its own on the network that the next hop is on, if there is one, in IPv6 the
// link-local one (RFC 4861, 7.2.2: any of the interface's). It is not valid where the
// router has none of the family.
func (r *Router) addressFor(route Route, all []Route) netip.Addr {
	g := &r.cfg.Outside.gateway
	if v4 := route.Dst.Addr().Is4(); v4 && len(g.ip4) == 0 || !v4 && len(g.ip6) == 0 {
		return netip.Addr{}
	}
	network := route.Dst
	if route.Via.Is6() || !route.Via.IsValid() && route.Dst.Addr().Is6() {
		return netip.AddrFrom16(linkLocal(g.mac))
	}
	for _, o := range all {
		if route.Via.IsValid() && !o.Via.IsValid() && o.Dst.Contains(route.Via) {
			network = o.Dst
		}
	}
	for _, own := range g.ip4 {
		if network.Contains(addr4(own)) {
			return addr4(own)
		}
	}
	return addr4(g.ip4[0])
}

// SetNeighbour enters the MAC of a next hop outside, which is not asked any more and
// cannot say that it has moved. A frame that is held for it is lost: call it before frames
// flow. It reports whether there was room.
func (r *Router) SetNeighbour(a netip.Addr, m frame.MAC) bool { return r.hops.set(a, m) }

// Close takes the router away from its domains.
func (r *Router) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for d := range r.domains {
		d.router.CompareAndSwap(r, nil)
	}
	r.domains = nil
	r.cfg.Outside.router.CompareAndSwap(r, nil)
	r.table.Store(&routeTable{})
}

// fromOutside judges the source of a frame from outside, of which nothing is learned.
func (p *Port) fromOutside(f *frame.Frame) frame.Reason {
	if f.SrcMAC() == p.domain.gateway.mac {
		return frame.SpoofedMAC
	}
	return frame.NotDropped
}
