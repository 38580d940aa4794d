package nat

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// The cast: two endpoints inside, one address outside, two servers on the world's.
func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
func ip(s string) netip.Addr     { return netip.MustParseAddr(s) }

func testRules() *Rules {
	return &Rules{
		Inside:  []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16"), netip.MustParsePrefix("fd00:18::/64")},
		Outside: []netip.Addr{ip("198.51.100.1"), ip("2001:db8:51::1")},
		Published: []Published{
			{frame.ProtoTCP, ap("0.0.0.0:8080"), ap("172.18.0.2:80")},
			{frame.ProtoUDP, ap("198.51.100.1:5353"), ap("172.18.0.2:53")},
			{frame.ProtoTCP, ap("[::]:8080"), ap("[fd00:18::2]:80")},
			{frame.ProtoUDP, ap("[::]:5353"), ap("[fd00:18::2]:53")},
		},
	}
}

func testTable(t testing.TB, cfg Config) *Table {
	t.Helper()
	if cfg.Seed == 0 {
		cfg.Seed = 1
	}
	tab := New(cfg)
	tab.SetRules(testRules())
	return tab
}

func host(a netip.Addr) nettest.Host { return nettest.Station(a.String()) }

// udp, tcp and echo build frames between sockets.
func udp(from, to string, payload string) []byte {
	a, b := ap(from), ap(to)
	return nettest.UDP(host(a.Addr()), host(b.Addr()), a.Port(), b.Port(), []byte(payload))
}

func tcp(from, to string, flags uint8, seq, ack uint32) []byte {
	return segmentFrame(from, to, nettest.Segment{Flags: flags, Seq: seq, Ack: ack, Window: 1000})
}

func segmentFrame(from, to string, s nettest.Segment) []byte {
	a, b := ap(from), ap(to)
	s.SrcPort, s.DstPort = a.Port(), b.Port()
	return nettest.TCP(host(a.Addr()), host(b.Addr()), s)
}

// icmpFrame builds an ICMP or ICMPv6 message with its checksum.
func icmpFrame(from, to netip.Addr, message []byte) []byte {
	proto, sum := uint8(frame.ProtoICMP), uint64(0)
	if from.Is6() {
		proto = frame.ProtoICMPv6
		a, b := from.As16(), to.As16()
		sum = frame.Sum(a[:], frame.Sum(b[:], uint64(len(message))+frame.ProtoICMPv6))
	}
	message[2], message[3] = 0, 0
	binary.BigEndian.PutUint16(message[2:], frame.Checksum(message, sum))
	return nettest.Ether(host(to).MAC, host(from).MAC, nettest.EtherTypeOf(from), nettest.IP(from, to, proto, message))
}

// echo builds a request or, if answer is set, a reply.
func echo(from, to string, id uint16, answer bool) []byte {
	a, b := ip(from), ip(to)
	typ := byte(echoRequest4)
	switch {
	case a.Is6() && answer:
		typ = echoReply6
	case a.Is6():
		typ = echoRequest6
	case answer:
		typ = echoReply4
	}
	return icmpFrame(a, b, []byte{typ, 0, 0, 0, byte(id >> 8), byte(id), 0, 1, 'h', 'i', '!'})
}

// wrap makes a parsed frame of bytes, which it copies.
func wrap(t testing.TB, b []byte) *frame.Frame {
	t.Helper()
	f := new(frame.Frame)
	f.Wrap(append(make([]byte, frame.Headroom), b...), frame.Headroom)
	if r := f.Parse(); r != frame.NotDropped {
		t.Fatalf("test frame: %v", r)
	}
	return f
}

// ends returns the sockets a frame is from and to; for echo the identifier is the port
// of both.
func ends(f *frame.Frame) (from, to netip.AddrPort) {
	v, b := &f.View, f.Bytes()
	p := b[v.L3:]
	var src, dst netip.Addr
	if v.EtherType == frame.EtherIPv4 {
		src, dst = netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
	} else {
		src, dst = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
	}
	var sport, dport uint16
	switch {
	case v.L4 == 0:
	case v.Proto == frame.ProtoTCP || v.Proto == frame.ProtoUDP:
		sport, dport = binary.BigEndian.Uint16(b[v.L4:]), binary.BigEndian.Uint16(b[v.L4+2:])
	default:
		sport = binary.BigEndian.Uint16(b[v.L4+4:])
		dport = sport
	}
	return netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
}

// pass translates a frame that is not to be dropped, checks its checksums by gopacket's
// account, and returns it.
func pass(t testing.TB, tab *Table, from Side, b []byte, now uint32) (*frame.Frame, Side) {
	t.Helper()
	f := wrap(t, b)
	side, r := cross(tab, from, f, now)
	if r != frame.NotDropped {
		t.Fatalf("dropped: %v", r)
	}
	checkSums(t, f)
	return f, side
}

func cross(tab *Table, from Side, f *frame.Frame, now uint32) (Side, frame.Reason) {
	if from == Inside {
		return tab.Outbound(f, now)
	}
	return tab.Inbound(f, now)
}

// drop translates a frame that is to be dropped, unchanged.
func drop(t testing.TB, tab *Table, from Side, b []byte, now uint32, want frame.Reason) {
	t.Helper()
	f := wrap(t, b)
	if _, r := cross(tab, from, f, now); r != want {
		t.Fatalf("%v, want %v", r, want)
	}
	if string(f.Bytes()) != string(b) {
		t.Fatalf("changed:\n%x\n%x", f.Bytes(), b)
	}
}

// expectEnds checks whom a frame is from and to.
func expectEnds(t testing.TB, f *frame.Frame, from, to string) {
	t.Helper()
	a, b := ends(f)
	if a.String() != from || b.String() != to {
		t.Fatalf("%v > %v, want %s > %s", a, b, from, to)
	}
}

// checkSums has gopacket compute all checksums of a whole frame anew, with those that
// are to be finished finished.
func checkSums(t testing.TB, f *frame.Frame) {
	t.Helper()
	b := append([]byte{}, f.Bytes()...)
	v := &f.View
	if f.Offload.Flags&frame.NeedsCsum != 0 {
		start := int(f.Offload.CsumStart)
		at := start + int(f.Offload.CsumOffset)
		sum := frame.Checksum(b[start:start+f.L4Len()], 0)
		if sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(b[at:], sum)
	}
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	if v.EtherType == frame.EtherIPv4 {
		if sum := frame.Checksum(b[v.L3:][:int(b[v.L3]&15)*4], 0); sum != 0 {
			t.Fatalf("IPv4 header checksum off by %#x", sum)
		}
	}
	if v.Fragment || v.L4 == 0 {
		return
	}
	net := p.NetworkLayer()
	at := slices.IndexFunc(p.Layers(), func(l gopacket.Layer) bool {
		switch l.(type) {
		case *layers.TCP, *layers.UDP, *layers.ICMPv4, *layers.ICMPv6:
			return true
		}
		return false
	})
	if at < 0 {
		t.Fatalf("no transport in %v", p)
	}
	// The sum is read first: serialising a layer overwrites it.
	var got uint16
	var layer gopacket.SerializableLayer
	switch l := p.Layers()[at].(type) {
	case *layers.TCP:
		l.SetNetworkLayerForChecksum(net)
		got, layer = l.Checksum, l
	case *layers.UDP:
		if l.Checksum == 0 {
			return
		}
		l.SetNetworkLayerForChecksum(net)
		got, layer = l.Checksum, l
	case *layers.ICMPv4:
		got, layer = l.Checksum, l
	case *layers.ICMPv6:
		l.SetNetworkLayerForChecksum(net)
		got, layer = l.Checksum, l
	}
	if want := computed(t, layer, p.Layers()[at].LayerPayload()); got != want && got%0xffff != want%0xffff {
		t.Fatalf("transport checksum %#04x, gopacket says %#04x", got, want)
	}
}

// computed serialises a layer anew and returns the checksum it then has.
func computed(t testing.TB, l gopacket.SerializableLayer, payload []byte) uint16 {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, l, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	at := 2
	switch l.(type) {
	case *layers.TCP:
		at = 16
	case *layers.UDP:
		at = 6
	}
	return binary.BigEndian.Uint16(buf.Bytes()[at:])
}
