//go:build linux

package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func testLifecycle(t *testing.T) {
	ctx := testContext(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40)) // longer than a socket address
	a := launchTest(t, Config{Dir: dir, Hostname: "rose", Domainname: "example"})
	if s, err := a.State(ctx); err != nil || s.Phase != Created || s.Exit != nil {
		t.Fatalf("new: %+v %v", s, err)
	}
	info, err := os.Stat(filepath.Join(dir, socketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v, mode 0600 was expected", info.Mode(), err)
	}
	if info, err = os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v %v, mode 0700 was expected", info.Mode(), err)
	}
	if err := a.Signal(ctx, unix.SIGTERM); !errors.Is(err, ErrNotRunning) {
		t.Errorf("signal before start: %v", err)
	}
	stdout, stderr, status := runTest(t, a, shell("echo out; echo err >&2; hostname; echo $$; exit 3"))
	if f := lines(stdout); len(f) != 3 || f[0] != "out" || f[1] != "rose" || stderr != "err\n" {
		t.Errorf("output %q, %q", stdout, stderr)
	}
	if status.Code != 3 || status.Signal != 0 || status.Finished.Before(status.Started) || time.Since(status.Started) > time.Minute {
		t.Errorf("status %+v", status)
	}
	waitFor(t, "the agent to end", func() bool { return !alive(a.PID()) })
	// A daemon that was dead learns the same from the disk.
	again, err := ReadStatus(dir)
	if err != nil || again.Code != 3 || !again.Finished.Equal(status.Finished) {
		t.Errorf("status on disk %+v %v", again, err)
	}
	if again, err := a.Wait(ctx); err != nil || again.Code != 3 {
		t.Errorf("second wait %+v %v", again, err)
	}
	if _, err := Connect(ctx, dir); !errors.Is(err, ErrGone) {
		t.Errorf("connect after the end: %v", err)
	}
	var logged []string
	for _, e := range readLog(t, filepath.Join(dir, LogName)) {
		logged = append(logged, e.Stream+" "+e.Log)
		if time.Since(e.Time) > time.Minute {
			t.Errorf("time stamp %v", e.Time)
		}
	}
	if s := strings.Join(logged, ""); !strings.Contains(s, "stdout out\n") || !strings.Contains(s, "stderr err\n") {
		t.Errorf("log %q", logged)
	}
}

func testOwnFiles(t *testing.T) {
	// What the daemon itself inherited does not get in.
	var shells [2]int
	if err := unix.Pipe2(shells[:], 0); err != nil {
		t.Fatal(err)
	}
	defer closeFDs(shells[:])
	a := launchTest(t, Config{Hostname: "rose", Domainname: "example", Hosts: []byte("127.0.0.1 localhost\n10.9.9.9 rose\n"), ResolvConf: []byte("nameserver 192.0.2.1\n")})
	startIdle(t, a)
	own, _ := os.Readlink("/proc/self/ns/net")
	for _, tt := range []struct{ name, script, want string }{
		{"hostname", "hostname; cat /etc/hostname; cat /proc/sys/kernel/domainname", "rose\nrose\nexample\n"},
		{"hosts", "cat /etc/hosts", "127.0.0.1 localhost\n10.9.9.9 rose\n"},
		{"resolv.conf", "cat /etc/resolv.conf", "nameserver 192.0.2.1\n"},
		{"pid 1 is the agent", "cat /proc/1/comm", "weft-agent\n"},
		{"root inside", "id -u", "0\n"},
		{"own sysfs", "ls /sys/class/net", "lo\n"},
		{"empty devpts", "ls /dev/pts", "ptmx\n"},
		{"own network namespace", "test \"$(readlink /proc/self/ns/net)\" != '" + own + "' && echo own", "own\n"},
		{"read-only sysctls", "echo 1 2>/dev/null >/proc/sys/net/ipv4/ip_forward || echo denied", "denied\n"},
		{"loopback is up", "cat /sys/class/net/lo/flags", "0x9\n"},
		{"only the standard descriptors", "ls /proc/self/fd", "0\n1\n2\n3\n"},
		{"no signal ignored or blocked", "grep -E 'SigBlk|SigIgn' /proc/self/status | tr -d '\\t'", "SigBlk:0000000000000000\nSigIgn:0000000000000000\n"},
	} {
		if got := inside(t, a, tt.script); got != tt.want {
			t.Errorf("%s: %q, %q was expected", tt.name, got, tt.want)
		}
	}
	if err := a.WriteFiles(testContext(t), []byte("short\n"), nil); err != nil {
		t.Fatal(err)
	}
	if got := inside(t, a, "cat /etc/hosts /etc/resolv.conf"); got != "short\nnameserver 192.0.2.1\n" {
		t.Errorf("after WriteFiles: %q", got)
	}
	if host, err := os.ReadFile("/etc/hosts"); err != nil || string(host) == "short\n" {
		t.Errorf("the host's own /etc/hosts: %q %v", host, err)
	}
}

func testExitCodes(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		code, signal int
	}{
		{"success", "true", 0, 0},
		{"failure", "exit 255", 255, 0},
		{"killed", "kill -KILL $$", 137, 9},
		{"terminated", "kill -TERM $$", 143, 15},
	} {
		a := launchTest(t, Config{})
		if _, _, s := runTest(t, a, shell(tt.script)); s.Code != tt.code || s.Signal != tt.signal {
			t.Errorf("%s: %+v, code %d and signal %d were expected", tt.name, s, tt.code, tt.signal)
		}
	}
}

func testStartErrors(t *testing.T) {
	ctx := testContext(t)
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	for name, f := range map[string]struct {
		text string
		mode fs.FileMode
	}{"plain": {"#!/bin/sh\n", 0o644}, "garbage": {"\x7fELFnot", 0o755}, "lost": {"#!/no/such/shell\n", 0o755}} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(f.text), f.mode); err != nil {
			t.Fatal(err)
		}
	}
	a := launchTest(t, Config{})
	for _, tt := range []struct {
		name    string
		process Process
		kind    error
		text    string
	}{
		{"not in PATH", Process{Args: []string{"no-such-program"}}, ErrNotFound, `"no-such-program": executable file not found in $PATH`},
		{"no such file", Process{Args: []string{"/no/such"}}, ErrNotFound, "stat /no/such: no such file or directory"},
		{"PATH is the process's", Process{Args: []string{"sh"}, Env: []string{"PATH=/no/such"}}, ErrNotFound, "$PATH"},
		{"directory", Process{Args: []string{"/etc"}}, ErrPermission, "is a directory"},
		{"not executable", Process{Args: []string{dir + "/plain"}}, ErrPermission, "is not executable"},
		{"not executable in PATH", Process{Args: []string{"plain"}, Env: []string{"PATH=" + dir}}, ErrPermission, "is not executable"},
		{"not in PATH, part of which may not be searched", Process{Args: []string{"nosuch"}, Env: []string{"PATH=/root/bin:" + dir}}, ErrNotFound, "not found in $PATH"},
		{"no program", Process{Args: []string{"./garbage"}, Dir: dir}, ErrPermission, "exec format error"},
		{"no interpreter", Process{Args: []string{dir + "/lost"}}, ErrNotFound, "interpreter"},
		{"no working directory", Process{Args: []string{"sh"}, Dir: "/no/such"}, ErrWorkDir, "working directory /no/such does not exist"},
		{"a file for a working directory", Process{Args: []string{"no-such-program"}, Dir: "/etc/passwd"}, ErrWorkDir, "working directory /etc/passwd is not a directory"},
		{"a working directory in a file", Process{Args: []string{"sh"}, Dir: "/etc/passwd/x"}, ErrWorkDir, "working directory: stat /etc/passwd/x: not a directory"},
		{"no command", Process{}, ErrNotFound, "no command"},
	} {
		err := a.Start(ctx, tt.process)
		if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, %q was expected", tt.name, err, tt.text)
		}
	}
	// After all that the sandbox can still be started, once.
	startIdle(t, a)
	if err := a.Start(ctx, shell("true")); !errors.Is(err, ErrRunning) {
		t.Errorf("second start: %v", err)
	}
}

func testSignals(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	at, err := a.Attach(ctx, AttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	script := `trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'echo term; exit 9' TERM; echo ready; while :; do sleep 0.02; done`
	if err := a.Start(ctx, shell(script)); err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		if _, data, err := at.Next(); err != nil || string(data) != want {
			t.Fatalf("%q %v, %q was expected", data, err, want)
		}
	}
	expect("ready\n")
	if err := a.Signal(ctx, unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	expect("usr1\n")
	inside(t, a, "kill -HUP 1") // PID 1 passes it on
	expect("hup\n")
	if err := a.Signal(ctx, 99); err == nil {
		t.Error("signal 99 was accepted")
	}
	unix.Kill(a.PID(), unix.SIGTERM) // and so it does from outside
	expect("term\n")
	if s, err := a.Wait(ctx); err != nil || s.Code != 9 {
		t.Errorf("%+v %v", s, err)
	}
}

func testOrphans(t *testing.T) {
	a := launchTest(t, Config{})
	startIdle(t, a)
	// Fifty that end at once, so that one SIGCHLD stands for several.
	inside(t, a, `for i in $(seq 50); do (exec sleep 1000 & echo $! >>/tmp/pids.$$); done; kill -9 $(cat /tmp/pids.$$); rm /tmp/pids.$$`)
	waitFor(t, "the orphans to be reaped", func() bool {
		return inside(t, a, "cat /proc/[0-9]*/stat 2>/dev/null | grep -c '(sleep)'") == "1\n" // the main process
	})
}

func testRestKilled(t *testing.T) {
	a := launchTest(t, Config{})
	start := time.Now()
	stdout, _, status := runTest(t, a, shell("for i in 1 2 3; do setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & done; echo end"))
	if stdout != "end\n" || status.Code != 0 {
		t.Errorf("%q %+v", stdout, status)
	}
	if d := time.Since(start); d > drainTime {
		t.Errorf("took %v: the pipes were held by processes that should be dead", d)
	}
	waitFor(t, "the agent to end", func() bool { return !alive(a.PID()) })
}

func testSingleID(t *testing.T) {
	a := launchTest(t, Config{SingleID: true})
	start := time.Now()
	_, _, status := runTest(t, a, shell("test $(id -u) = 0"))
	if status.Code != 0 {
		t.Errorf("%+v after %v", status, time.Since(start))
	}
}

func testDirInUse(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	if _, err := Launch(ctx, Config{ID: "second", Dir: a.path}); err == nil || !strings.Contains(err.Error(), "an agent is running in "+a.path) {
		t.Errorf("second launch: %v", err)
	}
	if s, err := a.State(ctx); err != nil || s.Phase != Created {
		t.Errorf("first after it: %+v %v", s, err)
	}
	if _, err := Launch(ctx, Config{ID: "third", Dir: "relative"}); err == nil {
		t.Error("a relative directory was accepted")
	}
	// A directory in which an agent died is taken over.
	if err := a.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	launchTest(t, Config{Dir: a.path})
}
