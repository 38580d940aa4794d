package lab

import (
	"net/netip"

	"weft/internal/cnm"
	"weft/internal/ipam"
)

// checkAddresses gives every bridge and overlay network its subnets and gateways,
// as Docker would: those asked for first, then the rest from its default pools, of
// which the first stays with the default network. Then it takes the ports'
// addresses.
func (r *reader) checkAddresses(l *Lab) {
	a, err := ipam.New("weft lab", nil)
	if err != nil {
		r.fail(1, "", "%v", err)
		return
	}
	pools := map[string][]*ipam.Pool{}
	for i := range l.Networks {
		if n := &l.Networks[i]; len(n.IPAM.Config) > 0 {
			pools[n.Name] = r.request(a, n, n.IPAM.Config)
		}
	}
	// Taken or not: the default network is not part of the lab.
	a.Request(ipam.Request{Owner: "bridge", Subnet: netip.MustParsePrefix("172.17.0.0/16")})
	for i := range l.Networks {
		n := &l.Networks[i]
		if len(n.IPAM.Config) > 0 || n.IPAM.Driver == cnm.IPAMNull {
			continue
		}
		var want []cnm.Pool
		if n.EnableIPv4 {
			want = append(want, cnm.Pool{})
		}
		if n.EnableIPv6 && n.Driver == cnm.DriverBridge {
			want = append(want, cnm.Pool{Subnet: netip.MustParsePrefix("::/64")})
		}
		pools[n.Name] = r.request(a, n, want)
	}
	for i := range l.Ports {
		r.reserve(l, &l.Ports[i], pools[l.Ports[i].Network])
	}
}

// request takes a network's pools.
func (r *reader) request(a *ipam.Allocator, n *Network, want []cnm.Pool) []*ipam.Pool {
	overlay := n.Driver == cnm.DriverOverlay
	if n.Driver != cnm.DriverBridge && !overlay {
		return nil
	}
	var from []ipam.Range
	var avoid []netip.Prefix
	if overlay {
		from, avoid = ipam.Overlays(), []netip.Prefix{cnm.OverlayIngress()}
	}
	var got []*ipam.Pool
	for _, p := range want {
		if overlay && p.IPRange.IsValid() && !p.Gateway.IsValid() {
			p.Gateway = p.Subnet.Addr().Next() // the range is a node's, the gateway everybody's
		}
		pool, err := a.Request(ipam.Request{Owner: n.Name, Subnet: p.Subnet, From: from, Range: p.IPRange, Gateway: p.Gateway, Aux: p.Aux, Avoid: avoid})
		if err != nil {
			r.fail(n.line, "networks."+n.Name, "%v", err)
			continue
		}
		got = append(got, pool)
		n.Resolved = append(n.Resolved, cnm.Pool{Subnet: pool.Subnet, IPRange: pool.Range, Gateway: pool.Gateway, Aux: pool.Aux})
	}
	return got
}

// reserve takes a port's addresses from the pools of its network. Link-local
// ones belong to no pool.
func (r *reader) reserve(l *Lab, p *Port, pools []*ipam.Pool) {
	for _, a := range p.Addrs {
		if len(pools) == 0 || a.Is6() && a.IsLinkLocalUnicast() {
			continue
		}
		where := "ports." + p.Name
		pool := containing(pools, a)
		if pool == nil {
			r.fail(p.line, where, "ip %s lies outside network %s, which has %s", a, p.Network, subnets(pools))
			continue
		}
		if a == pool.Gateway {
			r.fail(p.line, where, "ip %s is the gateway of network %s", a, p.Network)
		} else if err := pool.Reserve(a); err != nil {
			r.fail(p.line, where, "network %s: %v", p.Network, err)
		}
	}
}

func containing(pools []*ipam.Pool, a netip.Addr) *ipam.Pool {
	for _, p := range pools {
		if p.Subnet.Contains(a) {
			return p
		}
	}
	return nil
}

func subnets(pools []*ipam.Pool) string {
	s := ""
	for i, p := range pools {
		if i > 0 {
			s += ", "
		}
		s += p.Subnet.String()
	}
	return s
}

func isIPv4(a netip.Addr) bool { return a.Is4() }
