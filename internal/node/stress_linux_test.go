package node

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"weft/internal/cnm"
)

// Many clients change the same few things at once; whatever each is told, in the
// end nothing is lost and nothing is left.
func TestConcurrentChanges(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front"})
	mustNetwork(t, n, cnm.Network{Name: "back"})
	ctx := t.Context()
	until := time.Now().Add(1500 * time.Millisecond)
	var wg sync.WaitGroup
	for client := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(client), 1))
			for time.Now().Before(until) {
				name := fmt.Sprintf("box%d", r.IntN(3))
				network := []string{"front", "back", "extra"}[r.IntN(3)]
				switch r.IntN(10) {
				case 0, 1:
					n.SandboxCreate(ctx, cnm.SandboxSpec{Name: name, Cmd: []string{"/bin/sleep", "9"}, Networks: on("front"), AutoRemove: r.IntN(2) == 0})
				case 2, 3:
					n.SandboxStart(ctx, name)
				case 4:
					n.SandboxKill(ctx, name, "KILL")
				case 5:
					n.NetworkConnect(ctx, network, name, cnm.EndpointConfig{})
				case 6:
					n.NetworkDisconnect(ctx, network, name, r.IntN(2) == 0)
				case 7:
					n.SandboxRemove(ctx, name, true)
				case 8:
					n.NetworkCreate(ctx, cnm.Network{Name: "extra", EnableIPv4: true})
					n.SandboxRename(ctx, name, name+"x")
					n.SandboxRename(ctx, name+"x", name)
				case 9:
					n.NetworkRemove(ctx, "extra")
					n.Networks()
					n.Stats()
					n.FDB("")
				}
			}
		})
	}
	wg.Wait()
	for _, sb := range n.Sandboxes() {
		if err := n.SandboxRemove(ctx, sb.ID, true); err != nil {
			t.Errorf("remove %s: %v", sb.Spec.Name, err)
		}
	}
	for _, nw := range n.Networks() {
		for _, s := range nw.Subnets {
			if s.InUse != 3 {
				t.Errorf("network %s: %d addresses in use", nw.Name, s.InUse)
			}
		}
	}
	n.path.mu.Lock()
	defer n.path.mu.Unlock()
	if len(n.path.ports) != 0 {
		t.Errorf("ports left: %v", n.path.ports)
	}
	for id, dom := range n.path.current {
		if len(dom.ports) != 0 || len(dom.neighbours) != 1 {
			t.Errorf("left on network %.12s: %+v", id, dom)
		}
	}
}
