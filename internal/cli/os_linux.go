package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// ownerOf returns the user a file belongs to.
func ownerOf(st os.FileInfo) (uid int, ok bool) {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), true
}

// errLocked: another process holds the lock.
var errLocked = errors.New("locked by another process")

// lockFile takes an exclusive lock on path for as long as the file returned is
// open. With wait it waits, otherwise a held lock is errLocked. The kernel drops
// the lock with the process, so a crash leaves none behind.
func lockFile(path string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for {
		err = syscall.Flock(int(f.Fd()), how)
		if err != syscall.EINTR {
			break
		}
	}
	if err == syscall.EWOULDBLOCK {
		err = errLocked
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// ownSession makes a command survive the terminal it was started from.
func ownSession(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// catchAll delivers every signal. That a reader has gone is then told by EPIPE
// instead of SIGPIPE.
func catchAll(c chan<- os.Signal) { signal.Notify(c) }

// brokenPipe is SIGPIPE as the API's kill takes it.
const brokenPipe = "13"

// proxied says which signals are passed on: not those about this
// process's own children, output, terminal and Go runtime.
func proxied(s os.Signal) bool {
	switch s {
	case syscall.SIGCHLD, syscall.SIGPIPE, syscall.SIGURG, syscall.SIGWINCH:
		return false
	}
	return true
}

// signalName is what the API's kill takes: the number, which also covers
// real-time signals.
func signalName(s os.Signal) string {
	if n, ok := s.(syscall.Signal); ok {
		return fmt.Sprintf("%d", int(n))
	}
	return s.String()
}

// interrupts reports whether s asks this process to end.
func interrupts(s os.Signal) bool { return s == syscall.SIGINT || s == syscall.SIGTERM }

// notifyResize asks for a value whenever the terminal's size changes.
func notifyResize(c chan<- os.Signal) { signal.Notify(c, syscall.SIGWINCH) }

// daemonSupported: this system can run sandboxes.
const daemonSupported = true
