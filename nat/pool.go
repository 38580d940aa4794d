package nat

import (
	"sync"
	"sync/atomic"
)

// chunkFlows is the number of flows that memory is taken for at a time: 128 KiB.
const (
	chunkBits  = 10
	chunkFlows = 1 << chunkBits
)

type chunk [chunkFlows]flow

// A pool holds the slots of all flows, by number. It grows a chunk at a time up to
// its bound and never shrinks: memory once needed will be needed again.
type pool struct {
	chunks []atomic.Pointer[chunk]

	mu   sync.Mutex
	next uint32 // the first slot never given out
	end  uint32
	free uint32 // a list of slots given back, by timer.next
}

// handful is how many slots go between the pool and a shard at a time.
const handful = 16

// init makes the pool one of max slots.
func (p *pool) init(max int) {
	n := max + 1 // slot 0 is nobody's
	p.chunks, p.next, p.end = make([]atomic.Pointer[chunk], (n+chunkFlows-1)>>chunkBits), 1, uint32(n)
}

// at returns a slot that has been given out once.
func (p *pool) at(i uint32) *flow { return &p.chunks[i>>chunkBits].Load()[i&(chunkFlows-1)] }

// take moves up to len(to) slots out of the pool and returns how many.
func (p *pool) take(to []uint32) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n < len(to) && p.free != noFlow {
		to[n] = p.free
		p.free = p.at(p.free).timer.next
		n++
	}
	for n < len(to) && p.next < p.end {
		c := &p.chunks[p.next>>chunkBits]
		if c.Load() == nil {
			c.Store(new(chunk))
		}
		to[n] = p.next
		p.next++
		n++
	}
	return n
}

// give puts slots back.
func (p *pool) give(from []uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range from {
		p.at(i).timer.next = p.free
		p.free = i
	}
}

// given returns the bound of the slots ever given out: the last one and one.
func (p *pool) given() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

// A link chains a flow into a list by slot numbers.
type link struct{ next, prev uint32 }

// A list is a doubly linked list of flows through their family links. The lock of the
// shard that the flows are in protects it.
type list struct{ head, tail uint32 }

// push puts a flow at the end.
func (l *list) push(p *pool, i uint32) {
	k := &p.at(i).family
	k.next, k.prev = noFlow, l.tail
	if l.tail != noFlow {
		p.at(l.tail).family.next = i
	} else {
		l.head = i
	}
	l.tail = i
}

// remove takes a flow out.
func (l *list) remove(p *pool, i uint32) {
	k := &p.at(i).family
	if k.prev != noFlow {
		p.at(k.prev).family.next = k.next
	} else {
		l.head = k.next
	}
	if k.next != noFlow {
		p.at(k.next).family.prev = k.prev
	} else {
		l.tail = k.prev
	}
	k.next, k.prev = noFlow, noFlow
}
