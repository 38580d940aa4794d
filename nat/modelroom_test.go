package nat

import (
	"fmt"
	"net/netip"
	"slices"

	"weft/internal/frame"
)

// room makes room for a flow as evict.go says, and gives it its outside socket.
func (m *model) room(f *modelFlow) frame.Reason {
	for tries := 0; ; tries++ {
		if m.of(func(g *modelFlow) bool { return g.owner == f.owner }) >= m.cfg.MaxPerSource {
			if !m.giveUp("its own", func(g *modelFlow) bool { return g.owner == f.owner && g.rank() < 2 }) {
				return frame.SourceFlows
			}
		}
		why := ""
		var may func(*modelFlow) bool
		switch {
		case m.of(func(g *modelFlow) bool { return g.rank() == 0 }) >= m.cfg.MaxUnanswered:
			why, may = "unanswered", m.most(func(g *modelFlow) bool { return g.rank() == 0 })
		case len(m.flows) >= m.cfg.MaxFlows:
			why, may = "flows", m.most(func(*modelFlow) bool { return true })
		case f.inside && !m.mapSource(f):
			if tries == 3 || !m.giveUpPort(f) {
				return frame.PortsFull
			}
			continue
		default:
			return frame.NotDropped
		}
		if tries == 3 || !m.giveUp(why, may) {
			return frame.FlowsFull
		}
	}
}

// giveUpPort removes what has given up its port for f: of an owner that has most, a flow
// that has one alone or, if there is none, all of a mapping.
func (m *model) giveUpPort(f *modelFlow) bool {
	mapped := func(g *modelFlow) bool {
		return g.inside && !g.static && g.proto == f.proto && g.owner.Is4() == f.owner.Is4()
	}
	mates := func(g *modelFlow) func(*modelFlow) bool {
		return func(o *modelFlow) bool { return mapped(o) && o.orig.src == g.orig.src }
	}
	most := m.mostPorts(mapped)
	alone := func(g *modelFlow) bool { return most(g) && m.of(mates(g)) == 1 }
	if m.of(alone) > 0 {
		was := m.wrong
		if m.giveUp("ports", alone) {
			return true
		}
		m.wrong = was
	}
	for _, g := range m.flows {
		if !most(g) || m.of(func(o *modelFlow) bool { return alone(o) && o.owner == g.owner }) > 0 {
			continue
		}
		mate := mates(g)
		if m.of(func(o *modelFlow) bool { return mate(o) && !m.told.gone(o) }) == 0 {
			m.flows = slices.DeleteFunc(m.flows, mate)
			return true
		}
	}
	if m.of(most) > 0 {
		m.wrong = "no port has been given up"
	}
	return false
}

// of counts.
func (m *model) of(what func(*modelFlow) bool) (n int) {
	for _, f := range m.flows {
		if what(f) {
			n++
		}
	}
	return n
}

// most returns what tells whether a flow is counted and of an owner that has most of
// what is counted.
func (m *model) most(what func(*modelFlow) bool) func(*modelFlow) bool {
	n, top := map[netip.Addr]int{}, 0
	for _, f := range m.flows {
		if what(f) {
			n[f.owner]++
			top = max(top, n[f.owner])
		}
	}
	return func(f *modelFlow) bool { return what(f) && n[f.owner] == top }
}

// mostPorts is most of the sockets inside that what is counted goes out from.
func (m *model) mostPorts(what func(*modelFlow) bool) func(*modelFlow) bool {
	first := map[netip.AddrPort]*modelFlow{}
	for _, f := range m.flows {
		if what(f) {
			first[f.orig.src] = f
		}
	}
	top := m.most(func(f *modelFlow) bool { return first[f.orig.src] == f })
	return func(f *modelFlow) bool { return what(f) && top(first[f.orig.src]) }
}

// giveUp removes one flow of those that may go, of the lowest rank of its owner's: one
// that the table has given up. It reports whether there is any that may.
func (m *model) giveUp(why string, may func(*modelFlow) bool) bool {
	candidates, gone := 0, []int(nil)
	for i, f := range m.flows {
		if !may(f) || m.of(func(g *modelFlow) bool { return may(g) && g.owner == f.owner && g.rank() < f.rank() }) > 0 {
			continue
		}
		candidates++
		if m.told.gone(f) {
			gone = append(gone, i)
		}
	}
	if len(gone) > 0 {
		// Which of them it was for this, only the end shows.
		i := gone[m.choices%2*(len(gone)-1)]
		m.choices /= 2
		m.flows = append(m.flows[:i], m.flows[i+1:]...)
		return true
	}
	if candidates > 0 {
		m.wrong = fmt.Sprintf("none of the %d flows that may go for %s has gone", candidates, why)
	}
	return false
}
