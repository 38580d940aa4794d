package lab

import (
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// An outer is a frame of the underlay, made by gopacket: a second opinion about
// every byte around the inner frame.
type outer struct {
	src, dst     string // addresses with ports; the source's port 0 is the inner flow's
	vni          uint32
	noSum        bool // a zero UDP checksum
	flags        byte // instead of the I flag
	reserved     byte // both reserved fields
	proto        layers.IPProtocol
	fragmentFlag layers.IPv4Flag
}

// station is how a node of the underlay sends.
func station(src, dst string, vni uint32) outer { return outer{src: src, dst: dst, vni: vni} }

// frame returns the whole frame around an inner one.
func (o outer) frame(inner []byte) []byte {
	head := make([]byte, 8) // RFC 7348, 5
	head[0] = 0x08
	if o.flags != 0 {
		head[0] = o.flags
	}
	head[1], head[2], head[3], head[7] = o.reserved, o.reserved, o.reserved, o.reserved
	head[4], head[5], head[6] = byte(o.vni>>16), byte(o.vni>>8), byte(o.vni)
	src := netip.MustParseAddrPort(o.src)
	if src.Port() == 0 {
		src = netip.AddrPortFrom(src.Addr(), flowPort(inner))
	}
	return o.datagram(src, append(head, inner...))
}

// datagram returns the frame around a UDP payload.
func (o outer) datagram(src netip.AddrPort, payload []byte) []byte {
	dst := netip.MustParseAddrPort(o.dst)
	proto := o.proto
	if proto == 0 {
		proto = layers.IPProtocolUDP
	}
	eth := &layers.Ethernet{SrcMAC: hostMAC(src.Addr()), DstMAC: hostMAC(dst.Addr()), EthernetType: layers.EthernetTypeIPv4}
	udp := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	stack := []gopacket.SerializableLayer{eth, nil, udp, gopacket.Payload(payload)}
	if src.Addr().Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment | o.fragmentFlag, Protocol: proto, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
		udp.SetNetworkLayerForChecksum(ip)
		stack[1] = ip
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
		udp.SetNetworkLayerForChecksum(ip)
		stack[1] = ip
	}
	b := serialize(stack...)
	if o.noSum {
		at := len(b) - len(payload) - 2
		b[at], b[at+1] = 0, 0
	}
	return b
}

func serialize(stack ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// hostMAC is the MAC of a host of the underlay: Docker's for an IPv4 address, else
// from the SHA-256 of the address.
func hostMAC(a netip.Addr) net.HardwareAddr {
	b := a.AsSlice()
	if len(b) == 16 {
		sum := sha256.Sum256(b)
		b = sum[:]
	}
	return append(net.HardwareAddr{0x02, 0x42}, b[:4]...)
}

// flowPort is the source port of an inner frame: the documented function of its
// flow, with numbers of any size in place of machine words.
func flowPort(inner []byte) uint16 {
	le := func(at, n int) *big.Int {
		x := new(big.Int)
		for i := n - 1; i >= 0; i-- {
			x.Lsh(x, 8).Or(x, big.NewInt(int64(inner[at+i])))
		}
		return x
	}
	p := gopacket.NewPacket(inner, layers.LayerTypeEthernet, gopacket.Default)
	l3, l4, proto := 14, 0, int64(0)
	for p.Layer(layers.LayerTypeDot1Q) != nil && inner[l3-2] == 0x81 {
		l3 += 4
	}
	var h *big.Int
	if ip, ok := p.NetworkLayer().(*layers.IPv4); ok {
		proto, l4 = int64(ip.Protocol), l3+20
		h = mixed(le(l3+12, 8), big.NewInt(proto))
	} else if ip, ok := p.NetworkLayer().(*layers.IPv6); ok {
		proto, l4 = int64(ip.NextHeader), l3+40
		q := le(l3+24, 8)
		h = mixed(le(l3+8, 8), le(l3+16, 8))
		h.Xor(h, mixed(q.Xor(q, big.NewInt(proto)), le(l3+32, 8)))
	} else {
		h = mixed(le(0, 8), le(8, 4))
	}
	if p.TransportLayer() != nil {
		h = mixed(h, le(l4, 4))
	}
	return uint16(49152 + new(big.Int).And(h, big.NewInt(0xffffffff)).Uint64()*16384>>32)
}

// mixed folds the 128-bit product of two words that pi was added to.
func mixed(a, b *big.Int) *big.Int {
	pi := func(x *big.Int, hex string) *big.Int {
		p, _ := new(big.Int).SetString(hex, 16)
		return p.Xor(p, x)
	}
	m := new(big.Int).Mul(pi(a, "243f6a8885a308d3"), pi(b, "13198a2e03707344"))
	low := new(big.Int).And(m, new(big.Int).SetUint64(^uint64(0)))
	return low.Xor(low, m.Rsh(m, 64))
}

// changed returns a frame with the byte at a place changed.
func changed(b []byte, at int) []byte {
	b = append([]byte{}, b...)
	b[at] ^= 0x5a
	return b
}

// fragNeeded is what the sender of a packet is told that is larger than mtu (RFC
// 792), made by gopacket: from whom the packet was for, in 576 bytes at most (RFC
// 1812, 4.3.2.3).
func fragNeeded(packet []byte, mtu uint16) []byte {
	p := gopacket.NewPacket(packet, layers.LayerTypeEthernet, gopacket.Default)
	eth, was := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), p.NetworkLayer().(*layers.IPv4)
	return serialize(
		&layers.Ethernet{SrcMAC: eth.DstMAC, DstMAC: eth.SrcMAC, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolICMPv4, SrcIP: was.DstIP, DstIP: was.SrcIP},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: mtu},
		gopacket.Payload(packet[14:14+548]))
}

// sized is a UDP datagram in an IP packet of n bytes.
func sized(from, to nettest.Host, n int) []byte {
	header := 20
	if from.IP.Is6() {
		header = 40
	}
	return nettest.UDP(from, to, 1000, 2000, make([]byte, n-header-8))
}

// syn is a SYN that asks for segments of at most mss bytes.
func syn(from, to nettest.Host, mss uint16) []byte {
	return nettest.TCP(from, to, nettest.Segment{SrcPort: 1000, DstPort: 80, Flags: nettest.SYN, Window: 65535,
		Options: binary.BigEndian.AppendUint16([]byte{2, 4}, mss)})
}

// withSource returns a frame from another MAC.
func withSource(b []byte, m frame.MAC) []byte {
	b = append([]byte{}, b...)
	copy(b[6:], m[:])
	return b
}
