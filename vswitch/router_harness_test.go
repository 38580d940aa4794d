package vswitch

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
	"weft/nat"
)

// A plainNAT is the simplest translator: ports and identifiers stay, addresses inside
// become the router's one. It is a map without bounds.
type plainNAT struct {
	own4, own6 netip.Addr
	inside     map[uint16]netip.AddrPort // by port outside: published, or a flow's
	out        map[netip.AddrPort]uint16
	refuse     frame.Reason
}

func newPlainNAT() *plainNAT {
	return &plainNAT{outer(1), outer6(1), map[uint16]netip.AddrPort{}, map[netip.AddrPort]uint16{}, 0}
}

func (n *plainNAT) own(like netip.Addr) netip.Addr {
	if like.Is4() {
		return n.own4
	}
	return n.own6
}

// portAt returns where the port or identifier of the one inside lies: with from, in what it
// sends.
func portAt(f *frame.Frame, from bool) []byte {
	l4 := f.Bytes()[f.View.L4:]
	switch {
	case f.View.L4 == 0:
		return nil
	case f.View.Proto == frame.ProtoICMP, f.View.Proto == frame.ProtoICMPv6:
		return l4[4:6]
	case from:
		return l4[0:2]
	}
	return l4[2:4]
}

func (n *plainNAT) Outbound(f *frame.Frame, now uint32) (nat.Side, frame.Reason) {
	if r := takeHop(f); r != frame.NotDropped {
		return nat.Outside, r
	}
	side, r := n.outbound(f)
	return side, giveBack(f, r)
}

func (n *plainNAT) Inbound(f *frame.Frame, now uint32) (nat.Side, frame.Reason) {
	if r := takeHop(f); r != frame.NotDropped {
		return nat.Outside, r
	}
	side, r := n.inbound(f)
	return side, giveBack(f, r)
}

func (n *plainNAT) Preview(f *frame.Frame, inside bool) (side nat.Side, words string, r frame.Reason) {
	src, dst := addresses(f)
	if inside {
		side, r = n.Outbound(f, 0)
	} else {
		side, r = n.Inbound(f, 0)
	}
	nowSrc, nowDst := addresses(f)
	return side, src.String() + ">" + dst.String() + " becomes " + nowSrc.String() + ">" + nowDst.String(), r
}

// takeHop takes one from a packet, unless it is the last.
func takeHop(f *frame.Frame) frame.Reason {
	p, at := f.Bytes()[f.View.L3:], 8
	if f.View.EtherType == frame.EtherIPv6 {
		at = 7
	}
	if p[at] <= 1 {
		return frame.TTLExceeded
	}
	p[at]--
	return frame.NotDropped
}

// giveBack returns the hop of a packet that is refused.
func giveBack(f *frame.Frame, r frame.Reason) frame.Reason {
	if p := f.Bytes()[f.View.L3:]; r != frame.NotDropped && f.View.EtherType == frame.EtherIPv6 {
		p[7]++
	} else if r != frame.NotDropped {
		p[8]++
	}
	return r
}

func (n *plainNAT) outbound(f *frame.Frame) (nat.Side, frame.Reason) {
	src, dst := addresses(f)
	p := portAt(f, true)
	if n.refuse != 0 || p == nil {
		return nat.Outside, n.refuse
	}
	if isErrorAbout(f) {
		setAddress(f, true, n.own(src))
		return nat.Outside, frame.NotDropped
	}
	port := binary.BigEndian.Uint16(p)
	if dst == n.own(dst) {
		if _, ok := n.inside[binary.BigEndian.Uint16(portAt(f, false))]; !ok {
			return nat.Outside, frame.NoFlow
		}
	}
	if out, ok := n.out[netip.AddrPortFrom(src, port)]; ok {
		port = out
		binary.BigEndian.PutUint16(p, port)
	} else if _, published := n.inside[port]; !published {
		n.inside[port] = netip.AddrPortFrom(src, port)
	}
	setAddress(f, true, n.own(src))
	if dst == n.own(dst) {
		return n.inbound(f)
	}
	return nat.Outside, frame.NotDropped
}

func (n *plainNAT) inbound(f *frame.Frame) (nat.Side, frame.Reason) {
	if isErrorAbout(f) {
		setAddress(f, false, n.inside[quotedPort(f)].Addr())
		return nat.Inside, frame.NotDropped
	}
	p := portAt(f, false)
	if p == nil {
		return nat.Outside, frame.NoFlow
	}
	to, ok := n.inside[binary.BigEndian.Uint16(p)]
	if !ok {
		return nat.Outside, frame.NoFlow
	}
	n.out[to] = binary.BigEndian.Uint16(p)
	binary.BigEndian.PutUint16(p, to.Port())
	setAddress(f, false, to.Addr())
	return nat.Inside, frame.NotDropped
}

func isErrorAbout(f *frame.Frame) bool {
	return f.View.L4 != 0 && (f.View.Proto == frame.ProtoICMP && frame.IsError4(f.Bytes()[f.View.L4]) || f.View.Proto == frame.ProtoICMPv6 && frame.IsError6(f.Bytes()[f.View.L4]))
}

// quotedPort is the source port, or identifier, of the packet that an error quotes.
func quotedPort(f *frame.Frame) uint16 {
	q := f.Bytes()[f.View.L4+8:]
	l4, proto := int(q[0]&15)*4, q[9]
	if q[0]>>4 == 6 {
		l4, proto = 40, q[6]
	}
	if proto == frame.ProtoICMP || proto == frame.ProtoICMPv6 {
		l4 += 4
	}
	return binary.BigEndian.Uint16(q[l4:])
}

// setAddress replaces the source or destination, and makes the checksums anew.
func setAddress(f *frame.Frame, source bool, a netip.Addr) {
	b, v := f.Bytes(), &f.View
	p, at, n := b[v.L3:], 16, 4
	if v.EtherType == frame.EtherIPv6 {
		at, n = 24, 16
	}
	if source {
		at -= n
	}
	copy(p[at:at+n], a.AsSlice())
	if n == 4 {
		frame.SetIPv4Checksum(p)
	}
	sum := map[uint8]int{frame.ProtoTCP: 16, frame.ProtoUDP: 6, frame.ProtoICMP: 2, frame.ProtoICMPv6: 2}[v.Proto]
	if v.L4 == 0 || sum == 0 {
		return
	}
	size := f.L4Len()
	l4, pseudo := b[v.L4:int(v.L4)+size], f.PseudoSum(size)
	if v.Proto == frame.ProtoICMP {
		pseudo = 0
	}
	if f.Offload.Flags&frame.NeedsCsum != 0 {
		binary.BigEndian.PutUint16(l4[sum:], frame.Fold(pseudo))
		return
	}
	l4[sum], l4[sum+1] = 0, 0
	binary.BigEndian.PutUint16(l4[sum:], frame.Checksum(l4, pseudo))
}

func outer(last byte) netip.Addr  { return netip.AddrFrom4([4]byte{192, 0, 2, last}) }
func outer6(last byte) netip.Addr { return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: last}) }

var (
	gwMAC   = mac(0xfe)
	outMAC  = frame.MAC{2, 0, 0, 0, 0, 1}
	nextMAC = frame.MAC{2, 0, 0, 0, 0, 2}
	beyond  = netip.MustParseAddr("198.51.100.9")
	beyond6 = netip.MustParseAddr("2001:db8:ffff::9")
)

// A routed is a net of one domain inside, with endpoints a and b, and the outside.
type routed struct {
	*testNet
	nat     *plainNAT
	router  *Router
	a, b, o *cable
	now     uint32
}

func newRouted(t testing.TB) *routed {
	t.Helper()
	n := newNet(t, DomainConfig{Name: "front", GatewayMAC: gwMAC, Gateways: []netip.Addr{ip(1), ip6(1)}})
	r := &routed{testNet: n, nat: newPlainNAT(), now: 1000}
	n.sw.Tick(r.now)
	r.a = n.add("a", PortConfig{MAC: mac(2), Addrs: []netip.Addr{ip(2), ip6(2)}, MTU: 1500})
	r.b = n.add("b", PortConfig{MAC: mac(3), Addrs: []netip.Addr{ip(3), ip6(3)}, MTU: 1500, Isolated: true})
	for last := byte(2); last < 4; last++ {
		for _, a := range []netip.Addr{ip(last), ip6(last)} {
			if err := n.domain.Neighbours().SetStatic(a, mac(last)); err != nil {
				t.Fatal(err)
			}
		}
	}
	out, err := n.sw.AddDomain(DomainConfig{Name: "outside", Outside: true, GatewayMAC: outMAC, Gateways: []netip.Addr{outer(1), outer6(1)}})
	if err != nil {
		t.Fatal(err)
	}
	r.o = n.add("o", PortConfig{Domain: out, MTU: 1500})
	if r.router, err = n.sw.NewRouter(RouterConfig{Outside: out, Port: r.o.port, Translator: r.nat}); err != nil {
		t.Fatal(err)
	}
	r.publish(t)
	return r
}

func (r *routed) publish(t testing.TB) {
	t.Helper()
	err := r.router.Publish([]Inner{
		{netip.MustParsePrefix("10.0.0.0/24"), r.domain}, {netip.MustParsePrefix("fd00::/64"), r.domain},
		{netip.MustParsePrefix("10.7.0.0/16"), nil},
	}, []Route{
		{netip.MustParsePrefix("192.0.2.0/24"), netip.Addr{}}, {netip.MustParsePrefix("2001:db8::/64"), netip.Addr{}},
		{netip.MustParsePrefix("0.0.0.0/0"), outer(254)}, {netip.MustParsePrefix("::/0"), netip.MustParseAddr("fe80::99")},
		{netip.MustParsePrefix("198.51.0.0/16"), outer(253)},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// answerHop has the outside tell where a next hop is, and returns what it lets go.
func (r *routed) answerHop(last byte, m frame.MAC) map[string][][]byte {
	r.t.Helper()
	return r.inject(r.o, build(r.t, eth(m, outMAC, layers.EthernetTypeARP), &layers.ARP{
		AddrType: 1, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 2,
		SourceHwAddress: m[:], SourceProtAddress: outer(last).AsSlice(), DstHwAddress: outMAC[:], DstProtAddress: outer(1).AsSlice(),
	}))
}

// tick lets seconds pass.
func (r *routed) tick(seconds int) {
	for range seconds {
		r.now++
		r.sw.Tick(r.now)
		r.router.Tick(r.w)
	}
}

// text is a frame in the words that these tests compare: who to whom, by which MACs.
func text(data []byte) string {
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	e := p.LinkLayer().(*layers.Ethernet)
	s := e.SrcMAC.String()[12:] + ">" + e.DstMAC.String()[12:]
	if a, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		tell := netip.AddrFrom4([4]byte(a.SourceProtAddress)).String()
		return s + " who has " + netip.AddrFrom4([4]byte(a.DstProtAddress)).String() + " tell " + tell
	}
	if n := p.NetworkLayer(); n != nil {
		s += " " + n.NetworkFlow().String()
		if ip, ok := n.(*layers.IPv4); ok {
			s += " ttl " + strconv.Itoa(int(ip.TTL))
		} else {
			s += " ttl " + strconv.Itoa(int(n.(*layers.IPv6).HopLimit))
		}
	}
	switch l := p.TransportLayer().(type) {
	case *layers.UDP:
		s += " udp " + strconv.Itoa(int(l.SrcPort)) + ">" + strconv.Itoa(int(l.DstPort))
	case *layers.TCP:
		s += " tcp " + strconv.Itoa(int(l.SrcPort)) + ">" + strconv.Itoa(int(l.DstPort))
		if l.RST {
			s += " rst"
		}
	}
	if i, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		s += " " + i.TypeCode.String()
	}
	if i, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		s += " " + i.TypeCode.String()
	}
	return s
}
