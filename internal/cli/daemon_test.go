//go:build linux

package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/api"
	"weft/internal/node"
)

// A daemon that is refused leaves nothing behind, and takes nothing away.
func TestRefusedDaemonLeavesNothing(t *testing.T) {
	dir, err := os.MkdirTemp("", "weft") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	used := filepath.Join(dir, "used")
	n, err := node.Open(t.Context(), node.Config{DataDir: used, RunDir: filepath.Join(dir, "used.run")})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	taken, err := api.Listen("unix://" + dir + "/taken.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tcp, err := api.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	if err := os.MkdirAll(filepath.Join(dir, "mine"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	for _, c := range []struct{ name, host, data, err string }{
		{"data directory in use", "unix://" + dir + "/new.sock", used, "uses the data directory"},
		{"socket taken", "unix://" + dir + "/taken.sock", filepath.Join(dir, "a", "b"), "another daemon answers"},
		{"socket taken, directory there", "unix://" + dir + "/taken.sock", filepath.Join(dir, "mine"), "another daemon answers"},
		{"port taken", "tcp://" + tcp.Addr().String(), filepath.Join(dir, "a", "b"), "address already in use"},
	} {
		a := &app{getenv: func(string) string { return "" }, out: io.Discard, err: io.Discard}
		err := a.daemon(t.Context(), &daemonFlags{Host: c.host, DataDir: c.data, LogLevel: "error", LogFormat: "text"})
		if err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, expected %q", c.name, err, c.err)
		}
		if after := tree(t, dir); after != before {
			t.Errorf("%s: there is now\n%s\nbefore there was\n%s", c.name, after, before)
		}
	}
}

// tree lists what is below a directory.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		list = append(list, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, "\n")
}
