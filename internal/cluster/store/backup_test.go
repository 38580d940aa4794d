package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/cnm"
)

// threeManagers returns a backup of a swarm of three managers with an endpoint, and
// the version that the swarm went on to.
func threeManagers(t *testing.T, more ...Command) (backup []byte, later uint64) {
	t.Helper()
	var b bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Tuning{})
		f.grow("n2", "n3")
		f.must(overlay(1, "a"))
		f.must(alloc(1, 1))
		for _, c := range more {
			f.must(c)
		}
		_, s := f.leader()
		if err := s.Backup(&b); err != nil {
			t.Fatal(err)
		}
		later = f.must(alloc(2, 1)).Version
	})
	return b.Bytes(), later
}

// A backup is restored by a node that was in the swarm or was not: all is there, it
// manages alone, what the swarm goes on with is newer than anything there was, and
// other managers can come.
func TestRestore(t *testing.T) {
	backup, later := threeManagers(t)
	for _, name := range []string{"n2", "n4"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, Tuning{})
			state, err := ReadBackup(bytes.NewReader(backup))
			if err != nil {
				t.Fatal(err)
			}
			self := manager(name)
			self.Now = time.Now()
			made, err := Restore(f.config(name), state, self)
			if err != nil {
				t.Fatal(err)
			}
			s := f.start(name)
			f.leader()
			if got := s.State(); got.Version != made.Version || got.Version <= later || got.Version < uint64(self.Now.UnixMicro()) || got.Cluster.ID != state.Cluster.ID || got.Networks.Len() != 1 {
				t.Fatalf("%s has version %d of %d, cluster %q", name, got.Version, made.Version, got.Cluster.ID)
			}
			for id, n := range s.State().Nodes.All() {
				if (id == name) != (n.Spec.Role == cnm.Manager) || (id == name) != n.Control.IsValid() {
					t.Errorf("%s is a %s at %s", id, n.Spec.Role, n.Control)
				}
			}
			if r := f.must(alloc(3, 1)); addresses(*r.Endpoint) != "10.0.1.3/24" || r.Version <= made.Version {
				t.Fatalf("gave %s at version %d", addresses(*r.Endpoint), r.Version)
			}
			f.kill(name)
			f.start(name)
			f.start("n5")
			f.must(manager("n5"))
			f.reconcile()
			f.agree(f.must(alloc(4, 1)).Version)
		})
	}
}

// The store of a locked swarm is sealed from the first moment on.
func TestRestoreLocked(t *testing.T) {
	key := NewUnlockKey()
	backup, _ := threeManagers(t, SetSpec{Spec: cnm.SwarmSpec{AutoLock: true}, UnlockKey: key, Now: t0})
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Tuning{})
		state, err := ReadBackup(bytes.NewReader(backup))
		if err == nil {
			state, err = Restore(f.config("n1"), state, manager("n1"))
		}
		if err != nil || state.Cluster.UnlockKey != key {
			t.Fatal(err)
		}
		cfg := f.config("n1")
		if _, err := Open(cfg); !errors.Is(err, ErrLocked) {
			t.Fatalf("without the key: %v", err)
		}
		cfg.UnlockKey, cfg.Stream = key, f.listen(cfg.Addr)
		s, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		time.Sleep(time.Second)
	})
}

// What is no whole backup of a swarm is told by what is wrong with it.
func TestReadBackup(t *testing.T) {
	whole, _ := threeManagers(t)
	var empty bytes.Buffer
	if err := (&State{}).write(&empty); err != nil {
		t.Fatal(err)
	}
	changed := func(old, new string) []byte {
		if !bytes.Contains(whole, []byte(old)) {
			t.Fatalf("the backup has no %s", old)
		}
		return bytes.Replace(whole, []byte(old), []byte(new), 1)
	}
	of := func(change func(*State)) []byte {
		s, err := ReadBackup(bytes.NewReader(whole))
		if err != nil {
			t.Fatal(err)
		}
		change(s)
		var b bytes.Buffer
		if err := s.write(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, c := range []struct {
		name string
		doc  []byte
		part string
	}{
		{"nothing", nil, "it is empty"},
		{"another file", []byte("PNG and more, which is long enough"), "it is no backup of a swarm"},
		{"other JSON", []byte(`{"Head":{"Format":"a novel, in JSON","Version":1}}` + "\n"), "it is no backup of a swarm"},
		{"torn in its head", whole[:20], "it ends after 0 records"},
		{"torn", whole[:len(whole)-9], "torn or damaged: it ends after"},
		{"one record is missing", append(bytes.Clone(whole[:bytes.IndexByte(whole, '\n')+1]), whole[len(whole)/2:]...), "torn or damaged"},
		{"changed", changed("10.0.1.", "10.0.7."), "with checksum"},
		{"of another version", changed(`"Version":1`, `"Version":7`), "version 7 of the format found, 1 expected"},
		{"longer", append(bytes.Clone(whole), 'x'), "behind the last record"},
		{"of no swarm", empty.Bytes(), "there is no swarm in it"},
		{"without the root's key", of(func(s *State) { s.Cluster.Roots = []Root{{Certificate: []byte("x")}} }), "key of the root certificate is missing"},
		{"without a key of the gossip", of(func(s *State) { s.Cluster.GossipKeys = nil }), "0 gossip keys found"},
		{"an endpoint of no network", of(func(s *State) { s.Networks = Table[Network]{} }), "lies in no subnet"},
	} {
		if _, err := ReadBackup(bytes.NewReader(c.doc)); !errors.Is(err, cnm.Invalid) || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: %v, expected %q", c.name, err, c.part)
		}
	}
}

// A store is made only where there is none that could be lost.
func TestRestoreRefused(t *testing.T) {
	backup, _ := threeManagers(t)
	state, err := ReadBackup(bytes.NewReader(backup))
	if err != nil {
		t.Fatal(err)
	}
	cfg := newFleet(t, Tuning{}).config("n1")
	self := manager("n1")
	self.Hostname = ""
	if _, err := Restore(cfg, state, self); !errors.Is(err, cnm.Invalid) {
		t.Errorf("a node without a name: %v", err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused restore left %v", err)
	}
	if _, err := Restore(cfg, state, manager("n1")); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(cfg, state, manager("n1")); !errors.Is(err, cnm.Conflict) {
		t.Errorf("over a store: %v", err)
	}
}
