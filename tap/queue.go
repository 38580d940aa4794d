package tap

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"weft/internal/frame"
)

// A Queue is one non-blocking descriptor of a device.
type Queue struct {
	dev  *Device
	vnet bool // frames carry a virtio header
	fd   atomic.Int32
}

// FD returns the descriptor, -1 after Close.
//
// borrowed: it belongs to the device.
func (q *Queue) FD() int { return int(q.fd.Load()) }

// Caps returns the offloads the queue takes on write. They shrink if the kernel
// turns out to refuse what it granted.
func (q *Queue) Caps() frame.Caps { return q.dev.Caps() }

// ReadBatch appends the frames that wait in the queue to b, until none is left
// or b is full, and returns their number. It never blocks: 0 and no error means
// that nothing was there. The error is os.ErrClosed after Close and [ErrGone]
// when the interface was deleted; frames read before it are in b.
func (q *Queue) ReadBatch(b *frame.Batch) (int, error) {
	fd := int(q.fd.Load())
	if fd < 0 {
		return 0, os.ErrClosed
	}
	// One read(2) delivers header and frame: the header lies at the end of
	// the headroom, so that the frame lands where it stays.
	head := 0
	if q.vnet {
		head = frame.OffloadLen
	}
	for count := 0; ; {
		slot := b.Reserve()
		if slot == nil {
			return count, nil
		}
		mem := slot[frame.Headroom-head : frame.Headroom+frame.MaxFrame]
		n, err := readFrame(fd, mem)
		if err == errNothing {
			return count, nil
		}
		if err != nil {
			return count, q.fail("read", err)
		}
		if n < head {
			continue
		}
		f := b.Commit(n - head)
		if q.vnet {
			f.Offload.Decode(mem)
		}
		count++
	}
}

// WriteBatch writes the frames in order, one write(2) each. On an error it
// returns the index of the frame that was not written, the ones before it are
// out: [ErrRefused] is about this frame, which may be skipped or, if it is a
// superframe, split according to Caps; [ErrBlocked] is about now; anything else
// is final. The ten bytes before each frame are used and put back: they may be the
// tail of a frame that lies tightly before it.
func (q *Queue) WriteBatch(fs []*frame.Frame) (int, error) {
	fd := int(q.fd.Load())
	if fd < 0 {
		return 0, os.ErrClosed
	}
	caps := q.dev.Caps()
	for i, f := range fs {
		kind := f.Offload.Needs()
		if kind&^caps != 0 {
			return i, ErrRefused
		}
		if err := q.writeOne(fd, f); err != nil {
			return i, q.writeFailed(kind, err)
		}
		if kind&^frame.CapCsum != 0 {
			q.dev.took(kind)
		}
	}
	return len(fs), nil
}

// writeOne writes a frame, behind its virtio header if the queue has one.
func (q *Queue) writeOne(fd int, f *frame.Frame) error {
	if !q.vnet {
		return writeFrame(fd, f.Bytes())
	}
	mem := f.Head(frame.OffloadLen)
	room := [frame.OffloadLen]byte(mem)
	f.Offload.Encode(mem)
	err := writeFrame(fd, mem)
	copy(mem, room[:])
	return err
}

// writeFailed translates the system layer's answer for the caller.
func (q *Queue) writeFailed(kind frame.Caps, err error) error {
	switch err {
	case ErrRefused:
		q.dev.refuse(kind &^ frame.CapCsum)
		return ErrRefused
	case errDown:
		return ErrRefused
	case ErrBlocked:
		return err
	}
	return q.fail("write", err)
}

func (q *Queue) fail(op string, err error) error {
	if errors.Is(err, os.ErrClosed) {
		return err
	}
	return fmt.Errorf("tap %s: %s: %w", q.dev.name, op, err)
}
