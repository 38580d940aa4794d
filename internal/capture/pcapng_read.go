package capture

import (
	"encoding/binary"
	"io"
	"math"
	"math/bits"

	"weft/internal/frame"
)

// A pcapng file (draft-ietf-opsawg-pcapng, 3.1) is a list of blocks:
//
//	type (4) | total length (4) | body, padded to 4 | total length (4)
//
// A section header block sets the byte order and forgets all interfaces; each
// interface block has the link type and the unit of time of its packets.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 2 // obsolete, 4.x of the draft's appendix
	blockSimple    = 3
	blockStats     = 5
	blockEnhanced  = 6

	ngByteOrder     = 0x1a2b3c4d
	blockOverhead   = 12
	maxInterfaces   = 1 << 16
	maxSeconds      = math.MaxInt64 / 1_000_000_000
	maxOptionsShown = 64 << 10 // how far into an interface block its options are looked for
)

var ngMagic = []byte{0x0a, 0x0d, 0x0d, 0x0a}

// ngInterface is what one interface block says about its packets.
type ngInterface struct {
	link    LinkType
	snaplen uint32
	resol   uint8 // if_tsresol
	offset  int64 // if_tsoffset, seconds
	fcs     int
}

// ngFormat reads the blocks of a pcapng file.
type ngFormat struct {
	order      binary.ByteOrder
	interfaces []ngInterface
	last       int64 // time of the packet before, for simple packet blocks
	// The block a packet was handed out of is finished by the next call: its
	// options and its trailing length lie behind the bytes lent out.
	open bool
	at   int64 // where that block starts
	rest int64 // bytes until its trailing length
	kind uint32
	size uint32
}

// next steps through blocks up to the next packet.
func (f *ngFormat) next(s *source, p *Packet) error {
	for {
		if err := f.finish(s); err != nil {
			return err
		}
		h := s.peek(8)
		if len(h) == 0 && s.broken() == nil {
			return io.EOF
		}
		if len(h) < 8 {
			return s.damaged(s.off, "block header cut short: %d of 8 bytes", len(h))
		}
		if err := f.begin(s); err != nil {
			return err
		}
		found, err := f.body(s, p)
		if found || err != nil {
			return err
		}
	}
}

// begin checks a block's header and remembers where the block ends.
func (f *ngFormat) begin(s *source) error {
	h := s.peek(12)
	if binary.LittleEndian.Uint32(h) == blockSection { // reads the same in both orders
		if len(h) < 12 {
			return s.damaged(s.off, "section header cut short: %d of 28 bytes", len(h))
		}
		switch {
		case binary.LittleEndian.Uint32(h[8:]) == ngByteOrder:
			f.order = binary.LittleEndian
		case binary.BigEndian.Uint32(h[8:]) == ngByteOrder:
			f.order = binary.BigEndian
		default:
			return s.damaged(s.off+8, "byte order mark is % x, expected 1a 2b 3c 4d in either order", h[8:12])
		}
		f.interfaces = f.interfaces[:0]
	}
	f.at, f.kind, f.size = s.off, f.order.Uint32(h), f.order.Uint32(h[4:])
	if f.size < blockOverhead || f.size%4 != 0 {
		return s.damaged(s.off, "block length %d: expected a multiple of 4, at least %d", f.size, blockOverhead)
	}
	f.open, f.rest = true, int64(f.size)-4
	return nil
}

// finish steps over the rest of the block and compares its two lengths.
func (f *ngFormat) finish(s *source) error {
	if !f.open {
		return nil
	}
	if n := s.skip(f.rest); n < f.rest {
		return s.damaged(f.at, "block of %d bytes cut short: the file ends after %d", f.size, s.off-f.at)
	}
	t := s.peek(4)
	if len(t) < 4 {
		return s.damaged(f.at, "block of %d bytes cut short: the file ends after %d", f.size, s.off-f.at+int64(len(t)))
	}
	if again := f.order.Uint32(t); again != f.size {
		return s.damaged(s.off, "block says %d bytes at its head and %d at its end", f.size, again)
	}
	s.take(4)
	f.open = false
	return nil
}

// fixed returns the n bytes a block of this type must have behind its header.
func (f *ngFormat) fixed(s *source, what string, n int) ([]byte, error) {
	if f.rest-8 < int64(n) {
		return nil, s.damaged(f.at, "%s block of %d bytes, expected at least %d", what, f.size, n+blockOverhead)
	}
	b := s.peek(8 + n)
	if len(b) < 8+n {
		return nil, s.damaged(f.at, "block of %d bytes cut short: the file ends after %d", f.size, len(b))
	}
	return b[8:], nil
}

// body looks into one block; found reports that it was a packet.
func (f *ngFormat) body(s *source, p *Packet) (found bool, err error) {
	var b []byte
	switch f.kind {
	case blockSection:
		if b, err = f.fixed(s, "section header", 16); err == nil && f.order.Uint16(b[4:]) != 1 {
			err = s.damaged(f.at+12, "pcapng version %d.%d, expected 1.x", f.order.Uint16(b[4:]), f.order.Uint16(b[6:]))
		}
	case blockInterface:
		if b, err = f.fixed(s, "interface", 8); err == nil {
			err = f.addInterface(s, b)
		}
	case blockEnhanced:
		if b, err = f.fixed(s, "enhanced packet", 20); err == nil {
			return true, f.packet(s, p, f.order.Uint32(b), b[4:], 20)
		}
	case blockPacket:
		if b, err = f.fixed(s, "packet", 20); err == nil {
			return true, f.packet(s, p, uint32(f.order.Uint16(b)), b[4:], 20)
		}
	case blockSimple:
		if b, err = f.fixed(s, "simple packet", 4); err == nil {
			return true, f.simple(s, p, f.order.Uint32(b))
		}
	}
	return false, err
}

// addInterface reads an interface block (4.2 of the draft).
func (f *ngFormat) addInterface(s *source, b []byte) error {
	if len(f.interfaces) == maxInterfaces {
		return s.damaged(f.at, "more than %d interfaces in one section", maxInterfaces)
	}
	in := ngInterface{link: LinkType(f.order.Uint16(b)), snaplen: f.order.Uint32(b[4:]), resol: 6}
	opts := s.peek(int(min(f.rest, maxOptionsShown)))[16:]
	for len(opts) >= 4 {
		code, n := f.order.Uint16(opts), int(f.order.Uint16(opts[2:]))
		if opts = opts[4:]; code == 0 || n > len(opts) {
			break
		}
		switch {
		case code == optTSResol && n >= 1:
			in.resol = opts[0]
		case code == optFCSLen && n >= 1:
			in.fcs = int(opts[0])
		case code == optTSOffset && n >= 8:
			in.offset = int64(f.order.Uint64(opts))
		}
		opts = opts[min((n+3)&^3, len(opts)):]
	}
	f.interfaces = append(f.interfaces, in)
	return nil
}

// packet hands out an enhanced or an obsolete packet block. b starts at the
// timestamp, head is the length of all that lies before the data.
func (f *ngFormat) packet(s *source, p *Packet, id uint32, b []byte, head int) error {
	in, err := f.lookup(s, id)
	if err != nil {
		return err
	}
	units := uint64(f.order.Uint32(b))<<32 | uint64(f.order.Uint32(b[4:]))
	ns, ok := in.nanoseconds(units)
	if !ok {
		return s.damaged(f.at+12, "timestamp %d in units of if_tsresol %d lies outside 1970 to 2262", units, in.resol)
	}
	f.last = ns
	return f.data(s, p, in, head, int64(f.order.Uint32(b[8:])), f.order.Uint32(b[12:]))
}

// simple hands out a simple packet block (4.4): interface 0, no time of its own.
func (f *ngFormat) simple(s *source, p *Packet, origLen uint32) error {
	in, err := f.lookup(s, 0)
	if err != nil {
		return err
	}
	captured := origLen
	if in.snaplen != 0 {
		captured = min(captured, in.snaplen)
	}
	return f.data(s, p, in, 4, int64(captured), origLen)
}

func (f *ngFormat) lookup(s *source, id uint32) (*ngInterface, error) {
	if int64(id) >= int64(len(f.interfaces)) {
		return nil, s.damaged(f.at, "packet of interface %d, the section describes %d", id, len(f.interfaces))
	}
	in := &f.interfaces[id]
	if in.link != Ethernet {
		return nil, &FormatError{Path: s.path, Offset: f.at, Err: ErrLinkType, Msg: linkTypeMsg(in.link)}
	}
	return in, nil
}

// data lends out the packet's bytes; the block stays open until the next call.
func (f *ngFormat) data(s *source, p *Packet, in *ngInterface, head int, captured int64, origLen uint32) error {
	*p = Packet{Time: f.last, Offset: f.at, OrigLen: int(origLen)}
	if room := f.rest - 8 - int64(head); captured > room {
		return s.damaged(f.at, "packet says %d bytes, its block has room for %d", captured, room)
	}
	if captured > MaxRecord {
		p.Reason = frame.Oversized
		return f.finish(s)
	}
	b := s.peek(8 + head + int(captured))
	if len(b) < 8+head+int(captured) {
		return s.damaged(f.at, "block of %d bytes cut short: the file ends after %d", f.size, len(b))
	}
	p.Data = b[8+head:]
	s.take(len(b))
	f.rest -= int64(len(b))
	p.trim(in.fcs)
	return nil
}

// nanoseconds converts a timestamp (4.2, if_tsresol: a negative power of ten,
// or of two when the top bit is set).
func (in *ngInterface) nanoseconds(units uint64) (int64, bool) {
	var hi, lo uint64
	if v := in.resol & 0x7f; in.resol&0x80 != 0 {
		hi, lo = bits.Mul64(units, 1e9)
		if v >= 64 {
			hi, lo = 0, hi>>(v-64)
		} else if v > 0 {
			hi, lo = hi>>v, hi<<(64-v)|lo>>v
		}
	} else if v <= 9 {
		hi, lo = bits.Mul64(units, pow10(9-v))
	} else if v <= 28 {
		lo = units / pow10(v-9)
	}
	if hi != 0 || lo > math.MaxInt64 || in.offset > maxSeconds || in.offset < -maxSeconds {
		return 0, false
	}
	ns, shift := int64(lo), in.offset*1e9
	sum := ns + shift
	return sum, sum >= 0 && (shift <= 0 || sum >= ns)
}

func pow10(n uint8) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}
