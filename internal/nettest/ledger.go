package nettest

import (
	"testing"

	"weft/internal/frame"
)

// A Ledger holds how frames ended. Every frame ends as exactly one of the
// verdicts, so the columns must add up to In.
type Ledger struct {
	In, Forwarded, Consumed, Kept, Dropped uint64
}

// Count enters one frame.
func (l *Ledger) Count(f *frame.Frame) {
	l.In++
	switch f.Verdict {
	case frame.Forwarded:
		l.Forwarded++
	case frame.Consumed:
		l.Consumed++
	case frame.Kept:
		l.Kept++
	case frame.Dropped:
		l.Dropped++
	}
}

// Check fails the test unless frames in = forwarded + consumed + kept + dropped.
func (l Ledger) Check(t testing.TB) {
	t.Helper()
	if out := l.Forwarded + l.Consumed + l.Kept + l.Dropped; out != l.In {
		t.Errorf("%d frames in, but %d forwarded + %d consumed + %d kept + %d dropped = %d",
			l.In, l.Forwarded, l.Consumed, l.Kept, l.Dropped, out)
	}
}

// ZeroAllocs fails the test when one call of f allocates, after warming up.
func ZeroAllocs(t testing.TB, f func()) {
	t.Helper()
	f()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%v allocations per run, want none", n)
	}
}
