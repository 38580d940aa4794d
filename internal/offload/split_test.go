package offload_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"weft/internal/frame"
	"weft/internal/offload"
)

// checkSplit compares the wire frames with want and the source with before.
func checkSplit(t *testing.T, f *frame.Frame, got []frame.Frame, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
	for i := range got {
		w := &got[i]
		if !bytes.Equal(w.Bytes(), want[i]) {
			t.Fatalf("frame %d\n%x, want\n%x", i, w.Bytes(), want[i])
		}
		if w.Offload != (frame.Offload{}) || w.In != f.In || w.VNI != f.VNI {
			t.Fatalf("frame %d: metadata %+v", i, w)
		}
		view := w.View
		if mustParse(t, w); view != w.View {
			t.Fatalf("frame %d: view %+v, parsed %+v", i, view, w.View)
		}
		if len(w.Head(frame.Headroom)) != w.Len()+frame.Headroom || !w.Grow(frame.Tailroom) {
			t.Fatalf("frame %d lacks headroom or tailroom", i)
		}
		w.Truncate(w.Len() - frame.Tailroom)
	}
}

func TestSplitModel(t *testing.T) {
	sp := offload.NewSplitter()
	for name, s := range supers() {
		t.Run(name, func(t *testing.T) {
			f := s.frame(t)
			f.In, f.VNI = 3, 4097
			before := bytes.Clone(f.Bytes())
			sp.Reset()
			got, r := sp.Split(f)
			if r != frame.NotDropped {
				t.Fatal(r)
			}
			checkSplit(t, f, got, s.model(t))
			if !bytes.Equal(before, f.Bytes()) {
				t.Fatal("the superframe was changed")
			}
		})
	}
}

func TestSplitRandom(t *testing.T) {
	sp := offload.NewSplitter()
	r := rand.New(rand.NewPCG(7, 7))
	for range 400 {
		s := &spec{v6: r.IntN(2) == 0, udp: r.IntN(2) == 0, sport: uint16(r.Uint32()), seq: r.Uint32(), ack: r.Uint32(),
			id: uint16(r.Uint32()), tos: uint8(r.Uint32()), ttl: uint8(r.Uint32()), df: r.IntN(2) == 0, window: uint16(r.Uint32()),
			psh: r.IntN(2) == 0, fin: r.IntN(4) == 0, cwr: r.IntN(4) == 0, tcpOpts: 4 * r.IntN(10),
			payload: noise(r.Uint64(), 1+r.IntN(20000)), super: 50 + r.IntN(9000)}
		f := s.frame(t)
		sp.Reset()
		got, reason := sp.Split(f)
		if reason != frame.NotDropped {
			t.Fatalf("%+v: %v", s, reason)
		}
		checkSplit(t, f, got, s.model(t))
	}
}

func TestFinish(t *testing.T) {
	sp := offload.NewSplitter()
	for name, s := range supers() {
		t.Run(name, func(t *testing.T) {
			s.super, s.partial = 0, true
			f := s.frame(t)
			before := bytes.Clone(f.Bytes())
			sp.Reset()
			got, r := sp.Split(f)
			if r != frame.NotDropped {
				t.Fatal(r)
			}
			checkSplit(t, f, got, s.model(t))
			if !bytes.Equal(before, f.Bytes()) {
				t.Fatal("the frame was changed")
			}
			s.partial = false
			whole := s.frame(t)
			ws, r := sp.Split(whole)
			if r != frame.NotDropped || len(ws) != 1 || &ws[0].Bytes()[0] != &whole.Bytes()[0] {
				t.Fatal("a complete frame was copied")
			}
		})
	}
}

// TestFinishInATunnel: a sum of 0 inside GRE may be UDP's, where 0 would mean
// that there is none.
func TestFinishInATunnel(t *testing.T) {
	const gre, udp = 34, 34 + 4 + 20
	b := make([]byte, udp+8+2)
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45})
	b[14+3], b[14+8], b[14+9] = byte(len(b)-14), 64, 47
	copy(b[gre:], []byte{0, 0, 8, 0, 0x45})
	copy(b[udp:], []byte{1, 2, 3, 4, 0, 10, 0x12, 0x34})
	rest := ^frame.Fold(frame.Sum(b[udp:udp+8], 0))
	b[udp+8], b[udp+9] = byte(rest>>8), byte(rest)
	f := frame.NewBatch().Append(b)
	f.Offload = frame.Offload{Flags: frame.NeedsCsum, CsumStart: udp, CsumOffset: 6}
	if r := f.Parse(); r != frame.NotDropped {
		t.Fatal(r)
	}
	ws, r := offload.NewSplitter().Split(f)
	if r != frame.NotDropped || ws[0].Bytes()[udp+6] != 0xff || ws[0].Bytes()[udp+7] != 0xff {
		t.Errorf("%v, checksum % x, want ff ff", r, ws[0].Bytes()[udp+6:udp+8])
	}
}

func TestSplitRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(f *frame.Frame)
	}{
		{"unknown type", func(f *frame.Frame) { f.Offload.GSO = 9 }},
		{"UFO", func(f *frame.Frame) { f.Offload.GSO = frame.GSOUFO }},
		{"other family", func(f *frame.Frame) { f.Offload.GSO = frame.GSOTCP6 }},
		{"other protocol", func(f *frame.Frame) { f.Offload.GSO = frame.GSOUDP }},
		{"size 0", func(f *frame.Frame) { f.Offload.Size = 0 }},
		{"fragment", func(f *frame.Frame) { f.View.Fragment = true }},
		{"no transport", func(f *frame.Frame) { f.View.L4 = 0 }},
		{"more segments than any sender makes", func(f *frame.Frame) { f.Offload.Size = 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := supers()["tcp4"].frame(t)
			c.edit(f)
			if got, r := offload.NewSplitter().Split(f); r != frame.Unsegment || got != nil {
				t.Fatalf("%d frames, %v", len(got), r)
			}
		})
	}
}

// TestSplitAppends: what was made stays until Reset, in any mixture, and a full
// arena says so instead of overwriting it.
func TestSplitAppends(t *testing.T) {
	sp := offload.NewSplitter()
	sources := []*spec{supers()["tcp4 64k"], supers()["udp6"], supers()["tcp6 cwr"], supers()["udp4 vlan"]}
	sources[1].super, sources[1].partial = 0, true
	for _, round := range []string{"empty", "reset"} {
		type piece struct {
			f    *frame.Frame
			got  []frame.Frame
			want [][]byte
		}
		var all []piece
		for full := false; !full; {
			s := sources[len(all)%len(sources)]
			f := s.frame(t)
			got, r := sp.Split(f)
			if full = got == nil; !full {
				all = append(all, piece{f, got, s.model(t)})
			}
			if r != frame.NotDropped {
				t.Fatal(r)
			}
		}
		if len(all) < 20 {
			t.Fatalf("%s: full after %d", round, len(all))
		}
		for _, p := range all {
			checkSplit(t, p.f, p.got, p.want)
		}
		sp.Reset()
	}
}

// TestSplitNeverFits: what an empty arena does not hold is refused for good, so
// that nobody tries again for ever.
func TestSplitNeverFits(t *testing.T) {
	plain := (&spec{v6: true, ttl: 64, payload: noise(1, 64000)}).bytes(t)
	options := append([]byte{frame.ProtoTCP, 14, 1, 116}, make([]byte, 116)...)
	b := slices.Concat(plain[:54], options, plain[54:])
	b[20] = 60 // destination options
	binary.BigEndian.PutUint16(b[18:], uint16(len(b)-54))
	f := frame.NewBatch().Append(b)
	f.Offload = frame.Offload{Flags: frame.NeedsCsum, GSO: frame.GSOTCP6, Size: 32, CsumStart: 174, CsumOffset: 16}
	mustParse(t, f)
	if got, r := offload.NewSplitter().Split(f); got != nil || r != frame.Unsegment {
		t.Errorf("%d frames, %v", len(got), r)
	}
}

func TestSplitNoAllocations(t *testing.T) {
	f, sp := supers()["tcp4 64k"].frame(t), offload.NewSplitter()
	if n := testing.AllocsPerRun(50, func() { sp.Reset(); sp.Split(f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSplit64K(b *testing.B) {
	for _, name := range []string{"tcp4 64k", "tcp6 64k"} {
		b.Run(name, func(b *testing.B) {
			f, sp := supers()[name].frame(b), offload.NewSplitter()
			b.SetBytes(int64(f.Len()))
			b.ReportAllocs()
			frames := 0
			for b.Loop() {
				sp.Reset()
				ws, _ := sp.Split(f)
				frames += len(ws)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(frames), "ns/frame")
		})
	}
}

// FuzzSplit: whatever a parsed frame says, splitting neither panics nor touches
// it, every wire frame parses, and the payloads add up.
func FuzzSplit(f *testing.F) {
	for _, s := range supers() {
		if len(s.payload) < 6000 {
			fr := s.frame(f)
			f.Add(fr.Bytes(), fr.Offload.Flags, uint8(fr.Offload.GSO), fr.Offload.Size, fr.Offload.CsumStart, fr.Offload.CsumOffset)
		}
	}
	sp, b := offload.NewSplitter(), frame.NewBatch()
	f.Fuzz(func(t *testing.T, data []byte, flags, gso uint8, size, start, offset uint16) {
		b.Reset()
		fr := b.Append(data)
		if fr == nil {
			return
		}
		fr.Offload = frame.Offload{Flags: flags, GSO: frame.GSO(gso), HdrLen: size ^ start, Size: size, CsumStart: start, CsumOffset: offset}
		if fr.Parse() != frame.NotDropped {
			return
		}
		sp.Reset()
		ws, r := sp.Split(fr)
		if !bytes.Equal(fr.Bytes(), data) {
			t.Fatal("the frame was changed")
		}
		if r != frame.NotDropped || fr.Offload.GSO == frame.GSONone {
			return
		}
		sum := 0
		for i := range ws {
			mustParse(t, &ws[i])
			n := ws[i].L4Len() - int(ws[i].View.Payload-ws[i].View.L4)
			if n > int(size) {
				t.Fatalf("frame %d carries %d, more than %d", i, n, size)
			}
			sum += n
		}
		if want := fr.L4Len() - int(fr.View.Payload-fr.View.L4); sum != want {
			t.Fatalf("%d payload bytes, want %d", sum, want)
		}
	})
}
