package arp

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"weft/internal/frame"
)

// ARP over Ethernet for IPv4 (RFC 826), in bytes from the network header:
//
//	0       2       4     5     6    8           14         18          24      28
//	| htype | ptype | hln | pln | op | sender MAC | sender IP | target MAC | target IP |
const (
	packetLen = 28
	offOp     = 6
	offSHA    = 8
	offSPA    = 14
	offTHA    = 18
	offTPA    = 24
)

// Hardware types. Hosts take the second as well on Ethernet (RFC 2625 networks
// use it), so the guard must read it too.
const (
	hwEthernet = 1
	hwIEEE802  = 6
)

// The operations of RFC 826.
const (
	OpRequest = 1
	OpReply   = 2
)

// ErrMalformed means that a packet contradicts its own format.
var ErrMalformed = errors.New("malformed ARP or ND packet")

// ErrNotARP means that a frame carries something else.
var ErrNotARP = errors.New("not an ARP or ND packet")

// A Packet is an ARP packet for IPv4 over Ethernet. The addresses are IPv4.
type Packet struct {
	Op                   uint16
	SenderMAC, TargetMAC frame.MAC
	SenderIP, TargetIP   netip.Addr
}

// ParsePacket reads the ARP packet in f, which must have been parsed. It returns
// ErrNotARP for other frames and for ARP of other protocols than IPv4.
func ParsePacket(f *frame.Frame) (Packet, error) {
	p, r := arpBytes(f)
	switch r {
	case Bad:
		return Packet{}, ErrMalformed
	case Ignore:
		return Packet{}, ErrNotARP
	}
	return Packet{
		Op:        binary.BigEndian.Uint16(p[offOp:]),
		SenderMAC: frame.MAC(p[offSHA:]), SenderIP: netip.AddrFrom4([4]byte(p[offSPA:])),
		TargetMAC: frame.MAC(p[offTHA:]), TargetIP: netip.AddrFrom4([4]byte(p[offTPA:])),
	}, nil
}

// Append appends the packet's 28 bytes, without an Ethernet header, to b.
func (p *Packet) Append(b []byte) []byte {
	b = append(b, 0, hwEthernet, frame.EtherIPv4>>8, frame.EtherIPv4&0xff, 6, 4)
	b = binary.BigEndian.AppendUint16(b, p.Op)
	spa, tpa := p.SenderIP.As4(), p.TargetIP.As4()
	b = append(append(b, p.SenderMAC[:]...), spa[:]...)
	return append(append(b, p.TargetMAC[:]...), tpa[:]...)
}

// arpBytes returns the 28 bytes of the ARP packet in f and Reply if they may be
// looked at, Ignore for what is not ARP for IPv4, Bad for what is malformed.
func arpBytes(f *frame.Frame) ([]byte, Verdict) {
	if f.View.EtherType != frame.EtherARP {
		return nil, Ignore
	}
	p := f.Bytes()[f.View.L3:]
	if len(p) < 8 {
		return nil, Bad
	}
	if hw := binary.BigEndian.Uint16(p); hw != hwEthernet && hw != hwIEEE802 {
		return nil, Bad // no other hardware can be on an Ethernet
	}
	if binary.BigEndian.Uint16(p[2:]) != frame.EtherIPv4 {
		return nil, Ignore // RFC 826: "Do I speak the protocol?"
	}
	if p[4] != 6 || p[5] != 4 || len(p) < packetLen {
		return nil, Bad
	}
	p = p[:packetLen]
	// RFC 1812, 3.3.2: a group address is nobody's.
	if sha := frame.MAC(p[offSHA:]); isGroup(sha) || sha == (frame.MAC{}) {
		return nil, Bad
	}
	return p, Reply
}

func isGroup(m frame.MAC) bool { return m[0]&1 != 0 }
