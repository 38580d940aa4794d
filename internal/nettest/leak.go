package nettest

import (
	"bytes"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// settle is how long goroutines and descriptors may take to go away after the
// test's last line.
const settle = 2 * time.Second

// CheckLeaks fails the test when, at its end and after its own clean-ups, more
// goroutines or descriptors are open than now. Call it first; do not use it in
// parallel tests.
func CheckLeaks(t testing.TB) {
	t.Helper()
	before, fds := goroutines(), openFiles()
	t.Cleanup(func() {
		t.Helper()
		var leakedG, leakedF []string
		for end := time.Now().Add(settle); ; time.Sleep(10 * time.Millisecond) {
			leakedG, leakedF = without(goroutines(), before), without(openFiles(), fds)
			if len(leakedG)+len(leakedF) == 0 {
				return
			}
			if time.Now().After(end) {
				break
			}
		}
		for _, g := range leakedG {
			t.Errorf("leaked goroutine %s", g)
		}
		for _, f := range leakedF {
			t.Errorf("leaked descriptor %s", f)
		}
	})
}

// goroutines returns the stacks of all goroutines, each beginning with its
// number, less those of the testing package and the runtime.
func goroutines() []string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	var out []string
	for g := range bytes.SplitSeq(buf, []byte("\n\n")) {
		s := string(g)
		if !strings.Contains(s, "testing.(*") && !strings.Contains(s, "testing.tRunner") && !strings.Contains(s, "os/signal.loop") && !strings.Contains(s, "runtime.ensureSigM") {
			out = append(out, s)
		}
	}
	return out
}

// without returns the entries of now whose first field (a goroutine's number, a
// descriptor's name) is not in before.
func without(now, before []string) []string {
	key := func(s string) string {
		f := strings.Fields(s)
		return strings.Join(f[:min(2, len(f))], " ")
	}
	var out []string
	for _, n := range now {
		if !slices.ContainsFunc(before, func(b string) bool { return key(b) == key(n) }) {
			out = append(out, n)
		}
	}
	return out
}

// openFiles returns "N TARGET" for every open descriptor; nothing where there is
// no /proc.
func openFiles() []string {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		// The directory's own descriptor is gone by now; epoll and its wake-up
		// belong to the runtime, which opens them once and late.
		if err == nil && target != "anon_inode:[eventpoll]" && target != "anon_inode:[eventfd]" {
			out = append(out, e.Name()+" "+target)
		}
	}
	return out
}
