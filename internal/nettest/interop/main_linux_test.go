package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"weft/internal/nettest"
)

// weftEnv names the weft binary: agent of the sandboxes, daemon, and what runs in
// the sandboxes and at the far end.
const weftEnv = "WEFT_INTEROP_BINARY"

// TestMain builds the binary once, where every user may run it. It is without the
// race detector, which a node inside the test's own process has.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == reflectArg {
		os.Exit(reflect(os.Args[2:]))
	}
	if os.Getenv(weftEnv) != "" {
		os.Exit(m.Run())
	}
	dir, err := build()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func build() (dir string, err error) {
	if dir, err = os.MkdirTemp("/tmp", "weft"); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	exe := filepath.Join(dir, "weft")
	c := exec.Command("go", "build", "-o", exe, "weft/cmd/weft")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, os.Setenv(weftEnv, exe)
}

// needs skips the test where the host lacks a TUN device or a program.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		nettest.Skip(t, "this host has no usable TUN device: %v", err)
	}
	f.Close()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			nettest.Skip(t, "%v (internal/nettest/setup.sh installs it)", err)
		}
	}
}

// isolated runs body as an ordinary user who is root of fresh namespaces, with
// names for more of them.
func isolated(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	needs(t, "ip", "bridge", "nsenter", "ping")
	nettest.Unprivileged(t, func(t *testing.T) {
		nettest.Namespaced(t, func(t *testing.T) {
			must(t, "mount", "-t", "tmpfs", "tmpfs", "/run")
			body(t)
		})
	})
}
