package uplink

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"weft/internal/frame"
)

// An icmpError is what an ICMP error says, in terms of the family it is for.
type icmpError struct {
	kind, code uint8
	info       uint32 // the second word: an MTU, or 0
}

// A trouble is an ICMP error in terms of neither family.
type trouble uint8

const (
	portUnreachable trouble = iota
	hostUnreachable
	netUnreachable
	adminProhibited
	hopExceeded
	packetTooBig // needs an MTU
)

// of returns the error for a family: RFC 792 and RFC 1812, 5.2.7.1; RFC 4443, 3.
func (t trouble) of(v4 bool, mtu int) icmpError {
	four := [...]icmpError{
		portUnreachable: {3, 3, 0}, hostUnreachable: {3, 1, 0}, netUnreachable: {3, 0, 0},
		adminProhibited: {3, 13, 0}, hopExceeded: {11, 0, 0}, packetTooBig: {3, 4, uint32(mtu)},
	}
	six := [...]icmpError{
		portUnreachable: {1, 4, 0}, hostUnreachable: {1, 3, 0}, netUnreachable: {1, 0, 0},
		adminProhibited: {1, 1, 0}, hopExceeded: {3, 0, 0}, packetTooBig: {2, 0, uint32(mtu)},
	}
	if v4 {
		return four[t]
	}
	return six[t]
}

// The most bytes of an ICMP error's packet: RFC 1812, 4.3.2.3 and RFC 4443, 3.1.
const (
	maxError4 = 576
	maxError6 = 1280
)

// errorFrame returns a frame with an ICMP error from an address to dst, about the
// IP packet that begins with quoted.
func errorFrame(mac, to frame.MAC, from, dst netip.Addr, e icmpError, quoted []byte) []byte {
	head, most, etherType := 20, maxError4, uint16(frame.EtherIPv4)
	if dst.Is6() {
		head, most, etherType = 40, maxError6, frame.EtherIPv6
	}
	quoted = quoted[:min(len(quoted), most-head-8)]
	b := make([]byte, frame.EtherLen+head+8+len(quoted))
	putEther(b, to, mac, etherType)
	ip := b[frame.EtherLen:]
	icmp := ip[head:]
	icmp[0], icmp[1] = e.kind, e.code
	binary.BigEndian.PutUint32(icmp[4:], e.info)
	copy(icmp[8:], quoted)
	sum := uint64(0)
	if dst.Is4() {
		putIPv4(ip, from, dst, frame.ProtoICMP, 64, len(icmp), 0)
	} else {
		putIPv6(ip, from, dst, frame.ProtoICMPv6, 64, len(icmp))
		sum = pseudoSum(ip, frame.ProtoICMPv6, len(icmp))
	}
	binary.BigEndian.PutUint16(icmp[2:], frame.Checksum(icmp, sum))
	return b
}

// putEther writes the Ethernet header.
func putEther(b []byte, dst, src frame.MAC, etherType uint16) {
	copy(b, dst[:])
	copy(b[6:], src[:])
	binary.BigEndian.PutUint16(b[12:], etherType)
}

const dontFragment = 0x4000

// putIPv4 writes an IPv4 header (RFC 791, 3.1) of 20 bytes in front of n bytes.
// fragment is the word of flags and offset; with 0 the packet is not to be
// fragmented, and needs no identification (RFC 6864, 4.1).
func putIPv4(b []byte, src, dst netip.Addr, proto, ttl uint8, n int, fragment uint16) {
	s, d := src.As4(), dst.As4()
	b[0], b[1] = 0x45, 0
	binary.BigEndian.PutUint16(b[2:], uint16(20+n))
	binary.BigEndian.PutUint16(b[4:], 0)
	if fragment == 0 {
		fragment = dontFragment
	}
	binary.BigEndian.PutUint16(b[6:], fragment)
	b[8], b[9] = ttl, proto
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	frame.SetIPv4Checksum(b[:20])
}

// putIPv6 writes an IPv6 header (RFC 8200, 3) in front of n bytes.
func putIPv6(b []byte, src, dst netip.Addr, next, hops uint8, n int) {
	s, d := src.As16(), dst.As16()
	binary.BigEndian.PutUint32(b, 6<<28)
	binary.BigEndian.PutUint16(b[4:], uint16(n))
	b[6], b[7] = next, hops
	copy(b[8:], s[:])
	copy(b[24:], d[:])
}

// pseudoSum returns the sum of the pseudo-header of the IP packet ip, whose
// transport part is n bytes long.
func pseudoSum(ip []byte, proto uint8, n int) uint64 {
	initial := uint64(proto) + uint64(n)
	if ip[0]>>4 == 4 {
		return frame.Sum(ip[12:20], initial)
	}
	return frame.Sum(ip[8:40], initial)
}

// A budget bounds the ICMP errors sent (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f), for
// each of a few groups of endpoints by itself, that one does not use up all.
type budget struct {
	mu     sync.Mutex
	groups [32]struct {
		tokens float64
		at     int64
	}
}

const (
	errorBurst   = 100 // at once
	errorsSecond = 200 // in the long run
)

// take reports whether one more error may be sent to an endpoint now, now being
// in nanoseconds.
func (b *budget) take(endpoint netip.Addr, now int64) bool {
	a := endpoint.As16()
	b.mu.Lock()
	defer b.mu.Unlock()
	g := &b.groups[(a[15]^a[14]<<3)%uint8(len(b.groups))]
	if g.at == 0 {
		g.tokens = errorBurst
	} else {
		g.tokens = min(errorBurst, g.tokens+float64(now-g.at)*errorsSecond/1e9)
	}
	g.at = max(now, 1)
	if g.tokens < 1 {
		return false
	}
	g.tokens--
	return true
}
