package ipam

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// A Pool is a subnet in use by one owner. The exported members are not to be
// changed.
type Pool struct {
	Subnet  netip.Prefix // invalid: a pool of the null driver, without addresses
	Range   netip.Prefix // as requested
	Gateway netip.Addr   // invalid when none was wanted
	Aux     map[string]netip.Addr

	a           *Allocator
	space       *space // nil: null driver, or released
	owner       string
	serial      bool
	first, last netip.Addr // what Allocate gives from
	latest      netip.Addr // given last, for serial
}

// fixLocked takes the gateway, then the auxiliary addresses.
func (p *Pool) fixLocked(r Request) error {
	if r.Gateway.IsValid() {
		if err := p.takeLocked(r.Gateway); err != nil {
			return fmt.Errorf("failed to allocate gateway (%s): %w", r.Gateway, err)
		}
		p.Gateway = r.Gateway
	} else if !r.NoGateway {
		g, ok := p.space.taken.free(p.first, p.last)
		if !ok {
			return p.exhausted()
		}
		p.space.taken.add(g)
		p.Gateway = g
	}
	for _, name := range slices.Sorted(maps.Keys(r.Aux)) {
		if err := p.takeLocked(r.Aux[name]); err != nil {
			return fmt.Errorf("failed to allocate secondary ip address (%s:%s): %w", name, r.Aux[name], err)
		}
		if p.Aux == nil {
			p.Aux = map[string]netip.Addr{}
		}
		p.Aux[name] = r.Aux[name]
	}
	return nil
}

// skipZero keeps Allocate from the first address of a range when its last octet
// is 0: it is a host's address in the subnet, but many stacks take it for a
// network's (docs/decisions/0005). A range of this one address has no other.
func (p *Pool) skipZero() {
	if p.Range.IsValid() && p.first.Is4() && p.first.As4()[3] == 0 && p.first != p.last {
		p.first = p.first.Next()
	}
}

// Allocate takes the lowest free address of the range or, without one, of the
// subnet; with Serial the next free one after the last given. From the null driver
// it returns an invalid address and no error.
func (p *Pool) Allocate() (netip.Addr, error) {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	if p.space == nil {
		return netip.Addr{}, p.goneLocked()
	}
	if p.serial && p.latest.IsValid() && p.latest.Less(p.last) {
		if a, ok := p.space.taken.free(p.latest.Next(), p.last); ok {
			p.space.taken.add(a)
			p.latest = a
			return a, nil
		}
	}
	a, ok := p.space.taken.free(p.first, p.last)
	if !ok {
		return netip.Addr{}, p.exhausted()
	}
	p.space.taken.add(a)
	p.latest = a
	return a, nil
}

// Latest returns the address Allocate gave last, released or not; invalid when
// there was none.
func (p *Pool) Latest() netip.Addr {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	return p.latest
}

// Resume sets what [Pool.Latest] returns, so that with Serial giving goes on
// behind it: where another allocator, or this one before, had got to.
func (p *Pool) Resume(latest netip.Addr) {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	p.latest = latest
}

// Reserve takes given addresses: static ones, and after a restart all that are
// known. They may lie outside the range. On an error none is taken.
func (p *Pool) Reserve(addrs ...netip.Addr) error {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	if p.space == nil {
		if p.Subnet.IsValid() {
			return ErrReleased
		}
		return fmt.Errorf("%w: the null ipam driver has no addresses", ErrOutOfRange)
	}
	for i, a := range addrs {
		if err := p.takeLocked(a); err != nil {
			for _, b := range addrs[:i] {
				p.space.taken.remove(b)
			}
			return err
		}
	}
	return nil
}

func (p *Pool) takeLocked(a netip.Addr) error {
	if !a.IsValid() || !p.Subnet.Contains(a) {
		return &sentence{fmt.Sprintf("%s: %s is not in subnet %s", ErrOutOfRange, a, p.Subnet), ErrOutOfRange}
	}
	if !p.space.taken.add(a) {
		return fmt.Errorf("%w: %s", ErrInUse, a)
	}
	return nil
}

// Release gives an address back. The gateway and auxiliary addresses belong to
// the pool and go with it.
func (p *Pool) Release(a netip.Addr) error {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	if p.space == nil {
		return p.goneLocked()
	}
	if p.fixedLocked(a) || !p.space.taken.remove(a) {
		return fmt.Errorf("%w: %s", ErrNotInUse, a)
	}
	return nil
}

// fixedLocked reports whether an address can not be released: it belongs to a
// pool or to the subnet itself.
func (p *Pool) fixedLocked(a netip.Addr) bool {
	s := p.Subnet
	if s.Addr().BitLen()-s.Bits() >= 2 && (a == s.Addr() || s.Addr().Is4() && a == lastOf(s)) {
		return true
	}
	for _, q := range p.space.pools {
		if a == q.Gateway {
			return true
		}
		for _, x := range q.Aux {
			if a == x {
				return true
			}
		}
	}
	return false
}

// Close gives the subnet back. Addresses still in use go with the last pool of
// their subnet. A second call does nothing.
func (p *Pool) Close() {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	if p.space != nil {
		p.releaseLocked()
	}
}

func (p *Pool) releaseLocked() {
	sp := p.space
	sp.taken.remove(p.Gateway)
	for _, x := range p.Aux {
		sp.taken.remove(x)
	}
	sp.pools = slices.DeleteFunc(sp.pools, func(q *Pool) bool { return q == p })
	if len(sp.pools) == 0 {
		p.a.forgetLocked(sp.subnet)
	}
	p.space = nil
}

// Counts returns how many addresses of the subnet are taken, those of network,
// broadcast, gateway and auxiliaries included, and how many Allocate can still
// give; both at most math.MaxUint64.
func (p *Pool) Counts() (inUse, available uint64) {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	if p.space == nil {
		return 0, 0
	}
	taken := &p.space.taken
	inUse = taken.count(p.Subnet.Addr(), lastOf(p.Subnet))
	return inUse, size(p.first, p.last) - taken.count(p.first, p.last)
}

// goneLocked is the answer of a pool without a space.
func (p *Pool) goneLocked() error {
	if p.Subnet.IsValid() {
		return ErrReleased
	}
	return nil
}

// exhausted is Docker's error to the user.
func (p *Pool) exhausted() error {
	family := "IPv4"
	if p.Subnet.Addr().Is6() {
		family = "IPv6"
	}
	who := p.owner
	if who == "" {
		who = p.Subnet.String()
	}
	return &sentence{fmt.Sprintf("no available %s addresses on this network's address pools: %s", family, who), ErrExhausted}
}
