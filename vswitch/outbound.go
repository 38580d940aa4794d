package vswitch

import "weft/internal/frame"

// outbound is the path of frames that came from a local port. Each step is one
// function of the step's name; a frame that ends in one does not see the next.
func (w *Worker) outbound(in *Port, b *frame.Batch) {
	hook := in.capture.Load()
	w.tally = tally{}
	var came int64 // when, for captures
	if hook != nil {
		came = w.sw.cfg.Nanoseconds()
	}
	for i := range b.Len() {
		f := b.At(i)
		f.In = in.slot
		w.tally.read(f)
		if r := f.Parse(); r != frame.NotDropped { // view
			f.Drop(r)
			continue
		}
		if r := in.guardStep(f); r != frame.NotDropped {
			f.Drop(r)
			continue
		}
		if r := w.learn(in, f); r != frame.NotDropped {
			f.Drop(r)
			continue
		}
		if w.answer(in, f, hook) {
			continue
		}
		if w.cross(in, f, hook) {
			continue
		}
		if w.snoop(in, f) {
			continue
		}
		if r := w.forward(in, f); r != frame.NotDropped {
			f.Drop(r)
			continue
		}
		f.Verdict = frame.Forwarded
	}
	if hook != nil {
		w.show(in, b, 0, b.Len(), hook, came)
	}
	w.flush()
	w.settle(in, b, 0, b.Len())
	w.letGo()
}

// guardStep refuses what the endpoint may not send, and what no bridge forwards.
func (p *Port) guardStep(f *frame.Frame) frame.Reason {
	if !p.carries(f.View.VLAN) {
		return frame.VLANGuard
	}
	return p.guard.check(f)
}

// learn binds the frame's source to the port it came from.
func (w *Worker) learn(in *Port, f *frame.Frame) frame.Reason {
	src := f.SrcMAC()
	d := in.domain
	if in.cfg.Exit {
		return in.fromExit(f)
	}
	if d.cfg.Outside {
		return in.fromOutside(f)
	}
	if d.gateway.on && src == d.gateway.mac {
		return d.snoop.foreignQuery(in, f)
	}
	switch d.fdb.learn(fdbKey(f.View.VLAN, src), in, w.now) {
	case learnStatic:
		return frame.StaticMAC
	case learnLimit:
		return frame.MACLimit
	}
	return frame.NotDropped
}

// forward finds the ports the frame leaves through. Nothing is written yet.
func (w *Worker) forward(in *Port, f *frame.Frame) frame.Reason {
	dst := f.DstMAC()
	d := in.domain
	if !unicast(dst) {
		if reservedGroup(dst) {
			return frame.Reserved
		}
		return w.flood(in, f)
	}
	if d.gateway.on && dst == d.gateway.mac {
		return w.exitTo(in, f)
	}
	out := lookup(w.ports, d.fdb.lookup(fdbKey(f.View.VLAN, dst)))
	switch {
	case out == nil && (d.cfg.DropUnknownMAC || in.cfg.Exit):
		return frame.UnknownMAC
	case out == nil:
		return w.flood(in, f)
	case out == in:
		return frame.SamePort
	case !in.reaches(out):
		return in.apart(out)
	case !out.carries(f.View.VLAN):
		return frame.VLANGuard
	}
	if out.tunnel() {
		if r := w.clamp(in, out, f); r != frame.NotDropped {
			return r
		}
	}
	w.send(out, f)
	return frame.NotDropped
}

// flood sends the frame to every other port of the domain that it may reach.
// All of them get the same bytes.
func (w *Worker) flood(in *Port, f *frame.Frame) frame.Reason {
	nobody := frame.NoPort
	quiet := in.domain.cfg.QuietTunnels && !unicast(f.DstMAC())
	for _, out := range *in.domain.members.Load() {
		if out == in || out.cfg.Exit {
			continue
		}
		if !in.reaches(out) {
			nobody = in.apart(out)
			continue
		}
		if quiet && out.tunnel() {
			nobody = frame.QuietTunnel
			continue
		}
		// A port added since this turn began has no list yet; it misses one
		// frame, as if it had been added after it.
		if int(out.slot) < len(w.tx) && out.carries(f.View.VLAN) {
			w.send(out, f)
		}
	}
	if f.Copies == 0 {
		return nobody
	}
	return frame.NotDropped
}

// reservedGroup reports whether dst is one of 01-80-C2-00-00-00 to -0F, which
// bridges never forward (IEEE 802.1Q-2022, 8.6.3).
func reservedGroup(dst frame.MAC) bool {
	return dst[0] == 0x01 && dst[1] == 0x80 && dst[2] == 0xc2 && dst[3] == 0 && dst[4] == 0 && dst[5]&0xf0 == 0
}
