package node

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"weft/internal/cnm"
	"weft/internal/uplink"
)

// Theory of operation: published ports
//
// A sandbox that starts gets its ports once its interfaces are on the switch, all of
// them or none: the sandbox does not start. What it got stands in Sandbox.Ports, and in
// the journal, while it runs: a port that the node chose stays the same. On no network at
// all it has none, and gets them when it is connected.
//
// The listeners belong to the way in (DESIGN, 5): the exit of the network that the
// sandbox has its default route by, towards the address it has there. That may change
// while it runs, an exit may end and be opened again, a new daemon has none at first:
// tendPorts opens the listeners that are missing or lead elsewhere (tendports.go).

// A publisher is an exit by which ports can be published.
type publisher interface {
	publish(uplink.Binding) (published, error)
}

// A published is a port of the host's that is listened on.
type published interface {
	Addr() netip.AddrPort
	Close() error
}

// A portOf is a published port of a sandbox, by id.
type portOf struct {
	sandbox string
	cnm.PublishedPort
}

// A listener is one that is open, and where it leads.
type listener struct {
	published
	by     publisher
	target netip.AddrPort
}

var errNoUplink = errors.New("this node has the uplink none, by which nothing comes in")

// openPorts gives a sandbox that has none the ports it publishes, and writes them down:
// a daemon that dies before the journal knows that the sandbox runs leaves them behind.
func (n *Node) openPorts(b *box) error {
	n.mu.Lock()
	mappings := b.sb.Spec.Mappings()
	done := len(b.sb.Ports) > 0 || len(b.sb.Endpoints) == 0
	n.mu.Unlock()
	if len(mappings) == 0 || done {
		return nil
	}
	if n.cfg.Uplink.Kind == UplinkNone {
		return cnm.Errorf(cnm.Conflict, "port %s cannot be published: %w", mappings[0], errNoUplink)
	}
	if err := n.openAll(b, mappings); err != nil {
		return err
	}
	return n.save(b)
}

// openAll opens all ports or none.
func (n *Node) openAll(b *box, mappings []cnm.PortMapping) error {
	n.portOp.Lock()
	defer n.portOp.Unlock()
	for _, m := range mappings {
		if err := n.openPort(b, m); err != nil {
			n.closePortsOf(b)
			return err
		}
	}
	return nil
}

// openPort opens a port on every address it is to be had on.
func (n *Node) openPort(b *box, m cnm.PortMapping) error {
	addrs := n.hostAddrs(b, m)
	if len(addrs) == 0 {
		return cnm.Errorf(cnm.Conflict, "port %s of %s cannot be published: none of its networks leads in from uplink %s", m, b.sb.Spec.Name, n.cfg.Uplink)
	}
	first, last := n.candidates(m)
	start := first
	if m.HostPort == 0 { // go on behind the last one that was given out
		start = max(first, min(n.nextPort, last))
	}
	var busy error
	for i := range last - first + 1 {
		port := first + (start-first+i)%(last-first+1)
		if holder := n.portHolder(m.Proto, addrs, uint16(port)); holder != "" {
			busy = cmp.Or(busy, cnm.Errorf(cnm.Conflict, "driver failed programming external connectivity on endpoint %s (%s): Bind for %s failed: port is already allocated, by container %s",
				b.sb.Spec.Name, cnm.ShortID(b.sb.ID), netip.AddrPortFrom(addrs[0], uint16(port)), holder))
			continue
		}
		err := n.listen(b, m, addrs, uint16(port))
		if m.HostPort == 0 {
			n.nextPort = port + 1
		}
		if !errors.Is(err, syscall.EADDRINUSE) || first == last {
			return bindError(b, err)
		}
		busy = err
	}
	if m.HostPort == 0 {
		return cnm.Errorf(cnm.Conflict, "no port from %d to %d is free for port %d/%s of %s", first, last, m.Port, m.Proto, b.sb.Spec.Name)
	}
	return bindError(b, busy)
}

// bindError words a failure to listen as Docker does.
func bindError(b *box, err error) error {
	var known *cnm.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return cnm.Errorf(cnm.Conflict, "driver failed programming external connectivity on endpoint %s (%s): %w", b.sb.Spec.Name, cnm.ShortID(b.sb.ID), err)
}

// listen opens one port of the host on some addresses, all or none. The sandbox has
// them then.
func (n *Node) listen(b *box, m cnm.PortMapping, addrs []netip.Addr, port uint16) error {
	ports := make([]cnm.PublishedPort, len(addrs))
	opened := make([]*listener, len(addrs))
	for i, a := range addrs {
		ports[i] = cnm.PublishedPort{Proto: m.Proto, Port: m.Port, Host: netip.AddrPortFrom(a, port)}
		l, err := n.open(b, ports[i])
		if err != nil {
			for _, l := range opened[:i] {
				l.Close()
			}
			return err
		}
		opened[i] = l
	}
	n.mu.Lock()
	b.sb.Ports = slices.Concat(b.sb.Ports, ports)
	slices.SortFunc(b.sb.Ports, cnm.ComparePublished)
	n.mu.Unlock()
	for i, p := range ports {
		n.listeners[portOf{b.sb.ID, p}] = opened[i]
	}
	return nil
}

// open opens a listener where the sandbox's way in is now.
func (n *Node) open(b *box, p cnm.PublishedPort) (*listener, error) {
	by, target, err := n.wayIn(b, p)
	if err != nil {
		return nil, err
	}
	got, err := by.publish(uplink.Binding{Proto: p.Proto, Listen: p.Host, Target: target})
	if err != nil {
		return nil, err
	}
	return &listener{got, by, target}, nil
}

// wayIn returns what a port is to be opened by, and where it is to lead.
func (n *Node) wayIn(b *box, p cnm.PublishedPort) (by publisher, target netip.AddrPort, err error) {
	n.mu.Lock()
	e, addr := n.entranceLocked(b, p.Host.Addr().Is6())
	if e == nil {
		name := b.sb.Spec.Name
		n.mu.Unlock()
		return nil, target, cnm.Errorf(cnm.Conflict, "port %d/%s of %s cannot be published: none of its networks leads in", p.Port, p.Proto, name)
	}
	network, id := e.Network, e.NetworkID
	back := e.Gateway4.IsValid() && addr.Is4() || e.Gateway6.IsValid() && addr.Is6()
	n.mu.Unlock()
	by = n.path.publisher(id)
	switch {
	case n.cfg.Uplink.Kind == UplinkNone:
		return nil, target, errNoUplink
	case n.cfg.Uplink.Kind == UplinkPacket && !back:
		return nil, target, cnm.Errorf(cnm.Conflict, "port %d/%s of %s cannot be published by uplink %s, which leaves clients their addresses: the sandbox has no default route to answer them by; connect it to a network that is not internal", p.Port, p.Proto, b.sb.Spec.Name, n.cfg.Uplink)
	case by == nil:
		return nil, target, fmt.Errorf("the way in by network %s is not open", network)
	}
	return by, netip.AddrPortFrom(addr, p.Port), nil
}

// entranceLocked chooses the endpoint of b, and its address, that a listener of a family
// leads to, among those whose interface exists: the one with the default route of that
// family, else of the other, if they lead out, else the one on weft_gwbridge that has
// none.
func (n *Node) entranceLocked(b *box, six bool) (*cnm.Endpoint, netip.Addr) {
	eps := slices.DeleteFunc(slices.Clone(b.sb.Endpoints), func(e cnm.Endpoint) bool { return b.devices[e.IfName] == nil })
	leads := func(i int, v4 bool) bool {
		if i < 0 {
			return false
		}
		nw := n.networks[eps[i].NetworkID]
		return nw != nil && nw.LeadsOut(v4)
	}
	gw4, gw6 := cnm.DefaultGateway(eps)
	by4, by6 := leads(gw4, true), leads(gw6, false)
	switch e := wayOut(eps); {
	case by6 && (six || !by4):
		return &eps[gw6], eps[gw6].IPv6.Addr()
	case by4:
		return &eps[gw4], eps[gw4].IPv4.Addr()
	case e != nil && e.IPv4.IsValid():
		return e, e.IPv4.Addr()
	}
	return nil, netip.Addr{}
}

// publisher returns what ports are published by on a network, nil if there is nothing.
func (d *dataPath) publisher(network string) publisher {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.packet != nil && len(d.out[network]) > 0 {
		return d.packet
	}
	if lp := d.ports[exitKey(network)]; lp != nil {
		p, _ := lp.exit.(publisher)
		return p
	}
	return nil
}

// hostAddrs are the addresses a port is to be had on: the one asked for, the network's,
// the node's own if one was given, or all the host has.
func (n *Node) hostAddrs(b *box, m cnm.PortMapping) []netip.Addr {
	if m.HostIP.IsValid() {
		return []netip.Addr{m.HostIP}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if e, _ := n.entranceLocked(b, false); e != nil {
		if nw := n.networks[e.NetworkID]; nw != nil && nw.options.HostBinding.IsValid() && !nw.options.HostBinding.IsUnspecified() {
			return []netip.Addr{nw.options.HostBinding}
		}
	}
	if n.cfg.Uplink.Kind == UplinkPacket {
		return n.packetAddrsLocked(b)
	}
	if a := n.cfg.AdvertiseAddr; a.IsValid() {
		return []netip.Addr{a}
	}
	addrs := []netip.Addr{netip.IPv4Unspecified()}
	if hosts := n.path.underlay.hosts.Load(); hosts != nil && slices.ContainsFunc(*hosts, netip.Addr.Is6) {
		addrs = append(addrs, netip.IPv6Unspecified())
	}
	return addrs
}

// candidates are the first and the last port of the host's that a mapping may get.
func (n *Node) candidates(m cnm.PortMapping) (first, last int) {
	if m.HostPort != 0 {
		return int(m.HostPort), int(max(m.HostPort, m.HostPortEnd))
	}
	first, last = 32768, 60999 // the kernel's own default
	if _, err := fmt.Sscanf(readKnob("/proc/sys/net/ipv4/ip_local_port_range"), "%d %d", &first, &last); err != nil || first < 1 || last > 65535 || first > last {
		return 32768, 60999
	}
	return first, last
}

// portHolder names the sandbox that has a port of the host on one of some addresses, or
// on all.
func (n *Node) portHolder(proto string, addrs []netip.Addr, port uint16) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range n.boxes {
		for _, p := range b.sb.Ports {
			if p.Proto == proto && p.Host.Port() == port && slices.ContainsFunc(addrs, func(a netip.Addr) bool { return overlap(a, p.Host.Addr()) }) {
				return b.sb.Spec.Name
			}
		}
	}
	return ""
}

// overlap reports whether one port cannot be listened for on both addresses.
func overlap(a, b netip.Addr) bool {
	return a == b || a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

// closePorts takes a sandbox's ports away. The caller holds b.op.
func (n *Node) closePorts(b *box) {
	n.portOp.Lock()
	defer n.portOp.Unlock()
	n.closePortsOf(b)
}

// closePortsOf is closePorts for who holds portOp.
func (n *Node) closePortsOf(b *box) {
	n.mu.Lock()
	ports := b.sb.Ports
	b.sb.Ports = nil
	n.mu.Unlock()
	for _, p := range ports {
		n.closePort(portOf{b.sb.ID, p})
	}
}

func (n *Node) closePort(p portOf) {
	delete(n.portFaults, p)
	if l := n.listeners[p]; l != nil {
		l.Close()
		delete(n.listeners, p)
	}
}
