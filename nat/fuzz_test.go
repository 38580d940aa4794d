package nat

import (
	"bytes"
	"encoding/binary"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// templates are frames that a fuzzed sequence is made of.
func templates() (all []template) {
	add := func(from Side, b []byte) { all = append(all, template{from: from, b: b}) }
	for _, c := range families {
		out := udp(c.a+":5000", c.server+":9", "some payload that is long enough")
		add(Inside, out)
		add(Outside, udp(c.server+":9", c.out+":5000", "an answer"))
		add(Inside, tcp(c.a+":5000", c.server+":9", syn, 100, 0))
		add(Outside, tcp(c.server+":9", c.out+":5000", syn|ack, 900, 101))
		add(Inside, tcp(c.a+":5000", c.server+":9", ack, 101, 901))
		add(Outside, tcp(c.server+":9", c.out+":5000", rst, 901, 0))
		add(Inside, tcp(c.a+":5000", c.server+":9", fin|ack, 101, 901))
		add(Outside, tcp(c.server+":4000", c.out+":8080", syn, 1, 0))
		add(Inside, tcp(c.b+":4000", c.out+":8080", syn, 1, 0))
		add(Inside, echo(bare(c.a), bare(c.server), 7, false))
		add(Outside, echo(bare(c.server), bare(c.out), 7, true))
		unreachable := byte(3)
		if c.name == "IPv6" {
			unreachable = 1
		}
		add(Outside, errorAbout(c.server, c.out, unreachable, udp(c.out+":5000", c.server+":9", "x"), 0))
		add(Inside, errorAbout(c.a, c.server, unreachable, udp(c.server+":9", c.a+":5000", "x"), 0))
		for _, p := range fragmented(out, 7, 16) {
			add(Inside, p)
		}
		a, b := ap(c.a+":5000"), ap(c.server+":9")
		super, o := nettest.UDPSuper(host(a.Addr()), host(b.Addr()), 5000, 9, make([]byte, 300), 100)
		all = append(all, template{Inside, super, o})
		super, o = nettest.TCPSuper(host(a.Addr()), host(b.Addr()), nettest.Segment{SrcPort: 5000, DstPort: 9, Flags: ack, Payload: make([]byte, 300)}, 100)
		all = append(all, template{Inside, super, o})
	}
	return all
}

type template struct {
	from Side
	b    []byte
	o    frame.Offload
}

// FuzzSequence feeds a table frames that are right, nearly right and wrong, lets time pass
// and rules change. Nothing panics; what is dropped is unchanged; what passes is a frame of
// the same length that still makes sense; and the table's books balance in the end.
//
// A step is a byte that says what comes. Below 200 it is a template, with as many changes of
// one byte as the next byte says: each two bytes for where and one for what. From there on
// it is a frame of the input's own, behind its length; a tick; other rules.
func FuzzSequence(f *testing.F) {
	all := templates()
	var every []byte
	for i := range all {
		every = append(every, byte(i), 0)
	}
	f.Add(every)
	f.Add(append(append(every, 251, 3), every...))
	f.Add([]byte{0, 1, 0, 22, 1, 2, 0, 251, 200, 252, 1, 0, 0})
	f.Add([]byte{0, 0, 11, 1, 0, 45, 17, 11, 0, 13, 0, 14, 2, 0, 20, 0x20, 0, 21, 1})
	f.Add(append([]byte{210, 34}, udp("172.18.0.2:5000", "203.0.113.7:9", "x")[:34]...))
	f.Fuzz(func(t *testing.T, input []byte) {
		tab := testTable(t, Config{MaxFlows: 12, MaxPerSource: 9, MaxUnanswered: 8})
		now := uint32(1000)
		take := func(n int) []byte {
			n = min(n, len(input))
			b := input[:n]
			input = input[n:]
			return append(b, make([]byte, 4)...)
		}
		for steps := 0; len(input) > 0 && steps < 200; steps++ {
			switch op := int(take(1)[0]); {
			case op < 200:
				feed(t, tab, mutated(all[op%len(all)], take), now)
			case op < 250:
				n := int(take(1)[0])
				b := take(n)
				feed(t, tab, template{Side(op & 1), b[:min(n, len(b))], frame.Offload{}}, now)
			case op == 251:
				now += uint32(take(1)[0]) * 8
				tab.Tick(now)
			default:
				r := testRules()
				r.MTU = 1300
				if take(1)[0]&1 != 0 {
					r.Published, r.Outside = r.Published[1:], r.Outside[:1]
				}
				tab.SetRules(r)
			}
		}
		checkTable(t, tab)
	})
}

// mutated returns a template with changes.
func mutated(m template, take func(int) []byte) template {
	m.b = bytes.Clone(m.b)
	for range take(1)[0] % 8 {
		change := take(3)
		at := int(binary.BigEndian.Uint16(change))
		if at == 0xffff {
			m.o.Flags ^= frame.NeedsCsum
			continue
		}
		m.b[at%len(m.b)] = change[2]
	}
	return m
}

// feed gives a frame to the table, if the switch would.
func feed(t *testing.T, tab *Table, m template, now uint32) {
	f := new(frame.Frame)
	f.Wrap(append(make([]byte, frame.Headroom), m.b...), frame.Headroom)
	if f.Offload = m.o; f.Parse() != frame.NotDropped {
		return
	}
	v, was := f.View, bytes.Clone(f.Bytes())
	_, r := cross(tab, m.from, f, now)
	if r != frame.NotDropped {
		isICMP := v.Proto == frame.ProtoICMP || v.Proto == frame.ProtoICMPv6
		if !isICMP && !bytes.Equal(was, f.Bytes()) {
			t.Fatalf("%v, and changed:\n%x\n%x", r, was, f.Bytes())
		}
		return
	}
	if f.Len() != len(was) {
		t.Fatalf("%d bytes became %d", len(was), f.Len())
	}
	if again := f.Parse(); again != frame.NotDropped || f.View != v {
		t.Fatalf("%v afterwards, %+v was %+v\n%x\n%x", again, f.View, v, was, f.Bytes())
	}
}
