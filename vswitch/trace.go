package vswitch

import (
	"encoding/binary"
	"fmt"
	"strings"

	"weft/internal/frame"
)

// A Step is one step of a traced frame's way, in the words of the path.
type Step struct {
	Name   string // view, guard, learn, answer, translate, route, snoop, forward, clamp, write
	Result string // what it found, for people
}

// A Trace is the way of one frame through the switch, had it come now.
type Trace struct {
	Steps   []Step
	Verdict frame.Verdict
	Reason  frame.Reason
	Out     []*Port // ports it would leave through
}

// Trace explains what the switch would do with a frame that came in through p,
// and why. It takes the same steps as the path, on tables as they are now, and
// changes none of them.
func (s *Switch) Trace(p *Port, data []byte, o frame.Offload) Trace {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := Trace{Verdict: frame.Dropped}
	f := frame.NewBatch().Append(data)
	if f == nil {
		t.Reason = frame.Oversized
		t.note("read", "%d bytes, more than the %d a frame may have", len(data), frame.MaxFrame)
		return t
	}
	f.Offload, f.In = o, p.slot
	w := &Worker{sw: s, quiet: true, trace: &t}
	w.begin()
	t.follow(w, p, f)
	for _, slot := range w.active {
		l := w.tx[slot]
		t.Out = append(t.Out, l.port)
		t.note("write", "%s", describeWrite(l.port, l.frames[0]))
	}
	return t
}

// follow takes the steps of outbound, of inbound for a frame from a tunnel, until the
// frame ends.
func (t *Trace) follow(w *Worker, in *Port, f *frame.Frame) {
	if t.Reason = f.Parse(); t.Reason != frame.NotDropped {
		t.note("view", "dropped: %s", t.Reason)
		return
	}
	if in.tunnel() {
		f.Unfinished(in.MTU())
	}
	t.note("view", "%s", describeFrame(f))
	if t.Reason = in.guardStep(f); t.Reason != frame.NotDropped {
		t.note("guard", "dropped: %s (%s)", t.Reason, in.guard.describe())
		return
	}
	t.note("guard", "passed (%s)", in.guard.describe())
	var why string
	if why, t.Reason = w.wouldLearn(in, f); t.Reason != frame.NotDropped {
		t.note("learn", "dropped: %s, %s", t.Reason, why)
		return
	}
	if in.tunnel() { // inbound: nothing is answered
		if t.Reason = w.learnNeighbour(in, f); t.Reason != frame.NotDropped {
			t.note("learn", "dropped: %s", t.Reason)
			return
		}
		t.note("learn", "%s", why)
	} else {
		t.note("learn", "%s", why)
		if t.answered(w, in, f) || t.crossed(w, in, f) {
			return
		}
	}
	if w.snoop(in, f) {
		t.Verdict, t.Reason = f.Verdict, f.Reason
		t.note("snoop", "%s", describeSnoop(f, len(w.active)))
		return
	}
	t.forward(w, in, f)
}

// answered takes the answer step and reports whether the frame has ended.
func (t *Trace) answered(w *Worker, in *Port, f *frame.Frame) bool {
	if !w.answer(in, f, nil) {
		t.note("answer", "not for the switch to answer")
		return false
	}
	if f.Verdict == frame.Dropped {
		t.Reason = f.Reason
		t.note("answer", "dropped: %s", f.Reason)
		return true
	}
	t.Verdict = frame.Consumed
	if len(w.active) == 0 {
		t.note("answer", "heard by the router, which it tells where its sender is")
		return true
	}
	t.note("answer", "answered by the switch itself, back to %s", in.cfg.Name)
	return true
}

// forward takes the forward and clamp steps.
func (t *Trace) forward(w *Worker, in *Port, f *frame.Frame) {
	dst, asked := f.DstMAC(), mss(f)
	t.Reason = w.forward(in, f)
	known := lookup(w.ports, in.domain.fdb.lookup(fdbKey(f.View.VLAN, dst)))
	clamped := known != nil && known.tunnel() && unicast(dst)
	if t.Reason != frame.NotDropped && !(clamped && t.Reason == frame.TooBig) {
		t.note("forward", "%s: dropped: %s", dst, t.Reason)
		return
	}
	if exit := in.domain.exit.Load(); exit != nil && dst == in.domain.gateway.mac {
		t.Verdict = frame.Forwarded
		t.note("forward", "%s is the gateway: by the way out, %s", dst, exit.cfg.Name)
		return
	}
	if known == nil || !unicast(dst) {
		t.Verdict = frame.Forwarded
		t.note("forward", "%s: flooded to %d ports", dst, len(w.active))
		return
	}
	t.note("forward", "%s is on %s", dst, known.cfg.Name)
	if clamped && t.clamped(w, in, known, f, asked) {
		return
	}
	t.Verdict = frame.Forwarded
}

// clamped says what the clamp step did and reports whether the frame has ended.
func (t *Trace) clamped(w *Worker, in, out *Port, f *frame.Frame, asked uint16) bool {
	switch {
	case t.Reason == frame.TooBig && len(w.active) > 0:
		t.note("clamp", "dropped: %s for %s, whose MTU is %d; %s is told", t.Reason, out.cfg.Name, out.room(out.MTU(), f), in.cfg.Name)
	case t.Reason == frame.TooBig:
		t.note("clamp", "dropped: %s for %s, whose MTU is %d; nobody is to be told", t.Reason, out.cfg.Name, out.room(out.MTU(), f))
	case asked != mss(f):
		t.note("clamp", "maximum segment size lowered from %d to %d", asked, mss(f))
	default:
		t.note("clamp", "fits")
	}
	return t.Reason != frame.NotDropped
}

// mss returns the maximum segment size that a SYN asks for, 0 if it is none or
// asks for none.
func mss(f *frame.Frame) uint16 {
	at := f.FindMSS()
	if at == 0 {
		return 0
	}
	return binary.BigEndian.Uint16(f.Bytes()[at:])
}

func (t *Trace) note(step, format string, args ...any) {
	t.Steps = append(t.Steps, Step{step, fmt.Sprintf(format, args...)})
}

// wouldLearn says what the learn step would do, without doing it.
func (w *Worker) wouldLearn(in *Port, f *frame.Frame) (string, frame.Reason) {
	src, d := f.SrcMAC(), in.domain
	if in.cfg.Exit {
		return src.String() + " comes by the way out", in.fromExit(f)
	}
	if d.cfg.Outside {
		return src.String() + " is outside, where nothing is learned", in.fromOutside(f)
	}
	if d.gateway.on && src == d.gateway.mac {
		return src.String() + " is the gateway's", d.snoop.foreignQuery(in, f)
	}
	val := d.fdb.lookup(fdbKey(f.View.VLAN, src))
	was := lookup(w.ports, val)
	switch {
	case was == in && val&valStatic != 0:
		return src.String() + " is bound to " + in.cfg.Name + " statically", frame.NotDropped
	case was == in:
		return src.String() + " is known on " + in.cfg.Name, frame.NotDropped
	case was != nil && val&valStatic != 0:
		return src.String() + " is bound to " + was.cfg.Name + " statically", frame.StaticMAC
	case int(in.macs.Load()) >= in.cfg.MaxMACs:
		return fmt.Sprintf("%s has learned its %d addresses", in.cfg.Name, in.cfg.MaxMACs), frame.MACLimit
	case was != nil:
		return src.String() + " moves here from " + was.cfg.Name, frame.NotDropped
	case !d.fdb.hasRoom(fdbKey(f.View.VLAN, src)):
		return src.String() + " is not learned: no room in the forwarding database", frame.NotDropped
	}
	return src.String() + " would be learned", frame.NotDropped
}

func (g *guard) describe() string {
	if !g.on {
		return "unguarded port"
	}
	return "only " + g.mac.String() + " and its own addresses"
}

func describeFrame(f *frame.Frame) string {
	v := &f.View
	var b strings.Builder
	fmt.Fprintf(&b, "%d bytes, %s > %s", f.Len(), f.SrcMAC(), f.DstMAC())
	if v.VLAN != 0 {
		fmt.Fprintf(&b, ", VLAN %d", v.VLAN)
	}
	switch v.EtherType {
	case frame.EtherIPv4:
		fmt.Fprintf(&b, ", IPv4 protocol %d", v.Proto)
	case frame.EtherIPv6:
		fmt.Fprintf(&b, ", IPv6 protocol %d", v.Proto)
	case frame.EtherARP:
		b.WriteString(", ARP")
	default:
		fmt.Fprintf(&b, ", type %#04x", v.EtherType)
	}
	if v.Fragment {
		b.WriteString(", fragment")
	}
	if n := packets(f); n > 1 {
		fmt.Fprintf(&b, ", superframe for %d packets", n)
	}
	return b.String()
}

func describeWrite(p *Port, f *frame.Frame) string {
	name := p.cfg.Name
	if p.tunnel() {
		name = "to " + name
	}
	switch room := p.room(p.MTU(), f); {
	case tooBig(room, f):
		return fmt.Sprintf("%s: dropped: %s for its MTU of %d", name, frame.TooBig, room)
	case p.queues[0].Caps().Takes(&f.Offload):
		return name + ": written as it is"
	case f.Offload.GSO != frame.GSONone:
		return fmt.Sprintf("%s: segmented into %d frames", name, packets(f))
	}
	return name + ": written with its checksum finished"
}
