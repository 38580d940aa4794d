//go:build linux

package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/nettest"
)

// End to end: the built binary, a daemon of its own, real processes in real
// namespaces, as an ordinary user (a child process under one when the tests are
// run by root).

// binaryEnv hands the built binary's path to that child.
const binaryEnv = "WEFT_E2E_BINARY"

// patience bounds everything that is waited for.
const patience = 20 * time.Second

// buildBinary builds weft once, where every user may run it.
func buildBinary(t *testing.T) {
	t.Helper()
	if os.Getenv(binaryEnv) != "" {
		return
	}
	tmp := filepath.Join(t.TempDir(), "weft")
	c := exec.Command("go", "build", "-o", tmp, "weft/cmd/weft")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Setenv(binaryEnv, nettest.PublicCopy(t, tmp))
}

// A trial is one user's daemon and the commands given to it.
type trial struct {
	bin string
	env []string
}

// newTrial makes the surroundings of a user whose daemon is not yet running. At
// the end nothing of it is left, and the test fails if something is.
func newTrial(t *testing.T, dir string) *trial {
	t.Helper()
	e := &trial{bin: os.Getenv(binaryEnv), env: append(os.Environ(), "WEFT_HOST=")}
	if dir != "" { // root's own places are the host's: take others
		e.env = append(e.env, "WEFT_HOST=unix://"+dir+"/weft.sock")
	}
	t.Cleanup(func() {
		if ids := strings.Fields(e.try(t, "ps", "-aq").out); len(ids) > 0 {
			e.must(t, append([]string{"rm", "-f"}, ids...)...)
		}
		e.stopDaemon(t, syscall.SIGTERM)
	})
	return e
}

// A result is what one command came to.
type result struct {
	code     int
	out, err string
}

func (e *trial) command(args ...string) *exec.Cmd {
	c := exec.Command(e.bin, args...)
	c.Env = e.env
	return c
}

func finish(t *testing.T, c *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	c.WaitDelay = time.Second // for children that outlive it
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { c.Process.Kill() })
	_ = c.Wait() // the exit code says it
	if !timer.Stop() {
		t.Errorf("%v did not end within %v\n%s%s", c.Args, patience, &out, &errs)
	}
	return result{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

// try runs a command of weft, whatever its exit code.
func (e *trial) try(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, e.command(args...))
}

// must runs a command that has to succeed, and returns its output.
func (e *trial) must(t *testing.T, args ...string) string {
	t.Helper()
	r := e.try(t, args...)
	if r.code != 0 {
		t.Fatalf("weft %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return strings.TrimSpace(r.out)
}

// fails runs a command that has to fail with a code and a word on stderr.
func (e *trial) fails(t *testing.T, code int, word string, args ...string) {
	t.Helper()
	if r := e.try(t, args...); r.code != code || !strings.Contains(r.err, word) {
		t.Errorf("weft %s: exit code %d, expected %d; stderr %q, expected %q", strings.Join(args, " "), r.code, code, r.err, word)
	}
}

// pings fails unless a sandbox reaches an address.
func (e *trial) pings(t *testing.T, from, to string) {
	t.Helper()
	if r := e.try(t, "exec", from, e.bin, "tool", "ping", "-c", "2", "-i", "50ms", "-W", "1s", to); r.code != 0 {
		t.Errorf("%s does not reach %s: %s%s", from, to, r.out, r.err)
	}
}

// silent fails if a sandbox reaches an address.
func (e *trial) silent(t *testing.T, from, to string) {
	t.Helper()
	if r := e.try(t, "exec", from, e.bin, "tool", "ping", "-c", "1", "-W", "300ms", to); r.code == 0 {
		t.Errorf("%s reaches %s: %s", from, to, r.out)
	}
}

func (e *trial) address(t *testing.T, sandbox, network string) string {
	t.Helper()
	a := e.must(t, "inspect", "-f", "{{(index .NetworkSettings.Networks \""+network+"\").IPAddress}}", sandbox)
	if a == "" || strings.Contains(a, "invalid") {
		t.Fatalf("%s has no address on %s: %q", sandbox, network, a)
	}
	return a
}

// links are a sandbox's interfaces by name.
func (e *trial) links(t *testing.T, sandbox string) string {
	t.Helper()
	return e.must(t, "exec", sandbox, "ls", "/sys/class/net")
}

func (e *trial) daemonPID(t *testing.T) int {
	t.Helper()
	for line := range strings.Lines(e.must(t, "info")) {
		if pid, ok := strings.CutPrefix(strings.TrimSpace(line), "PID: "); ok {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("weft info does not tell the daemon's PID")
	return 0
}

// stopDaemon sends the daemon a signal and waits until it is gone.
func (e *trial) stopDaemon(t *testing.T, sig syscall.Signal) {
	t.Helper()
	pid := e.daemonPID(t)
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon ends", func() bool { return gone(pid) })
}

// gone reports whether a process has ended; a zombie has when it was the last of
// its threads.
func gone(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return true
	}
	threads, _ := os.ReadDir(dir + "/task")
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z") && len(threads) <= 1
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestEndToEnd(t *testing.T) {
	buildBinary(t)
	nettest.Unprivileged(t, func(t *testing.T) {
		e := newTrial(t, "")
		// The order matters for the first: it finds no daemon running.
		for _, step := range []struct {
			name string
			run  func(*testing.T, *trial)
		}{
			{"starts a daemon", tryStart}, {"life", tryLife}, {"exit codes", tryExitCodes}, {"streams", tryStreams},
			{"networks", tryNetworks}, {"terminal", tryTerminal}, {"capture", tryCapture}, {"trace", tryTrace},
			{"complete", tryComplete}, {"ports", tryPorts}, {"names", tryNames}, {"inside", tryInside}, {"foreign", tryForeign}, {"podman", tryPodman}, {"docker", tryDocker}, {"kill", tryKill},
		} {
			t.Run(step.name, func(t *testing.T) { step.run(t, e) })
		}
	})
}

// Commands that come at once start one daemon between them, and say so.
func tryStart(t *testing.T, e *trial) {
	e.fails(t, 1, "`weft run`, `weft start` and every `weft network` command start one", "ps")
	const together = 4
	results := make(chan result, together)
	for range together {
		go func() { results <- finish(t, e.command("network", "ls", "-q")) }()
	}
	said := 0
	for range together {
		r := <-results
		if r.code != 0 || len(strings.Fields(r.out)) != 3 {
			t.Errorf("exit code %d, stdout %q, stderr %q: expected three networks", r.code, r.out, r.err)
		}
		if strings.Contains(r.err, "starting one (log: ") {
			said++
		}
	}
	if said != 1 {
		t.Errorf("%d commands started a daemon, expected one", said)
	}
	// A second daemon at the same place is refused and does no harm.
	e.fails(t, 1, "another daemon answers", "daemon")
	e.must(t, "ps")
	// One that was named is never started.
	c := e.command("-H", "unix://"+t.TempDir()+"/x.sock", "network", "ls")
	if r := finish(t, c); r.code != 1 || !strings.Contains(r.err, "no daemon answers") {
		t.Errorf("a named host without a daemon: exit code %d, %q", r.code, r.err)
	}
}

func tryLife(t *testing.T, e *trial) {
	id := e.must(t, "run", "-d", "--name", "life", "-l", "k=v", "--", "sh", "-c", "echo to stdout; echo to stderr >&2; exec sleep 300")
	if len(id) != 64 {
		t.Errorf("run -d printed %q, expected an ID", id)
	}
	if got := e.must(t, "ps", "--format", "{{.ID}} {{.Names}} {{.State}} {{.Networks}} {{.Label \"k\"}}"); got != id[:12]+" life running bridge v" {
		t.Errorf("ps: %q", got)
	}
	e.fails(t, 125, "already in use", "run", "--name", "life", "true")
	if got := e.must(t, "exec", "-e", "X=1", "-w", "/proc", "life", "--", "sh", "-c", "echo $X; pwd"); got != "1\n/proc" {
		t.Errorf("exec: %q", got)
	}
	eventually(t, "both lines are in the log", func() bool {
		r := e.try(t, "logs", "life")
		return r.out == "to stdout\n" && r.err == "to stderr\n"
	})
	e.fails(t, 1, "stop the container", "rm", "life")
	e.must(t, "rename", "life", "afterlife")
	e.must(t, "stop", "-t", "5", "afterlife")
	if got := e.must(t, "ps", "-a", "--filter", "name=afterlife", "--format", "{{.Status}}"); !strings.HasPrefix(got, "Exited (143) ") {
		t.Errorf("after stop: %q", got)
	}
	e.must(t, "start", "afterlife")
	e.must(t, "restart", "-t", "5", "afterlife")
	e.must(t, "kill", "afterlife")
	if got := e.must(t, "wait", "afterlife"); got != "137" {
		t.Errorf("wait: %q, expected 137", got)
	}
	e.must(t, "rm", "afterlife")
	if got := e.must(t, "ps", "-aq"); got != "" {
		t.Errorf("left: %q", got)
	}
	e.fails(t, 1, "No such container", "stop", "afterlife")
	e.must(t, "rm", "-f", "afterlife")
}

func tryExitCodes(t *testing.T, e *trial) {
	for _, tt := range []struct {
		name string
		code int
		args []string
	}{
		{"zero", 0, []string{"true"}},
		{"its own", 7, []string{"sh", "-c", "exit 7"}},
		{"signal", 137, []string{"sh", "-c", "kill -9 $$"}},
		{"not found", 127, []string{"/no/such/program"}},
		{"not executable", 126, []string{"/etc/passwd"}},
		{"no network", 125, []string{"--network", "nope", "true"}},
		{"no such sysctl", 125, []string{"--sysctl", "net.nope=1", "true"}},
	} {
		if r := e.try(t, append([]string{"run", "--rm"}, tt.args...)...); r.code != tt.code || (tt.code >= 125 && tt.code != 137) != (r.err != "") {
			t.Errorf("run, %s: exit code %d, expected %d; stderr %q", tt.name, r.code, tt.code, r.err)
		}
	}
	e.must(t, "run", "-d", "--name", "codes", "sleep", "300")
	defer e.must(t, "rm", "-f", "codes")
	for _, tt := range []struct {
		code int
		cmd  []string
	}{{0, []string{"true"}}, {9, []string{"sh", "-c", "exit 9"}}, {127, []string{"/no/such/program"}}, {126, []string{"/etc/passwd"}}} {
		if r := e.try(t, append([]string{"exec", "codes"}, tt.cmd...)...); r.code != tt.code {
			t.Errorf("exec %q: exit code %d, expected %d; stderr %q", tt.cmd, r.code, tt.code, r.err)
		}
	}
	e.fails(t, 127, "executable file not found", "run", "--name", "kept", "/no/such/program")
	e.must(t, "rm", "kept")
	e.fails(t, 127, "executable file not found", "run", "-d", "--rm", "/no/such/program")
	e.fails(t, 127, "executable file not found", "exec", "-d", "codes", "/no/such/program")
	e.fails(t, 127, "weft: unable to start container process: exec: ", "exec", "codes", "/no/such/program")
	for _, flags := range [][]string{{"run", "--rm"}, {"run", "-d", "--rm"}} {
		r := finish(t, e.command(append(flags, "alpine", "sh")...))
		want := "weft: unable to start container process: exec: \"alpine\": executable file not found in $PATH\n" +
			"there are no images: the command is run from this machine's own files (or --rootfs DIR)\n"
		if r.code != 127 || r.err != want {
			t.Errorf("%v: exit code %d, stderr %q, expected 127 and %q", flags, r.code, r.err, want)
		}
	}
	const noDir = "working directory /nonexist does not exist"
	e.fails(t, 126, noDir, "exec", "-w", "/nonexist", "codes", "true")
	e.fails(t, 126, noDir, "exec", "-d", "-w", "/nonexist", "codes", "true")
	e.fails(t, 126, noDir, "run", "--rm", "-w", "/nonexist", "true")
	e.fails(t, 126, noDir, "run", "--name", "kept", "-w", "/nonexist", "true")
	e.must(t, "rm", "kept")
	if got := e.must(t, "ps", "-aq"); len(strings.Fields(got)) != 1 {
		t.Errorf("--rm left something behind: %q", got)
	}
}

func tryStreams(t *testing.T, e *trial) {
	c := e.command("run", "--rm", "-i", "sh", "-c", "cat; echo end >&2")
	big := strings.Repeat("0123456789abcde\n", 40_000) // 640 kB, both ways
	c.Stdin = strings.NewReader(big)
	if r := finish(t, c); r.code != 0 || r.out != big || r.err != "end\n" {
		t.Errorf("cat gave back %d of %d bytes, exit code %d, stderr %q", len(r.out), len(big), r.code, r.err)
	}
	// Signals are passed on, and the exit code is the command's.
	c = e.command("run", "--rm", "--name", "sig", "sh", "-c", "trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
	var out lockedBuffer
	c.Stdout = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command is ready", func() bool { return strings.Contains(out.String(), "ready") })
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { c.Process.Kill() })
	_ = c.Wait()
	timer.Stop()
	if got := c.ProcessState.ExitCode(); got != 5 || !strings.Contains(out.String(), "got it") {
		t.Errorf("after SIGTERM: exit code %d, output %q", got, out.String())
	}
	// A reader that goes ends the command, as in any pipe.
	pipe := exec.Command("sh", "-c", `"$0" run --rm --name pipe yes | head -1`, e.bin)
	pipe.Env = e.env
	if r := finish(t, pipe); r.out != "y\n" {
		t.Errorf("yes | head -1: %q, %q", r.out, r.err)
	}
	eventually(t, "yes is gone", func() bool { return e.must(t, "ps", "-aq") == "" })
}

func tryNetworks(t *testing.T, e *trial) {
	e.must(t, "network", "create", "--subnet", "10.91.0.0/24", "--label", "k=v", "front")
	e.must(t, "network", "create", "--internal", "--subnet", "10.94.0.0/24", "back")
	e.fails(t, 1, "overlap", "network", "create", "--subnet", "10.91.0.0/25", "clash")
	e.fails(t, 1, "already exists", "network", "create", "front")
	if out, err := e.command("network", "create", "-o", "gateway_mode_ipv4=routed", "routed").CombinedOutput(); err != nil ||
		!strings.Contains(string(out), "weft: warning: driver option gateway_mode_ipv4=routed lets nothing leave this node") {
		t.Errorf("a setting without effect: %v %s", err, out)
	}
	e.must(t, "network", "rm", "routed")
	if got := e.must(t, "network", "ls", "--filter", "label=k=v", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"); got != "front bridge local" {
		t.Errorf("network ls: %q", got)
	}
	e.must(t, "run", "-d", "--name", "rose", "--network", "front,ip=10.91.0.9,alias=r", "--network", "back", "sleep", "300")
	e.must(t, "run", "-d", "--name", "iris", "--network", "front", "sleep", "300")
	e.must(t, "run", "-d", "--name", "lily", "--network", "back", "sleep", "300")
	if got := e.links(t, "rose"); got != "eth0\neth1\nlo" {
		t.Errorf("rose has %q", got)
	}
	if got := e.address(t, "iris", "front"); got != "10.91.0.2" {
		t.Errorf("iris has %s, Docker would give 10.91.0.2", got)
	}
	lily := e.address(t, "lily", "back")
	e.pings(t, "iris", "10.91.0.9")
	e.pings(t, "iris", "10.91.0.1")
	e.pings(t, "rose", lily)
	e.silent(t, "iris", lily)
	e.must(t, "network", "connect", "--ip", "10.94.0.77", "back", "iris")
	if got := e.address(t, "iris", "back"); got != "10.94.0.77" {
		t.Errorf("iris has %s on back, expected what was asked for", got)
	}
	if got := e.links(t, "iris"); got != "eth0\neth1\nlo" {
		t.Errorf("connected, iris has %q", got)
	}
	e.pings(t, "iris", lily)
	e.must(t, "network", "disconnect", "front", "iris")
	if got := e.links(t, "iris"); got != "eth1\nlo" {
		t.Errorf("disconnected, iris has %q", got)
	}
	e.silent(t, "iris", "10.91.0.9")
	e.pings(t, "iris", lily)
	e.fails(t, 1, "active endpoints", "network", "rm", "back")
	e.must(t, "rm", "-f", "rose", "iris", "lily")
	if got := e.must(t, "network", "prune", "-f"); !strings.Contains(got, "Deleted Networks:\n") || !strings.Contains(got, "front") {
		t.Errorf("prune: %q", got)
	}
}
