package nettool

import "encoding/binary"

// The ICMP types of echo (RFC 792; RFC 4443, 4).
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
)

// Echo builds an ICMP echo message with size bytes of payload:
//
//	0      1      2          4    6     8
//	| type | code | checksum | id | seq | payload |
//
// The checksum of ICMPv6, which covers addresses, is left to the raw socket, as
// RFC 3542, 3.1 has it.
func Echo(v6, reply bool, id, seq uint16, size int) []byte {
	b := make([]byte, 8+size)
	switch {
	case v6 && reply:
		b[0] = echoReply6
	case v6:
		b[0] = echoRequest6
	case reply:
		b[0] = echoReply4
	default:
		b[0] = echoRequest4
	}
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	for i := range size {
		b[8+i] = byte(i)
	}
	if !v6 {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
}

// ParseEchoReply reads an echo reply as a raw socket delivers it, without IP
// header and with a checksum the kernel has verified.
func ParseEchoReply(v6 bool, b []byte) (id, seq uint16, ok bool) {
	want := byte(echoReply4)
	if v6 {
		want = echoReply6
	}
	if len(b) < 8 || b[0] != want || b[1] != 0 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]), true
}

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum)
}
