package uplink

import (
	"os"

	"weft/internal/frame"
)

// ReadBatch appends the frames that wait at the uplink to b, until none is left or b
// is full, and returns their number. It never blocks: 0 and no error means that
// nothing was there. The error is os.ErrClosed after Close and [ErrGone] when the
// interface was deleted; frames read before it are in b.
func (p *Packet) ReadBatch(b *frame.Batch) (int, error) {
	fd := p.FD()
	if fd < 0 {
		return 0, os.ErrClosed
	}
	// As with a TAP, header and frame come by one call: the header ends where the
	// frame begins.
	head := 0
	if p.vnet {
		head = frame.OffloadLen
	}
	for count := 0; ; {
		slot := b.Reserve()
		if slot == nil {
			return count, nil
		}
		mem := slot[frame.Headroom-head : frame.Headroom+frame.MaxFrame]
		n, err := readPacket(fd, mem)
		switch {
		case err == errNothing:
			return count, nil
		case err == errLost, err == nil && (n > len(mem) || n < head):
			p.lost.Add(1)
			continue
		case err != nil:
			return count, p.fail("read", err)
		}
		f := b.Commit(n - head)
		if p.vnet {
			f.Offload.Decode(mem)
		} else if f.Parse() == frame.NotDropped {
			f.Unfinished(p.MTU())
		}
		count++
	}
}

// WriteBatch sends the frames in order. On an error it returns the index of the frame
// that was not sent, the ones before it are out: [ErrRefused] and [ErrTooBig] are
// about this frame, which may be skipped or, if it is a superframe, split according
// to Caps; [ErrBlocked] is about now; anything else is final. The ten bytes before
// each frame are used and put back.
func (p *Packet) WriteBatch(fs []*frame.Frame) (int, error) {
	fd := p.FD()
	if fd < 0 {
		return 0, os.ErrClosed
	}
	caps := p.Caps()
	for i, f := range fs {
		kind := f.Offload.Needs()
		if kind&^caps != 0 {
			return i, ErrRefused
		}
		if err := p.writeOne(fd, f); err != nil {
			return i, p.writeFailed(kind, err)
		}
		if kind&^frame.CapCsum != 0 {
			p.took(kind)
		}
	}
	return len(fs), nil
}

// writeOne sends a frame, behind its virtio header if the socket has one.
func (p *Packet) writeOne(fd int, f *frame.Frame) error {
	if !p.vnet {
		return writePacket(fd, f.Bytes())
	}
	// The kernel lays as many bytes as hdr_len says into one piece of memory, and a
	// sender may have said anything.
	o := f.Offload
	o.HdrLen = 0
	if o.GSO != frame.GSONone {
		o.HdrLen = f.View.Payload
	}
	mem := f.Head(frame.OffloadLen)
	room := [frame.OffloadLen]byte(mem)
	o.Encode(mem)
	err := writePacket(fd, mem)
	copy(mem, room[:])
	return err
}

// writeFailed translates the system layer's answer for the caller.
func (p *Packet) writeFailed(kind frame.Caps, err error) error {
	switch err {
	case ErrRefused:
		p.refuse(kind &^ frame.CapCsum)
		return ErrRefused
	case errDown:
		return ErrRefused
	case ErrBlocked, ErrTooBig:
		return err
	}
	return p.fail("write", err)
}
