package ipsec

import (
	"bytes"
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"weft/internal/frame"
)

// announcementOf is a valid announcement but for its public key.
func announcementOf(node string, generation, epoch uint64) Announcement {
	a := Announcement{Node: node, VTEP: vtepA, Generation: generation, Epoch: epoch, Algorithm: AES256GCM, ESN: true, Workers: 2}
	if node == "b" {
		a.VTEP = vtepB
	}
	return a
}

func newKey(t testing.TB, a Announcement) *EpochKey {
	t.Helper()
	k, err := NewEpochKey(a, testAES)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// pairs returns what two keys make of each other: a's pair with b, b's with a.
func pairs(t testing.TB, a, b *EpochKey) (ab, ba *Pair) {
	t.Helper()
	ab, err := a.Pair(b.Announcement())
	if err != nil {
		t.Fatal(err)
	}
	ba, err = b.Pair(a.Announcement())
	if err != nil {
		t.Fatal(err)
	}
	return ab, ba
}

// TestPair has both ends derive, tell each other nothing but their announcements,
// and send by every SA in both directions.
func TestPair(t *testing.T) {
	a := announcementOf("a", 3, 7)
	b := announcementOf("b", 5, 7)
	b.Algorithm, b.ESN, b.Workers = ChaCha20Poly1305, false, 3
	ab, ba := pairs(t, newKey(t, a), newKey(t, b))
	if len(ab.out) != 2 || len(ab.in) != 3 || len(ba.out) != 3 || len(ba.in) != 2 {
		t.Fatalf("%d out, %d in; %d out, %d in", len(ab.out), len(ab.in), len(ba.out), len(ba.in))
	}
	for _, d := range []struct {
		name     string
		from, to *Pair
		source   netip.Addr
	}{{"a to b", ab, ba, vtepA.Addr()}, {"b to a", ba, ab, vtepB.Addr()}} {
		table, _ := NewTable(d.to.Inbound())
		if d.to.Heard() {
			t.Errorf("%s: heard before anything was sent", d.name)
		}
		for w := range d.from.out {
			packet := sealed(t, d.from.Outbound(w), NextUDP, []byte(d.name))
			got, r := NewOpener().Open(table, d.source, packet)
			if r != frame.NotDropped || string(got.Payload) != d.name || got.SA != d.to.in[w] {
				t.Errorf("%s, worker %d: %v, %q", d.name, w, r, got.Payload)
			}
		}
		if !d.to.Heard() || d.from.Outbound(len(d.from.out)) != nil || d.from.Outbound(-1) != nil {
			t.Errorf("%s: heard %v, or SAs for workers that are not", d.name, d.to.Heard())
		}
	}
	if a, b := ab.out[0].algorithm, ba.out[0].algorithm; a != AES256GCM || b != ChaCha20Poly1305 {
		t.Errorf("sent by %v and %v", a, b)
	}
}

// TestKeysBind changes each thing that both ends must agree on: SPI, key and salt
// all change with it.
func TestKeysBind(t *testing.T) {
	prk := bytes.Repeat([]byte{7}, 32)
	sender, receiver := announcementOf("a", 3, 7), announcementOf("b", 5, 7)
	sender.Public[0], receiver.Public[0] = 1, 2
	seen := map[string]string{}
	note := func(name string, s, r Announcement, worker int, prk []byte) {
		m, err := derive(prk, &s, &r, worker)
		if err != nil {
			t.Fatal(err)
		}
		if m.spi < firstSPI {
			t.Errorf("%s: SPI %d is reserved", name, m.spi)
		}
		for what, v := range map[string]string{"SPI": fmt.Sprint(m.spi), "key": string(m.key[:16]), "salt": string(m.salt[:]) + "salt"} {
			if other, ok := seen[v]; ok {
				t.Errorf("%s: the %s is that of %q", name, what, other)
			}
			seen[v] = name
		}
	}
	note("as it is", sender, receiver, 0, prk)
	note("direction", receiver, sender, 0, prk)
	note("worker", sender, receiver, 1, prk)
	note("secret", sender, receiver, 0, bytes.Repeat([]byte{8}, 32))
	for _, c := range []struct {
		name   string
		change func(a *Announcement)
	}{
		{"node", func(a *Announcement) { a.Node += "x" }},
		{"address", func(a *Announcement) { a.VTEP = netip.AddrPortFrom(a.VTEP.Addr().Next(), 4500) }},
		{"port", func(a *Announcement) { a.VTEP = netip.AddrPortFrom(a.VTEP.Addr(), 4501) }},
		{"generation", func(a *Announcement) { a.Generation++ }},
		{"epoch", func(a *Announcement) { a.Epoch++ }},
		{"algorithm", func(a *Announcement) { a.Algorithm = ChaCha20Poly1305 }},
		{"ESN", func(a *Announcement) { a.ESN = false }},
		{"ESP in IP", func(a *Announcement) { a.InIP = true }},
		{"workers", func(a *Announcement) { a.Workers++ }},
		{"public key", func(a *Announcement) { a.Public[31]++ }},
	} {
		s, r := sender, receiver
		c.change(&s)
		note("sender's "+c.name, s, receiver, 0, prk)
		c.change(&r)
		note("receiver's "+c.name, sender, r, 0, prk)
	}
}

// TestKeySchedule holds the derivation to values computed apart from it, with
// Python's cryptography package (schedule_test.go says from what).
func TestKeySchedule(t *testing.T) {
	private := func(first byte) *ecdh.PrivateKey {
		b := make([]byte, 32)
		for i := range b {
			b[i] = first + byte(i)
		}
		k, err := ecdh.X25519().NewPrivateKey(b)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	a, err := newEpochKey(announcementOf("a", 3, 7), private(1), testAES)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newEpochKey(announcementOf("b", 5, 7), private(65), testAES)
	if err != nil {
		t.Fatal(err)
	}
	own, peer := a.Announcement(), b.Announcement()
	secret, err := a.private.ECDH(b.private.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	m := scheduleOf(t, secret, &own, &peer, 1)
	if got, want := fmt.Sprintf("%08x %x %x", m.spi, m.key, m.salt), scheduleWant; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	ab, _ := pairs(t, a, b)
	if ab.out[1].spi != m.spi || ab.out[1].salt != m.salt {
		t.Fatalf("the pair has SPI %08x", ab.out[1].spi)
	}
}

func TestPairRefuses(t *testing.T) {
	k := newKey(t, announcementOf("a", 1, 7))
	other := func(generation, epoch uint64) Announcement {
		return newKey(t, announcementOf("b", generation, epoch)).Announcement()
	}
	first := other(2, 7)
	kept, err := k.Pair(first)
	if err != nil {
		t.Fatal(err)
	}
	kept.Outbound(0).seq.Store(99)
	if again, err := k.Pair(first); err != nil || again != kept {
		t.Errorf("asked again: %p, want %p; %v: the counter would begin anew", again, kept, err)
	}
	contradiction := first
	contradiction.Workers = 1
	lowOrder := other(9, 7)
	lowOrder.Public = [32]byte{}
	reflected := k.Announcement()
	reflected.Node, reflected.Generation = "b", 9
	for _, c := range []struct {
		name string
		a    Announcement
		want error
	}{
		{"another key under the same generation", other(2, 7), ErrConflict},
		{"another number of workers under the same generation", contradiction, ErrConflict},
		{"an older generation", other(1, 7), ErrStale},
		{"another epoch", other(9, 8), nil},
		{"a public key of low order", lowOrder, nil},
		{"this node", newKey(t, announcementOf("a", 9, 7)).Announcement(), nil},
		{"this node's key under another name", reflected, nil},
		{"no VTEP", Announcement{Node: "b", Epoch: 7, Algorithm: AES256GCM, Workers: 1}, nil},
	} {
		if p, err := k.Pair(c.a); p != nil || err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	newer := other(3, 7)
	p, err := k.Pair(newer)
	if err != nil || p == kept {
		t.Fatalf("a higher generation: %v", err)
	}
	if _, err := k.Pair(first); !errors.Is(err, ErrStale) {
		t.Errorf("the generation before: %v", err)
	}
	crowd := newKey(t, announcementOf("a", 1, 7))
	for i := range maxPeers {
		crowd.pairs[fmt.Sprint(i)] = new(Pair)
	}
	if _, err := crowd.Pair(newer); !errors.Is(err, ErrFull) {
		t.Errorf("one peer too many: %v", err)
	}
	k.Forget()
	if again, err := k.Pair(newer); err != nil || again != p {
		t.Errorf("a pair of a forgotten key: %v", err)
	}
	if _, err := k.Pair(other(4, 7)); !errors.Is(err, ErrForgotten) {
		t.Errorf("a new pair of a forgotten key: %v", err)
	}
}

// TestNonces restarts one node or the other a thousand times, within one epoch, and
// sends by every SA in both directions. No key has one IV twice, and no two starts
// have a key in common, though the generation be the same.
func TestNonces(t *testing.T) {
	type nonce struct {
		key [32]byte
		iv  [12]byte
	}
	seen := map[nonce]bool{}
	keys := map[[32]byte]int{}
	note := func(start int, o *Outbound) {
		key := fingerprint(t, o)
		if at, ok := keys[key]; ok && at != start {
			t.Fatalf("starts %d and %d have a key in common", at, start)
		}
		keys[key] = start
		for range 4 {
			packet := sealed(t, o, NextUDP, []byte("x"))
			n := nonce{key, [12]byte(append(o.salt[:], packet[8:16]...))}
			if seen[n] {
				t.Fatalf("start %d: IV %d twice under one key", start, binary.BigEndian.Uint64(packet[8:]))
			}
			seen[n] = true
		}
	}
	a, b := newKey(t, announcementOf("a", 0, 1)), newKey(t, announcementOf("b", 0, 1))
	for start := 1; start <= 1000; start++ {
		switch {
		case start%10 == 0: // both, by a clock that stood still: generations come twice
			a, b = newKey(t, a.Announcement()), newKey(t, b.Announcement())
		case start%2 == 0: // the other one keeps its key
			a = newKey(t, announcementOf("a", uint64(start), 1))
		default:
			b = newKey(t, announcementOf("b", uint64(start), 1))
		}
		for range 2 { // asked twice, as a control plane does
			ab, ba := pairs(t, a, b)
			for w := range 2 {
				note(start, ab.Outbound(w))
				note(start, ba.Outbound(w))
			}
		}
	}
	if len(keys) != 4000 || len(seen) != 4000*8 {
		t.Fatalf("%d keys, %d nonces", len(keys), len(seen))
	}
}

// fingerprint tells keys apart by what they make of nothing.
func fingerprint(t testing.TB, o *Outbound) [32]byte {
	t.Helper()
	return [32]byte(o.aead.Seal(nil, make([]byte, 12), make([]byte, 16), nil))
}
