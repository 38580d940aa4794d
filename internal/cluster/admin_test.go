package cluster

import (
	"testing"

	"weft/internal/cnm"
)

// TestChangesAreSeen: a manager that does not lead shows what it has had changed, at
// once: a key read from its copy just before the change came there would be the old
// one, which opens nothing.
func TestChangesAreSeen(t *testing.T) {
	hosts := testCluster(t, 0)
	second := joinTest(t, hosts[0], 2, true)
	t.Cleanup(func() { second.Close() })
	eventually(t, "the second has a copy", func() bool { s, err := second.Swarm(); return err == nil && s.ID == hosts[0].View().Cluster })
	s, err := second.Swarm()
	if err != nil {
		t.Fatal(err)
	}
	spec := s.Spec
	spec.AutoLock = true
	keys, tokens := map[string]bool{}, map[string]bool{s.WorkerToken: true}
	for i := range 20 {
		if err := second.UpdateSwarm(t.Context(), 0, spec, cnm.SwarmRotate{UnlockKey: true, WorkerToken: true}); err != nil {
			t.Fatal(err)
		}
		key, err := second.UnlockKey()
		if err != nil || key == "" || keys[key] {
			t.Fatalf("turn %d: key %q as before, %v", i, key, err)
		}
		s, err := second.Swarm()
		if err != nil || tokens[s.WorkerToken] {
			t.Fatalf("turn %d: token %q as before, %v", i, s.WorkerToken, err)
		}
		keys[key], tokens[s.WorkerToken] = true, true
	}
	spec = cnm.SwarmSpec{}
	if err := second.UpdateSwarm(t.Context(), 0, spec, cnm.SwarmRotate{}); err != nil {
		t.Fatal(err)
	}
	if key, err := second.UnlockKey(); key != "" || err != nil {
		t.Errorf("no longer locked: key %q, %v", key, err)
	}
}
