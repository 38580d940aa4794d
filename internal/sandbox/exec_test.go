//go:build linux

package sandbox

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func testExec(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	if _, err := a.Exec(ctx, shell("true"), Stdio{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("exec before start: %v", err)
	}
	startIdle(t, a)
	if _, err := a.Exec(ctx, Process{Args: []string{"no-such-program"}}, Stdio{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such program: %v", err)
	}
	// Streams of its own, environment, directory and exit code.
	inR, inW, _ := os.Pipe()
	outR, outW, _ := os.Pipe()
	p := Process{Args: []string{"sh", "-c", "pwd; echo $WORD; cat; exit 6"}, Env: []string{"WORD=hello"}, Dir: "/usr"}
	e, err := a.Exec(ctx, p, Stdio{Stdin: inR, Stdout: outW})
	inR.Close()
	outW.Close()
	if err != nil {
		t.Fatal(err)
	}
	comm, err := os.ReadFile("/proc/" + strconv.Itoa(e.PID) + "/comm")
	if err != nil || strings.TrimSpace(string(comm)) != "sh" {
		t.Errorf("process %d: %q %v, the shell was expected", e.PID, comm, err)
	}
	const greeting = "/usr\nhello\n"
	out := make([]byte, len(greeting), 100)
	if _, err := io.ReadFull(outR, out); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // cat waits for input, if its input is one that waits
	inW.WriteString("input")
	inW.Close()
	rest, _ := io.ReadAll(outR)
	outR.Close()
	if string(out)+string(rest) != greeting+"input" {
		t.Errorf("output %q", out)
	}
	if s, err := e.Wait(ctx); err != nil || s.Code != 6 {
		t.Errorf("%+v %v", s, err)
	}
	// A signal.
	if e, err = a.Exec(ctx, shell("exec sleep 1000"), Stdio{}); err != nil {
		t.Fatal(err)
	}
	if err := a.OpenExec(e.Number).Signal(ctx, unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if s, err := e.Wait(ctx); err != nil || s.Code != 130 || s.Signal != 2 {
		t.Errorf("%+v %v", s, err)
	}
	if err := e.Signal(ctx, unix.SIGINT); !errors.Is(err, ErrNotRunning) {
		t.Errorf("signal to a dead process: %v", err)
	}
	if _, err := a.OpenExec(99).Wait(ctx); err == nil {
		t.Error("exec 99 is known")
	}
	// It does not outlive the sandbox, and its status is told before the end.
	if e, err = a.Exec(ctx, shell("exec sleep 1000"), Stdio{}); err != nil {
		t.Fatal(err)
	}
	status := make(chan ExitStatus, 1)
	go func() { s, _ := e.Wait(ctx); status <- s }()
	time.Sleep(200 * time.Millisecond) // the call waits by now; nothing outside the agent shows it
	if err := a.Signal(ctx, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := <-status; s.Code != 137 {
		t.Errorf("%+v", s)
	}
}

func testExecTerminal(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	startIdle(t, a)
	p := shell("stty size; read x; echo got $x; stty size")
	p.TTY, p.Rows, p.Cols = true, 20, 70
	e, err := a.Exec(ctx, p, Stdio{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var out bytes.Buffer
	buf := make([]byte, 100)
	for !strings.Contains(out.String(), "20 70") {
		n, err := e.Terminal.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(buf[:n])
	}
	if err := e.Resize(30, 90); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Terminal.WriteString("word\n"); err != nil {
		t.Fatal(err)
	}
	io.Copy(&out, e.Terminal) // until EIO
	if !strings.Contains(out.String(), "got word\r\n30 90\r\n") {
		t.Errorf("output %q", out.String())
	}
	if s, err := e.Wait(ctx); err != nil || s.Code != 0 {
		t.Errorf("%+v %v", s, err)
	}
}
