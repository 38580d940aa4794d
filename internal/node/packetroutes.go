package node

import (
	"cmp"
	"net/netip"
	"slices"

	"weft/internal/cnm"
	"weft/internal/uplink"
	"weft/nat"
	"weft/vswitch"
)

// routed notes which subnets of which networks a router leads out: of those that exits would
// lead out, the families that are masqueraded.
func (p plan) routed(networks []cnm.Network) {
	for i := range networks {
		nw := &networks[i]
		dom, ok := p[nw.ID]
		if !ok || len(dom.ports) == 0 {
			continue
		}
		o, _ := cnm.ParseBridgeOptions(nw.Options) // checked when the network was made
		addrs := exitAddrs(nw, o)
		for _, pool := range nw.IPAM.Config {
			if pool.Subnet.IsValid() && slices.ContainsFunc(addrs, pool.Subnet.Contains) {
				dom.out = append(dom.out, pool.Subnet.Masked())
			}
		}
		p[nw.ID] = dom
	}
}

// leads notes what the plan published last leads out. The caller holds d.mu.
func (d *dataPath) leads(p plan) {
	d.out = make(map[string][]netip.Prefix)
	for id, dom := range p {
		if len(dom.out) > 0 {
			d.out[id] = dom.out
		}
	}
}

// inners lists the addresses inside: subnets of networks that lead out with their domains,
// all others of weft's without, in order. Of two of the same prefix the one that leads out
// counts. The caller holds d.mu.
func (d *dataPath) inners() (all []vswitch.Inner) {
	seen := map[netip.Prefix]bool{}
	add := func(p netip.Prefix, dom *vswitch.Domain) {
		if !seen[p] {
			seen[p] = true
			all = append(all, vswitch.Inner{Prefix: p, Domain: dom})
		}
	}
	for id, subnets := range d.out {
		if dom := d.domains[id]; dom != nil { // else adding it failed and said so
			for _, p := range subnets {
				add(p, dom)
			}
		}
	}
	for _, p := range d.inside() {
		add(p, nil)
	}
	slices.SortFunc(all, func(a, b vswitch.Inner) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return all
}

// ways lists the routes outside: the networks of the uplink's addresses, the gateways it was
// given, and of the kernel's routes by the interface those that these do not replace.
func (p *packetUplink) ways() (all []vswitch.Route, err error) {
	seen := map[netip.Prefix]bool{}
	add := func(dst netip.Prefix, via netip.Addr) {
		if dst = dst.Masked(); !seen[dst] {
			seen[dst] = true
			all = append(all, vswitch.Route{Dst: dst, Via: via})
		}
	}
	for _, a := range p.cfg.Addrs {
		if !a.IsSingleIP() {
			add(a, netip.Addr{})
		}
	}
	for _, via := range p.cfg.Gateways {
		all4, all6 := netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		if via.Is4() {
			add(all4, via)
		} else {
			add(all6, via)
		}
	}
	routes, err := uplink.Routes(p.cfg.Interface)
	for _, r := range routes {
		if !r.Dst.Addr().IsLinkLocalUnicast() && !r.Dst.Addr().IsMulticast() {
			add(r.Dst, r.Via)
		}
	}
	return all, err
}

// setRules gives the table what it goes by, where that has changed. The caller holds d.mu.
func (d *dataPath) setRules(inside []vswitch.Inner) {
	p, was := d.packet, &d.packet.rules
	rules := nat.Rules{Outside: p.cfg.packetConfig().Addrs, Published: slices.Clone(p.ports)}
	for _, in := range inside {
		rules.Inside = append(rules.Inside, in.Prefix)
	}
	for _, a := range d.reached() {
		if a.IsValid() {
			rules.Reached = append(rules.Reached, a)
		}
	}
	slices.SortFunc(rules.Reached, netip.Addr.Compare)
	if len(was.Outside) > 0 && slices.Equal(was.Inside, rules.Inside) && slices.Equal(was.Published, rules.Published) && slices.Equal(was.Reached, rules.Reached) {
		return
	}
	p.rules = rules
	p.table.SetRules(&rules)
}
