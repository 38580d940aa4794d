package node

import (
	"errors"
	"testing"

	"weft/internal/cluster"
	"weft/internal/cluster/gossip"
)

func TestSwarmCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stats  cluster.Stats
		status Status
		want   string
	}{
		{"quiet", cluster.Stats{}, OK, "a member; nothing was refused"},
		{"refusals", cluster.Stats{Refused: map[string]uint64{"token": 2, "expired": 1}, Gossip: gossip.Stats{Refused: 3, Malformed: 1}},
			OK, "a member; refused since its start: expired 1, token 2, gossip 4"},
		{"full disk", cluster.Stats{Disk: errors.New("no space")}, Fail, "no space"},
	} {
		if c := swarmCheck(tt.stats); c.Status != tt.status || c.Found != tt.want {
			t.Errorf("%s: %+v", tt.name, c)
		}
	}
}
