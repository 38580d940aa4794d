package frame

// The bounds of one batch. A turn of a worker ends when either is reached, so
// that a thousand ports cost neither a thousand threads nor gigabytes.
const (
	// MaxBatch is the largest number of frames in a batch.
	MaxBatch = 64
	// ArenaSize is the number of bytes a batch's frames share.
	ArenaSize = 512 << 10
)

// The geometry of one frame's slot in the arena, in bytes:
//
//	|<- Headroom ->|<- up to MaxFrame ->|<- Tailroom ->|
//	               ^ destination MAC
//
// The virtio header of a TAP lies in the last ten bytes of the headroom, so one
// write(2) carries both; encapsulation uses the same room.
const (
	// Headroom is free before the Ethernet header: room for a virtio header,
	// or for VXLAN (8) and ESP in UDP (RFC 3948: 16) in front of it.
	Headroom = 64
	// Tailroom is free after the last byte: ESP padding, trailer and ICV.
	Tailroom = 32
	// MaxFrame is the longest Ethernet frame a port may deliver: an IP packet
	// of 65,535 bytes behind a MAC header with two VLAN tags.
	MaxFrame = 65535 + 14 + 4 + 4
	slotSize = Headroom + MaxFrame + Tailroom
)

// A Batch is the unit of every call on the data path: up to [MaxBatch] frames
// lying in one arena of [ArenaSize] bytes. It belongs to one worker for life.
type Batch struct {
	frames [MaxBatch]Frame
	n      int
	arena  []byte
	used   int
}

// NewBatch returns an empty batch with its own arena.
func NewBatch() *Batch {
	return &Batch{arena: make([]byte, ArenaSize)}
}

// Reset forgets all frames. Their bytes may be overwritten from here on.
func (b *Batch) Reset() { b.n, b.used = 0, 0 }

// Len returns the number of frames.
func (b *Batch) Len() int { return b.n }

// At returns frame i, 0 <= i < Len. The pointer stays valid until Reset.
func (b *Batch) At(i int) *Frame { return &b.frames[i] }

// Full reports whether no further frame is sure to fit.
func (b *Batch) Full() bool {
	return b.n == MaxBatch || len(b.arena)-b.used < slotSize
}

// Reserve lends the next slot's memory to a reader: a frame is to be placed at
// [Headroom] and may reach MaxFrame bytes further. It returns nil when the
// batch is full. Nothing is taken until Commit.
//
// borrowed: the slice belongs to the batch; it is the reader's until Commit,
// Reserve or Reset is called.
func (b *Batch) Reserve() []byte {
	if b.Full() {
		return nil
	}
	return b.arena[b.used : b.used+slotSize : b.used+slotSize]
}

// Commit makes the n bytes at [Headroom] of the reserved slot the batch's next
// frame and returns it with cleared metadata. n must not exceed [MaxFrame].
func (b *Batch) Commit(n int) *Frame {
	f := &b.frames[b.n]
	end := b.used + Headroom + n
	*f = Frame{mem: b.arena[b.used : end+Tailroom : end+Tailroom], off: Headroom, end: uint32(Headroom + n)}
	b.n++
	// Slots start on a cache line: headers of neighbours never share one.
	b.used = (end + Tailroom + 63) &^ 63
	return f
}

// Append copies data into the batch as its next frame. It returns nil when the
// batch is full or data exceeds [MaxFrame].
func (b *Batch) Append(data []byte) *Frame {
	if len(data) > MaxFrame {
		return nil
	}
	slot := b.Reserve()
	if slot == nil {
		return nil
	}
	copy(slot[Headroom:], data)
	return b.Commit(len(data))
}

// Lend makes mem[off:off+n] the batch's next frame where it lies, without copying
// it, and returns it with cleared metadata, or nil when the batch holds
// [MaxBatch] frames. What is in front of off is the frame's headroom, though it
// may belong to another frame as well: who writes there puts back what was not
// the frame's own. There is no tailroom.
//
// borrowed: the memory is the lender's, who leaves it alone until the batch is
// Reset.
func (b *Batch) Lend(mem []byte, off, n int) *Frame {
	if b.n == MaxBatch {
		return nil
	}
	f := &b.frames[b.n]
	end := off + n
	*f = Frame{mem: mem[:end:end], off: uint32(off), end: uint32(end)}
	b.n++
	return f
}
