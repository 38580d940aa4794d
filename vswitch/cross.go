package vswitch

import (
	"net/netip"

	"weft/internal/frame"
	"weft/nat"
)

// cross is the steps translate and route, for an IP packet to a gateway's MAC where a
// router is behind it: it leaves by the outside's port, or by the port of the one inside
// that it is for. It reports whether the frame has ended; what it does not take is for the
// next step.
func (w *Worker) cross(in *Port, f *frame.Frame, hook *captureHook) bool {
	d := in.domain
	r := d.router.Load()
	if r == nil || f.DstMAC() != d.gateway.mac || f.View.VLAN != 0 || in.tunnel() || !isIP(f) {
		return false
	}
	var reason frame.Reason
	if d == r.cfg.Outside {
		reason = w.enter(r, in, f, hook)
	} else {
		reason = w.leave(r, in, f, hook)
	}
	if reason != frame.NotDropped {
		f.Drop(reason)
	} else if f.Verdict == frame.Pending {
		f.Verdict = frame.Forwarded
	}
	return true
}

// leave is for a packet from inside. What is wrong with it is found out before it is
// translated, so that the sender is told of the packet that it sent.
func (w *Worker) leave(r *Router, in *Port, f *frame.Frame, hook *captureHook) frame.Reason {
	t, own := r.table.Load(), &in.domain.gateway
	src, dst := addresses(f)
	switch d, _ := t.inside.lookup(src); {
	case d == nil: // as of a family that is not translated
		return w.explain(in, f, frame.NoRoute)
	case d != in.domain:
		return frame.SpoofedIP
	}
	if own.owns(dst) {
		return w.explain(in, f, frame.UnknownGateway)
	}
	local := r.cfg.Outside.gateway.owns(dst)
	if local && r.cfg.Outside.gateway.pinged(f) {
		w.save(f, hook)
		own.pong(f)
		w.reply(in, f)
		return frame.NotDropped
	}
	var by way
	if !local {
		var reason frame.Reason
		if by, reason = t.route(dst); reason != frame.NotDropped {
			return w.explain(in, f, reason)
		}
	}
	w.save(f, hook)
	if !local {
		if reason := w.fit(in, r.cfg.Port, f); reason != frame.NotDropped {
			return reason
		}
	}
	side, reason := w.translate(r, f, true)
	switch {
	case reason != frame.NotDropped:
		return w.explain(in, f, reason)
	case side == nat.Inside:
		out, mac, reason := w.inner(t, f)
		if reason == frame.NotDropped {
			w.pass(out, f, out.domain.gateway.mac, mac)
		}
		return reason
	}
	if local {
		return frame.UnknownGateway
	}
	return w.out(r, by, dst, f)
}

// translate is the step that makes a packet one of the other side's.
func (w *Worker) translate(r *Router, f *frame.Frame, inside bool) (nat.Side, frame.Reason) {
	switch {
	case w.trace != nil:
		return w.trace.translated(r.cfg.Translator.Preview(f, inside))
	case inside:
		return r.cfg.Translator.Outbound(f, w.now)
	}
	return r.cfg.Translator.Inbound(f, w.now)
}

// route is the step that finds the way to an address outside, or says why there is none.
// Addresses of weft's never leave, nor do those that no router forwards.
func (t *routeTable) route(dst netip.Addr) (way, frame.Reason) {
	if _, ours := t.inside.lookup(dst); ours {
		return way{}, frame.StaysInside
	}
	if !forwardable(dst) {
		return way{}, frame.Martian
	}
	by, ok := t.routes.lookup(dst)
	if !ok {
		return way{}, frame.NoRoute
	}
	return by, frame.NotDropped
}

// out sends a translated packet to its next hop, or holds it until that is known.
func (w *Worker) out(r *Router, by way, dst netip.Addr, f *frame.Frame) frame.Reason {
	to, port := by.via, r.cfg.Port
	if !to.IsValid() {
		to = dst
	}
	if w.port(port.slot) != port {
		return frame.PortDown
	}
	own := r.cfg.Outside.gateway.mac
	if w.trace != nil {
		w.trace.routed(by, to, port)
	}
	if p := r.hops.get(to); p != nil {
		if m, ok := p.at(); ok {
			p.use(w.now)
			w.pass(port, f, own, m)
			return frame.NotDropped
		}
	}
	readdress(f, own, own) // until the hop's is known
	return w.await(r, to, by, f)
}

// enter is for a packet from outside.
func (w *Worker) enter(r *Router, in *Port, f *frame.Frame, hook *captureHook) frame.Reason {
	t, own := r.table.Load(), &r.cfg.Outside.gateway
	src, dst := addresses(f)
	if !own.owns(dst) {
		return frame.NoRoute // the router is none for those outside
	}
	if _, ours := t.inside.lookup(src); ours || own.owns(src) || !forwardable(src) {
		return frame.SpoofedIP
	}
	w.save(f, hook)
	side, reason := w.translate(r, f, false)
	if reason == frame.NotDropped && side == nat.Outside {
		reason = frame.NoFlow
	}
	if reason != frame.NotDropped {
		return w.explainOutside(in, f, reason)
	}
	out, mac, reason := w.inner(t, f)
	switch {
	case reason == frame.UnknownARP:
		w.complainThrough(r, in, f, hostUnreachable, 0)
		return reason
	case reason != frame.NotDropped:
		return reason
	}
	lowerMSS(f, in.MTU())
	if mtu := out.MTU(); tooBig(mtu, f) {
		if wantsTooBig(f) {
			w.complainThrough(r, in, f, fragNeeded, mtu)
		}
		return frame.TooBig
	}
	w.pass(out, f, out.domain.gateway.mac, mac)
	return frame.NotDropped
}

// inner finds the port and the MAC of the one inside that a packet is for.
func (w *Worker) inner(t *routeTable, f *frame.Frame) (*Port, frame.MAC, frame.Reason) {
	_, dst := addresses(f)
	d, _ := t.inside.lookup(dst)
	if d == nil {
		return nil, frame.MAC{}, frame.NoRoute
	}
	mac, ok := d.neighbours.Lookup(dst)
	if !ok || mac == d.gateway.mac {
		return nil, mac, frame.UnknownARP
	}
	out := lookup(w.ports, d.fdb.lookup(fdbKey(0, mac)))
	if w.trace != nil {
		w.trace.note("route", "%s is on %s, at %s", dst, d.cfg.Name, mac)
	}
	switch {
	case out == nil:
		return nil, mac, frame.UnknownMAC
	case out.tunnel():
		return nil, mac, frame.NoRoute // what is on another node has a router of its own
	case !out.carries(0):
		return nil, mac, frame.VLANGuard
	}
	return out, mac, frame.NotDropped
}

// fit lowers what a SYN asks for to what the outside takes, and refuses what does not fit
// there.
func (w *Worker) fit(in, out *Port, f *frame.Frame) frame.Reason {
	mtu := out.MTU()
	if mtu == 0 {
		return frame.NotDropped
	}
	lowerMSS(f, mtu)
	if !tooBig(mtu, f) {
		return frame.NotDropped
	}
	if wantsTooBig(f) {
		w.complain(in, f, fragNeeded, mtu)
	}
	return frame.TooBig
}

// lowerMSS has a SYN ask for no more than fits a packet of mtu bytes, unless that is 0.
func lowerMSS(f *frame.Frame, mtu int) {
	if at, limit := f.ExcessMSS(mtu); at != 0 && mtu != 0 {
		f.SetMSS(at, limit)
	}
}

// pass sends a packet on, from and to the MACs of the next link.
func (w *Worker) pass(out *Port, f *frame.Frame, src, dst frame.MAC) {
	readdress(f, src, dst)
	w.send(out, f)
}

func readdress(f *frame.Frame, src, dst frame.MAC) {
	b := f.Bytes()
	copy(b, dst[:])
	copy(b[6:], src[:])
}

func isIP(f *frame.Frame) bool {
	return f.View.EtherType == frame.EtherIPv4 || f.View.EtherType == frame.EtherIPv6
}

// addresses returns the source and destination of an IP packet.
func addresses(f *frame.Frame) (src, dst netip.Addr) {
	p := f.Bytes()[f.View.L3:]
	if f.View.EtherType == frame.EtherIPv6 {
		return netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:]))
	}
	return netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:]))
}

func addr4(v uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// forwardable reports whether routers forward packets from or to an address: not those of
// a host or a link, nor of a group, nor the reserved (RFC 6890).
func forwardable(a netip.Addr) bool {
	if a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || a.Is4In6() {
		return false
	}
	if a.Is4() {
		b := a.As4()
		return b[0] != 0 && b[0] < 240
	}
	return true
}
