package vswitch

import "weft/internal/frame"

// Theory of operation.
//
// A tunnel carries less than the links behind it. Hosts that know their network's
// MTU never notice; for the others there are two ways to be told, both taken
// here, for unicast frames only: a flooded frame is read-only, and nobody is to
// be told by many.
//
//   - A TCP SYN says how large the segments may be that its sender wants (RFC
//     9293, 3.7.1): it is made to want what the tunnel carries.
//   - A packet that does not fit and must not be fragmented is dropped, and its
//     sender told: fragmentation needed (RFC 792, RFC 1191) or packet too big (RFC
//     4443, 3.2). The switch has no address the sender must know, so the message
//     comes from the one that the packet was for, as the Linux kernel's tunnels
//     have it. A TCP superframe is told of whatever its don't-fragment bit says,
//     since cutting it is what makes its packets.
//
// The messages are frames of the switch's own, at most one for a frame of the
// batch and maxTooBig in a second. They never answer an error message, nor a
// fragment other than the first, nor what has no single sender or receiver (RFC
// 1122, 3.2.2; RFC 4443, 2.4 e).

// maxTooBig is the number of messages a worker sends in a second of the coarse
// clock.
const maxTooBig = 200

// A tooBigBudget is what is left of it.
type tooBigBudget struct {
	second uint32
	spent  int
}

// take spends one message and reports whether there was one.
func (t *tooBigBudget) take(now uint32) bool {
	if t.second != now {
		t.second, t.spent = now, 0
	}
	if t.spent == maxTooBig {
		return false
	}
	t.spent++
	return true
}

// clamp is the step for a frame that leaves through a tunnel alone: it lowers
// what a SYN asks for, and refuses what does not fit, telling the sender.
func (w *Worker) clamp(in, out *Port, f *frame.Frame) frame.Reason {
	mtu := out.room(out.MTU(), f)
	if mtu == 0 {
		return frame.NotDropped
	}
	if at, limit := f.ExcessMSS(mtu); at != 0 {
		w.save(f, in.capture.Load())
		f.SetMSS(at, limit)
	}
	if !tooBig(mtu, f) {
		return frame.NotDropped
	}
	if !w.quiet {
		out.counters[w.index].outDropped[frame.TooBig].Add(1)
	}
	if wantsTooBig(f) && w.tooBig.take(w.now) {
		w.sendTooBig(in, f, mtu)
	}
	return frame.TooBig
}
