package uplink

import (
	"io"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

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
