package capture

import (
	"context"
	"encoding/binary"
	"os"
	"sync/atomic"
	"time"

	"weft/internal/frame"
)

// Theory of operation.
//
// A ring is an array of 64-byte lines. A record takes whole lines: 40 bytes of
// header, then the frame's bytes. Positions count lines since the beginning and
// never wrap; line number = position mod lines.
//
//	head (moved by the consumer alone) <= tail (moved by producers), tail-head <= lines
//
// A producer takes lines by moving tail with a compare-and-swap; if they do not
// fit it counts a drop and is done. It then fills them and publishes the record
// by storing its number of lines in the state of its first line. The consumer
// reads the record at head once its state is not 0, in place unless it goes
// around the end; when it comes for the next one it sets the state back to 0
// and moves head. Producers never wait for each other or for
// the consumer; a producer that is slow to publish only holds back what lies
// behind it, which then may fill the ring and be counted as drops.
//
// A sleeping consumer looks again every pollEvery; a producer wakes it earlier
// only when the ring becomes half full, so that a frame costs no wake-up.
const (
	lineSize     = 64
	recordHeader = 40
	minLines     = 16
	pollEvery    = 5 * time.Millisecond
)

// A Ring carries copies of frames from the workers of a switch to one reader.
// Put may be called by any number of goroutines at once, and so may Drops and
// Close; Next and Wait belong to one goroutine.
type Ring struct {
	filter  *Filter
	snaplen int
	data    []byte
	state   []atomic.Uint32
	lines   uint64

	head  atomic.Uint64
	_     [56]byte // head and tail are written by different cores
	tail  atomic.Uint64
	_     [56]byte
	drops atomic.Uint64

	closed atomic.Bool
	asleep atomic.Bool
	wake   chan struct{}
	lent   uint64 // lines of the record that Next has lent out
	out    []byte // the consumer's copy of a record that goes around the end
}

// NewRing returns a ring of about size bytes. A nil filter takes every frame; a
// snaplen of 0 takes frames whole.
func NewRing(size int, filter *Filter, snaplen int) *Ring {
	if snaplen <= 0 || snaplen > frame.MaxFrame {
		snaplen = frame.MaxFrame
	}
	lines := max(size/lineSize, minLines)
	return &Ring{
		filter: filter, snaplen: snaplen,
		data: make([]byte, lines*lineSize), state: make([]atomic.Uint32, lines), lines: uint64(lines),
		wake: make(chan struct{}, 1),
		out:  make([]byte, (recordHeader+snaplen+lineSize-1)/lineSize*lineSize),
	}
}

// Put copies f into the ring if the filter takes it, or counts a drop if the
// ring is full. It never blocks and does not allocate. now is in nanoseconds
// since 1970 UTC, port a number that belongs to the port for good.
func (r *Ring) Put(now int64, port uint32, dir Direction, f *frame.Frame) {
	if r.closed.Load() || !r.filter.Match(f) {
		return
	}
	b := f.Bytes()
	n := min(len(b), r.snaplen)
	need := uint64(recordHeader+n+lineSize-1) / lineSize
	at, ok := r.reserve(need)
	if !ok {
		r.drops.Add(1)
		return
	}
	var h [recordHeader]byte
	putHeader(&h, now, port, dir, f, n)
	pos := int(at%r.lines) * lineSize
	r.fill(r.fill(pos, h[:]), b[:n])
	r.state[at%r.lines].Store(uint32(need))
	if at-r.head.Load() >= r.lines/2 && r.asleep.CompareAndSwap(true, false) {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// reserve takes lines for one record.
func (r *Ring) reserve(need uint64) (at uint64, ok bool) {
	for {
		head := r.head.Load()
		at = r.tail.Load()
		if ok, full := r.take(head, at, need); ok || full {
			return at, ok
		}
	}
}

// take moves tail from at, if the lines fit behind head. The producer may have
// been held up since it loaded the two, or between them: the ring is full only if
// neither has moved.
func (r *Ring) take(head, at, need uint64) (ok, full bool) {
	if at+need-head > r.lines {
		return false, r.head.Load() == head && r.tail.Load() == at
	}
	return r.tail.CompareAndSwap(at, at+need), false
}

// fill copies b to pos, around the end of the array if need be, and returns the
// position behind it.
func (r *Ring) fill(pos int, b []byte) int {
	n := copy(r.data[pos:], b)
	if n < len(b) {
		return copy(r.data, b[n:])
	}
	return (pos + n) % len(r.data)
}

// Next returns the oldest record; ok is false when there is none yet. The one
// before it goes back to the ring.
func (r *Ring) Next() (rec Record, ok bool) {
	r.release()
	at := r.head.Load() % r.lines
	need := uint64(r.state[at].Load())
	if need == 0 {
		return rec, false
	}
	r.lent = need
	if at+need <= r.lines {
		return parseHeader(r.data[at*lineSize : (at+need)*lineSize]), true
	}
	b := r.out[:need*lineSize]
	n := copy(b, r.data[at*lineSize:])
	copy(b[n:], r.data)
	return parseHeader(b), true
}

// release gives the lines of the record lent out back to the producers.
func (r *Ring) release() {
	if r.lent == 0 {
		return
	}
	at := r.head.Load()
	r.state[at%r.lines].Store(0)
	r.head.Store(at + r.lent)
	r.lent = 0
}

// Wait returns nil when there is a record to read. The one Next gave last goes
// back to the ring. Otherwise it returns the context's error, or os.ErrClosed
// after Close when everything has been read.
func (r *Ring) Wait(ctx context.Context) error {
	r.release()
	for {
		if r.state[r.head.Load()%r.lines].Load() != 0 {
			return nil
		}
		if r.closed.Load() && r.tail.Load() == r.head.Load() {
			return os.ErrClosed
		}
		r.asleep.Store(true)
		t := time.NewTimer(pollEvery)
		select {
		case <-r.wake:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		r.asleep.Store(false)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// Drops returns how many frames found the ring full.
func (r *Ring) Drops() uint64 { return r.drops.Load() }

// Snaplen returns how many bytes of a frame are kept at most.
func (r *Ring) Snaplen() int { return r.snaplen }

// Close ends the capture: Put does nothing from now on, Wait returns
// os.ErrClosed once the rest has been read.
func (r *Ring) Close() { r.closed.Store(true) }

// putHeader encodes a record's header:
//
//	time 8 | port 4 | frame length 4 | captured length 4 | dir, verdict, reason, 0 | gso flags, type, hdrlen, size, start, offset 10
func putHeader(h *[recordHeader]byte, now int64, port uint32, dir Direction, f *frame.Frame, n int) {
	le := binary.LittleEndian
	le.PutUint64(h[0:], uint64(now))
	le.PutUint32(h[8:], port)
	le.PutUint32(h[12:], uint32(f.Len()))
	le.PutUint32(h[16:], uint32(n))
	h[20], h[21], h[22] = byte(dir), byte(f.Verdict), byte(f.Reason)
	f.Offload.Encode(h[24:])
}

func parseHeader(b []byte) Record {
	le := binary.LittleEndian
	rec := Record{
		Time: int64(le.Uint64(b)), Port: le.Uint32(b[8:]), OrigLen: int(le.Uint32(b[12:])),
		Dir: Direction(b[20]), Verdict: frame.Verdict(b[21]), Reason: frame.Reason(b[22]),
		Data: b[recordHeader : recordHeader+le.Uint32(b[16:])],
	}
	rec.Offload.Decode(b[24:])
	return rec
}
