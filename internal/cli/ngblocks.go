package cli

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// The daemon sends captures as pcapng (draft-ietf-opsawg-pcapng): blocks of
//
//	type 4 | length 4 | body | length 4
//
// in little-endian order. They are passed on whole, so that a capture that is
// ended in the middle still ends between two blocks, and looked into for the
// text output: which port, which way, what became of the frame.

// Block types and option codes looked at.
const (
	ngInterface = 1
	ngPacket    = 6
	ngStats     = 5

	ngComment = 1
	ngIfName  = 2
	ngIfTSRes = 9
	ngFlags   = 2
	ngIfDrop  = 5

	ngMaxBlock = 1 << 20
)

// An ngBlock is one block with its frame.
type ngBlock struct {
	kind uint32
	raw  []byte // borrowed: valid until the next block is read
}

func (b ngBlock) body() []byte { return b.raw[8 : len(b.raw)-4] }

// An ngPacketView is what the text output shows of a packet.
type ngPacketView struct {
	iface    uint32
	nanos    int64
	origLen  int
	data     []byte // borrowed: of the block
	flags    uint32
	comments []string
}

// An ngReader reads blocks and remembers the interfaces' names.
type ngReader struct {
	r      *bufio.Reader
	buf    []byte
	names  []string
	ticks  []uint64 // per second, by interface
	losses uint64
}

func newNGReader(r io.Reader) *ngReader {
	return &ngReader{r: bufio.NewReaderSize(r, 128<<10)}
}

// next reads one block. io.EOF means an orderly end.
func (n *ngReader) next() (ngBlock, error) {
	head, err := n.r.Peek(8)
	if err != nil {
		if len(head) == 0 {
			return ngBlock{}, err
		}
		return ngBlock{}, io.ErrUnexpectedEOF
	}
	size := binary.LittleEndian.Uint32(head[4:])
	if size < 12 || size%4 != 0 || size > ngMaxBlock {
		return ngBlock{}, fmt.Errorf("capture stream: block of %d bytes", size)
	}
	if cap(n.buf) < int(size) {
		n.buf = make([]byte, size)
	}
	n.buf = n.buf[:size]
	if _, err := io.ReadFull(n.r, n.buf); err != nil {
		return ngBlock{}, io.ErrUnexpectedEOF
	}
	b := ngBlock{kind: binary.LittleEndian.Uint32(n.buf), raw: n.buf}
	switch b.kind {
	case ngInterface:
		n.addInterface(b.body())
	case ngStats:
		n.addLosses(b.body())
	}
	return b, nil
}

func (n *ngReader) addInterface(body []byte) {
	name, ticks := "", uint64(1e6)
	if len(body) >= 8 {
		eachOption(body[8:], func(code uint16, v []byte) {
			switch {
			case code == ngIfName:
				name = string(v)
			case code == ngIfTSRes && len(v) == 1 && v[0] <= 18:
				ticks = uint64(math.Pow10(int(v[0])))
			}
		})
	}
	n.names = append(n.names, name)
	n.ticks = append(n.ticks, ticks)
}

func (n *ngReader) addLosses(body []byte) {
	if len(body) < 12 {
		return
	}
	eachOption(body[12:], func(code uint16, v []byte) {
		if code == ngIfDrop && len(v) == 8 {
			n.losses += binary.LittleEndian.Uint64(v)
		}
	})
}

// name is an interface's, empty when it was not described.
func (n *ngReader) name(iface uint32) string {
	if int64(iface) < int64(len(n.names)) {
		return n.names[iface]
	}
	return ""
}

// packet looks into an enhanced packet block.
func (n *ngReader) packet(b ngBlock) (ngPacketView, error) {
	body := b.body()
	if len(body) < 20 {
		return ngPacketView{}, fmt.Errorf("capture stream: packet block of %d bytes", len(body))
	}
	le := binary.LittleEndian
	size := int64(le.Uint32(body[12:]))
	padded := (size + 3) &^ 3
	if padded > int64(len(body)-20) {
		return ngPacketView{}, fmt.Errorf("capture stream: packet of %d bytes in a block of %d", size, len(body))
	}
	p := ngPacketView{iface: le.Uint32(body), origLen: int(le.Uint32(body[16:])), data: body[20 : 20+size]}
	p.nanos = n.nanos(p.iface, uint64(le.Uint32(body[4:]))<<32|uint64(le.Uint32(body[8:])))
	eachOption(body[20+padded:], func(code uint16, v []byte) {
		switch {
		case code == ngComment:
			p.comments = append(p.comments, string(v))
		case code == ngFlags && len(v) == 4:
			p.flags = le.Uint32(v)
		}
	})
	return p, nil
}

// nanos turns an interface's ticks into nanoseconds.
func (n *ngReader) nanos(iface uint32, t uint64) int64 {
	per := uint64(1e6)
	if int64(iface) < int64(len(n.ticks)) {
		per = n.ticks[iface]
	}
	if per == 1e9 {
		return int64(t)
	}
	return int64(t/per)*1e9 + int64(float64(t%per)/float64(per)*1e9)
}

// eachOption walks a list of options: code 2, length 2, value padded to 4.
func eachOption(b []byte, f func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, size := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		padded := (size + 3) &^ 3
		if code == 0 || padded > len(b)-4 {
			return
		}
		f(code, b[4:4+size])
		b = b[4+padded:]
	}
}
