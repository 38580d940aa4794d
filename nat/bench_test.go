package nat

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// worldRules are for many endpoints and addresses.
func worldRules() *Rules {
	r := &Rules{Inside: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for i := range 32 {
		r.Outside = append(r.Outside, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
	}
	return r
}

// A shooter has one 64-byte TCP frame (60 without the frame check sequence) whose
// addresses and ports it sets as it likes.
type shooter struct {
	f    frame.Frame
	mem  []byte
	orig []byte
}

func newShooter(t testing.TB, flags uint8) *shooter {
	b := tcp("10.0.0.1:1024", "203.0.113.1:80", flags, 1, 1)
	b = append(b, make([]byte, 60-len(b))...)
	s := &shooter{mem: append(make([]byte, frame.Headroom), b...), orig: b}
	s.f.Wrap(s.mem, frame.Headroom)
	if r := s.f.Parse(); r != frame.NotDropped {
		t.Fatal(r)
	}
	return s
}

// load makes the frame that of a flow. Its checksums are not made right: they are
// changed by difference.
func (s *shooter) load(src, dst uint32, sport, dport uint16) {
	b := s.mem[frame.Headroom:]
	b[22] = 64
	binary.BigEndian.PutUint32(b[26:], src)
	binary.BigEndian.PutUint32(b[30:], dst)
	binary.BigEndian.PutUint16(b[34:], sport)
	binary.BigEndian.PutUint16(b[36:], dport)
}

// flowOf spreads n flows over 1,000 endpoints with 1,000 ports each.
func flowOf(n int) (src, dst uint32, sport, dport uint16) {
	return 10<<24 | uint32(n%1000), 203<<24 | 113<<8 | uint32(n)%251, uint16(1024 + n/1000), 80
}

func (s *shooter) out(b testing.TB, t *Table, now uint32) {
	if _, r := t.Outbound(&s.f, now); r != frame.NotDropped {
		b.Fatal(r)
	}
}

// back sends the answer to what has just been sent.
func (s *shooter) back(b testing.TB, t *Table, now uint32) {
	h := s.mem[frame.Headroom:]
	src, dst, ports := binary.BigEndian.Uint32(h[26:]), binary.BigEndian.Uint32(h[30:]), binary.BigEndian.Uint32(h[34:])
	s.load(dst, src, uint16(ports), uint16(ports>>16))
	if _, r := t.Inbound(&s.f, now); r != frame.NotDropped {
		b.Fatal(r)
	}
}

// measure runs a benchmark's loop and reports what it took of a processor too, beside the
// clock, which counts others' work on a busy machine; and what the quickest quarter of
// its windows took, in which others disturbed the caches least.
func measure(b *testing.B, f func(i int)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	b.ResetTimer()
	const window = 4096
	began := threadTime()
	last, windows := began, []time.Duration{}
	for i := range b.N {
		f(i)
		if i%window == window-1 {
			now := threadTime()
			windows, last = append(windows, now-last), now
		}
	}
	b.StopTimer()
	b.ReportMetric(float64((threadTime()-began).Nanoseconds())/float64(b.N), "cpu-ns/op")
	if slices.Sort(windows); len(windows) > 4 {
		b.ReportMetric(float64(windows[len(windows)/4].Nanoseconds())/window, "quiet-ns/op")
	}
}

func filled(b testing.TB, flows int) *Table {
	t := New(Config{Seed: 1, MaxUnanswered: 1_000_000})
	t.SetRules(worldRules())
	s := newShooter(b, nettest.ACK) // mid-stream: no handshakes needed
	for i := range flows {
		s.load(flowOf(i))
		s.out(b, t, 1)
		s.back(b, t, 1)
	}
	if n := t.Stats().Established; n != flows {
		b.Fatalf("%d of %d flows established", n, flows)
	}
	return t
}

// BenchmarkHot is one established flow's frames, 1,000,000 flows in the table.
func BenchmarkHot(b *testing.B) {
	t := filled(b, 1_000_000)
	s := newShooter(b, nettest.ACK)
	measure(b, func(int) {
		s.load(flowOf(123456))
		s.out(b, t, 1)
	})
	b.ReportMetric(float64(t.Stats().Bytes)/float64(t.Stats().Flows), "B/flow")
}

// BenchmarkHotIn is the same for what comes in, as a UDP superframe of 64 KiB.
func BenchmarkHotIn(b *testing.B) {
	t := testTable(b, Config{})
	out, o := nettest.UDPSuper(host(ip("172.18.0.2")), host(ip("203.0.113.7")), 5000, 53, make([]byte, 60000), 1400)
	f := wrap(b, out)
	f.Offload = o
	if _, r := t.Outbound(f, 1); r != frame.NotDropped {
		b.Fatal(r)
	}
	in, o := nettest.UDPSuper(host(ip("203.0.113.7")), host(ip("198.51.100.1")), 53, 5000, make([]byte, 60000), 1400)
	f = wrap(b, in)
	f.Offload = o
	head := append([]byte{}, f.Bytes()[:64]...)
	measure(b, func(int) {
		copy(f.Bytes(), head)
		if _, r := t.Inbound(f, 1); r != frame.NotDropped {
			b.Fatal(r)
		}
	})
}

// BenchmarkUniform is frames of 1,000,000 flows in random order.
func BenchmarkUniform(b *testing.B) {
	t := filled(b, 1_000_000)
	s := newShooter(b, nettest.ACK)
	r := rand.New(rand.NewPCG(1, 2))
	measure(b, func(int) {
		s.load(flowOf(int(r.Uint32() % 1_000_000)))
		s.out(b, t, 1)
	})
}

// BenchmarkNew is new connections: SYNs of ever new flows, into a table that grows from
// nothing to 1,000,000 flows, and then into another one.
func BenchmarkNew(b *testing.B) {
	s := newShooter(b, nettest.SYN)
	var t *Table
	measure(b, func(i int) {
		if i%1_000_000 == 0 {
			t = New(Config{Seed: 1, MaxUnanswered: 1_000_000})
			t.SetRules(worldRules())
		}
		s.load(flowOf(i % 1_000_000))
		s.out(b, t, 1)
	})
}

// BenchmarkAgain is new connections in a table that has had 1,000,000 flows before.
func BenchmarkAgain(b *testing.B) {
	t := New(Config{Seed: 1, MaxUnanswered: 1_000_000})
	t.SetRules(worldRules())
	s := newShooter(b, nettest.SYN)
	for i := range 1_000_000 {
		s.load(flowOf(i))
		s.out(b, t, 1)
	}
	t.Flush(func(Flow) bool { return true })
	b.ResetTimer()
	measure(b, func(i int) {
		if i > 0 && i%1_000_000 == 0 {
			b.StopTimer()
			t.Flush(func(Flow) bool { return true })
			b.StartTimer()
		}
		s.load(flowOf(i % 1_000_000))
		s.out(b, t, 1)
	})
}

// BenchmarkFull is new connections in a table that is full of one endpoint's: each
// displaces another.
func BenchmarkFull(b *testing.B) {
	t := New(Config{Seed: 1, MaxFlows: 100_000})
	t.SetRules(worldRules())
	s := newShooter(b, nettest.SYN)
	measure(b, func(i int) {
		s.load(flowOf(i))
		s.f.Bytes()[29] = 9
		s.f.Bytes()[31] = byte(i % 251)
		s.out(b, t, 1)
	})
}
