//go:build linux

package sandbox

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/nettest"
)

// makeRoot returns a directory with a few programs and what they are linked with.
func makeRoot(t *testing.T, programs ...string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	copyFile := func(path string) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(root, path), b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			t.Fatalf("ldd %s: %v", path, err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		os.MkdirAll(filepath.Join(root, "bin"), 0o755)
		if err := os.WriteFile(filepath.Join(root, "bin", name), b, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, lib := range regexp.MustCompile(`/\S+\.so\S*`).FindAll(out, -1) {
			copyFile(string(lib))
		}
	}
	return root
}

func testRootfs(t *testing.T) {
	root := makeRoot(t, "sh", "cat", "ls", "dd", "readlink", "tty", "sleep")
	// A link that leads nowhere, as on systemd's systems.
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../run/systemd/resolve/stub-resolv.conf", filepath.Join(root, "etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	a := launchTest(t, Config{Rootfs: root, Hostname: "inner", Hosts: []byte("hosts here\n"), ResolvConf: []byte("resolv here\n")})
	if w := a.Warnings(); len(w) != 0 {
		t.Errorf("warnings: %q", w)
	}
	startIdle(t, a)
	for _, tt := range []struct{ name, script, want string }{
		{"root", "ls /", "bin\ndev\netc\nlib\nlib64\nproc\nrun\nsys\n"},
		{"files", "cat /etc/hosts /etc/resolv.conf /etc/hostname", "hosts here\nresolv here\ninner\n"},
		{"proc", "readlink /proc/self >/dev/null && cat /proc/1/comm", "weft-agent\n"},
		{"sys", "ls /sys/class/net", "lo\n"},
		{"null", "echo x >/dev/null; cat /dev/null", ""},
		{"zero", "dd if=/dev/zero bs=1 count=3 2>/dev/null | cat -A", "^@^@^@"},
		{"shm", "echo x >/dev/shm/file; cat /dev/shm/file", "x\n"},
		{"links", "readlink /dev/fd /dev/ptmx", "/proc/self/fd\npts/ptmx\n"},
		{"no way back", "ls /proc/1/root/ 2>/dev/null || echo denied; ls /proc/1/fd/5/ 2>/dev/null || echo denied", "denied\ndenied\n"},
		{"mounts end here", "cat /proc/self/mountinfo | while read a b c d e f; do case $e in /|/dev*|/proc*|/sys*|/etc/*|/run/*) ;; *) echo $e;; esac; done", ""},
	} {
		if got := inside(t, a, tt.script); got != tt.want && tt.name != "root" || !strings.HasPrefix(got, tt.want[:min(len(tt.want), 4)]) {
			t.Errorf("%s: %q, %q was expected", tt.name, got, tt.want)
		}
	}
	d, err := a.AddInterface(testContext(t), Interface{MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	p := shell("tty")
	p.TTY = true
	e, err := a.Exec(testContext(t), p, Stdio{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var out bytes.Buffer
	out.ReadFrom(e.Terminal)
	if out.String() != "/dev/pts/0\r\n" {
		t.Errorf("tty said %q", out.String())
	}
	for _, path := range []string{"dev/null", "proc/self", "etc/passwd"} {
		if _, err := os.Stat(filepath.Join(root, path)); err == nil {
			t.Errorf("%s is in the directory itself", path)
		}
	}
	if _, err := Launch(testContext(t), Config{ID: "x", Dir: filepath.Join(t.TempDir(), "x"), Rootfs: "/no/such"}); err == nil || !strings.Contains(err.Error(), "/no/such") {
		t.Errorf("missing root directory: %v", err)
	}
}

// A tree that lacks a directory to mount on and takes none is refused by name.
func testRootfsUnwritable(t *testing.T) {
	shut := filepath.Join(t.TempDir(), "shut")
	if err := os.Mkdir(shut, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(shut, "proc"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dirs := map[string]string{shut: "no directory proc"}
	if os.Getuid() != 0 {
		dirs["/usr/share"] = "permission denied" // root's
	}
	for dir, text := range dirs {
		_, err := Launch(testContext(t), Config{ID: "x", Dir: filepath.Join(t.TempDir(), "x"), Rootfs: dir})
		if err == nil || !strings.Contains(err.Error(), "root directory "+dir+" has no directory ") || !strings.Contains(err.Error(), text) ||
			!strings.Contains(err.Error(), "make dev, etc, proc and sys there") {
			t.Errorf("%s: %v, %q was expected", dir, err, text)
		}
	}
}

func testSysctls(t *testing.T) {
	ctx := testContext(t)
	const show = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/conf/default/rp_filter"
	a := launchTest(t, Config{})
	startIdle(t, a)
	if got := lines(inside(t, a, show)); got[0] != "0" || got[1] != "0" || got[2] != "0" {
		t.Errorf("defaults %q", got)
	}
	b := launchTest(t, Config{Sysctls: map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1", "net/ipv4/conf/default/rp_filter": "2"}})
	startIdle(t, b)
	if got := lines(inside(t, b, show)); got[0] != "1" || got[1] != "1" || got[3] != "2" {
		t.Errorf("asked for %q", got)
	}
	for _, tt := range []struct{ name, value, text string }{
		{"net//x", "1", "was expected"},
		{"/proc/sys/kernel/panic", "1", "was expected"},
		{"net/../kernel/panic", "1", "was expected"},
		{"net/ipv4/no_such", "1", "net.ipv4.no_such=1"},
		{"net/ipv4/ip_forward", "garbage", "net.ipv4.ip_forward=garbage"},
	} {
		dir := filepath.Join(t.TempDir(), "sb")
		_, err := Launch(ctx, Config{ID: "x", Dir: dir, Sysctls: map[string]string{tt.name: tt.value}})
		if err == nil || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, %q was expected", tt.name, err, tt.text)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s: the directory is left", tt.name)
		}
	}
}

// Where the host has no such files, the sandbox says so and runs.
func TestEtcMissing(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		nettest.CheckLeaks(t)
		if err := unix.Mount(t.TempDir(), "/etc", "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		a := launchTest(t, Config{Hostname: "rose"})
		if w := a.Warnings(); len(w) < 3 || !strings.HasPrefix(w[0], "/etc/hosts is not the sandbox's own: the host has no such file") {
			t.Errorf("warnings %q", w)
		}
		if stdout, _, _ := runTest(t, a, shell("hostname; ls /etc | wc -l")); stdout != "rose\n0\n" {
			t.Errorf("output %q", stdout)
		}
	})
}

func testHostNetwork(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{HostNetwork: true, Hostname: "rose"})
	startIdle(t, a)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if out := inside(t, a, "readlink /proc/self/ns/net; hostname"); out != own+"\nrose\n" {
		t.Errorf("%q, %s was expected", out, own)
	}
	if _, err := a.AddInterface(ctx, Interface{}); err == nil || !strings.Contains(err.Error(), "host's network namespace") {
		t.Errorf("interface: %v", err)
	}
	_, err = Launch(ctx, Config{ID: "x", Dir: filepath.Join(t.TempDir(), "x"), HostNetwork: true, Sysctls: map[string]string{"net/ipv4/ip_forward": "1"}})
	if err == nil || !strings.Contains(err.Error(), "host's network namespace") {
		t.Errorf("sysctl: %v", err)
	}
}
