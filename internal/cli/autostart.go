package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Starting a daemon for the user.
//
// A command that finds nobody on the user's own socket takes the start lock,
// looks again (another command may have been faster), starts `weft daemon` in a
// session of its own with its output in a log file, and waits on a pipe until
// the daemon says that it listens. The lock goes with the file descriptor; the
// daemon does not inherit it.

// startLimit bounds the wait for a daemon that was just started: it may have to
// take over a thousand sandboxes of the last one.
const startLimit = 60 * time.Second

// maxLog is the size at which a new daemon puts the old log aside.
const maxLog = 10 << 20

// readyEnv names the descriptor on which the daemon reports that it listens.
const readyEnv = "WEFT_READY_FD"

// answers reports whether somebody listens on the socket.
func answers(socket string) bool {
	c, err := net.DialTimeout("unix", socket, 5*time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// startDaemon brings up the user's own daemon unless it runs by now.
func (a *app) startDaemon(socket string) error {
	dir := filepath.Dir(socket)
	if err := privateDir(dir); err != nil {
		return fmt.Errorf("cannot start a daemon: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, "start.lock"), true)
	if err != nil {
		return fmt.Errorf("cannot start a daemon: %w", err)
	}
	defer lock.Close()
	if answers(socket) {
		return nil
	}
	logPath, logFile, err := a.openDaemonLog()
	if err != nil {
		return fmt.Errorf("cannot start a daemon: %w", err)
	}
	defer logFile.Close()
	fmt.Fprintf(a.err, "weft: no daemon was running, starting one (log: %s)\n", logPath)
	start, _ := logFile.Seek(0, io.SeekEnd)
	defer a.progress("waiting for the daemon")()
	if err := launchDaemon(logFile); err != nil {
		return fmt.Errorf("the daemon did not start: %w%s", err, lastWords(logPath, start))
	}
	return nil
}

// openDaemonLog opens the log of daemons that were started by themselves.
func (a *app) openDaemonLog() (string, *os.File, error) {
	dir, err := a.dataDir()
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	path := filepath.Join(dir, "daemon.log")
	if st, err := os.Stat(path); err == nil && st.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return "", nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return path, f, err
}

// launchDaemon starts this same binary as daemon and waits until it listens.
func launchDaemon(log *os.File) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	c := exec.Command(exe, "daemon")
	c.Dir = "/"
	c.Stdout, c.Stderr = log, log
	c.ExtraFiles = []*os.File{w} // descriptor 3
	c.Env = append(os.Environ(), readyEnv+"=3")
	ownSession(c)
	err = c.Start()
	w.Close()
	if err != nil {
		return err
	}
	defer c.Process.Release()
	if err := r.SetReadDeadline(time.Now().Add(startLimit)); err != nil {
		return err
	}
	said, err := bufio.NewReader(r).ReadString('\n')
	switch {
	case said == "ready\n":
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it was not ready within %v", startLimit)
	}
	return errors.New("it ended at once")
}

// lastWords is what the daemon logged since offset, for the user.
func lastWords(path string, offset int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil {
		offset = max(offset, st.Size()-2048)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, offset, 2048))
	if err != nil || len(b) == 0 {
		return ", see " + path
	}
	return ":\n" + strings.TrimSpace(string(b))
}

// reportReady tells the command that started this daemon that it listens.
func reportReady(fd string) {
	var n int
	if _, err := fmt.Sscanf(fd, "%d", &n); err != nil || n < 3 {
		return
	}
	f := os.NewFile(uintptr(n), "ready")
	if f == nil {
		return
	}
	fmt.Fprintln(f, "ready")
	f.Close()
}
