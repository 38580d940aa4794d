package vswitch

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"

	"weft/internal/frame"
)

// Theory of operation: next hops
//
// A hop is a neighbour outside that frames are sent to, or were to be. It is made when the
// first frame for it comes, and lives by a simpler form of RFC 4861, 7.3.2, for both
// families:
//
//	asked      its MAC is not known. A worker asks when a frame is for it, at most once a
//	           second. The last such frame is held (RFC 1122, 2.3.2.2), if it is no longer
//	           than maxHeld: it goes out with the answer. Tick asks again, and after
//	           hopTries the hop is given up: who sent the held frame is told.
//	known      heard of in the last hopFresh seconds, or not used since
//	probed     used, but not heard of for longer: Tick asks it alone once a second, and
//	           goes back to asked after hopTries more
//	static     entered by SetNeighbour: known for good
//
// Only who is a hop is listened to: what others say of themselves teaches nothing. A hop
// that moves, by saying so, is believed, as on any Ethernet.
//
// The map is immutable, and is copied for a new hop, at most newHops times a second: who
// scans what is on the link costs no more. Its bound is maxHops, of which maxAsked are
// asked; gateways are made beyond it, so that no scan keeps others from them. What a frame needs of a hop is atomic; a frame that is held takes the hop's lock.

const (
	maxHops  = 1024
	maxAsked = 256
	newHops  = 128
	maxHeld  = 2048 // bytes

	hopFresh = 30  // seconds
	hopTries = 3   // questions, a second apart (RFC 4861, 10: MAX_MULTICAST_SOLICIT)
	hopIdle  = 300 // seconds without use, after which a hop is forgotten
)

type hops struct {
	snap atomic.Pointer[map[netip.Addr]*hop]
	full atomic.Uint64

	mu     sync.Mutex // taken by who changes the map
	second uint32     // in which so many hops were new
	fresh  int
	asked  int // hops whose MAC is not known
}

// A hop is described above.
type hop struct {
	addr, from netip.Addr
	static     bool
	link       atomic.Uint64 // 1 << 48 | MAC; 0: not known
	heard      atomic.Uint32 // in seconds, as the rest
	used       atomic.Uint32
	ask        atomic.Uint32 // when it was last asked

	mu    sync.Mutex // guards what follows
	tries int
	held  []byte // a frame that lacks nothing but the destination's MAC; empty: none
	off   frame.Offload
	in    uint32 // the port it came by
}

func (h *hops) init() { h.snap.Store(&map[netip.Addr]*hop{}) }

func (h *hops) get(a netip.Addr) *hop { return (*h.snap.Load())[a] }

// make returns a hop on a way, new if need be; nil when there is no room. For a gateway
// there always is: there are no more of them than routes.
func (h *hops) make(a netip.Addr, by way, now uint32) *hop {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := *h.snap.Load()
	if p := old[a]; p != nil {
		return p
	}
	if h.second != now {
		h.second, h.fresh = now, 0
	}
	if !by.via.IsValid() && (len(old) >= maxHops || h.asked >= maxAsked || h.fresh >= newHops) {
		h.full.Add(1)
		return nil
	}
	h.fresh++
	h.asked++
	next := maps.Clone(old)
	p := &hop{addr: a, from: by.from, tries: 1} // whoever makes it asks
	p.used.Store(now)
	next[a] = p
	h.snap.Store(&next)
	return p
}

// set enters a hop that is known for good, in place of what there was. It reports whether
// there was room.
func (h *hops) set(a netip.Addr, m frame.MAC) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := maps.Clone(*h.snap.Load())
	was := next[a]
	if was == nil && len(next) >= maxHops {
		return false
	}
	if was != nil && was.link.Load() == 0 {
		h.asked--
	}
	p := &hop{addr: a, static: true}
	p.link.Store(linkOf(m))
	next[a] = p
	h.snap.Store(&next)
	return true
}

// found notes that one hop fewer is asked, or one more.
func (h *hops) found(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked -= n
}

// forget removes hops.
func (h *hops) forget(which map[netip.Addr]bool) {
	if len(which) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	next := maps.Clone(*h.snap.Load())
	maps.DeleteFunc(next, func(a netip.Addr, _ *hop) bool { return which[a] })
	h.asked = 0
	for _, p := range next {
		if p.link.Load() == 0 {
			h.asked++
		}
	}
	h.snap.Store(&next)
}

// at returns the hop's MAC, if it is known.
func (p *hop) at() (m frame.MAC, ok bool) {
	v := p.link.Load()
	return frame.MAC{byte(v >> 40), byte(v >> 32), byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}, v != 0
}

// use notes that a frame was for the hop.
func (p *hop) use(now uint32) {
	if p.used.Load() != now {
		p.used.Store(now)
	}
}

// linkOf is a MAC as link holds it.
func linkOf(m frame.MAC) uint64 {
	return 1<<48 | uint64(m[0])<<40 | uint64(m[1])<<32 | uint64(m[2])<<24 | uint64(m[3])<<16 | uint64(m[4])<<8 | uint64(m[5])
}

// learn notes that the hop was heard of, and reports whether its MAC was not known.
func (p *hop) learn(m frame.MAC, now uint32) (fresh bool) {
	if p.static {
		return false
	}
	v := linkOf(m)
	if p.link.Load() != v {
		fresh = p.link.Swap(v) == 0
	}
	if p.heard.Load() != now {
		p.heard.Store(now)
	}
	return fresh
}

// hold keeps a frame until the hop's MAC is known. It takes the place of the one held
// before. It returns false for one that is too long.
func (p *hop) hold(f *frame.Frame) bool {
	if f.Len() > maxHeld {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = append(p.held[:0], f.Bytes()...)
	p.off, p.in = f.Offload, f.In
	return true
}

// release appends the frame that was held to b, and returns it parsed; nil if there is
// none.
func (p *hop) release(b *frame.Batch) *frame.Frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.held) == 0 {
		return nil
	}
	f := b.Append(p.held)
	p.held = p.held[:0]
	if f == nil {
		return nil
	}
	f.Offload, f.In = p.off, p.in
	if f.Parse() != frame.NotDropped {
		return nil
	}
	return f
}

// What a hop needs when Tick looks at it.
type hopNeed uint8

const (
	needsNothing hopNeed = iota
	needsQuestion
	needsForgetting
	needsGivingUp // and was asked in vain
)

// look counts a try and returns what is to be done about the hop, and the MAC that it is to
// be asked at, if it had one.
func (p *hop) look(h *hops, now uint32) (hopNeed, frame.MAC) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, known := p.at()
	// Signed: a worker's clock may be a second ahead.
	idle := int32(now - p.used.Load())
	switch {
	case p.static:
		return needsNothing, m
	case idle >= hopIdle:
		return needsForgetting, m
	case known && int32(now-p.heard.Load()) < hopFresh:
		p.tries = 0
		return needsNothing, m
	case known && idle >= hopFresh:
		return needsNothing, m
	case known && p.tries >= hopTries:
		p.link.Store(0)
		h.found(-1)
		p.tries = 0
		return needsNothing, m
	case p.tries >= hopTries:
		return needsGivingUp, m
	}
	p.tries++
	return needsQuestion, m
}
