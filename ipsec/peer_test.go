package ipsec

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"weft/internal/frame"
)

// testPair makes a's pair with b.
func testPair(t testing.TB, generation, epoch uint64) *Pair {
	t.Helper()
	ab, _ := pairs(t, newKey(t, announcementOf("a", 1, epoch)), newKey(t, announcementOf("b", generation, epoch)))
	return ab
}

// states shows a peer as generation.epoch and state of each pair.
func states(p *Peer) string {
	var all []string
	for _, s := range p.Status() {
		all = append(all, fmt.Sprintf("%d.%d %v", s.Generation, s.Epoch, s.State))
	}
	return strings.Join(all, ", ")
}

// TestPeerLife walks pairs through their states.
func TestPeerLife(t *testing.T) {
	start := time.Unix(1e9, 0)
	p := NewPeer(0, 0)
	want := func(at time.Duration, text string, sending *Pair) {
		t.Helper()
		if got := states(p); got != text {
			t.Fatalf("after %v: %s, want %s", at, got, text)
		}
		if p.Outbound(1) != sending.Outbound(1) || p.Outbound(2) != nil {
			t.Fatalf("after %v: workers send by another pair", at)
		}
		if got, want := len(p.Inbound(nil)), 2*len(p.Status()); got != want {
			t.Fatalf("after %v: %d SAs to receive by, want %d", at, got, want)
		}
	}
	add := func(at time.Duration, pair *Pair, changed bool) {
		t.Helper()
		if got := p.Add(pair, start.Add(at)); got != changed {
			t.Fatalf("after %v: added, changed %v", at, got)
		}
	}
	tick := func(at time.Duration, changed bool) {
		t.Helper()
		if got := p.Tick(start.Add(at)); got != changed {
			t.Fatalf("after %v: tick, changed %v", at, got)
		}
	}
	one, two, three := testPair(t, 5, 1), testPair(t, 5, 2), testPair(t, 5, 3)

	want(0, "", nil)
	tick(0, false)
	add(0, one, true) // nothing else to send by
	add(0, one, false)
	want(0, "5.1 sending", one)
	add(time.Hour, two, true)
	want(time.Hour, "5.1 sending, 5.2 receiving", one)
	tick(time.Hour+DefaultSendAfter-1, false)
	want(time.Hour, "5.1 sending, 5.2 receiving", one)
	tick(time.Hour+DefaultSendAfter, false)
	want(time.Hour, "5.1 retiring, 5.2 sending", two)
	tick(time.Hour+DefaultSendAfter+DefaultGrace-1, false)
	tick(time.Hour+DefaultSendAfter+DefaultGrace, true)
	want(time.Hour, "5.2 sending", two)

	add(2*time.Hour, three, true)
	three.in[1].packets.Add(1) // heard
	tick(2*time.Hour+1, false)
	want(2*time.Hour, "5.2 retiring, 5.3 sending", three)

	add(2*time.Hour+2, testPair(t, 5, 1), true) // late
	want(2*time.Hour, "5.1 retiring, 5.2 retiring, 5.3 sending", three)
	restarted := testPair(t, 6, 3)
	add(2*time.Hour+3, restarted, true)
	want(2*time.Hour, "5.1 retiring, 5.2 retiring, 5.3 retiring, 6.3 sending", restarted)
	next := testPair(t, 6, 4)
	add(2*time.Hour+4, next, true) // one too many
	want(2*time.Hour, "5.2 retiring, 5.3 retiring, 6.3 sending, 6.4 receiving", restarted)
	tick(3*time.Hour, true)
	want(3*time.Hour, "6.3 retiring, 6.4 sending", next)
	tick(4*time.Hour, true)
	want(4*time.Hour, "6.4 sending", next)
	again := testPair(t, 7, 3) // started again, and what it announced first is the older epoch
	add(5*time.Hour, again, true)
	want(5*time.Hour, "6.4 retiring, 7.3 sending", again)
	tick(6*time.Hour, true)
	want(6*time.Hour, "7.3 sending", again)
	next = again
	tick(100*24*time.Hour, false) // what sends does so until another can
	want(100*24*time.Hour, "7.3 sending", next)
}

// TestRotation lets two nodes change epochs, each at its own time, while both send
// and packets take their time. Nothing is lost.
func TestRotation(t *testing.T) {
	type node struct {
		key   *EpochKey
		peer  *Peer
		table *Table
	}
	now := time.Unix(1e9, 0)
	a := &node{peer: NewPeer(30*time.Second, time.Minute)}
	b := &node{peer: NewPeer(30*time.Second, time.Minute)}
	publish := func(n *node) { n.table, _ = NewTable(n.peer.Inbound(nil)) }
	add := func(n, other *node) {
		pair, err := n.key.Pair(other.key.Announcement())
		if err != nil {
			t.Fatal(err)
		}
		n.peer.Add(pair, now)
		publish(n)
	}
	s, op := NewSealer(), NewOpener()
	type flight struct {
		to     *node
		source string
		packet []byte
	}
	var wire []flight
	sent, opened := 0, 0
	for second := range 3000 {
		now = now.Add(time.Second)
		switch second % 600 {
		case 0: // both have a key of the next epoch; the news reaches b first
			epoch := uint64(second/600 + 1)
			a.key, b.key = newKey(t, announcementOf("a", 1, epoch)), newKey(t, announcementOf("b", 1, epoch))
			add(b, a)
			if second == 0 {
				add(a, b)
			}
		case 20:
			if second > 600 {
				add(a, b)
			}
		}
		for _, f := range wire {
			source := vtepA.Addr()
			if f.source == "b" {
				source = vtepB.Addr()
			}
			if _, r := op.Open(f.to.table, source, f.packet); r != frame.NotDropped {
				t.Fatalf("second %d, from %s: %v; a has %s, b has %s", second, f.source, r, states(a.peer), states(b.peer))
			}
			opened++
		}
		wire = wire[:0]
		for _, d := range []struct {
			from, to *node
			source   string
		}{{a, b, "a"}, {b, a, "b"}} {
			for w := range 2 {
				packet := make([]byte, 64)
				n, r := s.Seal(d.from.peer.Outbound(w), packet, NextUDP, []byte("x"))
				if r != frame.NotDropped {
					t.Fatalf("second %d: %s cannot send: %v", second, d.source, r)
				}
				wire = append(wire, flight{d.to, d.source, bytes.Clone(packet[:n])})
				sent++
			}
		}
		for _, n := range []*node{a, b} {
			if n.peer.Tick(now) {
				publish(n)
			}
		}
	}
	if opened != sent-len(wire) || sent != 12000 {
		t.Fatalf("%d sent, %d opened", sent, opened)
	}
	if got := states(a.peer) + "; " + states(b.peer); got != "1.5 sending; 1.5 sending" {
		t.Fatal(got)
	}
}

func TestWorn(t *testing.T) {
	pair := testPair(t, 1, 1)
	p := NewPeer(time.Second, time.Second)
	p.Add(pair, time.Unix(1e9, 0))
	if pair.Worn() || p.Worn() || p.Status()[0].Worn || NewPeer(0, 0).Worn() {
		t.Error("a new pair is worn, or none")
	}
	pair.out[1].seq.Store(softESN)
	pair.out[1].bytes.Store(77)
	if s := p.Status()[0]; !s.Worn || s.SentPackets != softESN || s.SentBytes != 77 || !p.Worn() {
		t.Errorf("%+v", s)
	}
	p.Add(testPair(t, 1, 2), time.Unix(1e9, 0))
	if p.Worn() {
		t.Error("worn, though there is a later pair")
	}
}
