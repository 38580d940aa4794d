package nettest

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/frame"
)

// Broadcast is the Ethernet broadcast address.
var Broadcast = frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// A Host is a station: the addresses frames are built with.
type Host struct {
	MAC frame.MAC
	IP  netip.Addr
}

// Station returns the host of an address, with the MAC Docker derives from IPv4
// (02:42 and the address) and, for IPv6, 02:43 and its last four bytes.
func Station(ip string) Host {
	a := netip.MustParseAddr(ip)
	h := Host{IP: a}
	if a.Is4() {
		v := a.As4()
		h.MAC = frame.MAC{2, 0x42, v[0], v[1], v[2], v[3]}
	} else {
		v := a.As16()
		h.MAC = frame.MAC{2, 0x43, v[12], v[13], v[14], v[15]}
	}
	return h
}

// Ether returns an Ethernet II frame, with 802.1Q tags of the given identifiers,
// the outermost first. It does not pad.
func Ether(dst, src frame.MAC, etherType uint16, payload []byte, vlans ...uint16) []byte {
	b := make([]byte, 0, frame.EtherLen+4*len(vlans)+len(payload))
	b = append(b, dst[:]...)
	b = append(b, src[:]...)
	for _, v := range vlans {
		b = binary.BigEndian.AppendUint16(b, frame.EtherVLAN)
		b = binary.BigEndian.AppendUint16(b, v)
	}
	b = binary.BigEndian.AppendUint16(b, etherType)
	return append(b, payload...)
}

// Tag returns a copy of a frame with one more 802.1Q tag in front.
func Tag(f []byte, vlan uint16) []byte {
	b := append([]byte{}, f[:12]...)
	b = binary.BigEndian.AppendUint16(b, frame.EtherVLAN)
	b = binary.BigEndian.AppendUint16(b, vlan)
	return append(b, f[12:]...)
}

// EtherTypeOf returns the EtherType of IP packets of an address's family.
func EtherTypeOf(a netip.Addr) uint16 {
	if a.Is4() {
		return frame.EtherIPv4
	}
	return frame.EtherIPv6
}

// IP returns an IP packet around a transport part: RFC 791 or RFC 8200 by the
// family of src, TTL 64, don't fragment set, header checksum complete.
func IP(src, dst netip.Addr, proto uint8, l4 []byte) []byte { return IPTTL(src, dst, proto, 64, l4) }

// IPTTL is IP with a TTL or hop limit of its own.
func IPTTL(src, dst netip.Addr, proto, ttl uint8, l4 []byte) []byte {
	if src.Is4() {
		b := make([]byte, 20, 20+len(l4))
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(l4)))
		b[6] = 0x40
		b[8], b[9] = ttl, proto
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(b[10:], checksum(b, 0))
		return append(b, l4...)
	}
	b := make([]byte, 40, 40+len(l4))
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(l4)))
	b[6], b[7] = proto, ttl
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, l4...)
}

// checksum is RFC 1071 in its plainest form, on purpose not the product's own:
// a builder must not share a mistake with what it tests.
func checksum(b []byte, sum uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// pseudo returns the folded sum of the pseudo-header (RFC 9293, 3.1; RFC 8200,
// 8.1).
func pseudo(src, dst netip.Addr, proto uint8, n int) uint32 {
	h := append(src.AsSlice(), dst.AsSlice()...)
	h = append(h, 0, proto, byte(n>>8), byte(n))
	return uint32(^checksum(h, 0))
}

// sealL4 stores the complete checksum of a transport part at offset at.
func sealL4(src, dst netip.Addr, proto uint8, l4 []byte, at int) {
	l4[at], l4[at+1] = 0, 0
	binary.BigEndian.PutUint16(l4[at:], checksum(l4, pseudo(src, dst, proto, len(l4))))
}

// UDP returns a frame with a UDP datagram (RFC 768).
func UDP(from, to Host, sport, dport uint16, payload []byte) []byte {
	l4 := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(l4, sport)
	binary.BigEndian.PutUint16(l4[2:], dport)
	binary.BigEndian.PutUint16(l4[4:], uint16(8+len(payload)))
	l4 = append(l4, payload...)
	sealL4(from.IP, to.IP, frame.ProtoUDP, l4, 6)
	if l4[6] == 0 && l4[7] == 0 { // zero means no checksum
		l4[6], l4[7] = 0xff, 0xff
	}
	return Ether(to.MAC, from.MAC, EtherTypeOf(from.IP), IP(from.IP, to.IP, frame.ProtoUDP, l4))
}

// TCP flags (RFC 9293, 3.1).
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// A Segment is what a TCP segment says.
type Segment struct {
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            uint8
	Window           uint16
	Options          []byte // a multiple of 4 bytes
	Payload          []byte
}

// TCP returns a frame with a TCP segment (RFC 9293).
func TCP(from, to Host, s Segment) []byte {
	l4 := tcpBytes(s)
	sealL4(from.IP, to.IP, frame.ProtoTCP, l4, 16)
	return Ether(to.MAC, from.MAC, EtherTypeOf(from.IP), IP(from.IP, to.IP, frame.ProtoTCP, l4))
}

func tcpBytes(s Segment) []byte {
	l4 := make([]byte, 20, 20+len(s.Options)+len(s.Payload))
	binary.BigEndian.PutUint16(l4, s.SrcPort)
	binary.BigEndian.PutUint16(l4[2:], s.DstPort)
	binary.BigEndian.PutUint32(l4[4:], s.Seq)
	binary.BigEndian.PutUint32(l4[8:], s.Ack)
	l4[12] = byte(20+len(s.Options)) / 4 << 4
	l4[13] = s.Flags
	binary.BigEndian.PutUint16(l4[14:], s.Window)
	l4 = append(l4, s.Options...)
	return append(l4, s.Payload...)
}
