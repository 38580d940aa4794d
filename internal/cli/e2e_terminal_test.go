//go:build linux

package cli

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A lockedBuffer is written by a command while the test looks into it.
type lockedBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	return len(p), nil
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// A typist sits before a terminal of 33 rows and 101 columns.
type typist struct {
	t      *testing.T
	master *os.File
	seen   lockedBuffer
	c      *exec.Cmd
}

// sit starts a command on a new terminal.
func sit(t *testing.T, c *exec.Cmd) *typist {
	t.Helper()
	master, slave := openTerminal(t)
	defer slave.Close()
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	y := &typist{t: t, master: master, c: c}
	go func() { // ends when both ends of the terminal are closed
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			y.seen.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	return y
}

// openTerminal makes a terminal and returns both of its ends.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 101}); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// types waits for what is expected on the screen and then types.
func (y *typist) types(expected, keys string) {
	y.t.Helper()
	y.sees(expected)
	y.seen.mu.Lock()
	y.seen.b = nil
	y.seen.mu.Unlock()
	if _, err := y.master.WriteString(keys); err != nil {
		y.t.Fatal(err)
	}
}

func (y *typist) sees(expected string) {
	y.t.Helper()
	deadline := time.Now().Add(patience)
	for !strings.Contains(y.seen.String(), expected) {
		if time.Now().After(deadline) {
			y.t.Fatalf("%v: the screen shows %q, expected %q", y.c.Args, y.seen.String(), expected)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// echo returns whether the terminal shows what is typed, not 0 if so.
func (y *typist) echo(t *testing.T) uint32 {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(y.master.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return s.Lflag & unix.ECHO
}

// leaves waits for the end and returns the exit code.
func (y *typist) leaves() int {
	y.t.Helper()
	timer := time.AfterFunc(patience, func() { y.c.Process.Kill() })
	defer timer.Stop()
	_ = y.c.Wait()
	return y.c.ProcessState.ExitCode()
}

func tryTerminal(t *testing.T, e *trial) {
	shell := []string{"env", "PS1=ready$ ", "sh"}
	y := sit(t, e.command(append([]string{"run", "-it", "--name", "term", "--"}, shell...)...))
	y.types("ready$ ", "stty size\r")
	y.types("33 101", "sleep 60; echo awake\r")
	time.Sleep(100 * time.Millisecond) // the shell has to start sleep before ctrl-c
	y.types("sleep 60", "\x03")
	y.types("ready$ ", "echo once more\r")
	y.types("once more\r\nready$ ", "\x10\x11") // ctrl-p ctrl-q: detach
	if code := y.leaves(); code != 0 {
		t.Errorf("detached with exit code %d", code)
	}
	if got := e.must(t, "ps", "--filter", "name=term", "--format", "{{.State}}"); got != "running" {
		t.Fatalf("detached, the sandbox is %q", got)
	}
	y = sit(t, e.command("attach", "term"))
	time.Sleep(100 * time.Millisecond) // nothing is shown until a key is typed
	y.types("", "echo back\r")
	y.types("back\r\nready$ ", "exit 4\r")
	if code := y.leaves(); code != 4 {
		t.Errorf("exit code %d, expected 4", code)
	}
	e.must(t, "start", "term")
	y = sit(t, e.command(append([]string{"exec", "-it", "term"}, shell...)...))
	y.types("ready$ ", "stty size; exit 6\r")
	y.sees("33 101")
	if code := y.leaves(); code != 6 {
		t.Errorf("exec: exit code %d, expected 6", code)
	}
	for _, view := range []string{"stats", "top"} {
		y = sit(t, e.command(view))
		y.sees("term:eth0")
		if s := y.seen.String(); strings.Contains(s, "\x1b[3J") || !strings.Contains(s, clearScreen) || strings.Contains(strings.ReplaceAll(s, "\r\n", ""), "\n") {
			t.Errorf("%s clears more than the screen, or ends lines wrongly: %q", view, s)
		}
		y.types("", map[string]string{"stats": "\x03", "top": "q"}[view])
		if code := y.leaves(); code != 0 {
			t.Errorf("%s: exit code %d", view, code)
		}
	}
	e.must(t, "rm", "-f", "term")
	c := e.command("run", "--rm", "-it", "true")
	c.Stdin = strings.NewReader("")
	if r := finish(t, c); r.code != 125 || !strings.Contains(r.err, "not a terminal") {
		t.Errorf("-it without a terminal: exit code %d, %q", r.code, r.err)
	}
}
