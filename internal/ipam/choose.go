package ipam

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
)

// ULA returns the unique local /48 of a node (RFC 4193, 3.2): fd and 40 bits
// taken from a hash of its identity, so it is the same after each start and,
// very likely, no other node's.
func ULA(nodeID string) netip.Prefix {
	h := sha256.Sum256([]byte("weft ula " + nodeID))
	b := [16]byte{0xfd}
	copy(b[1:6], h[:])
	return netip.PrefixFrom(netip.AddrFrom16(b), 48)
}

// chooseLocked returns the first subnet of the ranges, in order, that overlaps
// nothing in use and nothing to be avoided.
func (a *Allocator) chooseLocked(r Request) (netip.Prefix, error) {
	v6, want := r.IPv6, 0
	if r.Subnet.IsValid() {
		v6, want = r.Subnet.Addr().Is6(), r.Subnet.Bits()
		if want == 0 || want > r.Subnet.Addr().BitLen()-2 {
			return netip.Prefix{}, fmt.Errorf("%w: no subnet has size /%d", ErrInvalidPool, want)
		}
	}
	ranges := a.ranges
	if r.From != nil {
		ranges = r.From
	}
	for _, rg := range ranges {
		size := rg.Size
		if want > 0 {
			size = want
		}
		if rg.Base.Addr().Is6() != v6 || size < rg.Base.Bits() {
			continue
		}
		if s, ok := a.firstFreeLocked(rg.Base, size, r.Avoid); ok {
			return s, nil
		}
	}
	if want > 0 {
		return netip.Prefix{}, &sentence{fmt.Sprintf("%s: none of size /%d is free", ErrNoPools, want), ErrNoPools}
	}
	return netip.Prefix{}, ErrNoPools
}

// firstFreeLocked walks over base in steps of one subnet, over larger obstacles
// at one stride, so that a large base costs no more than what is in the way.
func (a *Allocator) firstFreeLocked(base netip.Prefix, size int, avoid []netip.Prefix) (netip.Prefix, bool) {
	for at := base.Addr(); at.IsValid() && base.Contains(at); {
		s := netip.PrefixFrom(at, size)
		obstacle := a.obstacleLocked(s, avoid)
		if !obstacle.IsValid() {
			return s, true
		}
		if obstacle.Bits() > size {
			obstacle = s
		}
		at = lastOf(obstacle).Next()
	}
	return netip.Prefix{}, false
}

// obstacleLocked returns something that overlaps s, or an invalid prefix. A
// default route is in nobody's way.
func (a *Allocator) obstacleLocked(s netip.Prefix, avoid []netip.Prefix) netip.Prefix {
	for _, o := range avoid {
		if o.Bits() > 0 && o.Overlaps(s) {
			return o
		}
	}
	if sp := a.overlappingLocked(s); sp != nil {
		return sp.subnet
	}
	return netip.Prefix{}
}
