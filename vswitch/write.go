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

// write sends frames out through a port, in order: those it can take as they
// are, and the wire frames of those whose segmentation or checksum it cannot.
func (w *Worker) write(out *Port, fs []*frame.Frame) {
	if hook := out.capture.Load(); hook != nil {
		now := w.sw.cfg.Nanoseconds()
		for _, f := range fs {
			hook.put(now, out, capture.Out, f)
		}
	}
	q, mtu := out.queue(w.index), out.MTU()
	e := egress{w: w, port: out, queue: q, caps: q.Caps()}
	start := 0
	for i, f := range fs {
		big := tooBig(out.room(mtu, f), f)
		if !big && e.caps.Takes(&f.Offload) {
			continue
		}
		e.run(fs[start:i], false)
		start = i + 1
		if big {
			e.refuse(f, 1, frame.TooBig)
			continue
		}
		e.segment(f)
	}
	e.run(fs[start:], true)
	e.send()
	e.count()
}

// room is what an MTU leaves of the port for a frame's IP packet. A tunnel's counts
// the inner Ethernet header without tags, which have to fit into the datagram too.
func (p *Port) room(mtu int, f *frame.Frame) int {
	if mtu == 0 || !p.tunnel() || int(f.View.L3) <= frame.EtherLen {
		return mtu
	}
	return max(1, mtu+frame.EtherLen-int(f.View.L3))
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

func writeReason(err error) frame.Reason {
	switch {
	case errors.Is(err, os.ErrClosed):
		return frame.PortDown
	case errors.Is(err, frame.ErrBlocked):
		return frame.WriteBlocked
	case errors.Is(err, frame.ErrTooBig):
		return frame.TooBig
	case errors.Is(err, frame.ErrNoKey):
		return frame.NoKey
	}
	return frame.WriteFailed
}
