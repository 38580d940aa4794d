package offload

import (
	"encoding/binary"

	"weft/internal/frame"
)

// A segment is one frame as the merger sees it.
type segment struct {
	f           *frame.Frame
	b           []byte // borrowed: f's bytes
	payload     []byte
	l3, l4, hdr int // offsets; hdr is the length of all headers
	hash        uint32
	seq         uint32
	id          uint16
	flags       uint8 // TCP
	v6, udp     bool
	mergeable   bool
}

// scope says whose order a frame has to do with.
type scope uint8

const (
	ownFlow   scope = iota // the flow in the segment
	otherFlow              // none that is ever merged: ARP, ICMP, ...
	anyFlow                // perhaps any: a fragment, a header not looked into
)

// read finds a frame's flow and whether it may be merged by a port with caps.
func (s *segment) read(f *frame.Frame, caps frame.Caps) scope {
	v := &f.View
	if v.EtherType != frame.EtherIPv4 && v.EtherType != frame.EtherIPv6 ||
		!v.Fragment && (v.Proto == frame.ProtoICMP || v.Proto == frame.ProtoICMPv6) {
		return otherFlow
	}
	if v.Fragment || v.L4 == 0 || v.Payload == 0 {
		return anyFlow
	}
	s.f, s.b = f, f.Bytes()
	s.l3, s.l4, s.hdr = int(v.L3), int(v.L4), int(v.Payload)
	s.v6, s.udp = v.EtherType == frame.EtherIPv6, v.Proto == frame.ProtoUDP
	s.payload = s.b[s.hdr:packetEnd(f)]
	s.hash = s.hashFlow()
	s.mergeable = caps&s.cap() != 0 && f.Offload.GSO == frame.GSONone && len(s.payload) > 0 &&
		s.partialOK() && s.ipOK() && s.l4OK()
	return ownFlow
}

// cap returns what a port must be capable of to take the superframe.
func (s *segment) cap() frame.Caps {
	switch {
	case s.udp:
		return frame.CapUSO
	case s.v6:
		return frame.CapTSO6
	}
	return frame.CapTSO4
}

// addrs returns the addresses of the IP header, source first.
func (s *segment) addrs() []byte {
	if s.v6 {
		return s.b[s.l3+8 : s.l3+40]
	}
	return s.b[s.l3+12 : s.l3+20]
}

func (s *segment) ports() uint32 { return binary.BigEndian.Uint32(s.b[s.l4:]) }

func (s *segment) hashFlow() uint32 {
	h := uint64(s.ports())
	for a := s.addrs(); len(a) >= 8; a = a[8:] {
		h = (h ^ binary.BigEndian.Uint64(a)) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return uint32(h)
}

func (s *segment) sameFlow(o *segment) bool {
	return s.v6 == o.v6 && s.udp == o.udp && s.ports() == o.ports() && string(s.addrs()) == string(o.addrs())
}

// field returns where the transport checksum lies.
func (s *segment) field() int {
	if s.udp {
		return s.l4 + 6
	}
	return s.l4 + 16
}

// partialOK reports whether a checksum left undone is the transport's own.
func (s *segment) partialOK() bool {
	o := &s.f.Offload
	return o.Flags&frame.NeedsCsum == 0 ||
		int(o.CsumStart) == s.l4 && int(o.CsumStart)+int(o.CsumOffset) == s.field()
}

// ipOK refuses options, extension headers and wrong IPv4 header checksums, over
// which the superframe would put a right one.
func (s *segment) ipOK() bool {
	if s.v6 {
		return s.l4 == s.l3+40
	}
	s.id = binary.BigEndian.Uint16(s.b[s.l3+4:])
	return s.l4 == s.l3+20 && frame.Checksum(s.b[s.l3:s.l4], 0) == 0
}

// l4OK refuses segments that do more than carry data.
func (s *segment) l4OK() bool {
	t := s.b[s.l4:]
	if s.udp {
		// A datagram without checksum (RFC 768) must stay one, and a length
		// other than the packet's would be lost.
		sum := t[6]|t[7] != 0 || s.f.Offload.Flags&frame.NeedsCsum != 0
		return sum && int(binary.BigEndian.Uint16(t[4:])) == 8+len(s.payload)
	}
	const ece = 0x40
	s.seq, s.flags = binary.BigEndian.Uint32(t[4:]), t[13]
	return t[12]&0x0f == 0 && s.flags&tcpACK != 0 && s.flags&^(tcpACK|tcpPSH|ece) == 0
}

// sumOK verifies a complete transport checksum.
func (s *segment) sumOK() bool {
	if s.f.Offload.Flags&(frame.NeedsCsum|frame.DataValid) != 0 {
		return true
	}
	t := s.b[s.l4 : s.hdr+len(s.payload)]
	return frame.Checksum(t, s.f.PseudoSum(len(t))) == 0
}
