//go:build linux

package sandbox

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/nettest"
	"weft/tap"
)

// liar is an agent that answers each request with the same reply, over and over
// when it says that more follows, and with a descriptor that nobody asked for.
func liar(t *testing.T, r reply, file *os.File) *Agent {
	t.Helper()
	path := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(path, socketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(10 * time.Second))
			var q json.RawMessage
			receive(c, &q)
			for send(c, r, []*os.File{file}) == nil && r.More {
			}
			c.Close()
		}
	}()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		<-done
		dir.Close()
	})
	return &Agent{id: "liar", path: path, dir: dir, dials: newDials()}
}

// An agent that does not answer what was asked gets an error, and leaves no
// descriptor in the daemon.
func TestLyingAgent(t *testing.T) {
	nettest.CheckLeaks(t)
	ctx := testContext(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	exec := func(a *Agent) *Exec { return a.OpenExec(1) }
	for _, tt := range []struct {
		name string
		r    reply
		call func(a *Agent) error
		ok   bool
	}{
		{"state without a state", reply{}, func(a *Agent) error { _, err := a.State(ctx); return err }, false},
		{"state with a descriptor", reply{State: &State{}}, func(a *Agent) error { _, err := a.State(ctx); return err }, true},
		{"wait without a status", reply{}, func(a *Agent) error { _, err := a.Wait(ctx); return err }, false},
		{"exec's wait without a status", reply{}, func(a *Agent) error { _, err := exec(a).Wait(ctx); return err }, false},
		{"exec's signal", reply{}, func(a *Agent) error { return exec(a).Signal(ctx, unix.SIGTERM) }, true},
		{"start", reply{}, func(a *Agent) error { return a.Start(ctx, Process{}) }, true},
		{"signal", reply{}, func(a *Agent) error { return a.Signal(ctx, unix.SIGTERM) }, true},
		{"resize", reply{}, func(a *Agent) error { return a.Resize(ctx, 1, 1) }, true},
		{"remove", reply{}, func(a *Agent) error { return a.RemoveInterface(ctx, "eth0") }, true},
		{"route", reply{Name: "eth0"}, func(a *Agent) error { return a.SetDefaultRoute(ctx, "eth0", default4.Addr(), default6.Addr()) }, true},
		{"no interface", reply{Name: "eth0"}, func(a *Agent) error { _, err := a.AddInterface(ctx, Interface{}); return err }, false},
		{"attach", reply{}, func(a *Agent) error {
			at, err := a.Attach(ctx, AttachOptions{})
			if err == nil {
				at.Close()
			}
			return err
		}, true},
		{"names with another descriptor", reply{}, func(a *Agent) error { _, _, err := a.Names(ctx); return err }, false},
		{"dial with another descriptor", reply{}, func(a *Agent) error { _, err := a.Dial(ctx, "udp", "192.0.2.1:53"); return err }, false},
		{"end of a list with a descriptor", reply{}, func(a *Agent) error { _, err := a.Interfaces(ctx, tap.USO); return err }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := liar(t, tt.r, null)
			before := openFiles(t)
			if err := tt.call(a); (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
			waitFor(t, "descriptors to be closed", func() bool { return openFiles(t) <= before })
		})
	}
}

// A list of interfaces that does not end is cut off.
func TestEndlessInterfaces(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		nettest.CheckLeaks(t)
		d, err := tap.Open(tap.Options{Name: "eth%d"})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		files, err := d.Files()
		if err != nil {
			t.Fatal(err)
		}
		defer closeFiles(files)
		a := liar(t, reply{Name: "eth0", More: true}, files[0])
		out, err := a.Interfaces(testContext(t), tap.USO)
		if err == nil || len(out) != 0 || !strings.Contains(err.Error(), "more than 1024 interfaces") {
			t.Errorf("%d interfaces, %v", len(out), err)
		}
	})
}

// openFiles counts this process's descriptors of /dev/null.
func openFiles(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && to == os.DevNull {
			n++
		}
	}
	return n
}

// Whoever comes while the agent ends finds the status on disk.
func TestWaitWhileFinishing(t *testing.T) {
	nettest.CheckLeaks(t)
	path := t.TempDir()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := writeStatus(dir, ExitStatus{Code: 7}); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(path, socketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(&agent{}, l)
	s.finished = true
	conn, err := dial(testContext(t), dir) // waits to be accepted
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := send(conn, request{Op: opWait}, nil); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); s.accept() }()
	defer func() { l.Close(); <-done }()
	var r reply
	if _, err := receive(conn, &r); err == nil {
		t.Errorf("answered %+v", r)
	}
	a := &Agent{id: "test", path: path, dir: dir}
	if status, err := a.Wait(testContext(t)); err != nil || status.Code != 7 {
		t.Errorf("%+v %v", status, err)
	}
	if _, err := a.State(testContext(t)); !errors.Is(err, ErrGone) {
		t.Errorf("state: %v", err)
	}
}
