package vswitch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

var (
	stationA = nettest.Host{MAC: mac(2), IP: ip(2)}
	stationB = nettest.Host{MAC: mac(3), IP: ip(3)}
)

// datagram returns a UDP datagram from a to b, marked with n, as a kernel with
// checksum offload hands it over if left is set, else complete.
func datagram(n, size int, left bool) sent {
	p := make([]byte, size)
	binary.BigEndian.PutUint32(p, uint32(n))
	data := nettest.UDP(stationA, stationB, 1000, 2000, p)
	if !left {
		return sent{data, frame.Offload{}}
	}
	data, o := nettest.NeedsCsum(data)
	return sent{data, o}
}

// tcpSuper returns a TCP superframe from a to b of n segments, marked with seq.
func tcpSuper(seq uint32, n int, size uint16) sent {
	data, o := nettest.TCPSuper(stationA, stationB, nettest.Segment{SrcPort: 1, DstPort: 2, Seq: seq,
		Flags: nettest.ACK, Payload: bytes.Repeat([]byte{7}, n*int(size))}, size)
	return sent{data, o}
}

// wireNet returns a network of a local port a and a port b that takes no
// offload and has b's station.
func wireNet(t testing.TB, c PortConfig) (n *testNet, a, b *cable) {
	n = newNet(t, DomainConfig{})
	a, b = n.add("a", PortConfig{}), n.add("b", c)
	n.domain.SetStatic(0, mac(3), b.port)
	return n, a, b
}

// TestOneWriteForManyFrames: what a port without offload gets of one batch goes
// to it in as few calls as there are batches' worth of wire frames, in order.
func TestOneWriteForManyFrames(t *testing.T) {
	tests := []struct {
		name  string
		in    func() []sent
		calls []int
	}{
		{"64 unfinished datagrams", func() (in []sent) {
			for i := range 64 {
				in = append(in, datagram(i, 1300, true))
			}
			return in
		}, []int{64}},
		{"finished and unfinished ones mixed", func() (in []sent) {
			for i := range 64 {
				in = append(in, datagram(i, 1300, i%3 == 0))
			}
			return in
		}, []int{64}},
		{"three superframes", func() []sent { return []sent{tcpSuper(1, 20, 1400), tcpSuper(2, 20, 1400), tcpSuper(3, 24, 1400)} }, []int{64}},
		{"a superframe stays whole", func() []sent { return []sent{tcpSuper(1, 45, 1400), tcpSuper(2, 45, 1400)} }, []int{45, 45}},
		{"one for more than a batch", func() []sent {
			return []sent{datagram(0, 50, false), tcpSuper(1, 600, 100), datagram(2, 50, true)}
		}, []int{1, 64, 64, 64, 64, 64, 64, 64, 64, 64, 25}},
		{"more bytes than the arena has room for", func() (in []sent) {
			for i := range 30 {
				in = append(in, datagram(i, 60000, true))
			}
			return in
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, a, b := wireNet(t, PortConfig{Horizon: 1})
			a.in = tt.in()
			var want [][]byte
			one, from, to := wireNet(t, PortConfig{}) // a frame a turn
			for _, s := range a.in {
				one.injectOffload(from, s.data, s.off)
				for _, g := range to.out {
					want = append(want, g.data)
				}
			}
			if len(want) < len(a.in) {
				t.Fatalf("%d frames of %d, one a turn", len(want), len(a.in))
			}
			for len(a.in) > 0 {
				if _, err := n.w.Turn(a.port); err != nil {
					t.Fatal(err)
				}
			}
			if tt.calls != nil && !slices.Equal(b.calls, tt.calls) {
				t.Errorf("%v frames a call, want %v", b.calls, tt.calls)
			}
			if len(b.out) != len(want) {
				t.Fatalf("%d frames, want %d", len(b.out), len(want))
			}
			for i, g := range b.out {
				if !bytes.Equal(g.data, want[i]) || g.off != (frame.Offload{}) {
					t.Fatalf("frame %d\n%x, want\n%x", i, g.data, want[i])
				}
				verifyChecksums(t, g.data)
			}
			checkConservation(t, n)
		})
	}
}

// TestPartsRefused: a frame has left if any of its wire frames has; one that
// shares a call with others is lost alone.
func TestPartsRefused(t *testing.T) {
	ins := []sent{datagram(0, 100, true), tcpSuper(5, 3, 100), datagram(2, 100, false), tcpSuper(9, 2, 100), datagram(4, 100, true)}
	turn := func(refuse func(i int) bool) (*testNet, *cable, *cable) {
		n, a, b := wireNet(t, PortConfig{Horizon: 1})
		a.in = slices.Clone(ins)
		b.refuses = refuse
		if _, err := n.w.Turn(a.port); err != nil {
			t.Fatal(err)
		}
		checkConservation(t, n)
		return n, a, b
	}
	// Wire frames: 0 the datagram, 1-3 a superframe, 4 the complete datagram, 5-6
	// a superframe, 7 a datagram.
	for _, tt := range []struct {
		name    string
		refused []int
		dropped uint64 // frames of the sender
	}{
		{"none", nil, 0},
		{"one part of each", []int{2, 6}, 0},
		{"all parts of the first", []int{1, 2, 3}, 1},
		{"unfinished ones", []int{0, 7}, 2},
		{"the complete one", []int{4}, 1},
		{"neighbours", []int{0, 1, 2, 3, 4}, 3},
		{"all but the last part", []int{0, 1, 2, 3, 4, 5, 7}, 4},
		{"all", []int{0, 1, 2, 3, 4, 5, 6, 7}, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, a, b := turn(func(i int) bool { return slices.Contains(tt.refused, i) })
			s, out := a.port.Stats(), b.port.Stats()
			if s.Dropped[frame.WriteFailed] != tt.dropped || s.Forwarded != 5-tt.dropped {
				t.Errorf("%d dropped, %d forwarded, want %d and %d", s.Dropped[frame.WriteFailed], s.Forwarded, tt.dropped, 5-tt.dropped)
			}
			if got := out.OutDropped[frame.WriteFailed]; got != uint64(len(tt.refused)) || out.OutFrames != uint64(8-len(tt.refused)) {
				t.Errorf("%d out, %d not, want %d and %d", out.OutFrames, got, 8-len(tt.refused), len(tt.refused))
			}
		})
	}
}

// TestPartsRefusedOutOfOrder: a device that writes in another order blames the
// right ones. This one writes the segments first: 1-3, 5, 6, then the datagrams.
func TestPartsRefusedOutOfOrder(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refused []int // by place in its order
		dropped uint64
	}{
		{"the first superframe", []int{0, 1, 2}, 1},
		{"the second superframe", []int{3, 4}, 1},
		{"one segment of each", []int{0, 3}, 0},
		{"the first datagram", []int{5}, 1},
		{"the datagrams", []int{5, 6, 7}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, a, b := wireNet(t, PortConfig{Horizon: 1})
			a.in = []sent{datagram(0, 100, true), tcpSuper(5, 3, 100), datagram(2, 100, false), tcpSuper(9, 2, 100), datagram(4, 100, true)}
			b.sorts, b.refuses = true, func(i int) bool { return slices.Contains(tt.refused, i) }
			if _, err := n.w.Turn(a.port); err != nil {
				t.Fatal(err)
			}
			checkConservation(t, n)
			if s := a.port.Stats(); s.Dropped[frame.WriteFailed] != tt.dropped || s.Forwarded != 5-tt.dropped {
				t.Errorf("%d dropped, %d forwarded, want %d and %d", s.Dropped[frame.WriteFailed], s.Forwarded, tt.dropped, 5-tt.dropped)
			}
		})
	}
}

// TestSuperframeOfManyBatchesRefused: the last of its parts decides, too.
func TestSuperframeOfManyBatchesRefused(t *testing.T) {
	for _, leaves := range []int{-1, 3, 130} {
		n, a, b := wireNet(t, PortConfig{Horizon: 1})
		a.in = []sent{tcpSuper(1, 200, 100), datagram(1, 100, true)}
		b.refuses = func(i int) bool { return i != leaves && i < 200 }
		if _, err := n.w.Turn(a.port); err != nil {
			t.Fatal(err)
		}
		want := uint64(1)
		if leaves < 0 {
			want = 0
		}
		if s := a.port.Stats(); s.Forwarded != want+1 || s.InFrames != 2 {
			t.Errorf("with part %d alone: %d forwarded, want %d", leaves, s.Forwarded, want+1)
		}
		checkConservation(t, n)
	}
}

// TestMixedPort: a port that takes superframes of one kind keeps the order of
// what it gets whole, joined and cut.
func TestMixedPort(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	for round := range 50 {
		n, a, b := wireNet(t, PortConfig{})
		b.caps = []frame.Caps{frame.CapCsum | frame.CapUSO, frame.CapCsum | frame.CapTSO4, frame.CapUSO, frame.CapCsum, 0}[round%5]
		var want []string
		for i := range 1 + rnd.IntN(40) {
			if rnd.IntN(4) == 0 {
				k := 1 + rnd.IntN(80)
				a.in = append(a.in, tcpSuper(uint32(i)<<16, k, 50))
				for j := range k {
					want = append(want, fmt.Sprint("tcp", i, j*50))
				}
				continue
			}
			a.in = append(a.in, datagram(i, 40, rnd.IntN(2) == 0))
			want = append(want, fmt.Sprint("udp", i))
		}
		for len(a.in) > 0 {
			if _, err := n.w.Turn(a.port); err != nil {
				t.Fatal(err)
			}
		}
		if got := marks(t, b.out); !sameFlows(got, want) {
			t.Fatalf("caps %b: order %v, want %v", b.caps, got, want)
		}
		checkConservation(t, n)
	}
}

// marks returns the marks of the wire frames that frames stand for.
func marks(t testing.TB, out []got) (all []string) {
	b := frame.NewBatch()
	for _, g := range out {
		b.Reset()
		f := b.Append(g.data)
		f.Offload = g.off
		if r := f.Parse(); r != frame.NotDropped {
			t.Fatal(r)
		}
		size := f.Len() - int(f.View.Payload)
		if g.off.GSO != frame.GSONone {
			size = int(g.off.Size)
		}
		if f.View.Proto == frame.ProtoTCP {
			seq := binary.BigEndian.Uint32(g.data[f.View.L4+4:])
			for j := 0; j < f.Len()-int(f.View.Payload); j += size {
				all = append(all, fmt.Sprint("tcp", seq>>16, int(seq&0xffff)+j))
			}
			continue
		}
		for p := g.data[f.View.Payload:]; len(p) > 0; p = p[size:] {
			all = append(all, fmt.Sprint("udp", binary.BigEndian.Uint32(p)))
		}
	}
	return all
}

// sameFlows compares order flow by flow: merging may move flows past each other.
func sameFlows(a, b []string) bool {
	pick := func(s []string, proto string) []string {
		return slices.DeleteFunc(slices.Clone(s), func(m string) bool { return m[:3] != proto })
	}
	return slices.Equal(pick(a, "tcp"), pick(b, "tcp")) && slices.Equal(pick(a, "udp"), pick(b, "udp"))
}

// TestTunnelPathDoesNotAllocate covers what leaves through a port that takes no
// offload: segments, finished checksums, a full arena.
func TestTunnelPathDoesNotAllocate(t *testing.T) {
	n, a, b := wireNet(t, PortConfig{Horizon: 1, MTU: 1450})
	a.quiet, b.quiet = true, true
	for name, in := range map[string][]sent{
		"superframe": {tcpSuper(1, 45, 1398), tcpSuper(2, 45, 1398)},
		"unfinished": {datagram(1, 1300, true), datagram(2, 1300, false)},
		"too big":    {datagram(1, 1500, true), tcpSuper(1, 4, 1448)},
	} {
		nettest.ZeroAllocs(t, func() {
			a.in = in
			if _, err := n.w.Turn(a.port); err != nil {
				t.Fatal(err)
			}
		})
		if t.Failed() {
			t.Fatal(name)
		}
	}
}
