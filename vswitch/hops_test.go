package vswitch

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/frame"
)

// TestSetNeighbour: a next hop that was entered is not asked, does not move, and is not
// forgotten; a router that is known says nothing of itself.
func TestSetNeighbour(t *testing.T) {
	r := newRouted(t)
	r.router.Close()
	c := r.router.cfg
	c.Settled = true
	var err error
	if r.router, err = r.sw.NewRouter(c); err != nil {
		t.Fatal(err)
	}
	r.publish(t)
	out := udp4(t, mac(2), gwMAC, ip(2), netip.MustParseAddr("203.0.113.5"), 5, 53, 9)
	if got := all(r.inject(r.a, out)); len(got) != 1 || !strings.Contains(got[0], "who has 192.0.2.254") {
		t.Fatalf("before: %q", got)
	}
	if !r.router.SetNeighbour(outer(254), nextMAC) || r.router.hops.asked != 0 {
		t.Fatalf("not entered: %d are asked", r.router.hops.asked)
	}
	want := []string{"o 00:01>00:02 192.0.2.1->203.0.113.5 ttl 63 udp 5>53"}
	if got := all(r.inject(r.a, out)); !slices.Equal(got, want) {
		t.Errorf("entered: %q, want %q", got, want)
	}
	before := r.o.port.Stats()
	if got := all(r.answerHop(254, frame.MAC{2, 0, 0, 0, 0, 9})); len(got) > 0 {
		t.Errorf("what it says of itself: %q", got)
	}
	if after := r.o.port.Stats(); after.Consumed != before.Consumed+1 {
		t.Errorf("what the router is told is not consumed: %+v", after)
	}
	r.tick(hopIdle + hopFresh)
	if len(r.o.out) > 0 {
		t.Errorf("said meanwhile: %q", text(r.o.out[0].data))
	}
	if got := all(r.inject(r.a, out)); !slices.Equal(got, want) {
		t.Errorf("much later: %q, want %q", got, want)
	}
	for i := range maxHops {
		r.router.SetNeighbour(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), nextMAC)
	}
	if n := len(*r.router.hops.snap.Load()); n != maxHops || r.router.SetNeighbour(outer6(9), nextMAC) {
		t.Errorf("%d hops, and room for one more", n)
	}
}
