package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrLagging ends a lossy attachment that did not keep up.
var ErrLagging = errors.New("client did not keep up with the output")

// An Attachment is a client of the main process's streams. One goroutine may call
// Next while another writes.
type Attachment struct {
	agent *Agent
	conn  *net.UnixConn
	buf   []byte
	mu    sync.Mutex // keeps the chunks of Write whole
}

// Attach takes part in the streams of the main process from now on, also before it
// is started. ctx bounds the attaching only.
func (a *Agent) Attach(ctx context.Context, o AttachOptions) (*Attachment, error) {
	conn, _, fds, err := a.open(ctx, request{Op: opAttach, Attach: &o})
	if err != nil {
		return nil, err
	}
	closeFDs(fds) // none are expected
	return &Attachment{agent: a, conn: conn}, nil
}

// Next returns output as it comes: Stdout or Stderr and the bytes, which are valid
// until the next call. A terminal has Stdout only. The error is io.EOF after the
// last byte, ErrGone if the agent died, net.ErrClosed after Close.
func (t *Attachment) Next() (stream int, data []byte, err error) {
	stream, t.buf, err = readChunk(t.conn, t.buf[:0])
	switch {
	case errors.Is(err, net.ErrClosed):
		return 0, nil, net.ErrClosed
	case err != nil:
		return 0, nil, t.agent.wrap(opAttach, fmt.Errorf("%w: its agent died: %w", ErrGone, unexpected(err)))
	case stream == streamEnd:
		return 0, nil, io.EOF
	case stream == streamLagging:
		return 0, nil, t.agent.wrap(opAttach, ErrLagging)
	}
	return stream, t.buf, nil
}

// Write gives the main process input. It waits while the process does not read.
func (t *Attachment) Write(p []byte) (n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(p) > 0 {
		part := p[:min(len(p), chunkSize)]
		if _, err := t.conn.Write(streamChunk(0, part)); err != nil {
			return n, err
		}
		n, p = n+len(part), p[len(part):]
	}
	return n, nil
}

// CloseWrite ends the main process's input; output goes on.
func (t *Attachment) CloseWrite() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.conn.Write(streamChunk(0, nil))
	return err
}

// Close leaves. It wakes Next and Write.
func (t *Attachment) Close() error { return t.conn.Close() }

// An Exec is a further process of a sandbox.
type Exec struct {
	// Number names the process to this sandbox's agent.
	Number uint64
	// PID is its process id as the daemon sees it.
	PID int
	// Terminal is the master of its terminal, nil without one: what is read from
	// it is output, what is written to it input. Reading ends with EIO.
	Terminal *os.File
	agent    *Agent
}

// Exec starts a further process. Its streams are the given files themselves,
// nothing is copied; they stay the caller's, who closes them. With a terminal
// they are ignored. The process ends with the sandbox at the latest.
func (a *Agent) Exec(ctx context.Context, p Process, s Stdio) (*Exec, error) {
	var files []*os.File
	if !p.TTY {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return nil, a.wrap(opExec, err)
		}
		defer null.Close()
		for _, f := range [...]*os.File{s.Stdin, s.Stdout, s.Stderr} {
			if f == nil {
				f = null
			}
			f.Fd() // makes it blocking, as programs expect their streams to be
			files = append(files, f)
		}
	}
	r, fds, err := a.call(ctx, request{Op: opExec, Process: &p}, files...)
	if err != nil {
		return nil, err
	}
	want := 1
	if p.TTY {
		want = 2
	}
	if len(fds) != want {
		closeFDs(fds)
		return nil, a.wrap(opExec, fmt.Errorf("%d descriptors came back, %d were expected", len(fds), want))
	}
	e := &Exec{Number: r.Exec, PID: pidOf(fds[0]), agent: a}
	unix.Close(fds[0])
	if p.TTY {
		unix.SetNonblock(fds[1], true)
		e.Terminal = os.NewFile(uintptr(fds[1]), "terminal")
	}
	return e, nil
}

// pidOf returns the process a pidfd stands for, in this process's numbers; 0 or
// less if it has ended.
func pidOf(fd int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte("Pid:")); ok {
			pid, _ := strconv.Atoi(string(bytes.TrimSpace(v)))
			return max(pid, 0)
		}
	}
	return 0
}

// OpenExec finds a process that an earlier daemon started with Exec.
func (a *Agent) OpenExec(number uint64) *Exec { return &Exec{Number: number, agent: a} }

// Wait returns how the process ended, once it has.
func (e *Exec) Wait(ctx context.Context) (ExitStatus, error) {
	r, err := e.agent.ask(ctx, request{Op: opExecWait, Exec: e.Number})
	if err != nil {
		return ExitStatus{}, err
	}
	if r.Exit == nil {
		return ExitStatus{}, e.agent.wrap(opExecWait, errEmpty)
	}
	return *r.Exit, nil
}

// Signal sends the process a signal.
func (e *Exec) Signal(ctx context.Context, sig syscall.Signal) error {
	_, err := e.agent.ask(ctx, request{Op: opSignal, Exec: e.Number, Signal: int(sig)})
	return err
}

// Resize sets the size of the process's terminal.
func (e *Exec) Resize(rows, cols uint16) error {
	if e.Terminal == nil {
		return errors.New("the process has no terminal")
	}
	return setSize(e.Terminal, rows, cols)
}

// Close closes the terminal. The process goes on, or ends by SIGHUP.
func (e *Exec) Close() error {
	if e.Terminal == nil {
		return nil
	}
	return e.Terminal.Close()
}
