package cluster

import (
	"errors"
	"slices"
	"testing"
	"time"

	"weft/internal/cluster/gossip"
	"weft/internal/cnm"
)

func TestStateOf(t *testing.T) {
	now := time.Unix(1700000000, 0)
	before := func(s int) time.Time { return now.Add(-time.Duration(s) * time.Second) }
	states := map[string]gossip.State{"up": gossip.Alive, "away": gossip.Alive + 1}
	for _, c := range []struct {
		name, id       string
		began, created time.Time
		want           cnm.NodeState
	}{
		{"here", "up", before(0), before(0), cnm.NodeReady},
		{"gone", "away", before(0), before(0), cnm.NodeDown},
		{"this node has just begun", "old", before(9), before(100), cnm.NodeUnknown},
		{"that one has just joined", "old", before(100), before(9), cnm.NodeUnknown},
		{"never met", "old", before(11), before(100), cnm.NodeDown},
	} {
		if got := stateOf(states, &Node{ID: c.id, Created: c.created}, c.began, now); got != c.want {
			t.Errorf("%s: %s, expected %s", c.name, got, c.want)
		}
	}
}

// A life of certificates that none could be made with is refused; without one there
// is Docker's.
func TestCertExpiry(t *testing.T) {
	h := testCluster(t, 0)[0]
	s, err := h.Swarm()
	if err != nil || s.Spec.CertExpiry != 90*24*time.Hour {
		t.Errorf("%v, %v", s.Spec.CertExpiry, err)
	}
	for expiry, ok := range map[time.Duration]bool{time.Hour: true, time.Hour - 1: false, -time.Hour: false, 0: true} {
		s.Spec.CertExpiry = expiry
		if err := h.UpdateSwarm(t.Context(), 0, s.Spec, cnm.SwarmRotate{}); ok != (err == nil) || !ok && !errors.Is(err, cnm.Invalid) {
			t.Errorf("%v: %v", expiry, err)
		}
	}
}

// TestRemovedNodeRotates: when a node is removed, what it had keys of gets new ones at
// once.
func TestRemovedNodeRotates(t *testing.T) {
	hosts := testCluster(t, 1)
	before := hosts[0].View()
	if err := hosts[0].RemoveNode(t.Context(), hosts[1].ID(), true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the keys are rotated", func() bool {
		v := hosts[0].View()
		return v.Epoch == before.Epoch+1 && !slices.Equal(v.GossipKeys[0], before.GossipKeys[0]) && !hosts[0].NextRotation().IsZero()
	})
	time.Sleep(2 * time.Second)
	if v := hosts[0].View(); v.Epoch != before.Epoch+1 {
		t.Errorf("rotated more than once: epoch %d, before %d", v.Epoch, before.Epoch)
	}
}
