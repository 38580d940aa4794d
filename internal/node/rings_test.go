package node

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weft/internal/keyring"
	"weft/ipsec"
)

// ringNode is as much of a node as has rings.
func ringNode(dir string) *Node {
	return &Node{cfg: Config{DataDir: dir, ESPPort: 4500, Workers: 2}, rings: make(map[ringKey]*ring)}
}

// TestRingGenerations: every ring of every daemon has a higher generation than all
// before, though the clock stand still or be set back.
func TestRingGenerations(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("correct horse battery staple"), 0o600); err != nil {
		t.Fatal(err)
	}
	now, own := time.Unix(1_700_000_000, 0), netip.MustParseAddr("192.0.2.1")
	last := uint64(0)
	for start := range 40 {
		n := ringNode(dir)
		if start == 20 {
			now = now.Add(-24 * time.Hour)
		}
		for i := range 5 {
			r, err := n.ringLocked(ringKey{algorithm: ipsec.AES256GCM, esn: i%2 == 0, six: i/2%2 == 0, secret: secret}, 7, own, now)
			if err != nil {
				t.Fatal(err)
			}
			g := r.Own().Generation
			if i < 4 && g <= last {
				t.Fatalf("start %d, ring %d: generation %d follows %d", start, i, g, last)
			}
			last = max(last, g)
		}
		if len(n.rings) != 4 {
			t.Fatalf("%d rings", len(n.rings))
		}
	}
}

// TestRingAhead: a ring that is ahead of the epoch by more than one, as after a clock was
// set right, gives way to a new one; by one it is what nodes are that differ.
func TestRingAhead(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("correct horse battery staple"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, now, own := ringNode(dir), time.Unix(1_700_000_000, 0), netip.MustParseAddr("192.0.2.1")
	key := ringKey{algorithm: ipsec.AES256GCM, esn: true, secret: secret}
	get := func(at time.Time) *ring {
		t.Helper()
		r, err := n.ringLocked(key, staticEpochAt(at), own, at)
		if err == nil {
			err = r.beginStatic(at)
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := get(now)
	for _, c := range []struct {
		name  string
		by    time.Duration
		again bool
	}{
		{"at the same time", 0, true},
		{"an epoch later", staticEpoch, true},
		{"back again", 0, true},
		{"set back by two epochs", -staticEpoch, false},
	} {
		before, _ := first.Epoch()
		got := get(now.Add(c.by))
		if (got == first) != c.again {
			t.Errorf("%s: the same ring %v, expected %v", c.name, got == first, c.again)
		}
		after, _ := got.Epoch()
		if c.again && after < before || !c.again && (after >= before || got.Own().Generation <= first.Own().Generation) {
			t.Errorf("%s: epoch %d and generation %d after %d and %d", c.name, after, got.Own().Generation, before, first.Own().Generation)
		}
	}
}

// TestMarkedFlood: what strangers send behind the non-ESP marker makes no round of the
// keys' goroutine, and keeps none from being made.
func TestMarkedFlood(t *testing.T) {
	n := ringNode(t.TempDir())
	n.cfg.ESPKeepalive = time.Nanosecond // each round notes when the next is
	n.own, n.marked, n.keyNews = newOwner(), make(chan marked), make(chan struct{}, 1)
	n.own.spawn(n.keepKeys)
	round := func() time.Time {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.nextKeepalive
	}
	junk := marked{netip.MustParseAddrPort("192.0.2.9:4500"), make([]byte, 200)}
	rounds, last := 0, time.Time{}
	for range 2000 {
		n.marked <- junk
		if at := round(); at != last {
			rounds, last = rounds+1, at
		}
	}
	if rounds > 10 {
		t.Errorf("%d rounds for 2000 datagrams of a stranger", rounds)
	}
	n.keyNews <- struct{}{}
	for end := time.Now().Add(10 * time.Second); round() == last; {
		if time.Now().After(end) {
			t.Fatal("no round although there was news")
		}
		n.marked <- junk
	}
	n.own.shut()
	n.own.wait()
}

// TestExportNothing: that keys were given out is logged when there were any.
func TestExportNothing(t *testing.T) {
	var log bytes.Buffer
	n := ringNode(t.TempDir())
	n.log = slog.New(slog.NewTextHandler(&log, nil))
	if keys, err := n.ExportKeys(""); err != nil || len(keys) != 0 || log.Len() != 0 {
		t.Errorf("%d keys, %v, logged %q", len(keys), err, &log)
	}
}

// TestTellSoon: who was told just now is told again soon, until it was told often.
func TestTellSoon(t *testing.T) {
	at, now := netip.MustParseAddrPort("192.0.2.2:4500"), time.Unix(1_700_000_000, 0)
	told := &telling{now, firstTell}
	r := &ring{Ring: keyring.New(keyring.Config{}), toTell: map[netip.AddrPort]*telling{at: told}}
	for _, want := range []time.Duration{firstTell, 2 * firstTell, 4 * firstTell} {
		if _, soon := r.tellLocked(now); !soon || told.next.Sub(now) != want {
			t.Errorf("soon %v, in %v, expected %v", soon, told.next.Sub(now), want)
		}
		now = told.next
	}
	told.pause = tellEvery
	if _, soon := r.tellLocked(now); soon {
		t.Error("soon, though the peer was told often")
	}
}
