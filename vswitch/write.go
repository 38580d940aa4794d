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
			e.refuse(f, frame.TooBig)
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
	e.put(e.w.merger.Merge(fs, e.caps))
}

// put writes frames, goes on behind each one refused, and returns how many left.
func (e *egress) put(fs []*frame.Frame) (left int) {
	for len(fs) > 0 {
		n, err := e.queue.WriteBatch(fs)
		for _, f := range fs[:n] {
			e.frames++
			e.packets += packets(f)
			e.bytes += uint64(f.Len())
		}
		left += n
		if n == len(fs) {
			break
		}
		f := fs[n]
		fs = fs[n+1:]
		// A device may find out by the first frame that it cannot take such.
		if f.Offload.GSO != frame.GSONone && !e.queue.Caps().Takes(&f.Offload) {
			e.segment(f)
			continue
		}
		e.why = writeReason(err)
		e.refuse(f, e.why)
	}
	return left
}

// segment is the step for frames the port cannot take whole: the wire frames
// one stands for are written instead. It has left if any of them has.
func (e *egress) segment(f *frame.Frame) {
	parts, reason := e.w.splitter.Split(f)
	if reason != frame.NotDropped {
		e.refuse(f, reason)
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

// refuse counts a frame that did not leave through the port.
func (e *egress) refuse(f *frame.Frame, r frame.Reason) {
	e.port.counters[e.w.index].outDropped[r].Add(1)
	e.lose(f, r)
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
