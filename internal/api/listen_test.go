package api

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/node"
)

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.sock")
	l, err := Listen("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Fatalf("mode %v, %v; want a socket with 0600", info.Mode(), err)
	}
	if got := l.Addr().String(); got != path {
		t.Errorf("address %s, want %s", got, path)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".weft*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	if _, err := Listen("unix://" + path); err == nil || !strings.Contains(err.Error(), "another daemon answers") {
		t.Errorf("a second listener: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("socket is left after Close: %v", err)
	}
}

// A path may be as long as a socket's address can be, whatever the listener needs
// on the way there.
func TestListenLongPath(t *testing.T) {
	base, err := os.MkdirTemp("/tmp", "w")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	dir := filepath.Join(base, strings.Repeat("d", node.MaxSocketPath-len(base)-len("//weft.sock")))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "weft.sock")
	l, err := Listen("unix://" + path)
	if err != nil {
		t.Fatalf("%d bytes: %v", len(path), err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := Listen("unix://" + path + "x"); err == nil || !strings.Contains(err.Error(), "has 108 bytes, a socket's can have 107") {
		t.Errorf("one byte more: %v", err)
	}
}

func TestListenReplacesDeadSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	l, err := Listen("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	_ = l.Close() // a second time must not remove another daemon's socket
}

func TestListenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ host, part string }{
		{"unix://" + file, "not a socket"},
		{"unix:///nonexistent/dir/s", "no such file"},
		{"unix://", "expected unix:///path"},
		{"/run/weft.sock", "expected unix:///path"},
		{"npipe:////./pipe/weft", "expected unix:///path"},
		{"tcp://127.0.0.1:notaport", "notaport"},
	} {
		if l, err := Listen(c.host); err == nil || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: %v, %v; want an error with %q", c.host, l, err, c.part)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("the file in the way was overwritten")
	}
}
