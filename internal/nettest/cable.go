package nettest

import (
	"os"
	"sync"

	"weft/internal/frame"
)

// Theory of operation. A cable is two queues of copied frames, one for each
// direction; a Port is one end of it: it reads from one queue and writes to the
// other. A queue is a ring of slots whose buffers are reused, so a cable that has
// warmed up moves frames without allocation and can stand in zero-allocation
// tests. Ends of a cable count what passed them, for a Ledger.

// A Port is one end of a cable.
type Port struct {
	// Offloads is what Caps returns: what frames written here may leave undone.
	// The cable itself carries anything.
	Offloads frame.Caps
	// Refuse, when set, is asked before each write; an error refuses the frame.
	Refuse func(f *frame.Frame) error

	in, out *queue
}

// Cable returns two ports joined by queues of depth frames: what is written to
// one is read from the other.
func Cable(depth int) (a, b *Port) {
	ab, ba := newQueue(depth), newQueue(depth)
	return &Port{in: ba, out: ab}, &Port{in: ab, out: ba}
}

// ReadBatch fills b with waiting frames until it is full and returns how many
// it added. It never blocks; after Close it returns os.ErrClosed.
func (p *Port) ReadBatch(b *frame.Batch) (int, error) { return p.in.read(b) }

// WriteBatch queues frames in order. On an error it returns the index of the
// first frame not written; the error of a full cable is frame.ErrBlocked.
func (p *Port) WriteBatch(fs []*frame.Frame) (int, error) {
	for i, f := range fs {
		if p.Refuse != nil {
			if err := p.Refuse(f); err != nil {
				return i, err
			}
		}
		if err := p.out.put(f.Bytes(), f.Offload); err != nil {
			return i, err
		}
	}
	return len(fs), nil
}

// Caps returns Offloads.
func (p *Port) Caps() frame.Caps { return p.Offloads }

// Send queues raw frames for the other end and panics when the cable is full.
func (p *Port) Send(frames ...[]byte) {
	for _, f := range frames {
		if err := p.out.put(f, frame.Offload{}); err != nil {
			panic("nettest: " + err.Error())
		}
	}
}

// SendOffload queues one raw frame with its virtio header.
func (p *Port) SendOffload(f []byte, o frame.Offload) {
	if err := p.out.put(f, o); err != nil {
		panic("nettest: " + err.Error())
	}
}

// Recv returns a copy of the next waiting frame with its virtio header, or nil.
func (p *Port) Recv() ([]byte, frame.Offload) { return p.in.take() }

// Drain returns copies of all waiting frames.
func (p *Port) Drain() [][]byte {
	var all [][]byte
	for {
		f, _ := p.in.take()
		if f == nil {
			return all
		}
		all = append(all, f)
	}
}

// Waiting returns the number of frames to be read here.
func (p *Port) Waiting() int { return p.in.waiting() }

// Ready carries a token whenever a frame has arrived since it was last taken.
func (p *Port) Ready() <-chan struct{} { return p.in.ready }

// Written returns how many frames were written here since the cable was made.
func (p *Port) Written() uint64 { return p.out.total() }

// Close cuts the cable: both ends return os.ErrClosed.
func (p *Port) Close() error {
	p.in.close()
	p.out.close()
	return nil
}

type slot struct {
	data    []byte
	offload frame.Offload
}

// A queue is one direction. The lock is a leaf: nothing is called under it.
type queue struct {
	mu     sync.Mutex
	slots  []slot
	first  int
	n      int
	count  uint64
	closed bool
	ready  chan struct{}
}

func newQueue(depth int) *queue {
	return &queue{slots: make([]slot, depth), ready: make(chan struct{}, 1)}
}

func (q *queue) put(data []byte, o frame.Offload) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return os.ErrClosed
	}
	if q.n == len(q.slots) {
		return frame.ErrBlocked
	}
	s := &q.slots[(q.first+q.n)%len(q.slots)]
	s.data, s.offload = append(s.data[:0], data...), o
	q.n++
	q.count++
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return nil
}

func (q *queue) read(b *frame.Batch) (n int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, os.ErrClosed
	}
	for q.n > 0 && !b.Full() {
		s := q.pop()
		f := b.Append(s.data)
		if f == nil {
			continue // longer than a frame can be: a device could not deliver it
		}
		f.Offload = s.offload
		n++
	}
	return n, nil
}

func (q *queue) take() ([]byte, frame.Offload) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == 0 {
		return nil, frame.Offload{}
	}
	s := q.pop()
	return append([]byte{}, s.data...), s.offload
}

// pop must be called with the lock held and n > 0. The slot is valid until the
// lock is released.
func (q *queue) pop() *slot {
	s := &q.slots[q.first]
	q.first = (q.first + 1) % len(q.slots)
	q.n--
	return s
}

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n
}

func (q *queue) total() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	select {
	case q.ready <- struct{}{}:
	default:
	}
}
