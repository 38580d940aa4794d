package uplink

import (
	"errors"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

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
