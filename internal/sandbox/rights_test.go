//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What the processes of a sandbox may do, and what the agent keeps to itself.
func testRights(t *testing.T) {
	a := launchTest(t, Config{})
	startIdle(t, a)
	sets := map[string]uint64{}
	for _, line := range lines(inside(t, a, "grep ^Cap /proc/self/status")) {
		name, value, _ := strings.Cut(line, ":")
		n, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		sets[name] = n
	}
	var all, want uint64
	for _, c := range allCapabilities() {
		all |= 1 << c
	}
	if want = all &^ (1 << unix.CAP_SYS_PTRACE); os.Getuid() == 0 {
		want = 0
		for _, c := range rootCapabilities {
			want |= 1 << c
		}
	}
	for name, set := range map[string]uint64{"CapPrm": want, "CapEff": want, "CapBnd": want, "CapInh": 0, "CapAmb": 0} {
		if sets[name] != set {
			t.Errorf("%s is %x, %x was expected", name, sets[name], set)
		}
	}
	const denied = "denied\n"
	for _, tt := range []struct{ name, script string }{
		{"the agent's descriptors", "readlink /proc/1/fd/5 || echo denied"},
		{"the agent's directory by a descriptor", "cd /proc/1/fd/5/ 2>/dev/null || echo denied"},
		{"the agent's memory", "head -c 1 /proc/1/mem 2>&1 | grep -q Perm && echo denied"},
	} {
		if got := inside(t, a, tt.script); got != denied {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
	if got := inside(t, a, "ip link add dummy0 type dummy 2>/dev/null; ip addr add 192.0.2.7/24 dev lo && echo own"); got != "own\n" {
		t.Errorf("its own network: %q", got)
	}
	if os.Getuid() != 0 {
		return
	}
	// Root inside is root outside: only rights and mounts protect the host.
	for _, tt := range []struct{ name, script string }{
		{"mount", "mount -t tmpfs x /mnt 2>/dev/null || echo denied"},
		{"sysctls writable", "mount -o remount,bind,rw /proc/sys 2>/dev/null || echo denied"},
		{"sysctls from below", "umount /proc/sys 2>/dev/null || echo denied"},
		{"by way of a further namespace", "unshare -Urm mount -o remount,bind,rw /proc/sys 2>/dev/null || echo denied"},
		{"umount in a further namespace", "unshare -Urm umount /proc/sys 2>/dev/null || echo denied"},
		{"new proc in a further namespace", "unshare -Urpmf mount -t proc x /mnt 2>/dev/null || echo denied"},
		{"host's sysctl", "(: >/proc/sys/kernel/core_pattern) 2>/dev/null || echo denied"},
		{"control groups", "(: >>/sys/fs/cgroup/cgroup.procs) 2>/dev/null || echo denied"},
		{"sysfs", "(: >/sys/kernel/mm/transparent_hugepage/enabled) 2>/dev/null || echo denied"},
		{"timers", "grep -q . /proc/timer_list || echo denied"},
		{"firmware", "ls /sys/firmware | grep . || echo denied"},
		{"device node", "mknod /tmp/weft-sandbox-test-node b 7 0 2>/dev/null || echo denied"},
	} {
		if got := inside(t, a, tt.script); got != denied {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

// A device node in a root directory of the sandbox's own is no device.
func TestRootfsDevices(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes device nodes")
	}
	root := makeRoot(t, "sh", "cat", "sleep")
	path := filepath.Join(root, "node")
	if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err != nil {
		t.Fatal(err)
	}
	if f, err := os.Open(path); err != nil {
		t.Fatalf("the node is none outside either: %v", err)
	} else {
		f.Close()
	}
	a := launchTest(t, Config{Rootfs: root})
	startIdle(t, a)
	if got := inside(t, a, "(: </node) 2>/dev/null || echo denied; (: </dev/zero) && echo device"); got != "denied\ndevice\n" {
		t.Errorf("%q", got)
	}
}
