package cli

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Captures are pcapng (draft-ietf-opsawg-pcapng): blocks of
//
//	type 4 | length 4 | body | length 4
//
// in the byte order of the section header block before them; the daemon's are
// little-endian. They are passed on whole, so that a capture that is ended in
// the middle still ends between two blocks, and looked into for the text output:
// which port, which way, what became of the frame.

// Block types and option codes looked at, and values of the direction flags.
const (
	ngSection   = 0x0a0d0d0a
	ngInterface = 1
	ngOldPacket = 2 // obsolete
	ngSimple    = 3
	ngStats     = 5
	ngPacket    = 6

	ngComment = 1
	ngIfName  = 2
	ngIfTSRes = 9
	ngIfFCS   = 13
	ngIfTSOff = 14
	ngFlags   = 2
	ngIfDrop  = 5

	ngIn  = 1
	ngOut = 2

	ngByteOrder = 0x1a2b3c4d
	ngMaxBlock  = 16 << 20
	ngMaxPorts  = 1 << 16
)

var ngMagic = []byte{0x0a, 0x0d, 0x0d, 0x0a}

// An ngBlock is one block with its frame.
type ngBlock struct {
	kind uint32
	raw  []byte // borrowed: valid until the next block is read
}

func (b ngBlock) body() []byte { return b.raw[8 : len(b.raw)-4] }

func (b ngBlock) isPacket() bool {
	return b.kind == ngPacket || b.kind == ngOldPacket || b.kind == ngSimple
}

// An ngReader reads blocks and remembers what the section says of its
// interfaces. Errors name the byte of the stream where the block starts.
type ngReader struct {
	r      *bufio.Reader
	buf    []byte
	order  binary.ByteOrder
	off    int64 // where the block read last starts
	end    int64 // where the next one does
	ports  []ngPort
	last   int64 // time of the packet before, for simple packet blocks
	losses uint64
}

func newNGReader(r io.Reader) *ngReader {
	return &ngReader{r: bufio.NewReaderSize(r, 128<<10), order: binary.LittleEndian}
}

// next reads one block. io.EOF means an orderly end.
func (n *ngReader) next() (ngBlock, error) {
	n.off = n.end
	head, err := n.r.Peek(8)
	if err != nil {
		if len(head) == 0 {
			return ngBlock{}, err
		}
		return ngBlock{}, io.ErrUnexpectedEOF
	}
	kind := n.order.Uint32(head)
	if kind == ngSection { // reads the same in both orders
		if err := n.section(); err != nil {
			return ngBlock{}, err
		}
	}
	size := n.order.Uint32(head[4:])
	if size < 12 || size%4 != 0 || size > ngMaxBlock {
		return ngBlock{}, n.damaged("block of %d bytes, expected a multiple of 4 up to %d", size, ngMaxBlock)
	}
	if err := n.fill(int(size)); err != nil {
		return ngBlock{}, err
	}
	b := ngBlock{kind: kind, raw: n.buf}
	if again := n.order.Uint32(b.raw[size-4:]); again != size {
		return ngBlock{}, n.damaged("block says %d bytes at its head and %d at its end", size, again)
	}
	n.end += int64(size)
	switch kind {
	case ngInterface:
		return b, n.addPort(b.body())
	case ngStats:
		n.addLosses(b.body())
	}
	return b, nil
}

// fill reads size bytes. The buffer grows with what is there, not with what a
// header claims.
func (n *ngReader) fill(size int) error {
	n.buf = n.buf[:0]
	for len(n.buf) < size {
		at := len(n.buf)
		n.buf = slices.Grow(n.buf, min(size-at, 1<<20))[:min(size, at+1<<20)]
		if _, err := io.ReadFull(n.r, n.buf[at:]); err != nil {
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

// section takes the byte order of a section and forgets the interfaces of the
// one before.
func (n *ngReader) section() error {
	head, err := n.r.Peek(12)
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	switch mark := head[8:]; {
	case binary.LittleEndian.Uint32(mark) == ngByteOrder:
		n.order = binary.LittleEndian
	case binary.BigEndian.Uint32(mark) == ngByteOrder:
		n.order = binary.BigEndian
	default:
		return n.damaged("byte order mark is % x, expected 1a 2b 3c 4d in either order", mark)
	}
	n.ports = n.ports[:0]
	return nil
}

func (n *ngReader) addLosses(body []byte) {
	if len(body) < 12 {
		return
	}
	n.eachOption(body[12:], func(code uint16, v []byte) {
		if code == ngIfDrop && len(v) == 8 {
			n.losses += n.order.Uint64(v)
		}
	})
}

func (n *ngReader) damaged(format string, args ...any) error {
	return fmt.Errorf("byte %d: %s", n.off, fmt.Sprintf(format, args...))
}

// eachOption walks a list of options: code 2, length 2, value padded to 4.
func (n *ngReader) eachOption(b []byte, f func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, size := n.order.Uint16(b), int(n.order.Uint16(b[2:]))
		padded := (size + 3) &^ 3
		if code == 0 || padded > len(b)-4 {
			return
		}
		f(code, b[4:4+size])
		b = b[4+padded:]
	}
}
