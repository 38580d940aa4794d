//go:build soak

package node

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weft/internal/cnm"
)

// What takes minutes: `make soak`. As root everything is done by an ordinary user.

// asUser runs this test again as an ordinary user when it is run by root, and
// reports whether it did.
func asUser(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return false
	}
	u, err := user.Lookup("wefttest")
	if err != nil {
		t.Fatalf("%v: internal/nettest/setup.sh makes it", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	dir, err := os.MkdirTemp("", "weft-soak-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	exe, helper := filepath.Join(dir, "node.test"), filepath.Join(dir, "helper")
	if err := errors.Join(copyFile("/proc/self/exe", exe), copyFile(os.Getenv(helperEnv), helper), os.Chown(dir, uid, uid)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.v", "-test.run", "^"+t.Name()+"$")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + dir, helperEnv + "=" + helper, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	out, err := cmd.CombinedOutput()
	t.Logf("as user %d:\n%s", uid, out)
	if err != nil {
		t.Error(err)
	}
	return true
}

// Many sandboxes on one network: each reaches any other, none costs much, and
// when they are removed nothing is left.
func TestSoakManyPorts(t *testing.T) {
	if asUser(t) {
		return
	}
	count := 1000
	if raceEnabled {
		count = 200
	}
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.70.0.0/16")})
	mustRun(t, n, cnm.SandboxSpec{Name: "first", Cmd: []string{"/bin/sleep", "3600"}, Networks: on("front")})
	before, begun := memory(t), time.Now()
	inParallel(count, func(i int) {
		id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: fmt.Sprintf("box%d", i), Cmd: []string{"/bin/sleep", "3600"}, Networks: on("front")})
		if err == nil {
			err = n.SandboxStart(t.Context(), id)
		}
		if err != nil {
			t.Errorf("box%d: %v", i, err)
		}
	})
	took, after := time.Since(begun), memory(t)
	t.Logf("%d sandboxes in %s (%s each); %d KiB each in the daemon, %d KiB in all", count, took.Round(time.Millisecond), (took / time.Duration(count)).Round(time.Microsecond), (after-before)/count, after)
	if per := (after - before) / count; per > 1024 && !raceEnabled {
		t.Errorf("%d KiB for each further sandbox, 1024 allowed", per)
	}
	if got := n.Info().Ports; got != count+2 { // the first sandbox's, and the exit
		t.Fatalf("%d ports, want %d", got, count+2)
	}
	pings, failed := 200, 0
	for range pings {
		from, to := fmt.Sprintf("box%d", rand.IntN(count)), fmt.Sprintf("box%d", rand.IntN(count))
		if out, code := execute(t, n, from, "ping", addr4(mustFind(t, n, to), "front").String()); code != 0 {
			t.Errorf("%s to %s: %s", from, to, out)
			failed++
		}
	}
	t.Logf("%d of %d pings between random pairs answered; %d KiB", pings-failed, pings, memory(t))
	begun = time.Now()
	inParallel(count, func(i int) {
		if err := n.SandboxRemove(t.Context(), fmt.Sprintf("box%d", i), true); err != nil {
			t.Error(err)
		}
	})
	t.Logf("removed in %s; %d KiB", time.Since(begun).Round(time.Millisecond), memory(t))
	consistent(t, n)
	if got := n.Info(); got.Ports != 2 || got.Sandboxes != 1 {
		t.Errorf("left: %+v", got)
	}
}

func inParallel(count int, f func(int)) {
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < count; i += 8 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// consistent checks that addresses, ports, interfaces, runtime directories and
// endpoints tell the same.
func consistent(t *testing.T, n *Node) {
	t.Helper()
	endpoints, running := 0, 0
	for _, nw := range n.Networks() {
		endpoints += len(nw.Endpoints)
		for _, s := range nw.Subnets {
			if s.InUse != uint64(3+len(nw.Endpoints)) {
				t.Errorf("network %s: %d addresses in use, %d endpoints", nw.Name, s.InUse, len(nw.Endpoints))
			}
		}
	}
	if got := n.Info().Ports - exitCount(n); got != endpoints {
		t.Errorf("%d ports, %d endpoints", got, endpoints)
	}
	for _, sb := range n.Sandboxes() {
		if sb.State != cnm.Running {
			if len(sb.Endpoints) != 0 {
				t.Errorf("%s is %s with %+v", sb.Spec.Name, sb.State, sb.Endpoints)
			}
			continue
		}
		running++
		if sb.Spec.Name == "first" {
			if out, _ := execute(t, n, sb.ID, "links"); strings.Count(out, "eth") != len(sb.Endpoints) {
				t.Errorf("%s: %+v, inside:\n%s", sb.Spec.Name, sb.Endpoints, out)
			}
		}
	}
	if dirs, _ := os.ReadDir(n.boxRoot()); len(dirs) != running {
		t.Errorf("%d runtime directories, %d sandboxes run", len(dirs), running)
	}
}

// transferred checks that what tulip sent for as long as the test went on is what
// rose received.
func transferred(t *testing.T, n *Node) {
	t.Helper()
	for _, name := range []string{"rose", "tulip"} {
		if code, err := n.SandboxWait(t.Context(), name, false); err != nil || code != 0 {
			t.Errorf("%s ended with %d, %v", name, code, err)
		}
	}
	sent, received := logText(t, n, "tulip"), logText(t, n, "rose")
	if sent != received || !strings.Contains(sent, "bytes") {
		t.Errorf("sent %q, received %q", sent, received)
	}
	t.Logf("transferred: %s", strings.TrimSpace(received))
}

func logText(t *testing.T, n *Node, name string) string {
	t.Helper()
	r, err := n.SandboxLogs(t.Context(), name, LogOptions{Tail: -1, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	for {
		l, err := r.Next()
		if err != nil {
			return b.String()
		}
		b.Write(l.Text)
	}
}

// garden makes what churn changes and a transfer that takes as long.
func garden(t *testing.T, n *Node, seconds int) {
	t.Helper()
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.20.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "back", IPAM: pool("10.66.21.0/24")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("receive", ":7000"), Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Cmd: program("send", addr4(rose, "front").String()+":7000", strconv.Itoa(seconds)), Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "aster", Cmd: []string{"/bin/sleep", "3600"}, Networks: on("front")})
	if _, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "box", Cmd: []string{"/bin/sleep", "3600"}, Networks: on("front", "back")}); err != nil {
		t.Fatal(err)
	}
}

// Sandboxes come and go and change networks while others transfer.
func TestSoakChurn(t *testing.T) {
	if asUser(t) {
		return
	}
	n := openNode(t, testConfig(t))
	garden(t, n, 120)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { churn(t.Context(), n, stop) })
	}
	transferred(t, n)
	close(stop)
	wg.Wait()
	consistent(t, n)
}

// The daemon is killed again and again, in the middle of whatever it does, while
// two sandboxes transfer.
func TestSoakKilledDaemon(t *testing.T) {
	if asUser(t) {
		return
	}
	c := testConfig(t)
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	garden(t, n, 90)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	kills := 0
	for begun := time.Now(); time.Since(begun) < 85*time.Second; kills++ {
		cmd := startDaemon(t, c, "churn")
		time.Sleep(time.Duration(200+rand.IntN(1000)) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
	}
	n = openNode(t, c)
	t.Logf("killed %d times", kills)
	if sb := mustFind(t, n, "aster"); sb.State != cnm.Running {
		t.Errorf("aster: %+v", sb)
	}
	transferred(t, n)
	consistent(t, n)
}

// An agent that does not answer a new daemon is given up, and ended by the next.
func TestSoakStuckAgent(t *testing.T) {
	c := testConfig(t)
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	sb := mustRun(t, n, cnm.SandboxSpec{Name: "stuck"})
	n.Close()
	syscall.Kill(sb.PID, syscall.SIGSTOP)
	if n, err = Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if now := mustFind(t, n, "stuck"); now.State != cnm.Exited || now.Error == "" || len(now.Endpoints) != 0 {
		t.Errorf("not given up: %+v", now)
	}
	if err := n.SandboxStart(t.Context(), "stuck"); err == nil || !strings.Contains(err.Error(), "an agent is running") {
		t.Errorf("started beside it: %v", err)
	}
	n.Close()
	syscall.Kill(sb.PID, syscall.SIGCONT)
	n = openNode(t, c)
	for range 200 {
		if syscall.Kill(sb.PID, 0) != nil {
			consistent(t, n)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the agent still runs")
}
