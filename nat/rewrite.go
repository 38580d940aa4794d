package nat

import (
	"encoding/binary"

	"weft/internal/frame"
)

// rewrite changes a packet's tuple to another, its TTL, and its checksums by what
// that changes of them (RFC 1624, equation 3): a checksum that was wrong stays wrong,
// and the payload is not looked at, so a superframe costs what a small frame does.
func (p *packet) rewrite(f *frame.Frame, to *tuple) {
	pseudo := p.rewriteAddresses(f, to, 1)
	v, l4 := &f.View, f.Bytes()[f.View.L4:]
	// What the sum of the ports, or of the identifier, changes by.
	ports := uint64(to.ports) + uint64(^p.ports)
	var sum []byte
	switch p.c.kind() {
	case kindTCP:
		sum = l4[16:18]
		binary.BigEndian.PutUint32(l4, to.ports)
	case kindUDP:
		sum = l4[6:8]
		binary.BigEndian.PutUint32(l4, to.ports)
	default:
		sum = l4[2:4]
		id := to.sport()
		if p.answer {
			id = to.dport()
		}
		binary.BigEndian.PutUint16(l4[4:], id)
		if !p.c.v6() {
			pseudo = 0 // RFC 792: the sum of the message alone
		}
	}
	old := binary.BigEndian.Uint16(sum)
	switch {
	case f.Offload.Flags&frame.NeedsCsum != 0 && f.Offload.CsumStart == v.L4:
		// The sum of the pseudo-header alone, not complemented; whoever finishes
		// it sums the ports.
		if pseudo != 0 {
			binary.BigEndian.PutUint16(sum, frame.Fold(uint64(old)+pseudo))
		}
	case old == 0 && p.c.kind() == kindUDP:
		// None (RFC 768; RFC 6935).
	default:
		now := ^frame.Fold(uint64(^old) + pseudo + ports)
		if now == 0 && p.c.kind() == kindUDP {
			now = 0xffff
		}
		binary.BigEndian.PutUint16(sum, now)
	}
}

// rewriteAddresses changes the addresses in the network header, takes hops from its
// TTL, and changes its checksum with them.
// It returns what the sum of a pseudo-header changes by.
func (p *packet) rewriteAddresses(f *frame.Frame, to *tuple, hops uint8) uint64 {
	change := to.src.sum() + to.dst.sum() + uint64(^frame.Fold(p.src.sum()+p.dst.sum()))
	h := f.Bytes()[f.View.L3:]
	if p.c.v6() {
		h[7] = p.ttl - hops
		to.src.put(h[8:], true)
		to.dst.put(h[24:], true)
		return change
	}
	h[8] = p.ttl - hops
	to.src.put(h[12:], false)
	to.dst.put(h[16:], false)
	sum := binary.BigEndian.Uint16(h[10:])
	// TTL stands in the upper byte of its word.
	binary.BigEndian.PutUint16(h[10:], ^frame.Fold(uint64(^sum)+change+uint64(^(uint16(hops)<<8))))
	return change
}
