package vswitch

import (
	"net/netip"

	"weft/internal/frame"
	"weft/nat"
)

// crossed takes the translate and route steps and reports whether the frame has ended.
func (t *Trace) crossed(w *Worker, in *Port, f *frame.Frame) bool {
	if !w.cross(in, f, nil) {
		return false
	}
	t.Verdict, t.Reason = f.Verdict, f.Reason
	told := ""
	if len(w.active) > 0 && f.Copies == 0 {
		told = "; " + in.cfg.Name + " is told"
	}
	switch {
	case t.Reason == frame.NoNeighbour:
		t.Verdict, t.Reason = frame.Kept, frame.NotDropped
		t.note("route", "the next hop's MAC is not known: the frame would be held and the next hop asked")
	case t.Verdict == frame.Dropped:
		t.note("route", "dropped: %s%s", t.Reason, told)
	case t.Verdict == frame.Consumed:
		t.note("route", "answered by the router itself, back to %s", in.cfg.Name)
	}
	return true
}

// translated notes what the translator would do.
func (t *Trace) translated(side nat.Side, words string, r frame.Reason) (nat.Side, frame.Reason) {
	if r != frame.NotDropped {
		words = "refused: " + r.String()
	}
	t.note("translate", "%s", words)
	return side, r
}

// routed notes the way outside.
func (t *Trace) routed(by way, to netip.Addr, out *Port) {
	if by.via.IsValid() {
		t.note("route", "next hop %s, through %s", to, out.cfg.Name)
		return
	}
	t.note("route", "%s is on the link, through %s", to, out.cfg.Name)
}
