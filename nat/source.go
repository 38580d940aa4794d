package nat

import "sync"

// Theory of operation: who owns a flow
//
// Each flow counts on its owner, the endpoint inside: who sent the first packet or, of
// a published port, whom it was for. A flood from invented addresses is so held
// against the endpoint that it is aimed at, and nobody else suffers.
//
// Owners are spread over shards by their address. A shard's lock is held while a flow
// is made, changes its state or ends: briefly, and by one worker nearly always. Its
// order is before that of the index's shards and the pool's; no two shards are held
// at the same time.
//
// The flows of a source are in three lists by rank, oldest first, from which the next to
// be given up is taken (evict.go).

const (
	shardBits = 6
	shards    = 1 << shardBits
	sourceMax = 1<<(32-shardBits) - 1
)

// A source is an endpoint inside.
type source struct {
	host  addr
	flows uint32
	lists [ranks]list
	n     [ranks]uint32 // flows in each
	ports [kinds]uint32 // mappings of each kind
}

type shard struct {
	mu      sync.Mutex
	no      uint32
	sources []source
	unused  []uint32 // numbers of sources that have no flows
	byHost  map[addr]uint32
	hand    [2 * handful]uint32 // slots ready to be used
	inHand  int
	wheel   wheel
	dice    uint64
	created uint64
}

// ref names a source of any shard in a flow's owner word.
func (sh *shard) ref(i uint32) uint32 { return sh.no<<(32-shardBits) | i }

func (t *Table) shardOf(ref uint32) *shard { return &t.shards[ref>>(32-shardBits)] }

func (t *Table) shardFor(host addr) *shard { return &t.shards[t.keys.host(host)>>(64-shardBits)] }

// random returns the next number of a sequence that the seed begins (splitmix64). The
// caller holds the lock.
func (sh *shard) random() uint64 {
	sh.dice += 0x9e3779b97f4a7c15
	return sh.dice
}

// source returns the number of a host's source, making it if need be. The caller
// holds the lock.
func (sh *shard) source(host addr) uint32 {
	if i, ok := sh.byHost[host]; ok {
		return i
	}
	var i uint32
	if n := len(sh.unused); n > 0 {
		i, sh.unused = sh.unused[n-1], sh.unused[:n-1]
	} else {
		i = uint32(len(sh.sources))
		sh.sources = append(sh.sources, source{})
	}
	sh.sources[i] = source{host: host}
	sh.byHost[host] = i
	return i
}

// leave forgets a source that has no flows. The caller holds the lock.
func (sh *shard) leave(i uint32) {
	s := &sh.sources[i]
	if at, there := sh.byHost[s.host]; there && at == i && s.flows == 0 {
		delete(sh.byHost, s.host)
		sh.unused = append(sh.unused, i)
	}
}

// hasSlot reports whether there is a free slot, and has it in hand. The caller holds the
// lock.
func (sh *shard) hasSlot(p *pool) bool {
	if sh.inHand == 0 {
		sh.inHand = p.take(sh.hand[:handful])
	}
	return sh.inHand > 0
}

// slot takes the slot that is in hand. The caller holds the lock.
func (sh *shard) slot() uint32 {
	sh.inHand--
	return sh.hand[sh.inHand]
}

// putSlot gives a slot back. The caller holds the lock.
func (sh *shard) putSlot(p *pool, i uint32) {
	if sh.inHand == len(sh.hand) {
		p.give(sh.hand[handful:])
		sh.inHand = handful
	}
	sh.hand[sh.inHand] = i
	sh.inHand++
}

// enter enters a flow into the lists of its source. The caller holds the lock.
func (t *Table) enter(sh *shard, f *flow, slot uint32, s uint64) {
	src := &sh.sources[f.owner.Load()&sourceMax]
	r := rankOf(s)
	src.lists[r].push(&t.pool, slot)
	src.n[r]++
	src.flows++
	t.count[r].Add(1)
}

// depart is the reverse of enter.
func (t *Table) depart(sh *shard, f *flow, slot uint32, s uint64) {
	src := &sh.sources[f.owner.Load()&sourceMax]
	r := rankOf(s)
	src.lists[r].remove(&t.pool, slot)
	src.n[r]--
	src.flows--
	t.count[r].Add(-1)
}

// setState changes a flow's state word, its rank with it, and the timer that goes by
// it. The caller holds the lock of sh, which the flow is in.
func (t *Table) setState(sh *shard, f *flow, slot uint32, s uint64, now uint32) {
	old := f.state.Load()
	s = withRank(s)
	if s == old {
		return
	}
	if rankOf(s) != rankOf(old) {
		t.depart(sh, f, slot, old)
		f.state.Store(s)
		t.enter(sh, f, slot, s)
	} else {
		f.state.Store(s)
	}
	f.seen.Store(now)
	sh.wheel.remove(&t.pool, slot)
	sh.wheel.add(&t.pool, slot, now+t.timeout(s), now)
}
