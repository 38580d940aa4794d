package lab

import (
	"bytes"
	"fmt"
	"net/netip"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/vswitch"
	"weft/vxlan"
)

// tunnelHorizon is the split-horizon group of all tunnels, as on a node.
const tunnelHorizon = 1

// A tunnel is what a switch writes to for one network of one remote VTEP.
type tunnel struct {
	under   *underlay
	name    string
	network string
	from    netip.AddrPort
	peer    netip.AddrPort
	vni     uint32
	single  bool // everything leaves from the listening port
	port    *vswitch.Port
}

// overlayOn refuses an overlay that this version cannot run, or not on the node
// that a port is on.
func (l *Lab) overlayOn(n *Network, p *Port) error {
	o, err := cnm.ParseOverlayOptions(n.Options)
	if err == nil && o.Encrypted {
		err = fmt.Errorf("a replay has no keys, and what it would send in clear is not what an encrypted network sends: leave option %s out", cnm.OptEncrypted)
	}
	var ok cnm.Network
	if err == nil {
		ok, err = cnm.ValidateNetwork(n.Network)
	}
	if err == nil && ok.Scope == cnm.ScopeSwarm {
		err = fmt.Errorf("an overlay network without peers needs a swarm, and a replay has none: name the other nodes in option %s and the network in %s", cnm.OptPeers, cnm.OptVNI)
	}
	if err != nil {
		return &Error{l.Path, n.line, fmt.Sprintf("networks.%s: %v", n.Name, err)}
	}
	var u underlay
	if node := l.node(p.Node); node != nil {
		u.local = node.vtep()
	}
	if len(u.local) == 0 {
		return &Error{l.Path, p.line, fmt.Sprintf("ports.%s: network %s is an overlay, which needs a node with an address: nodes: {n1: {advertise-addr: 192.0.2.1}}", p.Name, n.Name)}
	}
	for _, peer := range o.Peers {
		if !u.localFor(peer.Addr()).IsValid() {
			return &Error{l.Path, p.line, fmt.Sprintf("ports.%s: network %s has peer %s, and the node no address of that family: give it one more in data-path-addr", p.Name, n.Name, peer.Addr())}
		}
	}
	return nil
}

// tunnels returns the largest number of tunnels a node may have.
func tunnels(l *Lab) (n int) {
	for i := range l.Networks {
		if l.Networks[i].Driver == cnm.DriverOverlay {
			o, _ := cnm.ParseOverlayOptions(l.Networks[i].Options)
			n += len(o.Peers)
		}
	}
	return n
}

// addTunnels makes the tunnels of a node: of the networks in order of their names,
// to the peers in the order of the list.
func (b *bench) addTunnels(l *Lab, node *vnode) error {
	u := node.underlay
	if u == nil {
		return nil
	}
	var own []netip.Addr
	for _, at := range u.local {
		own = append(own, at.Addr())
	}
	var routes []vxlan.Route
	for i := range l.Networks {
		n := &l.Networks[i]
		domain := node.domains[n.Name]
		if n.Driver != cnm.DriverOverlay || domain == nil {
			continue
		}
		o, err := cnm.ParseOverlayOptions(n.Options)
		if err != nil {
			return err
		}
		for _, peer := range o.Remotes(u.local[0].Port(), own) {
			t := &tunnel{under: u, network: n.Name, name: n.Name + "@" + peer.String(), from: u.localFor(peer.Addr()), peer: peer, vni: o.VNIs[0]}
			t.port, err = node.sw.AddPort(vswitch.PortConfig{
				Name: t.name, Domain: domain, MTU: vxlan.InnerMTU(u.mtu, peer.Addr().Is6()), Horizon: tunnelHorizon, MaxMACs: vswitch.DefaultDomainMACs,
			}, t)
			if err != nil {
				return fmt.Errorf("tunnel %s of node %s: %w", t.name, node.name, err)
			}
			u.tunnels = append(u.tunnels, t)
			routes = append(routes, vxlan.Route{Peer: peer, VNI: t.vni, Port: t.port.Index()})
		}
	}
	u.table = vxlan.NewTable(routes, own...)
	for _, t := range u.tunnels {
		t.single = u.table.Shared(t.peer.Addr())
	}
	return nil
}

// Caps is none: a datagram carries a wire frame.
func (t *tunnel) Caps() frame.Caps { return 0 }

// ReadBatch returns nothing: what comes from a VTEP comes by the underlay.
func (t *tunnel) ReadBatch(*frame.Batch) (int, error) { return 0, nil }

// WriteBatch sends frames to the peer.
func (t *tunnel) WriteBatch(fs []*frame.Frame) (int, error) {
	for i, f := range fs {
		if err := t.send(f); err != nil {
			return i, err
		}
	}
	return len(fs), nil
}

// send makes a frame of the underlay of f. What the underlay does not carry is
// refused as a kernel refuses it, and so is a peer that nothing leads to.
func (t *tunnel) send(f *frame.Frame) error {
	u := t.under
	if outerLen(t.peer.Addr().Is6(), f.Len()) > u.mtu {
		return vxlan.ErrTooBig
	}
	to := u.bench.vteps[t.peer]
	if u.wire == nil && to == nil {
		return vxlan.ErrFailed
	}
	from := t.from
	if !t.single {
		from = netip.AddrPortFrom(from.Addr(), vxlan.SourcePort(f))
	}
	u.buf = appendDatagram(u.buf[:0], from, t.peer, t.vni, f.Bytes())
	u.wire.show(u.buf)
	if to != nil {
		u.direct.out.add(len(u.buf))
		to.wire.show(u.buf)
		u.bench.flights = append(u.bench.flights, flight{to, bytes.Clone(u.buf)})
	}
	return nil
}
