package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
)

// run runs a program outside of any sandbox.
func run(t *testing.T, cmd ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(cmd[0], cmd[1:]...).Output()
	return string(out), err
}

func TestAttachWithInput(t *testing.T) {
	n := openNode(t, testConfig(t))
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "rose", Cmd: program("cat"), OpenStdin: true, StdinOnce: true, NetworkMode: "none"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.SandboxAttach(t.Context(), id, AttachOptions{Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	text := strings.Repeat("a line of input\n", 20000)
	sent := make(chan error, 1)
	go func() { // before the start: it waits
		_, err := io.WriteString(s.Stdin(), text)
		sent <- errors.Join(err, s.Stdin().Close())
	}()
	if err := n.SandboxStart(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if out, err := readAll(s); err != nil || out != text {
		t.Errorf("%d bytes back, %v, want %d", len(out), err, len(text))
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestAttachEndsWithoutStart(t *testing.T) {
	n := openNode(t, testConfig(t))
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Cmd: []string{"no-such-program"}, NetworkMode: "none"})
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(Stream){
		func(Stream) { n.SandboxStart(t.Context(), id) },
		func(s Stream) { s.Close() },
		func(Stream) { n.SandboxRemove(t.Context(), id, false) },
	} {
		s, err := n.SandboxAttach(t.Context(), id, AttachOptions{Stdin: true, Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		blocked := make(chan error, 2)
		go func() { _, _, err := s.Next(); blocked <- err }()
		go func() {
			s.Stdin().Write([]byte("x")) // the agent may have taken it already
			blocked <- io.EOF
		}()
		time.Sleep(5 * time.Millisecond)
		end(s)
		for range 2 {
			select {
			case err := <-blocked:
				if err == nil {
					t.Error("read or written without a process")
				}
			case <-time.After(5 * time.Second):
				t.Fatal("still blocked")
			}
		}
		s.Close()
	}
}

func TestLogs(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: []string{"/bin/sh", "-c", "for i in 1 2 3; do echo line $i; echo err $i >&2; sleep 0.1; done"}, NetworkMode: "none"})
	follow, err := n.SandboxLogs(t.Context(), "rose", LogOptions{Follow: true, Tail: -1, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for l, err := follow.Next(); ; l, err = follow.Next() {
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(l.Text))
	}
	follow.Close()
	if strings.Join(got, "") != "line 1\nline 2\nline 3\n" {
		t.Errorf("followed %q", got)
	}
	for _, c := range []struct {
		o    LogOptions
		want string
	}{
		{LogOptions{Tail: 2, Stdout: true}, "line 2\nline 3\n"},
		{LogOptions{Tail: 1, Stderr: true}, "err 3\n"},
		{LogOptions{Tail: 0, Stdout: true}, ""},
		{LogOptions{Tail: 99, Stderr: true}, "err 1\nerr 2\nerr 3\n"},
		{LogOptions{Tail: -1, Stdout: true, Until: time.Unix(1, 0)}, ""},
		{LogOptions{Tail: -1, Stdout: true, Since: time.Now().Add(time.Hour)}, ""},
	} {
		r, err := n.SandboxLogs(t.Context(), "rose", c.o)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		l, err := r.Next()
		for ; err == nil; l, err = r.Next() {
			got += string(l.Text)
		}
		if err != io.EOF || got != c.want {
			t.Errorf("%+v: %q, %v, want %q", c.o, got, err, c.want)
		}
		r.Close()
	}
}

// overflow runs a shell that writes more than a log takes and then does what is
// asked, in a sandbox whose log cannot be rotated: its directory is gone.
func overflow(t *testing.T, n *Node, then string) (id string) {
	t.Helper()
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{
		Cmd: []string{"/bin/sh", "-c", "read x; head -c 11000000 /dev/zero | tr '\\0' x; " + then}, OpenStdin: true, NetworkMode: "none",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(n.boxDir(id)); err != nil {
		t.Fatal(err)
	}
	s, err := n.SandboxAttach(t.Context(), id, AttachOptions{Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := io.WriteString(s.Stdin(), "go\n"); err != nil {
		t.Fatal(err)
	}
	for size := 0; size < 11000000; {
		_, data, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		size += len(data)
	}
	return id
}

// Output that could not be logged is told of: once in the daemon's own log and by
// an event, and at the end of what there is.
func TestLogIncomplete(t *testing.T) {
	var said bytes.Buffer
	c := testConfig(t)
	c.Log = slog.New(slog.NewTextHandler(&said, nil))
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	events := n.Events(t.Context(), time.Time{}, time.Time{})
	id := overflow(t, n, "exec sleep 1000")
	end := func(n *Node) error {
		r, err := n.SandboxLogs(t.Context(), id, LogOptions{Tail: -1, Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for {
			if _, err := r.Next(); err != nil {
				return err
			}
		}
	}
	for range 2 {
		if err := end(n); err == nil || !strings.Contains(err.Error(), "output may be missing: log log.json cannot be rotated") {
			t.Errorf("the log ends with %v", err)
		}
	}
	for e := nextEvent(t, events); e.Action != "log-error"; e = nextEvent(t, events) {
	}
	if err := n.SandboxKill(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := n.SandboxWait(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	n.Close()
	if got := strings.Count(said.String(), "not all logged"); got != 1 {
		t.Errorf("the daemon said so %d times:\n%s", got, said.String())
	}
	n = openNode(t, c)
	if err := end(n); err == nil || err == io.EOF {
		t.Errorf("after a restart the log ends with %v", err)
	}
}

// Nobody has to ask for the log: the keeper does in its rounds, and the end of a
// run says so.
func TestLogErrorNoticed(t *testing.T) {
	n := openNode(t, testConfig(t))
	noticed := func(id string) bool { return mustFind(t, n, id).LogError != "" }
	running := overflow(t, n, "exec sleep 1000")
	var l logRound
	l.next(n, n.now())
	for range 100 {
		if noticed(running) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !noticed(running) {
		t.Error("not by asking")
	}
	l.next(n, n.now())
	if len(l.left) != 0 {
		t.Error("it is asked again at once")
	}
	exited := overflow(t, n, "exit 0")
	if _, err := n.SandboxWait(t.Context(), exited, false); err != nil {
		t.Fatal(err)
	}
	if !noticed(exited) {
		t.Error("not by its end")
	}
}

// writeLog appends lines to a log as the agent does.
func writeLog(t *testing.T, name string, lines ...string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, l := range lines {
		fmt.Fprintf(f, `{"log":%q,"stream":"stdout","time":"2024-05-01T12:00:00Z"}`+"\n", l)
	}
}

// A reader that does not follow ends where the log ended when it was asked for.
func TestLogEndIsFixed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.json")
	n := &Node{own: newOwner(), boxes: map[string]*box{"id": newBox(cnm.Sandbox{ID: "id", Spec: cnm.SandboxSpec{Name: "rose"}, LogPath: path})}}
	for _, c := range []struct {
		name   string
		before func()
		tail   int
		want   string
	}{
		{"no log yet", func() {}, -1, ""},
		{"one file", func() { writeLog(t, path, "1", "2") }, -1, "12"},
		{"two files", func() { writeLog(t, path+".1", "0"); writeLog(t, path, "1") }, -1, "01"},
		{"tail", func() { writeLog(t, path+".1", "0"); writeLog(t, path, "1") }, 1, "1"},
	} {
		c.before()
		r, err := n.SandboxLogs(t.Context(), "rose", LogOptions{Tail: c.tail, Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		writeLog(t, path, "late")
		os.Rename(path, path+".1")
		writeLog(t, path, "later")
		got := ""
		l, err := r.Next()
		for ; err == nil; l, err = r.Next() {
			got += string(l.Text)
		}
		if err != io.EOF || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		os.Remove(path)
		os.Remove(path + ".1")
	}
}

// A reader follows the log over its rotation.
func TestLogRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.json")
	write := func(name string, lines ...string) { t.Helper(); writeLog(t, name, lines...) }
	write(path+".1", "1", "2")
	write(path, "3")
	ended := make(chan struct{})
	r := &logReader{path: path, o: LogOptions{Stdout: true}, closed: make(chan struct{}), ended: ended, ctx: t.Context()}
	defer r.Close()
	r.openOld()
	next := func(want string) {
		t.Helper()
		if l, err := r.Next(); err != nil || string(l.Text) != want {
			t.Fatalf("line %q, %v, want %q", l.Text, err, want)
		}
	}
	next("1")
	next("2")
	next("3")
	write(path, "4")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(path, "5")
	next("4")
	next("5")
	write(path, "6")
	close(ended)
	next("6")
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	os.WriteFile(path, []byte("{\"log\":\n"), 0o600)
	bad := &logReader{path: path, o: LogOptions{Stdout: true}, closed: make(chan struct{}), ctx: t.Context()}
	defer bad.Close()
	if _, err := bad.Next(); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("a damaged log: %v", err)
	}
}

func TestFollowEnds(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", NetworkMode: "none"})
	ctx, cancel := context.WithCancel(t.Context())
	for name, end := range map[string]func(LogReader){"context": func(LogReader) { cancel() }, "close": func(r LogReader) { r.Close() }} {
		r, err := n.SandboxLogs(ctx, "rose", LogOptions{Follow: true, Tail: -1, Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { _, err := r.Next(); done <- err }()
		end(r)
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s: a line out of nothing", name)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: still following", name)
		}
		r.Close()
	}
	cancel()
}

// A sandbox has a bound of exec processes; at it the next is refused, and one that
// is planned can be started later.
func TestExecBound(t *testing.T) {
	n := openNode(t, testConfig(t))
	sb := mustRun(t, n, cnm.SandboxSpec{Name: "rose", NetworkMode: "none"})
	planned, err := n.ExecCreate(t.Context(), "rose", ExecSpec{Cmd: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	for i := range maxRunningExecs {
		n.execs[fmt.Sprint(i)] = &execution{info: ExecInfo{ID: fmt.Sprint(i), SandboxID: sb.ID, Running: true}, begun: true}
	}
	n.mu.Unlock()
	if _, err := n.ExecCreate(t.Context(), "rose", ExecSpec{Cmd: []string{"true"}}); !errors.Is(err, cnm.Unavailable) {
		t.Errorf("one more: %v", err)
	}
	if _, err := n.ExecStart(t.Context(), planned); !errors.Is(err, cnm.Unavailable) {
		t.Errorf("one planned before: %v", err)
	}
	n.execEnded(n.execs["0"], 0)
	s, err := n.ExecStart(t.Context(), planned)
	if err != nil {
		t.Fatalf("after one has ended: %v", err)
	}
	readAll(s)
	s.Close()
}

func TestExec(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", NetworkMode: "none", Env: []string{"A=1", "B=2"}})
	if out, code := execute(t, n, "rose", "fail"); code != 7 || out != "failing\n" {
		t.Errorf("exit %d, %q", code, out)
	}
	id, err := n.ExecCreate(t.Context(), "rose", ExecSpec{Cmd: []string{"/bin/sh", "-c", "echo $A $B; cat"}, Env: []string{"B=3"}, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.ExecStart(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, _ := n.ExecInspect(id); !info.Running || info.PID == 0 || info.ExitCode != nil {
		t.Errorf("while it runs: %+v", info)
	}
	text := strings.Repeat("x", 300000) + "\n"
	go func() {
		io.WriteString(s.Stdin(), text)
		s.Stdin().Close()
	}()
	if out, err := readAll(s); err != nil || out != "1 3\n"+text {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	if _, err := n.ExecStart(t.Context(), id); !errors.Is(err, cnm.Conflict) {
		t.Errorf("second start: %v", err)
	}
	if id, err = n.ExecCreate(t.Context(), "rose", ExecSpec{Cmd: []string{"no-such"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.ExecStart(t.Context(), id); err == nil || !strings.Contains(err.Error(), `exec: "no-such": executable file not found in $PATH`) {
		t.Errorf("no such program: %v", err)
	}
	if info, _ := n.ExecInspect(id); info.ExitCode == nil || *info.ExitCode != 127 {
		t.Errorf("no such program: %+v", info)
	}
	// A client that goes away leaves no goroutine behind, whatever the process does.
	id, _ = n.ExecCreate(t.Context(), "rose", ExecSpec{Cmd: []string{"/bin/sh", "-c", "while :; do echo on and on; done"}, Stdout: true})
	if s, err := n.ExecStart(t.Context(), id); err != nil {
		t.Fatal(err)
	} else {
		s.Next()
		s.Close()
	}
}

func TestTerminal(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", NetworkMode: "none", TTY: true})
	if err := n.SandboxResize(t.Context(), "rose", 33, 99); err != nil {
		t.Error(err)
	}
	id, err := n.ExecCreate(t.Context(), "rose", ExecSpec{Cmd: []string{"/bin/sh", "-c", "test -t 0 && read l && echo got $l"}, TTY: true, Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.ExecStart(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := n.ExecResize(t.Context(), id, 20, 80); err != nil {
		t.Error(err)
	}
	io.WriteString(s.Stdin(), "me\n")
	if out, err := readAll(s); err != nil || !strings.HasSuffix(out, "got me\r\n") {
		t.Errorf("%q, %v", out, err)
	}
}
