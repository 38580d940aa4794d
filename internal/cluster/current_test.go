package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"weft/internal/cnm"
)

// TestJustStarted: a manager that has just started, and has yet to read what was agreed
// on, turns neither a member nor a good token away as if they were none.
func TestJustStarted(t *testing.T) {
	hosts := testCluster(t, 1)
	nw := overlayNet(t, hosts[0].Member, "front")
	at := hosts[0].self().Control
	secret := hosts[0].manager.cluster().Secrets.Worker
	for range 5 {
		hosts[0].Close()
		m, err := Open(t.Context(), hosts[0].cfg)
		if err != nil {
			t.Fatal(err)
		}
		hosts[0].Member = m
		answered := map[string]bool{}
		for end := time.Now().Add(20 * time.Second); len(answered) < 2 && time.Now().Before(end); {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, err := askOne[leaseResponse](ctx, hosts[1].Member, at, "Allocate", &Want{Endpoint: cnm.NewID(), Network: nw.ID})
			if errors.Is(err, cnm.Forbidden) {
				t.Fatalf("a member is told %v", err)
			}
			if err == nil {
				answered["member"] = true
			}
			_, err = m.manager.admit(ctx, caller{}, &joinRequest{Secret: secret, Node: Node{ID: newID()}})
			if errors.Is(err, cnm.Forbidden) {
				t.Fatalf("a good token is told %v", err)
			}
			if errors.Is(err, cnm.Invalid) { // the node in it is none
				answered["token"] = true
			}
			cancel()
		}
		if len(answered) < 2 {
			t.Fatalf("answered: %v", answered)
		}
	}
}
