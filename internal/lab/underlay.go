package lab

import (
	"fmt"
	"net/netip"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/vxlan"
)

// Theory of operation: the underlay of a replay
//
// A node with an address has a VTEP. For every peer of every overlay that a port
// of the node is on it has a tunnel: a port of the switch, as a running node makes
// it. What leaves by a tunnel becomes a whole frame of the underlay; it is written
// to the capture of the node's wire, if it has one, and if the peer is a node of
// the lab, it is put on that node's wire too and into the list of what is in
// flight. Once the turn that made it is over, what is in flight is delivered in
// the order it was sent, in the same instant of the virtual clock. That ends: a
// frame that came through a tunnel never leaves by one.
//
// What a wire's input holds and what other nodes send is received alike: parsed,
// its VTEP and VNI looked up, and given to the switch by Worker.Inbound, as a frame
// of the tunnel. From there on the switch accounts for it; what does not get so
// far is dropped here.

// A traffic counts datagrams. In.Frames equals taken and all of dropped.
type traffic struct {
	in, out Count
	taken   uint64 // by a tunnel
	dropped map[string]uint64
}

func (c *Count) add(n int) {
	c.Frames++
	c.Bytes += uint64(n)
}

// ended counts how a datagram ended; why is empty if a tunnel took it.
func (t *traffic) ended(why string) {
	if why == "" {
		t.taken++
		return
	}
	if t.dropped == nil {
		t.dropped = map[string]uint64{}
	}
	t.dropped[why]++
}

// An underlay is one node's place on the underlay.
type underlay struct {
	bench   *bench
	node    *vnode
	local   []netip.AddrPort // where its VTEP listens, at most one of each family
	mtu     int              // of the underlay, towards everybody
	wire    *vport           // nil: nothing is captured
	tunnels []*tunnel
	table   *vxlan.Table
	direct  traffic // to and from other nodes of the lab
	arrived arrival
	buf     []byte
}

// A flight is a frame of the underlay on its way to a node of the lab.
type flight struct {
	to   *underlay
	data []byte
}

// addUnderlay gives a node its place on the underlay, if it has an address.
func (b *bench) addUnderlay(l *Lab, n *vnode) {
	described := l.node(n.name)
	if described == nil || len(described.vtep()) == 0 {
		return
	}
	u := &underlay{bench: b, node: n, local: described.vtep(), mtu: cnm.DefaultMTU}
	n.underlay = u
	for _, at := range u.local {
		b.vteps[at] = u
	}
}

// addWire puts a port on its node's underlay.
func (b *bench) addWire(p *Port, node *vnode) {
	v := &vport{Port: p, node: node, cable: &cable{now: &b.now}}
	node.underlay.wire = v
	if p.MTU != 0 {
		node.underlay.mtu = p.MTU
	}
	b.ports = append(b.ports, v)
}

// localFor returns the node's address of a peer's family; invalid if it has none.
func (u *underlay) localFor(peer netip.Addr) netip.AddrPort {
	for _, at := range u.local {
		if at.Addr().Is4() == peer.Is4() {
			return at
		}
	}
	return netip.AddrPort{}
}

// show writes a frame of the underlay to the capture of a wire, if there is one.
// Errors stay with the writer: the replay asks it at the end.
func (v *vport) show(b []byte) {
	if v != nil {
		v.wired.out.add(len(b))
		v.cable.out.Write(v.node.underlay.bench.now, b, len(b))
	}
}

// deliver takes what is in flight to where it goes.
func (b *bench) deliver() error {
	for i := 0; i < len(b.flights); i++ {
		f := b.flights[i]
		if err := f.to.receive(f.data, &f.to.direct); err != nil {
			return err
		}
	}
	b.flights = b.flights[:0]
	return nil
}

// receive takes a frame of the underlay through the switch, counted in t.
func (u *underlay) receive(b []byte, t *traffic) error {
	t.in.add(len(b))
	port, vni, inner, why := u.decap(b)
	if t.ended(why); why != "" {
		return nil
	}
	u.arrived = arrival{data: inner, port: port, vni: vni}
	_, err := u.node.worker.Inbound(&u.arrived)
	return err
}

// decap returns the frame in a datagram for this node and the tunnel it came
// through, or why it is dropped. What strangers send is not looked into, as in
// package vxlan.
func (u *underlay) decap(b []byte) (port, vni uint32, inner []byte, why string) {
	d, why := parseDatagram(b, u.local)
	if why != "" {
		return 0, 0, nil, why
	}
	vni, bad := vxlan.ParseHeader(d.payload)
	port, unknown := u.table.Lookup(d.from, vni)
	switch {
	case unknown == frame.UnknownVTEP:
		return 0, 0, nil, unknown.String()
	case bad != frame.NotDropped:
		return 0, 0, nil, bad.String()
	case unknown != frame.NotDropped:
		return 0, 0, nil, unknown.String()
	}
	return port, vni, d.payload[vxlan.HeaderLen:], ""
}

// An arrival is a source of one frame.
type arrival struct {
	data      []byte
	port, vni uint32
}

// ReadBatch hands out the frame.
func (a *arrival) ReadBatch(b *frame.Batch) (int, error) {
	f := b.Append(a.data)
	if f == nil {
		return 0, fmt.Errorf("frame of %d bytes does not fit a batch", len(a.data))
	}
	f.In, f.VNI = a.port, a.vni
	return 1, nil
}
