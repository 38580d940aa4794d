package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/cnm"
)

// A damage is what a test does to a member's directory.
type damage struct {
	name string
	do   func(t *testing.T, dir string)
}

// cut leaves half of a file; of the store's, whose end may be unused, ten kilobytes.
func cut(name string) damage {
	return damage{"half of " + name, func(t *testing.T, dir string) {
		st, err := os.Stat(filepath.Join(dir, name))
		if err == nil {
			err = os.Truncate(filepath.Join(dir, name), min(st.Size()/2, 10_000))
		}
		if err != nil {
			t.Fatal(err)
		}
	}}
}

func put(what, name, text string) damage {
	return damage{what + " " + name, func(t *testing.T, dir string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}}
}

func lose(name string) damage {
	return damage{"no " + name, func(t *testing.T, dir string) {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}}
}

// from takes a file or directory of another member.
func from(other, name string) damage {
	return damage{"another's " + name, func(t *testing.T, dir string) {
		lose(name).do(t, dir)
		if err := copyTree(filepath.Join(other, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}}
}

func copyTree(src, dst string) error {
	st, err := os.Stat(src)
	if err != nil {
		return err
	}
	if st.IsDir() {
		return os.CopyFS(dst, os.DirFS(src))
	}
	b, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, b, 0o600)
}

// TestDamagedFiles: whatever is wrong with a member's directory, it either is the
// member it was, with all it had, or an error names the file and what to do.
func TestDamagedFiles(t *testing.T) {
	hosts := testCluster(t, 1)
	foreign := testCluster(t, 1)
	nw := overlayNet(t, hosts[0].Member, "front")
	eventually(t, "the worker knows the network", func() bool { return hosts[1].View().network(nw.ID) != nil })
	for _, h := range append(hosts, foreign...) {
		h.Close()
	}
	for _, tt := range []struct {
		host *host
		damage
		want string // of the error; "": it recovers
	}{
		{hosts[0], cut("identity.pem"), "identity.pem cannot be used"},
		{hosts[0], put("garbage for", "identity.pem", "hello"), "identity.pem cannot be used"},
		{hosts[0], lose("identity.pem"), "identity.pem"},
		{hosts[0], from(foreign[0].cfg.Dir, "identity.pem"), "member.json is of node"},
		{hosts[0], cut("member.json"), ""},
		{hosts[0], lose("member.json"), ""},
		{hosts[0], put("empty", "member.json", ""), ""},
		{hosts[0], from(foreign[0].cfg.Dir, "member.json"), "member.json is of node"},
		{hosts[0], cut("view.json"), ""},
		{hosts[0], lose("view.json"), ""},
		{hosts[0], put("empty", "view.json", "{}"), ""},
		{hosts[0], from(foreign[0].cfg.Dir, "view.json"), ""},
		{hosts[0], cut("raft/cluster.db"), "cluster.db cannot be used"},
		{hosts[0], put("garbage for", "raft/cluster.db", strings.Repeat("hello", 9000)), "cluster.db cannot be used"},
		{hosts[0], from(foreign[0].cfg.Dir, "raft/cluster.db"), "sealed with another key"},
		{hosts[0], from(foreign[0].cfg.Dir, "raft"), "is of another swarm"},
		{hosts[0], cut("raft/cluster.key"), "cluster.key cannot be used"},
		{hosts[0], lose("raft/cluster.key"), "cluster.key is missing"},
		{hosts[1], cut("identity.pem"), "identity.pem cannot be used"},
		{hosts[1], from(foreign[1].cfg.Dir, "identity.pem"), "member.json is of node"},
		{hosts[1], lose("member.json"), ""},
		{hosts[1], cut("view.json"), "view.json is damaged"},
		{hosts[1], lose("view.json"), "view.json"},
		{hosts[1], from(foreign[1].cfg.Dir, "view.json"), "view.json is of swarm"},
	} {
		role := "worker, "
		if tt.host == hosts[0] {
			role = "manager, "
		}
		t.Run(role+tt.name, func(t *testing.T) {
			c := tt.host.cfg
			c.Dir = filepath.Join(t.TempDir(), "swarm")
			if err := os.CopyFS(c.Dir, os.DirFS(tt.host.cfg.Dir)); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(c.Dir, "identity.pem"), 0o600); err != nil {
				t.Fatal(err)
			}
			tt.do(t, c.Dir)
			m, err := Open(t.Context(), c)
			if err == nil {
				defer m.Close()
			}
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), c.Dir) ||
					!strings.Contains(err.Error(), "leave --force") && !strings.Contains(err.Error(), "put ") {
					t.Errorf("error %v, expected %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.ID() != tt.host.ID() || m.View().Cluster != tt.host.View().Cluster {
				t.Errorf("it is node %s of swarm %s", m.ID(), m.View().Cluster)
			}
			eventually(t, "it knows what it knew", func() bool { return m.View().network(nw.ID) != nil })
			if m.Manager() {
				eventually(t, "it leads", m.manager.leads)
			}
			if m.Manager() && !asksAgain(t, &host{m, c}, nw.ID) {
				t.Error("no address")
			}
			m.Close()
			if again, err := Open(t.Context(), c); err != nil {
				t.Errorf("opened once more: %v", err)
			} else {
				again.Close()
			}
		})
	}
	// Where nothing is, is no member; what is left of one is not overwritten.
	if _, err := Open(t.Context(), loopback(t, 7)); !errors.Is(err, ErrNone) {
		t.Errorf("an empty directory: %v", err)
	}
	left := loopback(t, 7)
	if err := os.CopyFS(left.Dir, os.DirFS(hosts[1].cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	lose("identity.pem").do(t, left.Dir)
	if _, err := Init(t.Context(), left, cnm.SwarmInit{}); !errors.Is(err, cnm.Conflict) {
		t.Errorf("a swarm is made over a membership: %v", err)
	}
}
