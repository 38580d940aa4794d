package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/cnm"
	"weft/internal/nettest"
)

// TestFullDisk: a manager whose disk is full refuses what is new and says why, lives,
// loses nothing of what was agreed on, and goes on when there is space again.
func TestFullDisk(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
		f, s, _ := onDisk(t, dir)
		ballast := filepath.Join(dir, "ballast")
		fill(t, ballast)
		done, refused := tryAll(t, s, dir, padded)
		if refused < 5 {
			t.Fatalf("%d done, %d refused for the disk", done, refused)
		}
		if got := s.State().Endpoints.Len(); got != done {
			t.Errorf("%d endpoints, %d were acknowledged", got, done)
		}
		// Space comes back: it goes on by itself.
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		f.must(alloc(5000, 1))
		// Full again, it closes and opens, with all that was acknowledged.
		fill(t, ballast)
		s = f.again("n1")
		os.Remove(ballast)
		f.must(alloc(5001, 1))
		if got := s.State().Endpoints.Len(); got != done+2 {
			t.Errorf("%d endpoints after all that, %d were acknowledged", got, done+2)
		}
	})
}

// TestNothingWritten: a disk that takes not even the term, which raft answers with a
// panic: the manager waits, refuses at once, says so once, closes, and goes on.
func TestNothingWritten(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		signal.Ignore(unix.SIGXFSZ)
		dir := t.TempDir()
		f, s, out := onDisk(t, dir)
		fileSize(t, 0)
		done, refused := tryAll(t, s, dir, func(n int) Command { return alloc(n, 1) })
		if done > 0 || refused < 5 {
			t.Errorf("%d done, %d refused for the disk", done, refused)
		}
		for range 100 {
			if s.Trouble() != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err := s.Trouble(); !errors.Is(err, ErrDisk) || !errors.Is(err, unix.EFBIG) || !strings.Contains(err.Error(), dir) {
			t.Fatalf("trouble: %v", err)
		}
		began := time.Now()
		_, err := s.Apply(context.Background(), alloc(1, 1))
		barrier := s.Barrier(context.Background())
		if !errors.Is(err, ErrDisk) || !errors.Is(err, cnm.Unavailable) || !errors.Is(barrier, ErrDisk) || time.Since(began) > time.Second {
			t.Errorf("after %v: %v, %v", time.Since(began), err, barrier)
		}
		fileSize(t, unix.RLIM_INFINITY)
		f.must(alloc(5000, 1))
		if err := s.Trouble(); err != nil {
			t.Errorf("trouble with space: %v", err)
		}
		for _, said := range []string{"waits until its store can be written", "can be written again"} {
			if n := strings.Count(out.String(), said); n != 1 {
				t.Errorf("%q said %d times:\n%s", said, n, out.String())
			}
		}
		fileSize(t, 0)
		tryAll(t, s, dir, func(n int) Command { return alloc(n, 1) })
		s = f.again("n1") // in the middle of it
		fileSize(t, unix.RLIM_INFINITY)
		f.must(alloc(5001, 1))
		if got := s.State().Endpoints.Len(); got != 2 {
			t.Errorf("%d endpoints, 2 were acknowledged", got)
		}
	})
}

// fileSize bounds the files that this process writes, in bytes.
func fileSize(t *testing.T, most uint64) {
	t.Helper()
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: most, Max: unix.RLIM_INFINITY}); err != nil {
		t.Fatal(err)
	}
}

// onDisk starts a manager with a network in a directory.
func onDisk(t *testing.T, dir string) (*fleet, *Store, *lockedBuffer) {
	out := new(lockedBuffer)
	f := newFleet(t, Tuning{})
	f.dir = dir
	cfg := f.config("n1")
	cfg.Stream, cfg.Log = f.listen(cfg.Addr), slog.New(slog.NewTextHandler(out, nil))
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.stores["n1"] = s
	f.must(initCluster())
	f.must(overlay(1, "a"))
	return f, s, out
}

// again closes a store and opens it, within ten seconds.
func (f *fleet) again(name string) *Store {
	f.t.Helper()
	done := make(chan error, 1)
	go func() { done <- f.stores[name].Close() }()
	select {
	case err := <-done:
		if err != nil {
			f.t.Errorf("closed: %v", err)
		}
	case <-time.After(10 * time.Second):
		f.t.Fatal("it does not close")
	}
	cfg := f.config(name)
	cfg.Bootstrap, cfg.Stream = false, f.listen(cfg.Addr)
	s, err := Open(cfg)
	if err != nil {
		f.t.Fatalf("opened again: %v", err)
	}
	f.stores[name] = s
	return s
}

// tryAll applies commands until five were refused for the disk.
func tryAll(t *testing.T, s *Store, dir string, command func(int) Command) (done, refused int) {
	t.Helper()
	for n := 0; n < 400 && refused < 5; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := s.Apply(ctx, command(n))
		cancel()
		switch {
		case err == nil:
			done++
		case errors.Is(err, ErrDisk) && errors.Is(err, cnm.Unavailable) && strings.Contains(err.Error(), dir):
			refused++
		case errors.Is(err, ErrNotLeader), errors.Is(err, ErrUncertain), errors.Is(err, context.DeadlineExceeded):
			time.Sleep(50 * time.Millisecond) // it has stepped down and has yet to find that it cannot go on
		default:
			t.Fatalf("command %d: %v", n, err)
		}
	}
	return done, refused
}

// padded is a lease for endpoint n, with much in it.
func padded(n int) Command {
	a := alloc(n, 1)
	a.ID = fmt.Sprintf("%064x", n) + strings.Repeat("p", 20000)
	return a
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	b, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for {
		if _, err := b.Write(make([]byte, 4096)); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
