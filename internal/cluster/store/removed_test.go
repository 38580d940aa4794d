package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"weft/internal/cnm"
)

// TestRemovedManagers: who was a manager is remembered until its certificate ends,
// and does not come back under its id; a worker is forgotten at once.
func TestRemovedManagers(t *testing.T) {
	b := newBench(t)
	put := func(name string, role cnm.Role, ends time.Duration) PutNode {
		p := node(name, role)
		p.Certificate = Certificate{Manager: role == cnm.Manager, Expires: t0.Add(ends)}
		return p
	}
	remove := func(name string, at time.Duration) {
		t.Helper()
		b.must(t, UpdateNode{ID: name, Spec: cnm.NodeSpec{Role: cnm.Worker, Availability: cnm.Active}, Now: t0})
		b.must(t, RemoveNode{ID: name, Now: t0.Add(at)})
	}
	b.must(t, put("m2", cnm.Manager, 10*time.Hour))
	b.must(t, put("m3", cnm.Manager, 2*time.Hour))
	b.must(t, put("w1", cnm.Worker, 10*time.Hour))
	renewed := put("m2", cnm.Worker, 20*time.Hour) // demoted, with a newer certificate: the old one still opens
	b.must(t, renewed)
	for _, n := range []string{"m2", "m3", "w1"} {
		remove(n, 0)
	}
	known := func() string {
		return fmt.Sprint(len(b.state.Load().Cluster.Removed), b.state.Load().Cluster.Removed["m2"].Sub(t0))
	}
	if got := known(); got != "2 10h0m0s" {
		t.Errorf("removed managers %s", got)
	}
	for _, n := range []string{"m2", "m3"} {
		if _, err := b.do(put(n, cnm.Worker, time.Hour)); !errors.Is(err, cnm.Conflict) {
			t.Errorf("%s is back: %v", n, err)
		}
	}
	b.must(t, put("w1", cnm.Worker, time.Hour))
	remove("w1", 3*time.Hour)
	if got := known(); got != "1 10h0m0s" {
		t.Errorf("after the end of m3's certificate: %s", got)
	}
}
