package nat

import "weft/internal/frame"

// A hit is a flow that a packet belongs to, and what the flow makes of it.
type hit struct {
	f    *flow
	slot uint32
	s    uint64 // state word
	d    int    // which way the packet goes: 0 as the first one, 1 back
	to   tuple
}

// find looks a packet's flow up. It takes no lock.
func (t *Table) find(tup *tuple, c class, h uint64, hit *hit) bool {
	buckets := *t.index.shard(h).buckets.Load()
	tag := tagOf(h)
	b := &buckets[first(placeOf(h), len(buckets))]
	for again := false; ; again = true {
		for i := range b.slots {
			e := b.at(i)
			if e&tagMask != tag || e == 0 {
				continue
			}
			if d := int(e>>30) - 1; d < 2 && t.match(e&slotMask, d, tup, c, hit) {
				return true
			}
		}
		if again || !b.hasSpilled() {
			return false
		}
		b = &buckets[second(placeOf(h), tag, len(buckets))]
	}
}

// match reports whether the flow in a slot is a packet's, by way d, and if so what it
// makes of the packet.
func (t *Table) match(slot uint32, d int, tup *tuple, c class, hit *hit) bool {
	f := t.pool.at(slot)
	s := f.state.Load()
	if s&live == 0 || classOf(s, d) != c || !f.is(d, tup, c) {
		return false
	}
	hit.to = f.leaves(d)
	if !same(s, f.state.Load()) {
		return false
	}
	hit.f, hit.slot, hit.s, hit.d = f, slot, s, d
	return true
}

// findSocket returns the first flow of a socket's mapping. The caller holds the lock of
// the shard that the socket's host is in.
func (t *Table) findSocket(a addr, port uint16, c class) uint32 {
	h := t.keys.socket(a, port, c)
	buckets := *t.index.shard(h).buckets.Load()
	want := entry(bySocket, h, 0)
	b := &buckets[first(placeOf(h), len(buckets))]
	for again := false; ; again = true {
		for i := range b.slots {
			e := b.at(i)
			if e&^slotMask != want {
				continue
			}
			f := t.pool.at(e & slotMask)
			if s := f.state.Load(); s&live != 0 && s&mapped != 0 && classOf(s, 0) == c && f.osrc.load() == a && uint16(f.ports.Load()>>48) == port {
				return e & slotMask
			}
		}
		if again || !b.hasSpilled() {
			return noFlow
		}
		b = &buckets[second(placeOf(h), tagOf(h), len(buckets))]
	}
}

// create makes a flow for the packet, or says why there is to be none. Whom it takes
// room from is evict.go's business.
func (t *Table) create(f *frame.Frame, p *packet, now uint32, hit *hit) frame.Reason {
	s, r := p.begin(f)
	for tries := 0; r == frame.NotDropped; tries++ {
		var l lack
		r, l = t.tryCreate(p, s, now, hit)
		if l == lackNothing || tries == 3 || !t.makeRoom(l, p.c) {
			return r
		}
		r = frame.NotDropped
	}
	return r
}

// A plan is what the rules say of a packet that no flow has.
type plan struct {
	owner addr
	xlat  tuple  // where a packet from the outside goes
	s     uint64 // bits of the state word
}

func (p *packet) plan(rs *ruleset) (plan, frame.Reason) {
	if p.c.inside() {
		back, r := rs.admits(p.tuple, p.c)
		if back {
			return plan{owner: p.src, s: hairpin}, r
		}
		return plan{owner: p.src}, r
	}
	s := uint64(published | replyInside)
	if p.hairpin {
		s |= hairpin
	} else if r := rs.accepts(p.tuple); r != frame.NotDropped {
		return plan{}, r
	}
	to, ok := rs.target(socket{p.dst, p.dport(), p.c.kind()}, p.c.v6())
	if !ok || rs.outsideAt(p.dst) == nil {
		return plan{}, frame.NoFlow
	}
	return plan{to.addr, tuple{p.src, to.addr, join(p.sport(), to.port)}, s}, frame.NotDropped
}

// tryCreate makes a flow if there is room.
func (t *Table) tryCreate(p *packet, s uint64, now uint32, hit *hit) (frame.Reason, lack) {
	rs := t.rules.Load()
	to, r := p.plan(rs)
	if r != frame.NotDropped {
		return r, lackNothing
	}
	t.expect(p)
	sh := t.shardFor(to.owner)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if t.find(&p.tuple, p.c, p.hash, hit) {
		return frame.NotDropped, lackNothing // another worker was faster
	}
	if t.rules.Load() != rs {
		return frame.FlowsFull, lackRules
	}
	i := sh.source(to.owner)
	defer sh.leave(i)
	if int(sh.sources[i].flows) >= t.cfg.MaxPerSource && t.evict(sh, i, 1, rankLoose) == 0 {
		t.counts.sourceFull.Add(1)
		return frame.SourceFlows, lackNothing
	}
	if t.count[rankUnanswered].Load() >= int64(t.cfg.MaxUnanswered) {
		return frame.FlowsFull, lackAnswers
	}
	if t.flows() >= t.cfg.MaxFlows || !sh.hasSlot(&t.pool) {
		return frame.FlowsFull, lackFlows
	}
	return t.make(sh, rs, i, p, &to, s|to.s|uint64(p.c), now, hit)
}

// make makes a flow that there is room for. The caller holds the lock of sh.
func (t *Table) make(sh *shard, rs *ruleset, src uint32, p *packet, to *plan, s uint64, now uint32, hit *hit) (frame.Reason, lack) {
	head, xlat := uint32(noFlow), to.xlat
	if p.c.inside() {
		var holds uint64
		var r frame.Reason
		xlat, holds, head, r = t.mapSocket(sh, rs, p.tuple, p.c)
		if r == frame.PortsFull {
			t.counts.portsFull.Add(1)
			return r, lackPorts
		}
		if r != frame.NotDropped {
			return r, lackNothing
		}
		s |= holds
	}
	back := xlat.reverse()
	backClass := classOf(s, 1)
	backHash := t.keys.tuple(&back, backClass)
	slot := sh.slot()
	f := t.pool.at(slot)
	t.index.touch(backHash)
	f.touch()
	if t.find(&back, backClass, backHash, hit) {
		sh.putSlot(&t.pool, slot)
		if s&mapped != 0 && head == noFlow {
			t.releasePort(xlat, p.c)
		}
		return frame.TupleTaken, lackNothing
	}
	f.fill(p.tuple, xlat, s, sh.ref(src), now)
	s = f.state.Load()
	t.enter(sh, f, slot, s)
	sh.wheel.add(&t.pool, slot, now+t.timeout(s), now)
	ok := s&mapped == 0 || t.joinMapping(sh, f, slot, head, p.c)
	ok = ok && t.index.insert(byOrig, p.hash, slot) && t.index.insert(byReply, backHash, slot)
	if !ok {
		t.end(sh, slot)
		return frame.FlowsFull, lackNothing
	}
	hit.f, hit.slot, hit.s, hit.d, hit.to = f, slot, s, 0, xlat
	sh.created++
	return frame.NotDropped, lackNothing
}

// end ends a flow. The caller holds the lock of sh, which it is in.
func (t *Table) end(sh *shard, slot uint32) {
	f := t.pool.at(slot)
	s := f.state.Load()
	for d := range 2 {
		tup := f.came(d)
		t.index.remove(by(d+1), t.keys.tuple(&tup, classOf(s, d)), slot)
	}
	if s&mapped != 0 {
		t.leaveMapping(sh, f, slot, s)
	}
	sh.wheel.remove(&t.pool, slot)
	t.depart(sh, f, slot, s)
	f.free()
	sh.leave(f.owner.Load() & sourceMax)
	sh.putSlot(&t.pool, slot)
}
