package cluster

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"weft/internal/cnm"
)

// TestLeaderKilled: of three managers the one that leads dies. The next address is
// given soon, and none twice, whoever asks.
func TestLeaderKilled(t *testing.T) {
	hosts := testCluster(t, 1)
	for n := byte(3); n <= 4; n++ {
		h := joinTest(t, hosts[0], n, true)
		t.Cleanup(h.Close)
		hosts = append(hosts, h)
	}
	for _, h := range hosts {
		eventually(t, "three vote", func() bool { voters, _ := h.View().voters(); return voters == 3 })
	}
	nw := overlayNet(t, hosts[1].Member, "front")
	given := map[netip.Addr]string{}
	allocate := func(h *host, id string) {
		t.Helper()
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			v4, _, err := h.Allocate(ctx, Want{Endpoint: id, Network: nw.ID})
			cancel()
			if errors.Is(err, cnm.NotFound) || errors.Is(err, cnm.Unavailable) {
				time.Sleep(10 * time.Millisecond) // no leader yet, or one that has yet to hear of the network
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if by, twice := given[v4.Addr()]; twice && by != id {
				t.Fatalf("%s was given to %s and %s", v4, by, id)
			}
			given[v4.Addr()] = id
			return
		}
	}
	for _, h := range hosts {
		allocate(h, cnm.NewID())
	}
	again := cnm.NewID()
	allocate(hosts[1], again)
	leader := -1
	for i, h := range hosts {
		if h.manager != nil && h.manager.leads() {
			leader = i
		}
	}
	if leader < 0 {
		t.Fatal("nobody leads")
	}
	hosts[leader].Close()
	killed := time.Now()
	allocate(hosts[1], cnm.NewID())
	t.Logf("the next address came %v after the leader's death", time.Since(killed).Round(time.Millisecond))
	allocate(hosts[1], again) // asked again: the same one
	for i, h := range hosts {
		if i != leader {
			allocate(h, cnm.NewID())
		}
	}
	if len(given) != len(hosts)+1+1+len(hosts)-1 {
		t.Errorf("%d addresses given: %v", len(given), given)
	}
}

// TestForceNewCluster: a standby goes on alone with what it has, and leads when the
// call returns.
func TestForceNewCluster(t *testing.T) {
	hosts := testCluster(t, 0)
	standby := joinTest(t, hosts[0], 2, true)
	nw := overlayNet(t, hosts[0].Member, "front")
	first := hosts[0].endpoint(t, nw.ID, "rose")
	eventually(t, "the standby has a copy", func() bool {
		return standby.manager.store.State().Endpoints.Len() == 1
	})
	hosts[0].Close()
	standby.Close()
	m, err := Init(t.Context(), standby.cfg, cnm.SwarmInit{ForceNewCluster: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	v4, _, err := m.Allocate(t.Context(), Want{Endpoint: cnm.NewID(), Network: nw.ID})
	if err != nil || v4.Addr() != first.Addrs[0].Next() {
		t.Errorf("the next address is %s, %v; the first was %s", v4, err, first.Addrs[0])
	}
	// A node that is no manager has nothing to go on with.
	if _, err := Init(t.Context(), loopback(t, 5), cnm.SwarmInit{ForceNewCluster: true}); !errors.Is(err, cnm.Invalid) {
		t.Errorf("a node outside of every swarm: %v", err)
	}
}

// TestDemoteBesideDead: of three managers one is dead when another is demoted. The
// third leads alone.
func TestDemoteBesideDead(t *testing.T) {
	hosts := testCluster(t, 0)
	for n := byte(2); n <= 3; n++ {
		h := joinTest(t, hosts[0], n, true)
		t.Cleanup(h.Close)
		hosts = append(hosts, h)
	}
	eventually(t, "three vote", func() bool { voters, _ := hosts[0].View().voters(); return voters == 3 && hosts[0].manager.leads() })
	nw := overlayNet(t, hosts[0].Member, "front")
	hosts[2].Close()
	eventually(t, "the third is known to be down", func() bool { return hosts[0].nodeState(hosts[2].ID()) == cnm.NodeDown })
	n := hosts[0].View().node(hosts[1].ID())
	spec := n.Spec
	spec.Role = cnm.Worker
	if err := hosts[0].UpdateNode(t.Context(), n.ID, 0, spec); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one votes", func() bool { voters, _ := hosts[0].View().voters(); return voters == 1 && hosts[0].manager.leads() })
	if _, _, err := hosts[0].Allocate(t.Context(), Want{Endpoint: cnm.NewID(), Network: nw.ID}); err != nil {
		t.Errorf("an address: %v", err)
	}
}
