package vswitch

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/capture"
	"weft/internal/frame"
	"weft/nat"
)

// all returns what left, in words, with the cable's name in front.
func all(out map[string][][]byte) (lines []string) {
	for name, frames := range out {
		for _, f := range frames {
			lines = append(lines, name+" "+text(f))
		}
	}
	slices.Sort(lines)
	return lines
}

func ttl(b []byte, n byte) []byte {
	b = slices.Clone(b)
	if b[12] == 0x86 {
		b[14+7] = n
		return b
	}
	b[14+8] = n
	frame.SetIPv4Checksum(b[14:])
	return b
}

func tcp4(t testing.TB, srcMAC, dstMAC frame.MAC, src, dst netip.Addr, sport, dport uint16, seg layers.TCP) []byte {
	ipl := &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	seg.SrcPort, seg.DstPort = layers.TCPPort(sport), layers.TCPPort(dport)
	if err := seg.SetNetworkLayerForChecksum(ipl); err != nil {
		t.Fatal(err)
	}
	return build(t, eth(srcMAC, dstMAC, layers.EthernetTypeIPv4), ipl, &seg)
}

// TestRouter: one frame each, with the next hop known.
func TestRouter(t *testing.T) {
	var syn = layers.TCP{SYN: true, Seq: 7, Window: 9}
	pub := netip.AddrPortFrom(ip(3), 80)
	tests := []struct {
		name string
		from string
		data []byte
		want []string
		drop frame.Reason
	}{
		{"out", "a", udp4(t, mac(2), gwMAC, ip(2), beyond, 5, 53, 9), []string{"o 00:01>00:02 192.0.2.1->198.51.100.9 ttl 63 udp 5>53"}, 0},
		{"out, on the link", "a", udp4(t, mac(2), gwMAC, ip(2), outer(253), 5, 53, 9), []string{"o 00:01>00:02 192.0.2.1->192.0.2.253 ttl 63 udp 5>53"}, 0},
		{"out, IPv6", "a", udp6(t, mac(2), gwMAC, ip6(2), beyond6, 5, 53), []string{"o 00:01>00:02 2001:db8::1->2001:db8:ffff::9 ttl 63 udp 5>53"}, 0},
		{"out, from an isolated port", "b", udp4(t, mac(3), gwMAC, ip(3), beyond, 5, 53, 9), []string{"o 00:01>00:02 192.0.2.1->198.51.100.9 ttl 63 udp 5>53"}, 0},
		{"in, published", "o", tcp4(t, nextMAC, outMAC, beyond, outer(1), 5, 8080, syn), []string{"b 00:fe>00:03 198.51.100.9->10.0.0.3 ttl 63 tcp 5>80"}, 0},
		{"in, for nobody", "o", tcp4(t, nextMAC, outMAC, beyond, outer(1), 5, 81, syn), []string{"o 00:01>00:02 192.0.2.1->198.51.100.9 ttl 64 tcp 81>5 rst"}, frame.NoFlow},
		{"in, for nobody, UDP", "o", udp4(t, nextMAC, outMAC, beyond, outer(1), 5, 81, 9), []string{"o 00:01>00:02 192.0.2.1->198.51.100.9 ttl 64 DestinationUnreachable(Port)"}, frame.NoFlow},
		{"in, a reset for nobody", "o", tcp4(t, nextMAC, outMAC, beyond, outer(1), 5, 81, layers.TCP{RST: true}), nil, frame.NoFlow},
		{"in, ping", "o", ping4(t, nextMAC, outMAC, beyond, outer(1), 9), []string{"o 00:01>00:02 192.0.2.1->198.51.100.9 ttl 64 EchoReply"}, 0},
		{"in, for somebody else", "o", udp4(t, nextMAC, outMAC, beyond, outer(7), 5, 8080, 9), nil, frame.NoRoute},
		{"in, from an address inside", "o", tcp4(t, nextMAC, outMAC, ip(2), outer(1), 5, 8080, syn), nil, frame.SpoofedIP},
		{"in, from the router's own", "o", tcp4(t, nextMAC, outMAC, outer(1), outer(1), 5, 8080, syn), nil, frame.SpoofedIP},
		{"in, from its MAC", "o", tcp4(t, outMAC, outMAC, beyond, outer(1), 5, 8080, syn), nil, frame.SpoofedMAC},
		{"in, straight to an address inside", "o", tcp4(t, nextMAC, outMAC, beyond, ip(3), 5, 80, syn), nil, frame.NoRoute},
		{"hairpin", "a", tcp4(t, mac(2), gwMAC, ip(2), outer(1), 5, 8080, syn), []string{"b 00:fe>00:03 192.0.2.1->10.0.0.3 ttl 63 tcp 5>80"}, 0},
		{"hairpin to itself", "b", tcp4(t, mac(3), gwMAC, ip(3), outer(1), 5, 8080, syn), []string{"b 00:fe>00:03 192.0.2.1->10.0.0.3 ttl 63 tcp 5>80"}, 0},
		{"hairpin to nobody", "a", tcp4(t, mac(2), gwMAC, ip(2), outer(1), 5, 81, syn), []string{"a 00:fe>00:02 192.0.2.1->10.0.0.2 ttl 64 tcp 81>5 rst"}, frame.NoFlow},
		{"ping to the router outside", "a", ping4(t, mac(2), gwMAC, ip(2), outer(1), 9), []string{"a 00:fe>00:02 192.0.2.1->10.0.0.2 ttl 64 EchoReply"}, 0},
		{"ping to the gateway", "a", ping4(t, mac(2), gwMAC, ip(2), ip(1), 9), []string{"a 00:fe>00:02 10.0.0.1->10.0.0.2 ttl 64 EchoReply"}, 0},
		{"a port of the gateway", "a", tcp4(t, mac(2), gwMAC, ip(2), ip(1), 5, 81, syn), []string{"a 00:fe>00:02 10.0.0.1->10.0.0.2 ttl 64 tcp 81>5 rst"}, frame.UnknownGateway},
		{"another network of weft's", "a", udp4(t, mac(2), gwMAC, ip(2), netip.MustParseAddr("10.7.1.1"), 5, 53, 9), []string{"a 00:fe>00:02 10.0.0.1->10.0.0.2 ttl 64 DestinationUnreachable(CommAdminProhibited)"}, frame.StaysInside},
		{"the same network", "a", udp4(t, mac(2), gwMAC, ip(2), ip(9), 5, 53, 9), []string{"a 00:fe>00:02 10.0.0.1->10.0.0.2 ttl 64 DestinationUnreachable(CommAdminProhibited)"}, frame.StaysInside},
		{"a link-local address", "a", udp4(t, mac(2), gwMAC, ip(2), netip.MustParseAddr("169.254.169.254"), 5, 80, 9), []string{"a 00:fe>00:02 10.0.0.1->10.0.0.2 ttl 64 DestinationUnreachable(CommAdminProhibited)"}, frame.Martian},
		{"loopback", "a", udp4(t, mac(2), gwMAC, ip(2), netip.MustParseAddr("127.0.0.1"), 5, 80, 9), nil, frame.Martian},
		{"last hop", "a", ttl(udp4(t, mac(2), gwMAC, ip(2), beyond, 5, 53, 9), 1), []string{"a 00:fe>00:02 10.0.0.1->10.0.0.2 ttl 64 TimeExceeded(TTLExceeded)"}, frame.TTLExceeded},
		{"last hop, IPv6", "a", ttl(udp6(t, mac(2), gwMAC, ip6(2), beyond6, 5, 53), 1), []string{"a 00:fe>00:02 fd00::1->fd00::2 ttl 64 TimeExceeded(HopLimitExceeded)"}, frame.TTLExceeded},
		{"last hop, coming in", "o", ttl(udp4(t, nextMAC, outMAC, beyond, outer(1), 5, 8080, 9), 1), []string{"o 00:01>00:02 192.0.2.1->198.51.100.9 ttl 64 TimeExceeded(TTLExceeded)"}, frame.TTLExceeded},
		{"a multicast address", "a", udp4(t, mac(2), gwMAC, ip(2), netip.MustParseAddr("224.1.1.1"), 5, 80, 9), nil, frame.Martian},
		{"ARP for the router", "o", arpRequest(t, nextMAC, outer(253), outer(1)), []string{"o 00:01>00:02 who has 192.0.2.253 tell 192.0.2.1"}, 0},
		{"ARP for somebody else, who is known", "o", arpRequest(t, mac(77), outer(7), outer(253)), nil, frame.UnknownARP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRouted(t)
			r.nat.inside[8080] = pub
			r.knowNext()
			from := r.cables[tt.from]
			before := from.port.Stats()
			got := all(r.inject(from, tt.data))
			if reason, n := dropped(before, from.port.Stats()); reason != tt.drop || n > 1 {
				t.Errorf("ended as %v, want %v", reason, tt.drop)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("left\n%q, want\n%q", got, tt.want)
			}
			for _, c := range r.cables {
				for _, g := range c.out {
					checkSums(t, g.data)
				}
			}
			checkConservation(t, r.testNet)
		})
	}
}

// knowNext makes the next hops known that tests use, all at nextMAC.
func (r *routed) knowNext() {
	for _, a := range []netip.Addr{outer(253), outer(254), netip.MustParseAddr("fe80::99")} {
		r.router.hops.make(a, way{from: outer(1)}, r.now).learn(nextMAC, r.now)
	}
}

// checkSums verifies what gopacket, which is not our code, can recompute.
func checkSums(t testing.TB, data []byte) {
	t.Helper()
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	f := frame.NewBatch().Append(data)
	if r := f.Parse(); r != frame.NotDropped {
		t.Errorf("%s: %v", text(data), r)
		return
	}
	if i, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok && frame.Fold(frame.Sum(data[14:14+int(i.IHL)*4], 0)) != 0xffff {
		t.Errorf("%s: wrong header checksum", text(data))
	}
	if f.View.L4 != 0 {
		n, sum := f.L4Len(), uint64(0)
		if f.View.Proto != frame.ProtoICMP {
			sum = f.PseudoSum(n)
		}
		if frame.Fold(frame.Sum(data[f.View.L4:int(f.View.L4)+n], sum)) != 0xffff {
			t.Errorf("%s: wrong checksum", text(data))
		}
	}
}

// TestNextHop is the life of one: asked, found, fresh, probed, lost; and given up.
func TestNextHop(t *testing.T) {
	r := newRouted(t)
	out := func() []string {
		return all(r.inject(r.a, udp4(t, mac(2), gwMAC, ip(2), beyond, 5, 53, 9)))
	}
	said := func(step string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", step, got, want)
		}
	}
	r.router.announced = announcements
	ticked := func(seconds int) []string {
		r.o.out, r.a.out = nil, nil
		r.tick(seconds)
		m := map[string][][]byte{}
		for _, c := range []*cable{r.o, r.a} {
			for _, g := range c.out {
				m[c.name] = append(m[c.name], g.data)
			}
		}
		return all(m)
	}
	const ask, frame53 = "o 00:01>ff:ff who has 192.0.2.253 tell 192.0.2.1", "o 00:01>00:02 192.0.2.1->198.51.100.9 ttl 63 udp 5>53"
	const probe = "o 00:01>00:02 who has 192.0.2.253 tell 192.0.2.1"
	said("the first frame", out(), ask)
	said("the second", out())
	said("a stranger says where he is", all(r.answerHop(7, mac(7))))
	if s := r.a.port.Stats(); s.Kept != 2 {
		t.Errorf("kept %d", s.Kept)
	}
	said("the answer lets the last one go", all(r.answerHop(253, nextMAC)), frame53)
	if n := r.router.hops.asked; n != 0 {
		t.Errorf("%d hops are asked still", n)
	}
	said("known", out(), frame53)
	said("and fresh", ticked(hopFresh-1))
	said("in use", out(), frame53)
	said("not fresh any more", ticked(1), probe)
	said("still in use", out(), frame53)
	said("it says that it is there", all(r.answerHop(253, nextMAC)))
	said("fresh again", ticked(hopFresh-1))
	said("used", out(), frame53)
	said("silent", ticked(hopTries), probe, probe, probe)
	said("used on trust", out(), frame53)
	said("lost", ticked(1))
	said("asked again", out(), ask)
	said("moved", all(r.answerHop(253, mac(0x33))), "o 00:01>00:33 192.0.2.1->198.51.100.9 ttl 63 udp 5>53")
	said("forgotten without use", ticked(hopIdle+hopFresh))
	if n := len(*r.router.hops.snap.Load()); n != 0 {
		t.Errorf("%d hops left", n)
	}
	said("asked", out(), ask)
	said("and again", ticked(hopTries-1), ask, ask)
	said("given up", ticked(1), "a 00:fe>00:02 198.51.100.9->10.0.0.2 ttl 63 DestinationUnreachable(Host)")
	said("from the start", out(), ask)
	if n := r.router.hops.asked; n != 1 {
		t.Errorf("%d hops are asked", n)
	}
	checkConservation(t, r.testNet)
}

// TestAnnounce: a new router says where its addresses are, three times.
// A next hop that is asked for may ask itself, and with a batch full of what is answered: the
// frame that was held for it leaves all the same, and so do all answers.
func TestHeldBesideAnswers(t *testing.T) {
	r := newRouted(t)
	r.inject(r.a, udp4(t, mac(2), gwMAC, ip(2), beyond, 5, 53, 9))
	r.o.out = nil
	r.o.in = append(r.o.in, sent{build(t, eth(nextMAC, outMAC, layers.EthernetTypeARP), &layers.ARP{
		AddrType: 1, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
		SourceHwAddress: nextMAC[:], SourceProtAddress: outer(253).AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: outer(1).AsSlice(),
	}), frame.Offload{}})
	for range frame.MaxBatch - 1 {
		r.o.in = append(r.o.in, sent{ping4(t, nextMAC, outMAC, beyond, outer(1), 9), frame.Offload{}})
	}
	if n, err := r.w.Turn(r.o.port); n != frame.MaxBatch || err != nil {
		t.Fatalf("Turn = %d, %v", n, err)
	}
	if n := len(r.o.out); n != frame.MaxBatch+1 {
		t.Fatalf("%d frames left, want %d", n, frame.MaxBatch+1)
	}
	if got := text(r.o.out[frame.MaxBatch].data); got != "00:01>00:02 192.0.2.1->198.51.100.9 ttl 63 udp 5>53" {
		t.Errorf("the last one is %s", got)
	}
	checkConservation(t, r.testNet)
}

func TestAnnounce(t *testing.T) {
	r := newRouted(t)
	r.tick(announcements + 3)
	var got []string
	for _, g := range r.o.out {
		got = append(got, text(g.data))
		checkSums(t, g.data)
	}
	once := []string{"00:01>ff:ff who has 192.0.2.1 tell 192.0.2.1", "00:01>00:01 2001:db8::1->ff02::1 ttl 255 NeighborAdvertisement", "00:01>00:01 fe80::ff:fe00:1->ff02::1 ttl 255 NeighborAdvertisement"}
	if want := slices.Concat(once, once, once); !slices.Equal(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
}

// TestRouterCapture: who captures inside sees packets as they came, outside as they left.
func TestRouterCapture(t *testing.T) {
	r := newRouted(t)
	r.knowNext()
	inside, outside := capture.NewRing(1<<16, nil, 0), capture.NewRing(1<<16, nil, 0)
	r.a.port.Capture(inside, capture.Before)
	r.o.port.Capture(outside, capture.After)
	for _, data := range [][]byte{udp4(t, mac(2), gwMAC, ip(2), beyond, 5, 53, 9), ping4(t, mac(2), gwMAC, ip(2), outer(1), 9)} {
		r.inject(r.a, data)
		if rec, ok := inside.Next(); !ok || !bytes.Equal(rec.Data, data) {
			t.Errorf("%s: %v, %x, want %x", text(data), ok, rec.Data, data)
		}
	}
	outside.Next()
	data := udp4(t, mac(2), gwMAC, ip(2), beyond, 5, 53, 9)
	out := r.inject(r.a, data)
	for what, c := range map[string]struct {
		ring *capture.Ring
		want []byte
	}{"inside": {inside, data}, "outside": {outside, out["o"][0]}} {
		if rec, ok := c.ring.Next(); !ok || !bytes.Equal(rec.Data, c.want) {
			t.Errorf("%s: %v, %x, want %x", what, ok, rec.Data, c.want)
		}
	}
}

// TestRouterFits: what the link on the other side does not take is lowered, or refused with
// the size that it takes.
func TestRouterFits(t *testing.T) {
	mssOf := func(b []byte) uint16 {
		f := frame.NewBatch().Append(b)
		f.Parse()
		return mss(f)
	}
	syn := layers.TCP{SYN: true, Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{1460 >> 8, 1460 & 0xff}}}}
	r := newRouted(t)
	r.nat.inside[8080] = netip.AddrPortFrom(ip(3), 80)
	r.knowNext()
	r.o.port.SetMTU(1400)
	out := r.inject(r.a, tcp4(t, mac(2), gwMAC, ip(2), beyond, 5, 80, syn))
	if got := mssOf(out["o"][0]); got != 1360 {
		t.Errorf("out, a segment size of %d", got)
	}
	checkSums(t, out["o"][0])
	out = r.inject(r.o, tcp4(t, nextMAC, outMAC, beyond, outer(1), 5, 8080, syn))
	if got := mssOf(out["b"][0]); got != 1360 {
		t.Errorf("in, a segment size of %d", got)
	}
	checkSums(t, out["b"][0])
	for name, c := range map[string]struct {
		from *cable
		data []byte
		says string
		mtu  uint16
	}{
		"out": {r.a, udp4(t, mac(2), gwMAC, ip(2), beyond, 5, 53, 1380), "a 00:fe>00:02 10.0.0.1->10.0.0.2 ttl 64 DestinationUnreachable(FragmentationNeeded)", 1400},
		"in":  {r.o, udp4(t, nextMAC, outMAC, beyond, outer(1), 5, 8080, 1280), "o 00:01>00:02 192.0.2.1->198.51.100.9 ttl 63 DestinationUnreachable(FragmentationNeeded)", 1300},
	} {
		r.b.port.SetMTU(1300)
		before := c.from.port.Stats()
		got := r.inject(c.from, c.data)
		if reason, _ := dropped(before, c.from.port.Stats()); reason != frame.TooBig || !slices.Equal(all(got), []string{c.says}) {
			t.Errorf("%s: %v, %q", name, reason, all(got))
			continue
		}
		if mtu := binary.BigEndian.Uint16(got[c.from.name][0][14+20+6:]); mtu != c.mtu {
			t.Errorf("%s: an MTU of %d", name, mtu)
		}
	}
}

// TestNextHopBounds: who scans the link is bounded in what it costs, and who is known is
// not.
func TestNextHopBounds(t *testing.T) {
	r := newRouted(t)
	r.knowNext()
	before := r.a.port.Stats()
	for i := range 255 {
		r.inject(r.a, udp4(t, mac(2), gwMAC, ip(2), outer(byte(i)), 5, 53, 9))
	}
	after := r.a.port.Stats()
	if n := r.o.port.Stats().OutFrames; n < newHops-10 || n > newHops+3 {
		t.Errorf("%d frames left for 255 strangers", n)
	}
	if after.Dropped[frame.NoNeighbour]-before.Dropped[frame.NoNeighbour] == 0 || r.router.hops.full.Load() == 0 {
		t.Error("nothing was refused")
	}
	if got := all(r.inject(r.a, udp4(t, mac(2), gwMAC, ip(2), beyond, 5, 53, 9))); len(got) != 1 {
		t.Errorf("to a known next hop: %q", got)
	}
	if gateway := netip.MustParseAddr("192.0.2.252"); r.router.hops.make(gateway, way{from: outer(1)}, r.now) != nil ||
		r.router.hops.make(gateway, way{via: gateway, from: outer(1)}, r.now) == nil {
		t.Error("a gateway beside as many strangers as there may be is not to be had, or a stranger is")
	}
	r.tick(hopTries + 2)
	if n := r.router.hops.asked; n != 0 {
		t.Errorf("%d hops are still asked", n)
	}
	r.o.port.SetMTU(9000)
	r.inject(r.a, udp4(t, mac(2), gwMAC, ip(2), outer(9), 5, 53, maxHeld))
	if s := r.a.port.Stats(); s.Dropped[frame.NoNeighbour] == after.Dropped[frame.NoNeighbour] {
		t.Error("a frame too long was held")
	}
}

// A through lets everything pass as it is.
type through struct{}

func (n *through) Outbound(*frame.Frame, uint32) (nat.Side, frame.Reason) { return nat.Outside, 0 }
func (n *through) Inbound(f *frame.Frame, _ uint32) (nat.Side, frame.Reason) {
	copy(f.Bytes()[30:34], []byte{10, 0, 0, 2})
	return nat.Inside, 0
}
func (n *through) Preview(*frame.Frame, bool) (nat.Side, string, frame.Reason) {
	return nat.Outside, "", 0
}

// TestRouterAllocs: crossing allocates nothing, whatever comes of it.
func TestRouterAllocs(t *testing.T) {
	r := newRouted(t)
	r.router.cfg.Translator = &through{}
	r.knowNext()
	for _, c := range r.cables {
		c.quiet = true
	}
	tests := []struct {
		name string
		from *cable
		data []byte
	}{
		{"out", r.a, udp4(t, mac(2), gwMAC, ip(2), beyond, 5, 53, 9)},
		{"out, IPv6", r.a, udp6(t, mac(2), gwMAC, ip6(2), beyond6, 5, 53)},
		{"in", r.o, udp4(t, nextMAC, outMAC, beyond, outer(1), 5, 53, 9)},
		{"too big", r.a, udp4(t, mac(2), gwMAC, ip(2), beyond, 5, 53, 1500)},
		{"no hop left", r.a, ttl(udp4(t, mac(2), gwMAC, ip(2), beyond, 5, 53, 9), 1)},
		{"refused", r.a, udp4(t, mac(2), gwMAC, ip(2), ip(1), 5, 53, 9)},
		{"asked", r.a, udp4(t, mac(2), gwMAC, ip(2), outer(7), 5, 53, 9)},
	}
	for _, tt := range tests {
		r.inject(tt.from, tt.data) // the first time may make what lasts
		in := []sent{{tt.data, frame.Offload{}}}
		if n := testing.AllocsPerRun(50, func() {
			tt.from.in = in
			if _, err := r.w.Turn(tt.from.port); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

// TestRouterPublish: what is not a router's table is refused, and a domain that is not
// named any more has no way out.
func TestRouterPublish(t *testing.T) {
	r := newRouted(t)
	r.knowNext()
	p := netip.MustParsePrefix("10.0.0.0/24")
	bare, err := r.sw.AddDomain(DomainConfig{Name: "bare"})
	if err != nil {
		t.Fatal(err)
	}
	for name, inside := range map[string][]Inner{
		"twice":       {{p, r.domain}, {netip.MustParsePrefix("10.0.0.9/24"), r.domain}},
		"the outside": {{p, r.o.port.domain}},
		"no gateway":  {{p, bare}},
		"no prefix":   {{netip.Prefix{}, nil}},
	} {
		if err := r.router.Publish(inside, nil); err == nil {
			t.Errorf("%s was published", name)
		}
	}
	out := udp4(t, mac(2), gwMAC, ip(2), beyond, 5, 53, 9)
	if got := all(r.inject(r.a, out)); len(got) != 1 {
		t.Errorf("after refusals: %q", got)
	}
	if err := r.router.Publish([]Inner{{p, r.domain}}, nil); err != nil {
		t.Fatal(err)
	}
	if got := all(r.inject(r.a, out)); !slices.Equal(got, []string{"a 00:fe>00:02 10.0.0.1->10.0.0.2 ttl 64 DestinationUnreachable(Net)"}) {
		t.Errorf("without routes: %q", got)
	}
	if err := r.router.Publish(nil, nil); err != nil {
		t.Fatal(err)
	}
	before := r.a.port.Stats()
	if got := all(r.inject(r.a, out)); len(got) > 0 {
		t.Errorf("without a router: %q", got)
	}
	if reason, _ := dropped(before, r.a.port.Stats()); reason != frame.NoRoute {
		t.Errorf("without a router: %v", reason)
	}
	r.publish(t)
	if _, err := r.sw.NewRouter(r.router.cfg); err == nil {
		t.Error("a second router outside")
	}
	r.router.Close()
	if err := r.router.Publish(nil, nil); err == nil {
		t.Error("published when closed")
	}
	if _, err := r.sw.NewRouter(r.router.cfg); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestRouterTrace: a trace shows the steps, and leaves everything as it was.
func TestRouterTrace(t *testing.T) {
	r := newRouted(t)
	r.nat.inside[8080] = netip.AddrPortFrom(ip(3), 80)
	tests := []struct {
		name    string
		from    *cable
		data    []byte
		want    []string // of translate and route, write
		verdict frame.Verdict
		reason  frame.Reason
	}{
		{"out, the next hop not known", r.a, udp4(t, mac(2), gwMAC, ip(2), netip.MustParseAddr("203.0.113.5"), 5, 53, 9), []string{
			"translate: 10.0.0.2>203.0.113.5 becomes 192.0.2.1>203.0.113.5", "route: next hop 192.0.2.254, through o",
			"route: the next hop's MAC is not known: the frame would be held and the next hop asked"}, frame.Kept, 0},
		{"in", r.o, tcp4(t, nextMAC, outMAC, beyond, outer(1), 5, 8080, layers.TCP{SYN: true}), []string{
			"translate: 198.51.100.9>192.0.2.1 becomes 198.51.100.9>10.0.0.3", "route: 10.0.0.3 is on front, at 02:42:0a:00:00:03", "write: b: written as it is"}, frame.Forwarded, 0},
		{"hairpin", r.a, tcp4(t, mac(2), gwMAC, ip(2), outer(1), 5, 8080, layers.TCP{SYN: true}), []string{
			"translate: 10.0.0.2>192.0.2.1 becomes 192.0.2.1>10.0.0.3", "route: 10.0.0.3 is on front, at 02:42:0a:00:00:03", "write: b: written as it is"}, frame.Forwarded, 0},
		{"in, for nobody", r.o, tcp4(t, nextMAC, outMAC, beyond, outer(1), 5, 81, layers.TCP{SYN: true}), []string{
			"translate: refused: no-flow", "route: dropped: no-flow; o is told", "write: o: written as it is"}, frame.Dropped, frame.NoFlow},
		{"to another network of weft's", r.a, udp4(t, mac(2), gwMAC, ip(2), netip.MustParseAddr("10.7.1.1"), 5, 53, 9), []string{
			"route: dropped: stays-inside; a is told", "write: a: written as it is"}, frame.Dropped, frame.StaysInside},
		{"a ping to the router outside", r.a, ping4(t, mac(2), gwMAC, ip(2), outer(1), 9), []string{
			"route: answered by the router itself, back to a", "write: a: written as it is"}, frame.Consumed, 0},
	}
	for _, tt := range tests {
		got := r.sw.Trace(tt.from.port, tt.data, frame.Offload{})
		var steps []string
		for _, s := range got.Steps {
			if s.Name == "translate" || s.Name == "route" || s.Name == "write" {
				steps = append(steps, s.Name+": "+s.Result)
			}
		}
		if !slices.Equal(steps, tt.want) || got.Verdict != tt.verdict || got.Reason != tt.reason {
			t.Errorf("%s: %q, %v, %v, want %q", tt.name, steps, got.Verdict, got.Reason, tt.want)
		}
	}
	got := r.sw.Trace(r.o.port, udp4(t, mac(9), outMAC, beyond, outer(1), 5, 81, 9), frame.Offload{})
	if want := (Step{"learn", "02:42:0a:00:00:09 is outside, where nothing is learned"}); !slices.Contains(got.Steps, want) {
		t.Errorf("from outside: %+v, want %+v", got.Steps, want)
	}
	if n := len(*r.router.hops.snap.Load()); n > 0 {
		t.Errorf("tracing made %d hops", n)
	}
}
