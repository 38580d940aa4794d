package capture

import (
	"encoding/binary"

	"weft/internal/frame"
)

// An addr is an IP address as two words; IPv4 lies in the low half of the
// second.
type addr struct{ hi, lo uint64 }

func (a addr) masked(m addr) addr { return addr{a.hi & m.hi, a.lo & m.lo} }

func addr4(b []byte) addr { return addr{lo: uint64(binary.BigEndian.Uint32(b))} }

func addr6(b []byte) addr {
	return addr{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

// facts are what the tests of a filter ask for, found once per frame.
type facts struct {
	length    int
	ether     bool // long enough for an Ethernet header
	dst, src  frame.MAC
	tags      int
	vids      [2]uint16
	etherType uint16
	family    uint8 // 4 or 6 when ip holds an address pair, also that of ARP; 0 otherwise
	from, to  addr
	next      uint8  // the IP header's own protocol field
	proto     uint8  // the protocol behind IPv6 extension headers
	l4        []byte // borrowed: what is behind the IP headers, if they were all there
	ports     bool   // sport and dport are there
	sport     uint16
	dport     uint16
	verdict   frame.Verdict
	reason    frame.Reason
}

// EtherType of reverse ARP (RFC 903).
const etherRARP = 0x8035

// find reads the facts out of a frame's bytes, checking every length itself:
// frames dropped as malformed are matched, too.
func (x *facts) find(f *frame.Frame) {
	b := f.Bytes()
	x.length, x.verdict, x.reason = len(b), f.Verdict, f.Reason
	if len(b) < frame.EtherLen {
		return
	}
	x.ether = true
	x.dst, x.src = frame.MAC(b[0:6]), frame.MAC(b[6:12])
	x.etherType = binary.BigEndian.Uint16(b[12:])
	b = b[frame.EtherLen:]
	for x.tags < 2 && (x.etherType == frame.EtherVLAN || x.etherType == frame.EtherQinQ) && len(b) >= 4 {
		x.vids[x.tags] = binary.BigEndian.Uint16(b) & 0xfff
		x.etherType = binary.BigEndian.Uint16(b[2:])
		x.tags++
		b = b[4:]
	}
	switch x.etherType {
	case frame.EtherIPv4:
		x.ipv4(b)
	case frame.EtherIPv6:
		x.ipv6(b)
	case frame.EtherARP, etherRARP:
		if len(b) >= 28 && binary.BigEndian.Uint16(b[2:]) == frame.EtherIPv4 && b[4] == 6 && b[5] == 4 {
			x.family, x.from, x.to = 4, addr4(b[14:]), addr4(b[24:])
		}
	}
}

func (x *facts) ipv4(b []byte) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return
	}
	x.family, x.from, x.to, x.next, x.proto = 4, addr4(b[12:]), addr4(b[16:]), b[9], b[9]
	head := int(b[0]&15) * 4
	first := binary.BigEndian.Uint16(b[6:])&0x1fff == 0
	if first && head >= 20 && len(b) >= head {
		x.transport(b[head:])
	}
}

// ipv6 walks at most eight extension headers (RFC 8200, 4).
func (x *facts) ipv6(b []byte) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return
	}
	x.family, x.from, x.to, x.next, x.proto = 6, addr6(b[8:]), addr6(b[24:]), b[6], b[6]
	b = b[40:]
	for range 8 {
		size := 0
		switch x.proto {
		case 0, 43, 60, 135: // hop-by-hop, routing, destination options, mobility
			if len(b) >= 2 {
				size = int(b[1])*8 + 8
			}
		case 51: // authentication
			if len(b) >= 2 {
				size = int(b[1])*4 + 8
			}
		case 44: // fragment
			size = 8
			if len(b) >= 8 && binary.BigEndian.Uint16(b[2:])&0xfff8 != 0 {
				x.proto = b[0]
				return
			}
		default:
			x.transport(b)
			return
		}
		if size == 0 || len(b) < size {
			return
		}
		x.proto, b = b[0], b[size:]
	}
}

func (x *facts) transport(b []byte) {
	x.l4 = b
	switch x.proto {
	case frame.ProtoTCP, frame.ProtoUDP, protoSCTP:
		if len(b) >= 4 {
			x.ports = true
			x.sport, x.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		}
	}
}

// IP protocol numbers beside those of package frame.
const (
	protoIGMP = 2
	protoESP  = 50
	protoAH   = 51
	protoSCTP = 132
)

// testKind is what one test of a filter compares.
type testKind uint8

const (
	testEtherType testKind = iota // lo
	testProto                     // family (0: both), lo
	testAddr                      // family, etherType, want, mask
	testPorts                     // proto (0: any with ports), lo..hi
	testMAC                       // mac
	testVLAN                      // any tag
	testVID                       // lo
	testGroup                     // destination MAC is a group address
	testLonger                    // at least n bytes
	testShorter                   // at most n bytes
	testDropped                   // reason (NotDropped: any)
)

// side says which of source and destination a test looks at.
type side uint8

const (
	either side = iota
	sourceSide
	destSide
	bothSides
)

// pick combines the outcomes for source and destination.
func (s side) pick(src, dst bool) bool {
	switch s {
	case sourceSide:
		return src
	case destSide:
		return dst
	case bothSides:
		return src && dst
	}
	return src || dst
}

// A test is one comparison; which members count is said at its kind.
type test struct {
	kind       testKind
	side       side
	family     uint8
	proto      uint8
	reason     frame.Reason
	lo, hi     uint16
	etherType  uint16 // testAddr: of these frames alone; 0: any
	mac        frame.MAC
	n          int
	want, mask addr
}

// holds reports whether a frame passes the test.
func (t *test) holds(x *facts) bool {
	switch t.kind {
	case testEtherType:
		return x.ether && x.etherType == t.lo
	case testProto:
		return x.isIP() && (t.family == 0 || t.family == x.family) && (uint16(x.proto) == t.lo || uint16(x.next) == t.lo)
	case testAddr:
		return x.family == t.family && (t.etherType == 0 || t.etherType == x.etherType) &&
			t.side.pick(x.from.masked(t.mask) == t.want, x.to.masked(t.mask) == t.want)
	case testPorts:
		return x.ports && (t.proto == 0 || t.proto == x.proto) &&
			t.side.pick(t.lo <= x.sport && x.sport <= t.hi, t.lo <= x.dport && x.dport <= t.hi)
	case testMAC:
		return x.ether && t.side.pick(x.src == t.mac, x.dst == t.mac)
	case testVLAN:
		return x.tags > 0
	case testVID:
		return x.tags > 0 && x.vids[0] == t.lo || x.tags > 1 && x.vids[1] == t.lo
	case testGroup:
		return x.ether && x.dst[0]&1 == 1
	case testLonger:
		return x.length >= t.n
	case testShorter:
		return x.length <= t.n
	case testDropped:
		return x.verdict == frame.Dropped && (t.reason == frame.NotDropped || t.reason == x.reason)
	}
	return false
}

func (x *facts) isIP() bool {
	return x.family != 0 && (x.etherType == frame.EtherIPv4 || x.etherType == frame.EtherIPv6)
}
