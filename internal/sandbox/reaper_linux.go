package sandbox

import (
	"errors"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Theory of operation
//
// PID 1 inherits every orphan and must wait for all children in one place, so
// os/exec, which waits for its own, cannot be used. Forking and entering the
// child into the table happen under the lock that reaping takes: a child that
// dies at once is found there.

// A child is a process the agent started itself.
type child struct {
	pid    int
	status ExitStatus    // valid once exited is closed
	exited chan struct{} // closed when reaped
}

func (c *child) ended() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

type reaper struct {
	withheld []int // capabilities that no child gets

	mu       sync.Mutex
	children map[int]*child
	closed   bool // killAll was called
}

// start executes a program. The files of attr stay the caller's.
func (r *reaper) start(path string, args []string, attr *syscall.ProcAttr) (*child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrNotRunning
	}
	// Capabilities belong to a thread, and the child takes those of the thread
	// that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := withhold(r.withheld); err != nil {
		return nil, err
	}
	started := time.Now()
	pid, err := syscall.ForkExec(path, args, attr)
	if err != nil {
		return nil, err
	}
	c := &child{pid: pid, exited: make(chan struct{})}
	c.status.Started = started
	if r.children == nil {
		r.children = make(map[int]*child)
	}
	r.children[pid] = c
	return c, nil
}

// reap waits for every process that has ended.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.waitLocked(unix.WNOHANG) {
	}
}

// killAll kills every process in the PID namespace but the agent and waits until
// none is left. The kernel signals all under one lock, so no fork escapes.
func (r *reaper) killAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	unix.Kill(-1, unix.SIGKILL)
	for r.waitLocked(0) {
	}
}

// waitLocked waits for one process and reports whether there was one.
func (r *reaper) waitLocked(options int) bool {
	var ws unix.WaitStatus
	pid, err := unix.Wait4(-1, &ws, options, nil)
	if errors.Is(err, unix.EINTR) {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	c := r.children[pid]
	if c == nil {
		return true // an orphan
	}
	delete(r.children, pid)
	c.status.Finished = time.Now()
	c.status.Code = ws.ExitStatus()
	if ws.Signaled() {
		c.status.Signal = int(ws.Signal())
		c.status.Code = 128 + c.status.Signal
	}
	close(c.exited)
	return true
}

// signal sends a child a signal. It cannot reach a process that took over the
// child's number, because the child is not reaped while the lock is held.
func (r *reaper) signal(c *child, sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.ended() {
		return ErrNotRunning
	}
	return unix.Kill(c.pid, sig)
}
