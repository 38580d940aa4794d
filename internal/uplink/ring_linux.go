package uplink

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The bounds of the ring. TCP takes what does not fit for a loss and sends it
// again, slower.
const (
	ringSlots = 4096
	ringBytes = 16 << 20
)

// An outgoing is what waits for the switch: a packet of the stack's without an
// Ethernet header, or a whole frame.
type outgoing struct {
	pkt *stack.PacketBuffer
	raw []byte
}

func (o outgoing) size() int {
	if o.pkt != nil {
		return o.pkt.Size()
	}
	return len(o.raw)
}

// A ring is what is between the many that send to the endpoints and the one worker
// that fetches. Its eventfd can be read while the ring is not empty.
type ring struct {
	event int

	mu      sync.Mutex
	slots   [ringSlots]outgoing
	head, n int
	bytes   int
	closed  bool
	more    bool // the reader has something left by itself
	set     bool // the descriptor can be read
}

func newRing() (*ring, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return &ring{event: fd}, nil
}

// push takes over one reference to the packet, unless it returns false.
func (r *ring) push(o outgoing) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.n == ringSlots || r.bytes >= ringBytes {
		return false
	}
	r.slots[(r.head+r.n)%ringSlots] = o
	r.n++
	r.bytes += o.size()
	r.update()
	return true
}

// pop returns what has waited longest.
func (r *ring) pop() (o outgoing, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 {
		return o, false
	}
	s := &r.slots[r.head]
	o, *s = *s, outgoing{}
	r.bytes -= o.size()
	r.head = (r.head + 1) % ringSlots
	r.n--
	r.update()
	return o, true
}

// keep has the descriptor readable although the ring is empty, or no longer.
func (r *ring) keep(more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.more = more
	r.update()
}

// update makes the descriptor readable, or not, as it should be. Its count is 0 or
// 1, so this never blocks.
func (r *ring) update() {
	want := r.n > 0 || r.more || r.closed
	if want == r.set {
		return
	}
	r.set = want
	var count [8]byte
	if !want {
		unix.Read(r.event, count[:])
		return
	}
	binary.NativeEndian.PutUint64(count[:], 1)
	unix.Write(r.event, count[:])
}

// close drops what waits. The descriptor stays readable, so that who waits for it
// learns that it is over; free closes it.
func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for ; r.n > 0; r.n-- {
		if s := &r.slots[r.head]; s.pkt != nil {
			s.pkt.DecRef()
		}
		r.slots[r.head] = outgoing{}
		r.head = (r.head + 1) % ringSlots
	}
	r.update()
}

func (r *ring) free() { unix.Close(r.event) }
