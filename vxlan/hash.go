package vxlan

import (
	"encoding/binary"
	"math/bits"

	"weft/internal/frame"
)

// SourcePort returns the UDP source port for a frame where every dynamic port is
// at hand, as a [Socket]'s few are not: 49152 and more, by the inner flow (RFC 7348,
// 5). The frame must have been parsed.
func SourcePort(f *frame.Frame) uint16 {
	const n = lastPoolPort - firstPoolPort + 1
	return uint16(firstPoolPort + uint64(flowHash(f))*n>>32)
}

// flowHash returns a hash over what RFC 7348, section 5, recommends for the
// source port: the inner flow. Frames of one flow get the same hash; that is the
// addresses, the protocol and, where the frame has them, the ports of an IP
// packet, else the MAC addresses. Fragments have no ports to go by.
//
// The frame's View need not be right: an answer may have been written over the
// frame that it was taken from. It is only used inside the frame.
func flowHash(f *frame.Frame) uint32 {
	b, v := f.Bytes(), &f.View
	if len(b) < frame.EtherLen {
		return 0
	}
	l3 := int(v.L3)
	var h uint64
	switch {
	case v.EtherType == frame.EtherIPv4 && len(b) >= l3+20:
		h = mix(binary.LittleEndian.Uint64(b[l3+12:]), uint64(v.Proto))
	case v.EtherType == frame.EtherIPv6 && len(b) >= l3+40:
		p := b[l3+8 : l3+40]
		h = mix(binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])) ^
			mix(binary.LittleEndian.Uint64(p[16:])^uint64(v.Proto), binary.LittleEndian.Uint64(p[24:]))
	default:
		h = mix(binary.LittleEndian.Uint64(b), uint64(binary.LittleEndian.Uint32(b[8:])))
		return uint32(h)
	}
	if l4 := int(v.L4); l4 != 0 && !v.Fragment && hasPorts(v.Proto) && len(b) >= l4+4 {
		h = mix(h, uint64(binary.LittleEndian.Uint32(b[l4:])))
	}
	return uint32(h)
}

func hasPorts(proto uint8) bool { return proto == frame.ProtoTCP || proto == frame.ProtoUDP }

// mix folds the product of two words, with bits of pi in them so that zeros do
// not stay zeros.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x243f6a8885a308d3, b^0x13198a2e03707344)
	return hi ^ lo
}
