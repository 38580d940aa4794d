//go:build linux

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/nettest"
)

// TestSwarmEndToEnd is what an administrator does with two daemons of their own: a
// swarm is made, backed up, lost and restored; a locked manager is unlocked at a
// terminal.
func TestSwarmEndToEnd(t *testing.T) {
	buildBinary(t)
	nettest.Unprivileged(t, func(t *testing.T) {
		one, two := newMember(t, "51"), newMember(t, "52")
		one.must(t, "swarm", "init")
		token := one.must(t, "swarm", "join-token", "-q", "worker")
		two.must(t, "swarm", "join", "--token", token, "127.0.0.51:"+memberControl)
		one.must(t, "network", "create", "-d", "overlay", "front")
		for _, row := range []string{"node51:true:Ready:voter", "node52:false:Ready:worker"} {
			eventually(t, row, func() bool {
				return strings.Contains(one.must(t, "node", "ls", "--format", "{{.Hostname}}:{{.Self}}:{{.TLSStatus}}:{{.Role}}"), row)
			})
		}
		if got := one.must(t, "swarm", "ca", "--rotate"); got != one.must(t, "swarm", "ca") || !strings.HasPrefix(got, "-----BEGIN CERTIFICATE-----") {
			t.Errorf("the new root: %q", got)
		}
		// The root is another one now: so is what a token names.
		if again := one.must(t, "swarm", "join-token", "-q", "worker"); again == token {
			t.Error("a new root has the old token")
		}

		file := filepath.Join(t.TempDir(), "backup")
		one.must(t, "swarm", "backup", "-o", file)
		two.fails(t, 1, "not a swarm manager", "swarm", "backup")
		two.fails(t, 1, "already part of a swarm", "swarm", "restore", file)
		before := one.must(t, "info", "-f", "{{.Swarm.NodeID}} {{.Swarm.Cluster.ID}}")
		one.end(t)
		if err := os.RemoveAll(filepath.Join(one.data, "swarm")); err != nil {
			t.Fatal(err)
		}
		one.begin(t)
		one.fails(t, 1, "file: the backup cannot be used: it is no backup of a swarm", "swarm", "restore", one.foreign(t))
		one.must(t, "swarm", "restore", file)
		if after := one.must(t, "info", "-f", "{{.Swarm.NodeID}} {{.Swarm.Cluster.ID}}"); after != before {
			t.Errorf("restored as %q, it was %q", after, before)
		}
		if got := one.must(t, "network", "ls", "-q", "-f", "name=front"); got == "" {
			t.Error("the network is lost")
		}
		eventually(t, "the worker is there again", func() bool {
			return one.must(t, "node", "ls", "-f", "name=node52", "--format", "{{.Status}}") == "Ready"
		})

		one.must(t, "swarm", "update", "--autolock")
		key := one.must(t, "swarm", "unlock-key", "-q")
		sealed := func() bool {
			b, err := os.ReadFile(filepath.Join(one.data, "swarm", "raft", "cluster.key"))
			return err == nil && strings.Contains(string(b), `"Sealed"`)
		}
		eventually(t, "the store's key is sealed", sealed)
		one.end(t)
		one.begin(t)
		y := sit(t, one.command("swarm", "unlock"))
		hidden := func() bool { return y.echo(t) == 0 } // not with the prompt, but then
		y.sees("Enter unlock key: ")
		eventually(t, "what is typed is hidden", hidden)
		y.types("", "SWMKEY-1-half of")
		time.Sleep(50 * time.Millisecond)
		y.types("", "\x03")
		if code := y.leaves(); code != exitInterrupted || strings.Contains(y.seen.String(), "half of") {
			t.Errorf("interrupted: exit code %d, the screen shows %q", code, y.seen.String())
		}
		if flags := y.echo(t); flags == 0 {
			t.Error("interrupted, it left a terminal that shows nothing")
		}
		y = sit(t, one.command("swarm", "unlock"))
		y.sees("Enter unlock key: ")
		eventually(t, "what is typed is hidden", hidden)
		y.types("", key+"\r")
		if code := y.leaves(); code != 0 || strings.Contains(y.seen.String(), "SWMKEY") {
			t.Errorf("exit code %d, the screen shows %q", code, y.seen.String())
		}
		one.must(t, "node", "ls")

		y = sit(t, one.command("swarm", "backup"))
		y.sees("a backup is not for a terminal")
		if code := y.leaves(); code != exitUsage {
			t.Errorf("a backup on a terminal: exit code %d", code)
		}
	})
}

// Ports of the daemons of this test, each on a loopback address of its own.
const (
	memberControl  = "26377"
	memberGossip   = "26946"
	memberDataPath = "26789"
)

// A member is a daemon at 127.0.0.N, and commands for it.
type member struct {
	*trial
	last, data string
	daemon     *exec.Cmd
}

func newMember(t *testing.T, last string) *member {
	t.Helper()
	dir := t.TempDir()
	m := &member{&trial{bin: os.Getenv(binaryEnv), env: append(os.Environ(), "WEFT_HOST=unix://"+dir+"/s")}, last, filepath.Join(dir, "data"), nil}
	m.begin(t)
	t.Cleanup(func() { m.end(t) })
	return m
}

func (m *member) begin(t *testing.T) {
	t.Helper()
	at := "127.0.0." + m.last
	m.daemon = m.command("daemon", "--data-dir", m.data, "--node-name", "node"+m.last, "--advertise-addr", at, "--data-path-addr", at,
		"--control-port", memberControl, "--gossip-port", memberGossip, "--data-path-port", memberDataPath)
	var log lockedBuffer
	m.daemon.Stderr = &log
	if err := m.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	eventually(t, "the daemon answers", func() bool { return m.try(t, "ps").code == 0 })
}

func (m *member) end(t *testing.T) {
	t.Helper()
	if err := m.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { m.daemon.Process.Kill() })
	defer timer.Stop()
	if err := m.daemon.Wait(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
}

// foreign makes a file that is no backup.
func (m *member) foreign(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(strings.Repeat("a novel\n", 1<<17)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
