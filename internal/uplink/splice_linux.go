package uplink

import (
	"io"
	"sync"
	"syscall"
	"time"

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
// the other; but what that side had sent before is carried first, if it can be
// within a grace: a server that refuses an upload answers, then resets.

// splice carries the connection's bytes until both halves have ended.
func (s *stream) splice() {
	s.end.SocketOptions().SetKeepAlive(true)
	if s.crowded {
		s.end.SocketOptions().SetSendBufferSize(crowdedBuffer, true)
		s.end.SocketOptions().SetReceiveBufferSize(crowdedBuffer, true)
	}
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
	if s.torn.Load() {
		s.abort()
	}
	s.finish()
}

// grace is how long what was sent before a reset may take.
const grace = time.Second

// tear notes that a side takes nothing more. The half that comes from there goes on
// to its end; then both are reset, or when the grace is over.
func (s *stream) tear() {
	if s.torn.CompareAndSwap(false, true) {
		time.AfterFunc(grace, s.abort)
	}
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
			s.tear()
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
	if err := s.conn.CloseWrite(); err != nil {
		s.tear()
		return
	}
	s.halfDone()
	for {
		select {
		case <-inward:
			if failed(s.end) {
				s.abort()
			}
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
		case err == nil && src.eof && s.torn.Load():
			return
		case err == nil && src.eof:
			src.release()
			s.end.Shutdown(tcpip.ShutdownWrite)
			s.halfDone()
			return
		case err != nil, src.err != nil:
			s.abort()
			return
		case !blocked:
			s.tear()
			return
		}
		<-ready
	}
}
