package node

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"weft/internal/cnm"
	"weft/internal/sandbox"
)

// soon fails the test unless f returns within a few seconds.
func soon(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(8 * time.Second):
		t.Fatalf("%s does not return", what)
	}
}

// Who waited to change a sandbox that was removed meanwhile does not bring it back.
func TestRemovedStaysRemoved(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front"})
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "rose", Cmd: program("echo"), Networks: on("front")})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := n.findBox(id)
	b.op.Lock()
	var wg sync.WaitGroup
	for name, change := range map[string]func() error{
		"rename":     func() error { return n.SandboxRename(t.Context(), id, "tulip") },
		"connect":    func() error { return n.NetworkConnect(t.Context(), "bridge", id, cnm.EndpointConfig{}) },
		"disconnect": func() error { return n.NetworkDisconnect(t.Context(), "front", id, false) },
		"start":      func() error { return n.SandboxStart(t.Context(), id) },
	} {
		wg.Go(func() {
			if err := change(); !errors.Is(err, cnm.NotFound) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Go(func() {
		if _, err := n.SandboxWaitNext(t.Context(), id); err != nil {
			t.Errorf("wait: %v", err)
		}
	})
	time.Sleep(50 * time.Millisecond) // all of them wait
	if err := n.removeLocked(b); err != nil {
		t.Fatal(err)
	}
	b.op.Unlock()
	soon(t, "a change", wg.Wait)
	c, err := loadContents(n.journal.db)
	if err != nil || len(c.sandboxes) != 0 {
		t.Errorf("the journal has %+v, %v", c.sandboxes, err)
	}
}

// An address is free for others only when the journal does not have it any more.
func TestAddressesFollowJournal(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front"})
	mustNetwork(t, n, cnm.Network{Name: "back"})
	for _, c := range []struct {
		name string
		do   func(sb cnm.Sandbox)
	}{
		{"exit", func(sb cnm.Sandbox) { kill(t, n, sb.ID) }},
		{"disconnect", func(sb cnm.Sandbox) { n.NetworkDisconnect(context.Background(), "front", sb.ID, false) }},
	} {
		sb := mustRun(t, n, cnm.SandboxSpec{Networks: on("front")})
		tx, err := n.journal.db.Begin(true) // nothing else is written until it ends
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { c.do(sb) })
		for range 500 {
			if len(mustFind(t, n, sb.ID).Endpoints) == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if len(mustFind(t, n, sb.ID).Endpoints) != 0 || frontInUse(t, n) != 4 {
			t.Errorf("%s: endpoints %v, %d in use before it is written", c.name, mustFind(t, n, sb.ID).Endpoints, frontInUse(t, n))
		}
		tx.Rollback()
		wg.Wait()
		for range 500 {
			if frontInUse(t, n) == 3 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := frontInUse(t, n); got != 3 {
			t.Errorf("%s: %d in use after it", c.name, got)
		}
	}
}

func frontInUse(t *testing.T, n *Node) uint64 {
	t.Helper()
	nw, err := n.Network("front")
	if err != nil {
		t.Fatal(err)
	}
	return nw.Subnets[0].InUse
}

// A connect that cannot be written down does not happen.
func TestConnectUnsaved(t *testing.T) {
	c := testConfig(t)
	n := openNode(t, c)
	mustNetwork(t, n, cnm.Network{Name: "front"})
	for _, late := range []bool{false, true} {
		mustRun(t, n, cnm.SandboxSpec{Name: "rose"})
		b, _ := n.findBox("rose")
		if !late {
			n.journal.db.Close()
		}
		n.path.mu.Lock() // it cannot be published yet
		connected := make(chan error, 1)
		go func() { connected <- n.NetworkConnect(context.Background(), "front", "rose", cnm.EndpointConfig{}) }()
		for late && deviceCount(n, b) < 2 {
			time.Sleep(time.Millisecond)
		}
		n.journal.db.Close()
		n.path.mu.Unlock()
		if err := <-connected; err == nil {
			t.Error("connected without a journal")
		}
		sb := mustFind(t, n, "rose")
		if out, _ := execute(t, n, "rose", "links"); len(sb.Endpoints) != 1 || len(sb.Spec.Networks) != 1 || strings.Count(out, "eth") != 1 || frontInUse(t, n) != 3 {
			t.Errorf("late %v: %+v, %d in use; inside:\n%s", late, sb.Endpoints, frontInUse(t, n), out)
		}
		b.op.Lock()
		var err error
		if n.journal.db, err = bbolt.Open(filepath.Join(c.DataDir, journalName), 0o600, nil); err != nil {
			t.Fatal(err)
		}
		b.op.Unlock()
		if err := n.SandboxRemove(t.Context(), "rose", true); err != nil {
			t.Fatal(err)
		}
	}
}

func deviceCount(n *Node, b *box) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(b.devices)
}

// Streams that are closed before a start are forgotten.
func TestStreamsForgotten(t *testing.T) {
	n := openNode(t, testConfig(t))
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Cmd: program("echo"), NetworkMode: "none"})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		s, err := n.SandboxAttach(t.Context(), id, AttachOptions{Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	b, _ := n.findBox(id)
	if len(b.streams) != 0 {
		t.Errorf("%d streams wait", len(b.streams))
	}
}

// Readers that do not read, and those that wait, do not keep a node from closing.
func TestCloseWithReaders(t *testing.T) {
	c := testConfig(t)
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	needSandboxes(t)
	mustRun(t, n, cnm.SandboxSpec{Name: "rose"})
	id, err := n.ExecCreate(t.Context(), "rose", ExecSpec{Cmd: program("sleep"), Stdout: true, Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.ExecStart(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Capture(context.Background(), CaptureOptions{}); err != nil {
		t.Fatal(err)
	}
	n.Events(context.Background(), time.Unix(1, 0), time.Time{})
	soon(t, "Close", func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	soon(t, "Next", func() {
		if _, _, err := s.Next(); err == nil {
			t.Error("output of a node that has closed")
		}
	})
	openNode(t, c) // removes rose
}

func TestCaptureLimit(t *testing.T) {
	n := openNode(t, testConfig(t))
	for range maxSessions {
		r, err := n.Capture(t.Context(), CaptureOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
	}
	if _, err := n.Capture(t.Context(), CaptureOptions{}); !errors.Is(err, cnm.Unavailable) {
		t.Errorf("one more: %v", err)
	}
}

// An agent that does not answer holds up nobody but its own sandbox.
func TestStuckAgent(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front"})
	mustNetwork(t, n, cnm.Network{Name: "back"})
	for _, name := range []string{"stuck", "well"} {
		sb := mustRun(t, n, cnm.SandboxSpec{Name: name, Networks: on("back", "front")})
		if name == "stuck" {
			syscall.Kill(sb.PID, syscall.SIGSTOP)
			defer syscall.Kill(sb.PID, syscall.SIGCONT)
		}
		f, err := sandbox.OpenForeign(t.Context(), sandbox.ForeignConfig{PID: sb.PID, Exe: n.cfg.Exe})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.RemoveInterface(t.Context(), "eth0"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // it is noticed
	}
	for range 500 {
		if len(mustFind(t, n, "well").Endpoints) == 1 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("well still has %+v", mustFind(t, n, "well").Endpoints)
}

// A foreign namespace is found again although one of its interfaces went while no
// daemon ran; an attach that was under way is undone.
func TestForeignRestoredHalf(t *testing.T) {
	c := testConfig(t)
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	needSandboxes(t)
	mustNetwork(t, n, cnm.Network{Name: "front"})
	mustNetwork(t, n, cnm.Network{Name: "back"})
	gone := strange(t, "sleep")
	pids := map[string]int{"whole": strange(t, "sleep").Process.Pid, "half": strange(t, "sleep").Process.Pid, "gone": gone.Process.Pid}
	for name, pid := range pids {
		if _, err := n.AttachForeign(t.Context(), cnm.SandboxSpec{Name: name, Networks: on("front", "back"), Foreign: &cnm.Foreign{PID: pid}}); err != nil {
			t.Fatal(err)
		}
	}
	b, _ := n.findBox("half")
	b.sb.State = cnm.Created
	if err := n.save(b); err != nil {
		t.Fatal(err)
	}
	n.Close()
	f, err := sandbox.OpenForeign(t.Context(), sandbox.ForeignConfig{PID: pids["whole"], Exe: c.Exe})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.RemoveInterface(t.Context(), "eth1"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	gone.Process.Kill()
	gone.Wait()

	n = openNode(t, c)
	if sb := mustFind(t, n, "gone"); sb.State != cnm.Exited || len(sb.Endpoints) != 0 || sb.Error == "" {
		t.Errorf("gone: %+v", sb)
	}
	if sb := mustFind(t, n, "whole"); sb.State != cnm.Running || len(sb.Endpoints) != 1 || sb.Endpoints[0].IfName != "eth0" {
		t.Errorf("whole: %s, %+v", sb.State, sb.Endpoints)
	}
	if _, err := n.Sandbox("half"); !errors.Is(err, cnm.NotFound) {
		t.Errorf("half: %v", err)
	}
	if got := readKnob("/proc/" + strconv.Itoa(pids["half"]) + "/net/dev"); strings.Contains(got, "eth") {
		t.Errorf("half has inside:\n%s", got)
	}
	if got := frontInUse(t, n); got != 4 {
		t.Errorf("%d addresses in use", got)
	}
}
