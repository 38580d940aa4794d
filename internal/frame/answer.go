package frame

import "encoding/binary"

// DefaultTTL is the hop limit of packets that weft makes itself (RFC 1700).
const DefaultTTL = 64

// An ICMPError is what an error message says, in the terms of its family: type,
// code, and the four bytes that follow the checksum.
type ICMPError struct {
	Type, Code uint8
	Rest       uint32
}

// The messages that a packet is answered with, in bytes from the ICMP header: type,
// code, checksum, four bytes by type (RFC 792; RFC 1191, 4; RFC 4443, 3). The packet
// follows, as much as leaves the whole within maxError bytes.
const (
	icmpErrorLen   = 8
	icmpUnreach    = 3
	icmpFragNeeded = 4 // code
	icmp6TooBig    = 2
	icmp6Redirect  = 137
	maxError4      = 576  // RFC 1812, 4.3.2.3
	maxError6      = 1280 // RFC 4443, 2.4 c
)

// TooBigError says that a packet of mtu bytes would have fitted, in the family of f:
// fragmentation needed (RFC 1191, 4) or packet too big (RFC 4443, 3.2).
func TooBigError(f *Frame, mtu int) ICMPError {
	if f.View.EtherType == EtherIPv6 {
		return ICMPError{Type: icmp6TooBig, Rest: uint32(mtu)}
	}
	return ICMPError{Type: icmpUnreach, Code: icmpFragNeeded, Rest: uint32(min(mtu, 65535))}
}

// WantsError reports whether the sender of an IP packet may be told of an error with
// it: never of one with an error message, nor with a fragment other than the first,
// nor when there is no single sender or receiver (RFC 1122, 3.2.2; RFC 4443, 2.4 e).
// The frame must have been parsed.
func (f *Frame) WantsError() bool {
	v, b := &f.View, f.Bytes()
	p := b[v.L3:]
	switch v.EtherType {
	case EtherIPv4:
		return !v.Later && single4(p[12:]) && single4(p[16:]) &&
			!(v.Proto == ProtoICMP && (v.L4 == 0 || IsError4(b[v.L4])))
	case EtherIPv6:
		return !v.Later && single6(p[8:]) && single6(p[24:]) &&
			!(v.Proto == ProtoICMPv6 && (v.L4 == 0 || IsError6(b[v.L4])))
	}
	return false
}

// single4 and single6 report whether the address at the start of b can be one
// host's on a wire.
func single4(b []byte) bool { return b[0] != 0 && b[0] != 127 && b[0] < 224 }

func single6(b []byte) bool {
	a := [16]byte(b)
	loopback := [16]byte{15: 1}
	return a[0] != 0xff && a != [16]byte{} && a != loopback
}

// IsError4 and IsError6 report whether an ICMP type is that of an error message
// or, which counts as one, of a redirect. All but the known informational ones
// of version 4 are taken for errors.
func IsError4(t byte) bool {
	switch t {
	case 0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43: // echo, router, timestamp, information, mask, extended echo
		return false
	}
	return true
}

// IsError6 is IsError4 for ICMPv6 (RFC 4443, 2.1).
func IsError6(t byte) bool { return t < 128 || t == icmp6Redirect }

// PutError writes into m a frame that tells the sender of f of an error, and returns
// its length. It comes from the address at the start of from, 4 or 16 bytes by the
// family of f, and from the MAC that f was sent to, with the VLAN tags of f. m must
// hold 1,302 bytes; f must be one that WantsError.
func (f *Frame) PutError(m []byte, e ICMPError, from []byte) int {
	n := f.putLink(m)
	p := f.Bytes()[n:]
	if f.View.EtherType == EtherIPv4 {
		return n + putError4(m[n:], p, e, from)
	}
	return n + putError6(m[n:], p, e, from)
}

// putLink writes the header of an answer's frame and returns its length.
func (f *Frame) putLink(m []byte) int {
	b := f.Bytes()
	copy(m, b[:f.View.L3])
	copy(m, b[6:12])
	copy(m[6:], b[:6])
	return int(f.View.L3)
}

// putError4 writes an IPv4 packet about the one at the start of p.
func putError4(m, p []byte, e ICMPError, from []byte) int {
	quoted := min(len(p), int(be16(p[2:])), maxError4-20-icmpErrorLen)
	n := 20 + icmpErrorLen + quoted
	m = m[:n]
	put4(m, ProtoICMP, from, p[12:16])
	icmp := m[20:]
	icmp[0], icmp[1] = e.Type, e.Code
	binary.BigEndian.PutUint32(icmp[4:], e.Rest)
	copy(icmp[icmpErrorLen:], p[:quoted])
	binary.BigEndian.PutUint16(icmp[2:], Checksum(icmp, 0))
	return n
}

// putError6 writes an IPv6 packet about the one at the start of p.
func putError6(m, p []byte, e ICMPError, from []byte) int {
	quoted := min(len(p), 40+int(be16(p[4:])), maxError6-40-icmpErrorLen)
	n := 40 + icmpErrorLen + quoted
	m = m[:n]
	put6(m, ProtoICMPv6, from, p[8:24])
	icmp := m[40:]
	icmp[0], icmp[1] = e.Type, e.Code
	binary.BigEndian.PutUint32(icmp[4:], e.Rest)
	copy(icmp[icmpErrorLen:], p[:quoted])
	binary.BigEndian.PutUint16(icmp[2:], Checksum(icmp, Sum(m[8:40], uint64(len(icmp))+ProtoICMPv6)))
	return n
}

// put4 writes an IPv4 header of 20 bytes for the packet that m is and clears the
// eight bytes behind it.
func put4(m []byte, proto byte, from, to []byte) {
	clear(m[:28])
	m[0] = 0x45
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)))
	m[6] = 0x40 // never fragmented, so no identification is needed (RFC 6864, 4.1)
	m[8], m[9] = DefaultTTL, proto
	copy(m[12:16], from)
	copy(m[16:20], to)
	SetIPv4Checksum(m)
}

// put6 writes an IPv6 header for the packet that m is and clears the eight bytes
// behind it.
func put6(m []byte, proto byte, from, to []byte) {
	clear(m[:48])
	m[0] = 0x60
	binary.BigEndian.PutUint16(m[4:], uint16(len(m)-40))
	m[6], m[7] = proto, DefaultTTL
	copy(m[8:24], from)
	copy(m[24:40], to)
}

// PutReset writes into m a frame that resets the connection a TCP segment is of, as
// the host it was sent to would (RFC 9293, 3.10.7.1), and returns its length; 0 when
// f is a reset itself, a fragment, or not TCP. m must hold 82 bytes.
func (f *Frame) PutReset(m []byte) int {
	const fin, syn, rst, ack = 1, 2, 4, 16
	v, b := &f.View, f.Bytes()
	if v.Proto != ProtoTCP || v.L4 == 0 || v.Fragment || b[v.L4+13]&rst != 0 || !f.WantsError() {
		return 0
	}
	p, s := b[v.L3:], b[v.L4:]
	n := f.putLink(m)
	var tcp []byte
	var pseudo uint64
	if v.EtherType == EtherIPv4 {
		m = m[:n+40]
		put4(m[n:], ProtoTCP, p[16:20], p[12:16])
		tcp, pseudo = m[n+20:], Sum(m[n+12:n+20], ProtoTCP+20)
	} else {
		m = m[:n+60]
		put6(m[n:], ProtoTCP, p[24:40], p[8:24])
		tcp, pseudo = m[n+40:], Sum(m[n+8:n+40], ProtoTCP+20)
	}
	clear(tcp)
	copy(tcp, s[2:4])
	copy(tcp[2:], s[:2])
	tcp[12], tcp[13] = 5<<4, rst
	if s[13]&ack != 0 {
		copy(tcp[4:8], s[8:12])
	} else {
		length := uint32(f.L4Len()) - uint32(v.Payload-v.L4) + uint32(s[13]&syn)/syn + uint32(s[13]&fin)
		binary.BigEndian.PutUint32(tcp[8:], binary.BigEndian.Uint32(s[4:])+length)
		tcp[13] = rst | ack
	}
	binary.BigEndian.PutUint16(tcp[16:], Checksum(tcp, pseudo))
	return len(m)
}
