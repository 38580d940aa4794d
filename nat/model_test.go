package nat

import (
	"net/netip"
	"slices"

	"weft/internal/frame"
)

// The model is the table as one would write it without haste: a list of flows that is
// searched from end to end, every rule spelled out. Where the table may choose (a port,
// who has to give way) it is told what the table chose and judges whether it might.

type ends2 struct{ src, dst netip.AddrPort }

func (e ends2) reverse() ends2 { return ends2{e.dst, e.src} }

type modelFlow struct {
	proto                      uint8
	inside                     bool // where the first packet came from
	orig, xlat                 ends2
	published, hairpin, static bool
	seen                       uint32
	answered                   bool
	syn, fin, rst              [2]bool // initiator, responder
	open                       bool
	scale                      [2]int // -1: none
	ack, window                [2]uint32
	owner                      netip.Addr
}

// A modelPacket is a packet as the model sees it.
type modelPacket struct {
	proto          uint8
	ends           ends2
	flags          uint8
	seq, ack, size uint32
	window         uint32
	scale          int
	echoAnswer     bool
}

type model struct {
	cfg   Config
	rules *Rules
	flows []*modelFlow
	now   uint32
	// told is what the table chose: the outside port of a new mapping, and the flows
	// that have gone.
	told struct {
		outside func(*modelFlow) netip.AddrPort
		gone    func(*modelFlow) bool
	}
	wrong   string // a choice that it might not make
	choices int    // which of several explanations to try, a bit for each
}

func (m *model) isOutside(a netip.Addr) bool { return slices.Contains(m.rules.Outside, a) }

func (m *model) isInside(a netip.Addr) bool {
	return slices.ContainsFunc(m.rules.Inside, func(p netip.Prefix) bool { return p.Contains(a) })
}

// target returns where a socket of the outside leads.
func (m *model) target(proto uint8, at netip.AddrPort) (netip.AddrPort, bool) {
	for _, exact := range []bool{true, false} {
		for _, p := range m.rules.Published {
			if p.Proto == proto && p.Outside.Port() == at.Port() &&
				(exact && p.Outside.Addr() == at.Addr() || !exact && p.Outside.Addr().IsUnspecified() && p.Outside.Addr().Is4() == at.Addr().Is4()) {
				return p.Inside, true
			}
		}
	}
	return netip.AddrPort{}, false
}

func (m *model) find(p *modelPacket, inside bool) (*modelFlow, int) {
	for _, f := range m.flows {
		if f.proto != p.proto {
			continue
		}
		if f.inside == inside && f.orig == p.ends {
			return f, 0
		}
		if (f.published) == inside && f.xlat.reverse() == p.ends {
			return f, 1
		}
	}
	return nil, 0
}

// cross is what becomes of a packet.
func (m *model) cross(p modelPacket, from Side) (ends2, Side, frame.Reason) {
	out, f, r := m.follow(p, from == Inside, false)
	if r != frame.NotDropped || from == Outside {
		return out, Inside, r
	}
	if !f.hairpin {
		return out, Outside, r
	}
	p.ends = out
	out, _, r = m.follow(p, false, true)
	return out, Inside, r
}

func (m *model) follow(p modelPacket, inside, hairpin bool) (ends2, *modelFlow, frame.Reason) {
	f, d := m.find(&p, inside)
	if f == nil {
		var r frame.Reason
		if f, r = m.create(p, inside, hairpin); r != frame.NotDropped {
			return ends2{}, nil, r
		}
	}
	f.seen = m.now
	if r := m.track(f, d, p); r != frame.NotDropped {
		return ends2{}, nil, r
	}
	if d == 0 {
		return f.xlat, f, frame.NotDropped
	}
	return f.orig.reverse(), f, frame.NotDropped
}

// begins judges whether a packet can be the first one of a flow.
func begins(p modelPacket) frame.Reason {
	switch {
	case p.proto == frame.ProtoICMP || p.proto == frame.ProtoICMPv6:
		if p.echoAnswer {
			return frame.NoFlow
		}
	case p.ends.src.Port() == 0 || p.ends.dst.Port() == 0:
		return frame.PortZero
	case p.proto == frame.ProtoTCP:
		if f := p.flags & (syn | ack | rst | fin); f != syn && f != ack {
			return frame.BadState
		}
	}
	return frame.NotDropped
}

func (m *model) create(p modelPacket, inside, hairpin bool) (*modelFlow, frame.Reason) {
	if r := begins(p); r != frame.NotDropped {
		return nil, r
	}
	f := &modelFlow{proto: p.proto, inside: inside, orig: p.ends, xlat: p.ends, seen: m.now}
	if p.proto == frame.ProtoTCP {
		f.syn[0] = p.flags&syn != 0
		f.scale = [2]int{14, 14}
		if f.syn[0] {
			f.scale = [2]int{p.scale, 0}
		}
	}
	src, dst := p.ends.src.Addr(), p.ends.dst.Addr()
	switch {
	case hairpin:
	case src == dst:
		return nil, frame.Land
	case inside && (m.isOutside(src) || !m.isInside(src)), !inside && (m.isInside(src) || m.isOutside(src)):
		return nil, frame.Martian
	}
	if !inside {
		to, ok := m.target(p.proto, p.ends.dst)
		if !ok || !m.isOutside(dst) {
			return nil, frame.NoFlow
		}
		f.published, f.hairpin, f.xlat.dst, f.owner = true, hairpin, to, to.Addr()
	} else {
		f.owner, f.hairpin = src, m.isOutside(dst)
		switch {
		case !f.hairpin && m.isInside(dst):
			return nil, frame.StaysInside
		case !f.hairpin && !slices.ContainsFunc(m.rules.Outside, func(a netip.Addr) bool { return a.Is4() == src.Is4() }):
			return nil, frame.NoRoute
		}
	}
	if r := m.room(f); r != frame.NotDropped {
		return nil, r
	}
	if back, _ := m.find(&modelPacket{proto: p.proto, ends: f.xlat.reverse()}, f.published); back != nil {
		return nil, frame.TupleTaken
	}
	m.flows = append(m.flows, f)
	return f, frame.NotDropped
}

// mapSource gives a flow from inside its outside socket and reports whether there was
// one.
func (m *model) mapSource(f *modelFlow) bool {
	src := f.orig.src
	for _, p := range m.rules.Published {
		if p.Proto != f.proto || p.Inside != src {
			continue
		}
		f.static = true
		f.xlat.src = netip.AddrPortFrom(p.Outside.Addr(), p.Outside.Port())
		if p.Outside.Addr().IsUnspecified() { // one outside address of a family, in these tests
			for _, a := range m.rules.Outside {
				if a.Is4() == src.Addr().Is4() {
					f.xlat.src = netip.AddrPortFrom(a, p.Outside.Port())
				}
			}
		}
		if m.isOutside(f.xlat.src.Addr()) {
			return true
		}
		f.static, f.xlat.src = false, src
		break
	}
	taken := map[netip.AddrPort]bool{}
	for _, g := range m.flows {
		if !g.inside || g.proto != f.proto || g.static {
			continue
		}
		if g.orig.src == src { // RFC 4787, REQ-1
			f.xlat.src = g.xlat.src
			return true
		}
		taken[g.xlat.src] = true
	}
	free := func(at netip.AddrPort) bool {
		if !m.isOutside(at.Addr()) || taken[at] || at.Addr().Is4() != src.Addr().Is4() {
			return false
		}
		if f.proto == frame.ProtoTCP || f.proto == frame.ProtoUDP {
			if at.Port() < m.rules.Ports.First || at.Port() > m.rules.Ports.Last {
				return false
			}
		}
		_, is := m.target(f.proto, at)
		return !is
	}
	for _, a := range m.rules.Outside {
		if at := netip.AddrPortFrom(a, src.Port()); free(at) {
			f.xlat.src = at
			return true
		}
	}
	var some netip.AddrPort
	for _, a := range m.rules.Outside {
		for port := int(m.rules.Ports.First); port <= int(m.rules.Ports.Last) && !some.IsValid(); port++ {
			if at := netip.AddrPortFrom(a, uint16(port)); free(at) {
				some = at
			}
		}
	}
	isEcho := f.proto == frame.ProtoICMP || f.proto == frame.ProtoICMPv6
	if !some.IsValid() && !isEcho {
		return false
	}
	if f.xlat.src = m.told.outside(f); !f.xlat.src.IsValid() {
		f.xlat.src = some // gone already, and nobody has seen it
	}
	if !free(f.xlat.src) {
		m.wrong = "took outside socket " + f.xlat.src.String()
	}
	return true
}

// track is TCP as RFC 5382, 6146 and 7857 have it, and first answers.
func (m *model) track(f *modelFlow, d int, p modelPacket) frame.Reason {
	if f.proto != frame.ProtoTCP {
		f.answered = f.answered || d == 1
		return frame.NotDropped
	}
	isSYN, isACK, isRST := p.flags&syn != 0, p.flags&ack != 0, p.flags&rst != 0
	end := p.seq + p.size
	inWindow := (f.ack[1-d] != 0 || f.window[1-d] != 0) && end-f.ack[1-d] <= f.window[1-d]
	if f.syn[0] && !f.syn[1] && !f.open && d == 1 {
		inWindow = isACK && p.ack == f.ack[1]
	}
	switch {
	case isRST:
		f.rst[d] = f.rst[d] || inWindow
		return frame.NotDropped
	case isSYN && f.closed():
		if isACK {
			break
		}
		if d == 1 {
			return frame.BadState
		}
		f.syn, f.fin, f.rst, f.open, f.answered = [2]bool{true, false}, [2]bool{}, [2]bool{}, false, false
		f.scale = [2]int{p.scale, 0}
	case isSYN && (f.open || !f.syn[0]):
	case isSYN && d == 1:
		f.syn[1] = true
		if f.scale[0] < 0 || p.scale < 0 {
			f.scale = [2]int{}
		} else {
			f.scale[1] = p.scale
		}
	case isSYN && !f.syn[1]:
		f.scale[0] = p.scale
	case isSYN:
		f.open = f.open || isACK
	default:
		f.rst[d] = false
		if isACK && (f.syn[0] && f.syn[1] && d == 0 || !f.syn[0] && d == 1) {
			f.open = true
		}
		if p.flags&fin != 0 && inWindow {
			f.fin[d] = true
		}
	}
	if d == 0 && isSYN && !isACK && f.syn[0] && !f.syn[1] && !f.open {
		f.ack, f.window = [2]uint32{0, p.seq + 1}, [2]uint32{}
	} else if isACK {
		f.ack[d], f.window[d] = p.ack, p.window
		if !isSYN && f.scale[d] > 0 {
			f.window[d] <<= f.scale[d]
		}
	}
	return frame.NotDropped
}

func (f *modelFlow) closed() bool { return f.rst[0] || f.rst[1] || f.fin[0] && f.fin[1] }

func (f *modelFlow) rank() int {
	switch {
	case f.proto != frame.ProtoTCP && f.answered:
		return 1
	case f.proto != frame.ProtoTCP || !f.open:
		return 0
	case f.closed():
		return 1
	}
	return 2
}

func (f *modelFlow) life() uint32 {
	switch {
	case f.proto == frame.ProtoTCP && f.rank() == 2:
		return 7440
	case f.proto == frame.ProtoTCP:
		return 240
	case f.proto == frame.ProtoUDP && (f.published || f.static) && f.answered:
		return 3600
	case f.proto == frame.ProtoUDP:
		return 300
	}
	return 60
}

func (f *modelFlow) state() string {
	if f.proto != frame.ProtoTCP {
		if f.answered {
			return "assured"
		}
		return "unreplied"
	}
	switch {
	case f.rst[0] || f.rst[1]:
		return "reset"
	case f.fin[0] && f.fin[1]:
		return "time-wait"
	case f.fin[0] || f.fin[1]:
		return "fin-wait"
	case f.open:
		return "established"
	case f.syn[1]:
		return "syn-received"
	case f.syn[0]:
		return "syn-sent"
	}
	return "untracked"
}

func (m *model) tick(now uint32) {
	m.flows = slices.DeleteFunc(m.flows, func(f *modelFlow) bool { return now-f.seen >= f.life() })
}

// shown returns the flow as a table shows it.
func (f *modelFlow) shown() Flow {
	return Flow{Proto: f.proto, Source: f.orig.src, Destination: f.orig.dst, TranslatedSource: f.xlat.src, TranslatedDestination: f.xlat.dst,
		Published: f.published, Hairpin: f.hairpin, State: f.state(), Seen: f.seen, Expires: f.seen + f.life()}
}
