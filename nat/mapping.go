package nat

import "weft/internal/frame"

// Theory of operation: mappings
//
// All flows of one inside socket appear from one outside address and port, whatever
// their destination: endpoint-independent mapping (RFC 4787, REQ-1; RFC 5382, REQ-1;
// RFC 5508, REQ-1). What comes in is another matter: only what a flow expects, by
// address and port, or what is published.
//
// A mapping is the list of its flows, by their peers links. Its first flow stands in
// the index under the inside socket; when that ends, the next one takes its place. With
// the last one the port is released. All flows of a mapping have one owner, so the
// lock of the owner's shard is enough.
//
// A published socket has its mapping by rule: what it sends first appears from its
// published port. Such flows are in no list.

// mapSocket gives orig its translation: that of its mapping or, without one, a
// new one's. It returns the bits of the state word that say what it holds, and the
// mapping's first flow. The caller holds the lock of sh.
func (t *Table) mapSocket(sh *shard, rs *ruleset, orig tuple, c class) (xlat tuple, s uint64, head uint32, r frame.Reason) {
	xlat = orig
	if from, anyAddr, ok := rs.source(socket{orig.src, orig.sport(), c.kind()}, c.v6()); ok {
		if anyAddr {
			from.addr = rs.paired(t.keys.host(orig.src), c.v6(), 0).addr
		}
		if rs.outsideAt(from.addr) != nil {
			xlat.src, xlat.ports = from.addr, join(from.port, orig.dport())
			return xlat, static, noFlow, frame.NotDropped
		}
	}
	if head = t.findSocket(orig.src, orig.sport(), c); head != noFlow {
		x := t.pool.at(head).xlat()
		// An address that went a moment ago has its flows still.
		if rs.outsideAt(x.src) != nil {
			xlat.src, xlat.ports = x.src, join(x.sport(), orig.dport())
			return xlat, mapped, head, frame.NotDropped
		}
		return xlat, 0, noFlow, frame.TupleTaken
	}
	o, port := t.takePort(sh, rs, orig, c)
	if o == nil {
		return xlat, 0, noFlow, frame.PortsFull
	}
	xlat.src, xlat.ports = o.addr, join(port, orig.dport())
	return xlat, mapped, noFlow, frame.NotDropped
}

// paired returns the i-th choice among the outside addresses of a family for a host:
// the first is always the same (RFC 4787, REQ-2), the others are for when it has no
// ports left. It returns nil when there are no more.
func (rs *ruleset) paired(hash uint64, v6 bool, i int) *outside {
	of := rs.family[family(v6)]
	if i >= len(of) {
		return nil
	}
	return &rs.outside[of[(hash%uint64(len(of))+uint64(i))%uint64(len(of))]]
}

// takePort takes an outside port: the inside one if it is free, else any of its
// part of the range (RFC 4787, 4.2.1 and 4.2.2), else any.
func (t *Table) takePort(sh *shard, rs *ruleset, orig tuple, c class) (*outside, uint16) {
	want := orig.sport()
	near, far := rs.ports[0], rs.ports[1]
	if want >= 1024 {
		near, far = far, near
	}
	if c.kind() == kindEcho {
		near, far = PortRange{0, 65535}, PortRange{}
	}
	random := uint16(fold(sh.random()^orig.src.lo, t.keys[0]) >> 32)
	hash := t.keys.host(orig.src)
	for i := 0; ; i++ {
		o := rs.paired(hash, c.v6(), i)
		if o == nil {
			return nil, 0
		}
		set := &o.ports[c.kind()]
		may := func(p uint16) bool {
			_, is := rs.target(socket{o.addr, p, c.kind()}, c.v6())
			return !is
		}
		if near.First <= want && want <= near.Last && may(want) && set.take(want) {
			return o, want
		}
		for _, r := range [2]PortRange{near, far} {
			if p, ok := set.takeAny(r, random, may); ok {
				return o, p
			}
		}
	}
}

// joinMapping enters a flow into its mapping and reports whether there was room.
func (t *Table) joinMapping(sh *shard, f *flow, slot, head uint32, c class) bool {
	f.peers = link{}
	if head == noFlow {
		sh.sources[f.owner.Load()&sourceMax].ports[c.kind()]++
		o := f.orig()
		return t.index.insert(bySocket, t.keys.socket(o.src, o.sport(), c), slot)
	}
	h := t.pool.at(head)
	f.peers = link{next: h.peers.next, prev: head}
	if h.peers.next != noFlow {
		t.pool.at(h.peers.next).peers.prev = slot
	}
	h.peers.next = slot
	return true
}

// leaveMapping takes a flow out of its mapping. The last one releases the port.
func (t *Table) leaveMapping(sh *shard, f *flow, slot uint32, s uint64) {
	next, prev := f.peers.next, f.peers.prev
	if next != noFlow {
		t.pool.at(next).peers.prev = prev
	}
	if prev != noFlow {
		t.pool.at(prev).peers.next = next
		return
	}
	c, o := classOf(s, 0), f.orig()
	t.index.replace(bySocket, t.keys.socket(o.src, o.sport(), c), slot, next)
	if next == noFlow {
		sh.sources[f.owner.Load()&sourceMax].ports[c.kind()]--
		t.releasePort(f.xlat(), c)
	}
}

// releasePort gives the port of a translated tuple back. Of an address that is no
// longer the outside's there is nothing to give back.
func (t *Table) releasePort(x tuple, c class) {
	if o := t.rules.Load().outsideAt(x.src); o != nil {
		o.ports[c.kind()].release(x.sport())
	}
}
