package nettest

import (
	"encoding/binary"

	"weft/internal/frame"
)

// TCPSuper returns a superframe as a kernel hands it to a TAP with TSO: one TCP
// segment that stands for many of size payload bytes, its checksum field holding
// the pseudo-header's sum (virtio 1.2, 5.1.6.2).
func TCPSuper(from, to Host, s Segment, size uint16) ([]byte, frame.Offload) {
	l4 := tcpBytes(s)
	hdr := 20 + len(s.Options)
	gso := frame.GSOTCP4
	if from.IP.Is6() {
		gso = frame.GSOTCP6
	}
	return super(from, to, frame.ProtoTCP, l4, hdr, 16, gso, size)
}

// UDPSuper returns a superframe as with USO: one UDP datagram that stands for
// many of size payload bytes each, but the last.
func UDPSuper(from, to Host, sport, dport uint16, payload []byte, size uint16) ([]byte, frame.Offload) {
	l4 := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(l4, sport)
	binary.BigEndian.PutUint16(l4[2:], dport)
	binary.BigEndian.PutUint16(l4[4:], uint16(8+len(payload)))
	l4 = append(l4, payload...)
	return super(from, to, frame.ProtoUDP, l4, 8, 6, frame.GSOUDP, size)
}

// NeedsCsum returns a copy of a whole TCP or UDP frame as a kernel with checksum
// offload hands it over, unfinished.
func NeedsCsum(f []byte) ([]byte, frame.Offload) {
	f = append([]byte{}, f...)
	l3, l4, proto := frame.EtherLen, frame.EtherLen+20, uint8(0)
	pseudoFrom, pseudoTo := l3+12, l3+20
	if binary.BigEndian.Uint16(f[12:]) == frame.EtherIPv6 {
		proto, l4 = f[l3+6], l3+40
		pseudoFrom, pseudoTo = l3+8, l3+40
	} else {
		proto = f[l3+9]
	}
	at := 16
	if proto == frame.ProtoUDP {
		at = 6
	}
	n := len(f) - l4
	h := append([]byte{}, f[pseudoFrom:pseudoTo]...)
	h = append(h, 0, proto, byte(n>>8), byte(n))
	binary.BigEndian.PutUint16(f[l4+at:], ^checksum(h, 0))
	return f, frame.Offload{Flags: frame.NeedsCsum, CsumStart: uint16(l4), CsumOffset: uint16(at)}
}

func super(from, to Host, proto uint8, l4 []byte, hdr, csum int, gso frame.GSO, size uint16) ([]byte, frame.Offload) {
	binary.BigEndian.PutUint16(l4[csum:], uint16(pseudo(from.IP, to.IP, proto, len(l4))))
	f := Ether(to.MAC, from.MAC, EtherTypeOf(from.IP), IP(from.IP, to.IP, proto, l4))
	start := len(f) - len(l4)
	return f, frame.Offload{Flags: frame.NeedsCsum, GSO: gso, HdrLen: uint16(start + hdr), Size: size,
		CsumStart: uint16(start), CsumOffset: uint16(csum)}
}
