package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// A run drives table and model with the same packets.
type run struct {
	t   testing.TB
	r   *rand.Rand
	tab *Table
	m   *model
	log []string
}

func (r *run) fail(format string, args ...any) {
	r.t.Helper()
	for _, l := range r.log[max(0, len(r.log)-12):] {
		r.t.Log(l)
	}
	r.t.Fatalf(format, args...)
}

func pick[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }

// runRules are what rules change to and fro between.
func runRules(narrow bool) []*Rules {
	all := []*Rules{testRules(), testRules(), testRules(), testRules()}
	all[1].Published = all[1].Published[2:]
	all[2].Outside = all[2].Outside[1:]
	all[3].Inside = []netip.Prefix{netip.MustParsePrefix("172.18.0.0/30"), netip.MustParsePrefix("fd00:18::/64")}
	for _, r := range all {
		r.Ports = PortRange{1, 65535}
		if narrow {
			r.Ports = PortRange{4000, 4003}
		}
	}
	return all
}

// packet builds a packet of the small world, or one that answers a flow there is.
func (r *run) packet() (modelPacket, Side) {
	v4 := r.r.IntN(4) > 0
	addr := func(v4a, v6a string) netip.Addr {
		if v4 {
			return ip(v4a)
		}
		return ip(v6a)
	}
	n := pick(r.r, 2, 2, 3, 3, 4, 9)
	inside := addr(fmt.Sprintf("172.18.0.%d", n), fmt.Sprintf("fd00:18::%d", n))
	outside := addr("198.51.100.1", "2001:db8:51::1")
	server := addr(fmt.Sprintf("203.0.113.%d", n), fmt.Sprintf("2001:db8:7::%d", n))
	port := func() uint16 { return pick[uint16](r.r, 53, 80, 4000, 4001, 4002, 4003, 4004, 5353, 8080, 0) }
	p := modelPacket{proto: pick[uint8](r.r, frame.ProtoTCP, frame.ProtoTCP, frame.ProtoUDP, frame.ProtoICMP)}
	from := pick(r.r, Inside, Inside, Outside)
	if from == Inside {
		p.ends = ends2{netip.AddrPortFrom(inside, port()), netip.AddrPortFrom(pick(r.r, server, server, server, outside, inside), port())}
	} else {
		p.ends = ends2{netip.AddrPortFrom(pick(r.r, server, server, server, inside), port()), netip.AddrPortFrom(pick(r.r, outside, outside, outside, inside), port())}
	}
	if f := r.flow(); f != nil && r.r.IntN(3) > 0 {
		p.proto = f.proto
		p.ends, from = f.orig, Outside
		if f.inside {
			from = Inside
		}
		if r.r.IntN(2) == 0 {
			p.ends, from = f.xlat.reverse(), Inside
			if !f.published {
				from = Outside
			}
		}
		r.aim(&p, f)
	} else if p.proto == frame.ProtoTCP {
		p.flags = pick[uint8](r.r, syn, syn, ack, syn|ack, rst, fin|ack, 0)
		p.seq, p.ack = r.r.Uint32N(3000), r.r.Uint32N(3000)
	}
	if p.proto == frame.ProtoICMP || p.proto == frame.ProtoICMPv6 {
		p.proto = frame.ProtoICMP
		if p.ends.src.Addr().Is6() {
			p.proto = frame.ProtoICMPv6
		}
		if p.echoAnswer = p.ends.src.Port() == 0; p.echoAnswer {
			p.ends.src = netip.AddrPortFrom(p.ends.src.Addr(), 0)
		} else {
			p.ends.dst = netip.AddrPortFrom(p.ends.dst.Addr(), 0)
		}
	}
	p.window, p.scale = uint32(pick(r.r, 0, 500, 60000)), pick(r.r, -1, 0, 3)
	if p.proto != frame.ProtoTCP || p.flags&syn == 0 {
		p.scale = -1
	}
	return p, from
}

func (r *run) flow() *modelFlow {
	if len(r.m.flows) == 0 {
		return nil
	}
	return pick(r.r, r.m.flows...)
}

// aim makes a segment one that could belong to a flow, or nearly.
func (r *run) aim(p *modelPacket, f *modelFlow) {
	if p.proto != frame.ProtoTCP {
		return
	}
	d := 0
	if p.ends != f.orig {
		d = 1
	}
	p.flags = pick[uint8](r.r, ack, ack, ack, syn|ack, syn, fin|ack, rst, rst|ack)
	near := func(v uint32) uint32 { return v + pick[uint32](r.r, 0, 0, 0, 1, ^uint32(0), 499, 500, 501) }
	p.seq, p.ack = near(f.ack[1-d]), near(f.ack[d])
	p.size = pick[uint32](r.r, 0, 0, 1, 100)
}

// bytes returns the packet as a frame.
func (p *modelPacket) bytes() []byte {
	from, to := host(p.ends.src.Addr()), host(p.ends.dst.Addr())
	switch p.proto {
	case frame.ProtoTCP:
		s := nettest.Segment{SrcPort: p.ends.src.Port(), DstPort: p.ends.dst.Port(), Flags: p.flags, Seq: p.seq, Ack: p.ack,
			Window: uint16(p.window), Payload: make([]byte, p.size)}
		if p.scale >= 0 {
			s.Options = []byte{1, 3, 3, byte(p.scale)}
		}
		return nettest.TCP(from, to, s)
	case frame.ProtoUDP:
		return nettest.UDP(from, to, p.ends.src.Port(), p.ends.dst.Port(), []byte("payload"))
	}
	return echo(from.IP.String(), to.IP.String(), p.ends.src.Port()|p.ends.dst.Port(), p.echoAnswer)
}

// listing returns the table's flows by what they are known by.
func (r *run) listing() map[string]Flow {
	all := map[string]Flow{}
	r.tab.Flows(func(f Flow) bool {
		all[fmt.Sprint(f.Proto, f.Published, f.Source, f.Destination)] = f
		return true
	})
	return all
}

func (f *modelFlow) key() string { return fmt.Sprint(f.proto, f.published, f.orig.src, f.orig.dst) }

// step sends one packet through both.
func (r *run) step() {
	r.t.Helper()
	p, from := r.packet()
	r.log = append(r.log, fmt.Sprintf("at %d from %d: %d %v > %v flags %#x seq %d ack %d size %d window %d scale %d", r.m.now, from, p.proto, p.ends.src, p.ends.dst, p.flags, p.seq, p.ack, p.size, p.window, p.scale))
	f := wrap(r.t, p.bytes())
	side, reason := cross(r.tab, from, f, r.m.now)
	all := r.listing()
	r.m.told.gone = func(g *modelFlow) bool { _, is := all[g.key()]; return !is }
	r.m.told.outside = func(g *modelFlow) netip.AddrPort {
		if made, is := all[g.key()]; is || reason != frame.NotDropped || from == Outside {
			return made.TranslatedSource
		}
		at, _ := ends(f) // of a hairpin's two flows the second took the first one's place
		return at
	}
	var want ends2
	var wantSide Side
	var wantReason frame.Reason
	before := r.m.flows
	for try := range 8 {
		r.m.flows, r.m.wrong, r.m.choices = nil, "", try
		for _, f := range before {
			again := *f
			r.m.flows = append(r.m.flows, &again)
		}
		want, wantSide, wantReason = r.m.cross(p, from)
		if r.m.wrong == "" && len(r.m.flows) == len(all) {
			break
		}
	}
	if r.m.wrong != "" {
		r.fail("the table %s", r.m.wrong)
	}
	if len(all) != len(r.m.flows) {
		r.fail("%d flows, want %d", len(all), len(r.m.flows))
	}
	if reason != wantReason || reason == frame.NotDropped && side != wantSide {
		r.fail("%v, side %d; want %v, side %d", reason, side, wantReason, wantSide)
	}
	if reason != frame.NotDropped {
		return
	}
	checkSums(r.t, f)
	a, b := ends(f)
	if p.proto == frame.ProtoICMP || p.proto == frame.ProtoICMPv6 {
		id := want.src.Port() | want.dst.Port()
		want = ends2{netip.AddrPortFrom(want.src.Addr(), id), netip.AddrPortFrom(want.dst.Addr(), id)}
	}
	if (ends2{a, b}) != want {
		r.fail("%v > %v, want %v", a, b, want)
	}
}

// compare holds all flows against the model's.
func (r *run) compare() {
	r.t.Helper()
	all := r.listing()
	for _, f := range r.m.flows {
		if got := all[f.key()]; got != f.shown() {
			r.fail("flow\n%+v, want\n%+v", got, f.shown())
		}
	}
	if len(all) != len(r.m.flows) {
		r.fail("%d flows, want %d", len(all), len(r.m.flows))
	}
	checkTable(r.t, r.tab)
}

func newRun(t testing.TB, seed uint64, cfg Config) *run {
	cfg.Seed = seed
	r := &run{t: t, r: rand.New(rand.NewPCG(seed, 7)), tab: New(cfg), m: &model{cfg: cfg.filled(), rules: testRules(), now: 1000}}
	return r
}

// go on with n steps: packets, time, and now and then other rules or a flush.
func (r *run) steps(n int, narrow bool) {
	r.t.Helper()
	rules := runRules(narrow)
	set := func(to *Rules) {
		r.tab.SetRules(to)
		r.m.rules = to
		all := r.listing()
		r.m.flows = slices.DeleteFunc(r.m.flows, func(f *modelFlow) bool { _, is := all[f.key()]; return !is })
	}
	set(rules[0])
	for i := range n {
		switch k := r.r.IntN(1000); {
		case k < 60:
			r.m.now += pick[uint32](r.r, 1, 1, 1, 1, 20, 100, 300, 4000)
			r.tab.Tick(r.m.now)
			r.m.tick(r.m.now)
			r.log = append(r.log, fmt.Sprint("tick ", r.m.now))
			r.compare()
		case k < 64:
			at := r.r.IntN(len(rules))
			set(rules[at])
			r.log = append(r.log, fmt.Sprint("rules ", at))
			r.compare()
		case k < 66:
			state := pick(r.r, "established", "unreplied", "syn-sent", "reset")
			had := len(r.m.flows)
			r.m.flows = slices.DeleteFunc(r.m.flows, func(f *modelFlow) bool { return f.state() == state })
			if got := r.tab.Flush(func(f Flow) bool { return f.State == state }); got != had-len(r.m.flows) {
				r.fail("flushed %d %s, want %d", got, state, had-len(r.m.flows))
			}
			r.log = append(r.log, "flush "+state)
		default:
			r.step()
		}
		if i%200 == 0 {
			r.compare()
		}
	}
	r.compare()
}

// TestModel holds the table against the slow one, with room and without.
func TestModel(t *testing.T) {
	for _, c := range []struct {
		name   string
		cfg    Config
		narrow bool
	}{
		{"room for all", Config{}, false},
		{"few ports", Config{}, true},
		{"few flows", Config{MaxFlows: 12}, false},
		{"few flows each", Config{MaxPerSource: 4}, false},
		{"few unanswered", Config{MaxUnanswered: 5}, false},
		{"few of all", Config{MaxFlows: 20, MaxPerSource: 9, MaxUnanswered: 9}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			seeds := uint64(6)
			if testing.Short() {
				seeds = 2
			}
			for seed := range seeds {
				t.Logf("seed %d", seed)
				newRun(t, seed, c.cfg).steps(6000, c.narrow)
			}
		})
	}
}
