package capture

import (
	"encoding/binary"
	"fmt"
	"io"

	"weft/internal/frame"
)

// The classic file (draft-ietf-opsawg-pcap, 4 and 5), in the byte order of the
// machine that wrote it:
//
//	file header, 24 bytes:   magic | major, minor | reserved | reserved | snaplen | FCS length, link type
//	record header, 16 bytes: seconds | micro- or nanoseconds | captured length | original length
const (
	pcapFileHeader   = 24
	pcapRecordHeader = 16

	magicMicros = 0xa1b2c3d4
	magicNanos  = 0xa1b23c4d
)

// pcapFormat reads the records of a classic file. The byte order is a flag and
// not an interface: this loop carries replays at full speed.
type pcapFormat struct {
	big  bool
	unit int64 // nanoseconds per unit of the fraction
	fcs  int   // bytes of frame check sequence at the end of each record
	n    int   // records read
}

// openPcap reads the file header.
func openPcap(s *source) (*pcapFormat, error) {
	h := s.peek(pcapFileHeader)
	f := &pcapFormat{}
	switch {
	case isMagic(h, magicMicros, f):
		f.unit = 1000
	case isMagic(h, magicNanos, f):
		f.unit = 1
	default:
		if what := foreign(h); what != "" {
			return nil, s.damaged(0, "neither pcap nor pcapng but %s", what)
		}
		return nil, s.damaged(0, "neither pcap nor pcapng: it begins with % x", h[:4])
	}
	if len(h) < pcapFileHeader {
		return nil, s.damaged(0, "file header cut short: %d of %d bytes", len(h), pcapFileHeader)
	}
	major, minor := uint16(f.u32(h[4:])), uint16(f.u32(h[4:])>>16)
	if f.big {
		major, minor = minor, major
	}
	if major != 2 {
		return nil, s.damaged(4, "pcap version %d.%d, expected 2.x", major, minor)
	}
	network := f.u32(h[20:])
	if t := LinkType(network); t != Ethernet {
		return nil, &FormatError{Path: s.path, Offset: 20, Err: ErrLinkType, Msg: linkTypeMsg(t)}
	}
	if network&(1<<26) != 0 { // the F bit: the top four bits count 16-bit words of FCS
		f.fcs = int(network>>28) * 2
	}
	s.take(pcapFileHeader)
	return f, nil
}

func linkTypeMsg(t LinkType) string {
	return fmt.Sprintf("link type %v, expected ETHERNET (1)", t)
}

// isMagic compares the first four bytes with a magic number in both orders.
func isMagic(h []byte, magic uint32, f *pcapFormat) bool {
	f.big = binary.BigEndian.Uint32(h) == magic
	return f.big || binary.LittleEndian.Uint32(h) == magic
}

func (f *pcapFormat) u32(b []byte) uint32 {
	if f.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// next reads one record.
func (f *pcapFormat) next(s *source, p *Packet) error {
	h := s.peek(pcapRecordHeader)
	if len(h) < pcapRecordHeader {
		if len(h) == 0 && s.broken() == nil {
			return io.EOF
		}
		return s.damaged(s.off, "header of record %d cut short: %d of %d bytes", f.n+1, len(h), pcapRecordHeader)
	}
	f.n++
	captured := int64(f.u32(h[8:]))
	*p = Packet{
		Time:    int64(f.u32(h))*1e9 + int64(f.u32(h[4:]))*f.unit,
		Offset:  s.off,
		OrigLen: int(f.u32(h[12:])),
	}
	s.take(pcapRecordHeader)
	if captured > MaxRecord {
		p.Reason = frame.Oversized
		if n := s.skip(captured); n < captured {
			return s.damaged(p.Offset, "record %d says %d bytes, the file ends after %d", f.n, captured, n)
		}
		return nil
	}
	p.Data = s.peek(int(captured))
	if len(p.Data) < int(captured) {
		return s.damaged(p.Offset, "record %d says %d bytes, the file ends after %d", f.n, captured, len(p.Data))
	}
	s.take(int(captured))
	p.trim(f.fcs)
	return nil
}

// trim takes the frame check sequence off a record that was captured whole.
func (p *Packet) trim(fcs int) {
	if fcs > 0 && !p.Snapped() && len(p.Data) >= fcs {
		p.Data = p.Data[:len(p.Data)-fcs]
		p.OrigLen = len(p.Data)
	}
}
