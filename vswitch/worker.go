package vswitch

import (
	"os"
	"slices"
	"sync/atomic"

	"weft/internal/frame"
	"weft/internal/offload"
)

// A Worker is the memory one run-to-completion loop needs: its batch, the lists
// of frames bound for each egress port, and its arenas for segmenting and
// merging. Use it from one goroutine at a time.
type Worker struct {
	sw    *Switch
	index int
	turn  atomic.Uint64 // odd during a turn; see Switch.quiesce

	// orphans are the frames from the overlay whose port had gone.
	orphans atomic.Uint64

	batch    *frame.Batch
	splitter *offload.Splitter
	merger   *offload.Merger

	// For the turn under way:
	ports  []*Port // the port table
	now    uint32  // seconds
	tx     []*txList
	active []uint32 // slots whose list is not empty
	wire   wireList
	tally  tally
	saved  savedFrames
	// own holds the frames the switch makes itself, made when first needed.
	own    *frame.Batch
	tooBig tooBigBudget
	heard  []heardHop
	// quiet keeps the tables from being taught: for a trace, which is told what cross
	// finds.
	quiet bool
	trace *Trace
}

// A txList holds the frames of one batch that leave through one port, in order.
type txList struct {
	port   *Port
	n      int
	frames [frame.MaxBatch]*frame.Frame
}

// NewWorker returns a further worker of the switch.
func (s *Switch) NewWorker() (*Worker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	workers := *s.workers.Load()
	if len(workers) == s.cfg.Workers {
		return nil, ErrTooManyWorkers
	}
	w := &Worker{
		sw: s, index: len(workers), batch: frame.NewBatch(),
		splitter: offload.NewSplitter(), merger: offload.NewMerger(),
	}
	workers = append(slices.Clone(workers), w)
	s.workers.Store(&workers)
	return w, nil
}

// Turn reads one batch from a port and takes it all the way: one turn of a
// worker's loop. It returns the number of frames read, 0 when the port had
// nothing, and os.ErrClosed when the port has been removed.
func (w *Worker) Turn(p *Port) (int, error) { return w.TurnQueue(p, w.index%len(p.queues)) }

// TurnQueue is Turn for one queue, by number, of a port that several workers
// serve. Each queue is to be read by one of them.
func (w *Worker) TurnQueue(p *Port, queue int) (int, error) {
	w.turn.Add(1)
	n, err := w.run(p, p.queues[queue])
	w.turn.Add(1)
	return n, err
}

func (w *Worker) run(p *Port, q Queue) (int, error) {
	if p.gone.Load() {
		return 0, os.ErrClosed
	}
	w.batch.Reset()
	n, err := q.ReadBatch(w.batch)
	if w.batch.Len() == 0 {
		return n, err
	}
	w.begin()
	w.outbound(p, w.batch)
	return n, err
}

// begin loads, once per batch, what the path reads: the port table and the
// clock.
func (w *Worker) begin() {
	w.ports = *w.sw.ports.Load()
	w.now = w.sw.now.Load()
	if w.own != nil {
		w.own.Reset()
	}
	for len(w.tx) < len(w.ports) {
		w.tx = append(w.tx, nil)
	}
}

// send appends the frame to the list of an egress port. A frame is sent to a
// port at most once, and what the switch tells its sender stands for it, so a list
// never overflows.
func (w *Worker) send(p *Port, f *frame.Frame) {
	l := w.tx[p.slot]
	if l == nil {
		l = new(txList)
		w.tx[p.slot] = l
	}
	if l.n == 0 {
		w.active = append(w.active, p.slot)
	}
	l.port = p
	l.frames[l.n] = f
	l.n++
	f.Copies++
}
