package cnm

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// The auxiliary addresses that are a router's: default routes of a bridge network's
// endpoints go there, while the gateway stays the switch's own (moby
// libnetwork/drivers/bridge).
const (
	AuxGateway4 = "DefaultGatewayIPv4"
	AuxGateway6 = "DefaultGatewayIPv6"
)

// ParsePool reads one IPAM configuration as the API and the command line carry
// it; empty strings were not given. The result still has to pass
// [ValidateNetwork].
func ParsePool(subnet, ipRange, gateway string, aux map[string]string) (Pool, error) {
	var p Pool
	var bad problems
	var err error
	if subnet != "" {
		if p.Subnet, err = netip.ParsePrefix(subnet); err != nil {
			bad.add(fmt.Errorf("invalid subnet %s: invalid CIDR block notation", subnet))
		}
	}
	if ipRange != "" {
		if p.IPRange, err = netip.ParsePrefix(ipRange); err != nil {
			bad.add(fmt.Errorf("invalid ip-range %s: invalid CIDR block notation", ipRange))
		}
	}
	if gateway != "" {
		if p.Gateway, err = netip.ParseAddr(gateway); err != nil {
			bad.add(fmt.Errorf("invalid gateway %s: invalid address", gateway))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(aux)) {
		a, err := netip.ParseAddr(aux[name])
		if err != nil {
			bad.add(fmt.Errorf("invalid auxiliary address %s: invalid address", name))
			continue
		}
		if p.Aux == nil {
			p.Aux = make(map[string]netip.Addr, len(aux))
		}
		p.Aux[name] = a
	}
	return p, bad.join(Invalid, "invalid network config:")
}

// family returns what Docker calls the family of an address.
func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// AnySubnet reports whether the subnet only names a size: 0.0.0.0/24 or ::/64
// stand for a free subnet of that size.
func (p Pool) AnySubnet() bool {
	return p.Subnet.IsValid() && p.Subnet.Bits() > 0 && p.Subnet.Addr().IsUnspecified()
}

// check adds everything that is wrong with a pool by itself.
func (p Pool) check(bad *problems) {
	if !p.Subnet.IsValid() || p.AnySubnet() {
		p.checkLoose(bad)
		return
	}
	s := p.Subnet
	if s != s.Masked() {
		bad.add(fmt.Errorf("invalid subnet %s: it should be %s", s, s.Masked()))
	}
	bad.add(usableSubnet(s))
	p.checkRange(bad)
	if p.Gateway.IsValid() {
		if err := inSubnet(p.Gateway, s); err != nil {
			bad.add(fmt.Errorf("invalid gateway %s: %w", p.Gateway, err))
		}
	}
	seen := map[netip.Addr]string{}
	for _, name := range slices.Sorted(maps.Keys(p.Aux)) {
		a := p.Aux[name]
		if err := inSubnet(a, s); err != nil {
			bad.add(fmt.Errorf("invalid auxiliary address %s: %w", name, err))
		} else if a == p.Gateway {
			bad.add(fmt.Errorf("invalid auxiliary address %s: %s is the gateway", name, a))
		} else if other, taken := seen[a]; taken {
			bad.add(fmt.Errorf("invalid auxiliary address %s: %s is already reserved as %s", name, a, other))
		}
		seen[a] = name
	}
}

// checkLoose refuses members that mean nothing without a definite subnet.
func (p Pool) checkLoose(bad *problems) {
	if p.IPRange.IsValid() {
		bad.add(fmt.Errorf("no matching subnet for range %s", p.IPRange))
	}
	if p.Gateway.IsValid() {
		bad.add(fmt.Errorf("no matching subnet for gateway %s", p.Gateway))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Aux)) {
		bad.add(fmt.Errorf("no matching subnet for aux-address %s", p.Aux[name]))
	}
}

func (p Pool) checkRange(bad *problems) {
	r, s := p.IPRange, p.Subnet
	if !r.IsValid() {
		return
	}
	if r.Addr().Is4() != s.Addr().Is4() {
		bad.add(fmt.Errorf("invalid ip-range %s: parent subnet is an %s block", r, family(s.Addr())))
		return
	}
	if r.Bits() < s.Bits() {
		bad.add(fmt.Errorf("invalid ip-range %s: CIDR block is bigger than its parent subnet %s", r, s))
	}
	if r != r.Masked() {
		bad.add(fmt.Errorf("invalid ip-range %s: it should be %s", r, r.Masked()))
	}
	if !s.Overlaps(r) {
		bad.add(fmt.Errorf("invalid ip-range %s: parent subnet %s doesn't contain ip-range", r, s))
	}
}

// usableSubnet refuses subnets in which no endpoint could live. A gateway and
// one endpoint take a /30 (IPv4) or a /126.
func usableSubnet(s netip.Prefix) error {
	a := s.Addr()
	switch {
	case a.Is4In6():
		return fmt.Errorf("invalid subnet %s: IPv4 subnets are written as such", s)
	case s.Bits() == 0:
		return fmt.Errorf("invalid subnet %s: it is the whole address space", s)
	case a.IsLoopback() || a.IsMulticast() || a.Is6() && a.IsLinkLocalUnicast():
		return fmt.Errorf("invalid subnet %s: loopback, multicast and IPv6 link-local addresses cannot be given to endpoints", s)
	case a.BitLen()-s.Bits() < 2:
		return fmt.Errorf("invalid subnet %s: it has no room for a gateway and an endpoint (at most /%d)", s, a.BitLen()-2)
	}
	return nil
}

// inSubnet checks that an address of the network's own can lie in the subnet.
func inSubnet(a netip.Addr, s netip.Prefix) error {
	switch {
	case a.Is4() != s.Addr().Is4():
		return fmt.Errorf("parent subnet is an %s block", family(s.Addr()))
	case !s.Masked().Contains(a):
		return fmt.Errorf("parent subnet %s doesn't contain this address", s)
	case a == s.Masked().Addr():
		return fmt.Errorf("it is the network address of %s", s)
	case a == broadcast(s):
		return fmt.Errorf("it is the broadcast address of %s", s)
	}
	return nil
}

// broadcast returns the last address of an IPv4 subnet, and no address for
// IPv6, which has no broadcast.
func broadcast(s netip.Prefix) netip.Addr {
	if !s.Addr().Is4() {
		return netip.Addr{}
	}
	b := s.Masked().Addr().As4()
	for i := s.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
