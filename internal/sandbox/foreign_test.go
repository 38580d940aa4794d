//go:build linux

package sandbox

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// foreignProcess starts a process in a namespace of its own, as a user would.
func foreignProcess(t *testing.T) *exec.Cmd {
	t.Helper()
	flags := "-n"
	if os.Getuid() != 0 {
		flags = "-Urn"
	}
	cmd := exec.Command("unshare", flags, "sh", "-c", "ip tuntap add dev eth0 mode tap; echo ready; exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func entered(t *testing.T, pid int, args ...string) string {
	t.Helper()
	enter := []string{"-n", "-t", strconv.Itoa(pid)}
	if os.Getuid() != 0 {
		enter = append([]string{"--preserve-credentials", "-U"}, enter...)
	}
	out, err := exec.Command("nsenter", append(enter, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

func testForeignProcess(t *testing.T) {
	ctx := testContext(t)
	cmd := foreignProcess(t)
	pid := cmd.Process.Pid
	f, err := OpenForeign(ctx, ForeignConfig{PID: pid})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if again, err := OpenForeign(ctx, ForeignConfig{PID: pid, Expect: f.ID()}); err != nil {
		t.Errorf("the same namespace again: %v", err)
	} else {
		again.Close()
	}
	inode, boot := f.ID(), f.ID()
	inode.Ino++
	boot.Boot = "another"
	for _, id := range []NamespaceID{inode, boot} {
		if _, err := OpenForeign(ctx, ForeignConfig{PID: pid, Expect: id}); !errors.Is(err, ErrGone) {
			t.Errorf("%+v was expected: %v", id, err)
		}
	}
	d, err := f.AddInterface(ctx, fullInterface())
	if err != nil {
		t.Fatal(err)
	}
	if d.Name() != "eth1" {
		t.Errorf("name %q: eth0 is taken, eth1 was expected", d.Name())
	}
	state := entered(t, pid, "ip", "addr", "show", "dev", "eth1") + entered(t, pid, "ip", "route")
	for _, want := range []string{testMAC.String(), "mtu 1400", "10.1.0.2/24", "fd00:1::2/64", "default via 10.1.0.1"} {
		if !strings.Contains(state, want) {
			t.Errorf("%q is missing in\n%s", want, state)
		}
	}
	d.Close()
	// It stays, and a later daemon opens it again.
	i := fullInterface()
	i.Name = "eth1"
	if d, err = f.Reopen(ctx, i); err != nil {
		t.Fatal(err)
	}
	// 1 says that nobody answered.
	entered(t, pid, "sh", "-c", "ping -c 3 -i 0.1 -W 0.1 10.1.0.77; [ $? = 1 ]")
	if !sawFrom(t, d, testMAC) {
		t.Error("no frame came from the endpoint's MAC")
	}
	if err := f.SetDefaultRoute(ctx, "eth1", netip.MustParseAddr("10.1.0.7"), netip.Addr{}); err != nil {
		t.Error(err)
	}
	if out := entered(t, pid, "ip", "route", "show", "default"); !strings.HasPrefix(out, "default via 10.1.0.7 dev eth1") || strings.Count(out, "default") != 1 {
		t.Errorf("default route: %s", out)
	}
	bad := i
	bad.Name, bad.MTU = "eth5", 1
	if _, err := f.AddInterface(ctx, bad); err == nil {
		t.Error("MTU 1 was accepted")
	}
	if out := entered(t, pid, "ip", "-o", "link"); strings.Contains(out, "eth5") {
		t.Errorf("half an interface is left: %s", out)
	}
	testForeignEnded(t, f)
	if err := f.RemoveInterface(ctx, "eth1"); err != nil {
		t.Fatal(err)
	}
	if err := readUntilGone(d); err == nil {
		t.Error("the device still reads after its removal")
	}
	d.Close()
	if _, err := f.Reopen(ctx, i); !errors.Is(err, ErrNoInterface) {
		t.Errorf("reopening it: %v", err)
	}
	if err := f.Check(ctx); err != nil {
		t.Error(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err := f.Check(ctx); !errors.Is(err, ErrGone) {
		t.Errorf("check after the end: %v", err)
	}
	if _, err := f.AddInterface(ctx, i); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), strconv.Itoa(pid)) {
		t.Errorf("interface after the end: %v", err)
	}
	if _, err := OpenForeign(ctx, ForeignConfig{PID: pid}); !errors.Is(err, ErrGone) {
		t.Errorf("opening after the end: %v", err)
	}
	if _, err := OpenForeign(ctx, ForeignConfig{PID: os.Getpid()}); err == nil || !strings.Contains(err.Error(), "weft itself") {
		t.Errorf("own namespace: %v", err)
	}
	if _, err := OpenForeign(ctx, ForeignConfig{}); err == nil {
		t.Error("nothing to open was accepted")
	}
	if os.Getuid() != 0 {
		if _, err := OpenForeign(ctx, ForeignConfig{PID: 1}); !errors.Is(err, ErrForbidden) {
			t.Errorf("root's process: %v", err)
		}
	}
}

// testForeignEnded: a call whose context has ended returns, however far it came.
func testForeignEnded(t *testing.T, f *ForeignNS) {
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	returned := make(chan error, 1)
	go func() {
		for range 100 {
			if err := f.RemoveInterface(ctx, "eth7"); err != nil && !errors.Is(err, context.Canceled) {
				returned <- err
				return
			}
		}
		returned <- nil
	}()
	select {
	case err := <-returned:
		if err != nil {
			t.Errorf("removal with a context that has ended: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("removal with a context that has ended does not return")
	}
}

// A namespace with a name, as ip netns makes them, and its deletion.
func TestForeignPath(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("named network namespaces are root's")
	}
	ctx := testContext(t)
	cmd := foreignProcess(t)
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenForeign(ctx, ForeignConfig{NetNS: path}); err == nil || !strings.Contains(err.Error(), "no network namespace") {
		t.Errorf("an ordinary file: %v", err)
	}
	if err := unix.Mount("/proc/"+strconv.Itoa(cmd.Process.Pid)+"/ns/net", path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(path, unix.MNT_DETACH)
	f, err := OpenForeign(ctx, ForeignConfig{NetNS: path})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := f.AddInterface(ctx, Interface{MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := f.Check(ctx); err != nil {
		t.Error(err)
	}
	// No thread of ours stays there, least of all the first.
	for range 50 {
		if err := f.SetDefaultRoute(ctx, d.Name(), netip.Addr{}, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}
	there, err := os.Readlink("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "our threads to leave", func() bool {
		threads, _ := filepath.Glob("/proc/self/task/*/ns/net")
		return !slices.ContainsFunc(threads, func(thread string) bool {
			ns, _ := os.Readlink(thread)
			return ns == there
		})
	})
	unix.Unmount(path, unix.MNT_DETACH)
	if err := f.Check(ctx); !errors.Is(err, ErrGone) {
		t.Errorf("check after deletion: %v", err)
	}
}
