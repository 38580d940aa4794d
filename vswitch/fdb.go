package vswitch

import (
	"sync"
	"sync/atomic"

	"weft/internal/frame"
)

// Theory of operation.
//
// The FDB maps (VLAN, MAC) to a port. It is a fixed array of buckets of eight
// slots; an address may live in any slot of the one bucket its hash names, so a
// lookup reads at most two cache lines and deleting needs no tombstones. A slot
// is two words:
//
//	key  0 when empty, else bit 63 set | VLAN << 48 | MAC
//	val  0 when invalid, else valid | static | port slot << 32 | stamp in seconds
//
// Readers take no lock: load key, load val, load key again. Writers that change
// what a slot says hold mu and go val = 0, key, val, so a reader sees the old
// binding, none, or the new one, never a mixture. The one lock-free write is the
// refresh of a stamp, at most one per address and second, by compare-and-swap.
//
// Static entries win: learning never touches them and they do not age. A full
// bucket learns nothing; the frame is forwarded all the same and counted.
//
// A learned entry counts on its port, which may have so many: takeMAC when it
// comes, releaseMAC when it goes to another port, becomes static or is cleared.

const (
	bucketSlots = 8
	keyUsed     = 1 << 63
	valValid    = 1 << 63
	valStatic   = 1 << 62
	valPortBits = 16 // as far as frame.Frame.Copies counts
	maxPorts    = 1 << valPortBits
)

type fdbSlot struct{ key, val atomic.Uint64 }

type fdb struct {
	sw      *Switch
	mu      sync.Mutex
	buckets [][bucketSlots]fdbSlot
	mask    uint64
	seed    uint64
	entries atomic.Int64
	moves   atomic.Uint64
	full    atomic.Uint64
}

// newFDB returns a table with room for about max addresses; seed varies the
// hash, so that nobody outside can aim at one bucket.
func newFDB(sw *Switch, max int, seed uint64) *fdb {
	n := 1
	for n*bucketSlots < 2*max {
		n *= 2
	}
	return &fdb{sw: sw, buckets: make([][bucketSlots]fdbSlot, n), mask: uint64(n - 1), seed: seed}
}

func fdbKey(vlan uint16, mac frame.MAC) uint64 {
	return keyUsed | uint64(vlan)<<48 |
		uint64(mac[0])<<40 | uint64(mac[1])<<32 | uint64(mac[2])<<24 | uint64(mac[3])<<16 | uint64(mac[4])<<8 | uint64(mac[5])
}

func keyMAC(key uint64) (vlan uint16, mac frame.MAC) {
	for i := range mac {
		mac[i] = byte(key >> (40 - 8*i))
	}
	return uint16(key>>48) & 0x0fff, mac
}

func portVal(port uint32, static bool, now uint32) uint64 {
	v := valValid | uint64(port)<<32 | uint64(now)
	if static {
		v |= valStatic
	}
	return v
}

func valPort(v uint64) uint32  { return uint32(v>>32) & (maxPorts - 1) }
func valStamp(v uint64) uint32 { return uint32(v) }

func (t *fdb) bucket(key uint64) *[bucketSlots]fdbSlot {
	h := (key ^ t.seed) * 0x9e3779b97f4a7c15
	return &t.buckets[(h>>32)&t.mask]
}

// find returns the slot that holds key, or nil.
func find(b *[bucketSlots]fdbSlot, key uint64) *fdbSlot {
	for i := range b {
		if b[i].key.Load() == key {
			return &b[i]
		}
	}
	return nil
}

// lookup returns the value bound to key, 0 when there is none.
func (t *fdb) lookup(key uint64) uint64 {
	s := find(t.bucket(key), key)
	if s == nil {
		return 0
	}
	v := s.val.Load()
	if s.key.Load() != key {
		return 0
	}
	return v
}

// hasRoom reports whether a new key could be entered.
func (t *fdb) hasRoom(key uint64) bool { return find(t.bucket(key), 0) != nil }

// A lesson is what learning an address came to.
type lesson uint8

const (
	learnKnown  lesson = iota // already bound so, stamp refreshed if a second has passed
	learnAdded                // new
	learnMoved                // bound to another port before
	learnStatic               // bound statically to another port: refused
	learnLimit                // the port has reached its limit: refused
	learnFull                 // no free slot: not learned
)

// learn binds key to port p as of now, in seconds. It writes only when
// something changed.
func (t *fdb) learn(key uint64, p *Port, now uint32) lesson {
	s := find(t.bucket(key), key)
	if s != nil {
		v := s.val.Load()
		if v&valValid != 0 && valPort(v) == p.slot {
			if v&valStatic == 0 && valStamp(v) != now {
				s.val.CompareAndSwap(v, portVal(p.slot, false, now))
			}
			return learnKnown
		}
		// Only if v is still this key's: another may have got the slot.
		if v&valStatic != 0 && s.key.Load() == key {
			return learnStatic
		}
	}
	return t.learnSlow(key, p, now)
}

func (t *fdb) learnSlow(key uint64, p *Port, now uint32) lesson {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucket(key)
	if s := find(b, key); s != nil {
		v := s.val.Load()
		switch {
		case v&valStatic != 0 && valPort(v) != p.slot:
			return learnStatic
		case valPort(v) == p.slot:
			return learnKnown
		case !p.takeMAC():
			return learnLimit
		}
		t.release(v)
		s.val.Store(portVal(p.slot, false, now))
		t.moves.Add(1)
		return learnMoved
	}
	if !p.takeMAC() {
		return learnLimit
	}
	s := find(b, 0)
	if s == nil {
		p.macs.Add(-1)
		t.full.Add(1)
		return learnFull
	}
	t.put(s, key, portVal(p.slot, false, now))
	return learnAdded
}

// put fills an empty slot. The caller holds mu.
func (t *fdb) put(s *fdbSlot, key, val uint64) {
	s.val.Store(0)
	s.key.Store(key)
	s.val.Store(val)
	t.entries.Add(1)
}

// clear empties a slot. The caller holds mu.
func (t *fdb) clear(s *fdbSlot) {
	t.release(s.val.Load())
	s.val.Store(0)
	s.key.Store(0)
	t.entries.Add(-1)
}

// release gives a learned address back to the port it counts on.
func (t *fdb) release(val uint64) {
	if val&valStatic == 0 {
		t.sw.releaseMAC(valPort(val))
	}
}

// setStatic binds key to the port for good and reports whether there was room.
func (t *fdb) setStatic(key uint64, p *Port) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucket(key)
	s := find(b, key)
	if s == nil {
		if s = find(b, 0); s == nil {
			s = t.evict(b)
		}
		if s == nil {
			return false
		}
		t.put(s, key, portVal(p.slot, true, 0))
		return true
	}
	t.release(s.val.Load())
	s.val.Store(portVal(p.slot, true, 0))
	return true
}

// evict frees the slot of a learned address, so that a static one always finds
// room unless the bucket holds static ones only.
func (t *fdb) evict(b *[bucketSlots]fdbSlot) *fdbSlot {
	for i := range b {
		if b[i].val.Load()&valStatic == 0 {
			t.clear(&b[i])
			return &b[i]
		}
	}
	return nil
}

// remove forgets every entry for which drop returns true.
func (t *fdb) remove(drop func(key, val uint64) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.buckets {
		for j := range t.buckets[i] {
			s := &t.buckets[i][j]
			if k := s.key.Load(); k != 0 && drop(k, s.val.Load()) {
				t.clear(s)
			}
		}
	}
}

// each calls f for every entry.
func (t *fdb) each(f func(key, val uint64)) {
	for i := range t.buckets {
		for j := range t.buckets[i] {
			s := &t.buckets[i][j]
			k, v := s.key.Load(), s.val.Load()
			if k != 0 && v&valValid != 0 && s.key.Load() == k {
				f(k, v)
			}
		}
	}
}
