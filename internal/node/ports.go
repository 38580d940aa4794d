package node

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

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

// A way is how listeners of one family reach a sandbox: what they are opened by, and the
// address they lead to.
type way struct {
	by   publisher
	addr netip.Addr
	err  error // why there is none
}

// wayIn returns a sandbox's way for listeners of a family, as it is now.
func (n *Node) wayIn(b *box, six bool) way {
	if n.cfg.Uplink.Kind == UplinkNone {
		return way{err: errNoUplink}
	}
	n.mu.Lock()
	e, addr := n.entranceLocked(b, six)
	n.mu.Unlock()
	if e == nil {
		return way{err: cnm.Errorf(cnm.Conflict, "no network of %s leads in", b.sb.Spec.Name)}
	}
	back := e.Gateway4.IsValid() && addr.Is4() || e.Gateway6.IsValid() && addr.Is6()
	by := n.path.publisher(e.NetworkID)
	switch {
	case n.cfg.Uplink.Kind == UplinkPacket && !back:
		return way{err: cnm.Errorf(cnm.Conflict, "uplink %s leaves clients their addresses, and %s has no default route to answer them by: connect it to a network that is not internal", n.cfg.Uplink, b.sb.Spec.Name)}
	case by == nil:
		return way{err: fmt.Errorf("the way in by network %s is not open", e.Network)}
	}
	return way{by: by, addr: addr}
}

// open opens a listener.
func (w way) open(p cnm.PublishedPort) (*listener, error) {
	if w.err != nil {
		return nil, w.err
	}
	target := netip.AddrPortFrom(w.addr, p.Port)
	got, err := w.by.publish(uplink.Binding{Proto: p.Proto, Listen: p.Host, Target: target})
	if err != nil {
		return nil, err
	}
	return &listener{got, w.by, target}, nil
}

// leads reports whether a listener is one that the way would open now.
func (w way) leads(l *listener) bool {
	return l != nil && w.err == nil && l.by == w.by && l.target.Addr() == w.addr
}

// entranceLocked chooses the endpoint of b, and its address, that listeners of a family
// lead to, among those whose interface exists: the one with the default route of that
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
