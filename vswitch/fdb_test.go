package vswitch

import (
	"math"
	"strings"
	"testing"

	"weft/internal/frame"
)

// TestLearnedAddressesAreGivenBack counts what a port has learned through every
// way an entry can come and go.
func TestLearnedAddressesAreGivenBack(t *testing.T) {
	// Four addresses make one bucket of eight slots.
	n := newNet(t, DomainConfig{MaxMACs: 4})
	a, b := n.add("a", PortConfig{MaxMACs: bucketSlots + 1}), n.add("b", PortConfig{})
	for i := range byte(bucketSlots) {
		n.inject(a, raw(t, mac(10+i), broadcast))
	}
	check := func(when string, onA, onB int32) {
		t.Helper()
		if got, other := a.port.macs.Load(), b.port.macs.Load(); got != onA || other != onB {
			t.Errorf("%s: a has learned %d and b %d, want %d and %d", when, got, other, onA, onB)
		}
	}
	check("learned", bucketSlots, 0)
	if out := n.inject(a, raw(t, mac(90), broadcast)); len(out["b"]) != 1 || n.domain.Stats().Full != 1 {
		t.Error("a frame whose source finds no room was not forwarded and counted")
	}
	check("no room", bucketSlots, 0)
	if tr := n.sw.Trace(a.port, raw(t, mac(90), broadcast), frame.Offload{}); !strings.Contains(tr.Steps[2].Result, "no room") {
		t.Errorf("a trace says %+v", tr.Steps[2])
	}
	if !n.domain.SetStatic(0, mac(50), b.port) {
		t.Fatal("a static entry found no room among learned ones")
	}
	check("evicted", bucketSlots-1, 0)
	left := byte(0) // one that was not
	for _, e := range n.sw.FDB(n.domain) {
		if !e.Static {
			left = e.MAC[5]
		}
	}
	n.inject(b, raw(t, mac(left), broadcast))
	check("moved", bucketSlots-2, 1)
	n.domain.Forget(0, mac(left))
	check("forgotten", bucketSlots-2, 0)
	n.domain.Forget(0, mac(50))
	check("forgotten, static", bucketSlots-2, 0)
	n.sw.Tick(DefaultAge + 1)
	check("aged", 0, 0)
}

// TestLimitWhereThereIsNoRoom: a port at its limit is refused also where nobody
// could have been learned.
func TestLimitWhereThereIsNoRoom(t *testing.T) {
	n := newNet(t, DomainConfig{MaxMACs: 4})
	a := n.add("a", PortConfig{MaxMACs: bucketSlots})
	n.add("b", PortConfig{})
	for i := range byte(bucketSlots + 1) {
		n.inject(a, raw(t, mac(10+i), broadcast))
	}
	if s := a.port.Stats(); s.Dropped[frame.MACLimit] != 1 {
		t.Errorf("%d frames dropped for the limit, want 1", s.Dropped[frame.MACLimit])
	}
}

// TestCopiesCountEveryPort: a flood to more ports than Copies can count would end
// as dropped.
func TestCopiesCountEveryPort(t *testing.T) {
	if got := New(Config{MaxPorts: 1 << 30}).cfg.MaxPorts; got-1 > math.MaxUint16 {
		t.Errorf("%d ports, more than frame.Frame.Copies can count", got)
	}
}
