package nat

import (
	"net/netip"
	"sync/atomic"
)

// A Flow is one connection as shown to people.
type Flow struct {
	Proto uint8
	// Source and Destination of the first packet as it came, and as it left. An
	// echo's identifier is the port of its source.
	Source, Destination                     netip.AddrPort
	TranslatedSource, TranslatedDestination netip.AddrPort
	Published                               bool // made by a published port, from the outside
	Hairpin                                 bool // to an address of the outside's own
	State                                   string
	Seen                                    uint32 // when its last packet came, in the caller's seconds
	Expires                                 uint32 // when it ends unless another comes
}

// Flows calls yield for every flow until it returns false. What begins or ends
// meanwhile may or may not be shown.
func (t *Table) Flows(yield func(Flow) bool) {
	for i, end := uint32(1), t.pool.given(); i < end; i++ {
		f := t.pool.at(i)
		s := f.state.Load()
		if s&live == 0 {
			continue
		}
		if shown := t.show(f, s); same(s, f.state.Load()) && !yield(shown) {
			return
		}
	}
}

// Flush ends the flows that match says true of, and returns their number.
func (t *Table) Flush(match func(Flow) bool) int {
	return t.sweep(func(f *flow, s uint64) bool { return match(t.show(f, s)) })
}

func (t *Table) show(f *flow, s uint64) Flow {
	o, x := f.orig(), f.xlat()
	seen := f.seen.Load()
	return Flow{
		Proto:  class(s).kind().proto(class(s).v6()),
		Source: netip.AddrPortFrom(o.src.netip(), o.sport()), Destination: netip.AddrPortFrom(o.dst.netip(), o.dport()),
		TranslatedSource: netip.AddrPortFrom(x.src.netip(), x.sport()), TranslatedDestination: netip.AddrPortFrom(x.dst.netip(), x.dport()),
		Published: s&published != 0, Hairpin: s&hairpin != 0,
		State: stateName(s), Seen: seen, Expires: seen + t.timeout(s),
	}
}

// stateName returns a state in the words of RFC 9293 where there are any.
func stateName(s uint64) string {
	if class(s).kind() != kindTCP {
		if s&replied != 0 {
			return "assured"
		}
		return "unreplied"
	}
	switch {
	case s&(rstO|rstR) != 0:
		return "reset"
	case closed(s):
		return "time-wait"
	case s&(finO|finR) != 0:
		return "fin-wait"
	case s&opened != 0:
		return "established"
	case s&synR != 0:
		return "syn-received"
	case s&synO != 0:
		return "syn-sent"
	}
	return "untracked"
}

// counters count what happens seldom.
type counters struct {
	expired, ended, portsFull, sourceFull atomic.Uint64
	evicted                               [ranks]atomic.Uint64
}

// Stats are a table's numbers. What has happened is counted from New on.
type Stats struct {
	Flows                          int    // now; of these:
	Unanswered, Loose, Established int    // without answer; UDP, echo and closing TCP; TCP
	Created, Expired, Ended        uint64 // flows; ended by Flush or by a change of the rules
	// Flows that had to give way, by what they were.
	EvictedUnanswered, EvictedLoose, EvictedEstablished uint64
	PortsExhausted                                      uint64 // times that no outside port was left
	SourceLimit                                         uint64 // flows refused, their endpoint having enough
	Bytes                                               int    // memory taken for flows and the index of them
}

// Stats returns the table's numbers.
func (t *Table) Stats() Stats {
	c := &t.counts
	s := Stats{
		Flows:      t.flows(),
		Unanswered: int(t.count[rankUnanswered].Load()), Loose: int(t.count[rankLoose].Load()), Established: int(t.count[rankOpen].Load()),
		Expired: c.expired.Load(), Ended: c.ended.Load(),
		EvictedUnanswered: c.evicted[rankUnanswered].Load(), EvictedLoose: c.evicted[rankLoose].Load(), EvictedEstablished: c.evicted[rankOpen].Load(),
		PortsExhausted: c.portsFull.Load(), SourceLimit: c.sourceFull.Load(),
	}
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		s.Created += sh.created
		sh.mu.Unlock()
	}
	const flowBytes = 128
	chunks := (int(t.pool.given()) + chunkFlows - 1) / chunkFlows
	s.Bytes = chunks*chunkFlows*flowBytes + len(t.pool.chunks)*8 + t.index.bytes()
	const portSetBytes = 65536/8 + 8
	s.Bytes += len(t.rules.Load().outside) * int(kinds) * portSetBytes
	return s
}
