package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// Theory of operation. An Allocator knows the subnets in use. A subnet in use is
// a space: the set of addresses taken in it, and the pools that share it. There
// is one pool per subnet, with one exception Docker makes: requests for the same
// subnet with different ranges get a pool each over one space, so that no address
// is given twice. The last pool to go takes the space with it. One lock guards
// everything; it is held for a binary search and a small copy, never while
// waiting.

// A Range is a prefix that is cut into subnets of Size bits.
type Range struct {
	Base netip.Prefix
	Size int
}

// Defaults returns Docker's local pools: 172.17.0.0/16 to 172.31.0.0/16, then
// 192.168.0.0/16 in sixteen parts.
func Defaults() []Range {
	var rs []Range
	for i := byte(17); i < 32; i++ {
		rs = append(rs, Range{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, i}), 16), 16})
	}
	return append(rs, Range{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168}), 16), 20})
}

// Overlays returns Docker's pools of a swarm, for networks that several nodes
// have: 10.0.0.0/8 in parts of 254 hosts.
func Overlays() []Range {
	return []Range{{netip.PrefixFrom(netip.AddrFrom4([4]byte{10}), 8), 24}}
}

// An Allocator gives out subnets and the addresses in them.
type Allocator struct {
	mu     sync.Mutex
	ranges []Range // both families
	spaces map[netip.Prefix]*space
	order  []netip.Prefix // the keys of spaces by address; no two overlap
}

// A space is one subnet in use.
type space struct {
	subnet netip.Prefix
	taken  set
	pools  []*Pool
}

// New returns an allocator that cuts subnets nobody chose from the given ranges,
// in order; for a family with no range from [Defaults] and from [ULA] of the node's
// identity.
func New(nodeID string, ranges []Range) (*Allocator, error) {
	a := &Allocator{spaces: map[netip.Prefix]*space{}}
	var v4, v6 bool
	for _, r := range ranges {
		if !r.Base.IsValid() || r.Base != r.Base.Masked() || r.Base.Addr().Is4In6() {
			return nil, fmt.Errorf("%w: base %s is not a network address with its prefix length", ErrInvalidPool, r.Base)
		}
		if r.Size < r.Base.Bits() || r.Size > r.Base.Addr().BitLen()-2 {
			return nil, fmt.Errorf("%w: size %d of %s: expected %d to %d", ErrInvalidPool, r.Size, r.Base, r.Base.Bits(), r.Base.Addr().BitLen()-2)
		}
		v4, v6 = v4 || r.Base.Addr().Is4(), v6 || r.Base.Addr().Is6()
		a.ranges = append(a.ranges, r)
	}
	if !v4 {
		a.ranges = append(a.ranges, Defaults()...)
	}
	if !v6 {
		a.ranges = append(a.ranges, Range{ULA(nodeID), 64})
	}
	return a, nil
}

// A Request says what is wanted of a subnet. Everything may be left out.
type Request struct {
	// Owner names the network in errors, as Docker does: "NAME (ID)".
	Owner string
	// Driver is "default" when empty, or "null": a pool without addresses.
	Driver string
	// Subnet is the subnet wanted; 0.0.0.0/N and ::/N stand for a free one of
	// that size. When invalid, a free one is chosen, of the family IPv6 says.
	Subnet netip.Prefix
	IPv6   bool
	// From are ranges to cut a chosen subnet from instead of the allocator's own.
	From []Range
	// Range limits the addresses given out without being asked for. Its first
	// one is not given to endpoints when it ends in .0.
	Range netip.Prefix
	// Gateway is taken first; when invalid, the lowest free address, unless
	// NoGateway.
	Gateway   netip.Addr
	NoGateway bool
	// Aux are addresses to be kept, by name.
	Aux map[string]netip.Addr
	// Serial gives addresses in turn instead of the lowest first, so that one
	// released rests before it is used again.
	Serial bool
	// Avoid are prefixes a chosen subnet must not overlap: the host's routes
	// and name servers. Subnets asked for by address are not held against them.
	Avoid []netip.Prefix
}

// supported returns nil for the IPAM drivers there are.
func supported(driver string) error {
	switch driver {
	case "", "default", "null":
		return nil
	}
	return fmt.Errorf("%w: %q (available: default, null)", ErrUnsupported, driver)
}

// Request takes a subnet into use with its gateway and auxiliary addresses. On an
// error nothing is taken.
func (a *Allocator) Request(r Request) (*Pool, error) {
	if err := supported(r.Driver); err != nil {
		return nil, err
	}
	if r.Driver == "null" {
		if r.Subnet.IsValid() || r.Range.IsValid() || r.Gateway.IsValid() || len(r.Aux) > 0 {
			return nil, &sentence{"null ipam driver does not handle specific address pool requests", ErrInvalidPool}
		}
		return &Pool{a: a}, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	sp, err := a.subnetLocked(r)
	if err != nil {
		return nil, err
	}
	p := &Pool{a: a, space: sp, owner: r.Owner, Subnet: sp.subnet, Range: r.Range, serial: r.Serial, first: sp.subnet.Addr(), last: lastOf(sp.subnet)}
	if r.Range.IsValid() {
		p.first, p.last = r.Range.Addr(), lastOf(r.Range)
	}
	sp.pools = append(sp.pools, p)
	if err := p.fixLocked(r); err != nil {
		p.releaseLocked()
		return nil, err
	}
	p.skipZero()
	a.useLocked(sp)
	return p, nil
}

// subnetLocked returns the space a request is about, new or shared.
func (a *Allocator) subnetLocked(r Request) (*space, error) {
	s := r.Subnet
	if !s.IsValid() || s.Addr().IsUnspecified() {
		if r.Range.IsValid() || r.Gateway.IsValid() || len(r.Aux) > 0 {
			return nil, fmt.Errorf("%w: range, gateway and auxiliary addresses need a subnet", ErrInvalidPool)
		}
		chosen, err := a.chooseLocked(r)
		if err != nil {
			return nil, err
		}
		return newSpace(chosen), nil
	}
	if s != s.Masked() || s.Addr().Is4In6() {
		return nil, fmt.Errorf("%w: %s is not a network address with its prefix length", ErrInvalidPool, s)
	}
	if g := r.Range; g.IsValid() && (g != g.Masked() || g.Bits() < s.Bits() || !s.Contains(g.Addr())) {
		return nil, fmt.Errorf("%w: range %s does not lie in subnet %s", ErrInvalidPool, g, s)
	}
	if sp := a.spaces[s]; sp != nil {
		for _, p := range sp.pools {
			if p.Range == r.Range {
				return nil, overlapError(s, p)
			}
		}
		return sp, nil
	}
	if sp := a.overlappingLocked(s); sp != nil {
		return nil, overlapError(s, sp.pools[0])
	}
	return newSpace(s), nil
}

// overlappingLocked returns the lowest space that overlaps s, so that the same
// request gets the same answer everywhere, or nil.
func (a *Allocator) overlappingLocked(s netip.Prefix) *space {
	i, _ := slices.BinarySearchFunc(a.order, s.Addr(), byAddr)
	if i > 0 && a.order[i-1].Overlaps(s) {
		return a.spaces[a.order[i-1]]
	}
	if i < len(a.order) && a.order[i].Overlaps(s) {
		return a.spaces[a.order[i]]
	}
	return nil
}

func byAddr(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) }

// useLocked notes a space that a pool is made of.
func (a *Allocator) useLocked(sp *space) {
	if a.spaces[sp.subnet] == nil {
		i, _ := slices.BinarySearchFunc(a.order, sp.subnet.Addr(), byAddr)
		a.order = slices.Insert(a.order, i, sp.subnet)
	}
	a.spaces[sp.subnet] = sp
}

// forgetLocked is the reverse of useLocked; a subnet that is not in use is no error.
func (a *Allocator) forgetLocked(subnet netip.Prefix) {
	if a.spaces[subnet] != nil {
		i, _ := slices.BinarySearchFunc(a.order, subnet.Addr(), byAddr)
		a.order = slices.Delete(a.order, i, i+1)
	}
	delete(a.spaces, subnet)
}

func overlapError(s netip.Prefix, other *Pool) error {
	text := fmt.Sprintf("invalid pool request: %s: %s and %s", ErrOverlap, s, other.Subnet)
	if other.owner != "" {
		text += " of network " + other.owner
	}
	return &sentence{text, ErrOverlap}
}

// newSpace returns a subnet of which the addresses nobody can have are taken: the
// network's own (in IPv6 the routers' anycast address, RFC 4291 2.6.1) and the
// IPv4 broadcast address. A /31 (RFC 3021) or longer has none of them.
func newSpace(s netip.Prefix) *space {
	sp := &space{subnet: s}
	if s.Addr().BitLen()-s.Bits() >= 2 {
		sp.taken.add(s.Addr())
		if s.Addr().Is4() {
			sp.taken.add(lastOf(s))
		}
	}
	return sp
}
