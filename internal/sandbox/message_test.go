//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/nettest"
)

// connPair returns both ends of a connection.
func connPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	a, file, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(file.Fd()))
	file.Close()
	if err == nil {
		b, err = fileConn(fd)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestMessageRoundTrip(t *testing.T) {
	nettest.CheckLeaks(t)
	a, b := connPair(t)
	full := fullInterface()
	big := &Process{Args: []string{"echo", strings.Repeat("x", 1<<20)}}
	for _, tt := range []struct {
		name  string
		q     request
		files int
	}{
		{"empty", request{Op: opState}, 0},
		{"interface", request{Op: opAdd, Interface: &full}, 0},
		{"descriptors", request{Op: opExec}, 3},
		{"most descriptors", request{Op: opExec}, maxFiles},
		{"large with descriptors", request{Op: opExec, Process: big}, 2},
	} {
		var files []*os.File
		for range tt.files {
			f, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		sent := make(chan error, 1)
		go func() { sent <- send(a, tt.q, files) }()
		var got request
		fds, err := receive(b, &got)
		if err := errors.Join(err, <-sent); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if !reflect.DeepEqual(got, tt.q) || len(fds) != tt.files {
			t.Errorf("%s: got %+v with %d descriptors", tt.name, got, len(fds))
		}
		closeFDs(fds)
		closeFiles(files)
	}
	if err := send(a, request{Op: opExec}, make([]*os.File, maxFiles+1)); err == nil {
		t.Error("too many descriptors were sent")
	}
	if err := send(a, request{Op: strings.Repeat("x", maxMessage)}, nil); err == nil {
		t.Error("too long a message was sent")
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	for _, k := range kinds {
		r := failure(fmt.Errorf("about eth0: %w", k.err))
		if err := r.err(); !errors.Is(err, k.err) || err.Error() != "about eth0: "+k.err.Error() {
			t.Errorf("%s: %v", k.name, err)
		}
	}
	r := failure(io.ErrShortWrite)
	if err := r.err(); err == nil || err.Error() != io.ErrShortWrite.Error() {
		t.Errorf("other: %v", err)
	}
	if err := (&reply{}).err(); err != nil {
		t.Errorf("none: %v", err)
	}
}

func FuzzReceive(f *testing.F) {
	f.Add(append(header(wireVersion, 14), `{"Op":"state"}`...))
	f.Add(header(wireVersion, 1<<31))
	f.Add(header(2, 0))
	f.Add([]byte("w"))
	f.Fuzz(func(t *testing.T, message []byte) {
		a, b := connPair(t)
		a.SetDeadline(time.Now().Add(time.Second))
		go func() { a.Write(message); a.CloseWrite() }()
		var q request
		if fds, err := receive(b, &q); len(fds) != 0 || err == nil && q.Op == "" && len(message) < headerLen {
			t.Fatalf("%v %+v %v", fds, q, err)
		}
		a.Close()
		b.Close()
	})
}

func TestParseGrants(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []idRange
	}{
		{"by name", "rose:100000:65536\n", []idRange{{1, 100000, 65536}}},
		{"by number", "1001:100000:65536", []idRange{{1, 100000, 65536}}},
		{"several", "rose:100000:10\nother:1:1\nrose:200000:5\n", []idRange{{1, 100000, 10}, {11, 200000, 5}}},
		{"nobody", "other:100000:65536\n", nil},
		{"damaged", "rose:x:1\nrose:1\nrose:1:0\nrose:1:-4\n# rose\n\nrose:4294967290:100\n", nil},
	} {
		if got := parseGrants([]byte(tt.text), "rose", "1001"); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v was expected", tt.name, got, tt.want)
		}
	}
}

func FuzzParseGrants(f *testing.F) {
	f.Add([]byte("rose:100000:65536\n1001:1:1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		next := uint64(1)
		for _, r := range parseGrants(text, "rose", "1001") {
			if r.inside != next || r.count == 0 || r.outside+r.count > 1<<32-1 {
				t.Fatalf("range %+v of %q", r, text)
			}
			next = r.inside + r.count
		}
	})
}

func TestReadStatus(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadStatus(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	want := ExitStatus{Code: 143, Signal: 15, Started: time.Unix(1, 0).UTC(), Finished: time.Unix(2, 5).UTC()}
	if err := writeStatus(d, want); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadStatus(dir); err != nil || got != want {
		t.Errorf("%+v %v", got, err)
	}
	path := filepath.Join(dir, statusName)
	for _, text := range []string{"", `{"version":1,"co`, `{"version":7,"code":0}`, "[]"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadStatus(dir); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
