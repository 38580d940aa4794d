//go:build !linux

package cli

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// ownerOf is unknown here.
func ownerOf(os.FileInfo) (uid int, ok bool) { return 0, false }

// errLocked: another process holds the lock.
var errLocked = errors.New("locked by another process")

// lockFile is only needed where a daemon runs.
func lockFile(string, bool) (*os.File, error) { return nil, errNoDaemonHere }

func ownSession(*exec.Cmd) {}

func catchAll(c chan<- os.Signal) { signal.Notify(c, os.Interrupt, syscall.SIGTERM) }

// brokenPipe is Linux's SIGPIPE as the API's kill takes it.
const brokenPipe = "13"

func proxied(s os.Signal) bool { return interrupts(s) }

func signalName(s os.Signal) string {
	if s == os.Interrupt {
		return "SIGINT"
	}
	return "SIGTERM"
}

func interrupts(s os.Signal) bool { return s == os.Interrupt || s == syscall.SIGTERM }

func notifyResize(chan<- os.Signal) {}

const daemonSupported = false
