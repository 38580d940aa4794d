package store

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/cnm"
)

// TestManagersAwayAreSaidOnce: a manager that is down for minutes costs its leader one
// line, and one when it is back; so does the want of a leader.
func TestManagersAwayAreSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Tuning{})
		out := new(lockedBuffer)
		f.log = slog.New(slog.NewTextHandler(out, nil))
		f.grow("n2", "n3")
		leader, s := f.leader()
		var others []string
		names, _ := f.running()
		for _, n := range names {
			if n != leader {
				others = append(others, n)
			}
		}
		said := func(what string) int { return strings.Count(out.String(), what) }
		expect := func(when string, want map[string]int) {
			t.Helper()
			for what, n := range want {
				if got := said(what); got != n {
					t.Errorf("%s: %q said %d times, expected %d", when, what, got, n)
				}
			}
		}
		f.kill(others[0])
		time.Sleep(5 * time.Minute)
		f.must(overlay(1, "a")) // it still leads
		expect("one is down", map[string]int{"does not answer": 1, "answers again": 0, "have no leader": 0})
		f.start(others[0])
		time.Sleep(time.Minute)
		expect("it is back", map[string]int{"does not answer": 1, "answers again": 1, "have no leader": 0})
		f.kill(others[0])
		f.kill(others[1])
		time.Sleep(5 * time.Minute)
		if _, err := s.Apply(t.Context(), alloc(1, 1)); !errors.Is(err, cnm.Unavailable) {
			t.Errorf("without the others: %v", err)
		}
		expect("both are down", map[string]int{"have no leader": 1})
		before := said("level=")
		time.Sleep(5 * time.Minute)
		if n := said("level="); n != before {
			t.Errorf("%d lines more in five minutes:\n%s", n-before, out.String())
		}
		f.start(others[0])
		time.Sleep(time.Minute)
		expect("one is back", map[string]int{"have no leader": 1})
		if said("level=ERROR") > 0 {
			t.Errorf("errors:\n%s", out.String())
		}
	})
}

// TestRaftLines: a line that raft repeats is passed on once, and again when it has not
// come for a while; what the store says itself is not.
func TestRaftLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newRaftLogger(slog.New(slog.NewTextHandler(&out, nil)))
		n := l.Named("sub").With("a", 1)
		for range 600 {
			n.Error("failed to take snapshot", "error", "no space")
			l.Error("failed to heartbeat to", "peer", "n2")
			l.Warn("Election timeout reached, restarting election")
			time.Sleep(time.Second)
		}
		if got := strings.Count(out.String(), "\n"); got != 1 {
			t.Errorf("%d lines:\n%s", got, out.String())
		}
		time.Sleep(raftQuiet)
		l.Error("failed to take snapshot", "error", "no space")
		if got := strings.Count(out.String(), "\n"); got != 2 {
			t.Errorf("%d lines after it was quiet:\n%s", got, out.String())
		}
	})
}

// A lockedBuffer takes a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
