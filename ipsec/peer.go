package ipsec

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Theory of operation: a peer's pairs
//
// Keys change without losing a packet: a new pair is received by before anybody
// sends by it, and an old one is received by after nobody does.
//
//	           Add                 heard, or SendAfter         Grace
//	(announced) ──▶ Receiving ──────────────────────▶ Sending    ┌──▶ (gone)
//	                    │                                │       │
//	                    └── a later pair sends ──▶ Retiring ─────┘
//
// Receiving: what the peer sends by the pair is opened. Sending: this node sends by
// it too; there is one such pair at most. Retiring: a later pair sends; this one is
// still opened, for what is under way and for a peer that has not changed yet, and
// is gone when Grace is over.
//
// There is no handshake. A node begins to send by a pair when a packet has come by it,
// which proves that the peer has it, or when SendAfter is over, which is longer than
// announcements travel. So that a packet comes although nobody sends by the pair yet,
// each side probes: it sends dummy packets (RFC 4303, 2.6) by a pair that it has not
// heard from, and one more when it has, for the other's sake. A node begins at once
// when it could not send otherwise, and when the peer has a higher generation: it was
// started again and has none of the old keys.
//
// Pairs follow each other by the peer's generation, in one generation by epoch. One
// that is added late, when a later one sends, begins as Retiring.
//
// The owner calls Add with what EpochKey.Pair returned, then publishes a Table that
// holds Inbound, and calls Tick about once a second, publishing again whenever it
// is told to. The order matters: what Add puts first must be in the table before
// the next Tick.

// The times of a [Peer], as they are unless set.
const (
	DefaultSendAfter = 30 * time.Second
	DefaultGrace     = 90 * time.Second
)

// maxPairs bounds what a peer holds: the oldest one that does not send gives way.
const maxPairs = 4

// A State says what a pair is for.
type State uint8

// The states.
const (
	Receiving State = iota
	Sending
	Retiring
)

// String returns the name in lower case.
func (s State) String() string { return [...]string{"receiving", "sending", "retiring"}[s] }

// A Peer leads the pairs shared with one node through their lives.
type Peer struct {
	sendAfter, grace time.Duration

	sending atomic.Pointer[Pair] // what workers seal by

	mu    sync.Mutex
	pairs []life // earliest first
}

// A life is a pair and its state.
type life struct {
	pair  *Pair
	state State
	since time.Time // when it came into the state
	told  bool      // that it was heard
}

// NewPeer returns a peer without pairs. A new pair is sent by after sendAfter at the
// latest, a former one is opened for grace; 0 means the default.
func NewPeer(sendAfter, grace time.Duration) *Peer {
	if sendAfter == 0 {
		sendAfter = DefaultSendAfter
	}
	if grace == 0 {
		grace = DefaultGrace
	}
	return &Peer{sendAfter: sendAfter, grace: grace}
}

// Outbound returns the SA by which a worker sends to the peer now, nil if there is
// no key: then nothing may be sent. It takes no lock; workers ask once a batch.
func (p *Peer) Outbound(worker int) *Outbound { return p.sending.Load().Outbound(worker) }

// Add takes up a pair and reports whether it is new. Then Inbound has changed.
func (p *Peer) Add(pair *Pair, now time.Time) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := len(p.pairs)
	for i := range p.pairs {
		if p.pairs[i].pair == pair {
			return false
		}
		if at == len(p.pairs) && pair.before(p.pairs[i].pair) {
			at = i
		}
	}
	for _, sa := range pair.in {
		sa.peer.Store(p)
	}
	p.pairs = slices.Insert(p.pairs, at, life{pair: pair, state: Receiving, since: now})
	p.advanceLocked(now)
	p.boundLocked()
	return true
}

// before reports whether p gives way to q.
func (p *Pair) before(q *Pair) bool {
	if p.peer.Generation != q.peer.Generation {
		return p.peer.Generation < q.peer.Generation
	}
	return p.peer.Epoch < q.peer.Epoch
}

// Tick lets time pass and reports whether Inbound has changed.
func (p *Peer) Tick(now time.Time) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advanceLocked(now)
	n := len(p.pairs)
	p.pairs = slices.DeleteFunc(p.pairs, func(l life) bool { return l.state == Retiring && now.Sub(l.since) >= p.grace })
	return len(p.pairs) != n
}

// Proven reports whether the peer has shown that it has the pair by which this node
// sends. Without one it has not.
func (p *Peer) Proven() bool { return p.sending.Load().Heard() }

// Worn reports whether the latest pair is past its soft limit.
func (p *Peer) Worn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.pairs)
	return n > 0 && p.pairs[n-1].pair.Worn()
}

// Probes appends to sas those by which a dummy packet is to be sent now: of pairs not
// heard from yet, and once of each that has been. It is called before Tick.
func (p *Peer) Probes(sas []*Outbound) []*Outbound {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.pairs {
		l := &p.pairs[i]
		if l.state == Retiring || l.told || len(l.pair.out) == 0 {
			continue
		}
		l.told = l.pair.Heard()
		sas = append(sas, l.pair.out[0])
	}
	return sas
}

// advanceLocked lets the latest pair that may send do so, and retires all in front
// of it.
func (p *Peer) advanceLocked(now time.Time) {
	best, current := -1, p.sending.Load()
	for i := range p.pairs {
		if l := &p.pairs[i]; l.state == Sending || l.state == Receiving && p.ripe(l, current, now) {
			best = i
		}
	}
	if best < 0 {
		return
	}
	for i := range p.pairs {
		switch l := &p.pairs[i]; {
		case i < best && l.state != Retiring:
			l.state, l.since = Retiring, now
		case i == best && l.state != Sending:
			l.state, l.since = Sending, now
		}
	}
	p.sending.Store(p.pairs[best].pair)
}

// ripe reports whether a pair may be sent by.
func (p *Peer) ripe(l *life, current *Pair, now time.Time) bool {
	return current == nil || l.pair.peer.Generation > current.peer.Generation ||
		now.Sub(l.since) >= p.sendAfter || l.pair.Heard()
}

// boundLocked drops the earliest pair that does not send when there are too many.
func (p *Peer) boundLocked() {
	if len(p.pairs) <= maxPairs {
		return
	}
	i := slices.IndexFunc(p.pairs, func(l life) bool { return l.state != Sending })
	p.pairs = slices.Delete(p.pairs, i, i+1)
}

// Inbound appends to sas all by which the peer may send, for [NewTable].
func (p *Peer) Inbound(sas []*Inbound) []*Inbound {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.pairs {
		sas = append(sas, l.pair.in...)
	}
	return sas
}

// A PairStatus is one pair as shown to people.
type PairStatus struct {
	Epoch, Generation uint64 // the peer's
	State             State
	Since             time.Time
	Worn              bool // asks for the next epoch
	SAs               int  // of both directions: one for each worker that sends
	// What was sealed and opened by all SAs, and what was refused.
	SentPackets, SentBytes, Packets, Bytes, Replayed, Forged uint64
}

// Status returns the pairs, earliest first.
func (p *Peer) Status() []PairStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]PairStatus, 0, len(p.pairs))
	for _, l := range p.pairs {
		s := PairStatus{Epoch: l.pair.peer.Epoch, Generation: l.pair.peer.Generation, State: l.state, Since: l.since, Worn: l.pair.Worn(), SAs: len(l.pair.out) + len(l.pair.in)}
		for _, o := range l.pair.out {
			s.SentPackets += o.Packets()
			s.SentBytes += o.Bytes()
		}
		for _, i := range l.pair.in {
			s.Packets += i.Packets()
			s.Bytes += i.Bytes()
			s.Replayed += i.Replayed()
			s.Forged += i.Forged()
		}
		all = append(all, s)
	}
	return all
}
