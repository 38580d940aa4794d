package frame

// A Frame is one Ethernet frame, possibly a superframe of up to 64 KiB that
// stands for many wire frames (see [Offload]), and what is known about it. The
// bytes lie in a worker's arena; a Frame is only valid until that worker's turn
// ends.
type Frame struct {
	mem      []byte // headroom, frame, tailroom
	off, end uint32 // the Ethernet frame is mem[off:end]

	// Offload is the work the sender left undone, in the terms of the virtio
	// header. The zero value means none: one wire frame, checksums complete.
	Offload Offload
	// View holds the offsets found by [Frame.Parse].
	View View
	// In is the index of the port the frame came from.
	In uint32
	// Copies is the number of ports that the frame was sent to and that have
	// not refused it.
	Copies uint16
	// VNI is the VXLAN network identifier, 24 bits; 0 on local networks.
	VNI uint32
	// Verdict is how the frame ended; Pending while it is under way.
	Verdict Verdict
	// Reason says why a frame was dropped; NotDropped otherwise.
	Reason Reason
}

// Bytes returns the frame from its destination MAC on.
//
// borrowed: valid until the owning worker's turn ends.
func (f *Frame) Bytes() []byte { return f.mem[f.off:f.end] }

// Len returns the length of the frame in bytes, without a frame check sequence.
func (f *Frame) Len() int { return int(f.end - f.off) }

// Head returns the frame preceded by n bytes of headroom. It panics when less
// room is left, which is a programming error: [Headroom] is fixed.
//
// borrowed: valid until the owning worker's turn ends.
func (f *Frame) Head(n int) []byte { return f.mem[int(f.off)-n : f.end] }

// Wrap makes mem[off:] a frame of its own, for frames built outside a [Batch],
// such as segments in a worker's send arena. The memory must hold [Headroom]
// bytes in front of off if the frame is to be written to a TAP.
func (f *Frame) Wrap(mem []byte, off int) {
	*f = Frame{mem: mem, off: uint32(off), end: uint32(len(mem))}
}

// Truncate shortens the frame to n bytes, 0 <= n <= Len.
func (f *Frame) Truncate(n int) { f.end = f.off + uint32(n) }

// Grow lengthens the frame by n bytes of tailroom and reports whether they fit.
func (f *Frame) Grow(n int) bool {
	if int(f.end)+n > len(f.mem) {
		return false
	}
	f.end += uint32(n)
	return true
}

// Drop ends the frame with a reason. The first verdict stays.
func (f *Frame) Drop(r Reason) {
	if f.Verdict == Pending {
		f.Verdict, f.Reason = Dropped, r
	}
}
