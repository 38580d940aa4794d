package capture

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// writeSize is how many bytes a writer gathers before it writes.
const writeSize = 256 << 10

// A PcapWriter writes a classic pcap file of Ethernet frames with nanosecond
// timestamps, little-endian on every machine. Errors stay: Flush returns the
// first.
type PcapWriter struct {
	w   io.Writer
	buf []byte
	err error
}

// NewPcapWriter returns a writer that has buffered the file header.
func NewPcapWriter(w io.Writer) *PcapWriter {
	p := &PcapWriter{w: w, buf: make([]byte, 0, writeSize)}
	le := binary.LittleEndian
	p.buf = le.AppendUint32(p.buf, magicNanos)
	p.buf = le.AppendUint16(p.buf, 2)
	p.buf = le.AppendUint16(p.buf, 4)
	p.buf = le.AppendUint64(p.buf, 0) // reserved: once time zone and accuracy
	p.buf = le.AppendUint32(p.buf, 262144)
	p.buf = le.AppendUint32(p.buf, uint32(Ethernet))
	return p
}

// Write appends one record. origLen is the length on the wire, len(data) unless
// the record was cut short. data is copied.
func (p *PcapWriter) Write(ns int64, data []byte, origLen int) error {
	if sec := ns / 1e9; p.err == nil && (ns < 0 || sec > math.MaxUint32) {
		p.err = fmt.Errorf("time %d ns lies outside 1970 to 2106, the range of classic pcap", ns)
	}
	if len(p.buf)+pcapRecordHeader+len(data) > writeSize {
		p.flush()
	}
	if p.err != nil {
		return p.err
	}
	n := len(p.buf)
	p.buf = p.buf[:n+pcapRecordHeader]
	h, le := p.buf[n:], binary.LittleEndian
	le.PutUint32(h, uint32(ns/1e9))
	le.PutUint32(h[4:], uint32(ns%1e9))
	le.PutUint32(h[8:], uint32(len(data)))
	le.PutUint32(h[12:], uint32(origLen))
	p.buf = append(p.buf, data...)
	return nil
}

func (p *PcapWriter) flush() {
	if p.err == nil && len(p.buf) > 0 {
		_, p.err = p.w.Write(p.buf)
	}
	p.buf = p.buf[:0]
}

// Flush writes what is buffered and returns the first error there was.
func (p *PcapWriter) Flush() error {
	p.flush()
	return p.err
}
