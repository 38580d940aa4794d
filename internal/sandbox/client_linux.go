package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An Agent is the daemon's handle on one sandbox.
type Agent struct {
	id       string
	path     string
	dir      *os.File // the way to the socket, also when the path is long
	pid      int
	pidfd    *os.File
	warnings []string
	died     chan struct{} // of an agent that is our child: closed once reaped
	dials    chan struct{} // a token for each connection being opened from inside
}

// Connect finds the agent of a sandbox that an earlier daemon launched. The error
// is ErrGone if it no longer runs; [ReadStatus] then tells how it ended.
func Connect(ctx context.Context, dir string) (*Agent, error) {
	a := &Agent{id: filepath.Base(dir), path: dir, dials: newDials()}
	var err error
	if a.dir, err = os.Open(dir); err != nil {
		return nil, fmt.Errorf("sandbox %s: %w", a.id, err)
	}
	conn, err := dial(ctx, a.dir)
	if err != nil {
		a.dir.Close()
		return nil, fmt.Errorf("sandbox %s: %w", a.id, err)
	}
	defer conn.Close()
	if a.pid, err = peerPID(conn); err == nil {
		err = a.openPIDFD()
	}
	if err == nil {
		// It answers, so the descriptor is its own and not a successor's.
		_, err = a.State(ctx)
	}
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("sandbox %s: %w", a.id, err)
	}
	return a, nil
}

// errEmpty is the error of an answer in which something is missing.
var errEmpty = errors.New("empty answer")

// peerPID returns who listens at the other end: the agent, as this process sees it.
func peerPID(c *net.UnixConn) (pid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid, errors.Join(cerr, err)
}

func (a *Agent) openPIDFD() error {
	fd, err := unix.PidfdOpen(a.pid, 0)
	if err != nil {
		return fmt.Errorf("%w: agent %d: %w", ErrGone, a.pid, err)
	}
	a.pidfd = os.NewFile(uintptr(fd), "pidfd")
	return nil
}

// Close releases the handle. The sandbox lives on.
func (a *Agent) Close() error {
	err := a.dir.Close()
	if a.pidfd != nil {
		err = errors.Join(err, a.pidfd.Close())
	}
	return err
}

// PID returns the agent's process id as the daemon sees it. It is PID 1 inside.
func (a *Agent) PID() int { return a.pid }

// NetNS returns the path of the sandbox's network namespace.
func (a *Agent) NetNS() string { return fmt.Sprintf("/proc/%d/ns/net", a.pid) }

// Warnings returns what Launch could not give the sandbox, one sentence each.
func (a *Agent) Warnings() []string { return a.warnings }

// dial connects to the agent.
func dial(ctx context.Context, dir *os.File) (*net.UnixConn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socketPath(dir))
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: its agent does not answer: %w", ErrGone, err)
	}
	return c.(*net.UnixConn), nil
}

// interrupt ends whatever waits on c when ctx ends.
func interrupt(ctx context.Context, c *net.UnixConn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
}

// open sends a request on a connection of its own and returns its first reply.
func (a *Agent) open(ctx context.Context, q request, files ...*os.File) (*net.UnixConn, reply, []int, error) {
	conn, err := dial(ctx, a.dir)
	if err != nil {
		return nil, reply{}, nil, a.wrap(q.Op, err)
	}
	stop := interrupt(ctx, conn)
	defer stop()
	if err = send(conn, q, files); err == nil {
		var r reply
		var fds []int
		if fds, err = receive(conn, &r); err == nil {
			if err = r.err(); err == nil {
				return conn, r, fds, nil
			}
			closeFDs(fds)
			conn.Close()
			return nil, r, nil, a.wrap(q.Op, err)
		}
	}
	conn.Close()
	if ctx.Err() != nil {
		return nil, reply{}, nil, a.wrap(q.Op, ctx.Err())
	}
	return nil, reply{}, nil, a.wrap(q.Op, fmt.Errorf("%w: its agent died: %w", ErrGone, err))
}

// call is open for requests that are answered once.
func (a *Agent) call(ctx context.Context, q request, files ...*os.File) (reply, []int, error) {
	conn, r, fds, err := a.open(ctx, q, files...)
	if err != nil {
		return r, nil, err
	}
	conn.Close()
	return r, fds, nil
}

// ask is call for requests whose answer comes without descriptors.
func (a *Agent) ask(ctx context.Context, q request) (reply, error) {
	r, fds, err := a.call(ctx, q)
	closeFDs(fds)
	return r, err
}

func (a *Agent) wrap(op string, err error) error {
	return fmt.Errorf("sandbox %s: %s: %w", a.id, op, err)
}

// State asks the agent where the sandbox is in its life.
func (a *Agent) State(ctx context.Context) (State, error) {
	r, err := a.ask(ctx, request{Op: opState})
	if err != nil {
		return State{}, err
	}
	if r.State == nil {
		return State{}, a.wrap(opState, errEmpty)
	}
	return *r.State, nil
}

// Start starts the main process. The error is ErrNotFound, ErrPermission or
// ErrRunning, or about the working directory.
func (a *Agent) Start(ctx context.Context, p Process) error {
	_, err := a.ask(ctx, request{Op: opStart, Process: &p})
	return err
}

// Signal sends the main process a signal.
func (a *Agent) Signal(ctx context.Context, sig syscall.Signal) error {
	_, err := a.ask(ctx, request{Op: opSignal, Signal: int(sig)})
	return err
}

// Resize sets the size of the main process's terminal, in characters.
func (a *Agent) Resize(ctx context.Context, rows, cols uint16) error {
	_, err := a.ask(ctx, request{Op: opResize, Rows: rows, Cols: cols})
	return err
}

// Wait returns how the main process ended, once it has. The error is ErrGone if
// the agent was killed before it could say so.
func (a *Agent) Wait(ctx context.Context) (ExitStatus, error) {
	r, err := a.ask(ctx, request{Op: opWait})
	if err == nil && r.Exit == nil {
		err = a.wrap(opWait, errEmpty)
	}
	if err == nil {
		return *r.Exit, nil
	}
	if ctx.Err() != nil || !errors.Is(err, ErrGone) {
		return ExitStatus{}, err
	}
	status, serr := ReadStatus(a.path)
	if errors.Is(serr, fs.ErrNotExist) {
		return ExitStatus{}, err
	}
	return status, serr
}

// Kill ends the agent, and with it every process and the namespaces, at once and
// without an exit status. It returns when the agent is gone.
func (a *Agent) Kill(ctx context.Context) error {
	if err := unix.PidfdSendSignal(int(a.pidfd.Fd()), unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return a.wrap("kill", err)
	}
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(a.pidfd.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 100); n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if a.died != nil && ctx.Err() == nil {
		<-a.died
	}
	return ctx.Err()
}

// WriteFiles replaces the content of /etc/hosts and /etc/resolv.conf inside; nil
// leaves a file alone. The files are bound by inode, so they are written in
// place: first the new content, then the length.
func (a *Agent) WriteFiles(_ context.Context, hosts, resolvConf []byte) error {
	for name, content := range map[string][]byte{hostsName: hosts, resolvName: resolvConf} {
		if content == nil {
			continue
		}
		if err := overwrite(filepath.Join(a.path, name), content); err != nil {
			return a.wrap("write "+name, err)
		}
	}
	return nil
}

func overwrite(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(content, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(content)))
}
