package node

import (
	"net/netip"
	"slices"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/internal/uplink"
	"weft/nat"
)

// A packetPort is a published port of the packet uplink: a rule of its table.
type packetPort struct {
	uplink *packetUplink
	rule   nat.Published
}

// publish makes an endpoint's port one of the uplink's own addresses, or of all of a family.
func (p *packetUplink) publish(b uplink.Binding) (published, error) {
	if a := b.Listen.Addr(); !a.IsUnspecified() && !slices.Contains(p.cfg.packetConfig().Addrs, a) {
		return nil, cnm.Errorf(cnm.Conflict, "port %s cannot be published: uplink %s has the addresses %v", b.Listen, p.cfg, p.cfg.packetConfig().Addrs)
	}
	if b.Listen.Addr().Is4() != b.Target.Addr().Is4() {
		return nil, cnm.Errorf(cnm.Conflict, "port %s cannot be published: it would lead to %s, and uplink %s does not lead from one family to the other", b.Listen, b.Target, p.cfg)
	}
	rule := nat.Published{Proto: frame.ProtoTCP, Outside: b.Listen, Inside: b.Target}
	if b.Proto == "udp" {
		rule.Proto = frame.ProtoUDP
	}
	d := p.path
	d.mu.Lock()
	defer d.mu.Unlock()
	p.ports = append(p.ports, rule)
	d.setRules(d.inners())
	return &packetPort{p, rule}, nil
}

func (l *packetPort) Addr() netip.AddrPort { return l.rule.Outside }

// Close takes the port away, and ends what came in by it.
func (l *packetPort) Close() error {
	d := l.uplink.path
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(l.uplink.ports, l.rule); i >= 0 {
		l.uplink.ports = slices.Delete(l.uplink.ports, i, i+1)
	}
	d.setRules(d.inners())
	return nil
}

// packetAddrsLocked are the addresses that a port is to be had on by a packet uplink if none
// is asked for: all of it, of the families in which the sandbox can be reached.
func (n *Node) packetAddrsLocked(b *box) (addrs []netip.Addr) {
	for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		_, to := n.entranceLocked(b, any.Is6())
		has := slices.ContainsFunc(n.cfg.Uplink.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() == any.Is4() })
		if has && to.IsValid() && to.Is4() == any.Is4() {
			addrs = append(addrs, any)
		}
	}
	return addrs
}
