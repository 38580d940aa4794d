package keyring

import (
	"errors"
	"testing"
	"time"

	"weft/internal/frame"
	"weft/ipsec"
)

// FuzzHear does to a ring what bytes say: announcements of two peers in any order of
// generations and epochs, epochs that begin, peers that go, time that passes. Whatever
// comes, what a peer is sent by is of the highest generation that was heard of it, and
// the ring keeps a few things of each peer.
func FuzzHear(f *testing.F) {
	f.Add([]byte{0x01, 0x41, 0x02, 0x42, 0x83, 0xc0, 0x43})
	f.Add([]byte{0x40, 0x50, 0x48, 0x58, 0x00, 0x41, 0xff, 0x41})
	f.Add([]byte("Z000200\xc0B00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 200 {
			return
		}
		r, now := newRing(1, 1), start
		highest, latest := map[string]uint64{}, uint64(0)
		keys := map[[3]uint64]ipsec.Announcement{}
		for _, c := range b {
			now = now.Add(time.Duration(c&7) * 10 * time.Second)
			switch c >> 6 {
			case 0: // an epoch
				epoch := uint64(1 + c&7)
				if began, err := r.Begin(epoch, now); err != nil || began != (epoch > latest) {
					t.Fatalf("epoch %d after %d: %v, %v", epoch, latest, began, err)
				}
				latest = max(latest, epoch)
			case 1, 2: // an announcement
				id := [3]uint64{uint64(2 + c>>6&1), uint64(c >> 3 & 7), uint64(1 + c&7)}
				a, known := keys[id]
				if !known {
					a = ipsec.Announcement{Node: name(int(id[0])), VTEP: vtep(int(id[0])), Generation: id[1], Epoch: id[2], Algorithm: ipsec.AES128GCM, Workers: 1}
					k, err := ipsec.NewEpochKey(a, ipsec.AES{})
					if err != nil {
						t.Fatal(err)
					}
					a = k.Announcement()
					keys[id] = a
				}
				// One that went may come back with what is over: no pair is made of it.
				if _, err := r.Hear(now, a); err != nil && !errors.Is(err, ipsec.ErrStale) {
					t.Fatal(err)
				}
				highest[a.Node] = max(highest[a.Node], id[1])
			case 3: // peers go
				r.Keep(func(node string) bool { return c&1 != 0 && node == name(2) || c&2 != 0 && node == name(3) })
				for _, n := range []int{2, 3} {
					if c&(1<<(n-2)) == 0 {
						delete(highest, name(n))
					}
				}
			}
			r.Probes(now)
			r.Tick(now)
			check(t, r, highest)
		}
	})
}

func check(t *testing.T, r *Ring, highest map[string]uint64) {
	t.Helper()
	if len(r.Status()) != len(highest) || len(r.Announcements()) > epochs {
		t.Fatalf("%d peers, %d are known; %d announcements", len(r.Status()), len(highest), len(r.Announcements()))
	}
	for _, s := range r.Status() {
		keys, at := r.Peer(s.Node)
		if at.Generation != highest[s.Node] || len(s.Pairs) > 4 {
			t.Fatalf("%s is believed to be of generation %d, %d was heard of; %d pairs", s.Node, at.Generation, highest[s.Node], len(s.Pairs))
		}
		sending := 0
		for _, p := range s.Pairs {
			if p.State == ipsec.Sending {
				sending++
			}
		}
		_, reason := ipsec.NewSealer().Seal(keys.Outbound(0), make([]byte, 64), ipsec.NextNone, nil)
		if sending > 1 || (sending == 1) != (reason == frame.NotDropped) {
			t.Fatalf("%s: %d pairs send: %v, %+v", s.Node, sending, reason, s.Pairs)
		}
	}
}
