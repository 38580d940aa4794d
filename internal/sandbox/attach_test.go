//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/tap"
)

func testAttachInput(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	at, err := a.Attach(ctx, AttachOptions{Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	in := make([]byte, 3<<20)
	chacha := rand.NewChaCha8([32]byte{1})
	chacha.Read(in)
	done := make(chan error, 1)
	go func() { // before the start, and more than all buffers hold
		_, err := at.Write(in)
		done <- errors.Join(err, at.CloseWrite())
	}()
	p := shell("cat")
	p.OpenStdin, p.StdinOnce = true, true
	if err := a.Start(ctx, p); err != nil {
		t.Fatal(err)
	}
	stdout, _ := readAll(t, at)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal([]byte(stdout), in) {
		t.Errorf("%d bytes came back, the %d sent were expected", len(stdout), len(in))
	}
}

func testAttachAll(t *testing.T) {
	const last = 300000
	a := launchTest(t, Config{LogSize: 256 << 10})
	stdout, _, _ := runTest(t, a, shell("seq 1 "+strconv.Itoa(last)))
	n := 0
	for line := range strings.Lines(stdout) {
		n++
		if line != strconv.Itoa(n)+"\n" {
			t.Fatalf("line %d is %q", n, line)
		}
	}
	if n != last {
		t.Errorf("%d lines, %d were expected", n, last)
	}
	// The log is bounded and ends with the last line.
	current, old := readLog(t, a.path+"/"+LogName), readLog(t, a.path+"/"+LogName+".1")
	if e := current[len(current)-1]; e.Log != strconv.Itoa(last)+"\n" {
		t.Errorf("last entry %+v", e)
	}
	if first, _ := strconv.Atoi(strings.TrimSpace(old[0].Log)); last-first+1 != len(old)+len(current) {
		t.Errorf("log begins with %d, holds %d and %d lines: there is a gap", first, len(old), len(current))
	}
}

func testSlowClient(t *testing.T) {
	ctx := testContext(t)
	const size = 10_000_000
	a := launchTest(t, Config{})
	at, err := a.Attach(ctx, AttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	if err := a.Start(ctx, shell("yes 0123456 | head -c "+strconv.Itoa(size))); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // the buffers are full now
	n := 0
	for {
		_, data, err := at.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n += len(data)
	}
	if n != size {
		t.Errorf("%d bytes, %d were expected", n, size)
	}
}

func testLossyClient(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	at, err := a.Attach(ctx, AttachOptions{Lossy: true})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	if err := a.Start(ctx, shell("seq 1 150000; sleep 1000")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the process to write on", func() bool { // it is not held up
		b, err := os.ReadFile(a.path + "/" + LogName)
		return err == nil && bytes.Contains(b, []byte(`{"log":"150000\n"`)) // its last line may be half written
	})
	for err == nil {
		_, _, err = at.Next()
	}
	if !errors.Is(err, ErrLagging) {
		t.Errorf("%v, ErrLagging was expected", err)
	}
}

// A client that reads a little and leaves, as in weft run -- seq 1 1000000 | head.
func testClientLeaves(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	at, err := a.Attach(ctx, AttachOptions{Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	p := shell("seq 1 200000; cat; exit 4") // cat ends when the client's input does
	p.OpenStdin, p.StdinOnce = true, true
	if err := a.Start(ctx, p); err != nil {
		t.Fatal(err)
	}
	if _, _, err := at.Next(); err != nil {
		t.Fatal(err)
	}
	at.Close()
	if _, _, err := at.Next(); err == nil {
		t.Error("a closed attachment still reads")
	}
	if s, err := a.Wait(ctx); err != nil || s.Code != 4 {
		t.Errorf("%+v %v", s, err)
	}
}

// Without StdinOnce the input outlives the clients that write it.
func testInputStaysOpen(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	p := shell("read x; echo one; read y; echo $x $y")
	p.OpenStdin = true
	if err := a.Start(ctx, p); err != nil {
		t.Fatal(err)
	}
	for i, in := range []string{"first\n", "second\n"} {
		at, err := a.Attach(ctx, AttachOptions{Stdin: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := at.Write([]byte(in)); err != nil {
			t.Fatal(err)
		}
		// The second line is the last: the sandbox may have ended by now.
		if err := at.CloseWrite(); err != nil && i == 0 {
			t.Fatal(err)
		}
		_, out, err := at.Next()
		if want := map[string]string{"first\n": "one\n", "second\n": "first second\n"}[in]; err != nil || string(out) != want {
			t.Errorf("%q, %v after %q, want %q", out, err, in, want)
		}
		at.Close()
	}
	if s, err := a.Wait(ctx); err != nil || s.Code != 0 {
		t.Errorf("%+v %v", s, err)
	}
}

func testAgentKilled(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	at, err := a.Attach(ctx, AttachOptions{Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	startIdle(t, a)
	d, err := a.AddInterface(ctx, Interface{MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	waited := make(chan error, 1)
	go func() { _, err := a.Wait(ctx); waited <- err }()
	time.Sleep(20 * time.Millisecond)
	unix.Kill(a.PID(), unix.SIGKILL)
	if _, _, err := at.Next(); !errors.Is(err, ErrGone) {
		t.Errorf("attached: %v", err)
	}
	if err := <-waited; !errors.Is(err, ErrGone) {
		t.Errorf("waiting: %v", err)
	}
	if _, err := a.Wait(ctx); !errors.Is(err, ErrGone) {
		t.Errorf("wait afterwards: %v", err)
	}
	if _, err := a.AddInterface(ctx, Interface{}); !errors.Is(err, ErrGone) {
		t.Errorf("interface afterwards: %v", err)
	}
}

func testTerminal(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	at, err := a.Attach(ctx, AttachOptions{Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	p := shell("tty; : </dev/tty && echo controls; stty size; read x; stty size; echo got $x; test -t 2; exit $?")
	p.TTY, p.OpenStdin, p.Rows, p.Cols = true, true, 24, 80
	if err := a.Start(ctx, p); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	until := func(text string) {
		t.Helper()
		for !strings.Contains(out.String(), text) {
			stream, data, err := at.Next()
			if err != nil || stream != Stdout {
				t.Fatalf("%d %v after %q, waiting for %q", stream, err, out.String(), text)
			}
			out.Write(data)
		}
	}
	until("24 80\r\n")
	if !strings.Contains(out.String(), "/dev/pts/0\r\ncontrols\r\n") {
		t.Errorf("tty said %q", out.String())
	}
	if err := a.Resize(ctx, 40, 132); err != nil {
		t.Fatal(err)
	}
	if _, err := at.Write([]byte("word\r")); err != nil {
		t.Fatal(err)
	}
	until("got word\r\n")
	until("40 132\r\n")
	if _, _, err := at.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	if s, err := a.Wait(ctx); err != nil || s.Code != 0 {
		t.Errorf("%+v %v", s, err)
	}
}

// A client that does not read keeps the agent, but neither the status nor the
// interfaces.
func testNetworkEnds(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	d, err := a.AddInterface(ctx, Interface{MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	at, err := a.Attach(ctx, AttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	const size = 450_000 // more than the socket holds, less than socket and queue
	if err := a.Start(ctx, shell("head -c "+strconv.Itoa(size)+" /dev/zero")); err != nil {
		t.Fatal(err)
	}
	if s, err := a.Wait(ctx); err != nil || s.Code != 0 {
		t.Fatalf("%+v %v", s, err)
	}
	waitFor(t, "the interface to go", func() bool { return errors.Is(readUntilGone(d), tap.ErrGone) })
	if !alive(a.PID()) {
		t.Error("the agent did not wait for its client")
	}
	if stdout, _ := readAll(t, at); len(stdout) != size {
		t.Errorf("%d bytes, %d were expected", len(stdout), size)
	}
	waitFor(t, "the agent to end", func() bool { return !alive(a.PID()) })
}

// A client that does not read holds up the process, as a pipe does, but not its
// end: the exit status is there at once, and the client may read the rest later.
func testStalledClient(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	at, err := a.Attach(ctx, AttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	if err := a.Start(ctx, shell("exec yes 0123456")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // the buffers are full now
	if err := a.Signal(ctx, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if s, err := a.Wait(soon); err != nil || s.Signal != int(unix.SIGKILL) {
		t.Fatalf("%+v %v", s, err)
	}
	logged := 0
	for _, e := range readLog(t, a.path+"/"+LogName) {
		logged += len(e.Log)
	}
	if stdout, _ := readAll(t, at); len(stdout) != logged {
		t.Errorf("the client read %d bytes, the log has %d", len(stdout), logged)
	}
}
