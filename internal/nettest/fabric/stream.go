package fabric

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// window is how many bytes of a direction may be underway or unread; then the
// writer waits.
const window = 64 << 10

// firstPort is the port that dialled streams come from.
const firstPort = 40000

// A stream joins two ends.
type stream struct {
	f       *Fabric
	mu      sync.Mutex
	changed chan struct{} // closed, and another put in its place, at every change
	ends    [2]*end
}

// An end is one side of a stream.
type end struct {
	*stream
	addr   netip.AddrPort
	peer   *end
	inbox  []chunk // on its way, or unread
	unread int     // bytes of it
	last   time.Time
	closed bool
	// deadlines of reading and of writing
	read, write time.Time
}

// A chunk is what one write sent, and when it arrives.
type chunk struct {
	at    time.Time
	bytes []byte
}

func (f *Fabric) streamLocked(from netip.Addr, to netip.AddrPort) (here, there *end) {
	s := &stream{f: f, changed: make(chan struct{})}
	here = &end{stream: s, addr: netip.AddrPortFrom(from, firstPort)}
	there = &end{stream: s, addr: to, peer: here}
	here.peer = there
	s.ends = [2]*end{here, there}
	f.streams[s] = true
	return here, there
}

func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakeLocked()
}

func (s *stream) wakeLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait unlocks until something changes or a time has come; zero: none.
func (s *stream) wait(until time.Time) {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	if until.IsZero() {
		<-changed
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	}
}

// past reports whether a deadline is over.
func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// sooner returns the earlier of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Read implements [net.Conn].
func (e *end) Read(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, net.ErrClosed
		case past(e.read):
			return 0, os.ErrDeadlineExceeded
		case e.f.cut(e.addr.Addr(), e.peer.addr.Addr()):
			e.wait(e.read)
		case len(e.inbox) > 0 && !time.Now().Before(e.inbox[0].at):
			return e.takeLocked(b), nil
		case len(e.inbox) > 0:
			e.wait(sooner(e.inbox[0].at, e.read))
		case e.peer.closed:
			return 0, io.EOF
		default:
			e.wait(e.read)
		}
	}
}

func (e *end) takeLocked(b []byte) int {
	c := &e.inbox[0]
	n := copy(b, c.bytes)
	c.bytes = c.bytes[n:]
	e.unread -= n
	if len(c.bytes) == 0 {
		e.inbox = e.inbox[1:]
	}
	e.wakeLocked()
	return n
}

// Write implements [net.Conn].
func (e *end) Write(b []byte) (sent int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(b) > 0 {
		switch {
		case e.closed:
			return sent, net.ErrClosed
		case past(e.write):
			return sent, os.ErrDeadlineExceeded
		case e.peer.closed && !e.f.cut(e.addr.Addr(), e.peer.addr.Addr()): // else nothing tells of it
			return sent, io.ErrClosedPipe
		case e.peer.unread >= window:
			e.wait(e.write)
			continue
		}
		n := min(len(b), window-e.peer.unread)
		e.pushLocked(b[:n])
		b, sent = b[n:], sent+n
	}
	return sent, nil
}

// pushLocked sends bytes, which do not overtake those before them.
func (e *end) pushLocked(b []byte) {
	at := e.f.late()
	if at.Before(e.last) {
		at = e.last
	}
	e.last = at
	e.peer.inbox = append(e.peer.inbox, chunk{at, append([]byte(nil), b...)})
	e.peer.unread += len(b)
	e.f.count(e.addr.Addr(), Traffic{StreamBytes: len(b), Segments: (len(b) + maxSegment - 1) / maxSegment})
	e.wakeLocked()
}

// Close implements [net.Conn]. What was written arrives all the same.
func (e *end) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.wakeLocked()
	if e.peer.closed {
		e.f.mu.Lock()
		delete(e.f.streams, e.stream)
		e.f.mu.Unlock()
	}
	return nil
}

// LocalAddr implements [net.Conn].
func (e *end) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(e.addr) }

// RemoteAddr implements [net.Conn].
func (e *end) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(e.peer.addr) }

// SetDeadline implements [net.Conn].
func (e *end) SetDeadline(t time.Time) error { return e.deadlines(&t, &t) }

// SetReadDeadline implements [net.Conn].
func (e *end) SetReadDeadline(t time.Time) error { return e.deadlines(&t, nil) }

// SetWriteDeadline implements [net.Conn].
func (e *end) SetWriteDeadline(t time.Time) error { return e.deadlines(nil, &t) }

func (e *end) deadlines(read, write *time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if read != nil {
		e.read = *read
	}
	if write != nil {
		e.write = *write
	}
	e.wakeLocked()
	return nil
}
