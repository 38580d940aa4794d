package vswitch

import (
	"slices"

	"weft/internal/capture"
	"weft/internal/frame"
)

// Theory of operation.
//
// An egress is one port's share of a flush. Frames that the port takes as they
// are and that it could take joined go through the merge step, a run at a time.
// For all others the egress collects wire frames: complete ones as they came,
// those with something left undone as the splitter makes them, from as many
// frames as it takes to fill a batch. Then all of them go to the device in one
// call, for what a call costs is more than what a frame does. Frames never
// overtake each other.
//
// The wire frames of one superframe stay in one call if it holds them, so that a
// device that sends runs of equal size sees whole runs; and the splitter's arena
// is used from its start again after each call, so that it stays in the cache.

// An egress writes to one port, and counts.
type egress struct {
	w     *Worker
	port  *Port
	queue Queue
	caps  frame.Caps
	// frames, packets and bytes that left; frames that did not, by reason.
	frames, packets, bytes uint64
	why                    frame.Reason // of the last one refused
	merged                 bool         // put writes what Merge returned
	// of is the frame whose wire frames are being written, left whether any of
	// them has.
	of   *frame.Frame
	left bool
}

// A wireList holds the wire frames that an egress collects, and what frame each
// was made of: itself, when it was complete.
type wireList struct {
	frames, of [frame.MaxBatch]*frame.Frame
	n          int
	order      [frame.MaxBatch]*frame.Frame // frames, in the order that of has
}

// mergers are the offloads that frames can be joined for.
const mergers = frame.CapUSO | frame.CapTSO4 | frame.CapTSO6

// run takes frames that the port takes as they are: through the merge step where
// the port takes superframes, else to the others collected. last says that no
// more will come.
func (e *egress) run(fs []*frame.Frame, last bool) {
	switch {
	case len(fs) == 0:
	case e.caps&mergers == 0 && last && e.w.wire.n == 0:
		e.put(fs, nil)
	case e.caps&mergers == 0:
		for _, f := range fs {
			e.collect(f, f)
		}
	case len(fs) == 1:
		e.send()
		e.put(fs, nil)
	default:
		e.send()
		e.merged = true
		e.put(e.w.merger.Merge(fs, e.caps), nil)
		e.merged = false
	}
}

// segment is the step for frames the port cannot take whole: the wire frames
// one stands for are written instead.
func (e *egress) segment(f *frame.Frame) {
	if n := e.w.wire.n; n > 0 && n+int(packets(f)) > frame.MaxBatch {
		e.send()
	}
	parts, reason := e.w.splitter.Split(f)
	if parts == nil && reason == frame.NotDropped { // no room beside what is there
		e.send()
		parts, reason = e.w.splitter.Split(f)
	}
	if reason != frame.NotDropped {
		e.refuse(f, 1, reason)
		return
	}
	for i := range parts {
		e.collect(&parts[i], f)
	}
}

// collect adds a wire frame made of a frame.
func (e *egress) collect(f, of *frame.Frame) {
	l := &e.w.wire
	if l.n == len(l.frames) {
		e.post()
	}
	l.frames[l.n], l.of[l.n] = f, of
	l.n++
}

// post writes what was collected. The splitter's frames stay.
func (e *egress) post() {
	l := &e.w.wire
	e.put(l.frames[:l.n], l.of[:l.n])
	l.n = 0
}

// send writes what was collected, to the end of the frames it was made of.
func (e *egress) send() {
	if e.w.wire.n == 0 {
		return
	}
	e.post()
	e.endParts()
	e.w.splitter.Reset()
}

// put writes frames and goes on behind each one refused. of, if not nil, is what
// they were made of. A device may change their order among themselves.
func (e *egress) put(fs, of []*frame.Frame) {
	var refused uint64 // by place in order
	order := e.w.wire.order[:len(of)]
	copy(order, fs)
	for at := 0; at < len(fs); at++ {
		n, err := e.queue.WriteBatch(fs[at:])
		for i := at; i < at+n; i++ {
			e.frames++
			e.packets += packets(fs[i])
			e.bytes += uint64(fs[i].Len())
		}
		if at += n; at == len(fs) {
			break
		}
		stands := 1 // for so many of the frames sent to the port
		if e.merged {
			stands = e.w.merger.Count(at)
		}
		if of != nil {
			refused |= 1 << slices.Index(order, fs[at])
		}
		e.refused(fs[at], stands, writeReason(err))
	}
	e.parts(order, of, refused)
}

// parts notes which wire frames left: what one was made of has, if any of its have.
func (e *egress) parts(fs, of []*frame.Frame, refused uint64) {
	for i := range fs {
		if of[i] != e.of {
			e.endParts()
			if of[i] != fs[i] {
				e.of, e.left = of[i], false
			}
		}
		e.left = e.left || refused&(1<<i) == 0
	}
}

// endParts takes the port off the frame whose wire frames were all refused.
func (e *egress) endParts() {
	if e.of != nil && !e.left {
		e.lose(e.of, e.why)
	}
	e.of = nil
}

// refused deals with a frame that the device did not take. A superframe that it
// cannot take after all, or that the merge step made, goes out as wire frames.
func (e *egress) refused(f *frame.Frame, stands int, r frame.Reason) {
	whole := f.Offload.GSO == frame.GSONone
	if !whole && (r == frame.WriteFailed && stands > 1 || !e.queue.Caps().Takes(&f.Offload)) {
		merged := e.merged
		e.merged = false
		e.segment(f)
		e.send()
		e.merged = merged
		return
	}
	e.why = r
	e.refuse(f, stands, r)
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

// count adds what left to the port's counters.
func (e *egress) count() {
	c := &e.port.counters[e.w.index]
	add(&c.outFrames, e.frames)
	add(&c.outPackets, e.packets)
	add(&c.outBytes, e.bytes)
}
