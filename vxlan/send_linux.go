package vxlan

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/ipsec"
)

// Theory of operation: sending
//
// WriteBatch puts the VXLAN header into each frame's headroom and chooses the
// socket, by the hash over the inner flow, that the frame leaves from. Frames
// for one socket are put together, in order. Of these, neighbours of one size,
// and a shorter one behind them, are a run: one message of gathered pieces, which
// the kernel cuts again (UDP_SEGMENT). All messages of a socket go in one
// sendmmsg(2). A flow has one socket, so its frames never overtake each other.
//
// A kernel or a route may refuse to cut. EIO says so plainly. EINVAL says it too,
// but before Linux 6.14 also that the path takes no frame of that size. So the
// run is sent again frame by frame: if that is taken, or on EIO at once, merging
// is given up for the socket's life. Nothing is lost by it.
//
// Every other error is about one run: the first frame is reported as refused, and
// so are those behind it that are as long, each as the caller comes to it. The
// caller goes on with what follows. Nothing is retried and nothing waits.

// A sender is what one worker sends with, for all links of a socket.
type sender struct {
	socket *Socket
	call   func(fd int, msgs []unix.Mmsghdr) (int, unix.Errno)

	via    [frame.MaxBatch]uint8 // by frame: the socket it leaves from
	end    int                   // where the frames of the socket written to last end
	sorted [frame.MaxBatch]*frame.Frame
	runs   [frame.MaxBatch]run
	msgs   [frame.MaxBatch]unix.Mmsghdr
	iovs   [frame.MaxBatch]unix.Iovec
	sizes  [frame.MaxBatch]segmentSize

	// With ESP: whose SA seals (of more workers than there are SAs, some share one),
	// what seals, what by, and the packets, until the kernel has them.
	worker int
	home   int // of the listening descriptors: the one it sends from where there is no pool
	sealer *ipsec.Sealer
	by     *ipsec.Outbound // nil: frames leave in clear
	vni    uint32
	head   [sealedHeaders]byte
	arena  []byte
	used   int

	counters sendCounters
}

// A run is what one message holds.
type run struct{ frames, bytes int }

func newSender(s *Socket, worker int) *sender {
	tx := &sender{socket: s, call: sendmmsg, worker: worker % ipsec.MaxWorkers, home: worker % len(s.readers), sealer: ipsec.NewSealer()}
	for i := range tx.sizes {
		tx.sizes[i].init()
	}
	return tx
}

// write sends up to MaxBatch frames.
func (q *LinkQueue) write(fs []*frame.Frame) (int, error) {
	tx, l := q.tx, q.link
	if tx.socket.FD() < 0 {
		tx.end = 0
		return 0, os.ErrClosed
	}
	if t := tx.socket.table.Load(); t != q.table || t == nil {
		q.table, q.single = t, t.Shared(l.peer.Addr())
	}
	if err := tx.prepare(l, fs); err != nil {
		tx.end = len(fs)
		return 0, err
	}
	pool := uint64(len(tx.socket.fds) - len(tx.socket.readers))
	if q.single || pool == 0 {
		tx.end = len(fs)
		return tx.send(tx.socket.fds[tx.home], &l.to, fs)
	}
	mixed := false
	for i, f := range fs {
		tx.via[i] = uint8(1 + uint64(flowHash(f))*pool>>32)
		mixed = mixed || tx.via[i] != tx.via[0]
	}
	if mixed {
		tx.sort(fs)
	}
	for at := 0; at < len(fs); {
		end := at + 1
		for end < len(fs) && tx.via[end] == tx.via[at] {
			end++
		}
		tx.end = end
		n, err := tx.send(tx.socket.fds[tx.via[at]], &l.to, fs[at:end])
		if err != nil {
			return at + n, err
		}
		at = end
	}
	return len(fs), nil
}

// prepare is the encap step: the VXLAN header goes into the headroom. What is to be
// sealed gets its headers with its seal, for the bytes may be others' too.
func (tx *sender) prepare(l *Link, fs []*frame.Frame) error {
	if l.keys != nil {
		return tx.prepareSeal(l, fs)
	}
	tx.by = nil
	for _, f := range fs {
		PutHeader(f.Head(HeaderLen), l.vni)
	}
	return nil
}

// sort puts the frames in the order of the sockets they leave from, those of one
// socket in the order they had.
func (tx *sender) sort(fs []*frame.Frame) {
	var next [maxPool + 2]uint8 // by socket: where its next frame goes
	for _, v := range tx.via[:len(fs)] {
		next[v+1]++
	}
	for v := 1; v < len(next); v++ {
		next[v] += next[v-1]
	}
	// Counting, as long as there are places: then next[v] is where v ends.
	for i, f := range fs {
		v := tx.via[i]
		tx.sorted[next[v]] = f
		next[v]++
	}
	copy(fs, tx.sorted[:len(fs)])
	at := uint8(0)
	for v, end := range next {
		for ; at < end; at++ {
			tx.via[at] = uint8(v)
		}
	}
}

// send sends frames from one socket.
func (tx *sender) send(fd int, to *address, fs []*frame.Frame) (int, error) {
	trial := false // a refused run goes out frame by frame
	for at := 0; at < len(fs); {
		rung := SendRung(tx.socket.rung.Load())
		n := tx.plan(fs[at:], to, rung == SendGSO && !trial)
		if n == 0 {
			return at, ErrTooBig
		}
		frames, errno := tx.hand(fd, n, rung)
		at += frames
		if trial && frames > 0 {
			tx.socket.stepDown(SendMMsg, "the kernel refused a merged message and took its parts")
			trial = false
		}
		if errno == 0 {
			continue
		}
		switch refused := tx.runs[0]; {
		case errno == unix.ENOSYS && rung != SendSingle:
			tx.socket.stepDown(SendSingle, "sendmmsg: "+errno.Error())
		case refused.frames > 1 && errno == unix.EIO:
			tx.socket.stepDown(SendMMsg, "the route cannot cut merged messages: "+errno.Error())
		case refused.frames > 1 && errno == unix.EINVAL:
			trial = true
		default:
			return at, tx.fail(errno)
		}
	}
	return len(fs), nil
}

// plan makes messages of frames that leave from one socket and returns their
// number: 0 if the first fits into no datagram. The headers stand in the headroom
// already, or frames are sealed here, behind one another.
func (tx *sender) plan(fs []*frame.Frame, to *address, merge bool) int {
	m := 0
	tx.used = 0
	for i := 0; i < len(fs); m++ {
		size := tx.piece(i, fs[i])
		if size == 0 {
			break // what is behind it is planned when it is the first
		}
		r := run{1, size}
		for merge && i+r.frames < len(fs) && r.frames < maxRun {
			next := tx.length(fs[i+r.frames])
			if next > size || r.bytes+next > maxRunBytes || tx.piece(i+r.frames, fs[i+r.frames]) == 0 {
				break
			}
			r.frames++
			r.bytes += next
			if next < size {
				break
			}
		}
		h := &tx.msgs[m].Hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&to.raw)), to.len
		h.Iov = &tx.iovs[i]
		h.SetIovlen(r.frames)
		h.SetControllen(0)
		if r.frames > 1 {
			tx.sizes[m].size = uint16(size)
			h.Control = (*byte)(unsafe.Pointer(&tx.sizes[m]))
			h.SetControllen(sizeofSegmentSize())
		}
		tx.runs[m] = r
		i += r.frames
	}
	return m
}

// length is that of the datagram that holds a frame.
func (tx *sender) length(f *frame.Frame) int {
	if tx.by != nil {
		return tx.by.Algorithm().PacketLen(sealedHeaders + f.Len())
	}
	return f.Len() + HeaderLen
}

// piece makes frame i one piece of a message and returns its length, 0 if no
// datagram can hold it.
func (tx *sender) piece(i int, f *frame.Frame) int {
	var mem []byte
	if tx.by == nil {
		mem = f.Head(HeaderLen)
	} else if mem = tx.seal(f); mem == nil {
		return 0
	}
	v := &tx.iovs[i]
	v.Base = unsafe.SliceData(mem)
	v.SetLen(len(mem))
	return len(mem)
}

// hand gives the first n planned messages to the kernel and returns how many
// frames it took. On an error tx.runs[0] is the run that was refused.
func (tx *sender) hand(fd, n int, rung SendRung) (frames int, errno unix.Errno) {
	messages, merged, bytes, calls := 0, 0, 0, 0
	for messages < n && errno == 0 {
		var taken int
		if rung == SendSingle {
			taken, errno = sendEach(fd, tx.msgs[messages:n])
		} else {
			taken, errno = tx.call(fd, tx.msgs[messages:n])
		}
		if calls++; taken == 0 && errno == 0 {
			errno = unix.EAGAIN // cannot be; but then nothing would end this
		}
		for _, r := range tx.runs[messages : messages+taken] {
			frames += r.frames
			bytes += r.bytes
			if r.frames > 1 {
				merged++
			}
		}
		messages += taken
	}
	if errno != 0 {
		tx.runs[0] = tx.runs[messages]
	}
	c := &tx.counters
	add(&c.messages, messages)
	add(&c.merged, merged)
	add(&c.datagrams, frames)
	add(&c.bytes, bytes)
	add(&c.calls, calls)
	return frames, errno
}

// fail translates the kernel's answer for the caller.
func (tx *sender) fail(errno unix.Errno) error {
	switch errno {
	case unix.EMSGSIZE:
		return ErrTooBig
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, unix.EINTR:
		return ErrBlocked
	case unix.EBADF, unix.ENOTSOCK, unix.EPIPE:
		return os.ErrClosed
	}
	tx.counters.fault.Store(uintptr(errno))
	return ErrFailed
}
