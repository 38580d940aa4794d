package vswitch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/capture"
	"weft/internal/frame"
)

// superframe returns a TCP superframe of n payload bytes in segments of size.
func superframe(t testing.TB, src, dst frame.MAC, n int, size uint16) ([]byte, frame.Offload) {
	t.Helper()
	ipl := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: ip(2).AsSlice(), DstIP: ip(3).AsSlice()}
	data := build(t, eth(src, dst, layers.EthernetTypeIPv4), ipl,
		gopacket.Payload(append([]byte{0x10, 0, 0x10, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0}, bytes.Repeat([]byte{0x5a}, n)...)))
	f := frame.NewBatch().Append(data)
	if r := f.Parse(); r != frame.NotDropped {
		t.Fatal(r)
	}
	sum := frame.Fold(f.PseudoSum(20 + n))
	data[34+16], data[34+17] = byte(sum>>8), byte(sum)
	return data, frame.Offload{Flags: frame.NeedsCsum, GSO: frame.GSOTCP4, Size: size, CsumStart: 34, CsumOffset: 16, HdrLen: 54}
}

func TestSuperframes(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{MAC: mac(2), Addrs: []netip.Addr{ip(2)}})
	whole := n.add("whole", PortConfig{})
	whole.caps = frame.CapCsum | frame.CapTSO4
	wire := n.add("wire", PortConfig{})
	small := n.add("small", PortConfig{MTU: 1000})
	data, off := superframe(t, mac(2), broadcast, 40000, 1400)
	out := n.injectOffload(a, data, off)
	if got := out["whole"]; len(got) != 1 || !bytes.Equal(got[0], data) || whole.out[0].off != off {
		t.Errorf("a port with the offload did not get the superframe as it was")
	}
	if len(out["wire"]) != 29 {
		t.Fatalf("a port without it got %d frames, want 29", len(out["wire"]))
	}
	total := 0
	for _, w := range out["wire"] {
		verifyChecksums(t, w)
		total += len(w) - 54
	}
	if total != 40000 {
		t.Errorf("the segments hold %d bytes", total)
	}
	if len(out["small"]) != 0 || small.port.Stats().OutDropped[frame.TooBig] != 1 {
		t.Error("segments larger than the MTU passed")
	}
	s, ws := a.port.Stats(), wire.port.Stats()
	if s.InFrames != 1 || s.InPackets != 29 || ws.OutFrames != 29 || ws.OutPackets != 29 {
		t.Errorf("counted in %d/%d, out %d/%d", s.InFrames, s.InPackets, ws.OutFrames, ws.OutPackets)
	}
	checkConservation(t, n)
}

func TestLyingOffloadIsDropped(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{})
	n.add("b", PortConfig{})
	data, off := superframe(t, mac(2), mac(3), 3000, 1400)
	for _, lie := range []func(o *frame.Offload){
		func(o *frame.Offload) { o.Size = 0 },
		func(o *frame.Offload) { o.CsumStart = 60000 },
		func(o *frame.Offload) { o.CsumStart = 0 },
		func(o *frame.Offload) { o.GSO = frame.GSOTCP6 },
		func(o *frame.Offload) { o.GSO = 99 },
		func(o *frame.Offload) { o.Flags = 0 },
	} {
		bad := off
		lie(&bad)
		before := a.port.Stats()
		out := n.injectOffload(a, data, bad)
		if r, _ := dropped(before, a.port.Stats()); r != frame.BadOffload || len(out) != 0 {
			t.Errorf("%+v ended as %v, out %v", bad, r, names(out))
		}
	}
}

func TestCapture(t *testing.T) {
	n := newNet(t, DomainConfig{GatewayMAC: mac(1), Gateways: []netip.Addr{ip(1)}})
	a := n.add("a", PortConfig{MAC: mac(2), Addrs: []netip.Addr{ip(2)}})
	b := n.add("b", PortConfig{MAC: mac(3), Addrs: []netip.Addr{ip(3)}})
	ring := capture.NewRing(1<<20, nil, 0)
	a.port.Capture(ring, capture.Both)
	b.port.Capture(ring, capture.After)
	request := arpRequest(t, mac(2), ip(2), ip(1))
	n.inject(a, request)
	n.inject(a, udp4(t, mac(2), mac(3), ip(2), ip(3), 1, 2, 3))
	n.inject(a, udp4(t, mac(2), mac(3), ip(9), ip(3), 1, 2, 3))
	n.inject(b, udp4(t, mac(3), mac(2), ip(3), ip(2), 1, 2, 3))
	var got []string
	for {
		r, ok := ring.Next()
		if !ok {
			break
		}
		got = append(got, fmt.Sprint(r.Port, r.Dir, r.Verdict, r.Reason))
		if len(got) == 1 && !bytes.Equal(r.Data, request) {
			t.Errorf("the request was captured as %x, not as it came", r.Data)
		}
	}
	want := []string{
		"0 in consumed not-dropped", "0 out consumed not-dropped",
		"0 in forwarded not-dropped", "1 out forwarded not-dropped",
		"0 in dropped spoofed-ip",
		"0 out forwarded not-dropped",
	}
	if !slices.Equal(got, want) {
		t.Errorf("captured\n%q, want\n%q", got, want)
	}
	a.port.Uncapture(ring)
	b.port.Uncapture(ring)
	n.inject(a, request)
	if _, ok := ring.Next(); ok {
		t.Error("captured after Uncapture")
	}
}

// TestPathDoesNotAllocate covers learning, known unicast, flood, ARP and ping.
func TestPathDoesNotAllocate(t *testing.T) {
	n := newNet(t, DomainConfig{GatewayMAC: mac(1), Gateways: []netip.Addr{ip(1)}})
	a := n.add("a", PortConfig{})
	b := n.add("b", PortConfig{MAC: mac(3)})
	a.quiet, b.quiet = true, true
	gso, off := superframe(t, mac(2), mac(3), 20000, 1400)
	cases := map[string][]sent{
		"unicast":    {{udp4(t, mac(2), mac(3), ip(2), ip(3), 1, 2, 3), frame.Offload{}}, {raw(t, mac(2), mac(3)), frame.Offload{}}},
		"flood":      {{raw(t, mac(2), broadcast), frame.Offload{}}},
		"arp":        {{arpRequest(t, mac(2), ip(2), ip(1)), frame.Offload{}}},
		"ping":       {{ping4(t, mac(2), mac(1), ip(2), ip(1), 50), frame.Offload{}}},
		"dropped":    {{make([]byte, 9), frame.Offload{}}},
		"superframe": {{gso, off}},
	}
	for name, frames := range cases {
		queue := slices.Repeat(frames, 100)
		if got := testing.AllocsPerRun(50, func() {
			a.in = queue[:2*len(frames)]
			if _, err := n.w.Turn(a.port); err != nil {
				t.Fatal(err)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations a turn", name, got)
		}
	}
	n.sw.Tick(5)
	if got := testing.AllocsPerRun(50, func() {
		n.sw.now.Add(1)
		a.in = []sent{}
		_, _ = n.w.Turn(a.port)
	}); got != 0 {
		t.Errorf("%v allocations when the clock moves", got)
	}
}

// TestConcurrentChange forwards from two workers while ports come and go; -race
// and the conservation of frames are the oracle, and no port is written to after
// RemovePort has returned.
func TestConcurrentChange(t *testing.T) {
	n := newNet(t, DomainConfig{MaxMACs: 64})
	w2, err := n.sw.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.sw.NewWorker(); err == nil {
		t.Fatal("a third worker of two")
	}
	a, b := n.add("a", PortConfig{}), n.add("b", PortConfig{})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	pump := func(w *Worker, c *cable, seed uint64) {
		defer wg.Done()
		rnd := rand.New(rand.NewPCG(seed, 1))
		for ctx.Err() == nil {
			for range 20 {
				c.in = append(c.in, sent{raw(t, mac(byte(rnd.IntN(200))), mac(byte(rnd.IntN(200)))), frame.Offload{}})
			}
			if _, err := w.Turn(c.port); err != nil {
				t.Error(err)
			}
		}
	}
	a.quiet, b.quiet = true, true
	wg.Add(2)
	go pump(n.w, a, 1)
	go pump(w2, b, 2)
	for a.port.Stats().Forwarded < 500 || b.port.Stats().Forwarded < 500 { // both are under way
		runtime.Gosched()
	}
	for i := range 200 {
		g := &guarded{}
		p, err := n.sw.AddPort(PortConfig{Name: "x", Domain: n.domain, MAC: mac(byte(i))}, g)
		if err != nil {
			t.Fatal(err)
		}
		n.sw.Tick(uint32(i * 10))
		n.sw.FDB(n.domain)
		p.Stats()
		n.sw.RemovePort(p)
		g.closed.Store(true)
	}
	stop()
	wg.Wait()
	checkConservation(t, n)
	if s := a.port.Stats(); s.Forwarded == 0 {
		t.Error("nothing was forwarded")
	}
}

// A guarded queue panics when written to after it was closed.
type guarded struct{ closed atomic.Bool }

func (g *guarded) ReadBatch(*frame.Batch) (int, error) { return 0, nil }
func (g *guarded) Caps() frame.Caps                    { return 0 }
func (g *guarded) WriteBatch(fs []*frame.Frame) (int, error) {
	if g.closed.Load() {
		panic("written to after RemovePort")
	}
	return len(fs), nil
}

func FuzzTurn(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint8(0), uint8(0), uint16(0), uint16(0), uint16(0))
	f.Add(udp4(f, mac(2), mac(3), ip(2), ip(3), 1, 2, 3), uint8(1), uint8(5), uint16(2), uint16(34), uint16(6))
	f.Add(arpRequest(f, mac(2), ip(2), ip(1)), uint8(0), uint8(0), uint16(0), uint16(0), uint16(0))
	n := newNet(f, DomainConfig{GatewayMAC: mac(1), Gateways: []netip.Addr{ip(1), ip6(1)}})
	a := n.add("a", PortConfig{})
	g := n.add("g", PortConfig{MAC: mac(2), Addrs: []netip.Addr{ip(2), ip6(2)}})
	a.quiet, g.quiet = true, true
	f.Fuzz(func(t *testing.T, data []byte, flags, gso uint8, size, start, offset uint16) {
		if len(data) > frame.MaxFrame {
			return
		}
		o := frame.Offload{Flags: flags, GSO: frame.GSO(gso), Size: size, CsumStart: start, CsumOffset: offset}
		for _, c := range []*cable{a, g} {
			tr := n.sw.Trace(c.port, data, o)
			before := c.port.Stats()
			c.in = []sent{{data, o}}
			if _, err := n.w.Turn(c.port); err != nil {
				t.Fatal(err)
			}
			r, _ := dropped(before, c.port.Stats())
			after := c.port.Stats()
			if after.InFrames-before.InFrames != 1 || after.Forwarded+after.Consumed+after.DroppedTotal() != after.InFrames {
				t.Fatalf("frame not accounted for: %+v", after)
			}
			if tr.Verdict == frame.Dropped && r != tr.Reason {
				t.Fatalf("trace foretold %v, the path did %v", tr.Reason, r)
			}
		}
	})
}

// TestMergedSuperframeRefused: what the merge step made goes out as it came if
// the device does not take it.
func TestMergedSuperframeRefused(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{MAC: mac(2), Addrs: []netip.Addr{ip(2)}})
	b := n.add("b", PortConfig{MAC: mac(3)})
	b.caps = frame.CapCsum | frame.CapUSO
	ring := capture.NewRing(1<<20, nil, 0)
	b.port.Capture(ring, capture.After)
	for range 3 {
		a.in = append(a.in, sent{udp4(t, mac(2), mac(3), ip(2), ip(3), 1, 2, 300), frame.Offload{}})
	}
	frames := slices.Clone(a.in)
	b.hatesGSO = errors.New("not whole")
	if _, err := n.w.Turn(a.port); err != nil {
		t.Fatal(err)
	}
	if len(b.out) != 3 || len(b.out[1].data) != len(frames[1].data) {
		t.Fatalf("%d frames written, want the 3 that came", len(b.out))
	}
	for _, g := range b.out {
		verifyChecksums(t, g.data)
	}
	b.out, b.hatesGSO, a.in = nil, fmt.Errorf("x: %w", frame.ErrBlocked), frames
	if _, err := n.w.Turn(a.port); err != nil {
		t.Fatal(err)
	}
	if got := b.port.Stats().OutDropped[frame.WriteBlocked]; len(b.out) != 0 || got != 3 {
		t.Errorf("a full device: %d written, %d dropped, want 0 and 3", len(b.out), got)
	}
	lost := 0
	for r, ok := ring.Next(); ok; r, ok = ring.Next() {
		if r.Verdict == frame.Dropped && r.Reason == frame.WriteBlocked {
			lost++
		}
	}
	if lost != 1 {
		t.Errorf("the refused superframe was captured with its reason %d times", lost)
	}
}
