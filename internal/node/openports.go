package node

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"weft/internal/cnm"
)

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
	n.portOp.Lock()
	err := n.openAll(b, mappings)
	n.portOp.Unlock()
	if err != nil {
		return err
	}
	return n.save(b)
}

// openAll opens all ports or none. The caller holds portOp.
func (n *Node) openAll(b *box, mappings []cnm.PortMapping) error {
	o := n.newOpening(b)
	err := o.affordable(mappings)
	for i := 0; i < len(mappings) && err == nil; i++ {
		err = o.mapping(mappings[i])
	}
	if err != nil {
		for _, l := range o.got {
			l.Close()
		}
		return err
	}
	ports := make([]cnm.PublishedPort, 0, len(o.got))
	for at, l := range o.got {
		n.listeners[at] = l
		ports = append(ports, at.PublishedPort)
	}
	slices.SortFunc(ports, cnm.ComparePublished)
	n.mu.Lock()
	b.sb.Ports = ports
	n.mu.Unlock()
	return nil
}

// An opening is the work of openAll.
type opening struct {
	n    *Node
	b    *box
	ways [2]way // of IPv4 and IPv6
	held map[hostPort][]holder
	got  map[portOf]*listener
}

// A hostPort is a port of the host's, on some address.
type hostPort struct {
	proto string
	port  uint16
}

// A holder is who has a port on an address.
type holder struct {
	addr netip.Addr
	name string // the sandbox's
}

func (n *Node) newOpening(b *box) *opening {
	o := &opening{n: n, b: b, ways: [2]way{n.wayIn(b, false), n.wayIn(b, true)}, held: make(map[hostPort][]holder), got: make(map[portOf]*listener)}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.boxes {
		for _, p := range other.sb.Ports {
			o.hold(p, other.sb.Spec.Name)
		}
	}
	return o
}

func (o *opening) hold(p cnm.PublishedPort, name string) {
	at := hostPort{p.Proto, p.Host.Port()}
	o.held[at] = append(o.held[at], holder{p.Host.Addr(), name})
}

// affordable refuses what would leave the daemon too few descriptors for what goes by the
// ports, and for other sandboxes.
func (o *opening) affordable(mappings []cnm.PortMapping) error {
	count := 0
	for _, m := range mappings {
		count += len(o.n.hostAddrs(o.b, m))
	}
	if most := o.n.maxListeners; most > 0 && len(o.n.listeners)+count > most {
		return cnm.Errorf(cnm.Conflict, "%s publishes %d ports, which takes %d listeners; %d are open, and the daemon has %d at most, half of its open files: publish fewer, or raise its limit (ulimit -n)",
			o.b.sb.Spec.Name, len(mappings), count, len(o.n.listeners), most)
	}
	return nil
}

// mapping opens a port on every address it is to be had on.
func (o *opening) mapping(m cnm.PortMapping) error {
	n, addrs := o.n, o.n.hostAddrs(o.b, m)
	if len(addrs) == 0 {
		return o.worded(fmt.Errorf("none of its networks leads in from uplink %s", n.cfg.Uplink))
	}
	first, last := m.HostPort, max(m.HostPort, m.HostPortEnd)
	start := first
	if m.HostPort == 0 { // go on behind the last one that was given out
		first, last = ephemeral()
		start = max(first, min(n.nextPort, last))
	}
	var busy error
	span := int(last-first) + 1
	for i := range span {
		port := first + uint16((int(start-first)+i)%span)
		if who := o.holder(hostPort{m.Proto, port}, addrs); who != "" {
			busy = cmp.Or(busy, cnm.Errorf(cnm.Conflict, "Bind for %s failed: port is already allocated, by container %s", netip.AddrPortFrom(addrs[0], port), who))
			continue
		}
		err := o.listen(m, addrs, port)
		if m.HostPort == 0 && port < 65535 {
			n.nextPort = port + 1
		}
		if !errors.Is(err, syscall.EADDRINUSE) || span == 1 {
			return o.worded(err)
		}
		busy = cmp.Or(busy, err)
	}
	if m.HostPort == 0 {
		return o.worded(fmt.Errorf("no port from %d to %d is free for port %d/%s", first, last, m.Port, m.Proto))
	}
	return o.worded(busy)
}

// worded words a failure as Docker does.
func (o *opening) worded(err error) error {
	if err == nil {
		return nil
	}
	return cnm.Errorf(cnm.Conflict, "driver failed programming external connectivity on endpoint %s (%s): %w", o.b.sb.Spec.Name, cnm.ShortID(o.b.sb.ID), err)
}

// listen opens one port of the host on some addresses, all or none.
func (o *opening) listen(m cnm.PortMapping, addrs []netip.Addr, port uint16) error {
	var opened []*listener
	for _, a := range addrs {
		w := &o.ways[0]
		if a.Is6() {
			w = &o.ways[1]
		}
		l, err := w.open(cnm.PublishedPort{Proto: m.Proto, Port: m.Port, Host: netip.AddrPortFrom(a, port)})
		if err != nil {
			for _, l := range opened {
				l.Close()
			}
			return err
		}
		opened = append(opened, l)
	}
	for i, a := range addrs {
		p := cnm.PublishedPort{Proto: m.Proto, Port: m.Port, Host: netip.AddrPortFrom(a, port)}
		o.hold(p, o.b.sb.Spec.Name)
		o.got[portOf{o.b.sb.ID, p}] = opened[i]
	}
	return nil
}

// holder names the sandbox that has a port of the host's on one of some addresses, or on
// all.
func (o *opening) holder(at hostPort, addrs []netip.Addr) string {
	for _, h := range o.held[at] {
		if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return overlap(a, h.addr) }) {
			return h.name
		}
	}
	return ""
}

// overlap reports whether one port cannot be listened for on both addresses.
func overlap(a, b netip.Addr) bool {
	return a == b || a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
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

// ephemeral returns the first and the last port of those that are given out.
func ephemeral() (first, last uint16) {
	_, err := fmt.Sscanf(readKnob("/proc/sys/net/ipv4/ip_local_port_range"), "%d %d", &first, &last)
	if err != nil || first == 0 || first > last {
		return 32768, 60999 // the kernel's own default
	}
	return first, last
}

// maxListeners is how many listeners of published ports a daemon has at most: half of the
// files it may have open, so that there are descriptors for what goes by them, and for
// the sandboxes that publish nothing. 0 is no bound.
func maxListeners() (n int) {
	for line := range strings.Lines(readKnob("/proc/self/limits")) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			fmt.Sscan(rest, &n) // the soft limit, or "unlimited"
		}
	}
	return n / 2
}
