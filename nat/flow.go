package nat

import "sync/atomic"

// Theory of operation: a flow's slot
//
// A flow is a slot of 128 bytes, two cache lines, in a slab (pool.go). Slots are used
// again, and packets of established flows are translated without a lock. So what a
// packet needs is read as under a sequence lock: the state word, then the addresses
// and ports, then the state word again. Its generation changes whenever the slot
// changes hands; live is set only while the words belong to a flow. Two loads of one
// generation, live, mean that what lies between them is of that flow.
//
// Without a lock a packet writes two things: the stamp, and for TCP what its side
// last acknowledged. A slot that changed hands at that very moment gets a stranger's:
// the stamp is right anyhow, and the window is put right by the next segment.
//
// All else changes under the lock of the shard that the flow's owner is in
// (source.go): state, lists and timer.

const noFlow = 0 // the slot that no flow has

type flow struct {
	// The flow's first packet as it comes (orig) and as it leaves (xlat). Answers
	// come as xlat reversed and leave as orig reversed.
	osrc, odst, xsrc, xdst slotAddr

	ports  atomic.Uint64 // orig's << 32 | xlat's
	state  atomic.Uint64
	win    [2]atomic.Uint64 // what the initiator, the responder acknowledged last << 32 | its window in bytes
	seen   atomic.Uint32    // when its last packet came, coarse seconds
	owner  atomic.Uint32    // ref of the source that it counts on
	timer  link             // a slot of the wheel (wheel.go)
	peers  link             // flows of the same mapping (mapping.go)
	family link             // flows of the same source and rank (source.go)
}

type slotAddr struct{ hi, lo atomic.Uint64 }

// store writes no word that is right already: of IPv4 addresses only lo ever changes.
func (s *slotAddr) store(a addr) {
	if s.hi.Load() != a.hi {
		s.hi.Store(a.hi)
	}
	s.lo.Store(a.lo)
}

func (s *slotAddr) load() addr { return addr{s.hi.Load(), s.lo.Load()} }

// The state word. The lower bits hold the class of the first packet.
const (
	replyInside = 1 << 4 // answers come from the inside
	live        = 1 << 5
	hairpin     = 1 << 6 // both ends are inside: what leaves by it comes in again by another
	published   = 1 << 7 // made by a published port
	mapped      = 1 << 8 // holds an outside port, with its peers
	static      = 1 << 9 // has the outside port that its socket is published by

	// What has been seen, of the initiator (O) and the responder (R).
	synO    = 1 << 16
	synR    = 1 << 17
	opened  = 1 << 18 // the handshake is complete, or traffic went both ways
	finO    = 1 << 19
	finR    = 1 << 20
	rstO    = 1 << 21
	rstR    = 1 << 22
	replied = 1 << 23

	rankShift  = 24 // 2 bits: see rank
	scaleShift = 28 // 4 bits each: window scale of initiator and responder (RFC 7323, 2.2)
	genShift   = 40 // 24 bits
)

const seenBits = synO | synR | opened | finO | finR | rstO | rstR | replied

// classOf returns the class of packets that go the flow's way d.
func classOf(s uint64, d int) class {
	c := class(s) & (classKind | classV6)
	if d == 0 && s&uint64(classInside) != 0 || d == 1 && s&replyInside != 0 {
		c |= classInside
	}
	return c
}

// A rank says how soon a flow is given up for another: the lowest first.
type rank uint8

const (
	rankUnanswered rank = iota // nobody has answered, or the handshake is not complete
	rankLoose                  // UDP and echo, and TCP that is closing
	rankOpen                   // established TCP
	ranks
)

func rankOf(s uint64) rank        { return rank(s>>rankShift) & 3 }
func withRank(s uint64) uint64    { return s&^(3<<rankShift) | uint64(judge(s))<<rankShift }
func scaleOf(s uint64, d int) int { return int(s>>(scaleShift+4*d)) & 15 }

// judge derives a flow's rank from what has been seen of it.
func judge(s uint64) rank {
	switch {
	case class(s).kind() != kindTCP && s&replied != 0:
		return rankLoose
	case class(s).kind() != kindTCP || s&opened == 0:
		return rankUnanswered
	case closed(s):
		return rankLoose
	}
	return rankOpen
}

// closed reports whether a TCP connection is over: reset, or both sides have sent
// their FIN.
func closed(s uint64) bool { return s&(rstO|rstR) != 0 || s&(finO|finR) == finO|finR }

// orig and xlat return the tuples. A reader without the lock has to hold the state
// word against them.
func (f *flow) orig() tuple {
	return tuple{f.osrc.load(), f.odst.load(), uint32(f.ports.Load() >> 32)}
}
func (f *flow) xlat() tuple {
	return tuple{f.xsrc.load(), f.xdst.load(), uint32(f.ports.Load())}
}

// came and leaves return the tuple that packets of the way d have before and after
// translation.
func (f *flow) came(d int) tuple {
	if d == 0 {
		return f.orig()
	}
	return f.xlat().reverse()
}

func (f *flow) leaves(d int) tuple {
	if d == 0 {
		return f.xlat()
	}
	return f.orig().reverse()
}

// is reports whether the flow's way d is that of packets of tuple t and class c.
func (f *flow) is(d int, t *tuple, c class) bool {
	ports := f.ports.Load()
	var src, dst *slotAddr
	if d == 0 {
		if uint32(ports>>32) != t.ports {
			return false
		}
		src, dst = &f.osrc, &f.odst
	} else {
		if uint32(ports)<<16|uint32(ports)>>16 != t.ports {
			return false
		}
		src, dst = &f.xdst, &f.xsrc
	}
	if src.lo.Load() != t.src.lo || dst.lo.Load() != t.dst.lo {
		return false
	}
	return !c.v6() || src.hi.Load() == t.src.hi && dst.hi.Load() == t.dst.hi
}

// fill makes a free slot the flow's, whose state word is s but for the generation, and
// which counts on owner. Readers see the old flow, none, or the new one; whoever sees it
// live sees its owner, whose lock is the one to take for it.
func (f *flow) fill(orig, xlat tuple, s uint64, owner, now uint32) {
	gen := f.state.Load()>>genShift + 1
	if f.owner.Load() != owner {
		f.owner.Store(owner)
	}
	if f.seen.Load() != now {
		f.seen.Store(now)
	}
	f.osrc.store(orig.src)
	f.odst.store(orig.dst)
	f.xsrc.store(xlat.src)
	f.xdst.store(xlat.dst)
	f.ports.Store(uint64(orig.ports)<<32 | uint64(xlat.ports))
	for d := range f.win {
		if f.win[d].Load() != 0 {
			f.win[d].Store(0)
		}
	}
	f.state.Store(withRank(s) | live | gen<<genShift)
}

// touch has the slot's two lines fetched into the cache; see index.touch.
func (f *flow) touch() {
	f.osrc.lo.Load()
	f.state.Load()
}

// free ends the flow's hold on the slot.
func (f *flow) free() { f.state.Store(f.state.Load() &^ live) }

// same reports whether two state words are of one flow.
func same(a, b uint64) bool { return (a^b)>>genShift == 0 && b&live != 0 }
