package vswitch

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
)

func names(out map[string][][]byte) []string { return slices.Sorted(maps.Keys(out)) }

func TestForwarding(t *testing.T) {
	a, b := mac(2), mac(3)
	tests := []struct {
		name  string
		setup func(n *testNet)
		from  string
		frame func(t *testing.T) []byte
		out   []string
		drop  frame.Reason
	}{
		{"broadcast reaches everybody else", nil, "a", func(t *testing.T) []byte { return raw(t, a, broadcast) }, []string{"b", "c"}, 0},
		{"multicast reaches everybody else", nil, "a", func(t *testing.T) []byte { return raw(t, a, frame.MAC{0x33, 0x33, 0, 0, 0, 1}) }, []string{"b", "c"}, 0},
		{"unknown unicast floods", nil, "a", func(t *testing.T) []byte { return raw(t, a, b) }, []string{"b", "c"}, 0},
		{"known unicast goes one way", func(n *testNet) { n.inject(n.cables["b"], raw(n.t, b, broadcast)) },
			"a", func(t *testing.T) []byte { return raw(t, a, b) }, []string{"b"}, 0},
		{"not back where it came from", func(n *testNet) { n.inject(n.cables["a"], raw(n.t, b, broadcast)) },
			"a", func(t *testing.T) []byte { return raw(t, a, b) }, nil, frame.SamePort},
		{"an address that moved is found at its new place", func(n *testNet) {
			n.inject(n.cables["b"], raw(n.t, b, broadcast))
			n.inject(n.cables["c"], raw(n.t, b, broadcast))
		}, "a", func(t *testing.T) []byte { return raw(t, a, b) }, []string{"c"}, 0},
		{"a static address does not move", func(n *testNet) { n.domain.SetStatic(0, b, n.cables["b"].port) },
			"c", func(t *testing.T) []byte { return raw(t, b, a) }, nil, frame.StaticMAC},
		{"VLANs learn apart", func(n *testNet) { n.inject(n.cables["b"], tagged(n.t, b, broadcast, 7)) },
			"a", func(t *testing.T) []byte { return raw(t, a, b) }, []string{"b", "c"}, 0},
		{"a VLAN is learned", func(n *testNet) { n.inject(n.cables["b"], tagged(n.t, b, broadcast, 7)) },
			"a", func(t *testing.T) []byte { return tagged(t, a, b, 7) }, []string{"b"}, 0},
		{"reserved group addresses stay", nil, "a", func(t *testing.T) []byte { return raw(t, a, frame.MAC{0x01, 0x80, 0xc2, 0, 0, 0x0e}) }, nil, frame.Reserved},
		{"an unknown group beside them goes", nil, "a", func(t *testing.T) []byte { return raw(t, a, frame.MAC{0x01, 0x80, 0xc2, 0, 0, 0x10}) }, []string{"b", "c"}, 0},
		{"a runt is dropped", nil, "a", func(t *testing.T) []byte { return make([]byte, 13) }, nil, frame.Runt},
		{"a group source is dropped", nil, "a", func(t *testing.T) []byte { return raw(t, broadcast, b) }, nil, frame.BadSource},
		{"forgotten after ageing", func(n *testNet) {
			n.sw.Tick(1000)
			n.inject(n.cables["b"], raw(n.t, b, broadcast))
			n.sw.Tick(1000 + DefaultAge + 1)
		}, "a", func(t *testing.T) []byte { return raw(t, a, b) }, []string{"b", "c"}, 0},
		{"kept when seen again", func(n *testNet) {
			n.sw.Tick(1000)
			n.inject(n.cables["b"], raw(n.t, b, broadcast))
			n.sw.Tick(1000 + DefaultAge - 1)
			n.inject(n.cables["b"], raw(n.t, b, broadcast))
			n.sw.Tick(1000 + DefaultAge + 1)
		}, "a", func(t *testing.T) []byte { return raw(t, a, b) }, []string{"b"}, 0},
		{"static addresses do not age", func(n *testNet) {
			n.domain.SetStatic(0, b, n.cables["b"].port)
			n.sw.Tick(100000)
		}, "a", func(t *testing.T) []byte { return raw(t, a, b) }, []string{"b"}, 0},
		{"a removed port is forgotten", func(n *testNet) {
			n.inject(n.cables["b"], raw(n.t, b, broadcast))
			n.sw.RemovePort(n.cables["b"].port)
		}, "a", func(t *testing.T) []byte { return raw(t, a, b) }, []string{"c"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNet(t, DomainConfig{Name: "net"})
			for _, name := range []string{"a", "b", "c"} {
				n.add(name, PortConfig{})
			}
			if tt.setup != nil {
				tt.setup(n)
			}
			from := n.cables[tt.from]
			data := tt.frame(t)
			trace := n.sw.Trace(from.port, data, frame.Offload{})
			before := from.port.Stats()
			out := n.inject(from, data)
			if got := names(out); !slices.Equal(got, tt.out) {
				t.Errorf("came out of %v, want %v", got, tt.out)
			}
			for name, fs := range out {
				if len(fs) != 1 || !slices.Equal(fs[0], data) {
					t.Errorf("%s got %d frames, the first not the one sent", name, len(fs))
				}
			}
			if r, _ := dropped(before, from.port.Stats()); r != tt.drop {
				t.Errorf("dropped for %v, want %v", r, tt.drop)
			}
			checkTrace(t, trace, out, tt.drop)
			checkConservation(t, n)
		})
	}
}

// checkTrace holds what the trace foretold against what the path did.
func checkTrace(t *testing.T, tr Trace, out map[string][][]byte, drop frame.Reason) {
	t.Helper()
	var ports []string
	for _, p := range tr.Out {
		ports = append(ports, p.Name())
	}
	slices.Sort(ports)
	if got := names(out); !slices.Equal(got, ports) || tr.Reason != drop {
		t.Errorf("trace said %v %v %v, the path did %v %v\n%v", tr.Verdict, tr.Reason, ports, drop, got, tr.Steps)
	}
}

// checkConservation adds up every port: each frame in ended exactly once.
func checkConservation(t *testing.T, n *testNet) {
	t.Helper()
	for _, p := range n.sw.Ports() {
		s := p.Stats()
		if sum := s.Forwarded + s.Consumed + s.Kept + s.DroppedTotal(); sum != s.InFrames {
			t.Errorf("%s: %d in, but %d forwarded, %d consumed, %d kept, %d dropped", p.Name(), s.InFrames, s.Forwarded, s.Consumed, s.Kept, s.DroppedTotal())
		}
	}
}

func TestDomainsAreIsolated(t *testing.T) {
	n := newNet(t, DomainConfig{Name: "one"})
	other, err := n.sw.AddDomain(DomainConfig{Name: "two"})
	if err != nil {
		t.Fatal(err)
	}
	a := n.add("a", PortConfig{})
	n.add("b", PortConfig{})
	c := n.add("c", PortConfig{Domain: other})
	n.inject(c, raw(t, mac(4), broadcast))
	for _, dst := range []frame.MAC{broadcast, mac(4), mac(9)} {
		if out := n.inject(a, raw(t, mac(2), dst)); len(out["c"]) != 0 {
			t.Errorf("a frame to %v crossed between domains", dst)
		}
	}
}

func TestIsolationAndHorizon(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{Isolated: true, MAC: mac(2)})
	b := n.add("b", PortConfig{Isolated: true, MAC: mac(3)})
	n.add("up", PortConfig{MAC: mac(9)})
	if got := names(n.inject(a, raw(t, mac(2), broadcast))); !slices.Equal(got, []string{"up"}) {
		t.Errorf("an isolated port's broadcast reached %v", got)
	}
	before := a.port.Stats()
	n.inject(a, raw(t, mac(2), mac(3)))
	if r, _ := dropped(before, a.port.Stats()); r != frame.Isolated {
		t.Errorf("unicast between isolated ports ended as %v", r)
	}
	if got := names(n.inject(b, raw(t, mac(3), mac(9)))); !slices.Equal(got, []string{"up"}) {
		t.Errorf("unicast from an isolated port to one that is not reached %v", got)
	}
	// Whatever the order of the ports, a frame that left is not dropped.
	n.add("later", PortConfig{Isolated: true})
	before = a.port.Stats()
	n.inject(a, raw(t, mac(2), broadcast))
	if s := a.port.Stats(); s.Forwarded != before.Forwarded+1 || s.DroppedTotal() != before.DroppedTotal() {
		t.Errorf("a flood past an isolated port ended as %+v", s)
	}
	n.sw.RemovePort(n.cables["later"].port)
	delete(n.cables, "later")
	t1 := n.add("t1", PortConfig{Horizon: 1})
	n.add("t2", PortConfig{Horizon: 1})
	if got := names(n.inject(t1, raw(t, mac(20), broadcast))); !slices.Equal(got, []string{"a", "b", "up"}) {
		t.Errorf("a flood from horizon 1 reached %v", got)
	}
	checkConservation(t, n)
}

func TestAloneOrAmongIsolated(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{Isolated: true})
	for _, want := range []frame.Reason{frame.NoPort, frame.Isolated} {
		before := a.port.Stats()
		n.inject(a, raw(t, mac(2), broadcast))
		if r, _ := dropped(before, a.port.Stats()); r != want {
			t.Errorf("ended as %v, want %v", r, want)
		}
		n.add("b", PortConfig{Isolated: true})
	}
}

func TestMACLimit(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{MaxMACs: 2})
	n.add("b", PortConfig{})
	for i := byte(10); i < 12; i++ {
		if out := n.inject(a, raw(t, mac(i), broadcast)); len(out) != 1 {
			t.Fatalf("address %d refused below the limit", i)
		}
	}
	before := a.port.Stats()
	if out := n.inject(a, raw(t, mac(12), broadcast)); len(out) != 0 {
		t.Error("a third address passed")
	}
	if r, _ := dropped(before, a.port.Stats()); r != frame.MACLimit {
		t.Errorf("dropped for %v", r)
	}
	// An address that moved away makes room.
	n.inject(n.cables["b"], raw(t, mac(10), broadcast))
	if out := n.inject(a, raw(t, mac(12), broadcast)); len(out) != 1 {
		t.Error("no room after an address moved away")
	}
	// So does ageing.
	n.sw.Tick(DefaultAge + 10)
	if out := n.inject(a, raw(t, mac(13), broadcast)); len(out) != 1 {
		t.Error("no room after ageing")
	}
}

func TestVLANMembership(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{VLANs: []uint16{0, 5}})
	n.add("five", PortConfig{VLANs: []uint16{5}})
	n.add("all", PortConfig{})
	if got := names(n.inject(a, tagged(t, mac(2), broadcast, 5))); !slices.Equal(got, []string{"all", "five"}) {
		t.Errorf("VLAN 5 reached %v", got)
	}
	if got := names(n.inject(a, raw(t, mac(2), broadcast))); !slices.Equal(got, []string{"all"}) {
		t.Errorf("untagged reached %v", got)
	}
	before := a.port.Stats()
	n.inject(a, tagged(t, mac(2), broadcast, 6))
	if r, _ := dropped(before, a.port.Stats()); r != frame.VLANGuard {
		t.Errorf("VLAN 6 ended as %v", r)
	}
}

func TestGuard(t *testing.T) {
	own, ll := mac(2), netip.AddrFrom16(linkLocal(mac(2)))
	all := frame.MAC{0x33, 0x33, 0, 0, 0, 1}
	allNodes := netip.MustParseAddr("ff02::1")
	na := func(target netip.Addr, link frame.MAC) []byte {
		t16 := target.As16()
		return slices.Concat([]byte{0x20, 0, 0, 0}, t16[:], []byte{2, 1}, link[:])
	}
	tests := []struct {
		name string
		cfg  PortConfig
		data []byte
		want frame.Reason
	}{
		{"own addresses", PortConfig{}, udp4(t, own, mac(3), ip(2), ip(3), 5, 5, 9), 0},
		{"foreign MAC", PortConfig{}, udp4(t, mac(9), mac(3), ip(2), ip(3), 5, 5, 9), frame.SpoofedMAC},
		{"foreign IPv4", PortConfig{}, udp4(t, own, mac(3), ip(9), ip(3), 5, 5, 9), frame.SpoofedIP},
		{"foreign IPv4 behind a VLAN tag", PortConfig{}, build(t, eth(own, mac(3), layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 3, Type: layers.EthernetTypeIPv4},
			&layers.IPv4{Version: 4, TTL: 64, Protocol: 99, SrcIP: ip(9).AsSlice(), DstIP: ip(3).AsSlice()}), frame.SpoofedIP},
		{"DHCP discover before it has an address", PortConfig{}, udp4(t, own, broadcast, netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255"), 68, 67, 240), 0},
		{"DHCP offer", PortConfig{}, udp4(t, own, mac(3), ip(2), ip(3), 67, 68, 240), frame.DHCPGuard},
		{"DHCP offer allowed", PortConfig{AllowDHCP: true}, udp4(t, own, mac(3), ip(2), ip(3), 67, 68, 240), 0},
		{"DHCPv6 server", PortConfig{}, udp6(t, own, mac(3), ip6(2), ip6(3), 547, 546), frame.DHCPGuard},
		{"own IPv6", PortConfig{}, udp6(t, own, mac(3), ip6(2), ip6(3), 5, 5), 0},
		{"own link-local", PortConfig{}, udp6(t, own, mac(3), ll, ip6(3), 5, 5), 0},
		{"foreign IPv6", PortConfig{}, udp6(t, own, mac(3), ip6(9), ip6(3), 5, 5), frame.SpoofedIP},
		{"foreign link-local", PortConfig{}, udp6(t, own, mac(3), netip.AddrFrom16(linkLocal(mac(9))), ip6(3), 5, 5), frame.SpoofedIP},
		{"router advertisement", PortConfig{}, icmp6(t, own, all, ll, allNodes, 134, make([]byte, 12)), frame.RAGuard},
		{"redirect", PortConfig{}, icmp6(t, own, all, ll, allNodes, 137, make([]byte, 36)), frame.RAGuard},
		{"router advertisement allowed", PortConfig{AllowRA: true}, icmp6(t, own, all, ll, allNodes, 134, make([]byte, 12)), 0},
		{"router solicitation", PortConfig{}, icmp6(t, own, all, ll, allNodes, 133, make([]byte, 4)), 0},
		{"ARP for itself", PortConfig{}, arpRequest(t, own, ip(2), ip(77)), 0},
		{"ARP probe", PortConfig{}, arpRequest(t, own, netip.IPv4Unspecified(), ip(2)), 0},
		{"ARP in another's name", PortConfig{}, arpRequest(t, own, ip(9), ip(77)), frame.SpoofedIP},
		{"ARP with another's MAC inside", PortConfig{}, build(t, eth(own, broadcast, layers.EthernetTypeARP), &layers.ARP{AddrType: 1, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 2,
			SourceHwAddress: hw(mac(9)), SourceProtAddress: ip(2).AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: ip(2).AsSlice()}), frame.SpoofedMAC},
		{"advertisement of itself", PortConfig{}, icmp6(t, own, all, ip6(2), allNodes, 136, na(ip6(2), own)), 0},
		{"advertisement of another", PortConfig{}, icmp6(t, own, all, ip6(2), allNodes, 136, na(ip6(9), own)), frame.SpoofedIP},
		{"advertisement with another's MAC", PortConfig{}, icmp6(t, own, all, ip6(2), allNodes, 136, na(ip6(2), mac(9))), frame.SpoofedMAC},
		{"unknown protocol", PortConfig{}, raw(t, own, mac(3)), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNet(t, DomainConfig{})
			tt.cfg.MAC, tt.cfg.Addrs = own, []netip.Addr{ip(2), ip6(2)}
			a := n.add("a", tt.cfg)
			n.add("b", PortConfig{})
			trace := n.sw.Trace(a.port, tt.data, frame.Offload{})
			before := a.port.Stats()
			out := n.inject(a, tt.data)
			if r, _ := dropped(before, a.port.Stats()); r != tt.want {
				t.Errorf("ended as %v, want %v", r, tt.want)
			}
			if passed := len(out["b"]) == 1; passed != (tt.want == frame.NotDropped) {
				t.Errorf("passed: %v", passed)
			}
			checkTrace(t, trace, out, tt.want)
			checkConservation(t, n)
		})
	}
}

func TestGateway(t *testing.T) {
	gw := mac(1)
	cfg := DomainConfig{GatewayMAC: gw, Gateways: []netip.Addr{ip(1), ip6(1)}}
	tests := []struct {
		name  string
		data  []byte
		drop  frame.Reason
		reply func(t *testing.T, p gopacket.Packet)
	}{
		{"ARP", arpRequest(t, mac(2), ip(2), ip(1)), 0, func(t *testing.T, p gopacket.Packet) {
			a, _ := p.Layer(layers.LayerTypeARP).(*layers.ARP)
			if a == nil || a.Operation != 2 || frame.MAC(a.SourceHwAddress) != gw || netip.AddrFrom4([4]byte(a.SourceProtAddress)) != ip(1) {
				t.Errorf("reply is %v", p)
			}
		}},
		{"ping", ping4(t, mac(2), gw, ip(2), ip(1), 57), 0, func(t *testing.T, p gopacket.Packet) {
			i, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			ic, _ := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			if i == nil || ic == nil || ic.TypeCode.Type() != 0 || ic.Id != 7 || i.TTL != 64 || !i.DstIP.Equal(ip(2).AsSlice()) || len(ic.Payload) != 57 {
				t.Errorf("reply is %v", p)
			}
		}},
		{"ping6", icmp6(t, mac(2), gw, ip6(2), ip6(1), 128, []byte{0, 7, 0, 1, 9, 9, 9}), 0, func(t *testing.T, p gopacket.Packet) {
			ic, _ := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
			if ic == nil || ic.TypeCode.Type() != 129 {
				t.Errorf("reply is %v", p)
			}
		}},
		{"TCP and UDP to the gateway itself", udp4(t, mac(2), gw, ip(2), ip(1), 9, 9, 9), frame.UnknownGateway, nil},
		{"the world beyond", udp4(t, mac(2), gw, ip(2), netip.MustParseAddr("192.0.2.1"), 9, 9, 9), frame.NoRoute, nil},
		{"somebody with the gateway's MAC", raw(t, gw, mac(3)), frame.SpoofedMAC, nil},
		{"somebody with the gateway's IP", arpRequest(t, mac(2), ip(1), ip(3)), frame.BadARP, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNet(t, cfg)
			a := n.add("a", PortConfig{})
			n.add("b", PortConfig{})
			before := a.port.Stats()
			out := n.inject(a, tt.data)
			if r, _ := dropped(before, a.port.Stats()); r != tt.drop {
				t.Errorf("ended as %v, want %v", r, tt.drop)
			}
			if len(out["b"]) != 0 {
				t.Error("was flooded")
			}
			if tt.reply == nil {
				return
			}
			if len(out["a"]) != 1 {
				t.Fatalf("%d replies", len(out["a"]))
			}
			wire := out["a"][0]
			if frame.MAC(wire[0:6]) != mac(2) || frame.MAC(wire[6:12]) != gw {
				t.Errorf("reply from %x to %x", wire[6:12], wire[0:6])
			}
			tt.reply(t, gopacket.NewPacket(wire, layers.LayerTypeEthernet, gopacket.Default))
			verifyChecksums(t, wire)
			checkConservation(t, n)
		})
	}
}

// verifyChecksums re-serialises the packet with fresh checksums and compares.
func verifyChecksums(t *testing.T, wire []byte) {
	t.Helper()
	f := frame.NewBatch().Append(wire)
	if r := f.Parse(); r != frame.NotDropped {
		t.Fatalf("reply does not parse: %v", r)
	}
	b, v := f.Bytes(), f.View
	if v.EtherType == frame.EtherIPv4 && frame.Checksum(b[v.L3:v.L3+20], 0) != 0 {
		t.Error("IPv4 checksum is wrong")
	}
	if v.L4 == 0 {
		return
	}
	n, initial := f.L4Len(), uint64(0)
	if v.Proto != frame.ProtoICMP {
		initial = f.PseudoSum(n)
	}
	if frame.Checksum(b[v.L4:int(v.L4)+n], initial) != 0 {
		t.Error("transport checksum is wrong")
	}
}

func TestNeighbours(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{MAC: mac(2), Addrs: []netip.Addr{ip(2)}})
	n.add("b", PortConfig{MAC: mac(3), Addrs: []netip.Addr{ip(3)}})
	c := n.add("c", PortConfig{})
	if err := n.domain.Neighbours().SetStatic(ip(3), mac(3)); err != nil {
		t.Fatal(err)
	}
	out := n.inject(a, arpRequest(t, mac(2), ip(2), ip(3)))
	if got := names(out); !slices.Equal(got, []string{"a"}) {
		t.Errorf("a request for a known neighbour went to %v", got)
	}
	if got := names(n.inject(a, arpRequest(t, mac(2), ip(2), ip(50)))); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("a request for an unknown neighbour went to %v", got)
	}
	// What an unguarded port says of itself is learned, but not over a static entry.
	n.inject(c, arpRequest(t, mac(50), ip(50), ip(77)))
	if got := names(n.inject(a, arpRequest(t, mac(2), ip(2), ip(50)))); !slices.Equal(got, []string{"a"}) {
		t.Errorf("a request for a learned neighbour went to %v", got)
	}
	n.inject(c, arpRequest(t, mac(51), ip(3), ip(77)))
	if m, _ := n.domain.Neighbours().Lookup(ip(3)); m != mac(3) {
		t.Errorf("a static neighbour became %v", m)
	}
	n2 := newNet(t, DomainConfig{DropUnknownNeighbour: true, DropUnknownMAC: true})
	d := n2.add("d", PortConfig{})
	n2.add("e", PortConfig{})
	before := d.port.Stats()
	n2.inject(d, arpRequest(t, mac(2), ip(2), ip(50)))
	if r, _ := dropped(before, d.port.Stats()); r != frame.UnknownARP {
		t.Errorf("unknown neighbour on a filled network ended as %v", r)
	}
	before = d.port.Stats()
	n2.inject(d, raw(t, mac(2), mac(77)))
	if r, _ := dropped(before, d.port.Stats()); r != frame.UnknownMAC {
		t.Errorf("unknown MAC on a filled network ended as %v", r)
	}
}

func TestWriteFailures(t *testing.T) {
	tests := []struct {
		err  error
		want frame.Reason
	}{
		{errors.New("no"), frame.WriteFailed},
		{fmt.Errorf("x: %w", frame.ErrBlocked), frame.WriteBlocked},
		{fmt.Errorf("x: %w", os.ErrClosed), frame.PortDown},
	}
	for _, tt := range tests {
		t.Run(tt.want.String(), func(t *testing.T) {
			n := newNet(t, DomainConfig{})
			a, b := n.add("a", PortConfig{}), n.add("b", PortConfig{MAC: mac(3)})
			b.refuse = tt.err
			n.inject(a, raw(t, mac(2), mac(3)))
			s := a.port.Stats()
			if r, k := dropped(Stats{}, s); r != tt.want || k != 1 || s.Forwarded != 0 {
				t.Errorf("ended as %v", r)
			}
			if b.port.Stats().OutDropped[tt.want] != 1 {
				t.Error("not counted on the egress port")
			}
			// One bad port does not stop a flood.
			c := n.add("c", PortConfig{})
			if out := n.inject(a, raw(t, mac(2), broadcast)); len(out["c"]) != 1 {
				t.Error("flood stopped at the bad port")
			}
			if s := a.port.Stats(); s.Forwarded != 1 {
				t.Errorf("%d forwarded, want 1", s.Forwarded)
			}
			_ = c
			checkConservation(t, n)
		})
	}
}

func TestRemovedPortIsClosed(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{})
	n.sw.RemovePort(a.port)
	n.sw.RemovePort(a.port)
	if _, err := n.w.Turn(a.port); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Turn on a removed port = %v", err)
	}
	b := n.add("b", PortConfig{})
	if b.port.slot != a.port.slot || b.port.Serial() == a.port.Serial() {
		t.Errorf("slot %d and serial %d, want the freed slot with another serial", b.port.slot, b.port.Serial())
	}
}

func TestOneRefusedFrameStopsNoOther(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a, b := n.add("a", PortConfig{}), n.add("b", PortConfig{MAC: mac(3)})
	frames := [][]byte{raw(t, mac(2), mac(3)), raw(t, mac(4), mac(3)), raw(t, mac(5), mac(3))}
	b.hates = frames[1]
	for _, f := range frames {
		a.in = append(a.in, sent{f, frame.Offload{}})
	}
	if got, err := n.w.Turn(a.port); got != 3 || err != nil {
		t.Fatal(got, err)
	}
	if len(b.out) != 2 || !slices.Equal(b.out[0].data, frames[0]) || !slices.Equal(b.out[1].data, frames[2]) {
		t.Errorf("%d frames written", len(b.out))
	}
	if s := a.port.Stats(); s.Forwarded != 2 || s.Dropped[frame.WriteFailed] != 1 {
		t.Errorf("%d forwarded, %d failed", s.Forwarded, s.Dropped[frame.WriteFailed])
	}
	checkConservation(t, n)
}
