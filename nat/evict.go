package nat

// Theory of operation: who has to give way
//
// A new flow may find that there are as many as there may be, that as many wait for
// an answer as there may, or that the outside has no port left. Then the source that
// has most of what there is too little of loses some: its flows nobody answered first,
// then UDP, echo and closing connections, established connections last; of equals the
// one that has not been seen to be in use for the longest time. So whoever makes flows
// without end displaces its own, and of those the ones that lead nowhere.
//
// Looking for that source means looking at all of them. So when the table is full
// several flows are evicted at once, but never so many that another source has more.

// A lack is what there is too little of.
type lack uint8

const (
	lackNothing lack = iota
	lackRules        // those looked at: others have been set
	lackFlows
	lackAnswers
	lackPorts
)

// maxEvict is the number of flows evicted at once, and of those looked at for one
// that holds a port of its own.
const maxEvict = 64

// makeRoom evicts flows and reports whether it is worth trying again.
func (t *Table) makeRoom(l lack, c class) bool {
	if l == lackRules {
		return true
	}
	sh, host, first, second := t.greediest(l, c)
	if first == 0 {
		return false
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i, ok := sh.byHost[host]
	if !ok {
		return true // all its flows have ended meanwhile
	}
	n := int(min(first-second, 2*maxEvict))/2 + 1
	some := func(bound int) int { return min(n, max(bound/256, 1), maxEvict) }
	switch l {
	case lackFlows:
		n = t.evict(sh, i, some(t.cfg.MaxFlows), rankOpen)
	case lackAnswers:
		n = t.evict(sh, i, some(t.cfg.MaxUnanswered), rankUnanswered)
	default:
		n = t.evictPort(sh, i, c.kind())
	}
	sh.leave(i)
	return n > 0
}

// greediest returns the host that has most of what there is too little of, how much
// that is, and how much the next one has. Ports are those of a class.
func (t *Table) greediest(l lack, c class) (in *shard, host addr, first, second uint32) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		for j := range sh.sources {
			s := &sh.sources[j]
			n := s.flows
			switch l {
			case lackAnswers:
				n = s.n[rankUnanswered]
			case lackPorts:
				if n = s.ports[c.kind()]; s.host.v4() == c.v6() {
					n = 0
				}
			}
			if n > first {
				in, host, first, second = sh, s.host, n, first
			} else if n > second {
				second = n
			}
		}
		sh.mu.Unlock()
	}
	return in, host, first, second
}

// evict ends n flows of a source, of ranks up to worst, and returns how many it found.
// The caller holds the lock.
func (t *Table) evict(sh *shard, src uint32, n int, worst rank) (done int) {
	for r := rankUnanswered; r <= worst; r++ {
		for done < n && sh.sources[src].lists[r].head != noFlow {
			t.evictFlow(sh, src, sh.sources[src].lists[r].head)
			done++
		}
	}
	return done
}

// evictFlow ends a flow but keeps its source.
func (t *Table) evictFlow(sh *shard, src, slot uint32) {
	r := rankOf(t.pool.at(slot).state.Load())
	sh.sources[src].flows++
	t.end(sh, slot)
	sh.sources[src].flows--
	t.counts.evicted[r].Add(1)
}

// evictPort frees a port of a kind that a source holds: that of one flow alone if
// there is one, else that of the first mapping, all flows of it. It returns the number
// of flows ended.
func (t *Table) evictPort(sh *shard, src uint32, k kind) int {
	holds := uint32(noFlow)
	for r := range ranks {
		slot := sh.sources[src].lists[r].head
		for n := 0; n < maxEvict && slot != noFlow; n++ {
			f := t.pool.at(slot)
			if s := f.state.Load(); s&mapped != 0 && class(s).kind() == k {
				if f.peers == (link{}) {
					t.evictFlow(sh, src, slot)
					return 1
				}
				if holds == noFlow {
					holds = slot
				}
			}
			slot = f.family.next
		}
	}
	if holds == noFlow {
		return 0
	}
	o := t.pool.at(holds).orig()
	c := classOf(t.pool.at(holds).state.Load(), 0)
	n := 0
	for head := holds; head != noFlow && n < maxEvict; n++ {
		if head = t.findSocket(o.src, o.sport(), c); head != noFlow {
			t.evictFlow(sh, src, head)
		}
	}
	return n
}
