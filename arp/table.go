package arp

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"weft/internal/frame"
)

// Theory of operation.
//
// A Table maps addresses to MACs. Its readers, the workers, load an immutable
// map once and take no lock. Its writers copy the map under a mutex, so a write
// costs the table's length: the control plane writes rarely, and a worker writes
// only when a neighbour is new. What is learned of a known one is changed in
// place: its stamp, at most once a second, and its MAC when it has moved, which
// whoever pretends to move with every frame must get no more than a store for.
//
// An entry is static (set by the control plane, lives until Remove) or learned
// (lives until Expire finds its stamp too old). Static wins: Learn never changes
// a static entry, SetStatic replaces a learned one, and in a full table it
// evicts the learned entry seen longest ago. A learned entry in a full table is
// dropped; Full counts these.

// ErrFull means that a table holds as many static entries as it may.
var ErrFull = errors.New("neighbour table is full")

// A Table holds the neighbours of one network.
type Table struct {
	max  int
	full atomic.Uint64
	mu   sync.Mutex // taken by writers
	snap atomic.Pointer[map[netip.Addr]*entry]
}

// A static entry is immutable, of a learned one MAC and stamp change.
type entry struct {
	link   atomic.Uint64 // the MAC, in its lower 48 bits
	static bool
	seen   atomic.Uint32 // coarse seconds; learned entries only
}

func newEntry(mac frame.MAC, static bool) *entry {
	e := &entry{static: static}
	e.move(mac)
	return e
}

func (e *entry) move(m frame.MAC) {
	e.link.Store(uint64(m[0])<<40 | uint64(m[1])<<32 | uint64(m[2])<<24 | uint64(m[3])<<16 | uint64(m[4])<<8 | uint64(m[5]))
}

func (e *entry) mac() frame.MAC {
	v := e.link.Load()
	return frame.MAC{byte(v >> 40), byte(v >> 32), byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
}

// An Entry is one neighbour as shown to people.
type Entry struct {
	Addr   netip.Addr
	MAC    frame.MAC
	Static bool
	Seen   uint32 // when a learned one was last heard, in the caller's seconds
}

// NewTable returns an empty table for at most max entries.
func NewTable(max int) *Table {
	t := &Table{max: max}
	t.snap.Store(&map[netip.Addr]*entry{})
	return t
}

// Lookup returns the MAC of a neighbour.
func (t *Table) Lookup(a netip.Addr) (frame.MAC, bool) {
	if e := t.get(a); e != nil {
		return e.mac(), true
	}
	return frame.MAC{}, false
}

func (t *Table) get(a netip.Addr) *entry { return (*t.snap.Load())[a] }

// SetStatic binds an address to a MAC until Remove.
func (t *Table) SetStatic(a netip.Addr, mac frame.MAC) error {
	if !bindable(a) || isGroup(mac) || mac == (frame.MAC{}) {
		return fmt.Errorf("neighbour %v at %x: not a host's address", a, mac[:])
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.snap.Load()
	m := maps.Clone(old)
	if old[a] == nil && len(old) >= t.max && !evict(m) {
		return fmt.Errorf("neighbour %v: %w (%d entries)", a, ErrFull, t.max)
	}
	m[a] = newEntry(mac, true)
	t.snap.Store(&m)
	return nil
}

// evict removes the learned entry seen longest ago, of equal ones the lowest
// address, so that a replay ends the same everywhere.
func evict(m map[netip.Addr]*entry) bool {
	var victim netip.Addr
	var oldest uint32
	for a, e := range m {
		if e.static {
			continue
		}
		s := e.seen.Load()
		if !victim.IsValid() || s < oldest || s == oldest && a.Less(victim) {
			victim, oldest = a, s
		}
	}
	delete(m, victim)
	return victim.IsValid()
}

// Remove forgets an address, static or learned.
func (t *Table) Remove(a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.snap.Load()
	if old[a] == nil {
		return
	}
	m := maps.Clone(old)
	delete(m, a)
	t.snap.Store(&m)
}

// Learn notes that a was heard from mac at the coarse time now, in seconds. It
// writes only when the neighbour is new, has moved or was last heard in another
// second; unspecified, multicast and group addresses are not learned.
func (t *Table) Learn(a netip.Addr, mac frame.MAC, now uint32) {
	if isGroup(mac) || mac == (frame.MAC{}) {
		return
	}
	if e := t.get(a); e != nil {
		e.hear(mac, now)
		return
	}
	if !bindable(a) {
		return
	}
	if len(*t.snap.Load()) >= t.max {
		t.full.Add(1) // without the lock: a flood of strangers costs nothing more
		return
	}
	t.learn(a, mac, now)
}

// hear notes what a known neighbour says of itself.
func (e *entry) hear(mac frame.MAC, now uint32) {
	if e.static {
		return
	}
	if e.mac() != mac {
		e.move(mac)
	}
	if e.seen.Load() != now {
		e.seen.Store(now)
	}
}

func (t *Table) learn(a netip.Addr, mac frame.MAC, now uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.snap.Load()
	if e := old[a]; e != nil { // another worker was faster
		e.hear(mac, now)
		return
	}
	if len(old) >= t.max {
		t.full.Add(1)
		return
	}
	m := maps.Clone(old)
	e := newEntry(mac, false)
	e.seen.Store(now)
	m[a] = e
	t.snap.Store(&m)
}

// Expire forgets learned entries not heard for age seconds.
func (t *Table) Expire(now, age uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.snap.Load()
	// Signed: a worker's clock may be a second ahead of the caller's.
	stale := func(_ netip.Addr, e *entry) bool { return !e.static && int32(now-e.seen.Load()) >= int32(age) }
	for a, e := range old {
		if stale(a, e) {
			m := maps.Clone(old)
			maps.DeleteFunc(m, stale)
			t.snap.Store(&m)
			return
		}
	}
}

// Full returns how often a neighbour was not learned for want of room.
func (t *Table) Full() uint64 { return t.full.Load() }

// Entries returns all neighbours in the order of their addresses.
func (t *Table) Entries() []Entry {
	m := *t.snap.Load()
	es := make([]Entry, 0, len(m))
	for a, e := range m {
		es = append(es, Entry{Addr: a, MAC: e.mac(), Static: e.static, Seen: e.seen.Load()})
	}
	slices.SortFunc(es, func(a, b Entry) int { return a.Addr.Compare(b.Addr) })
	return es
}

// bindable reports whether an address can belong to one interface on the wire.
func bindable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() &&
		!a.Is4In6() && a.Zone() == "" && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
