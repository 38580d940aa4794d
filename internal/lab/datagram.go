package lab

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/vxlan"
)

// What a wire drops before there is a frame for the switch, beside the reasons of
// package frame: a host's kernel keeps these from its VTEP.
const (
	notIP            = "not-ip"            // ARP, say: nobody is on the underlay but VTEPs
	badChecksum      = "bad-checksum"      // of the outer IPv4 or UDP header
	otherDestination = "other-destination" // not one of the node's addresses
	fragment         = "fragment"          // VTEPs must not make any (RFC 7348, 4.3)
	notUDP           = "not-udp"
	otherPort        = "other-port" // not the node's data path port
)

// wireReasons lists them in the order in which they are looked for.
func wireReasons() []string {
	return []string{notIP, badChecksum, otherDestination, fragment, notUDP, otherPort}
}

// A datagram is what a frame of the underlay carries.
type datagram struct {
	from, to netip.AddrPort
	payload  []byte // borrowed from the frame
}

// parseDatagram reads a frame of the underlay and returns the UDP datagram it
// carries to one of the local sockets, or why there is none. MAC addresses are
// not looked at: a capture may have been taken anywhere on the way.
func parseDatagram(b []byte, local []netip.AddrPort) (d datagram, why string) {
	var f frame.Frame
	f.Wrap(b, 0)
	if r := f.Parse(); r != frame.NotDropped {
		return d, r.String()
	}
	v, l3 := &f.View, b[f.View.L3:]
	var src, dst netip.Addr
	switch v.EtherType {
	case frame.EtherIPv4:
		if !summed(l3[:int(l3[0]&15)*4], 0) {
			return d, badChecksum
		}
		src, dst = netip.AddrFrom4([4]byte(l3[12:])), netip.AddrFrom4([4]byte(l3[16:]))
	case frame.EtherIPv6:
		src, dst = netip.AddrFrom16([16]byte(l3[8:])), netip.AddrFrom16([16]byte(l3[24:]))
	default:
		return d, notIP
	}
	switch {
	case !slices.ContainsFunc(local, func(a netip.AddrPort) bool { return a.Addr() == dst }):
		return d, otherDestination
	case v.Fragment:
		return d, fragment
	case v.Proto != frame.ProtoUDP || v.L4 == 0:
		return d, notUDP
	}
	udp := b[v.L4:]
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < udpLen {
		return d, frame.BadHeader.String()
	}
	d.from = netip.AddrPortFrom(src, binary.BigEndian.Uint16(udp))
	d.to = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(udp[2:]))
	if !slices.Contains(local, d.to) {
		return d, otherPort
	}
	// A zero checksum is none, over IPv6 as well (RFC 7348, 5; RFC 6935).
	if udp[6]|udp[7] != 0 && !summed(udp[:n], f.PseudoSum(n)) {
		return d, badChecksum
	}
	d.payload = udp[udpLen:n]
	return d, ""
}

// summed reports whether the checksum in b is right.
func summed(b []byte, initial uint64) bool { return frame.Checksum(b, initial) == 0 }

// The lengths of the outer headers in bytes.
const (
	ip4Len = 20
	ip6Len = 40
	udpLen = 8
)

const outerTTL = 64

// outerLen is the length of the outer IP packet around an inner frame of n bytes.
func outerLen(v6 bool, n int) int {
	if v6 {
		return ip6Len + udpLen + vxlan.HeaderLen + n
	}
	return ip4Len + udpLen + vxlan.HeaderLen + n
}

// appendDatagram appends a frame of the underlay that carries an inner frame to a
// VTEP: what a node's kernel makes of what vxlan gives it. The outer IP packet
// must not exceed 65,535 bytes.
func appendDatagram(b []byte, from, to netip.AddrPort, vni uint32, inner []byte) []byte {
	dst, src := underlayMAC(to.Addr()), underlayMAC(from.Addr())
	b = append(append(b, dst[:]...), src[:]...)
	n := udpLen + vxlan.HeaderLen + len(inner)
	var pseudo uint64
	if to.Addr().Is4() {
		b = binary.BigEndian.AppendUint16(b, frame.EtherIPv4)
		l3 := len(b)
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(ip4Len+n))
		// Never fragmented, so no identification is needed (RFC 6864, 4.1).
		b = append(b, 0, 0, 0x40, 0, outerTTL, frame.ProtoUDP, 0, 0)
		b = append(append(b, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
		frame.SetIPv4Checksum(b[l3:])
		pseudo = frame.Sum(b[l3+12:l3+ip4Len], frame.ProtoUDP+uint64(n))
	} else {
		b = binary.BigEndian.AppendUint16(b, frame.EtherIPv6)
		l3 := len(b)
		b = append(b, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		b = append(b, frame.ProtoUDP, outerTTL)
		b = append(append(b, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
		pseudo = frame.Sum(b[l3+8:l3+ip6Len], frame.ProtoUDP+uint64(n))
	}
	l4 := len(b)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(b, 0, 0)
	b = append(b, make([]byte, vxlan.HeaderLen)...)
	vxlan.PutHeader(b[l4+udpLen:], vni)
	b = append(b, inner...)
	sum := frame.Checksum(b[l4:], pseudo)
	if sum == 0 { // which would mean none (RFC 768)
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[l4+6:], sum)
	return b
}

// underlayMAC derives the MAC of a host of the underlay from its address.
func underlayMAC(a netip.Addr) frame.MAC {
	if a.Is4() {
		return cnm.MACFromIPv4(a)
	}
	return macFromIPv6(a)
}
