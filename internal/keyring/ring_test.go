package keyring

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"weft/ipsec"
)

const both = "not-dropped, not-dropped" // nothing was dropped, either way

// TestRing walks two rings from nothing to their second epoch.
func TestRing(t *testing.T) {
	a, b := newRing(1, 1), newRing(2, 1)
	if e, _ := a.Epoch(); e != 0 || len(a.Announcements()) != 0 {
		t.Errorf("a new ring is in epoch %d and announces %d keys", e, len(a.Announcements()))
	}
	if keys, _ := a.Peer(name(2)); keys != nil {
		t.Error("a new ring knows a peer")
	}
	begin(t, a, 7, start)
	begin(t, b, 7, start)
	if began, err := a.Begin(7, start); began || err != nil {
		t.Errorf("an epoch began twice: %v", err)
	}
	if began, err := a.Begin(6, start); began || err != nil {
		t.Errorf("an epoch began that was over: %v", err)
	}
	meet(t, a, b, start)
	if got := talk(t, a, b, 1, 2); got != both {
		t.Error(got)
	}
	if changed, err := a.Hear(start, said(t, b)...); changed || err != nil {
		t.Errorf("heard again: changed %v, %v", changed, err)
	}
	if changed, err := a.Hear(start, said(t, a)...); changed || err != nil || len(a.Status()) != 1 {
		t.Errorf("its own announcement: changed %v, %v", changed, err)
	}
	keys, at := a.Peer(name(2))
	if keys == nil || at.VTEP != vtep(2) || at.Generation != 1 {
		t.Errorf("peer %v at %+v", keys, at)
	}
	// b is told of an epoch that it begins later.
	later := start.Add(time.Hour)
	begin(t, a, 8, later)
	if changed, err := b.Hear(later, said(t, a)...); changed || err != nil {
		t.Errorf("an epoch that is not known: changed %v, %v", changed, err)
	}
	if got := talk(t, a, b, 1, 2); got != both {
		t.Errorf("one has begun an epoch: %s", got)
	}
	begin(t, b, 8, later)
	if changed, err := a.Hear(later, said(t, b)...); !changed || err != nil {
		t.Errorf("the other's key of the epoch: changed %v, %v", changed, err)
	}
	for range 2 { // probes, and the answers
		for _, d := range []struct {
			from, to *Ring
			node     int
		}{{a, b, 1}, {b, a, 2}} {
			probes, _ := d.from.Probes(later)
			for _, p := range probes {
				if got := open(d.to, d.node, sealed(t, p.By)).String(); got != "not-dropped" {
					t.Errorf("a probe: %s", got)
				}
			}
		}
		later = later.Add(lastPause)
	}
	a.Tick(later)
	b.Tick(later)
	if got := sendsBy(a, 2) + " " + sendsBy(b, 1); got != "1.8 1.8" {
		t.Errorf("after probes they send by %s", got)
	}
	if got := talk(t, a, b, 1, 2); got != both {
		t.Error(got)
	}
	if e, since := a.Epoch(); e != 8 || !since.Equal(start.Add(time.Hour)) {
		t.Errorf("epoch %d since %v", e, since)
	}
}

// TestEpochsApart: nodes whose clocks, or whose views of the managers' count, differ
// by one epoch have a key in common, also when one was started just now.
func TestEpochsApart(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b []uint64 // the epochs that each has been through
		want string
	}{
		{"both for long", []uint64{5, 6}, []uint64{6, 7}, both},
		{"one has just started, behind", []uint64{6}, []uint64{6, 7}, both},
		{"one has just started, ahead", []uint64{5, 6}, []uint64{7}, both},
		{"both have", []uint64{6}, []uint64{7}, both},
		{"by two epochs", []uint64{4, 5}, []uint64{6, 7}, "no-key, no-key"},
	} {
		a, b := newRing(1, 1), newRing(2, 1)
		for _, e := range tt.a {
			begin(t, a, e, start)
		}
		for _, e := range tt.b {
			begin(t, b, e, start)
		}
		meet(t, a, b, start)
		if got := talk(t, a, b, 1, 2); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		// Until the one that is behind is where the other is.
		for e := tt.a[len(tt.a)-1] + 1; e <= 7; e++ {
			begin(t, a, e, start)
			meet(t, a, b, start)
		}
		if got := talk(t, a, b, 1, 2); got != both {
			t.Errorf("%s, later: %s", tt.name, got)
		}
	}
}

// TestStale: what a peer said before it was started again, or long ago, changes
// nothing.
func TestStale(t *testing.T) {
	a, old := newRing(1, 1), newRing(2, 1)
	begin(t, a, 5, start)
	begin(t, old, 5, start)
	begin(t, old, 999, start) // its clock was wrong
	was := said(t, old)
	b := newRing(2, 2)
	begin(t, b, 5, start)
	now := said(t, b)
	if _, err := a.Hear(start, was...); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Hear(start, now...); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if changed, err := a.Hear(start, was...); changed || err != nil {
			t.Errorf("a generation that is over: changed %v, %v", changed, err)
		}
	}
	if _, at := a.Peer(name(2)); at.Generation != 2 || at.Epoch != 5 || sendsBy(a, 2) != "2.4" {
		t.Errorf("the peer is believed to be %+v, sent to by %s", at, sendsBy(a, 2))
	}
	// Epochs that follow are heard of, each with the one before.
	for e := uint64(6); e < 9; e++ {
		begin(t, b, e, start)
		if _, err := a.Hear(start, said(t, b)...); err != nil {
			t.Fatal(err)
		}
		if heard := a.peers[name(2)].heard; len(heard) != 2 || heard[0].Epoch != e-1 || heard[1].Epoch != e {
			t.Errorf("epoch %d: kept %+v", e, heard)
		}
		for _, stale := range [][]ipsec.Announcement{was, now} {
			if changed, err := a.Hear(start, stale...); changed || err != nil {
				t.Errorf("epoch %d, an old one: changed %v, %v", e, changed, err)
			}
		}
	}
	// Another key under the same generation and epoch is nobody's.
	twin := newRing(2, 2)
	begin(t, twin, 8, start)
	if changed, err := a.Hear(start, said(t, twin)[len(said(t, twin))-1]); changed || !errors.Is(err, ipsec.ErrConflict) {
		t.Errorf("a contradiction: changed %v, %v", changed, err)
	}
	if got := a.peers[name(2)].heard[1]; got != said(t, b)[1] {
		t.Errorf("a contradiction was kept: %+v", got)
	}
}

// TestStaleAfterGrace: an old announcement that is replayed when its pair is gone does
// not bring the pair back.
func TestStaleAfterGrace(t *testing.T) {
	a, b := newRing(1, 1), newRing(2, 1)
	var oldest []ipsec.Announcement
	now := start
	for e := uint64(1); e <= 3; e++ {
		now = now.Add(time.Hour)
		begin(t, a, e, now)
		begin(t, b, e, now)
		meet(t, a, b, now)
		if e == 1 {
			oldest = said(t, b)
		}
		a.Tick(now.Add(ipsec.DefaultSendAfter))
		a.Tick(now.Add(ipsec.DefaultSendAfter + ipsec.DefaultGrace))
	}
	before := len(a.Inbound(nil))
	for range 3 {
		if changed, err := a.Hear(now.Add(30*time.Minute), oldest...); changed || err != nil || len(a.Inbound(nil)) != before {
			t.Errorf("changed %v, %v: %d SAs, %d before", changed, err, len(a.Inbound(nil)), before)
		}
	}
}

// TestKeep: who is gone is neither sent to nor heard, and keeps its counters and
// windows should it come back.
func TestKeep(t *testing.T) {
	a, b, c := newRing(1, 1), newRing(2, 1), newRing(3, 1)
	for _, r := range []*Ring{a, b, c} {
		begin(t, r, 5, start)
	}
	meet(t, a, b, start)
	meet(t, a, c, start)
	first := packet(t, b, name(1), 0)
	kept := append([]byte(nil), first...)
	if got := open(a, 2, first).String(); got != "not-dropped" {
		t.Fatal(got)
	}
	sent := packet(t, a, name(2), 0)
	old, _ := a.Peer(name(2))
	if a.Keep(func(string) bool { return true }) {
		t.Error("changed, though all are kept")
	}
	if !a.Keep(func(node string) bool { return node == name(3) }) {
		t.Error("not changed, though one is dropped")
	}
	if keys, _ := a.Peer(name(2)); keys != nil || len(a.Status()) != 1 {
		t.Errorf("a peer that was dropped: %v of %d", keys, len(a.Status()))
	}
	if got := open(a, 2, packet(t, b, name(1), 0)).String(); got != "unknown-spi" {
		t.Errorf("a packet of a peer that was dropped: %s", got)
	}
	if got := talk(t, a, c, 1, 3); got != both {
		t.Errorf("the other peer: %s", got)
	}
	if changed, err := a.Hear(start, said(t, b)...); !changed || err != nil {
		t.Fatalf("it is back: changed %v, %v", changed, err)
	}
	if got := open(a, 2, kept).String(); got != "replayed" {
		t.Errorf("a packet from before: %s", got)
	}
	if again := packet(t, a, name(2), 0); string(again[:16]) == string(sent[:16]) {
		t.Error("a number was used twice")
	}
	if fresh, _ := a.Peer(name(2)); fresh == old {
		t.Error("the same peer is led on")
	}
}

// TestBounds: whatever peers announce, a ring keeps a few things of each.
func TestBounds(t *testing.T) {
	a := newRing(1, 1)
	now := start
	most := 0
	for life := range uint64(200) {
		b := newRing(2, life+1)
		for e := range uint64(5) {
			now = now.Add(100 * time.Millisecond)
			a.Begin(life*5+e+1, now)
			b.Begin(life*5+e+1, now)
			meet(t, a, b, now)
			a.Probes(now)
			a.Tick(now)
		}
		p := a.peers[name(2)]
		if len(a.keys) > epochs || len(p.heard) > epochs || len(a.Announcements()) > epochs || len(a.peers) != 1 {
			t.Fatalf("life %d: %d keys, %d heard, %d peers", life, len(a.keys), len(p.heard), len(a.peers))
		}
		most = max(most, len(a.Inbound(nil)))
	}
	if most > 2*4 { // of workers, of pairs
		t.Errorf("%d SAs of one peer", most)
	}
}

// TestProbes: peers that are silent are probed seldomer and seldomer, to where they
// say they are.
func TestProbes(t *testing.T) {
	a, b := newRing(1, 1), newRing(2, 1)
	b.cfg.Own.InIP = true
	begin(t, a, 2, start)
	begin(t, b, 2, start)
	meet(t, a, b, start)
	var at []string
	for now := start; now.Before(start.Add(20 * time.Second)); now = now.Add(10 * time.Millisecond) {
		probes, _ := a.Probes(now)
		for _, p := range probes {
			if p.To != vtep(2) || !p.InIP {
				t.Errorf("a probe to %v, in IP %v", p.To, p.InIP)
			}
		}
		if len(probes) != 0 && len(probes) != 2 { // by the pairs of both epochs
			t.Errorf("%d probes", len(probes))
		}
		if len(probes) > 0 {
			at = append(at, now.Sub(start).String())
		}
	}
	if got, want := fmt.Sprint(at), "[200ms 250ms 350ms 550ms 950ms 1.75s 3.35s 6.55s 11.55s 16.55s]"; got != want {
		t.Errorf("probed at %s, want %s", got, want)
	}
	// What was heard is told once more, and then there is silence.
	probes, _ := b.Probes(start.Add(headStart))
	for _, p := range probes {
		if p.InIP {
			t.Error("a probe in IP to a node that does not receive it")
		}
		open(a, 2, sealed(t, p.By))
	}
	now := start.Add(time.Minute)
	for i, want := range []int{2, 0, 0} {
		if probes, _ := a.Probes(now.Add(time.Duration(i) * time.Minute)); len(probes) != want {
			t.Errorf("%d probes, want %d", len(probes), want)
		}
	}
}

// TestRenew: a new key of the same epoch is another generation's, and never an earlier
// one's.
func TestRenew(t *testing.T) {
	a, b := newRing(1, 5), newRing(2, 1)
	begin(t, a, 7, start)
	begin(t, b, 7, start)
	meet(t, a, b, start)
	before := said(t, a)
	for _, g := range []uint64{4, 5} {
		if err := a.Renew(g, start); err == nil || said(t, a)[0] != before[0] {
			t.Errorf("generation %d after 5: %v", g, err)
		}
	}
	if a.Worn() {
		t.Error("worn, and hardly used")
	}
	if err := a.Renew(6, start); err != nil || a.Own().Generation != 6 {
		t.Fatalf("generation %d, %v", a.Own().Generation, err)
	}
	if now, was := said(t, a), before[1]; len(now) != 1 || now[0].Epoch != 7 || now[0].Generation != 6 || now[0].Public == was.Public {
		t.Errorf("%+v became %+v", was, now)
	}
	if got := talk(t, a, b, 1, 2); got != both {
		t.Errorf("the other has not heard of it: %s", got)
	}
	meet(t, a, b, start)
	if got := talk(t, a, b, 1, 2); got != both || sendsBy(b, 1) != "6.7" {
		t.Errorf("it has: %s, by %s", got, sendsBy(b, 1))
	}
}
