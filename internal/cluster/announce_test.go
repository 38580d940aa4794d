package cluster

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
	"weft/ipsec"
)

// announcement is one by a node, at its data path, with a key of its own.
func announcement(t testing.TB, m *Member, sign ipsec.Signer, change func(*ipsec.Announcement)) []byte {
	t.Helper()
	a := ipsec.Announcement{
		Node: m.ID(), VTEP: netip.AddrPortFrom(m.cfg.DataPath[0].Addr(), 4500), Generation: 5, Epoch: 1, Algorithm: ipsec.AES256GCM, ESN: true, Workers: 2,
	}
	if change != nil {
		change(&a)
	}
	k, err := ipsec.NewEpochKey(a, ipsec.AES{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := ipsec.Encode(k.Announcement(), sign)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAnnouncements: of what a node's row announces that alone is believed which the node
// itself has signed, with a certificate of this swarm, about an address that it has.
func TestAnnouncements(t *testing.T) {
	hosts, foreign := testCluster(t, 2), testCluster(t, 0)
	me, peer, other := hosts[0], hosts[1], hosts[2]
	eventually(t, "the others are known", func() bool { return me.View().node(peer.ID()) != nil && me.View().node(other.ID()) != nil })
	good := announcement(t, peer.Member, peer.Sign, nil)
	flipped := bytes.Clone(good)
	flipped[40] ^= 1
	for _, c := range []struct {
		name string
		b    []byte
		want string // "": it is believed
	}{
		{"its own", good, ""},
		{"again", good, ""},
		{"garbage", bytes.Repeat([]byte{1}, 200), "cut short"},
		{"empty", nil, "cut short"},
		{"cut", good[:len(good)-1], "cut short"},
		{"a bit", flipped, "announcement"},
		{"another node's", announcement(t, other.Member, other.Sign, nil), "has announced a key of node"},
		{"signed by another node", announcement(t, peer.Member, other.Sign, nil), "speaks for node"},
		{"of a foreign swarm", announcement(t, peer.Member, foreign[0].Sign, nil), "announcement"},
		{"at an address it does not have", announcement(t, peer.Member, peer.Sign, func(a *ipsec.Announcement) {
			a.VTEP = netip.MustParseAddrPort("127.0.0.1:4500")
		}), "where it has no data path"},
	} {
		n := me.View().node(peer.ID())
		got, err := me.announcements(n, [][]byte{c.b, good})
		if c.want == "" {
			if err != nil || len(got) != 2 || got[0].Node != peer.ID() {
				t.Errorf("%s: %v, %+v", c.name, err, got)
			}
			continue
		}
		// What is right beside it counts.
		if err == nil || !strings.Contains(err.Error(), c.want) || len(got) != 1 {
			t.Errorf("%s: %v, expected %q; %d are believed", c.name, err, c.want, len(got))
		}
	}
	if n := len(me.verified.known); n > 4 {
		t.Errorf("%d are remembered", n)
	}
}

// TestKeyRotation: keys last as long as asked, and not less than a second.
func TestKeyRotation(t *testing.T) {
	h := testCluster(t, 0)[0]
	set := func(every time.Duration) error {
		s, err := h.Swarm()
		if err != nil {
			t.Fatal(err)
		}
		s.Spec.KeyRotation = every
		return h.UpdateSwarm(t.Context(), s.Version, s.Spec, cnm.SwarmRotate{})
	}
	if err := set(minKeyRotation - 1); !errors.Is(err, cnm.Invalid) {
		t.Errorf("less than a second: %v", err)
	}
	if err := set(minKeyRotation); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first", func() bool { return h.View().Epoch > 1 })
	first, began := h.View().Epoch, time.Now()
	eventually(t, "four more", func() bool { return h.View().Epoch >= first+4 })
	if took := time.Since(began); took < 3*time.Second || took > 7*time.Second {
		t.Errorf("four rotations took %v", took)
	}
}
