package offload_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"weft/internal/frame"
	"weft/internal/offload"
)

const allCaps = frame.CapCsum | frame.CapTSO4 | frame.CapTSO6 | frame.CapECN | frame.CapUSO

// train returns n segments of one flow, size bytes each.
func train(s spec, n, size int) []spec {
	out := make([]spec, n)
	for i := range out {
		out[i] = s
		out[i].seq += uint32(i * size)
		out[i].id += uint16(i)
		if s.v6 {
			out[i].id = s.id
		}
		out[i].payload = noise(uint64(i+1), size)
	}
	return out
}

func frames(t testing.TB, ss []spec) []*frame.Frame {
	fs := make([]*frame.Frame, len(ss))
	for i := range ss {
		fs[i] = ss[i].frame(t)
	}
	return fs
}

// unmerge cuts every frame of the output and returns the wire frames per flow.
func unmerge(t testing.TB, out []*frame.Frame) map[string][][]byte {
	t.Helper()
	sp, flows := offload.NewSplitter(), map[string][][]byte{}
	for _, f := range out {
		mustParse(t, f)
		sp.Reset()
		ws, r := sp.Split(f)
		if r != frame.NotDropped {
			t.Fatalf("split: %v", r)
		}
		for i := range ws {
			k := flow(&ws[i])
			flows[k] = append(flows[k], bytes.Clone(ws[i].Bytes()))
		}
	}
	return flows
}

func flow(f *frame.Frame) string {
	if f.View.L4 == 0 || f.View.Payload == 0 {
		return "none"
	}
	return fmt.Sprintf("%x %d %x", f.View.EtherType, f.View.Proto, f.Bytes()[f.View.L4:f.View.L4+4])
}

// blind clears what DF makes meaningless: identification, header checksum.
func blind(f []byte) []byte {
	var p frame.Frame
	p.Wrap(bytes.Clone(f), 0)
	p.Parse()
	if ip := p.Bytes()[p.View.L3:]; p.View.EtherType == frame.EtherIPv4 && ip[6]&0x40 != 0 {
		clear(ip[4:6])
		clear(ip[10:12])
	}
	return p.Bytes()
}

func TestMergeRuns(t *testing.T) {
	base := spec{sport: 1, seq: 0xfffffc00, ack: 9, ttl: 64, window: 100, id: 0xffff, tos: 2}
	tcp4, tcp6, udp4, udp6 := base, base, base, base
	tcp6.v6, udp6.v6, udp4.udp, udp6.udp = true, true, true, true
	change := func(i int, edit func(s *spec)) func([]spec) {
		return func(ss []spec) { edit(&ss[i]) }
	}
	from := func(i int, edit func(s *spec)) func([]spec) {
		return func(ss []spec) {
			for k := i; k < len(ss); k++ {
				edit(&ss[k])
			}
		}
	}
	for _, c := range []struct {
		name string
		s    spec
		edit func([]spec)
		want []int // frames each output stands for
	}{
		{"tcp4", tcp4, nil, []int{6}},
		{"tcp6", tcp6, nil, []int{6}},
		{"udp4", udp4, nil, []int{6}},
		{"udp6", udp6, nil, []int{6}},
		{"partial", udp4, from(0, func(s *spec) { s.partial = true }), []int{6}},
		{"partial and complete mixed", tcp4, change(3, func(s *spec) { s.partial = true }), []int{6}},
		{"tagged", tcp4, from(0, func(s *spec) { s.vlans = []uint16{4, 5} }), []int{6}},
		{"other tag", udp4, from(3, func(s *spec) { s.vlans = []uint16{4} }), []int{3, 3}},
		{"another tag", udp4, func(ss []spec) {
			for i := range ss {
				ss[i].vlans = []uint16{uint16(4 + i/3)}
			}
		}, []int{3, 3}},
		{"last shorter", udp4, change(5, func(s *spec) { s.payload = s.payload[:7] }), []int{6}},
		{"shorter ends", udp4, change(2, func(s *spec) { s.payload = s.payload[:7] }), []int{3, 3}},
		{"longer begins", udp4, change(2, func(s *spec) { s.payload = noise(9, 600) }), []int{2, 2, 2}},
		{"empty datagram", udp4, change(2, func(s *spec) { s.payload = nil }), []int{2, 1, 3}},
		{"push ends", tcp4, change(2, func(s *spec) { s.psh = true }), []int{3, 3}},
		{"push first", tcp4, change(0, func(s *spec) { s.psh = true }), []int{1, 5}},
		{"pure acknowledgment", tcp4, change(2, func(s *spec) { s.payload = nil }), []int{2, 1, 3}},
		{"fin", tcp4, change(2, func(s *spec) { s.fin = true }), []int{2, 1, 3}},
		{"cwr", tcp6, change(2, func(s *spec) { s.cwr = true }), []int{2, 1, 3}},
		{"ece changes", tcp4, from(3, func(s *spec) { s.ece = true }), []int{3, 3}},
		{"all ece", tcp4, from(0, func(s *spec) { s.ece = true }), []int{6}},
		{"hole in sequence", tcp4, from(3, func(s *spec) { s.seq++ }), []int{3, 3}},
		{"repeated segment", tcp6, from(3, func(s *spec) { s.seq -= 512 }), []int{3, 3}},
		{"acknowledgment", tcp4, from(3, func(s *spec) { s.ack++ }), []int{3, 3}},
		{"window", tcp4, from(3, func(s *spec) { s.window++ }), []int{3, 3}},
		{"options", tcp4, from(3, func(s *spec) { s.tcpOpts = 4 }), []int{3, 3}},
		{"same options", tcp6, from(0, func(s *spec) { s.tcpOpts = 12 }), []int{6}},
		{"ttl", udp4, from(3, func(s *spec) { s.ttl-- }), []int{3, 3}},
		{"hop limit", udp6, from(3, func(s *spec) { s.ttl-- }), []int{3, 3}},
		{"tos", udp4, from(3, func(s *spec) { s.tos++ }), []int{3, 3}},
		{"traffic class", tcp6, from(3, func(s *spec) { s.tos++ }), []int{3, 3}},
		{"flow label", tcp6, from(3, func(s *spec) { s.id++ }), []int{3, 3}},
		{"df changes", udp4, from(3, func(s *spec) { s.df = true }), []int{3, 3}},
		{"df, any id", udp4, from(0, func(s *spec) { s.df, s.id = true, s.id*7 }), []int{6}},
		{"no df, id repeats", udp4, from(3, func(s *spec) { s.id-- }), []int{3, 3}},
		{"ip options", udp4, from(0, func(s *spec) { s.ipOpts = true }), []int{1, 1, 1, 1, 1, 1}},
		{"extension header", udp6, from(0, func(s *spec) { s.dstOpts = true }), []int{1, 1, 1, 1, 1, 1}},
		{"superframe", tcp4, change(3, func(s *spec) { s.super = 100 }), []int{3, 1, 2}},
		{"two flows", udp4, from(3, func(s *spec) { s.sport = 2 }), []int{3, 3}},
		{"interleaved flows", udp4, func(ss []spec) { ss[1].sport, ss[3].sport, ss[5].sport = 2, 2, 2 }, []int{1, 1, 1, 1, 1, 1}},
		{"interleaved flows, df", udp4, func(ss []spec) {
			for i := range ss {
				ss[i].sport, ss[i].df = uint16(i%2+1), true
			}
		}, []int{3, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ss := train(c.s, 6, 512)
			if c.edit != nil {
				c.edit(ss)
			}
			checkMerge(t, frames(t, ss), c.want)
		})
	}
}

// checkMerge merges and holds the result to the counts wanted (if any) and, once
// cut again, to the input, flow by flow.
func checkMerge(t *testing.T, fs []*frame.Frame, want []int) {
	t.Helper()
	var before [][]byte
	for _, f := range fs {
		before = append(before, bytes.Clone(f.Bytes()))
	}
	m := offload.NewMerger()
	out := m.Merge(fs, allCaps)
	total := 0
	for i, f := range out {
		n := m.Count(i)
		if want != nil && (len(out) != len(want) || n != want[i]) {
			t.Fatalf("output %d of %d stands for %d, want %v", i, len(out), n, want)
		}
		if n > 1 && (f.Offload.GSO == 0 || int(f.Offload.HdrLen) != int(f.View.Payload) || len(f.Head(frame.Headroom)) == 0) {
			t.Fatalf("superframe %+v", f.Offload)
		}
		total += n
	}
	if total != len(fs) {
		t.Fatalf("%d frames accounted for, want %d", total, len(fs))
	}
	got := unmerge(t, out)
	for i, f := range fs {
		if !bytes.Equal(f.Bytes(), before[i]) {
			t.Fatal("an input was changed")
		}
	}
	for k, list := range unmerge(t, fs) {
		if len(got[k]) != len(list) {
			t.Fatalf("flow %s: %d wire frames, want %d", k, len(got[k]), len(list))
		}
		for i := range list {
			if !bytes.Equal(blind(got[k][i]), blind(list[i])) {
				t.Fatalf("flow %s, frame %d\n%x, want\n%x", k, i, got[k][i], list[i])
			}
		}
	}
}

func TestMergeBounds(t *testing.T) {
	udp := spec{udp: true, sport: 1, ttl: 64}
	checkMerge(t, frames(t, train(udp, 64, 100)), []int{64})
	checkMerge(t, frames(t, train(udp, 64, 1472)), []int{44, 20}) // 28+44*1472 fits 65,535
	checkMerge(t, frames(t, train(udp, 8, 21836)), []int{2, 2, 2, 2})
	fs := frames(t, train(udp, 64, 9000)) // more than the arena holds
	checkMerge(t, fs, nil)
	if out := offload.NewMerger().Merge(append(fs, fs[0]), allCaps); len(out) != 65 {
		t.Fatalf("65 frames became %d", len(out))
	}
}

func TestMergeCaps(t *testing.T) {
	for _, c := range []struct {
		name    string
		v6, udp bool
		need    frame.Caps
	}{{"tcp4", false, false, frame.CapTSO4}, {"tcp6", true, false, frame.CapTSO6}, {"udp4", false, true, frame.CapUSO}, {"udp6", true, true, frame.CapUSO}} {
		fs := frames(t, train(spec{v6: c.v6, udp: c.udp, ttl: 1}, 4, 100))
		m := offload.NewMerger()
		for _, try := range []struct {
			caps frame.Caps
			want int
		}{{0, 4}, {allCaps &^ c.need, 4}, {c.need, 4}, {c.need | frame.CapCsum, 1}} {
			if n := len(m.Merge(fs, try.caps)); n != try.want {
				t.Errorf("%s, caps %b: %d frames, want %d", c.name, try.caps, n, try.want)
			}
		}
	}
}

// TestMergeKeepsDamage: a broken checksum must reach the receiver broken.
func TestMergeKeepsDamage(t *testing.T) {
	for i := range 4 {
		for _, at := range []int{-1, 24} { // last payload byte; IPv4 header checksum
			fs := frames(t, train(spec{udp: true, sport: 1, ttl: 64}, 4, 100))
			b := fs[i].Bytes()
			b[(at+len(b))%len(b)] ^= 0x40
			out := offload.NewMerger().Merge(fs, allCaps)
			found := false
			for _, f := range out {
				found = found || f == fs[i]
			}
			if !found {
				t.Errorf("frame %d, damaged at %d, was merged", i, at)
			}
		}
	}
	fs := frames(t, train(spec{udp: true, sport: 1, ttl: 64}, 4, 100))
	for _, f := range fs {
		f.Offload.Flags = frame.DataValid // verified by the kernel already
	}
	fs[2].Bytes()[60] ^= 1
	if n := len(offload.NewMerger().Merge(fs, allCaps)); n != 1 {
		t.Errorf("DataValid: %d frames, want 1", n)
	}
	fs = frames(t, train(spec{udp: true, sport: 1, ttl: 64}, 4, 100))
	copy(fs[1].Bytes()[40:], []byte{0, 0}) // no checksum (RFC 768)
	if n := len(offload.NewMerger().Merge(fs, allCaps)); n != 3 {
		t.Errorf("unsummed datagram: %d frames, want 3", n)
	}
}

// TestMergeOrder: a fragment might belong to any flow, so nothing behind it may
// join a run before it; an ARP frame cannot.
func TestMergeOrder(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(b []byte)
		want int
	}{
		{"fragment", func(b []byte) { b[20] |= 0x20 }, 3},
		{"unknown protocol", func(b []byte) { b[23] = 200 }, 3},
		{"icmp", func(b []byte) { b[23] = 1 }, 2},
		{"not ip", func(b []byte) { b[12] = 0x99 }, 2},
	} {
		fs := frames(t, train(spec{udp: true, sport: 1, ttl: 64, df: true}, 5, 100))
		c.edit(fs[2].Bytes())
		mustParse(t, fs[2])
		if n := len(offload.NewMerger().Merge(fs, allCaps)); n != c.want {
			t.Errorf("%s: %d frames, want %d", c.name, n, c.want)
		}
	}
}

func TestMergeRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	merged := 0
	for range 300 {
		var fs []*frame.Frame
		next := map[uint16]spec{}
		for range 2 + r.IntN(63) {
			port := uint16(r.IntN(4))
			s, ok := next[port]
			if !ok {
				s = spec{v6: r.IntN(2) == 0, udp: r.IntN(2) == 0, sport: port, seq: r.Uint32(), id: uint16(r.Uint32()), ttl: 64, df: r.IntN(2) == 0}
			}
			s.psh, s.partial = r.IntN(20) == 0, r.IntN(2) == 0
			if r.IntN(20) == 0 {
				s.tos++
			}
			s.payload = noise(r.Uint64(), []int{500, 500, 500, 500, 500, 500, 500, 200, 0}[r.IntN(9)])
			fs = append(fs, s.frame(t))
			s.seq += uint32(len(s.payload))
			if !s.v6 {
				s.id++
			}
			next[port] = s
		}
		checkMerge(t, fs, nil)
		merged += len(fs) - len(offload.NewMerger().Merge(fs, allCaps))
	}
	if merged < 1000 {
		t.Fatalf("only %d frames merged: the trial shows nothing", merged)
	}
}

func TestMergeNoAllocations(t *testing.T) {
	fs, m := frames(t, train(spec{udp: true, sport: 1, ttl: 64}, 40, 1400)), offload.NewMerger()
	if n := testing.AllocsPerRun(50, func() { m.Merge(fs, allCaps) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMerge(b *testing.B) {
	for _, c := range []struct {
		name string
		s    spec
	}{
		{"udp4 complete", spec{udp: true, ttl: 64}},
		{"udp4 partial", spec{udp: true, ttl: 64, partial: true}},
		{"tcp6 complete", spec{v6: true, ttl: 64}},
	} {
		b.Run(c.name, func(b *testing.B) {
			fs, m := frames(b, train(c.s, 44, 1400)), offload.NewMerger()
			b.SetBytes(44 * 1400)
			b.ReportAllocs()
			for b.Loop() {
				if len(m.Merge(fs, allCaps)) != 1 {
					b.Fatal("not merged")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*44), "ns/frame")
		})
	}
	b.Run("no two alike", func(b *testing.B) {
		var ss []spec
		for i := range 64 {
			ss = append(ss, spec{udp: true, ttl: 64, sport: uint16(i), payload: noise(1, 64)})
		}
		fs, m := frames(b, ss), offload.NewMerger()
		b.ReportAllocs()
		for b.Loop() {
			m.Merge(fs, allCaps)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*64), "ns/frame")
	})
}

// FuzzMerge splits a superframe made of the input and merges it again: the same
// superframe must come out.
func FuzzMerge(f *testing.F) {
	f.Add(true, false, uint16(500), noise(1, 3000), uint32(7), uint16(9))
	f.Add(false, true, uint16(9), noise(2, 100), uint32(0xffffffff), uint16(0xffff))
	m, sp := offload.NewMerger(), offload.NewSplitter()
	f.Fuzz(func(t *testing.T, v6, udp bool, size uint16, payload []byte, seq uint32, id uint16) {
		if size == 0 || len(payload) <= int(size) || len(payload) > 60000 || len(payload) > 64*int(size) {
			return
		}
		s := &spec{v6: v6, udp: udp, super: int(size), payload: payload, seq: seq, id: id, ttl: 64, psh: id&1 == 1, tcpOpts: int(id % 11 * 4)}
		super := s.frame(t)
		sp.Reset()
		ws, r := sp.Split(super)
		if r != frame.NotDropped {
			t.Fatal(r)
		}
		var fs []*frame.Frame
		for i := range ws {
			fs = append(fs, &ws[i])
		}
		out := m.Merge(fs, allCaps)
		if len(out) != 1 || !bytes.Equal(out[0].Bytes(), super.Bytes()) {
			t.Fatalf("%d frames\n%x, want\n%x", len(out), out[0].Bytes(), super.Bytes())
		}
		o := super.Offload
		o.HdrLen = out[0].Offload.HdrLen
		if out[0].Offload != o {
			t.Fatalf("%+v, want %+v", out[0].Offload, o)
		}
	})
}
