package node

import (
	"fmt"
	"sync/atomic"

	"weft/internal/frame"
	"weft/tap"
	"weft/vswitch"
)

// Theory of operation: workers
//
// A worker is one goroutine with one epoll set and one vswitch.Worker, and with
// them all the buffers. It serves the ports given to it: it waits, and gives
// each port that has frames up to fairTurns turns before the next.
//
// What a worker serves is a charge: the TAP of a port, or the socket that the
// overlay's frames come in by. "Port" below means either.
//
// The goroutine never takes a lock. Its ports stand in a table that the control
// side replaces as a whole (copy on write); a token is the port's place in it and
// the place's generation, so an event that was reported for a port since removed
// finds nobody. After a change the control side calls settle, which returns when
// the worker has begun a new round: from then on it cannot hold a port of the
// old table. The order of removal is therefore
//
//	poller.Remove, table without the port, settle, sw.RemovePort, Device.Close
//
// A port whose device is gone (ErrClosed, ErrGone) leaves the epoll set at
// once, for it would be reported for ever, and is flagged; the node's keeper
// looks after it.

const (
	maxReady  = 256
	fairTurns = 4
	// fullBatch is the fewest frames that can fill a batch, when all are as
	// long as can be: after fewer the port is drained.
	fullBatch = frame.ArenaSize / (frame.Headroom + frame.MaxFrame + frame.Tailroom)
)

// A worker is described above. Fields below the line are the goroutine's own.
type worker struct {
	id     int
	poller *tap.Poller
	core   *vswitch.Worker
	ports  atomic.Pointer[[]*served]
	meet   atomic.Pointer[chan struct{}] // settle waits on it
	stop   atomic.Bool
	ended  chan struct{}
	failed func() // called once per port that died
	load   uint64 // of the last second; the control side's
	// ----
	ready [maxReady]uint64
}

// A charge is what a worker serves: a descriptor and what is done when frames
// wait behind it. The control side's, under dataPath.mu.
type charge struct {
	fd         int
	turn       func(*vswitch.Worker) (int, error) // one batch, all the way
	spent      func() uint64                      // what it has cost so far
	queue, of  int                                // which of how many queues of a port
	serial     uint32                             // 24 bits
	generation uint32                             // counts its workers
	cost       uint64                             // spent at the last balance
	worker     *worker
	served     *served
}

// dead reports whether the descriptor is served no more: its device is gone.
func (c *charge) dead() bool { return c.served == nil || c.served.dead.Load() }

// A served is a charge in the care of a worker.
type served struct {
	turn  func(*vswitch.Worker) (int, error)
	fd    int
	token uint64
	dead  atomic.Bool
}

func newWorker(id int, core *vswitch.Worker, failed func()) (*worker, error) {
	p, err := tap.NewPoller()
	if err != nil {
		return nil, err
	}
	w := &worker{id: id, poller: p, core: core, failed: failed, ended: make(chan struct{})}
	w.ports.Store(new([]*served))
	return w, nil
}

// run is the goroutine. It returns after halt, or with the error that stopped it.
func (w *worker) run() error {
	defer close(w.ended)
	for !w.stop.Load() {
		if c := w.meet.Load(); c != nil && w.meet.CompareAndSwap(c, nil) {
			close(*c)
		}
		n, err := w.poller.Wait(w.ready[:], -1)
		if err != nil {
			return err
		}
		ports := *w.ports.Load()
		for _, token := range w.ready[:n] {
			if at := int(uint32(token)); at < len(ports) {
				if s := ports[at]; s != nil && s.token == token {
					w.serve(s)
				}
			}
		}
	}
	return nil
}

// serve gives one port its share.
func (w *worker) serve(s *served) {
	for range fairTurns {
		n, err := s.turn(w.core)
		if err != nil {
			w.bury(s)
			return
		}
		if n < fullBatch {
			return
		}
	}
}

func (w *worker) bury(s *served) {
	if s.dead.CompareAndSwap(false, true) {
		w.poller.Remove(s.fd)
		w.failed()
	}
}

// take gives the worker a charge. The caller serialises take and drop.
func (w *worker) take(c *charge) error {
	old := *w.ports.Load()
	at := len(old)
	for i, s := range old {
		if s == nil {
			at = i
			break
		}
	}
	c.generation++
	s := &served{turn: c.turn, fd: c.fd, token: uint64(c.serial<<8|c.generation&0xff)<<32 | uint64(at)}
	next := make([]*served, max(len(old), at+1))
	copy(next, old)
	next[at] = s
	w.ports.Store(&next)
	if err := w.poller.Add(s.fd, s.token); err != nil {
		next := append([]*served(nil), next...)
		next[at] = nil
		w.ports.Store(&next)
		return fmt.Errorf("worker %d: %w", w.id, err)
	}
	c.worker, c.served = w, s
	return nil
}

// drop takes a charge away. When it returns, the goroutine does not hold it; until
// another worker takes it, it counts as one whose device is gone. One that was
// dropped before is left alone, for its place may be another's.
func (w *worker) drop(c *charge) {
	s := c.served
	if s.dead.CompareAndSwap(false, true) {
		w.poller.Remove(s.fd)
	}
	old, at := *w.ports.Load(), int(uint32(s.token))
	if at >= len(old) || old[at] != s {
		return
	}
	next := append([]*served(nil), old...)
	next[at] = nil
	for len(next) > 0 && next[len(next)-1] == nil {
		next = next[:len(next)-1]
	}
	w.ports.Store(&next)
	w.settle()
}

// settle returns when the goroutine has begun a new round, or has ended.
func (w *worker) settle() {
	c := make(chan struct{})
	w.meet.Store(&c)
	w.poller.Wake()
	select {
	case <-c:
	case <-w.ended:
	}
}

// broken reports whether run has returned.
func (w *worker) broken() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

// halt makes run return.
func (w *worker) halt() {
	w.stop.Store(true)
	w.poller.Wake()
}
