package node

import (
	"errors"
	"io"
	"os"
	"sync"

	"weft/internal/sandbox"
)

// Theory of operation: streams of an execution
//
// Its pipes, or its terminal, end in this process. One goroutine per output reads
// and hands each piece to Next, which gives the buffer back when it is called
// again; nothing is queued, so a reader that pauses pauses the process. After the
// last output Next waits for the exit code: who has read to the end may ask for it.

type execStream struct {
	in      *os.File // nil: no input
	outs    []*os.File
	tty     bool
	pieces  chan piece
	used    chan struct{} // the piece last handed over may be overwritten
	pending bool          // Next has a piece to give back
	open    int           // pumps that have not ended; Next's own
	done    <-chan struct{}
	stop    chan struct{}
	once    sync.Once
}

type piece struct {
	fd   int
	data []byte // nil: this output has ended
}

// newExecStream makes the pipes; stdio holds the ends for the process.
func newExecStream(spec ExecSpec, done <-chan struct{}) (*execStream, sandbox.Stdio, error) {
	s := &execStream{tty: spec.TTY, pieces: make(chan piece), used: make(chan struct{}), done: done, stop: make(chan struct{})}
	var stdio sandbox.Stdio
	if spec.TTY {
		return s, stdio, nil
	}
	var err error
	if spec.Stdin {
		stdio.Stdin, s.in, err = os.Pipe()
	}
	for _, out := range []**os.File{&stdio.Stdout, &stdio.Stderr} {
		var r *os.File
		if err == nil {
			if r, *out, err = os.Pipe(); err == nil {
				s.outs = append(s.outs, r)
			}
		}
	}
	if err != nil {
		closeStdio(stdio)
		s.Close()
		return nil, sandbox.Stdio{}, err
	}
	// The process's ends must block, which asking for the number sees to.
	for _, f := range []*os.File{stdio.Stdin, stdio.Stdout, stdio.Stderr} {
		if f != nil {
			f.Fd()
		}
	}
	return s, stdio, nil
}

func closeStdio(stdio sandbox.Stdio) {
	for _, f := range []*os.File{stdio.Stdin, stdio.Stdout, stdio.Stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// begin starts the pumps.
func (s *execStream) begin(o *owner, terminal *os.File) {
	if terminal != nil {
		s.in, s.outs = terminal, []*os.File{terminal}
	}
	for i, f := range s.outs {
		if o.spawn(func() { s.pump(i+1, f) }) {
			s.open++
		}
	}
	// A reader that is still there when the node closes does not hold it up.
	o.spawn(func() {
		select {
		case <-o.stop:
			s.Close()
		case <-s.stop:
		}
	})
}

func (s *execStream) pump(fd int, f *os.File) {
	buf := make([]byte, 32<<10)
	hand := func(p piece) bool {
		select {
		case s.pieces <- p:
			return true
		case <-s.stop:
		}
		return false
	}
	for {
		n, err := f.Read(buf)
		if n > 0 {
			if !hand(piece{fd, buf[:n]}) {
				break
			}
			select {
			case <-s.used:
			case <-s.stop:
			}
		}
		if err != nil { // io.EOF; of a terminal EIO
			hand(piece{fd: fd})
			break
		}
	}
	if !s.tty {
		f.Close()
	}
}

// Next returns the next piece of output.
func (s *execStream) Next() (fd int, data []byte, err error) {
	if s.pending {
		s.pending = false
		select {
		case s.used <- struct{}{}:
		case <-s.stop:
			return 0, nil, os.ErrClosed
		}
	}
	for s.open > 0 {
		select {
		case p := <-s.pieces:
			if p.data != nil {
				s.pending = true
				return p.fd, p.data, nil
			}
			s.open--
		case <-s.stop:
			return 0, nil, os.ErrClosed
		}
	}
	select {
	case <-s.done:
		return 0, nil, io.EOF
	case <-s.stop:
		return 0, nil, os.ErrClosed
	}
}

// Close detaches; Next, the pumps and a blocked write return.
func (s *execStream) Close() error {
	s.once.Do(func() { close(s.stop) })
	if s.in != nil {
		s.in.Close()
	}
	for _, f := range s.outs {
		f.Close()
	}
	return nil
}

// Stdin returns the writing end of the process's input.
func (s *execStream) Stdin() io.WriteCloser { return execInput{s} }

type execInput struct{ s *execStream }

// Write gives the process input.
func (i execInput) Write(p []byte) (int, error) {
	if i.s.in == nil {
		return 0, errNoInput
	}
	return i.s.in.Write(p)
}

// Close ends the input; a terminal has no end, its programs look for a character.
func (i execInput) Close() error {
	if i.s.in == nil || i.s.tty {
		return nil
	}
	if err := i.s.in.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
