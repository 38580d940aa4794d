package nat

import (
	"sync"
	"sync/atomic"
)

// Theory of operation: the index
//
// The index leads from the hash of a key to a flow's slot. A flow is entered by the
// tuple of its first packets (byOrig), by that of the answers (byReply) and, if it is
// the first of a mapping, by its inside socket (bySocket). An entry is a word
//
//	by << 30 | tag, 7 bits of the hash << 23 | slot
//
// and 16 bits more of the hash, which only writers need. Ten of them are a bucket, one
// cache line. A key has two buckets it may be in, so that buckets fill evenly; the
// second is looked at only where the first has spilled.
//
// The index is made of shards, by hash, each with its own lock for writers and a
// table of its own that grows by half when it is four fifths full. So what has to
// be moved at once is a few thousand entries, not millions. Readers take no lock: the
// flow an entry leads to says whether it is the one. A reader may miss an entry that is
// being moved; who misses looks again under a lock before making a flow.

// by is what an entry leads by.
type by uint8

const (
	byOrig   by = 1 // way 0
	byReply  by = 2 // way 1
	bySocket by = 3
)

const (
	slotBits    = 23 // so a table holds 8,388,607 flows
	slotMask    = 1<<slotBits - 1
	maxSlots    = slotMask
	tagMask     = 0x7f << slotBits
	bucketSlots = 10
	indexShards = 256
)

type bucket struct {
	slots [bucketSlots]uint32 // read atomically without the lock
	place [bucketSlots]uint16 // the hash bits that say in which buckets; under the lock
	// spilled is the number of entries that are in their second bucket, this being
	// their first; read atomically without the lock.
	spilled uint32
}

func (b *bucket) at(i int) uint32     { return atomic.LoadUint32(&b.slots[i]) }
func (b *bucket) hasSpilled() bool    { return atomic.LoadUint32(&b.spilled) != 0 }
func (b *bucket) set(i int, e uint32) { atomic.StoreUint32(&b.slots[i], e) }

// used returns the number of entries. The caller holds the lock.
func (b *bucket) used() (n int) {
	for _, e := range b.slots {
		if e != 0 {
			n++
		}
	}
	return n
}

type indexShard struct {
	buckets atomic.Pointer[[]bucket]
	mu      sync.Mutex
	used    int
	_       [40]byte // a cache line each
}

type index struct{ shards [indexShards]indexShard }

func (x *index) init() {
	for i := range x.shards {
		b := make([]bucket, 1)
		x.shards[i].buckets.Store(&b)
	}
}

func (x *index) shard(h uint64) *indexShard { return &x.shards[h&(indexShards-1)] }

// placeOf and tagOf return the bits of a hash that an entry keeps.
func placeOf(h uint64) uint16 { return uint16(h >> 8) }
func tagOf(h uint64) uint32   { return uint32(h>>57) << slotBits }

// first and second return the numbers of a key's buckets of n.
func first(place uint16, n int) int { return int(uint64(place) * uint64(n) >> 16) }
func second(place uint16, tag uint32, n int) int {
	mixed := (uint32(place) | tag>>slotBits<<16) * 0x9e3779b1
	return int(uint64(mixed) * uint64(n) >> 32)
}

func entry(b by, h uint64, slot uint32) uint32 { return uint32(b)<<30 | tagOf(h) | slot }

// insert enters a slot and reports whether there was room.
func (x *index) insert(b by, h uint64, slot uint32) bool {
	sh := x.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for tries := 0; tries < 4; tries++ {
		buckets := *sh.buckets.Load()
		if sh.used*5 < len(buckets)*bucketSlots*4 {
			if to, i := choose(buckets, placeOf(h), tagOf(h)); i >= 0 {
				if one := &buckets[first(placeOf(h), len(buckets))]; to != one {
					atomic.AddUint32(&one.spilled, 1)
				}
				to.place[i] = placeOf(h)
				to.set(i, entry(b, h, slot))
				sh.used++
				return true
			}
		}
		sh.grow()
	}
	return false
}

// choose returns where to put an entry: in its first bucket, or in the second if the
// first is two thirds full and the second is not as full; a negative place if both are.
func choose(buckets []bucket, place uint16, tag uint32) (*bucket, int) {
	b := &buckets[first(place, len(buckets))]
	if used := b.used(); used >= bucketSlots-3 {
		if c := &buckets[second(place, tag, len(buckets))]; c.used() < used {
			b = c
		}
	}
	for i := range b.slots {
		if b.slots[i] == 0 {
			return b, i
		}
	}
	return b, -1
}

// grow moves everything into a table half as large again, larger if that is not enough.
func (sh *indexShard) grow() {
	old := *sh.buckets.Load()
	for n := len(old) + (len(old)+1)/2; ; n++ {
		next := make([]bucket, n)
		if moveAll(old, next) {
			sh.buckets.Store(&next)
			return
		}
	}
}

// moveAll enters everything into buckets that nobody else sees yet, as choose would, and
// reports whether it fitted.
func moveAll(old, next []bucket) bool {
	used := make([]uint8, len(next))
	for i := range old {
		for j, e := range old[i].slots {
			if e == 0 {
				continue
			}
			place := old[i].place[j]
			one := first(place, len(next))
			to := one
			if used[one] >= bucketSlots-3 {
				if two := second(place, e&tagMask, len(next)); used[two] < used[one] {
					next[one].spilled++
					to = two
				}
			}
			k := used[to]
			if k == bucketSlots {
				return false
			}
			used[to]++
			next[to].slots[k], next[to].place[k] = e, place
		}
	}
	return true
}

// touch has the buckets of a key fetched into the cache, so that waiting for memory
// is done for several of them at once.
func (x *index) touch(h uint64) {
	buckets := *x.shard(h).buckets.Load()
	buckets[first(placeOf(h), len(buckets))].hasSpilled()
	buckets[second(placeOf(h), tagOf(h), len(buckets))].hasSpilled()
}

// remove takes an entry out.
func (x *index) remove(b by, h uint64, slot uint32) { x.replace(b, h, slot, 0) }

// replace makes the entry of one slot that of another, under the same key; 0 removes
// it.
func (x *index) replace(b by, h uint64, slot, to uint32) {
	sh := x.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	buckets := *sh.buckets.Load()
	e := entry(b, h, slot)
	one := &buckets[first(placeOf(h), len(buckets))]
	two := &buckets[second(placeOf(h), tagOf(h), len(buckets))]
	for _, at := range [2]*bucket{one, two} {
		i := at.index(e, placeOf(h))
		if i < 0 {
			continue
		}
		if to != 0 {
			at.set(i, entry(b, h, to))
			return
		}
		at.set(i, 0)
		sh.used--
		if at != one {
			atomic.AddUint32(&one.spilled, ^uint32(0))
		}
		return
	}
}

// index returns where in the bucket an entry is, -1 when it is not there.
func (b *bucket) index(e uint32, place uint16) int {
	for i := range b.slots {
		if b.slots[i] == e && b.place[i] == place {
			return i
		}
	}
	return -1
}

// bytes returns what the index takes.
func (x *index) bytes() (n int) {
	for i := range x.shards {
		n += 64 + len(*x.shards[i].buckets.Load())*64
	}
	return n
}
