package cluster

import "testing"

// TestLeaderLeaves: the only voter leaves by force, and the standby has the vote
// before it has gone.
func TestLeaderLeaves(t *testing.T) {
	for range 2 {
		hosts := testCluster(t, 0)
		standby := joinTest(t, hosts[0], 2, true)
		t.Cleanup(standby.Close)
		eventually(t, "the standby has a copy", func() bool {
			_, known := standby.manager.node(standby.ID())
			servers, err := standby.manager.store.Servers()
			return known && err == nil && len(servers) == 2
		})
		if err := hosts[0].Leave(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the standby leads alone", func() bool {
			voters, managers := standby.View().voters()
			return standby.manager.leads() && len(standby.View().Nodes) == 1 && voters == 1 && managers == 1
		})
		if nw := overlayNet(t, standby.Member, "front"); !asksAgain(t, standby, nw.ID) {
			t.Error("no address by the one that is left")
		}
	}
}
