package uplink

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Theory of operation: the splice
//
// Two goroutines carry a connection's bytes, one a direction. Each works for as
// long as its source has something and its sink takes it, and else waits: for the
// stack's endpoint by its waiter queue, for the socket by the runtime's poller. So
// back-pressure goes through by itself: what the sink does not take stays in the
// source, whose window closes.
//
// Bytes are copied by the two system calls alone: write(2) is given the stack's
// segments where they lie, and read(2) reads into the memory that the stack sends
// from. Only small pieces are collected first, for a system call costs more than
// copying them.
//
// FIN goes through as shutdown(SHUT_WR), each way by itself; the connection ends
// when both have. RST, and whatever else is wrong with one side, becomes RST on
// the other.

// splice carries the connection's bytes until both halves have ended.
func (s *stream) splice() {
	s.end.SocketOptions().SetKeepAlive(true)
	raw, err := s.conn.SyscallConn()
	if err != nil {
		s.abort()
		return
	}
	ended := make(chan struct{}) // the inward half
	var both sync.WaitGroup
	both.Go(func() { s.outward(raw, ended) })
	s.inward(raw)
	close(ended)
	both.Wait()
	s.finish()
}

// finish closes both sides, and waits until the endpoint has taken what was still
// on its way to it: until then the stack's memory is this connection's.
func (s *stream) finish() {
	entry, ready := waiter.NewChannelEntry(waiter.EventHUp | waiter.EventErr)
	s.queue.EventRegister(&entry)
	defer s.queue.EventUnregister(&entry)
	s.state.Store(closing)
	s.conn.Close()
	s.end.Close()
	for {
		switch tcp.EndpointState(s.end.State()) {
		case tcp.StateClose, tcp.StateError, tcp.StateTimeWait:
			return
		}
		<-ready
	}
}

// One half has ended in order.
func (s *stream) halfDone() { s.state.CompareAndSwap(open, halfClosed) }

const (
	// small pieces are collected into a buffer of collected bytes.
	small     = 8 << 10
	collected = 32 << 10
	// A read of the stack's endpoint holds its lock: it ends after so much.
	oneRead = 256 << 10
)

// ahead is how much is read from a socket before it is asked how much there is.
const ahead = 16 << 10

// These are shared by all connections, which hold one only while they work, or
// while what is in it cannot go on.
var (
	buffers = sync.Pool{New: func() any { return new([collected]byte) }}
	aheads  = sync.Pool{New: func() any { return new([ahead]byte) }}
)

// outward carries what the endpoint sends. When that has ended it waits for the
// other half, for the endpoint may still reset the connection.
func (s *stream) outward(raw syscall.RawConn, inward <-chan struct{}) {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr)
	s.queue.EventRegister(&entry)
	defer s.queue.EventUnregister(&entry)
	w := sink{s: s}
	for {
		var state tcpip.Error
		err := raw.Write(func(fd uintptr) (done bool) {
			w.fd = int(fd)
			done, state = w.pump()
			return done
		})
		w.release()
		if err != nil || w.err != nil {
			s.abort()
			return
		}
		switch state.(type) {
		case *tcpip.ErrWouldBlock:
			<-ready
			continue
		case *tcpip.ErrClosedForReceive:
		default:
			s.abort()
			return
		}
		break
	}
	if err := s.conn.CloseWrite(); err != nil && !errors.Is(err, unix.ENOTCONN) {
		s.abort()
		return
	}
	s.halfDone()
	for {
		select {
		case <-inward:
			return
		case <-ready:
			if failed(s.end) {
				s.abort()
				return
			}
		}
	}
}

// failed reports whether the stack's endpoint was reset.
func failed(end tcpip.Endpoint) bool {
	_, err := end.Read(io.Discard, tcpip.ReadOptions{})
	switch err.(type) {
	case nil, *tcpip.ErrClosedForReceive, *tcpip.ErrWouldBlock:
		return false
	}
	return true
}

// A sink is the socket as what the stack's endpoint is read into.
type sink struct {
	s    *stream
	fd   int
	held *[collected]byte // small pieces, at most n bytes
	n    int
	full bool // the socket takes no more now
	err  error
	room int // of this read
}

// errStop ends a read of the endpoint, which keeps what was not taken.
var errStop = errors.New("enough")

// pump moves bytes until the endpoint has none, which it then says, or the socket
// takes no more: not done.
func (w *sink) pump() (done bool, state tcpip.Error) {
	for w.full = false; ; {
		if !w.flush() {
			return w.err != nil, nil
		}
		w.room = oneRead
		r, err := w.s.end.Read(w, tcpip.ReadOptions{})
		if r.Count > 0 {
			w.s.moved(&w.s.out, &w.s.host.out, r.Count)
			w.s.end.ModerateRecvBuf(r.Count)
		}
		switch {
		case w.err != nil:
			return true, nil
		case w.full:
			return false, nil
		}
		if _, stopped := err.(*tcpip.ErrBadBuffer); err != nil && !stopped {
			if !w.flush() {
				return w.err != nil, nil
			}
			return true, err
		}
	}
}

// Write implements io.Writer for the endpoint's Read, which has it locked. It takes
// all, or returns an error with what it has taken.
func (w *sink) Write(b []byte) (int, error) {
	if w.full || w.err != nil || w.room <= 0 {
		return 0, errStop
	}
	w.room -= len(b)
	if len(b) <= small {
		if w.held == nil {
			w.held = buffers.Get().(*[collected]byte)
		}
		if len(b) > collected-w.n && !w.flush() {
			return 0, errStop
		}
		w.n += copy(w.held[w.n:], b)
		return len(b), nil
	}
	if !w.flush() {
		return 0, errStop
	}
	n := w.write(b)
	if n < len(b) {
		return n, errStop
	}
	return n, nil
}

// flush writes the pieces collected, and reports whether all went out.
func (w *sink) flush() bool {
	if w.n == 0 {
		return true
	}
	n := w.write(w.held[:w.n])
	w.n = copy(w.held[:], w.held[n:w.n])
	return w.n == 0
}

func (w *sink) release() {
	if w.held != nil && w.n == 0 {
		buffers.Put(w.held)
		w.held = nil
	}
}

// write is write(2), again after signals, and with less than all when the socket
// is full.
func (w *sink) write(b []byte) (n int) {
	for n < len(b) {
		k, err := unix.Write(w.fd, b[n:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			w.full = true
			return n
		case err != nil:
			w.err = err
			return n
		}
		n += k
	}
	return n
}

// moved counts bytes.
func (s *stream) moved(flow, all interface{ Add(uint64) uint64 }, n int) {
	flow.Add(uint64(n))
	all.Add(uint64(n))
	s.last.Store(s.host.now())
}

// inward carries what comes from outside.
func (s *stream) inward(raw syscall.RawConn) {
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	s.queue.EventRegister(&entry)
	defer s.queue.EventUnregister(&entry)
	src := source{s: s}
	for {
		var state tcpip.Error
		err := raw.Read(func(fd uintptr) (done bool) {
			src.fd = int(fd)
			done, state = src.pump()
			if !done {
				src.release()
			}
			return done
		})
		_, blocked := state.(*tcpip.ErrWouldBlock)
		switch {
		case err == nil && src.eof:
			src.release()
			s.end.Shutdown(tcpip.ShutdownWrite)
			s.halfDone()
			return
		case err != nil, src.err != nil, !blocked:
			src.release()
			if !errors.Is(err, net.ErrClosed) {
				s.abort()
			}
			return
		}
		<-ready
	}
}

// A source is the socket as what the stack's endpoint is written from.
type source struct {
	s     *stream
	fd    int
	held  *[ahead]byte // what was read ahead, at bytes of n being gone
	at, n int
	eof   bool
	err   error
	bulk  int // bytes that are known to wait in the socket
}

// pump moves bytes until the socket has none (not done), has ended or failed, or
// the endpoint takes no more, which it then says.
func (r *source) pump() (done bool, state tcpip.Error) {
	for bulk := false; ; {
		for r.at < r.n || r.bulk > 0 {
			n, err := r.s.end.Write(r, tcpip.WriteOptions{})
			if r.err != nil {
				return true, nil
			}
			if err != nil {
				return true, err
			}
			r.s.moved(&r.s.in, &r.s.host.in, int(n))
			if bulk = bulk || r.bulk > 0; bulk && r.bulk == 0 && r.at == r.n {
				r.bulk = waiting(r.fd)
			}
		}
		// Little is read ahead and copied. What does not fit there is read by the
		// stack's Write itself, and how much that is must be known.
		if r.held == nil {
			r.held = aheads.Get().(*[ahead]byte)
		}
		n, err := unix.Read(r.fd, r.held[:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return false, nil
		case err != nil:
			r.err = err
			return true, nil
		case n == 0:
			r.eof = true
			return true, nil
		}
		r.at, r.n = 0, n
		if n == len(r.held) {
			r.bulk = waiting(r.fd)
		}
	}
}

// Len and Read implement tcpip.Payloader.
func (r *source) Len() int { return r.n - r.at + r.bulk }

func (r *source) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if r.at < r.n {
		n := copy(b, r.held[r.at:r.n])
		r.at += n
		return n, nil
	}
	for {
		n, err := unix.Read(r.fd, b[:min(len(b), max(r.bulk, 1))])
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && n == 0:
			err = io.ErrUnexpectedEOF // there were bytes to read
		}
		if err != nil {
			r.err = err
			return 0, err
		}
		r.bulk -= n
		return n, nil
	}
}

func (r *source) release() {
	if r.held != nil && r.at == r.n {
		aheads.Put(r.held)
		r.held = nil
	}
}
