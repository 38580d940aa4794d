package frame

import "encoding/binary"

// TCP: the SYN bit (RFC 9293, 3.1) and the options looked at (3.2).
const (
	tcpSYN    = 0x02
	optEnd    = 0
	optNop    = 1
	optMSS    = 2
	optMSSLen = 4
)

// ExcessMSS returns where a SYN asks for a maximum segment size that does not fit a
// packet of mtu bytes, and the one that does, IP and TCP headers taken without
// options (RFC 6691, 2); zeroes if it does not. A SYN without the option stays so:
// 536 and 1,220 bytes fit everywhere.
func (f *Frame) ExcessMSS(mtu int) (at, limit int) {
	if at = f.FindMSS(); at == 0 {
		return 0, 0
	}
	limit = mtu - 40
	if f.View.EtherType == EtherIPv6 {
		limit = mtu - 60
	}
	if limit <= 0 || limit >= int(be16(f.Bytes()[at:])) {
		return 0, 0
	}
	return at, limit
}

// SetMSS rewrites the option at at and what the checksum says of it.
func (f *Frame) SetMSS(at, limit int) {
	b, l4 := f.Bytes(), int(f.View.L4)
	old := be16(b[at:])
	binary.BigEndian.PutUint16(b[at:], uint16(limit))
	if f.Offload.Flags&NeedsCsum != 0 {
		return // the field holds the pseudo-header's sum alone
	}
	now := uint16(limit)
	if (at-l4)%2 == 1 { // lies across two words of the sum
		old, now = old<<8|old>>8, now<<8|now>>8
	}
	sum := b[l4+16 : l4+18]
	binary.BigEndian.PutUint16(sum, Adjust(be16(sum), old, now))
}

// FindMSS returns where the value of a SYN's maximum segment size option lies, 0
// when the frame has none. The frame must have been parsed.
func (f *Frame) FindMSS() int {
	v, b := &f.View, f.Bytes()
	if v.Proto != ProtoTCP || v.L4 == 0 || v.Fragment || b[v.L4+13]&tcpSYN == 0 {
		return 0
	}
	if at := f.TCPOption(optMSS, optMSSLen); at != 0 {
		return at + 2
	}
	return 0
}

// TCPOption returns where the first TCP option of a kind and a length in bytes
// lies, 0 when there is none (RFC 9293, 3.1). The frame must have been parsed and
// be TCP.
func (f *Frame) TCPOption(kind byte, length int) int {
	b := f.Bytes()
	for at, end := int(f.View.L4)+20, int(f.View.Payload); at < end; {
		if b[at] == optNop {
			at++
			continue
		}
		if b[at] == optEnd || at+2 > end {
			return 0
		}
		n := int(b[at+1])
		if n < 2 || at+n > end {
			return 0
		}
		if b[at] == kind && n == length {
			return at
		}
		at += n
	}
	return 0
}
