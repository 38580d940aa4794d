package lab

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
)

// A link is the two ends of one, as frames on it name them. Its frames are made by
// gopacket: a second opinion about every byte of what was translated.
type link struct{ from, to frame.MAC }

func (k link) back() link { return link{k.to, k.from} }

// ip returns a packet between two addresses. Checksums are filled in.
func (k link) ip(src, dst string, ttl uint8, proto layers.IPProtocol, l4 ...gopacket.SerializableLayer) []byte {
	from, to := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	e := &layers.Ethernet{SrcMAC: net.HardwareAddr(k.from[:]), DstMAC: net.HardwareAddr(k.to[:]), EthernetType: layers.EthernetTypeIPv4}
	var over gopacket.NetworkLayer
	if from.Is4() {
		over = &layers.IPv4{Version: 4, TTL: ttl, Protocol: proto, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	} else {
		e.EthernetType = layers.EthernetTypeIPv6
		over = &layers.IPv6{Version: 6, HopLimit: ttl, NextHeader: proto, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	}
	for _, l := range l4 {
		if s, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			s.SetNetworkLayerForChecksum(over)
		}
	}
	b := serialize(append([]gopacket.SerializableLayer{e, over.(gopacket.SerializableLayer)}, l4...)...)
	n := 14 + int(binary.BigEndian.Uint16(b[16:]))
	if from.Is6() {
		n = 54 + int(binary.BigEndian.Uint16(b[18:]))
	}
	return b[:n] // without the padding that gopacket adds
}

// udp returns a datagram between two sockets.
func (k link) udp(src, dst string, ttl uint8, payload string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return k.ip(s.Addr().String(), d.Addr().String(), ttl, layers.IPProtocolUDP,
		&layers.UDP{SrcPort: layers.UDPPort(s.Port()), DstPort: layers.UDPPort(d.Port())}, gopacket.Payload(payload))
}

// tcp returns a segment between two sockets, with the ports of s filled in.
func (k link) tcp(src, dst string, ttl uint8, s layers.TCP, payload string) []byte {
	from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	s.SrcPort, s.DstPort = layers.TCPPort(from.Port()), layers.TCPPort(to.Port())
	return k.ip(from.Addr().String(), to.Addr().String(), ttl, layers.IPProtocolTCP, &s, gopacket.Payload(payload))
}

// echo returns a ping, or its answer.
func (k link) echo(src, dst string, ttl uint8, reply bool, id uint16) []byte {
	if netip.MustParseAddr(src).Is4() {
		kind := uint8(layers.ICMPv4TypeEchoRequest)
		if reply {
			kind = layers.ICMPv4TypeEchoReply
		}
		return k.ip(src, dst, ttl, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: id, Seq: 1}, gopacket.Payload("weft"))
	}
	kind := uint8(layers.ICMPv6TypeEchoRequest)
	if reply {
		kind = layers.ICMPv6TypeEchoReply
	}
	return k.ip(src, dst, ttl, layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)},
		&layers.ICMPv6Echo{Identifier: id, SeqNumber: 1}, gopacket.Payload("weft"))
}

// complaint returns an ICMP error about the packet in a frame, of which it quotes as much
// as a router of weft's does (RFC 1812, 4.3.2.3; RFC 4443, 2.4). mtu is for too big.
func (k link) complaint(src, dst string, ttl, kind, code uint8, mtu uint16, about []byte) []byte {
	quoted := about[14:]
	if netip.MustParseAddr(src).Is4() {
		return k.ip(src, dst, ttl, layers.IPProtocolICMPv4,
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, code), Seq: mtu}, gopacket.Payload(quoted[:min(len(quoted), 548)]))
	}
	return k.ip(src, dst, ttl, layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, code)},
		gopacket.Payload([]byte{0, 0, byte(mtu >> 8), byte(mtu)}), gopacket.Payload(quoted[:min(len(quoted), 1232)]))
}

// own is a message of the switch's own: not to be fragmented.
func own(b []byte) []byte {
	b = append([]byte{}, b...)
	b[20] |= 0x40
	frame.SetIPv4Checksum(b[14:])
	return b
}
