package vswitch

import (
	"errors"
	"os"

	"weft/internal/capture"
	"weft/internal/frame"
)

// flush writes every list the batch has filled, one port after the other. A port
// that refuses frames delays none of the others.
func (w *Worker) flush() {
	for _, slot := range w.active {
		l := w.tx[slot]
		w.write(l.port, l.frames[:l.n])
		l.n, l.port = 0, nil
	}
	w.active = w.active[:0]
}

// write sends frames out through a port: those it can take in one call, those
// whose segmentation it cannot take one by one, in order.
func (w *Worker) write(out *Port, fs []*frame.Frame) {
	if hook := out.capture.Load(); hook != nil {
		now := w.sw.cfg.Nanoseconds()
		for _, f := range fs {
			hook.put(now, out, capture.Out, f)
		}
	}
	q := out.queue(w.index)
	caps := q.Caps()
	e := egress{w: w, port: out, queue: q, caps: caps}
	start := 0
	for i, f := range fs {
		if caps.Takes(&f.Offload) && !tooBig(out.cfg.MTU, f) {
			continue
		}
		e.run(fs[start:i])
		start = i + 1
		if tooBig(out.cfg.MTU, f) {
			e.refuse(f, 1, frame.TooBig)
			continue
		}
		e.segment(f)
	}
	e.run(fs[start:])
	e.count()
}

// tooBig reports whether a wire frame of f carries an IP packet larger than the
// MTU. A superframe is measured by the segments it stands for.
func tooBig(mtu int, f *frame.Frame) bool {
	if mtu == 0 {
		return false
	}
	if f.Offload.GSO != frame.GSONone {
		return int(f.View.Payload-f.View.L3)+int(f.Offload.Size) > mtu
	}
	return f.Len()-int(f.View.L3) > mtu
}

// An egress is one port's share of a flush, with what it counted.
type egress struct {
	w     *Worker
	port  *Port
	queue Queue
	caps  frame.Caps
	// frames, packets and bytes that left; frames that did not, by reason.
	frames, packets, bytes uint64
	why                    frame.Reason // of the last one refused
	merged                 bool         // put writes what Merge returned
}

// run is the merge and write steps: frames that the port takes as they are,
// joined with their neighbours where they belong to one flow.
func (e *egress) run(fs []*frame.Frame) {
	if len(fs) == 0 {
		return
	}
	if len(fs) == 1 || e.caps&(frame.CapUSO|frame.CapTSO4|frame.CapTSO6) == 0 {
		e.put(fs)
		return
	}
	e.merged = true
	e.put(e.w.merger.Merge(fs, e.caps))
	e.merged = false
}

// put writes frames, goes on behind each one refused, and returns how many left.
func (e *egress) put(fs []*frame.Frame) (left int) {
	for at := 0; at < len(fs); at++ {
		n, err := e.queue.WriteBatch(fs[at:])
		for _, f := range fs[at : at+n] {
			e.frames++
			e.packets += packets(f)
			e.bytes += uint64(f.Len())
		}
		left += n
		if at += n; at == len(fs) {
			break
		}
		stands := 1 // for so many of the frames sent to the port
		if e.merged {
			stands = e.w.merger.Count(at)
		}
		e.refused(fs[at], stands, writeReason(err))
	}
	return left
}

// refused deals with a frame that the device did not take. A superframe that it
// cannot take after all, or that the merge step made, goes out as wire frames.
func (e *egress) refused(f *frame.Frame, stands int, r frame.Reason) {
	whole := f.Offload.GSO == frame.GSONone
	if !whole && (r == frame.WriteFailed && stands > 1 || !e.queue.Caps().Takes(&f.Offload)) {
		merged := e.merged
		e.merged = false
		e.segment(f)
		e.merged = merged
		return
	}
	e.why = r
	e.refuse(f, stands, r)
}

// segment is the step for frames the port cannot take whole: the wire frames
// one stands for are written instead. It has left if any of them has.
func (e *egress) segment(f *frame.Frame) {
	parts, reason := e.w.splitter.Split(f)
	if reason != frame.NotDropped {
		e.refuse(f, 1, reason)
		return
	}
	left := 0
	for len(parts) > 0 {
		e.w.wire = e.w.wire[:0]
		for i := range parts[:min(len(parts), frame.MaxBatch)] {
			e.w.wire = append(e.w.wire, &parts[i])
		}
		parts = parts[len(e.w.wire):]
		left += e.put(e.w.wire)
	}
	if left == 0 {
		e.lose(f, e.why)
	}
}

// refuse counts a frame that did not leave through the port, and shows it to
// whoever captures there once more, now with the reason.
func (e *egress) refuse(f *frame.Frame, stands int, r frame.Reason) {
	e.port.counters[e.w.index].outDropped[r].Add(uint64(stands))
	e.lose(f, r)
	if hook := e.port.capture.Load(); hook != nil {
		lost := *f
		lost.Verdict, lost.Reason = frame.Dropped, r
		hook.put(e.w.sw.cfg.Nanoseconds(), e.port, capture.Out, &lost)
	}
}

// lose takes the port off the frame's list. If it leaves through no other, that
// is how it ends.
func (e *egress) lose(f *frame.Frame, r frame.Reason) {
	if f.Copies > 0 {
		f.Copies--
	}
	if f.Copies == 0 {
		f.Reason = r
	}
}

func writeReason(err error) frame.Reason {
	switch {
	case errors.Is(err, os.ErrClosed):
		return frame.PortDown
	case errors.Is(err, frame.ErrBlocked):
		return frame.WriteBlocked
	}
	return frame.WriteFailed
}
