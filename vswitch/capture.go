package vswitch

import (
	"slices"

	"weft/internal/capture"
	"weft/internal/frame"
)

// A captureHook is the set of rings that look at a port: an off-checked step at
// read and at write.
type captureHook struct{ taps []captureTap }

type captureTap struct {
	ring  *capture.Ring
	point capture.Point
}

func (h *captureHook) put(now int64, p *Port, dir capture.Direction, f *frame.Frame) {
	want := capture.Before
	if dir == capture.Out {
		want = capture.After
	}
	for i := range h.taps {
		if h.taps[i].point&want != 0 {
			h.taps[i].ring.Put(now, p.serial, dir, f)
		}
	}
}

// Capture starts copying frames that cross the port into ring: what comes in
// (capture.Before, with the verdict it got), what leaves (capture.After), or
// both.
func (p *Port) Capture(ring *capture.Ring, point capture.Point) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	var taps []captureTap
	if h := p.capture.Load(); h != nil {
		taps = slices.Clone(h.taps)
	}
	p.capture.Store(&captureHook{append(taps, captureTap{ring, point})})
}

// Uncapture stops it. A turn under way may still put a batch.
func (p *Port) Uncapture(ring *capture.Ring) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	h := p.capture.Load()
	if h == nil {
		return
	}
	taps := slices.DeleteFunc(slices.Clone(h.taps), func(t captureTap) bool { return t.ring == ring })
	if len(taps) == 0 {
		p.capture.Store(nil)
		return
	}
	p.capture.Store(&captureHook{taps})
}

// savedFrames keep what a frame was before the switch turned it into its own
// reply, for captures of what came in. The batch is made when first needed.
type savedFrames struct {
	batch *frame.Batch
	of    [frame.MaxBatch]*frame.Frame
}

// save copies a frame that is about to be rewritten, if somebody captures.
func (w *Worker) save(f *frame.Frame, hook *captureHook) {
	if hook == nil {
		return
	}
	s := &w.saved
	if s.batch == nil {
		s.batch = frame.NewBatch()
	}
	if c := s.batch.Append(f.Bytes()); c != nil {
		c.Offload, c.View = f.Offload, f.View
		s.of[s.batch.Len()-1] = f
	}
}

// show puts frames from to to-1 of a batch before those who capture what comes
// in: as they came, with the verdict they got, before anything of them leaves.
func (w *Worker) show(in *Port, b *frame.Batch, from, to int, hook *captureHook, came int64) {
	for i := from; i < to; i++ {
		hook.put(came, in, capture.In, w.original(b.At(i)))
	}
	w.saved.reset()
}

// original returns the saved copy of f with f's verdict, or f itself.
func (w *Worker) original(f *frame.Frame) *frame.Frame {
	if w.saved.batch == nil {
		return f
	}
	for i := range w.saved.batch.Len() {
		if w.saved.of[i] == f {
			c := w.saved.batch.At(i)
			c.Verdict, c.Reason = f.Verdict, f.Reason
			return c
		}
	}
	return f
}

func (s *savedFrames) reset() {
	if s.batch != nil {
		s.batch.Reset()
	}
}
