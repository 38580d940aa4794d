package vswitch

import (
	"net/netip"
	"testing"

	"weft/internal/frame"
	"weft/nat"
)

// A source hands the same prepared frames over in every batch.
type source struct {
	frames [][]byte
	next   int
}

func (s *source) ReadBatch(b *frame.Batch) (int, error) {
	n := 0
	for b.Len() < frame.MaxBatch {
		b.Append(s.frames[s.next])
		s.next++
		if s.next == len(s.frames) {
			s.next = 0
		}
		n++
	}
	return n, nil
}

func (s *source) WriteBatch(fs []*frame.Frame) (int, error) { return len(fs), nil }
func (s *source) Caps() frame.Caps                          { return 0 }

func benchNet(b *testing.B, macs int, guard bool) (*Worker, *Port) {
	sw := New(Config{Seed: 1})
	d, err := sw.AddDomain(DomainConfig{GatewayMAC: mac(1), Gateways: []netip.Addr{ip(1)}})
	if err != nil {
		b.Fatal(err)
	}
	w, err := sw.NewWorker()
	if err != nil {
		b.Fatal(err)
	}
	src, dst := &source{}, &source{}
	pc := PortConfig{Name: "src", Domain: d, MaxMACs: macs}
	if guard {
		pc.MAC, pc.Addrs = mac(2), []netip.Addr{ip(2)}
	}
	p, err := sw.AddPort(pc, src)
	if err != nil {
		b.Fatal(err)
	}
	q, err := sw.AddPort(PortConfig{Name: "dst", Domain: d, MaxMACs: macs}, dst)
	if err != nil {
		b.Fatal(err)
	}
	for i := range macs {
		m := frame.MAC{2, 0, 0, 1, byte(i >> 8), byte(i)}
		to := frame.MAC{2, 0, 0, 2, byte(i >> 8), byte(i)}
		d.SetStatic(0, to, q)
		if guard {
			m = mac(2)
		}
		src.frames = append(src.frames, udp4(b, m, to, ip(2), ip(3), 1000, 2000, 18))
	}
	return w, p
}

func benchTurns(b *testing.B, w *Worker, p *Port) {
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; {
		n, err := w.Turn(p)
		if err != nil {
			b.Fatal(err)
		}
		i += n
	}
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/frame")
	if s := p.Stats(); s.Forwarded != s.InFrames {
		b.Fatalf("%d of %d frames forwarded", s.Forwarded, s.InFrames)
	}
}

// BenchmarkCore64 is the switch alone: 64-byte UDP frames (60 without the frame
// check sequence), learning on, 1,000 addresses, one core. ns/op is ns/frame.
func BenchmarkCore64(b *testing.B) {
	w, p := benchNet(b, 1000, false)
	benchTurns(b, w, p)
}

// BenchmarkCore64Guarded is the same with the guard on.
func BenchmarkCore64Guarded(b *testing.B) {
	w, p := benchNet(b, 1000, true)
	benchTurns(b, w, p)
}

// BenchmarkSnooped is multicast to a group with one listener among 1,000 groups.
func BenchmarkSnooped(b *testing.B) {
	sw := New(Config{Seed: 1})
	d, err := sw.AddDomain(DomainConfig{Snooping: true})
	if err != nil {
		b.Fatal(err)
	}
	w, err := sw.NewWorker()
	if err != nil {
		b.Fatal(err)
	}
	src := &source{}
	p, err := sw.AddPort(PortConfig{Name: "src", Domain: d}, src)
	if err != nil {
		b.Fatal(err)
	}
	q, err := sw.AddPort(PortConfig{Name: "dst", Domain: d, Horizon: 1}, &source{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		g := netip.AddrFrom4([4]byte{239, 1, byte(i >> 8), byte(i)})
		d.snoop.groups.join(groupKey4(g.AsSlice()), q, 0)
		src.frames = append(src.frames, udp4(b, mac(2), groupMAC(g), ip(2), g, 1000, 2000, 18))
	}
	d.snoop.asked(ip4Family, 0, queryResponse)
	sw.Tick(2*queryResponse + 1) // nobody takes all any more
	benchTurns(b, w, p)
}

// BenchmarkRouter is one small datagram of an established flow from inside out, or in, by
// package nat: a batch of 64 at a time, as the others here.
func BenchmarkRouter(b *testing.B) {
	r := newRouted(b)
	r.router.cfg.Translator = newBenchNAT()
	r.knowNext()
	out := udp4(b, mac(2), gwMAC, ip(2), beyond, 5000, 53, 9)
	back := udp4(b, nextMAC, outMAC, beyond, outer(1), 53, 5000, 9)
	for _, c := range []struct {
		name string
		from *cable
		data []byte
	}{{"out", r.a, out}, {"in", r.o, back}} {
		b.Run(c.name, func(b *testing.B) {
			for _, cb := range r.cables {
				cb.quiet = true
			}
			in := make([]sent, frame.MaxBatch)
			for i := range in {
				in[i].data = c.data
			}
			b.ReportAllocs()
			for n := 0; n < b.N; n += len(in) {
				c.from.in = in
				if _, err := r.w.Turn(c.from.port); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	if s := r.o.port.Stats(); s.DroppedTotal() > 0 || s.OutFrames == 0 {
		b.Fatalf("%+v", s.Dropped)
	}
}

func newBenchNAT() *nat.Table {
	table := nat.New(nat.Config{MaxFlows: 4096, Seed: 1})
	table.SetRules(&nat.Rules{Inside: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Outside: []netip.Addr{outer(1)}})
	return table
}
