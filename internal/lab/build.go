package lab

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"weft/internal/capture"
	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/vswitch"
)

// A cable is the in-memory queue of one port. It holds at most one frame, for a
// replay takes one frame at a time all the way: so every frame that leaves is
// stamped with the time of the one that caused it.
type cable struct {
	now     *int64 // the virtual clock, nanoseconds
	pending []byte
	full    bool
	out     *capture.PcapWriter
}

// ReadBatch hands out the pending frame.
func (c *cable) ReadBatch(b *frame.Batch) (int, error) {
	if !c.full {
		return 0, nil
	}
	c.full = false
	if b.Append(c.pending) == nil {
		return 0, fmt.Errorf("frame of %d bytes does not fit a batch", len(c.pending))
	}
	return 1, nil
}

// WriteBatch writes frames to the port's capture. Its errors stay with the
// writer: the replay asks it at the end.
func (c *cable) WriteBatch(fs []*frame.Frame) (int, error) {
	for i, f := range fs {
		if err := c.out.Write(*c.now, f.Bytes(), f.Len()); err != nil {
			return i, err
		}
	}
	return len(fs), nil
}

// Caps is none: a capture holds wire frames.
func (c *cable) Caps() frame.Caps { return 0 }

// A bench is the lab as switches.
type bench struct {
	nodes []*vnode
	ports []*vport // in order of names
	now   int64    // virtual nanoseconds since 1970 UTC
	// The nodes that have a VTEP, and what is on its way from one to another.
	vteps   map[netip.AddrPort]*underlay
	flights []flight
}

// A vnode is one node's switch.
type vnode struct {
	name    string
	sw      *vswitch.Switch
	worker  *vswitch.Worker
	domains map[string]*vswitch.Domain
	// underlay is nil for a node without an address, outside for one without a way out.
	underlay *underlay
	outside  *outside
}

// A vport is a bare port with its files and what the switch does not count.
type vport struct {
	*Port
	node  *vnode
	port  *vswitch.Port // nil: a wire
	cable *cable
	input *capture.Reader // nil: nothing is fed in
	file  *os.File
	// head is the next record when ready.
	head  capture.Packet
	ready bool

	records, snapped, oversized uint64
	wired                       traffic // of a wire
}

// build makes the switches of a lab.
func build(l *Lab, seed uint64) (*bench, error) {
	if err := replayable(l); err != nil {
		return nil, err
	}
	b := &bench{vteps: map[netip.AddrPort]*underlay{}}
	names := []string{""}
	if len(l.Nodes) > 0 {
		names = names[:0]
		for _, n := range l.Nodes {
			names = append(names, n.Name)
		}
	}
	for _, name := range names {
		n := &vnode{name: name, sw: vswitch.New(vswitch.Config{Workers: 1, MaxPorts: max(len(l.Ports)+tunnels(l), 1), Seed: seed}), domains: map[string]*vswitch.Domain{}}
		var err error
		if n.worker, err = n.sw.NewWorker(); err != nil {
			return nil, err
		}
		b.addUnderlay(l, n)
		b.nodes = append(b.nodes, n)
	}
	for i := range l.Ports {
		if err := b.addPort(l, &l.Ports[i]); err != nil {
			return nil, err
		}
	}
	for _, n := range b.nodes {
		if err := b.addTunnels(l, n); err != nil {
			return nil, err
		}
		if err := b.addRouter(l, n, seed); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// replayable refuses by name what a replay cannot do yet.
func replayable(l *Lab) error {
	if len(l.Ports) == 0 {
		return fmt.Errorf("%s: no ports: a replay needs bare ports to feed (ports: {a: {network: ...}})", l.Path)
	}
	for _, k := range l.Links {
		if slices.ContainsFunc(l.Ports, func(p Port) bool { return p.Name == k.Name }) {
			return &Error{l.Path, k.line, fmt.Sprintf("links.%s: impairments are not supported in a replay yet", k.Name)}
		}
	}
	for i := range l.Ports {
		p := &l.Ports[i]
		n := l.network(p.Network)
		switch {
		case p.Underlay, p.Outside, n.Driver == cnm.DriverBridge:
		case n.Driver == cnm.DriverOverlay:
			if err := l.overlayOn(n, p); err != nil {
				return err
			}
		default:
			return &Error{l.Path, p.line, fmt.Sprintf("ports.%s: network %s has driver %s, which is not supported in a replay yet (available: bridge, overlay)", p.Name, n.Name, n.Driver)}
		}
	}
	return nil
}

// node returns a node by name, or the only one where a name was left out.
func (l *Lab) node(name string) *Node {
	for i := range l.Nodes {
		if n := &l.Nodes[i]; n.Name == name || name == "" && len(l.Nodes) == 1 {
			return n
		}
	}
	return nil
}

// network returns a network by name; check made sure that a port's exists.
func (l *Lab) network(name string) *Network {
	for i := range l.Networks {
		if l.Networks[i].Name == name {
			return &l.Networks[i]
		}
	}
	return nil
}

func (b *bench) addPort(l *Lab, p *Port) error {
	node := b.nodes[0]
	for _, n := range b.nodes {
		if n.name == p.Node {
			node = n
		}
	}
	if p.Underlay {
		b.addWire(p, node)
		return nil
	}
	if p.Outside {
		return b.addOutside(l, p, node)
	}
	n := l.network(p.Network)
	s, err := settingsOf(n)
	if err != nil {
		return err
	}
	domain := node.domains[n.Name]
	if domain == nil {
		if domain, err = node.sw.AddDomain(s.domain); err != nil {
			return err
		}
		node.domains[n.Name] = domain
	}
	v := &vport{Port: p, node: node, cable: &cable{now: &b.now}}
	v.port, err = node.sw.AddPort(vswitch.PortConfig{
		Name: p.Name, Domain: domain, MAC: p.MAC, Addrs: p.Addrs, MaxMACs: p.MACLimit, VLANs: p.VLANs, MTU: cmp.Or(p.MTU, s.mtu),
		AllowRA: p.AllowRA, AllowDHCP: p.AllowDHCP, Isolated: s.isolated,
	}, v.cable)
	if err != nil {
		return err
	}
	for _, a := range p.Addrs {
		if err := domain.Neighbours().SetStatic(a, p.MAC); err != nil {
			return fmt.Errorf("port %s: %w", p.Name, err)
		}
	}
	b.ports = append(b.ports, v)
	return nil
}

// A settings is what a network's options make of its domain and ports.
type settings struct {
	domain   vswitch.DomainConfig
	isolated bool
	mtu      int // 0: a replay lets frames of any size through
}

// settingsOf derives them from a network, as a node does but for one thing: a node
// snoops multicast on overlays, and asks who listens. A replay asks nothing that is
// not in its captures, and floods multicast.
func settingsOf(n *Network) (s settings, err error) {
	if n.Driver == cnm.DriverOverlay {
		o, err := cnm.ParseOverlayOptions(n.Options)
		s.domain, s.mtu = domainConfig(n, cnm.BridgeOptions{}), o.MTU
		s.domain.QuietTunnels = !o.Multicast
		return s, err
	}
	o, err := cnm.ParseBridgeOptions(n.Options)
	s.domain, s.mtu, s.isolated = domainConfig(n, o), mtuOf(n, o), !o.ICC
	return s, err
}

// domainConfig derives a domain from a network, as a node does.
func domainConfig(n *Network, o cnm.BridgeOptions) vswitch.DomainConfig {
	c := vswitch.DomainConfig{Name: n.Name}
	for _, p := range n.Resolved {
		switch g := p.Gateway; {
		case !g.IsValid(), g.Is4() && (o.InhibitIPv4 || o.Mode4 == cnm.ModeIsolated), g.Is6() && o.Mode6 == cnm.ModeIsolated:
		default:
			c.Gateways = append(c.Gateways, g)
		}
	}
	if i := slices.IndexFunc(c.Gateways, isIPv4); i >= 0 {
		c.GatewayMAC = cnm.MACFromIPv4(c.Gateways[i])
	} else if len(c.Gateways) > 0 {
		c.GatewayMAC = macFromIPv6(c.Gateways[0])
	}
	return c
}

// macFromIPv6 derives the MAC of a gateway that has no IPv4 address, as a node
// does: locally administered, from a hash of the address.
func macFromIPv6(a netip.Addr) frame.MAC {
	b := a.As16()
	sum := sha256.Sum256(b[:])
	return frame.MAC{0x02, 0x42, sum[0], sum[1], sum[2], sum[3]}
}

// mtuOf is the network's MTU where the file gives one; otherwise a replay lets
// frames of any size through.
func mtuOf(n *Network, o cnm.BridgeOptions) int {
	for _, key := range []string{"mtu", "com.docker.network.driver.mtu"} {
		if _, given := n.Options[key]; given {
			return o.MTU
		}
	}
	return 0
}
