package capture

import (
	"encoding/binary"
	"io"
)

// An NGWriter writes a pcapng file of Ethernet frames: one section,
// little-endian on every machine, nanoseconds. Options stand in ascending order
// of their codes. Errors stay: Flush returns the first.
type NGWriter struct {
	w          io.Writer
	buf        []byte
	block      int // where the block being built starts in buf
	interfaces int
	err        error
}

// NewNGWriter returns a writer that has buffered the section header. appl is
// the name and version of the program that captures.
func NewNGWriter(w io.Writer, appl string) *NGWriter {
	n := &NGWriter{w: w, buf: make([]byte, 0, writeSize)}
	n.begin(blockSection)
	n.buf = binary.LittleEndian.AppendUint32(n.buf, ngByteOrder)
	n.buf = binary.LittleEndian.AppendUint32(n.buf, 1)          // version 1.0
	n.buf = binary.LittleEndian.AppendUint64(n.buf, ^uint64(0)) // section length unknown
	n.option(optUserAppl, []byte(appl))
	n.end()
	return n
}

// AddInterface describes the next interface and returns its number, from 0 on.
// snaplen 0 means frames are captured whole.
func (n *NGWriter) AddInterface(name string, snaplen int) uint32 {
	n.begin(blockInterface)
	n.buf = binary.LittleEndian.AppendUint16(n.buf, uint16(Ethernet))
	n.buf = binary.LittleEndian.AppendUint16(n.buf, 0)
	n.buf = binary.LittleEndian.AppendUint32(n.buf, uint32(max(snaplen, 0)))
	n.option(optIfName, []byte(name))
	n.option(optTSResol, []byte{9})
	n.end()
	n.interfaces++
	return uint32(n.interfaces - 1)
}

// Write appends one record as a packet of interface id, with direction and, as
// comments, verdict and offload. Data is copied.
func (n *NGWriter) Write(id uint32, r *Record) error {
	n.begin(blockEnhanced)
	n.buf = binary.LittleEndian.AppendUint32(n.buf, id)
	n.time(r.Time)
	n.buf = binary.LittleEndian.AppendUint32(n.buf, uint32(len(r.Data)))
	n.buf = binary.LittleEndian.AppendUint32(n.buf, uint32(max(r.OrigLen, len(r.Data))))
	n.buf = append(n.buf, r.Data...)
	n.pad(len(r.Data))
	var room [96]byte
	n.option(optComment, r.appendVerdict(room[:0]))
	n.option(optComment, r.appendOffload(room[:0]))
	flags := uint32(flagInbound)
	if r.Dir == Out {
		flags = flagOutbound
	}
	n.option(optFlags, binary.LittleEndian.AppendUint32(room[:0], flags))
	n.end()
	return n.err
}

// Stats appends the statistics of interface id at a time: frames received and
// frames lost to a full buffer. comment may be empty.
func (n *NGWriter) Stats(id uint32, ns int64, received, dropped uint64, comment string) error {
	n.begin(blockStats)
	n.buf = binary.LittleEndian.AppendUint32(n.buf, id)
	n.time(ns)
	var room [8]byte
	n.option(optComment, []byte(comment))
	n.option(optIfRecv, binary.LittleEndian.AppendUint64(room[:0], received))
	n.option(optIfDrop, binary.LittleEndian.AppendUint64(room[:0], dropped))
	n.end()
	return n.err
}

// Flush writes what is buffered and returns the first error there was.
func (n *NGWriter) Flush() error {
	if n.err == nil && len(n.buf) > 0 {
		_, n.err = n.w.Write(n.buf)
	}
	n.buf = n.buf[:0]
	return n.err
}

// begin starts a block; end closes its options and fills in its two lengths.
func (n *NGWriter) begin(kind uint32) {
	n.block = len(n.buf)
	n.buf = binary.LittleEndian.AppendUint32(n.buf, kind)
	n.buf = binary.LittleEndian.AppendUint32(n.buf, 0)
}

func (n *NGWriter) end() {
	n.buf = binary.LittleEndian.AppendUint32(n.buf, optEnd)
	size := uint32(len(n.buf) - n.block + 4)
	n.buf = binary.LittleEndian.AppendUint32(n.buf, size)
	binary.LittleEndian.PutUint32(n.buf[n.block+4:], size)
	if len(n.buf) > writeSize-(80<<10) {
		n.Flush()
	}
}

// option appends one option, padded to 32 bits; an empty value is left out.
func (n *NGWriter) option(code uint16, value []byte) {
	if len(value) == 0 {
		return
	}
	value = value[:min(len(value), 1<<16-1)]
	n.buf = binary.LittleEndian.AppendUint16(n.buf, code)
	n.buf = binary.LittleEndian.AppendUint16(n.buf, uint16(len(value)))
	n.buf = append(n.buf, value...)
	n.pad(len(value))
}

func (n *NGWriter) pad(length int) {
	for range -length & 3 {
		n.buf = append(n.buf, 0)
	}
}

func (n *NGWriter) time(ns int64) {
	n.buf = binary.LittleEndian.AppendUint32(n.buf, uint32(uint64(ns)>>32))
	n.buf = binary.LittleEndian.AppendUint32(n.buf, uint32(ns))
}
