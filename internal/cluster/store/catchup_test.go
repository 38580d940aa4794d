package store

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestCatchUp: a leader that catches up costs one entry of the log in its term,
// however often it is asked to.
func TestCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Tuning{})
		f.grow()
		f.must(overlay(1, "a"))
		f.kill("n1")
		s := f.start("n1")
		for range 2000 {
			if s.IsLeader() {
				break
			}
			time.Sleep(time.Millisecond)
		}
		before := s.raft.LastIndex()
		for range 100 {
			if err := s.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s.State().Networks.Len() != 1 {
				t.Fatal("it does not know what was agreed on")
			}
		}
		if n := s.raft.LastIndex() - before; n > 1 {
			t.Errorf("%d entries", n)
		}
	})
}
