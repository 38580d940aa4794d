package nat

import (
	"sync"
	"sync/atomic"

	"weft/internal/frame"
)

// Config says how much a table may hold and for how long, in seconds. Zero values mean
// the defaults.
type Config struct {
	// MaxFlows is the number of flows, 1,000,000 by default and 8,000,000 at most.
	MaxFlows int
	// MaxPerSource is the number of flows an endpoint may have; by default there
	// is no other limit than fairness.
	MaxPerSource int
	// MaxUnanswered is the number of flows that may wait for their first answer
	// or for the end of their handshake, a quarter of MaxFlows by default.
	MaxUnanswered int
	// Seed makes hashes and port choices unpredictable for others.
	Seed uint64

	// TCPEstablished is 2 hours and 4 minutes by default (RFC 5382, REQ-5),
	// TCPTransitory, for connections that are opening or closing, 4 minutes.
	TCPEstablished, TCPTransitory uint32
	// UDP is 5 minutes by default (RFC 4787, REQ-5). Published is for flows of
	// published UDP ports that have been answered, an hour.
	UDP, Published uint32
	// Echo is for ICMP and ICMPv6 echo, a minute by default (RFC 5508, REQ-2).
	Echo uint32
}

const defaultFlows = 1_000_000

func (c Config) filled() Config {
	or := func(v *uint32, d uint32) {
		if *v == 0 {
			*v = d
		}
	}
	if c.MaxFlows <= 0 {
		c.MaxFlows = defaultFlows
	}
	c.MaxFlows = min(c.MaxFlows, maxSlots-shards*2*handful-1)
	if c.MaxPerSource <= 0 {
		c.MaxPerSource = c.MaxFlows
	}
	if c.MaxUnanswered <= 0 {
		c.MaxUnanswered = max(c.MaxFlows/4, 1)
	}
	or(&c.TCPEstablished, 7440)
	or(&c.TCPTransitory, 240)
	or(&c.UDP, 300)
	or(&c.Published, 3600)
	or(&c.Echo, 60)
	return c
}

// A Table tracks connections and translates their packets. Outbound, Inbound, Flows,
// Flush, Stats and SetRules may be called from anywhere at the same time, Tick from one
// goroutine.
type Table struct {
	cfg    Config
	keys   keys
	rules  atomic.Pointer[ruleset]
	index  index
	pool   pool
	frags  [2]fragments // from the outside, from the inside
	shards [shards]shard
	count  [ranks]atomic.Int64 // flows
	counts counters

	setting sync.Mutex // held by SetRules
}

// New returns an empty table without rules.
func New(cfg Config) *Table {
	cfg = cfg.filled()
	t := &Table{cfg: cfg, keys: newKeys(cfg.Seed)}
	t.pool.init(cfg.MaxFlows + shards*2*handful)
	t.index.init()
	t.rules.Store(compile(&Rules{}, nil))
	for i := range t.shards {
		sh := &t.shards[i]
		sh.no, sh.byHost, sh.dice = uint32(i), map[addr]uint32{}, t.keys[0]^uint64(i)
	}
	return t
}

// SetRules replaces the rules. Flows that they would not make end.
func (t *Table) SetRules(r *Rules) {
	t.setting.Lock()
	defer t.setting.Unlock()
	rs := compile(r, t.rules.Load())
	t.rules.Store(rs)
	// Whoever makes a flow looks at the rules under its shard's lock. So once every
	// lock has been free, all that the old ones made is there to be found.
	for i := range t.shards {
		t.shards[i].mu.Lock()
		t.shards[i].mu.Unlock() //lint:ignore SA2001 a barrier
	}
	t.sweep(func(f *flow, s uint64) bool { return !rs.permits(f.orig(), f.xlat(), s) })
}

// sweepHold is the number of slots that are looked at while workers have to wait.
const sweepHold = 256

// sweep ends the flows that gone says so of and returns their number.
func (t *Table) sweep(gone func(*flow, uint64) bool) (n int) {
	var due []uint32
	for i, end := uint32(1), t.pool.given(); i < end; i++ {
		f := t.pool.at(i)
		if s := f.state.Load(); s&live != 0 && gone(f, s) {
			due = append(due, i)
		}
		if len(due) == sweepHold || i == end-1 {
			for _, slot := range due {
				n += t.endIf(slot, gone)
			}
			due = due[:0]
		}
	}
	return n
}

// endIf ends the flow in a slot, if there is one and gone says so under its lock, and
// returns how many it ended.
func (t *Table) endIf(slot uint32, gone func(*flow, uint64) bool) int {
	f := t.pool.at(slot)
	sh := t.shardOf(f.owner.Load())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s := f.state.Load(); s&live == 0 || t.shardOf(f.owner.Load()) != sh || !gone(f, s) {
		return 0
	}
	t.end(sh, slot)
	t.counts.ended.Add(1)
	return 1
}

// flows returns their number. It may pass MaxFlows by as many as there are workers.
func (t *Table) flows() (n int) {
	for r := range ranks {
		n += int(t.count[r].Load())
	}
	return n
}

// timeout returns how long a flow of state s may be idle, in seconds.
func (t *Table) timeout(s uint64) uint32 {
	switch class(s).kind() {
	case kindTCP:
		if rankOf(s) == rankOpen {
			return t.cfg.TCPEstablished
		}
		return t.cfg.TCPTransitory
	case kindUDP:
		if s&(published|static) != 0 && s&replied != 0 {
			return t.cfg.Published
		}
		return t.cfg.UDP
	}
	return t.cfg.Echo
}

// A Side is where a translated frame goes.
type Side uint8

// The sides.
const (
	Outside Side = iota
	Inside
)

// Outbound translates, in place, a parsed frame from an endpoint and says which side
// it is for: the outside or, if it was sent to an address that the outside has of
// weft's, back inside (hairpin, RFC 4787, REQ-9). Of a frame that is to be dropped
// nothing has been changed but, possibly, an ICMP error. now is the coarse clock in
// seconds. MAC addresses, and what the sender of a dropped frame is told, are the
// caller's business.
func (t *Table) Outbound(f *frame.Frame, now uint32) (Side, frame.Reason) {
	return t.translate(f, classInside, now)
}

// Inbound translates, in place, a parsed frame that came from the outside.
func (t *Table) Inbound(f *frame.Frame, now uint32) (Side, frame.Reason) {
	return t.translate(f, 0, now)
}
