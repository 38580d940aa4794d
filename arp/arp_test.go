package arp_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/arp"
	"weft/internal/frame"
)

var (
	macA, macB, macC = frame.MAC{2, 0, 0, 0, 0, 0xa}, frame.MAC{2, 0, 0, 0, 0, 0xb}, frame.MAC{2, 0, 0, 0, 0, 0xc}
	broadcast        = frame.MAC{255, 255, 255, 255, 255, 255}
	ipA, ipB, ipC    = netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("10.0.0.12")
	ip0              = netip.MustParseAddr("0.0.0.0")
)

// parsed returns data as a parsed frame in a batch of its own.
func parsed(t testing.TB, data []byte) *frame.Frame {
	t.Helper()
	f := frame.NewBatch().Append(data)
	if f == nil {
		t.Fatalf("frame of %d bytes does not fit", len(data))
	}
	if r := f.Parse(); r != frame.NotDropped {
		t.Fatalf("parse: %v", r)
	}
	return f
}

// build serialises layers with gopacket, which is not our code.
func build(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// ethernet returns the link layers, tagged with vlan unless it is 0.
func ethernet(dst, src frame.MAC, typ layers.EthernetType, vlan uint16) []gopacket.SerializableLayer {
	e := &layers.Ethernet{DstMAC: dst[:], SrcMAC: src[:], EthernetType: typ}
	if vlan == 0 {
		return []gopacket.SerializableLayer{e}
	}
	e.EthernetType = layers.EthernetTypeDot1Q
	return []gopacket.SerializableLayer{e, &layers.Dot1Q{Priority: 3, VLANIdentifier: vlan, Type: typ}}
}

// arpFrame builds an ARP packet in an Ethernet frame padded to 60 bytes.
func arpFrame(t testing.TB, dst frame.MAC, vlan uint16, p arp.Packet) []byte {
	t.Helper()
	spa, tpa := p.SenderIP.As4(), p.TargetIP.As4()
	return build(t, append(ethernet(dst, p.SenderMAC, layers.EthernetTypeARP, vlan), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: p.Op, SourceHwAddress: p.SenderMAC[:], SourceProtAddress: spa[:],
		DstHwAddress: p.TargetMAC[:], DstProtAddress: tpa[:],
	})...)
}

// table returns a table in which B is static and C learned.
func table(t testing.TB) *arp.Table {
	t.Helper()
	tab := arp.NewTable(16)
	for _, a := range []netip.Addr{ipB, ll(0xb)} {
		if err := tab.SetStatic(a, macB); err != nil {
			t.Fatal(err)
		}
	}
	tab.Learn(ipC, macC, 1)
	tab.Learn(ll(0xc), macC, 1)
	return tab
}

func TestPacketBothWays(t *testing.T) {
	want := arp.Packet{Op: arp.OpReply, SenderMAC: macA, SenderIP: ipA, TargetMAC: macB, TargetIP: ipB}
	data := arpFrame(t, macB, 7, want)
	f := parsed(t, data)
	got, err := arp.ParsePacket(f)
	if err != nil || got != want {
		t.Fatalf("parsed %+v, %v, want %+v", got, err, want)
	}
	if at := int(f.View.L3); string(got.Append(nil)) != string(data[at:at+28]) {
		t.Fatalf("marshalled %x, want %x", got.Append(nil), data[at:at+28])
	}
}

func TestAnswerARP(t *testing.T) {
	req := func(ip netip.Addr, target netip.Addr) arp.Packet {
		return arp.Packet{Op: arp.OpRequest, SenderMAC: macA, SenderIP: ip, TargetIP: target}
	}
	own := arp.Packet{Op: arp.OpRequest, SenderMAC: macB, SenderIP: ip0, TargetIP: ipB}
	reply := req(ipA, ipB)
	reply.Op = arp.OpReply
	for _, c := range []struct {
		name string
		dst  frame.MAC
		p    arp.Packet
		want arp.Verdict
		mac  frame.MAC
	}{
		{"static", broadcast, req(ipA, ipB), arp.Reply, macB},
		{"learned", broadcast, req(ipA, ipC), arp.Reply, macC},
		{"unknown", broadcast, req(ipA, netip.MustParseAddr("10.0.0.99")), arp.Unknown, macA},
		{"unicast to static", macB, req(ipA, ipB), arp.Reply, macB},
		{"unicast to learned tests liveness", macC, req(ipA, ipC), arp.Ignore, macA},
		{"probe for a static address is defended", broadcast, req(ip0, ipB), arp.Reply, macB},
		{"probe for a learned address is the owner's to defend", broadcast, req(ip0, ipC), arp.Ignore, macA},
		{"probe for its own address", broadcast, own, arp.Ignore, macB},
		{"announcement", broadcast, req(ipB, ipB), arp.Ignore, macA},
		{"reply", macB, reply, arp.Ignore, macA},
		{"multicast target", broadcast, req(ipA, netip.MustParseAddr("224.0.0.1")), arp.Bad, macA},
		{"loopback target", broadcast, req(ipA, netip.MustParseAddr("127.0.0.1")), arp.Bad, macA},
		{"broadcast target", broadcast, req(ipA, netip.MustParseAddr("255.255.255.255")), arp.Bad, macA},
	} {
		for _, vlan := range []uint16{0, 42} {
			t.Run(c.name, func(t *testing.T) {
				data := arpFrame(t, c.dst, vlan, c.p)
				f := parsed(t, data)
				if got := table(t).Answer(f); got != c.want {
					t.Fatalf("verdict %v, want %v", got, c.want)
				}
				if c.want != arp.Reply {
					if string(f.Bytes()) != string(data) {
						t.Fatal("a frame not answered was changed")
					}
					return
				}
				want := arpFrame(t, c.p.SenderMAC, vlan, arp.Packet{Op: arp.OpReply, SenderMAC: c.mac,
					SenderIP: c.p.TargetIP, TargetMAC: c.p.SenderMAC, TargetIP: c.p.SenderIP})
				if string(f.Bytes()) != string(want) {
					t.Fatalf("reply\n%x, want\n%x", f.Bytes(), want)
				}
			})
		}
	}
}

func TestMalformedARP(t *testing.T) {
	good := arpFrame(t, broadcast, 0, arp.Packet{Op: arp.OpRequest, SenderMAC: macA, SenderIP: ipA, TargetIP: ipB})[:42]
	for _, c := range []struct {
		name string
		edit func(b []byte) []byte
		want arp.Verdict
	}{
		{"sound", func(b []byte) []byte { return b }, arp.Reply},
		{"IEEE 802 hardware", func(b []byte) []byte { b[15] = 6; return b }, arp.Reply},
		{"no header", func(b []byte) []byte { return b[:14] }, arp.Bad},
		{"cut before the lengths", func(b []byte) []byte { return b[:21] }, arp.Bad},
		{"cut in the target", func(b []byte) []byte { return b[:41] }, arp.Bad},
		{"hardware length 255", func(b []byte) []byte { b[18] = 255; return b }, arp.Bad},
		{"protocol length 16", func(b []byte) []byte { b[19] = 16; return b }, arp.Bad},
		{"other hardware", func(b []byte) []byte { b[15] = 15; return b }, arp.Bad},
		{"other protocol", func(b []byte) []byte { b[16] = 0x86; return b }, arp.Ignore},
		{"group sender", func(b []byte) []byte { b[22] |= 1; return b }, arp.Bad},
		{"zero sender", func(b []byte) []byte { clear(b[22:28]); return b }, arp.Bad},
		{"InARP", func(b []byte) []byte { b[21] = 8; return b }, arp.Ignore},
		{"operation 257", func(b []byte) []byte { b[20] = 1; return b }, arp.Ignore},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := parsed(t, c.edit(append([]byte(nil), good...)))
			_, _, claimed := arp.Sender(f)
			if got := table(t).Answer(f); got != c.want {
				t.Fatalf("verdict %v, want %v", got, c.want)
			}
			if claimed && c.want == arp.Bad {
				t.Fatal("a malformed packet claims a sender")
			}
		})
	}
}

func TestSenderARP(t *testing.T) {
	for _, c := range []struct {
		name string
		p    arp.Packet
	}{
		{"request", arp.Packet{Op: arp.OpRequest, SenderMAC: macA, SenderIP: ipA, TargetIP: ipB}},
		{"reply", arp.Packet{Op: arp.OpReply, SenderMAC: macB, SenderIP: ipB, TargetMAC: macA, TargetIP: ipA}},
		{"probe", arp.Packet{Op: arp.OpRequest, SenderMAC: macA, SenderIP: ip0, TargetIP: ipB}},
		{"InARP reply", arp.Packet{Op: 9, SenderMAC: macA, SenderIP: ipA, TargetIP: ipB}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, m, ok := arp.Sender(parsed(t, arpFrame(t, broadcast, 0, c.p)))
			if !ok || a != c.p.SenderIP || m != c.p.SenderMAC {
				t.Fatalf("sender %v %v %v", a, m, ok)
			}
		})
	}
	udp := build(t, append(ethernet(macB, macA, layers.EthernetTypeIPv4, 0), &layers.IPv4{Version: 4, TTL: 1,
		Protocol: layers.IPProtocolICMPv4, SrcIP: net.IP{1, 2, 3, 4}, DstIP: net.IP{1, 2, 3, 5}}, &layers.ICMPv4{})...)
	if _, _, ok := arp.Sender(parsed(t, udp)); ok {
		t.Fatal("an ICMP frame claims a sender")
	}
}
