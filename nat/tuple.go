package nat

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"weft/internal/frame"
)

// An addr is an IP address in two words, IPv4 as its IPv4-mapped IPv6 address, so
// that for IPv4 only lo has to be looked at.
type addr struct{ hi, lo uint64 }

const mapped4 = 0xffff << 32

func addr4(b []byte) addr { return addr{0, mapped4 | uint64(binary.BigEndian.Uint32(b))} }

func addr6(b []byte) addr {
	return addr{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func addrOf(a netip.Addr) addr {
	b := a.As16()
	return addr6(b[:])
}

// netip returns the address; IPv4 is never IPv4-mapped.
func (a addr) netip() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b).Unmap()
}

func (a addr) v4() bool { return a.hi == 0 && a.lo>>32 == 0xffff }

// put writes the address as it stands in a header of its family.
func (a addr) put(b []byte, v6 bool) {
	if v6 {
		binary.BigEndian.PutUint64(b, a.hi)
		binary.BigEndian.PutUint64(b[8:], a.lo)
		return
	}
	binary.BigEndian.PutUint32(b, uint32(a.lo))
}

// sum returns the address's part of a one's complement sum. The two words of ffff
// that map an IPv4 address add nothing to it.
func (a addr) sum() uint64 { return a.hi>>32 + a.hi&0xffffffff + a.lo>>32 + a.lo&0xffffffff }

// A kind is one of the protocols that flows are told apart in.
type kind uint8

const (
	kindTCP kind = iota
	kindUDP
	kindEcho // ICMP and ICMPv6 echo, whose identifier takes the port's place
	kinds
)

// proto returns the IP protocol.
func (k kind) proto(v6 bool) uint8 {
	switch {
	case k == kindTCP:
		return frame.ProtoTCP
	case k == kindUDP:
		return frame.ProtoUDP
	case v6:
		return frame.ProtoICMPv6
	}
	return frame.ProtoICMP
}

// A tuple is what a packet is known by. An echo request's source port is its
// identifier and its destination port 0, a reply's the other way round.
type tuple struct {
	src, dst addr
	ports    uint32 // source port << 16 | destination port
}

func (t tuple) sport() uint16 { return uint16(t.ports >> 16) }
func (t tuple) dport() uint16 { return uint16(t.ports) }

// reverse returns the tuple of an answer.
func (t tuple) reverse() tuple { return tuple{t.dst, t.src, bits.RotateLeft32(t.ports, 16)} }

func join(sport, dport uint16) uint32 { return uint32(sport)<<16 | uint32(dport) }

// A class is all that separates packets of equal tuples: kind, family and the side
// they come from. It is a part of each flow's state word.
type class uint64

const (
	classKind class = 0x3
	classV6   class = 1 << 2
	// classInside is set where the packet comes from the inside.
	classInside class = 1 << 3
)

func (c class) kind() kind   { return kind(c & classKind) }
func (c class) v6() bool     { return c&classV6 != 0 }
func (c class) inside() bool { return c&classInside != 0 }

// keys are the secrets of the hash: nobody outside is to aim at one bucket.
type keys [5]uint64

// newKeys spreads a seed (splitmix64).
func newKeys(seed uint64) (k keys) {
	for i := range k {
		seed += 0x9e3779b97f4a7c15
		z := (seed ^ seed>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		k[i] = z ^ z>>31
	}
	return k
}

// fold multiplies to 128 bits and folds the halves.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// tuple hashes what a packet is known by.
func (k *keys) tuple(t *tuple, c class) uint64 {
	h := fold(t.src.lo^k[0], t.dst.lo^k[1])
	if c.v6() {
		h ^= fold(t.src.hi^k[2], t.dst.hi^k[3])
	}
	return fold(h^uint64(t.ports)<<4^uint64(c), k[4])
}

// socket hashes an endpoint's address and port, one half of a mapping.
func (k *keys) socket(a addr, port uint16, c class) uint64 {
	return fold(fold(a.lo^k[1], a.hi^k[2])^uint64(port)<<4^uint64(c), k[3])
}

// host hashes an address.
func (k *keys) host(a addr) uint64 { return fold(a.lo^k[3], a.hi^k[4]) }
