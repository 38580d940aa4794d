package vswitch

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"weft/internal/frame"
)

// Theory of operation.
//
// The table maps a group, an IP multicast address, to the ports that have
// reported it. Like the FDB it is a fixed array of buckets of eight slots; a
// group may live in any slot of the bucket that its hash names. A slot is a
// pointer to the group with part of the hash beside it, so that the groups of a
// bucket are not all fetched.
//
// Readers, which have a data frame, take no lock: they load a slot, compare the
// group's own address, which never changes, and load its listeners, an immutable
// slice. Writers, which have a report or the clock, hold mu.
//
// A listener is there until groupAge after the port's last report. A leave takes
// it away at once on a port that belongs to one endpoint. Behind any other port
// there may be further listeners: there a leave marks it, the querier asks
// (asking), and unless a report comes the listener ends lastMemberTime later (RFC
// 3376, 8.8). Where the switch is not the querier, the mark is for nothing and
// the listener ages.
//
// Bounds: max groups, of which one endpoint's port takes a quarter at most. What
// finds no room is counted and refused; the caller then sends the port all
// multicast.

// Times in seconds: RFC 3376, 8.4 (robustness 2, queries every 125 s, 10 s to
// respond) and 8.8, with a second on top for the coarse clock.
const (
	groupAge       = 260
	lastMemberTime = 3
)

// lastMemberQueries is how often a group is asked for after a leave (RFC 3376,
// 8.9).
const lastMemberQueries = 2

// A groupKey is an address: IPv6, or IPv4 mapped into it (RFC 4291, 2.5.5.2).
type groupKey struct{ hi, lo uint64 }

const mapped4 = 0xffff << 32

// groupKey4 and groupKey6 take the address at the start of b.
func groupKey4(b []byte) groupKey {
	return groupKey{0, mapped4 | uint64(binary.BigEndian.Uint32(b))}
}

func groupKey6(b []byte) groupKey {
	return groupKey{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (k groupKey) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], k.hi)
	binary.BigEndian.PutUint64(b[8:], k.lo)
	return netip.AddrFrom16(b).Unmap()
}

func (k groupKey) family() ipFamily {
	if k.hi == 0 && k.lo>>32 == 0xffff {
		return ip4Family
	}
	return ip6Family
}

func (k groupKey) unspecified() bool { return k.hi == 0 && (k.lo == 0 || k.lo == mapped4) }

// multicast reports whether the address is a group's: 224.0.0.0/4, ff00::/8.
func (k groupKey) multicast() bool {
	if k.family() == ip4Family {
		return k.lo>>28&15 == 14
	}
	return k.hi>>56 == 0xff
}

// everywhere reports whether a group's frames always go to every port: those
// of the link, which hosts do not report or routers do not expect reports of
// (RFC 4541, 2.1.2 (2) and 3; RFC 3810, 6, of scopes 0 and 1).
func (k groupKey) everywhere() bool {
	if k.family() == ip4Family {
		return k.lo>>8&0xffffff == 0xe00000 // 224.0.0.0/24
	}
	scope := k.hi >> 48 & 15
	return scope <= 1 || k.hi>>48 == 0xff02
}

// A group and who listens to it.
type group struct {
	key       groupKey
	listeners atomic.Pointer[[]*listener]
	leaving   int // so many more times the querier asks; under mu
}

// A listener is a port from which a group was reported.
type listener struct {
	port  *Port
	until uint32 // when it ends, in seconds; under mu
	left  bool   // somebody behind the port has left, others may not have; under mu
}

type groupSlot struct {
	tag atomic.Uint32
	ptr atomic.Pointer[group]
}

type groupTable struct {
	mu      sync.Mutex
	buckets [][bucketSlots]groupSlot
	mask    uint64
	seed    uint64
	max     int
	entries atomic.Int64
	full    atomic.Uint64
	next    [ipFamilies]int // the bucket that asking begins with; under mu
}

func newGroupTable(max int, seed uint64) *groupTable {
	n := 1
	for n*bucketSlots < 2*max {
		n *= 2
	}
	return &groupTable{buckets: make([][bucketSlots]groupSlot, n), mask: uint64(n - 1), seed: seed, max: max}
}

func (t *groupTable) hash(k groupKey) uint64 {
	const m = 0x9e3779b97f4a7c15
	h := (k.hi ^ t.seed) * m
	return (h ^ h>>32 ^ k.lo) * m
}

// lookup returns the group, nil when nobody listens to it.
func (t *groupTable) lookup(k groupKey) *group {
	h := t.hash(k)
	b := &t.buckets[h>>32&t.mask]
	for i := range b {
		if b[i].tag.Load() != uint32(h) {
			continue
		}
		if g := b[i].ptr.Load(); g != nil && g.key == k {
			return g
		}
	}
	return nil
}

// find returns the listener of a port, nil when it is none.
func (g *group) find(p *Port) *listener {
	for _, l := range *g.listeners.Load() {
		if l.port == p {
			return l
		}
	}
	return nil
}

// join notes that a port listens to a group and reports whether there was room.
func (t *groupTable) join(k groupKey, p *Port, now uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.lookup(k)
	if g != nil {
		if l := g.find(p); l != nil {
			l.until, l.left = now+groupAge, false
			return true
		}
	}
	if p.cfg.Horizon == 0 && p.groups >= max(t.max/4, 1) {
		t.full.Add(1)
		return false
	}
	if g == nil {
		if g = t.enter(k); g == nil {
			t.full.Add(1)
			return false
		}
	}
	list := append(slices.Clone(*g.listeners.Load()), &listener{port: p, until: now + groupAge})
	g.listeners.Store(&list)
	p.groups++
	return true
}

// enter puts a group without listeners into the table, or returns nil when there
// is no room. The caller holds mu.
func (t *groupTable) enter(k groupKey) *group {
	if int(t.entries.Load()) >= t.max {
		return nil
	}
	h := t.hash(k)
	b := &t.buckets[h>>32&t.mask]
	for i := range b {
		if b[i].ptr.Load() == nil {
			g := &group{key: k}
			g.listeners.Store(&[]*listener{})
			b[i].tag.Store(uint32(h))
			b[i].ptr.Store(g)
			t.entries.Add(1)
			return g
		}
	}
	return nil
}

// leave notes that somebody behind a port has left a group.
func (t *groupTable) leave(k groupKey, p *Port) {
	if t.lookup(k) == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.lookup(k)
	if g == nil {
		return
	}
	l := g.find(p)
	switch {
	case l == nil:
	case p.guard.on:
		t.prune(g, func(l *listener) bool { return l.port == p })
	default:
		l.left, g.leaving = true, lastMemberQueries
	}
}

// asking returns at most max groups that the querier has to ask for now, and
// cuts the time of the listeners that the asking is about. Each call begins where
// the last one stopped: groups that are left all the time keep no other waiting.
func (t *groupTable) asking(f ipFamily, now uint32, max int) (keys []groupKey) {
	if t.entries.Load() == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for range t.buckets {
		b := &t.buckets[t.next[f]]
		for i := range b {
			g := b[i].ptr.Load()
			if g == nil || g.leaving == 0 || g.key.family() != f {
				continue
			}
			if len(keys) == max {
				return keys
			}
			if g.lastCall(now) {
				keys = append(keys, g.key)
			}
		}
		t.next[f] = (t.next[f] + 1) % len(t.buckets)
	}
	return keys
}

// lastCall cuts the time of the listeners that somebody has left behind, and
// reports whether there are any. The caller holds the table's mu.
func (g *group) lastCall(now uint32) bool {
	g.leaving--
	marked := false
	for _, l := range *g.listeners.Load() {
		if l.left {
			l.until, marked = min(l.until, now+lastMemberTime), true
		}
	}
	return marked
}

// prune removes listeners, and the group when none is left. The caller holds mu.
func (t *groupTable) prune(g *group, gone func(*listener) bool) {
	list := *g.listeners.Load()
	if !slices.ContainsFunc(list, gone) {
		return
	}
	var rest []*listener
	for _, l := range list {
		if gone(l) {
			l.port.groups--
		} else {
			rest = append(rest, l)
		}
	}
	g.listeners.Store(&rest)
	if len(rest) > 0 {
		return
	}
	b := &t.buckets[t.hash(g.key)>>32&t.mask]
	for i := range b {
		if b[i].ptr.Load() == g {
			b[i].ptr.Store(nil)
			t.entries.Add(-1)
		}
	}
}

// pruneAll removes listeners of every group.
func (t *groupTable) pruneAll(gone func(*listener) bool) {
	if t.entries.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.each(func(g *group) { t.prune(g, gone) })
}

// each calls f for every group.
func (t *groupTable) each(f func(*group)) {
	for i := range t.buckets {
		for j := range t.buckets[i] {
			if g := t.buckets[i][j].ptr.Load(); g != nil {
				f(g)
			}
		}
	}
}

// destination returns the group that an IP packet is for. ok is false when f
// holds no IP packet to a group.
func destination(f *frame.Frame) (k groupKey, ok bool) {
	b, l3 := f.Bytes(), f.View.L3
	switch f.View.EtherType {
	case frame.EtherIPv4:
		k = groupKey4(b[l3+16:])
	case frame.EtherIPv6:
		k = groupKey6(b[l3+24:])
	default:
		return groupKey{}, false
	}
	return k, k.multicast()
}
