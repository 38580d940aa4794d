//go:build linux

package cli

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
)

func TestSwarmInit(t *testing.T) {
	m := stranger(t)
	for _, c := range []struct {
		args, word string
		code       int
	}{
		{"init --availability often", `"often" for "--availability" flag: expected active, pause or drain`, 2},
		{"init --default-addr-pool ten", "expected a prefix", 2},
		{"init --advertise-addr 192.0.2.1", "the advertised address 192.0.2.1 is not this daemon's: start it with --advertise-addr 192.0.2.1", 1},
		{"init --listen-addr 0.0.0.0:2400", "the listen address 0.0.0.0:2400 is not this daemon's: start it with --control-port 2400", 1},
		{"init --data-path-addr 192.0.2.1", "start it with --data-path-addr 192.0.2.1", 1},
		{"init --data-path-port 4790", "data path port 4790 is not this daemon's, which has 4789: start it with --data-path-port 4790", 1},
		{"init --force-new-cluster --cert-expiry 2h", "so that --cert-expiry cannot be given", 2},
		{"init --force-new-cluster --default-addr-pool 10.0.0.0/8", "so that --default-addr-pool cannot be given", 2},
		{"init one", "takes no arguments", 2},
		{"join 192.0.2.1", "--token is missing", 2},
		{"join --token t", "at least 1 argument", 2},
		{"join --token t --availability x 192.0.2.1", "expected active, pause or drain", 2},
		{"join --token t --advertise-addr 192.0.2.9 192.0.2.1", "start it with --advertise-addr 192.0.2.9", 1},
		{"join --token t --listen-addr lo:9 192.0.2.1", "start it with --control-port 9", 1},
		{"join --token t --data-path-addr nosuch0 192.0.2.1", "the data path address nosuch0 is not this daemon's", 1},
	} {
		m.fails(t, c.code, c.word, append([]string{"swarm"}, strings.Fields(c.args)...)...)
	}
	if i := m.SwarmInfo(); i.State != "inactive" {
		t.Fatalf("refused requests made it %+v", i)
	}
	code, out, errs := m.weft(t, strings.Fields("swarm init --advertise-addr 127.0.0.1:2377 --listen-addr 0.0.0.0:2377 --data-path-addr lo --data-path-port 4789 "+
		"--availability drain --autolock --cert-expiry 48h --default-addr-pool 10.8.0.0/16,10.9.0.0/16 --default-addr-pool-mask-length 26 "+
		"--task-history-limit 3 --dispatcher-heartbeat 7s --snapshot-interval 5 --max-snapshots 1")...)
	for _, part := range []string{
		"Swarm initialized: current node (" + oneID + ") is now a manager.\n", "    weft swarm join --token SWMTKN-worker 127.0.0.1:2377\n", "    SWMKEY-1-first\n",
	} {
		if code != 0 || !strings.Contains(out, part) {
			t.Errorf("exit code %d, %s, expected %q", code, out, part)
		}
	}
	for _, idle := range []string{"--task-history-limit", "--dispatcher-heartbeat", "--snapshot-interval", "--max-snapshots"} {
		if !strings.Contains(errs, "weft: "+idle+" has no effect: ") {
			t.Errorf("nothing is said of %s: %q", idle, errs)
		}
	}
	m.with(func() {
		i := m.inited
		pools := []netip.Prefix{netip.MustParsePrefix("10.8.0.0/16"), netip.MustParsePrefix("10.9.0.0/16")}
		if i.Availability != cnm.Drain || !i.Spec.AutoLock || i.Spec.CertExpiry != 48*time.Hour || i.SubnetSize != 26 || !slices.Equal(i.Pools, pools) {
			t.Errorf("asked for %+v", i)
		}
	})
	m.fails(t, 1, "already part of a swarm", "swarm", "init")
	m.fails(t, 1, "by --force", "swarm", "leave")
	if out := m.must(t, "swarm", "leave", "--force"); out != "Node left the swarm.\n" {
		t.Errorf("leave prints %q", out)
	}
	if out := m.must(t, "swarm", "join", "--token", "a-manager", "--availability", "pause", "192.0.2.1", "[2001:db8::1]:77"); out != "This node joined a swarm as a manager.\n" {
		t.Errorf("join prints %q", out)
	}
	m.with(func() {
		j := m.joined
		if len(j.Remotes) != 2 || j.Remotes[0].String() != "192.0.2.1:2377" || j.Remotes[1].String() != "[2001:db8::1]:77" || j.Availability != cnm.Pause {
			t.Errorf("joined %+v", j)
		}
	})
}

// A manager that goes on alone says what has become of the others.
func TestForceNewCluster(t *testing.T) {
	m := leads(t)
	out := m.must(t, "swarm", "init", "--force-new-cluster")
	for _, part := range []string{"(" + oneID + ") is now its only manager.\n", "2 other nodes are known, as workers. ", "weft node rm --force NODE", "'weft swarm join-token manager'"} {
		if !strings.Contains(out, part) || !m.inited.ForceNewCluster {
			t.Errorf("prints %s, expected %q", out, part)
		}
	}
}

func TestSwarmUpdate(t *testing.T) {
	m := leads(t)
	for _, c := range []struct {
		args, word string
		code       int
	}{
		{"swarm update", "nothing to change was named", 2},
		{"swarm update --key-rotation 0s", "expected a time between two rotations", 2},
		{"swarm update --cert-expiry soon", "expected a number with its unit", 2},
		{"swarm update x", "takes no arguments", 2},
		{"swarm join-token boss", `unknown role "boss": expected worker or manager`, 2},
		{"swarm join-token", "exactly 1 argument", 2},
		{"swarm unlock-key", "no unlock key is set", 1},
	} {
		m.fails(t, c.code, c.word, strings.Fields(c.args)...)
	}
	if out := m.must(t, "swarm", "update", "--cert-expiry", "2h", "--key-rotation", "5h"); out != "Swarm updated.\n" {
		t.Errorf("prints %q", out)
	}
	m.with(func() {
		if s := m.swarm.Spec; s.CertExpiry != 2*time.Hour || s.KeyRotation != 5*time.Hour || s.AutoLock {
			t.Errorf("updated to %+v", s)
		}
	})
	if out := m.must(t, "swarm", "update", "--autolock"); !strings.Contains(out, "    SWMKEY-1-later\n") {
		t.Errorf("prints %q", out)
	}
	for _, c := range []struct{ args, want string }{
		{"swarm join-token -q manager", "SWMTKN-manager\n"}, {"swarm join-token -q worker", "SWMTKN-worker\n"},
		{"swarm join-token --rotate -q worker", "SWMTKN-worker-anew\n"}, {"swarm unlock-key -q", "SWMKEY-1-later\n"}, {"swarm rotate-keys", "Keys rotated.\n"},
	} {
		if out := m.must(t, strings.Fields(c.args)...); out != c.want {
			t.Errorf("%s prints %q, expected %q", c.args, out, c.want)
		}
	}
	if out := m.must(t, "swarm", "join-token", "--rotate", "worker"); !strings.HasPrefix(out, "Successfully rotated worker join token.\n") ||
		!strings.Contains(out, "weft swarm join --token SWMTKN-worker-anew-anew 127.0.0.1:2377\n") {
		t.Errorf("prints %q", out)
	}
}

// A new root is waited for, node by node.
func TestSwarmCA(t *testing.T) {
	m := leads(t)
	var before string
	m.with(func() { before = string(m.swarm.RootPEM) })
	if out := m.must(t, "swarm", "ca"); out != before {
		t.Errorf("prints %q", out)
	}
	for _, flags := range []string{"--detach", "-q", "--cert-expiry 2h"} {
		m.fails(t, 2, "need --rotate", append([]string{"swarm", "ca"}, strings.Fields(flags)...)...)
	}
	if out := m.must(t, "swarm", "ca", "--rotate", "--detach", "--cert-expiry", "3h"); out != "" || m.swarm.Spec.CertExpiry != 3*time.Hour || !m.rotated[0].Root {
		t.Errorf("prints %q, %+v", out, m.swarm.Spec)
	}
	fresh := string(root(t))
	for _, quiet := range []bool{false, true} {
		type end struct {
			code      int
			out, errs string
		}
		ended := make(chan end, 1)
		go func() {
			args := []string{"swarm", "ca", "--rotate"}
			if quiet {
				args = append(args, "-q")
			}
			code, out, errs := m.weft(t, args...)
			ended <- end{code, out, errs}
		}()
		steps := []func(){
			func() {}, // the manager that is asked has yet to hear of it
			func() {
				m.swarm.OldRootPEM, m.swarm.RootPEM, m.swarm.RootRotation = m.swarm.RootPEM, []byte(fresh), true
				m.nodes[0].OldRoot, m.nodes[1].OldRoot, m.nodes[2].OldRoot = true, true, true
			},
			func() { m.nodes[0].OldRoot, m.nodes[2].OldRoot = false, false },
			func() { m.nodes[1].OldRoot = false },
			func() { m.swarm.OldRootPEM, m.swarm.RootRotation = nil, false },
		}
		for i, step := range steps {
			select {
			case e := <-ended:
				t.Fatalf("before step %d: %+v", i, e)
			case <-time.After(2 * rotationPoll):
			}
			m.with(step)
		}
		e := <-ended
		if quiet {
			if e != (end{}) {
				t.Errorf("quietly: %+v", e)
			}
			return
		}
		want := "rotated TLS certificates: 0/3 nodes, waiting for one (ready), two (down), three (ready)\n" +
			"rotated TLS certificates: 2/3 nodes, waiting for two (down)\n" +
			"rotated TLS certificates: 3/3 nodes, waiting for the old root to end\n" +
			"rotated TLS certificates: 3/3 nodes\n"
		if e.code != 0 || e.out != fresh || e.errs != want {
			t.Errorf("exit code %d, %s%s", e.code, e.out, e.errs)
		}
		fresh = string(root(t))
	}
}

// From a pipe a key is read as a line, and nothing is asked.
func TestSwarmUnlock(t *testing.T) {
	unlock := func(m *manager, in string) (int, string, string) {
		var out, errs bytes.Buffer
		code := Main([]string{"-H", m.sock, "swarm", "unlock"}, strings.NewReader(in), &out, &errs)
		return code, out.String(), errs.String()
	}
	m := leads(t)
	if code, _, errs := unlock(m, ""); code != 1 || !strings.Contains(errs, "swarm is not locked") {
		t.Errorf("not locked: exit code %d, %q", code, errs)
	}
	if code, _, errs := unlock(stranger(t), ""); code != 1 || !strings.Contains(errs, "not part of a swarm") {
		t.Errorf("a stranger: exit code %d, %q", code, errs)
	}
	for _, c := range []struct {
		name, in, typed, word string
		code                  int
	}{
		{"nothing", "", "", "no unlock key was given", 1},
		{"an empty line", "\n", "", "no unlock key was given", 1},
		{"another", "SWMKEY-1-x\n", "SWMKEY-1-x", "invalid key provided", 1},
		{"spaces around it", "  SWMKEY-1-k \nmore\n", "SWMKEY-1-k", "", 0},
		{"no end of the line", "SWMKEY-1-k", "SWMKEY-1-k", "", 0},
	} {
		m.with(func() { m.info.State, m.info.Manager, m.key, m.typed = "locked", false, "SWMKEY-1-k", "" })
		code, out, errs := unlock(m, c.in)
		if code != c.code || out != "" || !strings.Contains(errs, c.word) || m.typed != c.typed {
			t.Errorf("%s: exit code %d, %q, %q, typed %q", c.name, code, out, errs, m.typed)
		}
	}
}

func TestSwarmBackup(t *testing.T) {
	m := leads(t)
	file := filepath.Join(t.TempDir(), "swarm.backup")
	if err := os.WriteFile(file, []byte("an old one, and longer than the new"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, errs := m.weft(t, "swarm", "backup", "-o", file)
	if code != 0 || out != "" || !strings.Contains(errs, "Keep it safe.") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	b, err := os.ReadFile(file)
	if err != nil || string(b) != m.backup {
		t.Errorf("wrote %q, %v", b, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if out := m.must(t, "swarm", "backup"); out != m.backup {
		t.Errorf("to stdout: %q", out)
	}
	m.fails(t, 1, "is no file", "swarm", "backup", "-o", filepath.Dir(file))
	m.fails(t, 1, "no such file or directory", "swarm", "backup", "-o", filepath.Join(file+".d", "x"))
	m.fails(t, 2, "takes no arguments", "swarm", "backup", file)
	m.fails(t, 1, "already part of a swarm", "swarm", "restore", file)

	s := stranger(t)
	s.fails(t, 1, "not a swarm manager", "swarm", "backup", "-o", file)
	if b, err := os.ReadFile(file); err != nil || string(b) != m.backup {
		t.Errorf("a refused backup left %q, %v", b, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	foreign := filepath.Join(t.TempDir(), "film")
	if err := os.WriteFile(foreign, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s.fails(t, 1, foreign+": the backup cannot be used", "swarm", "restore", foreign)
	s.fails(t, 1, "no such file", "swarm", "restore", foreign+"s")
	s.fails(t, 1, "is a directory", "swarm", "restore", filepath.Dir(foreign))
	s.fails(t, 2, "exactly 1 argument", "swarm", "restore")
	if i := s.SwarmInfo(); i.State != "inactive" {
		t.Fatalf("refused backups made it %+v", i)
	}
	out = s.must(t, "swarm", "restore", file)
	if !strings.Contains(out, "Swarm restored: current node ("+oneID+") is now its only manager.\n\n1 other node is known, as a worker.") || strings.Contains(out, "SWMKEY") {
		t.Errorf("prints %s", out)
	}
	s = stranger(t)
	s.swarm.Spec.AutoLock, s.key = true, "SWMKEY-1-old"
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"-H", s.sock, "swarm", "restore", "-"}, strings.NewReader(m.backup), &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), "    SWMKEY-1-old\n") {
		t.Errorf("from stdin, locked: exit code %d, %s%s", code, &stdout, &stderr)
	}
}
