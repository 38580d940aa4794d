package vswitch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/capture"
	"weft/internal/frame"
	"weft/internal/nettest"
)

// syn builds a TCP segment from a to b with gopacket, with options of the test's.
func syn(t testing.TB, v6 bool, vlan uint16, shape func(*layers.TCP), options ...layers.TCPOption) []byte {
	t.Helper()
	et := layers.EthernetTypeIPv4
	var network gopacket.NetworkLayer
	var ipLayer gopacket.SerializableLayer
	if v6 {
		et = layers.EthernetTypeIPv6
		l := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: ip6(2).AsSlice(), DstIP: ip6(3).AsSlice()}
		network, ipLayer = l, l
	} else {
		l := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: ip(2).AsSlice(), DstIP: ip(3).AsSlice()}
		network, ipLayer = l, l
	}
	tcp := &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 77, SYN: true, Window: 64240, Options: options}
	if shape != nil {
		shape(tcp)
	}
	if err := tcp.SetNetworkLayerForChecksum(network); err != nil {
		t.Fatal(err)
	}
	e := eth(mac(2), mac(3), et)
	if vlan == 0 {
		return build(t, e, ipLayer, tcp)
	}
	e.EthernetType = layers.EthernetTypeDot1Q
	return build(t, e, &layers.Dot1Q{VLANIdentifier: vlan, Type: et}, ipLayer, tcp)
}

func mssOption(v uint16) layers.TCPOption {
	return layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{byte(v >> 8), byte(v)}}
}

var (
	nop  = layers.TCPOption{OptionType: layers.TCPOptionKindNop}
	sack = layers.TCPOption{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2}
)

func TestClampMSS(t *testing.T) {
	ack := func(l *layers.TCP) { l.ACK = true }
	plain := func(l *layers.TCP) { l.SYN, l.ACK = false, true }
	tests := []struct {
		name  string
		v6    bool
		vlan  uint16
		shape func(*layers.TCP)
		opts  func(mss uint16) []layers.TCPOption
		asked uint16
		want  uint16
	}{
		{"SYN", false, 0, nil, func(m uint16) []layers.TCPOption { return []layers.TCPOption{mssOption(m), sack} }, 1460, 1360},
		{"SYN, IPv6", true, 0, nil, func(m uint16) []layers.TCPOption { return []layers.TCPOption{sack, mssOption(m)} }, 1440, 1340},
		{"SYN and ACK", false, 0, ack, func(m uint16) []layers.TCPOption { return []layers.TCPOption{mssOption(m)} }, 65495, 1360},
		{"across two words", false, 0, nil, func(m uint16) []layers.TCPOption { return []layers.TCPOption{nop, mssOption(m), nop, nop, nop} }, 8960, 1360},
		{"across two words, IPv6", true, 0, nil, func(m uint16) []layers.TCPOption { return []layers.TCPOption{nop, nop, nop, mssOption(m), nop} }, 8960, 1340},
		{"behind a VLAN tag", false, 7, nil, func(m uint16) []layers.TCPOption { return []layers.TCPOption{mssOption(m)} }, 1460, 1356},
		{"small enough", false, 0, nil, func(m uint16) []layers.TCPOption { return []layers.TCPOption{mssOption(m)} }, 1360, 1360},
		{"smaller", true, 0, nil, func(m uint16) []layers.TCPOption { return []layers.TCPOption{mssOption(m)} }, 536, 536},
		{"not a SYN", false, 0, plain, func(m uint16) []layers.TCPOption { return []layers.TCPOption{mssOption(m)} }, 1460, 1460},
		{"behind the end of the options", false, 0, nil, func(m uint16) []layers.TCPOption {
			return []layers.TCPOption{{OptionType: layers.TCPOptionKindEndList}, mssOption(m), nop, nop, nop}
		}, 1460, 1460},
		{"no options", false, 0, nil, func(uint16) []layers.TCPOption { return nil }, 0, 0},
	}
	for _, tt := range tests {
		for _, left := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				n, a, b := wireNet(t, PortConfig{Horizon: 1, MTU: 1400})
				b.caps = frame.CapCsum
				n.domain.SetStatic(7, mac(3), b.port)
				data := syn(t, tt.v6, tt.vlan, tt.shape, tt.opts(tt.asked)...)
				want := syn(t, tt.v6, tt.vlan, tt.shape, tt.opts(tt.want)...)
				o := frame.Offload{}
				if left {
					data, o = unfinished(t, data)
					want, _ = unfinished(t, want)
				}
				tr := n.sw.Trace(a.port, data, o)
				out := n.injectOffload(a, data, o)["b"]
				if len(out) != 1 || !bytes.Equal(out[0], want) {
					t.Errorf("came out as\n%x, want\n%x", out, want)
				}
				if said := strings.Contains(traceText(tr), "lowered"); said != (tt.asked != tt.want) {
					t.Errorf("the trace says %v", tr.Steps)
				}
				checkConservation(t, n)
			})
		}
	}
}

// unfinished returns a TCP or UDP frame as a sender with checksum offload leaves
// it.
func unfinished(t testing.TB, data []byte) ([]byte, frame.Offload) {
	t.Helper()
	f := frame.NewBatch().Append(data)
	if r := f.Parse(); r != frame.NotDropped {
		t.Fatal(r)
	}
	at := 16
	if f.View.Proto == frame.ProtoUDP {
		at = 6
	}
	b := bytes.Clone(f.Bytes())
	binary.BigEndian.PutUint16(b[int(f.View.L4)+at:], frame.Fold(f.PseudoSum(f.L4Len())))
	return b, frame.Offload{Flags: frame.NeedsCsum, CsumStart: f.View.L4, CsumOffset: uint16(at)}
}

func traceText(tr Trace) string {
	var b strings.Builder
	for _, s := range tr.Steps {
		b.WriteString(s.Name + ": " + s.Result + "\n")
	}
	return b.String()
}

// TestClampElsewhere: what is flooded and what stays on this node is left alone.
func TestClampElsewhere(t *testing.T) {
	data := syn(t, false, 0, nil, mssOption(1460))
	n, a, b := wireNet(t, PortConfig{MTU: 1400})
	if out := n.inject(a, data)["b"]; len(out) != 1 || !bytes.Equal(out[0], data) {
		t.Error("a SYN to a local port was changed")
	}
	big := udp4(t, mac(2), mac(3), ip(2), ip(3), 1, 2, 1400)
	if out := n.inject(a, big); len(out) != 0 || b.port.Stats().OutDropped[frame.TooBig] != 1 {
		t.Errorf("too big for a local port: %v", names(out))
	}
	n = newNet(t, DomainConfig{})
	a = n.add("a", PortConfig{})
	tunnel := n.add("tunnel", PortConfig{Horizon: 1, MTU: 1400})
	n.add("c", PortConfig{})
	for name, out := range n.inject(a, data) {
		if !bytes.Equal(out[0], data) {
			t.Errorf("a flooded SYN came out of %s changed", name)
		}
	}
	if got := names(n.inject(a, big)); !slices.Equal(got, []string{"c"}) || tunnel.port.Stats().OutDropped[frame.TooBig] != 1 {
		t.Errorf("a flooded frame that is too big for the tunnel came out of %v", got)
	}
	tunnel.port.SetMTU(0)
	if got := names(n.inject(a, big)); !slices.Equal(got, []string{"c", "tunnel"}) {
		t.Errorf("without an MTU it came out of %v", got)
	}
}

// edited returns a copy of b changed by edit, its IPv4 header checksum mended.
func edited(b []byte, edit func(b []byte)) []byte {
	b = bytes.Clone(b)
	edit(b)
	if binary.BigEndian.Uint16(b[12:]) == frame.EtherIPv4 {
		frame.SetIPv4Checksum(b[14:])
	}
	return b
}

func TestTooBig(t *testing.T) {
	big4 := udp4(t, mac(2), mac(3), ip(2), ip(3), 1, 2, 1373) // 1,401 bytes
	big6 := icmp6(t, mac(2), mac(3), ip6(2), ip6(3), 128, make([]byte, 1400))
	ping := ping4(t, mac(2), mac(3), ip(2), ip(3), 1500)
	df := func(b []byte) { b[20] |= 0x40 }
	noDF := func(b []byte) { b[20] &^= 0x40 }
	from4 := func(a ...byte) func([]byte) { return func(b []byte) { copy(b[26:], a) } }
	to4 := func(a ...byte) func([]byte) { return func(b []byte) { copy(b[30:], a) } }
	super := tcpSuper(1, 3, 1400)
	superSent := func(edit func([]byte)) sent { return sent{edited(super.data, edit), super.off} }
	uso, usoOff := nettest.UDPSuper(stationA, stationB, 5, 6, make([]byte, 4000), 1400)
	later6 := behind6(udp6Big(t), 44, 17, 0, 0, 8, 0, 0, 0, 9)
	first6 := behind6(udp6Big(t), 44, 17, 0, 0, 1, 0, 0, 0, 9)
	tests := []struct {
		name string
		in   sent
		told bool
	}{
		{"UDP", sent{data: big4}, true},
		{"UDP that may be fragmented", sent{data: edited(big4, noDF)}, false},
		{"tagged", sent{data: tags(big4, 5)}, true},
		{"two tags", sent{data: tags(big4, 5, 6)}, true},
		{"ping", sent{data: edited(ping, df)}, true},
		{"ICMP error", sent{data: edited(ping, func(b []byte) { df(b); b[34] = 3 })}, false},
		{"ICMP of a type nobody knows", sent{data: edited(ping, func(b []byte) { df(b); b[34] = 99 })}, false},
		{"TCP superframe", superSent(df), true},
		{"TCP superframe whose packets may be fragmented", superSent(noDF), true},
		{"UDP superframe", sent{uso, usoOff}, true},
		{"first fragment", sent{data: edited(big4, func(b []byte) { b[20] = 0x60 })}, true},
		{"later fragment", sent{data: edited(big4, func(b []byte) { b[20], b[21] = 0x40, 9 })}, false},
		{"from nobody", sent{data: edited(big4, from4(0, 0, 0, 0))}, false},
		{"from a group", sent{data: edited(big4, from4(224, 0, 0, 1))}, false},
		{"from everybody", sent{data: edited(big4, from4(255, 255, 255, 255))}, false},
		{"from itself", sent{data: edited(big4, from4(127, 0, 0, 1))}, false},
		{"to a group", sent{data: edited(big4, to4(239, 1, 1, 1))}, false},
		{"to nobody", sent{data: edited(big4, to4(0, 0, 0, 0))}, false},
		{"IPv6", sent{data: big6}, true},
		{"IPv6, tagged", sent{data: tags(big6, 5)}, true},
		{"ICMPv6 error", sent{data: edited(big6, func(b []byte) { b[54] = 1 })}, false},
		{"ICMPv6 redirect", sent{data: edited(big6, func(b []byte) { b[54] = 137 })}, false},
		{"IPv6 first fragment", sent{data: first6}, true},
		{"IPv6 later fragment", sent{data: later6}, false},
		{"IPv6 from nobody", sent{data: edited(big6, func(b []byte) { clear(b[22:38]) })}, false},
		{"IPv6 from a group", sent{data: edited(big6, func(b []byte) { b[22] = 0xff })}, false},
		{"IPv6 to a group", sent{data: edited(big6, func(b []byte) { b[38] = 0xff })}, false},
		{"not IP", sent{data: edited(big6, func(b []byte) { b[12], b[13] = 0x88, 0xb5 })}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, a, b := wireNet(t, PortConfig{Horizon: 1, MTU: 1400})
			n.domain.SetStatic(5, mac(3), b.port)
			tr := n.sw.Trace(a.port, tt.in.data, tt.in.off)
			out := n.injectOffload(a, tt.in.data, tt.in.off)
			s := a.port.Stats()
			if r, k := dropped(Stats{}, s); r != frame.TooBig || k != 1 {
				t.Errorf("ended as %v", r)
			}
			if got := b.port.Stats().OutDropped[frame.TooBig]; got != 1 || len(out["b"]) != 0 {
				t.Errorf("%d counted at the tunnel, %d left", got, len(out["b"]))
			}
			checkTrace(t, tr, out, frame.TooBig)
			checkConservation(t, n)
			if told := len(out["a"]) == 1; told != tt.told {
				t.Fatalf("told: %v, want %v", told, tt.told)
			}
			if tt.told {
				tags := strings.Count(tt.name, "tagged") + 2*strings.Count(tt.name, "two tags")
				checkTooBig(t, tt.in.data, out["a"][0], uint32(1400-4*tags)) // they lie in the datagram, too
			}
		})
	}
}

func udp6Big(t testing.TB) []byte {
	ipl := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: ip6(2).AsSlice(), DstIP: ip6(3).AsSlice()}
	u := &layers.UDP{SrcPort: 1, DstPort: 2}
	if err := u.SetNetworkLayerForChecksum(ipl); err != nil {
		t.Fatal(err)
	}
	return build(t, eth(mac(2), mac(3), layers.EthernetTypeIPv6), ipl, u, gopacket.Payload(make([]byte, 1500)))
}

// checkTooBig reads a message with gopacket and holds it against the packet it is
// about.
func checkTooBig(t testing.TB, about, msg []byte, mtu uint32) {
	t.Helper()
	f := frame.NewBatch().Append(about)
	f.Parse()
	packet := about[f.View.L3:]
	if !bytes.Equal(msg[:6], about[6:12]) || !bytes.Equal(msg[6:12], about[:6]) || !bytes.Equal(msg[12:f.View.L3], about[12:f.View.L3]) {
		t.Errorf("link header % x, about % x", msg[:f.View.L3], about[:f.View.L3])
	}
	p := gopacket.NewPacket(msg, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil && p.Layer(layers.LayerTypeICMPv4) == nil && p.Layer(layers.LayerTypeICMPv6) == nil {
		t.Fatal(e.Error())
	}
	var quote []byte
	var limit int
	if l, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
		icmp, _ := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if icmp == nil || icmp.TypeCode != layers.CreateICMPv4TypeCode(3, 4) || icmp.Id != 0 || icmp.Seq != uint16(mtu) {
			t.Fatalf("message %v", p)
		}
		if !bytes.Equal(l.SrcIP, packet[16:20]) || !bytes.Equal(l.DstIP, packet[12:16]) || l.Flags != layers.IPv4DontFragment || l.TTL != 64 {
			t.Errorf("header %+v", l)
		}
		quote, limit = icmp.Payload, 576-20-8
	} else {
		l, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		icmp, _ := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		if icmp == nil || icmp.TypeCode != layers.CreateICMPv6TypeCode(2, 0) || binary.BigEndian.Uint32(icmp.Payload) != mtu {
			t.Fatalf("message %v", p)
		}
		if !bytes.Equal(l.SrcIP, packet[24:40]) || !bytes.Equal(l.DstIP, packet[8:24]) {
			t.Errorf("header %+v", l)
		}
		quote, limit = icmp.Payload[4:], 1280-40-8
	}
	if len(quote) != min(limit, len(packet)) || !bytes.Equal(quote, packet[:len(quote)]) {
		t.Errorf("%d bytes quoted of %d", len(quote), len(packet))
	}
	if tt, ok := t.(*testing.T); ok {
		verifyChecksums(tt, msg)
	}
}

// TestFloodedTags: the tags of a frame that is flooded count at each tunnel as
// those of any other, and at no other port.
func TestFloodedTags(t *testing.T) {
	for _, tt := range []struct {
		name string
		ids  []byte
		size int // of the IP packet
		out  []string
	}{
		{"untagged, fits", nil, 1400, []string{"local", "tunnel"}},
		{"untagged", nil, 1401, []string{}},
		{"tagged, fits", []byte{5}, 1396, []string{"local", "tunnel"}},
		{"tagged", []byte{5}, 1397, []string{"local"}},
		{"tagged twice, fits", []byte{5, 6}, 1392, []string{"local", "tunnel"}},
		{"tagged twice", []byte{5, 6}, 1400, []string{"local"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNet(t, DomainConfig{})
			a := n.add("a", PortConfig{})
			n.add("local", PortConfig{MTU: 1400})
			tunnel := n.add("tunnel", PortConfig{Horizon: 1, MTU: 1400})
			data := tags(udp4(t, mac(2), broadcast, ip(2), ip(99), 1, 2, tt.size-28), tt.ids...)
			text := traceText(n.sw.Trace(a.port, data, frame.Offload{}))
			out := names(n.inject(a, data))
			if !slices.Equal(out, tt.out) {
				t.Errorf("came out of %v, want %v", out, tt.out)
			}
			refused := !slices.Contains(tt.out, "tunnel")
			if got := tunnel.port.Stats().OutDropped[frame.TooBig]; (got == 1) != refused {
				t.Errorf("%d counted as too big at the tunnel", got)
			}
			if said := fmt.Sprintf("write: to tunnel: dropped: too-big for its MTU of %d\n", 1400-4*len(tt.ids)); strings.Contains(text, said) != refused {
				t.Errorf("the trace says\n%s", text)
			}
			checkConservation(t, n)
		})
	}
}

// TestTooBigIsLimited: so many in a second, and none lost for good.
func TestTooBigIsLimited(t *testing.T) {
	n, a, _ := wireNet(t, PortConfig{Horizon: 1, MTU: 1400})
	big := sent{data: udp4(t, mac(2), mac(3), ip(2), ip(3), 1, 2, 1400)}
	flood := func() int {
		a.out, a.in = nil, slices.Repeat([]sent{big}, 2*maxTooBig)
		for len(a.in) > 0 {
			if _, err := n.w.Turn(a.port); err != nil {
				t.Fatal(err)
			}
		}
		return len(a.out)
	}
	for second := range uint32(3) {
		if got := flood(); got != maxTooBig {
			t.Errorf("second %d: %d messages, want %d", second, got, maxTooBig)
		}
		if got := flood(); got != 0 {
			t.Errorf("second %d: %d messages too many", second, got)
		}
		n.sw.Tick(second + 1)
	}
	checkConservation(t, n)
}

// TestSetMTU: what the underlay carries now counts from the next frame on.
func TestSetMTU(t *testing.T) {
	n, a, b := wireNet(t, PortConfig{Horizon: 1, MTU: 1450})
	data := udp4(t, mac(2), mac(3), ip(2), ip(3), 1, 2, 1400)
	for _, c := range []struct {
		mtu  int
		want string
	}{{1450, "b"}, {1427, "a"}, {1428, "b"}, {576, "a"}, {0, "b"}, {-7, "b"}} {
		b.port.SetMTU(c.mtu)
		if got := names(n.inject(a, data)); !slices.Equal(got, []string{c.want}) {
			t.Errorf("at %d it came out of %v, want %s", c.mtu, got, c.want)
		}
	}
}

// TestTooBigIsCaptured: who captures sees the packet as it came, with its reason,
// and the message.
func TestTooBigIsCaptured(t *testing.T) {
	n, a, _ := wireNet(t, PortConfig{Horizon: 1, MTU: 1400})
	ring := capture.NewRing(1<<20, nil, 0)
	a.port.Capture(ring, capture.Both)
	data := udp4(t, mac(2), mac(3), ip(2), ip(3), 1, 2, 1400)
	n.inject(a, data)
	in, ok := ring.Next()
	if !ok || in.Reason != frame.TooBig || !bytes.Equal(in.Data, data) {
		t.Errorf("captured %+v", in)
	}
	if out, ok := ring.Next(); !ok || out.Dir != capture.Out || out.Verdict != frame.Consumed || out.Data[23] != frame.ProtoICMP {
		t.Errorf("captured %+v", out)
	}
}

// TestClampIsCaptured: who captures where it came in sees what the sender asked
// for, where it goes out what was made of it.
func TestClampIsCaptured(t *testing.T) {
	n, a, b := wireNet(t, PortConfig{Horizon: 1, MTU: 1400})
	came, left := capture.NewRing(1<<20, nil, 0), capture.NewRing(1<<20, nil, 0)
	a.port.Capture(came, capture.Both)
	b.port.Capture(left, capture.After)
	data := syn(t, false, 0, nil, mssOption(1460))
	n.inject(a, data)
	if in, ok := came.Next(); !ok || !bytes.Equal(in.Data, data) || in.Verdict != frame.Forwarded {
		t.Errorf("captured coming in %+v", in)
	}
	if out, ok := left.Next(); !ok || !bytes.Equal(out.Data, syn(t, false, 0, nil, mssOption(1360))) {
		t.Errorf("captured going out %+v", out)
	}
}

func TestQuietTunnels(t *testing.T) {
	n := newNet(t, DomainConfig{QuietTunnels: true})
	a := n.add("a", PortConfig{})
	n.add("tunnel", PortConfig{Horizon: 1})
	before := a.port.Stats()
	if out := n.inject(a, raw(t, mac(2), broadcast)); len(out) != 0 {
		t.Errorf("a broadcast reached %v", names(out))
	}
	if r, _ := dropped(before, a.port.Stats()); r != frame.QuietTunnel {
		t.Errorf("ended as %v", r)
	}
	if got := names(n.inject(a, raw(t, mac(2), mac(9)))); !slices.Equal(got, []string{"tunnel"}) {
		t.Errorf("unknown unicast reached %v", got)
	}
	n.add("c", PortConfig{})
	before = a.port.Stats()
	group := frame.MAC{0x33, 0x33, 0, 0, 0, 1}
	if got := names(n.inject(a, raw(t, mac(2), group))); !slices.Equal(got, []string{"c"}) || a.port.Stats().Dropped != before.Dropped {
		t.Errorf("multicast reached %v", got)
	}
	if got := n.arrive(n.cables["tunnel"], raw(t, mac(20), broadcast)); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("a broadcast from elsewhere reached %v", got)
	}
	checkConservation(t, n)
}

// TestQuietSnooping: the two exclude each other.
func TestQuietSnooping(t *testing.T) {
	if _, err := New(Config{Workers: 1}).AddDomain(DomainConfig{Name: "both", QuietTunnels: true, Snooping: true}); err == nil || !strings.Contains(err.Error(), "domain both: QuietTunnels and Snooping") {
		t.Errorf("both were taken: %v", err)
	}
}

func TestTraceNamesTheTunnel(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{})
	v := n.add("VTEP 10.0.0.2", PortConfig{Horizon: 1, MTU: 1450})
	n.domain.SetStatic(0, mac(3), v.port)
	s := tcpSuper(1, 3, 1400)
	text := traceText(n.sw.Trace(a.port, s.data, s.off))
	for _, want := range []string{"is on VTEP 10.0.0.2\n", "clamp: fits\n", "write: to VTEP 10.0.0.2: segmented into 3 frames\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the trace says\n%swithout %q", text, want)
		}
	}
	v.port.SetMTU(1400)
	if text := traceText(n.sw.Trace(a.port, s.data, s.off)); !strings.Contains(text, "clamp: dropped: too-big for VTEP 10.0.0.2, whose MTU is 1400; a is told\n") {
		t.Errorf("the trace says\n%s", text)
	}
	if v.port.Stats().OutDropped[frame.TooBig] != 0 {
		t.Error("a trace counted")
	}
}

// FuzzClamp: whatever goes to a tunnel, what comes out of it is what went in but
// for a SYN's option and its checksum, and what comes back is a whole message.
func FuzzClamp(f *testing.F) {
	f.Add(syn(f, false, 0, nil, nop, mssOption(1460)), uint16(1400), uint8(0), uint8(0), uint16(0), uint16(0), uint16(0))
	f.Add(syn(f, true, 5, nil, mssOption(1460)), uint16(576), uint8(0), uint8(0), uint16(0), uint16(0), uint16(0))
	f.Add(udp4(f, mac(2), mac(3), ip(2), ip(3), 1, 2, 300), uint16(200), uint8(0), uint8(0), uint16(0), uint16(0), uint16(0))
	f.Add(udp6Big(f), uint16(1280), uint8(0), uint8(0), uint16(0), uint16(0), uint16(0))
	super := tcpSuper(1, 3, 700)
	f.Add(super.data, uint16(600), super.off.Flags, uint8(super.off.GSO), super.off.Size, super.off.CsumStart, super.off.CsumOffset)
	n, a, b := wireNet(f, PortConfig{Horizon: 1})
	b.caps = frame.CapCsum | frame.CapTSO4 | frame.CapTSO6 | frame.CapECN | frame.CapUSO
	batch := frame.NewBatch()
	f.Fuzz(func(t *testing.T, data []byte, mtu uint16, flags, gso uint8, size, start, offset uint16) {
		if len(data) > frame.MaxFrame || len(data) < 14 {
			return
		}
		n.t = t
		copy(data, stationB.MAC[:])
		copy(data[6:], stationA.MAC[:])
		o := frame.Offload{Flags: flags, GSO: frame.GSO(gso), Size: size, CsumStart: start, CsumOffset: offset}
		b.port.SetMTU(int(mtu))
		n.sw.Tick(n.sw.now.Load() + 1)
		tr := n.sw.Trace(a.port, data, o)
		before := a.port.Stats()
		out := n.injectOffload(a, data, o)
		r, _ := dropped(before, a.port.Stats())
		checkTrace(t, tr, out, r)
		checkConservation(t, n)
		batch.Reset()
		was := batch.Append(data)
		was.Offload = o
		was.Parse()
		for _, msg := range out["a"] {
			if r == frame.TooBig {
				m := batch.Append(msg)
				if got := m.Parse(); got != frame.NotDropped || m.Len()-int(m.View.L3) > 1280 {
					t.Fatalf("message of %d bytes: %v", m.Len(), got)
				}
				verifyChecksums(t, msg)
			}
		}
		for _, got := range out["b"] {
			checkLowered(t, was, got)
		}
	})
}

// checkLowered allows a frame two changed places, and none that break its sum.
func checkLowered(t *testing.T, was *frame.Frame, got []byte) {
	t.Helper()
	data, v := bytes.Clone(was.Bytes()), was.View
	if bytes.Equal(got, data) {
		return
	}
	at := was.FindMSS()
	if at == 0 || len(got) != len(data) || binary.BigEndian.Uint16(got[at:]) >= binary.BigEndian.Uint16(data[at:]) {
		t.Fatalf("changed\n%x to\n%x", data, got)
	}
	sumOf := func(b []byte) uint16 { return frame.Fold(frame.Sum(b[v.L4:], 0)) % 0xffff }
	left := was.Offload.Flags&frame.NeedsCsum != 0
	if sum := int(v.L4) + 16; !left && sumOf(data) != sumOf(got) || left && !bytes.Equal(data[sum:sum+2], got[sum:sum+2]) {
		t.Fatalf("checksum of\n%x became that of\n%x", data, got)
	}
	copy(data[at:], got[at:at+2])
	copy(data[v.L4+16:], got[v.L4+16:v.L4+18])
	if !bytes.Equal(data, got) {
		t.Fatalf("changed elsewhere\n%x to\n%x", data, got)
	}
}
