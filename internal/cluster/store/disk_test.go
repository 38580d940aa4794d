package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"weft/internal/cnm"
)

// filled leaves a closed store in a directory and returns its configuration. With
// snap there is a snapshot.
func filled(t *testing.T, snap bool) (cfg Config) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		tuning := Tuning{SnapshotInterval: time.Second, SnapshotThreshold: 5, Trailing: 1}
		if !snap {
			tuning = Tuning{}
		}
		f := newFleet(t, tuning)
		f.dir = dir
		f.grow()
		f.must(overlay(1, "a"))
		for i := range 20 {
			f.must(alloc(i, 1))
		}
		time.Sleep(3 * time.Second)
		f.must(alloc(100, 1))
		cfg = f.config("n1")
		f.kill("n1")
	})
	return cfg
}

// reopened opens a directory once more and closes it again.
func reopened(t *testing.T, cfg Config) (endpoints int, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Tuning{})
		cfg.Stream = f.listen(cfg.Addr)
		var s *Store
		if s, err = Open(cfg); err != nil {
			return
		}
		defer s.Close()
		f.stores["n1"] = s
		f.leader()
		delete(f.stores, "n1")
		endpoints = s.State().Endpoints.Len()
	})
	return endpoints, err
}

// A directory that is not whole is refused, by its path and with advice, and is
// left as it is.
func TestRefusedFiles(t *testing.T) {
	cut := func(name string, share int) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, path := range find(t, filepath.Join(dir, name)) {
				st, err := os.Stat(path)
				if err == nil {
					err = os.Truncate(path, st.Size()*int64(share)/100)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, path := range find(t, filepath.Join(dir, name)) {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, path := range find(t, filepath.Join(dir, name)) {
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, c := range []struct {
		name   string
		damage func(*testing.T, string)
		want   string
	}{
		{"torn log", cut("cluster.db", 50), "cluster.db cannot be used"},
		{"foreign log", write("cluster.db", strings.Repeat("hello", 5000)), "cluster.db cannot be used"},
		{"key of another", write("cluster.key", `{"Format":"weft manager key, version 1","Key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`), "sealed with another key"},
		{"torn key", cut("cluster.key", 50), "cluster.key cannot be used"},
		{"no key", remove("cluster.key"), "cluster.key is missing"},
		{"torn snapshots", cut("snapshots/*/state.bin", 50), "cannot be used"},
		{"foreign snapshots", write("snapshots/*/state.bin", "hello"), "cannot be used"},
		{"snapshots without description", remove("snapshots/*/meta.json"), "no readable description"},
		{"snapshots gone", remove("snapshots/*"), "neither in the log nor in a snapshot"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := filled(t, true)
			c.damage(t, cfg.Dir)
			before := content(t, cfg.Dir)
			_, err := reopened(t, cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), cfg.Dir) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if !bytes.Equal(before, content(t, cfg.Dir)) {
				t.Fatal("the directory was changed")
			}
		})
	}
}

func find(t *testing.T, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) == 0 {
		t.Fatalf("no file %s: %v", pattern, err)
	}
	return list
}

// content returns all files of a directory, one after the other.
func content(t *testing.T, dir string) []byte {
	t.Helper()
	var all bytes.Buffer
	err := filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
		if err != nil || st.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all.WriteString(path)
		all.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.Bytes()
}

func TestReopen(t *testing.T) {
	for _, snap := range []bool{false, true} {
		cfg := filled(t, snap)
		if n, err := reopened(t, cfg); n != 21 || err != nil {
			t.Fatalf("snapshot %v: %d endpoints, %v; want 21", snap, n, err)
		}
		// Nothing of the cluster's secrets is to be read on the disk.
		all := content(t, cfg.Dir)
		for _, secret := range []string{"Certificate", `"w"`, id(100), "cluster init"} {
			if bytes.Contains(all, []byte(secret)) {
				t.Errorf("%s lies open on the disk", secret)
			}
		}
	}
}

// A second daemon on the same directory is told so.
func TestOpenTwice(t *testing.T) {
	f := newFleet(t, Tuning{})
	f.start("n1")
	cfg := f.config("n1")
	cfg.Stream = f.listen("127.0.0.1:9")
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "in use by another daemon") {
		t.Fatalf("opened twice: %v", err)
	}
	if _, err := cfg.Stream.Accept(); err == nil {
		t.Fatal("the stream of a store that did not open is left open")
	}
	for _, c := range []Config{{}, {Dir: "x", NodeID: "n", Addr: "a"}, {Dir: "x", NodeID: "n", Addr: "a", Log: slog.New(slog.DiscardHandler), Tuning: Tuning{Lease: time.Hour}}} {
		if _, err := Open(c); err == nil {
			t.Errorf("opened with %+v", c)
		}
	}
}

// A locked swarm's managers need the key, from the moment it is set.
func TestLock(t *testing.T) {
	one, two := NewUnlockKey(), NewUnlockKey()
	if one == two || !strings.HasPrefix(one, "SWMKEY-1-") {
		t.Fatalf("keys %s and %s", one, two)
	}
	f := newFleet(t, Tuning{})
	f.grow()
	lock := func(key string) {
		t.Helper()
		path := filepath.Join(f.dir, "n1", keyName)
		before, _ := os.ReadFile(path)
		f.must(SetSpec{Spec: cnm.SwarmSpec{AutoLock: key != ""}, UnlockKey: key, Now: t0})
		for range 200 {
			if now, _ := os.ReadFile(path); !bytes.Equal(before, now) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal("the key file is as it was")
	}
	open := func(key string) error {
		cfg := f.config("n1")
		cfg.UnlockKey, cfg.Stream = key, f.listen(cfg.Addr)
		s, err := Open(cfg)
		if err == nil {
			f.stores["n1"] = s
			f.leader()
		}
		return err
	}
	lock(one)
	f.kill("n1")
	for _, wrong := range []string{"", two} {
		if err := open(wrong); !errors.Is(err, ErrLocked) {
			t.Fatalf("opened with %q: %v", wrong, err)
		}
	}
	if err := open("SWMKEY-1-x"); err == nil || !strings.Contains(err.Error(), "invalid unlock key") {
		t.Fatalf("opened with half a key: %v", err)
	}
	// It goes through the time before it was locked once more, on the way up.
	path := filepath.Join(f.dir, "n1", keyName)
	before, _ := os.ReadFile(path)
	if err := open(one); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if now, _ := os.ReadFile(path); !bytes.Equal(before, now) {
		t.Fatal("a start rewrote the key file")
	}
	lock(two)
	f.kill("n1")
	if err := open(one); !errors.Is(err, ErrLocked) {
		t.Fatalf("opened with the old key: %v", err)
	}
	if err := open(two); err != nil {
		t.Fatal(err)
	}
	lock("")
	f.kill("n1")
	if err := open(""); err != nil {
		t.Fatal(err)
	}
}

// A file that a crash left before there was anything in it, is a new one.
func TestUnbornLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), logName)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	seal, _ := newSeal(make([]byte, 32))
	l, err := openLog(path, seal)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if err := l.SetUint64([]byte("term"), 7); err != nil {
		t.Fatal(err)
	}
}

func TestLogStore(t *testing.T) {
	seal, _ := newSeal(make([]byte, 32))
	l, err := openLog(filepath.Join(t.TempDir(), logName), seal)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var in []*raft.Log
	for i := range uint64(10) {
		in = append(in, &raft.Log{Index: 5 + i, Term: i, Type: raft.LogCommand, Data: []byte{byte(i)}, Extensions: []byte("ext"), AppendedAt: t0.Local()})
	}
	in[3].Extensions, in[3].AppendedAt, in[3].Data = nil, time.Time{}, []byte{}
	if err := l.StoreLogs(in); err != nil {
		t.Fatal(err)
	}
	for _, e := range in {
		var out raft.Log
		if err := l.GetLog(e.Index, &out); err != nil || out.Index != e.Index || out.Term != e.Term || out.Type != e.Type ||
			!bytes.Equal(out.Data, e.Data) || !bytes.Equal(out.Extensions, e.Extensions) || !out.AppendedAt.Equal(e.AppendedAt) {
			t.Fatalf("entry %+v, %v; want %+v", out, err, *e)
		}
	}
	if err := l.DeleteRange(7, 14); err != nil {
		t.Fatal(err)
	}
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	if err := l.GetLog(7, new(raft.Log)); first != 5 || last != 6 || !errors.Is(err, raft.ErrLogNotFound) {
		t.Fatalf("from %d to %d, %v", first, last, err)
	}
	if _, err := l.GetUint64([]byte("none")); err == nil || err.Error() != "not found" {
		t.Fatalf("no value: %v", err) // raft compares the words
	}
	for _, b := range [][]byte{nil, make([]byte, entryHead-1), append(make([]byte, entryHead-1), 1)} {
		if err := unpackEntry(b, new(raft.Log)); !errors.Is(err, errTorn) {
			t.Fatalf("entry %x: %v", b, err)
		}
	}
}

// A sink is a file in memory.
type sink struct{ bytes.Buffer }

func (*sink) ID() string    { return "" }
func (*sink) Cancel() error { return nil }
func (*sink) Close() error  { return nil }

// Pieces of every size come back, their size is known, and none can be left out or
// moved.
func TestSealedSnapshot(t *testing.T) {
	seal, _ := newSeal(make([]byte, 32))
	store := &snapStore{seal: seal}
	const piece = pieceSize + nonceSize + 16
	for _, n := range []int{0, 1, pieceSize - 1, pieceSize, pieceSize + 1, 3*pieceSize + 7} {
		plain := bytes.Repeat([]byte("weft"), n/4+1)[:n]
		var s sink
		w := &sealSink{SnapshotSink: &s, seal: seal, plain: make([]byte, 0, pieceSize)}
		for p := plain; len(p) > 0; p = p[min(len(p), 1000):] {
			w.Write(p[:min(len(p), 1000)])
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		read := func(b []byte) ([]byte, error) {
			return io.ReadAll(&sealReader{file: io.NopCloser(bytes.NewReader(b)), seal: seal})
		}
		file := s.Bytes()
		got, err := read(file)
		if err != nil || !bytes.Equal(got, plain) || store.plainSize(int64(len(file))) != int64(n) {
			t.Fatalf("%d bytes: %d came back, %v; size %d", n, len(got), err, store.plainSize(int64(len(file))))
		}
		if n <= pieceSize {
			continue
		}
		for name, bad := range map[string][]byte{"first left out": file[piece:], "last left out": file[:len(file)-len(file)%piece],
			"moved": append(bytes.Clone(file[piece:]), file[:piece]...), "cut": file[:len(file)-1]} {
			if _, err := read(bad); !errors.Is(err, errTorn) {
				t.Fatalf("%d bytes, %s: %v", n, name, err)
			}
		}
	}
}

// An entry of a newer weft changes nothing and is told of, loudly; refusals that
// all managers share are not.
func TestNewerEntry(t *testing.T) {
	var out bytes.Buffer
	s := &Store{machine: newBench(t).machine, changed: make(chan struct{})}
	s.cfg.Log = slog.New(slog.NewTextHandler(&out, nil))
	before := s.State()
	doc, _ := Encode(RemoveNetwork{id(1)})
	if a := (fsm{s}).Apply(&raft.Log{Index: 8, Data: doc}).(applied); !errors.Is(a.err, cnm.NotFound) || out.Len() > 0 {
		t.Fatalf("%v, logged %s", a.err, out.String())
	}
	a := fsm{s}.Apply(&raft.Log{Index: 9, Data: []byte(`{"kind":"service create","body":{}}`)}).(applied)
	if !errors.Is(a.err, cnm.Unsupported) || s.State() != before || !strings.Contains(out.String(), "level=ERROR") || !strings.Contains(out.String(), "entry=9") {
		t.Fatalf("%v, logged %s", a.err, out.String())
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	l := newRaftLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
	n := l.Named("sub").With("a", 1)
	n.Info("quiet")
	n.Trace("quiet")
	n.Warn("loud", "b", 2)
	n.Error("louder")
	if s := out.String(); strings.Contains(s, "quiet") || !strings.Contains(s, `level=WARN msg="raft: loud" a=1 b=2`) || !strings.Contains(s, "level=ERROR") {
		t.Fatalf("log %s", s)
	}
	if n.IsDebug() || !n.IsWarn() || l.to.Enabled(context.Background(), slog.LevelDebug) {
		t.Fatal("levels")
	}
}
