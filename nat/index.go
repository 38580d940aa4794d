package nat

import (
	"sync"
	"sync/atomic"
)

// Theory of operation: the index
//
// The index leads from the hash of a key to a flow's slot. A flow is entered by the
// tuple of its first packets (byOrig), by that of the answers (byReply) and, if it is
// the first of a mapping, by its inside socket (bySocket). Entries are four bytes:
//
//	by << 30 | tag, 7 bits of the hash << 23 | slot
//
// and lie in buckets of eight, half a cache line. A key has two buckets it may be in,
// so that buckets fill evenly and a lookup reads two at most.
//
// The index is made of shards, by hash, each with its own lock for writers and a
// table of its own that grows by half when it is four fifths full. What has to be
// rehashed at once is a few thousand entries, not a million. Readers take no lock: the
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
	bucketSlots = 8
	indexShards = 256
)

type bucket [bucketSlots]atomic.Uint32

type indexShard struct {
	buckets atomic.Pointer[[]bucket]
	mu      sync.Mutex
	used    int
	_       [40]byte // a cache line each
}

type index struct{ shards [indexShards]indexShard }

func (x *index) init() {
	for i := range x.shards {
		b := make([]bucket, 2)
		x.shards[i].buckets.Store(&b)
	}
}

func (x *index) shard(h uint64) *indexShard { return &x.shards[h&(indexShards-1)] }

// first and second return the numbers of a key's buckets of n.
func first(h uint64, n int) int { return int(uint64(uint32(h>>8)) * uint64(n) >> 32) }
func second(h uint64, n int) int {
	return int(uint64(uint32(h>>16*0x9e3779b97f4a7c15>>32)) * uint64(n) >> 32)
}

func entry(b by, h uint64, slot uint32) uint32 {
	return uint32(b)<<30 | uint32(h>>57)<<slotBits | slot
}

// insert enters a slot and reports whether there was room.
func (x *index) insert(b by, h uint64, slot uint32, rehash func(by, uint32) uint64) bool {
	sh := x.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for tries := 0; tries < 4; tries++ {
		buckets := *sh.buckets.Load()
		if sh.used*5 < len(buckets)*bucketSlots*4 && put(buckets, h, entry(b, h, slot)) {
			sh.used++
			return true
		}
		sh.grow(rehash)
	}
	return false
}

// put enters e into the emptier of its buckets, the first if that is half empty.
func put(buckets []bucket, h uint64, e uint32) bool {
	b := &buckets[first(h, len(buckets))]
	free := b.room()
	if free < bucketSlots/2 {
		if c := &buckets[second(h, len(buckets))]; c.room() > free {
			b = c
		}
	}
	for i := range b {
		if b[i].Load() == 0 {
			b[i].Store(e)
			return true
		}
	}
	return false
}

func (b *bucket) room() (n int) {
	for i := range b {
		if b[i].Load() == 0 {
			n++
		}
	}
	return n
}

// grow enters everything into a table half as large again.
func (sh *indexShard) grow(rehash func(by, uint32) uint64) {
	old := *sh.buckets.Load()
	for n := len(old) + (len(old)+1)/2; ; n++ {
		next := make([]bucket, n)
		if sh.move(old, next, rehash) {
			sh.buckets.Store(&next)
			return
		}
	}
}

func (sh *indexShard) move(old, next []bucket, rehash func(by, uint32) uint64) bool {
	for i := range old {
		for j := range old[i] {
			e := old[i][j].Load()
			if e == 0 {
				continue
			}
			if !put(next, rehash(by(e>>30), e&slotMask), e) {
				return false
			}
		}
	}
	return true
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
	for _, n := range [2]int{first(h, len(buckets)), second(h, len(buckets))} {
		for i := range buckets[n] {
			if buckets[n][i].Load() != e {
				continue
			}
			if to == 0 {
				buckets[n][i].Store(0)
				sh.used--
			} else {
				buckets[n][i].Store(entry(b, h, to))
			}
			return
		}
	}
}

// bytes returns what the index takes.
func (x *index) bytes() (n int) {
	for i := range x.shards {
		n += 64 + len(*x.shards[i].buckets.Load())*bucketSlots*4
	}
	return n
}
