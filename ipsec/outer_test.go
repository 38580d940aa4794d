package ipsec

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// An oracleCase is one SA and what it is carried by, for packets that others open.
type oracleCase struct {
	name          string
	algorithm     Algorithm
	esn           bool
	encapsulation Encapsulation
	v6            bool
	high          uint32 // of the sequence numbers
}

var oracleCases = []oracleCase{
	{"aes-256-gcm-udp", AES256GCM, false, InUDP, false, 0},
	{"aes-256-gcm-esn-udp", AES256GCM, true, InUDP, false, 0},
	{"aes-256-gcm-esn-high-udp", AES256GCM, true, InUDP, false, 0xfe},
	{"aes-256-gcm-ip6", AES256GCM, false, InIP, true, 0},
	{"aes-128-gcm-ip", AES128GCM, false, InIP, false, 0},
	{"aes-128-gcm-esn-ip", AES128GCM, true, InIP, false, 7},
	{"chacha20-poly1305-udp", ChaCha20Poly1305, false, InUDP, false, 0},
	{"chacha20-poly1305-esn-ip", ChaCha20Poly1305, true, InIP, false, 1},
}

const (
	oracleSPI   = 0xc0ffee01
	oracleCount = 4
)

func (c *oracleCase) material() *material { return testMaterial(c.algorithm, c.esn, oracleSPI, 0x40) }

// before is the sequence number in front of the first packet's.
func (c *oracleCase) before() uint64 { return uint64(c.high) << 32 }

func (c *oracleCase) addrs() (src, dst netip.Addr) {
	if c.v6 {
		return netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	}
	return vtepA.Addr(), vtepB.Addr()
}

// datagram is what is sealed: VXLAN in UDP, made by gopacket, with an ICMP echo of
// i more bytes inside, so that all lengths of padding come.
func datagram(t testing.TB, i int) []byte {
	t.Helper()
	inner := []gopacket.SerializableLayer{
		&layers.UDP{SrcPort: 51234, DstPort: 4789},
		&layers.VXLAN{ValidIDFlag: true, VNI: 4097},
		&layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: net.IP{10, 0, 1, 1}, DstIP: net.IP{10, 0, 1, 2}},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 1, Seq: uint16(i)},
		gopacket.Payload("echo, echo, echo"[:10+i%7]),
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: false}, inner...); err != nil {
		t.Fatal(err)
	}
	b := buf.Bytes()
	b[6], b[7] = 0, 0 // no checksum: the ICV protects more
	return b
}

// carried puts a packet into IP, and UDP where the case wants it.
func (c *oracleCase) carried(t testing.TB, packet []byte) []byte {
	t.Helper()
	src, dst := c.addrs()
	proto := layers.IPProtocolESP
	if c.encapsulation == InUDP {
		proto = layers.IPProtocolUDP
	}
	var ip gopacket.SerializableLayer = &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	if c.v6 {
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	ls := []gopacket.SerializableLayer{ip}
	if c.encapsulation == InUDP {
		udp := &layers.UDP{SrcPort: Port, DstPort: Port}
		if err := udp.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)); err != nil {
			t.Fatal(err)
		}
		ls = append(ls, udp)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(ls, gopacket.Payload(packet))...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// uncarried takes the packet out again.
func (c *oracleCase) uncarried(b []byte) []byte {
	b = b[c.encapsulation.Len()+20:]
	if c.v6 {
		b = b[20:]
	}
	return b
}

// packets are the case's IP packets, sealed by us, and the datagrams in them.
func (c *oracleCase) packets(t testing.TB) (packets, datagrams [][]byte) {
	t.Helper()
	o, err := newOutbound(c.material())
	if err != nil {
		t.Fatal(err)
	}
	o.seq.Store(c.before())
	for i := range oracleCount {
		d := datagram(t, i)
		packets = append(packets, c.carried(t, sealed(t, o, NextUDP, d[:16], d[16:])))
		datagrams = append(datagrams, d)
	}
	return packets, datagrams
}
