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
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/capture"
	"weft/internal/frame"
	"weft/internal/nettest"
)

// An overlay is an in-memory source: frames that came through tunnel ports.
type overlay struct {
	in  []arrival
	err error
}

type arrival struct {
	port uint32
	data []byte
}

func (o *overlay) ReadBatch(b *frame.Batch) (n int, err error) {
	for len(o.in) > 0 && !b.Full() {
		f := b.Append(o.in[0].data)
		f.In, f.VNI = o.in[0].port, 4097
		o.in = o.in[1:]
		n++
	}
	return n, o.err
}

func (o *overlay) add(c *cable, frames ...[]byte) {
	for _, f := range frames {
		o.in = append(o.in, arrival{c.port.slot, f})
	}
}

// overlayNet returns a network with a local port a, guarded, and two tunnels.
func overlayNet(t testing.TB, c DomainConfig) (n *testNet, a, t1, t2 *cable) {
	n = newNet(t, c)
	a = n.add("a", PortConfig{MAC: mac(2), Addrs: []netip.Addr{ip(2), ip6(2)}})
	return n, a, n.add("t1", PortConfig{Horizon: 1}), n.add("t2", PortConfig{Horizon: 1})
}

// arrive takes one frame through a tunnel and returns where it came out.
func (n *testNet) arrive(from *cable, data []byte) []string {
	n.t.Helper()
	for _, c := range n.cables {
		c.out = nil
	}
	o := &overlay{}
	o.add(from, data)
	if got, err := n.w.Inbound(o); got != 1 || err != nil {
		n.t.Fatalf("Inbound = %d, %v", got, err)
	}
	out := map[string][][]byte{}
	for name, c := range n.cables {
		for _, g := range c.out {
			out[name] = append(out[name], g.data)
			if !bytes.Equal(g.data, data) {
				n.t.Errorf("%s got %x, not what came", name, g.data)
			}
		}
	}
	return names(out)
}

func TestInbound(t *testing.T) {
	gw, remote := mac(1), mac(20)
	neighbour := func(m frame.MAC, a netip.Addr) []byte { return arpRequest(t, m, a, ip(77)) }
	advert := func(m frame.MAC, a netip.Addr) []byte {
		target := a.As16()
		return icmp6(t, m, frame.MAC{0x33, 0x33, 0, 0, 0, 1}, a, netip.MustParseAddr("ff02::1"), 136,
			slices.Concat([]byte{0x20, 0, 0, 0}, target[:], []byte{2, 1}, m[:]))
	}
	tests := []struct {
		name string
		data []byte
		out  []string
		drop frame.Reason
	}{
		{"to a station here", raw(t, remote, mac(2)), []string{"a"}, 0},
		{"broadcast, but not to the other tunnel", raw(t, remote, broadcast), []string{"a"}, 0},
		{"unknown, but not to the other tunnel", raw(t, remote, mac(99)), []string{"a"}, 0},
		{"to where it came from", raw(t, remote, mac(21)), nil, frame.SamePort},
		{"to the other tunnel", raw(t, remote, mac(22)), nil, frame.SplitHorizon},
		{"our own frame back", raw(t, mac(2), broadcast), nil, frame.StaticMAC},
		{"our own question back", neighbour(mac(2), ip(2)), nil, frame.StaticMAC},
		{"the gateway's frame back", raw(t, gw, broadcast), nil, frame.SpoofedMAC},
		{"to the gateway", udp4(t, remote, gw, ip(20), ip(1), 9, 9, 9), nil, frame.UnknownGateway},
		{"ping to the gateway", ping4(t, remote, gw, ip(20), ip(1), 9), nil, frame.UnknownGateway},
		{"through the gateway", udp4(t, remote, gw, ip(20), netip.MustParseAddr("192.0.2.1"), 9, 9, 9), nil, frame.NoRoute},
		{"a question for the gateway is not answered", arpRequest(t, remote, ip(20), ip(1)), []string{"a"}, 0},
		{"who claims to be the gateway", neighbour(remote, ip(1)), nil, frame.BadARP},
		{"who claims to be the gateway, IPv6", advert(remote, ip6(1)), nil, frame.BadARP},
		{"ARP cut", neighbour(remote, ip(20))[:30], nil, frame.BadARP},
		{"ARP for a group's MAC", edited(neighbour(remote, ip(20)), func(b []byte) { b[22] |= 1 }), nil, frame.BadARP},
		{"ARP of another protocol is nobody's business", edited(neighbour(remote, ip(20)), func(b []byte) { b[16] = 9 }), []string{"a"}, 0},
		{"advertisement with a wrong checksum", edited(advert(remote, ip6(20)), func(b []byte) { b[56]++ }), nil, frame.BadARP},
		{"runt", make([]byte, 13), nil, frame.Runt},
		{"inner garbage", build(t, eth(remote, mac(2), 0x0800)), nil, frame.BadHeader},
		{"group source", raw(t, broadcast, mac(2)), nil, frame.BadSource},
		{"reserved group", raw(t, remote, frame.MAC{1, 0x80, 0xc2, 0, 0, 0}), nil, frame.Reserved},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, _, t1, t2 := overlayNet(t, DomainConfig{GatewayMAC: gw, Gateways: []netip.Addr{ip(1), ip6(1)}})
			n.arrive(t1, raw(t, mac(21), broadcast))
			n.arrive(t2, raw(t, mac(22), broadcast))
			before, entries := t1.port.Stats(), n.domain.Stats().Entries
			trace := n.sw.Trace(t1.port, tt.data, frame.Offload{})
			out := n.arrive(t1, tt.data)
			if !slices.Equal(out, tt.out) {
				t.Errorf("came out of %v, want %v", out, tt.out)
			}
			after := t1.port.Stats()
			if r, _ := dropped(before, after); r != tt.drop || after.InFrames != before.InFrames+1 {
				t.Errorf("dropped for %v, want %v", r, tt.drop)
			}
			got := map[string][][]byte{}
			for _, name := range out {
				got[name] = nil
			}
			checkTrace(t, trace, got, tt.drop)
			refused := []frame.Reason{frame.StaticMAC, frame.SpoofedMAC, frame.Runt, frame.BadHeader, frame.BadSource}
			if slices.Contains(refused, tt.drop) && (n.domain.Stats().Entries != entries || len(n.domain.Neighbours().Entries()) != 2) {
				t.Error("something was learned from a refused frame")
			}
			checkConservation(t, n)
		})
	}
}

// TestTraceUnfinished: what a kernel's VTEP leaves undone is a superframe for the
// trace as it is for the path.
func TestTraceUnfinished(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{MTU: 1450})
	tunnel := n.add("t", PortConfig{Horizon: 1, MTU: 1450})
	n.domain.SetStatic(0, mac(3), a.port)
	super := tcpSuper(1, 3, 1398).data
	text := traceText(n.sw.Trace(tunnel.port, super, frame.Offload{}))
	for _, want := range []string{"superframe for 3 packets", "write: a: segmented into 3 frames\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the trace says\n%swithout %q", text, want)
		}
	}
	o := &overlay{}
	o.add(tunnel, super)
	if _, err := n.w.Inbound(o); err != nil || len(a.out) != 3 {
		t.Errorf("%d frames came out, %v", len(a.out), err)
	}
	checkConservation(t, n)
}

// TestInboundTeachesNeighbours: what tunnels say is known afterwards, so that a
// question for it stays here.
func TestInboundTeachesNeighbours(t *testing.T) {
	n, a, t1, t2 := overlayNet(t, DomainConfig{})
	if got := names(n.inject(a, arpRequest(t, mac(2), ip(2), ip(20)))); !slices.Equal(got, []string{"t1", "t2"}) {
		t.Errorf("an unknown neighbour was asked for at %v", got)
	}
	n.arrive(t1, arpRequest(t, mac(20), ip(20), ip(2)))
	if got := names(n.inject(a, arpRequest(t, mac(2), ip(2), ip(20)))); !slices.Equal(got, []string{"a"}) {
		t.Errorf("a known neighbour was asked for at %v", got)
	}
	n.arrive(t2, arpRequest(t, mac(20), ip(20), ip(2))) // it moves
	if got := names(n.inject(a, raw(t, mac(2), mac(20)))); !slices.Equal(got, []string{"t2"}) {
		t.Errorf("an address that moved is sought at %v", got)
	}
	n.arrive(t1, tags(arpRequest(t, mac(21), ip(21), ip(2)), 5))
	if _, known := n.domain.Neighbours().Lookup(ip(21)); known {
		t.Error("a VLAN taught the untagged network")
	}
}

// TestInboundSeveralPorts: each port of a batch gets its own counts and captures,
// and frames whose port has gone are counted by the switch.
func TestInboundSeveralPorts(t *testing.T) {
	n, a, t1, t2 := overlayNet(t, DomainConfig{})
	gone := n.add("gone", PortConfig{Horizon: 1})
	n.sw.RemovePort(gone.port)
	delete(n.cables, "gone")
	ring := capture.NewRing(1<<20, nil, 0)
	t2.port.Capture(ring, capture.Both)
	o := &overlay{err: errors.New("and then")}
	o.add(t1, raw(t, mac(20), mac(2)), raw(t, mac(20), mac(2)))
	o.add(t2, raw(t, mac(2), mac(20)), raw(t, mac(22), mac(2)))
	o.add(gone, raw(t, mac(23), mac(2)), raw(t, mac(23), mac(2)), raw(t, mac(23), mac(2)))
	o.add(t1, raw(t, mac(21), mac(9)))
	o.in = append(o.in, arrival{1 << 31, raw(t, mac(24), mac(2))})
	o.add(t2, raw(t, mac(22), mac(2)))
	if got, err := n.w.Inbound(o); got != 10 || err != o.err {
		t.Fatal(got, err)
	}
	s1, s2 := t1.port.Stats(), t2.port.Stats()
	if s1.InFrames != 3 || s1.Forwarded != 3 || s1.InBytes != 180 {
		t.Errorf("t1: %+v", s1)
	}
	if s2.InFrames != 3 || s2.Forwarded != 2 || s2.Dropped[frame.StaticMAC] != 1 || s2.InPackets != 3 {
		t.Errorf("t2: %+v", s2)
	}
	if got := n.sw.Stats().Orphans; got != 4 {
		t.Errorf("%d orphans, want 4", got)
	}
	if len(a.out) != 5 {
		t.Errorf("%d frames came out, want 5", len(a.out))
	}
	var captured []string
	for r, ok := ring.Next(); ok; r, ok = ring.Next() {
		captured = append(captured, fmt.Sprint(r.Port, r.Dir, r.Reason))
	}
	serial := t2.port.Serial()
	if want := []string{fmt.Sprint(serial, " in static-mac"), fmt.Sprint(serial, " in not-dropped"), fmt.Sprint(serial, " in not-dropped")}; !slices.Equal(captured, want) {
		t.Errorf("captured %q, want %q", captured, want)
	}
	checkConservation(t, n)
}

// stream returns n TCP segments of one flow from a remote station to a.
func stream(n, size int) (all [][]byte) {
	for i := range n {
		all = append(all, nettest.TCP(nettest.Host{MAC: mac(20), IP: ip(20)}, stationA, nettest.Segment{
			SrcPort: 5, DstPort: 6, Seq: uint32(i * size), Ack: 1, Flags: nettest.ACK, Window: 9, Payload: bytes.Repeat([]byte{byte(i)}, size)}))
	}
	return all
}

// TestInboundMerges: a train of segments becomes one superframe, across frames of
// another tunnel, but never with the same flow from another.
func TestInboundMerges(t *testing.T) {
	n, a, t1, t2 := overlayNet(t, DomainConfig{})
	a.caps = frame.CapCsum | frame.CapTSO4
	o := &overlay{}
	for i, f := range stream(40, 1398) {
		o.add(t1, f)
		if i == 20 {
			o.add(t2, raw(t, mac(22), mac(2)))
		}
	}
	if _, err := n.w.Inbound(o); err != nil {
		t.Fatal(err)
	}
	if len(a.out) != 2 || a.out[0].off.GSO != frame.GSOTCP4 || len(a.out[0].data) != 54+40*1398 {
		t.Fatalf("%d frames, the first of %d bytes", len(a.out), len(a.out[0].data))
	}
	a.out = nil
	for i, f := range stream(4, 1000) {
		o.add([]*cable{t1, t2}[i/2], f)
	}
	if _, err := n.w.Inbound(o); err != nil {
		t.Fatal(err)
	}
	if len(a.out) != 2 {
		t.Errorf("%d frames of two halves", len(a.out))
	}
	s := a.port.Stats()
	if s.OutPackets != 45 || s.OutFrames != 4 {
		t.Errorf("out %d frames for %d packets", s.OutFrames, s.OutPackets)
	}
	checkConservation(t, n)
}

func TestInboundDoesNotAllocate(t *testing.T) {
	n, a, t1, t2 := overlayNet(t, DomainConfig{})
	a.caps, a.quiet = frame.CapCsum|frame.CapTSO4, true
	o := &overlay{}
	o.add(t1, stream(45, 1398)...)
	o.add(t2, raw(t, mac(22), broadcast), arpRequest(t, mac(22), ip(22), ip(2)), make([]byte, 9))
	o.in = append(o.in, arrival{99, raw(t, mac(24), mac(2))})
	all := o.in
	nettest.ZeroAllocs(t, func() {
		o.in = all
		if _, err := n.w.Inbound(o); err != nil {
			t.Fatal(err)
		}
	})
}

// TestNoLearning: through a port that learns nothing only addresses bound to it
// send, and what they say of neighbours is not believed.
func TestNoLearning(t *testing.T) {
	n := newNet(t, DomainConfig{DropUnknownMAC: true, DropUnknownNeighbour: true, GatewayMAC: mac(1), Gateways: []netip.Addr{ip(1)}})
	n.add("a", PortConfig{MAC: mac(2), Addrs: []netip.Addr{ip(2)}})
	tunnel := n.add("t", PortConfig{Horizon: 1, MaxMACs: -1})
	if got := n.arrive(tunnel, raw(t, mac(20), mac(2))); len(got) != 0 || tunnel.port.Stats().Dropped[frame.MACLimit] != 1 {
		t.Errorf("a stranger's frame reached %v: %+v", got, tunnel.port.Stats())
	}
	if !n.domain.SetStatic(0, mac(20), tunnel.port) {
		t.Fatal("no room")
	}
	if got := n.arrive(tunnel, raw(t, mac(20), mac(2))); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the frame reached %v", got)
	}
	n.arrive(tunnel, arpRequest(t, mac(20), ip(9), ip(2)))
	if _, known := n.domain.Neighbours().Lookup(ip(9)); known {
		t.Error("a neighbour was learned through the tunnel")
	}
	if got := n.arrive(tunnel, arpRequest(t, mac(20), ip(1), ip(2))); len(got) != 0 || tunnel.port.Stats().Dropped[frame.BadARP] != 1 {
		t.Errorf("who claims the gateway's address reached %v: %+v", got, tunnel.port.Stats())
	}
}

// TestInboundRandom adds up what random frames came to, by a ledger of the test's
// own.
func TestInboundRandom(t *testing.T) {
	n, a, t1, t2 := overlayNet(t, DomainConfig{GatewayMAC: mac(1), Gateways: []netip.Addr{ip(1)}, MaxMACs: 16})
	a.caps, a.quiet = frame.CapCsum|frame.CapTSO4|frame.CapUSO, true
	rnd := rand.New(rand.NewPCG(6, 6))
	sent := map[uint32]uint64{}
	for range 200 {
		o := &overlay{}
		for range rnd.IntN(80) {
			data := [][]byte{
				raw(t, mac(byte(rnd.IntN(40))), mac(byte(rnd.IntN(40)))), arpRequest(t, mac(byte(rnd.IntN(40))), ip(byte(rnd.IntN(40))), ip(9)),
				raw(t, mac(byte(20+rnd.IntN(9))), broadcast), make([]byte, rnd.IntN(30)), stream(1, rnd.IntN(1400))[0],
			}[rnd.IntN(5)]
			if len(data) > 0 {
				data[rnd.IntN(len(data))] ^= byte(rnd.IntN(2) * rnd.IntN(256))
			}
			port := []uint32{t1.port.slot, t2.port.slot, 77}[rnd.IntN(3)]
			sent[port]++
			o.in = append(o.in, arrival{port, data})
		}
		for len(o.in) > 0 {
			if _, err := n.w.Inbound(o); err != nil {
				t.Fatal(err)
			}
		}
		n.sw.Tick(n.sw.now.Load() + 1)
	}
	s1, s2 := t1.port.Stats(), t2.port.Stats()
	if s1.InFrames != sent[t1.port.slot] || s2.InFrames != sent[t2.port.slot] || n.sw.Stats().Orphans != sent[77] {
		t.Errorf("counted %d, %d and %d of %v", s1.InFrames, s2.InFrames, n.sw.Stats().Orphans, sent)
	}
	if s1.Forwarded == 0 || s1.DroppedTotal() == 0 {
		t.Errorf("%+v", s1)
	}
	checkConservation(t, n)
}

// A slow queue tells when it is written to, and waits to be let go on.
type slow struct{ entered, leave chan struct{} }

func (*slow) ReadBatch(*frame.Batch) (int, error) { return 0, nil }
func (*slow) Caps() frame.Caps                    { return 0 }
func (q *slow) WriteBatch(fs []*frame.Frame) (int, error) {
	close(q.entered)
	<-q.leave
	return len(fs), nil
}

// TestRemovePortWaitsForInbound: a port's queue is its owner's to close when
// RemovePort has returned, also under a turn on a source.
func TestRemovePortWaitsForInbound(t *testing.T) {
	n := newNet(t, DomainConfig{})
	tunnel := n.add("t", PortConfig{Horizon: 1})
	q := &slow{make(chan struct{}), make(chan struct{})}
	p, err := n.sw.AddPort(PortConfig{Name: "x", Domain: n.domain, MAC: mac(5)}, q)
	if err != nil {
		t.Fatal(err)
	}
	turned, removed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(turned)
		o := &overlay{}
		o.add(tunnel, raw(t, mac(20), mac(5)))
		if _, err := n.w.Inbound(o); err != nil {
			t.Error(err)
		}
	}()
	<-q.entered
	go func() { n.sw.RemovePort(p); close(removed) }()
	for !p.gone.Load() {
		runtime.Gosched()
	}
	select {
	case <-removed:
		t.Error("RemovePort returned while the port was written to")
	case <-time.After(20 * time.Millisecond):
	}
	close(q.leave)
	<-turned
	<-removed
	if got := n.arrive(tunnel, raw(t, mac(20), mac(5))); len(got) != 0 {
		t.Errorf("a frame for a removed port came out of %v", got)
	}
	checkConservation(t, n)
}

// TestPortsChangeUnderInbound is TestConcurrentChange for turns on a source: -race
// and a queue that panics when it is written to after its port's removal are the
// oracle.
func TestPortsChangeUnderInbound(t *testing.T) {
	n := newNet(t, DomainConfig{})
	tunnel := n.add("t", PortConfig{Horizon: 1})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	begun := make(chan struct{})
	wg.Go(func() {
		frames := [][]byte{raw(t, mac(20), broadcast), raw(t, mac(20), mac(5)), raw(t, mac(21), broadcast)}
		for i := 0; ctx.Err() == nil; i++ {
			o := &overlay{}
			for range 20 {
				o.add(tunnel, frames...)
			}
			if _, err := n.w.Inbound(o); err != nil {
				t.Error(err)
			}
			if i == 100 {
				close(begun)
			}
		}
	})
	<-begun
	for i := range 300 {
		g := &guarded{}
		p, err := n.sw.AddPort(PortConfig{Name: "x", Domain: n.domain, MAC: mac(5)}, g)
		if err != nil {
			t.Fatal(err)
		}
		if i%10 == 9 { // a tunnel goes under way, too
			x := &guarded{}
			q, err := n.sw.AddPort(PortConfig{Name: "y", Domain: n.domain, Horizon: 2}, x)
			if err != nil {
				t.Fatal(err)
			}
			n.sw.RemovePort(q)
			x.closed.Store(true)
		}
		n.sw.RemovePort(p)
		g.closed.Store(true)
	}
	stop()
	wg.Wait()
	checkConservation(t, n)
}
