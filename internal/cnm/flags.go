package cnm

import (
	"fmt"
	"net/netip"
	"strings"
)

// PoolsFromFlags sorts the repeatable flags of `network create` into pools: each
// range, gateway and auxiliary address (NAME=IP) belongs to the one subnet that
// contains it. The rules and texts are those of Docker's command line.
func PoolsFromFlags(subnets, ranges, gateways, aux []string) ([]Pool, error) {
	pools := make([]Pool, 0, len(subnets))
	for _, s := range subnets {
		p, err := ParsePool(s, "", "", nil)
		if err != nil {
			return nil, err
		}
		for _, q := range pools {
			if overlap(p.Subnet, q.Subnet) {
				return nil, Errorf(Invalid, "multiple overlapping subnet configuration is not supported")
			}
		}
		pools = append(pools, p)
	}
	for _, r := range ranges {
		v, err := ParsePool("", r, "", nil)
		if err != nil {
			return nil, err
		}
		p := poolOf(pools, v.IPRange.Addr())
		if p == nil {
			return nil, Errorf(Invalid, "no matching subnet for range %s", r)
		}
		if p.IPRange.IsValid() {
			return nil, Errorf(Invalid, "cannot configure multiple ranges (%s, %s) on the same subnet (%s)", r, p.IPRange, p.Subnet)
		}
		p.IPRange = v.IPRange
	}
	for _, g := range gateways {
		v, err := ParsePool("", "", g, nil)
		if err != nil {
			return nil, err
		}
		p := poolOf(pools, v.Gateway)
		if p == nil {
			return nil, Errorf(Invalid, "no matching subnet for gateway %s", g)
		}
		if p.Gateway.IsValid() {
			return nil, Errorf(Invalid, "cannot configure multiple gateways (%s, %s) for the same subnet (%s)", g, p.Gateway, p.Subnet)
		}
		p.Gateway = v.Gateway
	}
	return pools, auxFromFlags(pools, aux)
}

func auxFromFlags(pools []Pool, aux []string) error {
	for _, kv := range aux {
		name, ip, ok := strings.Cut(kv, "=")
		a, err := netip.ParseAddr(ip)
		if !ok || name == "" || err != nil {
			return Errorf(Invalid, "invalid auxiliary address %q: expected NAME=IP", kv)
		}
		p := poolOf(pools, a)
		if p == nil {
			return Errorf(Invalid, "no matching subnet for aux-address %s", ip)
		}
		if _, twice := p.Aux[name]; twice {
			return Errorf(Invalid, "auxiliary address %s is given twice", name)
		}
		if p.Aux == nil {
			p.Aux = map[string]netip.Addr{}
		}
		p.Aux[name] = a
	}
	return nil
}

// poolOf returns the pool whose subnet contains a, or nil.
func poolOf(pools []Pool, a netip.Addr) *Pool {
	for i := range pools {
		if pools[i].Subnet.Contains(a) {
			return &pools[i]
		}
	}
	return nil
}

// ParseNetworkFlag reads the value of --network: a name alone, or Docker's long
// form name=NET,ip=A,ip6=A,alias=A,mac-address=M,link-local-ip=A,driver-opt=K=V,
// gw-priority=N. weft also takes the name first, NET,ip=..., and mac for
// mac-address.
func ParseNetworkFlag(s string) (NetworkJoin, error) {
	var j NetworkJoin
	for i, field := range strings.Split(s, ",") {
		key, value, ok := strings.Cut(field, "=")
		if !ok && i == 0 {
			key, value = "name", field
		} else if !ok {
			return j, Errorf(Invalid, "invalid --network %q: invalid field %s: expected KEY=VALUE", s, field)
		}
		if err := j.setField(strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)); err != nil {
			return j, Errorf(Invalid, "invalid --network %q: %w", s, err)
		}
	}
	if j.Network == "" {
		return j, Errorf(Invalid, "invalid --network %q: network name/id is not specified", s)
	}
	return j, nil
}

func (j *NetworkJoin) setField(key, value string) (err error) {
	c := &j.Config
	switch key {
	case "name":
		j.Network = value
	case "ip":
		c.IPv4, err = parseIP(value, true)
	case "ip6":
		c.IPv6, err = parseIP(value, false)
	case "link-local-ip":
		var a netip.Addr
		a, err = netip.ParseAddr(value)
		c.LinkLocal = append(c.LinkLocal, a)
	case "alias":
		c.Aliases = append(c.Aliases, value)
	case "mac", "mac-address":
		err = c.MAC.UnmarshalText([]byte(value))
	case "gw-priority":
		_, err = fmt.Sscanf(value+";", "%d;", &c.GwPriority)
		if err != nil {
			err = fmt.Errorf("invalid gw-priority %q: expected a number", value)
		}
	case "driver-opt":
		k, v, _ := strings.Cut(value, "=")
		if c.DriverOpts == nil {
			c.DriverOpts = map[string]string{}
		}
		c.DriverOpts[k] = v
	default:
		return fmt.Errorf("invalid field key %s", key)
	}
	return err
}

func parseIP(s string, v4 bool) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Is4() != v4 {
		if v4 {
			return a, fmt.Errorf("invalid IPv4 address: %s", s)
		}
		return a, fmt.Errorf("invalid IPv6 address: %s", s)
	}
	return a, nil
}
