package vswitch

import (
	"weft/internal/frame"
	"weft/nat"
)

// Theory of operation: what a router says
//
// A packet that goes no further is answered as a kernel's router or host would do it, so
// that a program learns at once what it would else wait for: no more than maxTooBig
// messages a second and worker, of all kinds together, and each stands for the frame that
// it answers on the egress list.

// An icmpError is a message's type and code, in both families.
type icmpError struct{ type4, code4, type6, code6 uint8 }

// The messages, RFC 792 (with RFC 1812, 5.2.7.1) and RFC 4443.
var (
	noRoute         = icmpError{3, 0, 1, 0}
	hostUnreachable = icmpError{3, 1, 1, 3}
	portUnreachable = icmpError{3, 3, 1, 4}
	fragNeeded      = icmpError{3, 4, 2, 0} // packet too big
	prohibited      = icmpError{3, 13, 1, 1}
	timeExceeded    = icmpError{11, 0, 3, 0}
	noProtocol      = icmpError{3, 2, 1, 1} // IPv6 has no word for it that fits: prohibited
)

// about returns the message as one about f. mtu is that of fragNeeded.
func (e icmpError) about(f *frame.Frame, mtu int) frame.ICMPError {
	if e == fragNeeded {
		return frame.TooBigError(f, mtu)
	}
	if f.View.EtherType == frame.EtherIPv6 {
		return frame.ICMPError{Type: e.type6, Code: e.code6}
	}
	return frame.ICMPError{Type: e.type4, Code: e.code4}
}

// explain tells the sender of a packet from inside why it went no further, and returns the
// reason. It hears of the gateway's own ports what a host would say of closed ones.
func (w *Worker) explain(in *Port, f *frame.Frame, r frame.Reason) frame.Reason {
	switch r {
	case frame.TTLExceeded:
		w.complain(in, f, timeExceeded, 0)
	case frame.NoRoute:
		w.complain(in, f, noRoute, 0)
	case frame.StaysInside, frame.Martian:
		w.complain(in, f, prohibited, 0)
	case frame.FlowsFull, frame.SourceFlows, frame.PortsFull, frame.TupleTaken:
		w.complain(in, f, hostUnreachable, 0) // RFC 6888, REQ-8 B
	case frame.NoPorts:
		w.complain(in, f, noProtocol, 0)
	case frame.NoFlow, frame.UnknownGateway:
		w.refuse(in, f)
	}
	return r
}

// explainOutside is explain for a packet from outside, to one of the router's addresses.
func (w *Worker) explainOutside(in *Port, f *frame.Frame, r frame.Reason) frame.Reason {
	switch r {
	case frame.TTLExceeded:
		w.complain(in, f, timeExceeded, 0)
	case frame.NoFlow, frame.BadState:
		w.refuse(in, f)
	}
	return r
}

// complain answers a packet with an error from the domain's gateway.
func (w *Worker) complain(in *Port, f *frame.Frame, e icmpError, mtu int) {
	if f.WantsError() && w.tooBig.take(w.now) {
		if c := w.message(f, in.domain.gateway.address(f), e, mtu); c != nil {
			w.send(in, c)
		}
	}
}

// complainThrough answers a packet from outside that has been translated already. The
// message about it comes from the gateway inside and is translated as one that a host there
// had sent.
func (w *Worker) complainThrough(r *Router, in *Port, f *frame.Frame, e icmpError, mtu int) {
	if w.quiet || !f.WantsError() || !w.tooBig.take(w.now) {
		return
	}
	var from []byte
	_, dst := addresses(f)
	if d, _ := r.table.Load().inside.lookup(dst); d != nil {
		from = d.gateway.address(f)
	}
	c := w.message(f, from, e, mtu)
	if c == nil {
		return
	}
	if side, reason := r.cfg.Translator.Outbound(c, w.now); side == nat.Outside && reason == frame.NotDropped {
		w.send(in, c)
	}
}

// message makes a frame that tells the sender of f of an error. from is the address it comes
// from; none: the one that f was for. It returns nil where there is no room.
func (w *Worker) message(f *frame.Frame, from []byte, e icmpError, mtu int) *frame.Frame {
	b := w.ownBatch()
	slot := b.Reserve()
	if slot == nil {
		return nil
	}
	if from == nil {
		from = destinationOf(f)
	}
	c := b.Commit(f.PutError(slot[frame.Headroom:], e.about(f, mtu), from))
	c.In, c.VNI, c.Verdict = f.In, f.VNI, frame.Consumed
	c.Parse()
	return c
}

// destinationOf returns where an IP packet's destination stands.
func destinationOf(f *frame.Frame) []byte {
	p := f.Bytes()[f.View.L3:]
	if f.View.EtherType == frame.EtherIPv6 {
		return p[24:40]
	}
	return p[16:20]
}

// refuse answers a packet for an address of the router's where nothing is behind it, as a
// host does whose port is closed: a reset, or port unreachable.
func (w *Worker) refuse(in *Port, f *frame.Frame) {
	v := &f.View
	if v.L4 == 0 || v.Fragment || !f.WantsError() || !w.tooBig.take(w.now) {
		return
	}
	switch v.Proto {
	case frame.ProtoUDP:
		if c := w.message(f, nil, portUnreachable, 0); c != nil {
			w.send(in, c)
		}
	case frame.ProtoTCP:
		slot := w.ownBatch().Reserve()
		if slot == nil {
			return
		}
		n := f.PutReset(slot[frame.Headroom:])
		if n == 0 {
			return
		}
		c := w.own.Commit(n)
		c.In, c.Verdict = f.In, frame.Consumed
		c.Parse()
		w.send(in, c)
	}
}

// address returns the gateway's first address of a packet's family; nil if it has none.
func (g *gateway) address(f *frame.Frame) []byte {
	switch {
	case f.View.EtherType == frame.EtherIPv4 && len(g.ip4) > 0:
		return g.first4[:]
	case f.View.EtherType == frame.EtherIPv6 && len(g.ip6) > 0:
		return g.ip6[0][:]
	}
	return nil
}
