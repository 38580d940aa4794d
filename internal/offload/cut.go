package offload

import (
	"encoding/binary"

	"weft/internal/frame"
)

// The flags of byte 13 of a TCP header (RFC 9293, 3.1; RFC 3168, 6.1).
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpCWR = 0x80
)

// A cut is what every segment of one superframe has in common.
type cut struct {
	header, payload []byte // borrowed: the superframe's
	size            int    // payload bytes per segment
	l3, l4          int
	v6, udp, sum    bool   // sum: the segments carry a transport checksum
	pseudo          uint64 // sum of the pseudo-header's addresses and protocol
	id              uint16 // IPv4 identification of the first segment
	seq             uint32 // TCP sequence number of the first segment
	flags           uint8  // TCP flags of the superframe
}

// plan reads the superframe's headers; it never looks at HdrLen, which for
// forwarded traffic may be anything. It reports whether f can be cut.
func (c *cut) plan(f *frame.Frame) bool {
	b, v := f.Bytes(), &f.View
	kind := f.Offload.GSO.Kind()
	c.udp, c.v6 = kind == frame.GSOUDP, v.EtherType == frame.EtherIPv6
	c.size, c.l3, c.l4 = int(f.Offload.Size), int(v.L3), int(v.L4)
	switch {
	case v.L4 == 0 || v.Payload == 0 || v.Fragment || c.size == 0:
		return false
	case kind == frame.GSOTCP4 && (c.v6 || v.Proto != frame.ProtoTCP),
		kind == frame.GSOTCP6 && (!c.v6 || v.Proto != frame.ProtoTCP),
		kind == frame.GSOUDP && v.Proto != frame.ProtoUDP,
		kind != frame.GSOTCP4 && kind != frame.GSOTCP6 && kind != frame.GSOUDP:
		return false
	}
	end := packetEnd(f)
	c.header, c.payload = b[:v.Payload], b[v.Payload:end]
	c.pseudo = c.pseudoSum(f, end)
	c.sum = true
	if !c.v6 {
		c.id = binary.BigEndian.Uint16(b[c.l3+4:])
	}
	if c.udp {
		// RFC 768: an IPv4 datagram may go without; then all of them do.
		unsummed := b[c.l4+6] == 0 && b[c.l4+7] == 0
		c.sum = c.v6 || !unsummed || f.Offload.Flags&frame.NeedsCsum != 0
		return true
	}
	c.seq = binary.BigEndian.Uint32(b[c.l4+4:])
	c.flags = b[c.l4+13]
	return true
}

// pseudoSum returns the pseudo-header's sum without a length. Usually it is
// computed, whatever the field holds. Behind a source route or a routing header
// the address that counts is not the header's (RFC 8200, 8.1); there the
// sender's sum, which includes its length, is taken.
func (c *cut) pseudoSum(f *frame.Frame, end int) uint64 {
	plain := c.l3 + 20
	if c.v6 {
		plain = c.l3 + 40
	}
	if c.l4 == plain || f.Offload.Flags&frame.NeedsCsum == 0 {
		return f.PseudoSum(0)
	}
	at := c.l4 + int(f.Offload.CsumOffset)
	return uint64(binary.BigEndian.Uint16(f.Bytes()[at:])) + uint64(^uint16(end-c.l4))
}

// patch turns the copied headers of segment i into its own and puts part, its
// payload, behind them.
func (c *cut) patch(b []byte, i int, last bool, part []byte) {
	p, t, header := b[c.l3:], b[c.l4:], len(c.header)
	if c.v6 {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	} else {
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		binary.BigEndian.PutUint16(p[4:], c.id+uint16(i))
		frame.SetIPv4Checksum(p[:c.l4-c.l3])
	}
	field := t[16:18]
	if c.udp {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
		field = t[6:8]
	} else {
		binary.BigEndian.PutUint32(t[4:], c.seq+uint32(i*c.size))
		flags := c.flags
		if !last {
			flags &^= tcpFIN | tcpPSH
		}
		if i > 0 {
			flags &^= tcpCWR // RFC 3168, 6.1.2: told once
		}
		t[13] = flags
	}
	if !c.sum {
		copy(b[header:], part)
		return
	}
	field[0], field[1] = 0, 0
	sum := frame.Sum(b[c.l4:header], c.pseudo+uint64(len(t)))
	put(field, ^frame.Fold(frame.CopySum(b[header:], part, sum)), c.udp)
}
