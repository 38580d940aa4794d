package vswitch

import (
	"maps"
	"net/netip"
	"slices"

	"weft/arp"
	"weft/internal/frame"
)

// await is for a frame whose next hop's MAC is not known: it is held, and the hop asked.
// The question stands for the frame on the egress list.
func (w *Worker) await(r *Router, to netip.Addr, by way, f *frame.Frame) frame.Reason {
	if w.quiet {
		return frame.NoNeighbour
	}
	p := r.hops.get(to)
	if p == nil {
		if p = r.hops.make(to, by, w.now); p == nil {
			return frame.NoNeighbour
		}
	}
	if last := p.ask.Load(); last != w.now && p.ask.CompareAndSwap(last, w.now) {
		w.question(r, p, frame.MAC{})
	}
	p.use(w.now)
	if !p.hold(f) {
		return frame.NoNeighbour
	}
	f.Verdict = frame.Kept
	if _, ok := p.at(); ok { // the answer came meanwhile, to another worker
		w.heard = append(w.heard, heardHop{r, p})
	}
	return frame.NotDropped
}

// question sends an ARP request or a neighbour solicitation for a hop: to all, or to the
// MAC that it had.
func (w *Worker) question(r *Router, p *hop, to frame.MAC) {
	b := w.ownBatch()
	slot := b.Reserve()
	if slot == nil {
		return
	}
	own := r.cfg.Outside.gateway.mac
	m := appendQuestion(slot[frame.Headroom:frame.Headroom], own, to, p.from, p.addr)
	f := b.Commit(len(m))
	f.Verdict = frame.Consumed
	if f.Parse() == frame.NotDropped {
		w.say(r.cfg.Port, f)
	}
}

// appendQuestion appends the frame to m, which has room for it.
func appendQuestion(m []byte, own, to frame.MAC, from, target netip.Addr) []byte {
	if target.Is4() {
		if to == (frame.MAC{}) {
			to = frame.MAC{255, 255, 255, 255, 255, 255}
		}
		m = append(append(m, to[:]...), own[:]...)
		m = append(m, frame.EtherARP>>8, frame.EtherARP&0xff)
		p := arp.Packet{Op: arp.OpRequest, SenderMAC: own, SenderIP: from, TargetIP: target}
		return p.Append(m)
	}
	q := arp.Message{SrcMAC: own, DstMAC: to, Src: from, Dst: target, Target: target, LinkAddr: own, HasLinkAddr: true}
	if to == (frame.MAC{}) {
		t := target.As16() // RFC 4291, 2.7.1; RFC 2464, 7
		q.DstMAC = frame.MAC{0x33, 0x33, 0xff, t[13], t[14], t[15]}
		q.Dst = netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]})
	}
	return q.Append(m)
}

// A heardHop is a hop of a router's whose MAC has become known in this turn.
type heardHop struct {
	router *Router
	hop    *hop
}

// hear is what the outside teaches: where a hop is. A frame that was held for it leaves
// at the end of the turn.
func (w *Worker) hear(r *Router, a netip.Addr, m frame.MAC) {
	p := r.hops.get(a)
	if p == nil || w.quiet || !p.learn(m, w.now) {
		return
	}
	r.hops.found(1)
	w.heard = append(w.heard, heardHop{r, p})
}

// letGo sends the frames that are held for hops that have been heard of. The batch has
// been written: they are none of its frames, whose answers may fill the egress list.
func (w *Worker) letGo() {
	for _, h := range w.heard {
		m, ok := h.hop.at()
		if !ok {
			continue
		}
		w.ownBatch().Reset()
		if f := h.hop.release(w.own); f != nil {
			copy(f.Bytes(), m[:])
			f.Verdict = frame.Consumed // it was counted when it was kept
			w.say(h.router.cfg.Port, f)
			w.flush()
		}
	}
	w.heard = w.heard[:0]
}

// say sends a frame that stands for no other of the batch: on a full list there is no room
// for it.
func (w *Worker) say(out *Port, f *frame.Frame) {
	if w.port(out.slot) != out {
		return
	}
	if l := w.tx[out.slot]; l == nil || l.n < len(l.frames) {
		w.send(out, f)
	}
}

// ownBatch returns the memory of frames that the switch makes itself.
func (w *Worker) ownBatch() *frame.Batch {
	if w.own == nil {
		w.own = frame.NewBatch()
	}
	return w.own
}

// Tick looks after the router's next hops: questions that are due leave by w, in a turn of
// its own. Call it once a second, from one goroutine at a time, after [Switch.Tick].
func (r *Router) Tick(w *Worker) {
	w.turn.Add(1)
	defer w.turn.Add(1)
	w.batch.Reset()
	w.begin()
	if r.announced < announcements {
		r.announced++
		w.announce(r)
	}
	gone := map[netip.Addr]bool{}
	said := 0
	known := *r.hops.snap.Load()
	// In order, so that a replay says the same every time.
	for _, a := range slices.SortedFunc(maps.Keys(known), netip.Addr.Compare) {
		p := known[a]
		if said == frame.MaxBatch/2 { // each may say two things
			w.flush()
			w.batch.Reset()
			w.begin()
			said = 0
		}
		switch need, m := p.look(&r.hops, w.now); need {
		case needsQuestion:
			p.ask.Store(w.now)
			w.question(r, p, m)
			said++
		case needsGivingUp:
			gone[a] = true
			w.giveUp(r, p)
			said++
		case needsForgetting:
			gone[a] = true
		}
	}
	w.flush()
	r.hops.forget(gone)
}

// giveUp tells who sent the frame that is held for a hop that nobody answers for. The
// frame has been translated, so the message is made as if a router outside had sent it, and
// comes back the way such a message does.
func (w *Worker) giveUp(r *Router, p *hop) {
	f := p.release(w.ownBatch())
	if f == nil || !f.WantsError() {
		return
	}
	e := w.message(f, nil, hostUnreachable, 0)
	if e == nil {
		return
	}
	e.In, e.Verdict = r.cfg.Port.slot, frame.Pending
	w.enter(r, r.cfg.Port, e, nil)
}

// announcements is how often a new router says where its addresses are, a second apart (RFC
// 5227, 2.3 has two of them; RFC 4861, 10: MAX_NEIGHBOR_ADVERTISEMENT three).
const announcements = 3

// announce tells all outside where the router's addresses are: whoever had them before, such
// as the kernel that one was taken from, is remembered with another MAC.
func (w *Worker) announce(r *Router) {
	own := r.cfg.Outside.gateway.mac
	for _, a := range r.cfg.Outside.addresses() {
		slot := w.ownBatch().Reserve()
		if slot == nil {
			return
		}
		m := slot[frame.Headroom:frame.Headroom]
		if a.Is4() {
			m = appendQuestion(m, own, frame.MAC{}, a, a)
		} else {
			all := netip.IPv6LinkLocalAllNodes()
			n := arp.Message{Advertisement: true, SrcMAC: own, DstMAC: frame.MAC{0x33, 0x33, 0, 0, 0, 1}, Src: a, Dst: all, Target: a,
				Flags: arp.FlagRouter | arp.FlagOverride, LinkAddr: own, HasLinkAddr: true}
			m = n.Append(m)
		}
		f := w.own.Commit(len(m))
		f.Verdict = frame.Consumed
		if f.Parse() == frame.NotDropped {
			w.say(r.cfg.Port, f)
		}
	}
}
