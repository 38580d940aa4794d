package node

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
)

func TestLifecycle(t *testing.T) {
	n := openNode(t, testConfig(t))
	events := n.Events(t.Context(), time.Time{}, time.Time{})
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "rose", Cmd: program("echo", "hello", "world"), Labels: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if sb := mustFind(t, n, "rose"); sb.State != cnm.Created || len(sb.Endpoints) != 0 || sb.Spec.Hostname != id[:12] {
		t.Errorf("created: %+v", sb)
	}
	s, err := n.SandboxAttach(t.Context(), "rose", AttachOptions{Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := n.SandboxStart(t.Context(), id[:6]); err != nil {
		t.Fatal(err)
	}
	if out, err := readAll(s); err != nil || out != "hello world\n" {
		t.Errorf("output %q, %v", out, err)
	}
	if code, err := n.SandboxWait(t.Context(), "rose", false); err != nil || code != 0 {
		t.Errorf("wait: %d, %v", code, err)
	}
	if sb := mustFind(t, n, "rose"); sb.State != cnm.Exited || sb.PID != 0 || len(sb.Endpoints) != 0 || sb.Finished.IsZero() {
		t.Errorf("exited: %+v", sb)
	}
	if err := n.SandboxRename(t.Context(), "rose", "tulip"); err != nil {
		t.Error(err)
	}
	if err := n.SandboxRemove(t.Context(), "tulip", false); err != nil {
		t.Error(err)
	}
	if _, err := n.Sandbox(id); !errors.Is(err, cnm.NotFound) {
		t.Errorf("after removal: %v", err)
	}
	want := []string{"create", "attach", "connect", "start", "die", "disconnect", "rename", "destroy"}
	for _, action := range want {
		e := nextEvent(t, events)
		if e.Action != action {
			t.Fatalf("event %s %s, want %s", e.Type, e.Action, action)
		}
		if e.Type == "container" && e.Attributes["image"] != cnm.NoImage {
			t.Errorf("%s: image %q, lists and inspection say %s", action, e.Attributes["image"], cnm.NoImage)
		}
		if action == "die" && (e.Attributes["exitCode"] != "0" || e.Attributes["a"] != "b" || e.Attributes["name"] != "rose") {
			t.Errorf("die: %v", e.Attributes)
		}
	}
}

func nextEvent(t *testing.T, events <-chan cnm.Event) cnm.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(5 * time.Second):
		t.Fatal("no event within 5 s")
	}
	return cnm.Event{}
}

func TestExitCodes(t *testing.T) {
	n := openNode(t, testConfig(t))
	for _, c := range []struct {
		name  string
		cmd   []string
		dir   string
		code  int
		start string // part of the error of the start
	}{
		{"ok", program("echo"), "", 0, ""},
		{"seven", program("fail"), "", 7, ""},
		{"not found", []string{"no-such-program"}, "", 127, "executable file not found in $PATH"},
		{"not executable", []string{"/etc/passwd"}, "", 126, "permission denied"},
		{"no directory", program("echo"), "/nonexist", 126, "working directory /nonexist does not exist in the sandbox"},
		{"no directory, no program", []string{"no-such-program"}, "/nonexist", 126, "working directory /nonexist does not exist"},
		{"a file for a directory", program("echo"), "/etc/passwd", 126, "working directory /etc/passwd is not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Cmd: c.cmd, Dir: c.dir, Env: []string{"PATH=/usr/bin:/bin"}})
			if err != nil {
				t.Fatal(err)
			}
			err = n.SandboxStart(t.Context(), id)
			if c.start == "" && err != nil || c.start != "" && (err == nil || !strings.Contains(err.Error(), c.start)) ||
				c.dir != "" && strings.Contains(err.Error(), "$PATH") {
				t.Fatalf("start: %v, want %q", err, c.start)
			}
			if c.start == "" {
				if code, err := n.SandboxWait(t.Context(), id, false); err != nil || code != c.code {
					t.Errorf("exit code %d, %v, want %d", code, err, c.code)
				}
			}
			sb := mustFind(t, n, id)
			if sb.ExitCode != c.code || len(sb.Endpoints) != 0 || sb.PID != 0 {
				t.Errorf("after it: %+v", sb)
			}
			if len(n.path.ports) != 0 {
				t.Errorf("ports left: %v", n.path.ports)
			}
		})
	}
}

func TestStopAndKill(t *testing.T) {
	n := openNode(t, testConfig(t))
	sb := mustRun(t, n, cnm.SandboxSpec{Name: "rose"})
	begun := time.Now()
	if err := n.SandboxStop(t.Context(), "rose", "", nil); err != nil {
		t.Fatal(err)
	}
	if sb = mustFind(t, n, "rose"); sb.State != cnm.Exited || sb.ExitCode != 128+sigTerm || time.Since(begun) > 5*time.Second {
		t.Errorf("after stop: %+v after %s", sb, time.Since(begun))
	}
	if err := n.SandboxStop(t.Context(), "rose", "", nil); !errors.Is(err, cnm.NotModified) {
		t.Errorf("second stop: %v", err)
	}
	if err := n.SandboxKill(t.Context(), "rose", ""); !errors.Is(err, cnm.Conflict) {
		t.Errorf("kill of an exited one: %v", err)
	}
	if err := n.SandboxStart(t.Context(), "rose"); err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), "rose"); !errors.Is(err, cnm.NotModified) {
		t.Errorf("second start: %v", err)
	}
	if err := n.SandboxRemove(t.Context(), "rose", false); !errors.Is(err, cnm.Conflict) {
		t.Errorf("removal of a running one: %v", err)
	}
	if err := n.SandboxKill(t.Context(), "rose", "KILL"); err != nil {
		t.Error(err)
	}
	if sb = mustFind(t, n, "rose"); sb.State != cnm.Exited || sb.ExitCode != 137 {
		t.Errorf("after kill: %+v", sb)
	}
}

// A stop goes on when its client has gone.
func TestStopWithoutClient(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: []string{"/bin/sh", "-c", "trap '' TERM; echo ready; sleep 60"}})
	for range 500 {
		r, err := n.SandboxLogs(t.Context(), "rose", LogOptions{Tail: -1, Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Next()
		r.Close()
		if err == nil {
			break // it ignores the signal by now
		}
		time.Sleep(10 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	patience := 300 * time.Millisecond
	n.SandboxStop(ctx, "rose", "", &patience)
	for range 300 {
		if sb := mustFind(t, n, "rose"); sb.State == cnm.Exited {
			if sb.ExitCode != 137 {
				t.Errorf("it ended with %d", sb.ExitCode)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it still runs")
}

func TestAutoRemove(t *testing.T) {
	n := openNode(t, testConfig(t))
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Cmd: program("fail"), AutoRemove: true})
	if err != nil {
		t.Fatal(err)
	}
	code := make(chan int, 1)
	go func() {
		c, _ := n.SandboxWait(t.Context(), id, true)
		code <- c
	}()
	time.Sleep(10 * time.Millisecond)
	if err := n.SandboxStart(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	select {
	case c := <-code:
		if c != 7 {
			t.Errorf("exit code %d", c)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it was not removed")
	}
	if _, err := n.Sandbox(id); !errors.Is(err, cnm.NotFound) {
		t.Errorf("after it: %v", err)
	}
}

// An agent that is killed takes its sandbox along; nothing of it stays.
func TestAgentKilled(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front"})
	sb := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front")})
	next := make(chan int, 1)
	go func() {
		c, _ := n.SandboxWait(t.Context(), "rose", false)
		next <- c
	}()
	kill(t, n, sb.ID)
	select {
	case c := <-next:
		if c != 137 {
			t.Errorf("exit code %d", c)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("its end was not noticed")
	}
	if err := n.NetworkRemove(t.Context(), "front"); err != nil {
		t.Errorf("its endpoint is still there: %v", err)
	}
}

func TestNames(t *testing.T) {
	n := openNode(t, testConfig(t))
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "rose", Cmd: program("echo")})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "rose", Cmd: program("echo")})
	want := `Conflict. The container name "/rose" is already in use by container "` + id + `". You have to remove (or rename) that container to be able to reuse that name.`
	if !errors.Is(err, cnm.Conflict) || err.Error() != want {
		t.Errorf("same name: %v", err)
	}
	if _, _, err = n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "no good", Cmd: program("echo")}); !errors.Is(err, cnm.Invalid) {
		t.Errorf("bad name: %v", err)
	}
	for _, ref := range []string{id, id[:12], id[:5], "rose", "/rose"} {
		if sb, err := n.Sandbox(ref); err != nil || sb.ID != id {
			t.Errorf("reference %q: %v", ref, err)
		}
	}
	for _, ref := range []string{"", "ros", "nobody"} {
		if _, err := n.Sandbox(ref); !errors.Is(err, cnm.NotFound) {
			t.Errorf("reference %q: %v", ref, err)
		}
	}
}
