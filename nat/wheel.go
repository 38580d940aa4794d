package nat

// Theory of operation: the timer wheel
//
// Each shard has a wheel of 256 slots, one for a second. A flow is in the slot of the
// second it would end at, or in the last one if that is farther away. Traffic only
// writes the flow's stamp; when its slot comes the flow is looked at, and either ends or
// goes to the slot of its new end. So a packet costs no list operation, and each
// flow is looked at every four minutes at least: 1,000,000 flows are 4,000 a second.

const wheelSlots = 256

// inWheel marks a prev link that holds the number of a slot of the wheel.
const inWheel = 1 << 31

type wheel struct {
	slots  [wheelSlots]uint32
	flows  int
	cursor uint32 // the second to be looked at next
}

// add puts a flow where it is to be looked at when end comes, at once if that has
// been.
func (w *wheel) add(p *pool, i, end, now uint32) {
	if w.flows == 0 {
		w.cursor = now
	}
	w.flows++
	switch ahead := int32(end - w.cursor); {
	case ahead < 0:
		end = w.cursor
	case ahead >= wheelSlots:
		end = w.cursor + wheelSlots - 1
	}
	slot := end % wheelSlots
	k := &p.at(i).timer
	k.prev, k.next = inWheel|slot, w.slots[slot]
	if k.next != noFlow {
		p.at(k.next).timer.prev = i
	}
	w.slots[slot] = i
}

// remove takes a flow out.
func (w *wheel) remove(p *pool, i uint32) {
	k := &p.at(i).timer
	if k.prev&inWheel != 0 {
		w.slots[k.prev%wheelSlots] = k.next
	} else {
		p.at(k.prev).timer.next = k.next
	}
	if k.next != noFlow {
		p.at(k.next).timer.prev = k.prev
	}
	w.flows--
}

// due takes out and returns a flow whose slot has come, noFlow when there is none.
func (w *wheel) due(p *pool, now uint32) uint32 {
	if w.flows == 0 {
		w.cursor = now + 1
		return noFlow
	}
	if late := int32(now - w.cursor); late >= wheelSlots {
		w.cursor = now - (wheelSlots - 1) // one round finds everything
	}
	for ; int32(now-w.cursor) >= 0; w.cursor++ {
		if i := w.slots[w.cursor%wheelSlots]; i != noFlow {
			w.remove(p, i)
			return i
		}
	}
	return noFlow
}

// Tick ends flows that have been idle for too long at the coarse time now, in seconds.
// Call it once a second, from one goroutine. It looks at tickFlows flows of each shard
// at most and goes on with the next call where it stopped.
func (t *Table) Tick(now uint32) {
	for i := range t.shards {
		for n := 0; n < tickFlows; n += tickHold {
			if !t.expire(&t.shards[i], now) {
				break
			}
		}
	}
}

const (
	tickFlows = 16384
	// tickHold is the number of flows looked at while workers have to wait.
	tickHold = 128
)

// expire looks at tickHold flows whose slot has come and reports whether there may be
// more.
func (t *Table) expire(sh *shard, now uint32) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for range tickHold {
		i := sh.wheel.due(&t.pool, now)
		if i == noFlow {
			return false
		}
		f := t.pool.at(i)
		end := f.seen.Load() + t.timeout(f.state.Load())
		sh.wheel.add(&t.pool, i, end, now)
		if int32(now-end) >= 0 {
			t.end(sh, i)
			t.counts.expired.Add(1)
			continue
		}
		// In use: the last of its rank to be given up.
		r := rankOf(f.state.Load())
		l := &sh.sources[f.owner.Load()&sourceMax].lists[r]
		l.remove(&t.pool, i)
		l.push(&t.pool, i)
	}
	return true
}
