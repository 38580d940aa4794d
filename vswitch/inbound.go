package vswitch

import "weft/internal/frame"

// A Source yields frames that came through an underlay, for any of the ports
// that stand for a way through it.
type Source interface {
	// ReadBatch appends frames that are there to the batch, as many as fit at
	// most, and returns how many. It never blocks: 0, nil means that there was
	// nothing, or nothing for anybody here. That there is no more, a batch with
	// room left does not say: the source itself tells whoever serves it. Each frame
	// bears in In the index of the port it came through, and in VNI
	// its network. A port is to be taken from what the source knows before it is
	// removed from the switch, for its index may be given to another.
	ReadBatch(b *frame.Batch) (int, error)
}

// Inbound reads one batch from a source and takes it all the way: one turn of a
// worker's loop, as [Worker.Turn] is for a local port. Frames of several ports
// may be in one batch. It returns what the source's ReadBatch returned.
func (w *Worker) Inbound(src Source) (int, error) {
	w.turn.Add(1)
	w.batch.Reset()
	n, err := src.ReadBatch(w.batch)
	if w.batch.Len() > 0 {
		w.begin()
		w.inbound(w.batch)
	}
	w.turn.Add(1)
	return n, err
}

// inbound is the path of frames that came from the overlay, decapsulated by the
// source. Each step is one function of the step's name; a frame that ends in one
// does not see the next. Nothing is answered: who asks has a switch of its own.
func (w *Worker) inbound(b *frame.Batch) {
	for i := range b.Len() {
		f := b.At(i)
		in := w.port(f.In)
		if in == nil {
			f.Drop(frame.PortDown)
			continue
		}
		if r := f.Parse(); r != frame.NotDropped { // view
			f.Drop(r)
			continue
		}
		f.Unfinished(in.MTU())
		if r := in.guardStep(f); r != frame.NotDropped {
			f.Drop(r)
			continue
		}
		if r := w.learn(in, f); r != frame.NotDropped {
			f.Drop(r)
			continue
		}
		if r := w.learnNeighbour(in, f); r != frame.NotDropped {
			f.Drop(r)
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
	w.showRuns(b)
	w.flush()
	w.settleRuns(b)
}

// port returns the port in a slot, as of this turn; nil when there is none.
func (w *Worker) port(slot uint32) *Port {
	if int64(slot) >= int64(len(w.ports)) {
		return nil
	}
	return w.ports[slot]
}

// runEnd returns where the run of frames that begins at from and came from one
// port ends.
func runEnd(b *frame.Batch, from int) int {
	to := from + 1
	for to < b.Len() && b.At(to).In == b.At(from).In {
		to++
	}
	return to
}

// showRuns is show for a batch from several ports.
func (w *Worker) showRuns(b *frame.Batch) {
	var came int64
	for from := 0; from < b.Len(); {
		to := runEnd(b, from)
		if in := w.port(b.At(from).In); in != nil {
			if hook := in.capture.Load(); hook != nil {
				if came == 0 {
					came = w.sw.cfg.Nanoseconds()
				}
				w.show(in, b, from, to, hook, came)
			}
		}
		from = to
	}
}

// settleRuns is settle for a batch from several ports. Frames whose port has
// gone are counted by the switch.
func (w *Worker) settleRuns(b *frame.Batch) {
	for from := 0; from < b.Len(); {
		to := runEnd(b, from)
		w.tally = tally{}
		if in := w.port(b.At(from).In); in != nil {
			for i := from; i < to; i++ {
				w.tally.read(b.At(i))
			}
			w.settle(in, b, from, to)
		} else {
			w.orphans.Add(uint64(to - from))
		}
		from = to
	}
}
