package node

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/cnm"
	"weft/internal/sandbox"
)

// strange starts a process in namespaces that weft did not make.
func strange(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program(args...)[0], program(args...)[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("this host makes no user namespaces: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

func TestForeign(t *testing.T) {
	c := testConfig(t)
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.7.0/24")})
	server := strange(t, "serve", ":7000")
	id, err := n.AttachForeign(t.Context(), cnm.SandboxSpec{Name: "stranger", Networks: on("front"), Foreign: &cnm.Foreign{PID: server.Process.Pid}})
	if err != nil {
		t.Fatal(err)
	}
	sb := mustFind(t, n, id)
	if sb.State != cnm.Running || sb.PID != server.Process.Pid || addr4(sb, "front") != netip.MustParseAddr("10.66.7.2") {
		t.Errorf("attached: %+v", sb)
	}
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front")})
	reach(t, n, "rose", addr4(sb, "front"), true)
	finds(t, n, "rose", "stranger", "A", "10.66.7.2")
	if _, err := n.ExecCreate(t.Context(), "stranger", ExecSpec{Cmd: []string{"true"}}); err == nil || !strings.HasSuffix(err.Error(), "cannot be entered: use nsenter") {
		t.Errorf("a foreign sandbox was entered: %v", err)
	}
	if err := n.SandboxStop(t.Context(), "stranger", "", nil); !errors.Is(err, cnm.Forbidden) {
		t.Errorf("stop: %v", err)
	}
	if err := n.NetworkConnect(t.Context(), "bridge", "stranger", cnm.EndpointConfig{}); err != nil {
		t.Errorf("connect: %v", err)
	}
	if err := n.Close(); err != nil { // its interfaces stay, the next daemon opens them again
		t.Fatal(err)
	}

	n = openNode(t, c)
	reach(t, n, "rose", addr4(sb, "front"), true)
	if got := mustFind(t, n, "stranger").Endpoints; len(got) != 2 || got[1].IfName != "eth1" {
		t.Errorf("after a restart: %+v", mustFind(t, n, "stranger"))
	}
	// The namespace vanishes: its addresses are free, its end is told.
	events := n.Events(t.Context(), time.Time{}, time.Time{})
	server.Process.Kill()
	server.Wait()
	if e := nextEvent(t, events); e.Action != "die" || e.ActorID != id {
		t.Errorf("event %+v", e)
	}
	if sb := mustFind(t, n, "stranger"); sb.State != cnm.Exited || len(sb.Endpoints) != 0 || sb.Error == "" {
		t.Errorf("after it vanished: %+v", sb)
	}
	if len(n.Stats()) != 1 {
		t.Errorf("ports: %+v", n.Stats())
	}
	if err := n.Detach(t.Context(), "stranger"); err != nil {
		t.Error(err)
	}
	if err := n.Detach(t.Context(), rose.ID); !errors.Is(err, cnm.Invalid) {
		t.Errorf("detach of a sandbox: %v", err)
	}
}

func TestForeignDetach(t *testing.T) {
	n := openNode(t, testConfig(t))
	p := strange(t, "sleep")
	id, err := n.AttachForeign(t.Context(), cnm.SandboxSpec{Foreign: &cnm.Foreign{PID: p.Process.Pid}})
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]cnm.Foreign{
		"already attached as " + mustFind(t, n, id).Spec.Name: {NetNS: "/proc/" + strconv.Itoa(p.Process.Pid) + "/ns/net"},
		"namespace of the sandbox own":                        {PID: mustRun(t, n, cnm.SandboxSpec{Name: "own"}).PID},
	} {
		if _, err := n.AttachForeign(t.Context(), cnm.SandboxSpec{Foreign: &f}); !errors.Is(err, cnm.Conflict) || !strings.Contains(err.Error(), name) {
			t.Errorf("attached twice: %v, want %q", err, name)
		}
	}
	count := func() int {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(p.Process.Pid) + "/net/dev")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "eth")
	}
	if count() != 1 {
		t.Error("no interface")
	}
	if err := n.Detach(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if count() != 0 {
		t.Error("its interface is still there")
	}
	for _, f := range []cnm.Foreign{{PID: 1 << 22}, {NetNS: "/etc/passwd"}, {NetNS: "/nowhere"}, {PID: os.Getpid()}} {
		if _, err := n.AttachForeign(t.Context(), cnm.SandboxSpec{Foreign: &f}); err == nil {
			t.Errorf("%+v was attached", f)
		}
	}
	if list := n.Sandboxes(); len(list) != 1 {
		t.Errorf("left: %+v", list)
	}
}

// A restarted daemon takes back the namespace it was attached to, and no other
// that has its process id now.
func TestForeignReplaced(t *testing.T) {
	for _, tt := range []struct {
		name  string
		note  func(*sandbox.NamespaceID)
		state cnm.State
	}{
		{"the same", func(*sandbox.NamespaceID) {}, cnm.Running},
		{"another inode", func(id *sandbox.NamespaceID) { id.Ino++ }, cnm.Exited},
		{"before the last boot", func(id *sandbox.NamespaceID) { id.Boot = "another" }, cnm.Exited},
		{"not noted by an earlier version", func(id *sandbox.NamespaceID) { *id = sandbox.NamespaceID{} }, cnm.Running},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testConfig(t)
			n, err := Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			p := strange(t, "sleep")
			id, err := n.AttachForeign(t.Context(), cnm.SandboxSpec{Name: "pod", Foreign: &cnm.Foreign{PID: p.Process.Pid}})
			if err != nil {
				t.Fatal(err)
			}
			b := n.boxes[id]
			noted := b.nsID
			tt.note(&b.nsID)
			if err := n.save(b); err != nil {
				t.Fatal(err)
			}
			n.Close()

			n = openNode(t, c)
			sb := mustFind(t, n, "pod")
			if sb.State != tt.state || (len(sb.Endpoints) == 1) != (tt.state == cnm.Running) {
				t.Errorf("%s with %d endpoints: %s", sb.State, len(sb.Endpoints), sb.Error)
			}
			if tt.state == cnm.Running {
				if got := n.boxes[id].nsID; got != noted {
					t.Errorf("noted now: %+v, want %+v", got, noted)
				}
				return
			}
			if !strings.Contains(sb.Error, "another namespace") {
				t.Errorf("error %q", sb.Error)
			}
			if err := n.SandboxStart(t.Context(), "pod"); !errors.Is(err, cnm.Conflict) {
				t.Errorf("attaching it again: %v", err)
			}
		})
	}
}
