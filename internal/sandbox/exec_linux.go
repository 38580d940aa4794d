package sandbox

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// keptExecs is how many further processes the agent remembers; the oldest that
// have ended are forgotten first.
const keptExecs = 256

// exec starts a further process. Its streams are the descriptors that came with
// the request, one each for those the caller has; with a terminal its master goes
// back. The first descriptor of the answer is the process's pidfd.
func (a *agent) exec(p *Process, passed []*os.File) (r reply, files []*os.File, err error) {
	if p == nil {
		return r, nil, errors.New("exec: no process given")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.main == nil || a.ending {
		return r, nil, ErrNotRunning
	}
	stdio := passed
	var master *os.File
	if p.TTY {
		var slave *os.File
		if master, slave, err = a.openTerminal(p.Rows, p.Cols); err != nil {
			return r, nil, err
		}
		defer slave.Close()
		stdio = []*os.File{slave, slave, slave}
	} else if len(passed) != 3 {
		return r, nil, fmt.Errorf("exec: %d descriptors came with the request, 3 were expected", len(passed))
	}
	c, err := a.reaper.startProcess(p, stdio)
	if err != nil {
		closeFiles([]*os.File{master})
		return r, nil, err
	}
	a.lastExec++
	a.execs[a.lastExec] = c
	a.forgetExecsLocked()
	r.Exec = a.lastExec
	fd, err := unix.PidfdOpen(c.pid, 0)
	if err != nil { // it has ended and was reaped: then it needs no number
		fd, err = unix.PidfdOpen(os.Getpid(), 0)
	}
	if err == nil {
		files = append(files, os.NewFile(uintptr(fd), "pidfd"))
	}
	if master != nil {
		files = append(files, master)
	}
	return r, files, err
}

func (a *agent) forgetExecsLocked() {
	for n := uint64(1); len(a.execs) > keptExecs && n < a.lastExec; n++ {
		if c := a.execs[n]; c != nil && c.ended() {
			delete(a.execs, n)
		}
	}
}

func (a *agent) findExec(n uint64) *child {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.execs[n]
}

// signalProcess sends a signal to the main process, number 0, or a further one.
func (a *agent) signalProcess(n uint64, sig syscall.Signal) error {
	if sig <= 0 || sig > 64 {
		return fmt.Errorf("signal %d: 1 to 64 are possible", sig)
	}
	if n == 0 {
		return a.signal(sig)
	}
	c := a.findExec(n)
	if c == nil {
		return fmt.Errorf("exec %d is not known", n)
	}
	return a.reaper.signal(c, sig)
}
