package node

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"weft/internal/cnm"
)

// TestSwarmForceLocked: a manager of a swarm that locks its managers goes on alone
// without being asked for the key that it knows; where it cannot, it says so, and is
// not taken for a node outside of every swarm.
func TestSwarmForceLocked(t *testing.T) {
	watchLeaks(t)
	n := swarm(t, 1)[1]
	s, err := n.Swarm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Spec.AutoLock = true
	if err := n.SwarmUpdate(t.Context(), 0, s.Spec, cnm.SwarmRotate{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(n.swarmDir(), "raft", "cluster.key")
	inTime(t, "the store is locked", func() bool { b, err := os.ReadFile(path); return err == nil && bytes.Contains(b, []byte("Sealed")) })
	before := n.SwarmInfo().NodeID
	if id, err := n.SwarmInit(t.Context(), cnm.SwarmInit{ForceNewCluster: true}); err != nil || id != before {
		t.Fatalf("node %s went on as %s: %v", before, id, err)
	}
	if err := os.WriteFile(path, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := n.SwarmInit(t.Context(), cnm.SwarmInit{ForceNewCluster: true}); err == nil {
		t.Error("it went on with a torn key")
	}
	if i := n.SwarmInfo(); i.State != "error" || i.Error == "" {
		t.Errorf("then it is %+v", i)
	}
}
