package lab

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/nat"
	"weft/vswitch"
)

// maxPublished bounds the published ports of a lab.
const maxPublished = 1 << 17

// The ports outside that are chosen from where none is named: the kernel's own default.
const firstChosen, lastChosen = 32768, 60999

// A publisher gives out the ports of one node's outside.
type publisher struct {
	own    []netip.Addr
	inside []vswitch.Inner
	rules  []nat.Published
	holder map[nat.Published]string // by rules without the inside
}

// published lists the published ports of a node, in order of the names of who has them.
func (l *Lab) published(node *vnode, described *Node, inside []vswitch.Inner) ([]nat.Published, error) {
	s := &publisher{inside: inside, holder: map[nat.Published]string{}}
	for _, a := range described.UplinkAddrs {
		s.own = append(s.own, a.Addr())
	}
	for i := range l.Ports {
		p := &l.Ports[i]
		if len(p.Publish) == 0 || l.node(p.Node) != described {
			continue
		}
		var o cnm.BridgeOptions
		if n := l.network(p.Network); n.Driver == cnm.DriverBridge {
			o, _ = cnm.ParseBridgeOptions(n.Options) // checked when the file was read
		}
		for _, m := range p.Publish {
			if err := s.publish(p, node.domains[p.Network], m, o.HostBinding); err != nil {
				return nil, &Error{l.Path, p.line, fmt.Sprintf("ports.%s: port %s cannot be published: %v", p.Name, m, err)}
			}
		}
	}
	return s.rules, nil
}

// publish makes a port one of the outside's, on all the addresses that it is to be had on.
func (s *publisher) publish(p *Port, domain *vswitch.Domain, m cnm.PortMapping, binding netip.Addr) error {
	on, err := s.addrs(p, domain, m, binding)
	if err != nil {
		return err
	}
	first, last := m.HostPort, max(m.HostPort, m.HostPortEnd)
	if first == 0 {
		first, last = firstChosen, lastChosen
	}
	proto := uint8(frame.ProtoTCP)
	if m.Proto == cnm.ProtoUDP {
		proto = frame.ProtoUDP
	}
	var held string
	for port := int(first); port <= int(last); port++ {
		holder := ""
		for _, a := range on {
			holder = cmp.Or(holder, s.holderOf(proto, netip.AddrPortFrom(a, uint16(port))))
		}
		if holder != "" {
			held = cmp.Or(held, holder)
			continue
		}
		for _, a := range on {
			rule := nat.Published{Proto: proto, Outside: netip.AddrPortFrom(a, uint16(port))}
			s.holder[rule] = p.Name
			rule.Inside = netip.AddrPortFrom(s.target(p, domain, a.Is4()), m.Port)
			s.rules = append(s.rules, rule)
		}
		return nil
	}
	return fmt.Errorf("it is already that of port %s", held)
}

// addrs are the addresses outside that a port is to be had on: the one that is asked for, by
// itself or by its network, or all of the families that both ends have.
func (s *publisher) addrs(p *Port, domain *vswitch.Domain, m cnm.PortMapping, binding netip.Addr) (on []netip.Addr, err error) {
	asked := m.HostIP
	if !asked.IsValid() && binding.IsValid() && !binding.IsUnspecified() {
		asked = binding
	}
	if !asked.IsValid() {
		for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			has := slices.ContainsFunc(s.own, func(a netip.Addr) bool { return a.Is4() == any.Is4() })
			if has && s.target(p, domain, any.Is4()).IsValid() {
				on = append(on, any)
			}
		}
		if len(on) == 0 {
			return nil, fmt.Errorf("network %s leads in for none of its addresses, of which there should be one in ip", p.Network)
		}
		return on, nil
	}
	if !asked.IsUnspecified() && !slices.Contains(s.own, asked) {
		return nil, fmt.Errorf("the node has the addresses %v outside", s.own)
	}
	if !s.target(p, domain, asked.Is4()).IsValid() {
		return nil, fmt.Errorf("the port has no address of the family of %s by which network %s leads in", asked, p.Network)
	}
	return []netip.Addr{asked}, nil
}

// target returns the port's first address of a family that its network leads in for.
func (s *publisher) target(p *Port, domain *vswitch.Domain, v4 bool) netip.Addr {
	for _, a := range p.Addrs {
		leads := func(in vswitch.Inner) bool { return domain != nil && in.Domain == domain && in.Prefix.Contains(a) }
		if a.Is4() == v4 && slices.ContainsFunc(s.inside, leads) {
			return a
		}
	}
	return netip.Addr{}
}

// holderOf names the port that has a port outside, on an address or on all of its family.
func (s *publisher) holderOf(proto uint8, at netip.AddrPort) string {
	on := []netip.Addr{at.Addr()}
	if at.Addr().IsUnspecified() {
		on = append(on, s.own...)
	} else if at.Addr().Is4() {
		on = append(on, netip.IPv4Unspecified())
	} else {
		on = append(on, netip.IPv6Unspecified())
	}
	for _, a := range on {
		if a.Is4() != at.Addr().Is4() {
			continue
		}
		if name := s.holder[nat.Published{Proto: proto, Outside: netip.AddrPortFrom(a, at.Port())}]; name != "" {
			return name
		}
	}
	return ""
}
