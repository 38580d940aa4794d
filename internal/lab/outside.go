package lab

import (
	"fmt"
	"net/netip"
	"slices"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/nat"
	"weft/vswitch"
)

// Theory of operation: the way out of a replay
//
// A node with addresses outside has what a daemon with a packet uplink has: one domain
// outside, whose port is the lab's outside port, a router and a table of connections. What
// leaves by that port is translated; what its capture holds comes from the outside. Of the
// node's networks those lead out that would on a node: bridge networks that are not
// internal, by the families that are masqueraded. Addresses of the lab's other networks
// never leave.
//
// Somebody outside is found as on a node, by asking: the questions are in the outside's
// capture, and the answers have to be. Who stands in the port's ip is known without. The
// router does not announce itself: it has been there before the captures begin.
//
// The router's clock is ticked for every second that passes, not only for those in which
// there is a record: it asks and gives up in between.

// restless is how many seconds after the last record a router may still do something: it
// forgets a next hop that is not used for 300 (vswitch/hops.go).
const restless = 310

// An outside is a node's way out.
type outside struct {
	domain *vswitch.Domain
	port   *vswitch.Port
	router *vswitch.Router
	table  *nat.Table
}

// addOutside puts a port on its node's outside.
func (b *bench) addOutside(l *Lab, p *Port, node *vnode) error {
	described := l.node(node.name)
	var own []netip.Addr
	for _, a := range described.UplinkAddrs {
		own = append(own, a.Addr())
	}
	o := &outside{}
	var err error
	o.domain, err = node.sw.AddDomain(vswitch.DomainConfig{Name: p.Name, Outside: true, GatewayMAC: described.UplinkMAC(), Gateways: own})
	if err != nil {
		return err
	}
	v := &vport{Port: p, node: node, cable: &cable{now: &b.now}}
	mtu := p.MTU
	if mtu == 0 {
		mtu = cnm.DefaultMTU
	}
	if o.port, err = node.sw.AddPort(vswitch.PortConfig{Name: p.Name, Domain: o.domain, MTU: mtu}, v.cable); err != nil {
		return err
	}
	v.port, node.outside = o.port, o
	b.ports = append(b.ports, v)
	return nil
}

// addRouter makes a node's router, once its networks are there.
func (b *bench) addRouter(l *Lab, node *vnode, seed uint64) (err error) {
	described, o := l.node(node.name), node.outside
	if described == nil || len(described.UplinkAddrs) == 0 {
		return nil
	}
	if o == nil {
		return &Error{l.Path, described.line, fmt.Sprintf("nodes.%s: uplink-addr needs a port of the node that is the outside: ports: {world: {outside: true}}", node.name)}
	}
	o.table = nat.New(nat.Config{Seed: seed})
	o.router, err = node.sw.NewRouter(vswitch.RouterConfig{Outside: o.domain, Port: o.port, Translator: o.table, Settled: true})
	if err != nil {
		return err
	}
	rules := nat.Rules{}
	for _, a := range described.UplinkAddrs {
		rules.Outside = append(rules.Outside, a.Addr())
	}
	inside := l.inside(node)
	for _, in := range inside {
		rules.Inside = append(rules.Inside, in.Prefix)
	}
	if rules.Published, err = l.published(node, described, inside); err != nil {
		return err
	}
	o.table.SetRules(&rules)
	for i := range l.Ports {
		if p := &l.Ports[i]; p.Outside && l.node(p.Node) == described {
			for _, a := range p.Addrs {
				if !o.router.SetNeighbour(a, p.MAC) {
					return &Error{l.Path, p.line, fmt.Sprintf("ports.%s: too many addresses", p.Name)}
				}
			}
		}
	}
	return o.router.Publish(inside, described.routes())
}

// inside lists the lab's subnets: those that lead out of the node with their domains, all
// others without.
func (l *Lab) inside(node *vnode) (all []vswitch.Inner) {
	for i := range l.Networks {
		n := &l.Networks[i]
		domain := node.domains[n.Name]
		var gateways []netip.Addr
		if s, err := settingsOf(n); err == nil {
			gateways = s.domain.Gateways
		}
		for _, pool := range n.Resolved {
			in := vswitch.Inner{Prefix: pool.Subnet.Masked()}
			if slices.Contains(gateways, pool.Gateway) && n.LeadsOut(pool.Subnet.Addr().Is4()) {
				in.Domain = domain
			}
			all = append(all, in)
		}
	}
	return all
}

// routes lists the ways outside: the networks of the node's addresses, and its gateways.
func (n *Node) routes() (all []vswitch.Route) {
	for _, a := range n.UplinkAddrs {
		if !a.IsSingleIP() {
			all = append(all, vswitch.Route{Dst: a.Masked()})
		}
	}
	for _, via := range n.UplinkGateways {
		any := netip.IPv6Unspecified()
		if via.Is4() {
			any = netip.IPv4Unspecified()
		}
		all = append(all, vswitch.Route{Dst: netip.PrefixFrom(any, 0), Via: via})
	}
	return all
}

// checkUplink refuses addresses that no uplink can have.
func (r *reader) checkUplink(n *Node, where string) {
	for i, p := range n.UplinkAddrs {
		if a := p.Addr(); !a.IsGlobalUnicast() || a.Is4In6() {
			r.fail(n.line, where, "uplink-addr %s: expected an address of one host, as 192.0.2.7/24", p)
		}
		if slices.ContainsFunc(n.UplinkAddrs[:i], func(q netip.Prefix) bool { return p.Addr() == q.Addr() }) {
			r.fail(n.line, where, "uplink-addr %s stands twice", p.Addr())
		}
	}
	if len(n.UplinkGateways) > 0 && len(n.UplinkAddrs) == 0 {
		r.fail(n.line, where, "uplink-gateway without uplink-addr: the node has no address outside")
	}
	for i, a := range n.UplinkGateways {
		if a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() {
			r.fail(n.line, where, "uplink-gateway %s: expected the address of a router outside", a)
		}
		if slices.ContainsFunc(n.UplinkGateways[:i], func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			r.fail(n.line, where, "uplink-gateway %s is the second of its family: expected at most one of each", a)
		}
	}
}

// checkOutside refuses an outside port of a node that has no address there, a second one,
// and neighbours that are the node itself.
func (r *reader) checkOutside(l *Lab, p *Port, ways map[string]string) {
	where := "ports." + p.Name
	n := l.node(p.Node)
	if n == nil || len(n.UplinkAddrs) == 0 {
		r.fail(p.line, where, "an outside port needs a node with an address there: nodes: {n1: {uplink-addr: 192.0.2.1/24}}")
		return
	}
	if other, twice := ways[n.Name]; twice {
		r.fail(p.line, where, "node %s has the outside port %s already", n.Name, other)
	}
	ways[n.Name] = p.Name
	for _, a := range p.Addrs {
		if slices.ContainsFunc(n.UplinkAddrs, func(own netip.Prefix) bool { return own.Addr() == a }) || p.MAC == n.UplinkMAC() {
			r.fail(p.line, where, "ip %s with mac %s is node %s itself: expected somebody outside", a, p.MAC, n.Name)
		}
	}
}

// tick lets the seconds after last pass, up to s; the virtual clock, which is in s, follows.
// last is negative when the clock begins.
func (b *bench) tick(last, s int64) {
	if last >= 0 && slices.ContainsFunc(b.nodes, func(n *vnode) bool { return n.outside != nil }) {
		now := b.now
		for t := last + 1; t < min(s, last+restless); t++ {
			b.now = t * 1e9
			b.tickNodes(uint32(t))
		}
		b.now = now
	}
	b.tickNodes(uint32(s))
}

func (b *bench) tickNodes(s uint32) {
	for _, n := range b.nodes {
		n.sw.Tick(s)
		if o := n.outside; o != nil {
			o.table.Tick(s)
			o.router.Tick(n.worker)
		}
	}
}

// somebody gives an outside port whose addresses have no MAC the one that the first stands
// for.
func (p *Port) somebody() {
	if p.MAC == (frame.MAC{}) && len(p.Addrs) > 0 {
		p.MAC = underlayMAC(p.Addrs[0])
	}
}
