//go:build linux

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/capture"
	"weft/internal/nettest"
)

// pair starts two sandboxes on the default network.
func (e *trial) pair(t *testing.T, one, two string) (addr1, addr2 string) {
	t.Helper()
	for _, name := range []string{one, two} {
		e.must(t, "run", "-d", "--name", name, "sleep", "300")
	}
	t.Cleanup(func() { e.must(t, "rm", "-f", one, two) })
	return e.address(t, one, "bridge"), e.address(t, two, "bridge")
}

func tryCapture(t *testing.T, e *trial) {
	_, ib := e.pair(t, "ca", "cb")
	file := filepath.Join(t.TempDir(), "out.pcapng")
	c := e.command("capture", "cb", "-w", file, "-c", "4", "icmp")
	var said lockedBuffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(patience, func() { c.Process.Kill() })
	defer stop.Stop()
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	for captured := false; !captured; {
		e.pings(t, "ca", ib)
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("capture: %v, %s", err, said.String())
			}
			captured = true
		default:
		}
	}
	if !strings.Contains(said.String(), "4 frames captured") {
		t.Errorf("capture said %q", said.String())
	}
	text := e.must(t, "capture", "-r", file)
	if got := strings.Count(text, "EchoRequest"); len(strings.Split(text, "\n")) != 4 || got != 2 {
		t.Errorf("the file shows %d requests:\n%s", got, text)
	}
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		nettest.Skip(t, "tshark is not installed")
	}
	r := finish(t, exec.Command(tshark, "-r", file, "-T", "fields", "-e", "icmp.type", "-e", "frame.comment", "-e", "frame.interface_name"))
	if lines := strings.Split(strings.TrimSpace(r.out), "\n"); len(lines) != 4 || !strings.Contains(r.out, "0\tforwarded\tcb:eth0") {
		t.Errorf("tshark shows\n%s%s", r.out, r.err)
	}
	if !strings.Contains(text, "cb:eth0              out ") || strings.Count(text, "[forwarded]") != 4 {
		t.Errorf("the file shows neither port nor verdict:\n%s", text)
	}
	if got := e.must(t, "capture", "-r", file, "dropped"); got != "" {
		t.Errorf("dropped, of four forwarded frames: %q", got)
	}
	e.fails(t, 1, "no sandbox or network is named", "capture", "nobody.at.all")
	e.fails(t, 1, "`weft capture -f dropped`", "capture", "dropped")
	e.fails(t, 1, "there is no tunnel front@192.0.2.2:4789", "capture", "front@192.0.2.2:4789")
	e.fails(t, 1, `has no interface "eth7", it has eth0`, "capture", "cb:eth7")
	e.fails(t, 1, "no sandbox is named", "capture", "nobody:eth0")
	e.fails(t, 2, "binary", "capture", "cb", "-f", "nonsense words", "binary")
}

func tryTrace(t *testing.T, e *trial) {
	_, ib := e.pair(t, "ta", "tb")
	if out := e.must(t, "trace", "src=ta,dst=tb,proto=tcp,dport=80"); !strings.Contains(out, "is on tb:eth0") || !strings.HasSuffix(out, "forwarded") {
		t.Errorf("trace by name:\n%s", out)
	}
	if out := e.must(t, "trace", "--port", "ta", "src=192.0.2.1,dst="+ib); !strings.Contains(out, "dropped: spoofed-ip") {
		t.Errorf("trace of a forged source:\n%s", out)
	}
	lab := filepath.Join(t.TempDir(), "lab.yaml")
	text := "networks:\n  n: {subnet: 10.0.0.0/24}\nports:\n  a: {network: n, ip: 10.0.0.2}\n  b: {network: n, ip: 10.0.0.3}\n"
	if err := os.WriteFile(lab, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := e.must(t, "trace", "--lab", lab, "src=a,dst=b"); !strings.Contains(out, "from a: ") || !strings.HasSuffix(out, "forwarded") {
		t.Errorf("trace in a lab:\n%s", out)
	}
	if out := e.must(t, "trace", "--lab", lab, "src=a,dst=10.0.0.9"); !strings.Contains(out, "an ARP request for it goes first") || !strings.HasSuffix(out, "forwarded") {
		t.Errorf("trace to an address that nobody has, in a lab:\n%s", out)
	}
	var pcap bytes.Buffer
	w := capture.NewPcapWriter(&pcap)
	if err := errors.Join(w.Write(0, ping(t), len(ping(t))), w.Flush()); err != nil {
		t.Fatal(err)
	}
	replay := e.command("replay", lab, "--in", "a=-")
	replay.Stdin = &pcap
	if r := finish(t, replay); r.code != 0 || !strings.Contains(r.out, "1 frames, every one accounted for") {
		t.Errorf("replay of stdin: exit code %d\n%s%s", r.code, r.out, r.err)
	}
	e.fails(t, 1, "lab.yaml has no port of that name, it has a, b", "trace", "--lab", lab, "src=a,dst=nosuch")
	e.fails(t, 1, `ta has no port "eth9", it has eth0`, "trace", "--port", "ta:eth9", "dst=tb")
	e.must(t, "network", "create", "--subnet", "10.97.1.0/24", "aaa")
	e.must(t, "network", "connect", "aaa", "ta")
	if out := e.must(t, "trace", "src=ta,dst="+ib); !strings.Contains(out, "from ta:eth0: ") || !strings.HasSuffix(out, "forwarded") {
		t.Errorf("trace through the second network by name:\n%s", out)
	}
	e.must(t, "network", "disconnect", "aaa", "ta")
	e.must(t, "network", "rm", "aaa")
}

func tryInside(t *testing.T, e *trial) {
	_, ib := e.pair(t, "ia", "ib")
	e.pings(t, "ia", ib)
	if out := e.must(t, "fdb", "--format", "{{.Port}} {{.Type}}", "--filter", "sandbox=ib"); out != "ib:eth0 static" {
		t.Errorf("fdb: %q", out)
	}
	if out := e.must(t, "arp", "ls", "--network", "bridge", "--filter", "sandbox=ib", "-q"); out != ib {
		t.Errorf("arp: %q, expected %s", out, ib)
	}
	var rx int
	if _, err := fmt.Sscan(e.must(t, "stats", "ib", "--format", "{{.RxFrames}}"), &rx); err != nil || rx < 2 {
		t.Errorf("stats: %d frames from ib, %v", rx, err)
	}
	e.fails(t, 1, "no port belongs to", "stats", "nobody")
	if out := e.must(t, "top", "--format", "{{.Port}}"); !strings.Contains(out, "ia:eth0") {
		t.Errorf("top: %q", out)
	}
	if out := e.must(t, "events", "--since", "1h", "--until", "0s", "--filter", "event=connect", "--format", "{{.Type}} {{.Action}}"); !strings.Contains(out, "network connect") {
		t.Errorf("events: %q", out)
	}
	e.must(t, "network", "create", "--subnet", "10.97.2.0/24", "now")
	if out := e.must(t, "events", "--since", "10s", "--until", "0s", "--filter", "network=now", "--format", "{{.Action}}"); out != "create" {
		t.Errorf("events of this second: %q", out)
	}
	e.must(t, "network", "rm", "now")
	if out := e.must(t, "doctor"); !strings.Contains(out, "ok    user namespaces") || strings.Contains(out, "fail") {
		t.Errorf("doctor:\n%s", out)
	}
	if out := e.must(t, "version", "--format", "{{.Server.Version}}"); out != Version {
		t.Errorf("version: %q", out)
	}
}

// foreign starts a process in namespaces that somebody else made.
func foreign(t *testing.T, args ...string) int {
	t.Helper()
	c := exec.Command(args[0], args[1:]...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	var ready [1]byte
	if _, err := out.Read(ready[:]); err != nil {
		nettest.Skip(t, "%v did not start: %v", args, err)
	}
	return c.Process.Pid
}

func tryForeign(t *testing.T, e *trial) {
	ia, _ := e.pair(t, "fa", "fb")
	pid := foreign(t, "unshare", "-Urn", "sh", "-c", "echo; exec sleep 300")
	e.must(t, "attach", "--pid", strconv.Itoa(pid), "--name", "outer", "--network", "bridge")
	inside := func(cmd ...string) result {
		return finish(t, exec.Command("nsenter", append([]string{"-t", strconv.Itoa(pid), "-U", "-n", "--preserve-credentials"}, cmd...)...))
	}
	if r := inside(e.bin, "tool", "ping", "-c", "2", "-i", "50ms", ia); r.code != 0 {
		t.Errorf("from the foreign namespace: %s%s", r.out, r.err)
	}
	e.pings(t, "fa", e.address(t, "outer", "bridge"))
	e.fails(t, 1, "", "attach", "--pid", "999999999", "--network", "bridge")
	e.must(t, "detach", "outer")
	if r := inside("ls", "/proc/self/net/dev_snmp6"); strings.Contains(r.out, "eth0") {
		t.Errorf("detached, the namespace still has %q", r.out)
	}
	e.fails(t, 1, "No such container", "detach", "outer")
}

func tryPodman(t *testing.T, e *trial) {
	podman, err := exec.LookPath("podman")
	if err != nil {
		nettest.Skip(t, "podman is not installed")
	}
	ia, _ := e.pair(t, "pa", "pb")
	root := filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", e.bin, filepath.Join(root, "weft")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	runtime, err := exec.LookPath("runc")
	if err != nil {
		runtime = "/usr/sbin/runc"
	}
	// Each call has the options that need neither systemd nor a storage driver.
	call := func(args ...string) result {
		return finish(t, exec.Command(podman, append([]string{"--runtime", runtime, "--cgroup-manager=cgroupfs", "--events-backend=file"}, args...)...))
	}
	r := call("run", "-d", "--name", "pod", "--network=none", "--cap-add=NET_RAW", "--rootfs", root, "/weft", "tool", "serve")
	if r.code != 0 {
		t.Fatalf("podman run: %s%s", r.out, r.err)
	}
	t.Cleanup(func() {
		call("rm", "-f", "-t", "0", "pod")
		call("system", "migrate") // ends the process that keeps podman's own namespace
	})
	pid := strings.TrimSpace(call("inspect", "-f", "{{.State.Pid}}", "pod").out)
	e.must(t, "attach", "--pid", pid, "--name", "pod", "--network", "bridge")
	if r := call("exec", "pod", "/weft", "tool", "ping", "-c", "2", "-i", "50ms", ia); r.code != 0 {
		t.Errorf("from the container: %s%s", r.out, r.err)
	}
	if r := e.try(t, "exec", "pa", e.bin, "tool", "send", "-m", "1", e.address(t, "pod", "bridge")); r.code != 0 {
		t.Errorf("a transfer into the container: %s%s", r.out, r.err)
	}
	e.must(t, "detach", "pod")
}

// The real docker command works on weft's socket.
func tryDocker(t *testing.T, e *trial) {
	docker, err := exec.LookPath("docker")
	if err != nil {
		nettest.Skip(t, "the docker command is not installed")
	}
	ia, _ := e.pair(t, "da", "db")
	host := e.socket(t)
	call := func(args ...string) result {
		c := exec.Command(docker, append([]string{"-H", host}, args...)...)
		c.Env = append(os.Environ(), "DOCKER_CONFIG="+os.TempDir())
		return finish(t, c)
	}
	for _, tt := range []struct{ line, want string }{ // a ~ stands for a blank
		{"version --format {{.Server.Version}}", Version}, {"info --format {{.ContainersRunning}}", "2"},
		{"network ls --format {{.Name}}", "bridge\nhost\nnone"}, {"network create --subnet 10.92.0.0/24 dnet", ""},
		{"network inspect -f {{(index~.IPAM.Config~0).Subnet}} dnet", "10.92.0.0/24"}, {"network connect --ip 10.92.0.9 dnet da", ""},
		{"inspect -f {{.NetworkSettings.Networks.dnet.IPAddress}} da", "10.92.0.9"}, {"network connect dnet db", ""},
		{"network disconnect dnet da", ""}, {"ps --filter name=da --format {{.Names}}", "da"},
		{"exec da echo hello", "hello"}, {"network disconnect dnet db", ""}, {"network rm dnet", "dnet"},
		{"events --since 10m --until 0s --filter event=connect --format {{.Action}}", "connect"},
		{"logs da", ""}, {"stop -t 0 db", "db"}, {"start db", "db"},
	} {
		args := strings.Fields(tt.line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "~", " ")
		}
		r := call(args...)
		if r.code != 0 || !strings.Contains(r.out, tt.want) {
			t.Errorf("docker %s: exit code %d, %q, expected %q; stderr %q", tt.line, r.code, r.out, tt.want, r.err)
		}
	}
	e.pings(t, "db", ia)
	if r := call("exec", "da", "sh", "-c", "exit 9"); r.code != 9 {
		t.Errorf("docker exec: exit code %d, expected 9", r.code)
	}
}

// socket is the URL of the trial's daemon.
func (e *trial) socket(t *testing.T) string {
	t.Helper()
	path := e.must(t, "info", "--format", "{{.Socket}}")
	if !filepath.IsAbs(path) {
		t.Fatalf("weft info tells the socket as %q", path)
	}
	return "unix://" + path
}

// cutShort starts commands that wait for the daemon. What it returns waits until
// they have ended, each with an error that says why.
func (e *trial) cutShort(t *testing.T, lines ...[]string) (ended func()) {
	t.Helper()
	since := time.Now()
	results := make(chan result, len(lines))
	for _, line := range lines {
		go func() { results <- finish(t, e.command(line...)) }()
	}
	eventually(t, "the command in the sandbox runs", func() bool {
		return strings.Contains(e.must(t, "events", "--since", strconv.FormatInt(since.Unix(), 10), "--until", "0s"), "exec_start: sleep 300")
	})
	time.Sleep(200 * time.Millisecond) // the others show nothing
	return func() {
		for range lines {
			if r := <-results; r.code != 1 || !strings.Contains(r.err, "the daemon went away: sandboxes go on") {
				t.Errorf("after the daemon's end: exit code %d, %q, %q", r.code, r.out, r.err)
			}
		}
	}
}

// kill -9 of the daemon: a new one takes over networks, sandboxes and traffic.
func tryKill(t *testing.T, e *trial) {
	e.must(t, "network", "create", "--subnet", "10.93.0.0/24", "keep")
	e.must(t, "run", "-d", "--name", "ka", "--network", "keep", "sleep", "300")
	e.must(t, "run", "-d", "--name", "kb", "--network", "keep", "--", e.bin, "tool", "ping", "-c", "1000", "-i", "20ms", e.address(t, "ka", "keep"))
	cut := e.cutShort(t, []string{"exec", "ka", "sleep", "300"}, []string{"capture", "ka"}, []string{"logs", "-f", "ka"}, []string{"wait", "ka"})
	answers := func() int { return strings.Count(e.must(t, "logs", "kb"), "bytes from") }
	eventually(t, "ping has answers", func() bool { return answers() > 3 })
	e.stopDaemon(t, syscall.SIGKILL)
	cut()
	r := e.try(t, "network", "ls", "--filter", "name=keep", "--format", "{{.Name}}")
	if r.code != 0 || strings.TrimSpace(r.out) != "keep" || !strings.Contains(r.err, "starting one") {
		t.Fatalf("after kill -9: exit code %d, %q, %q", r.code, r.out, r.err)
	}
	if got := e.must(t, "ps", "--filter", "network=keep", "--format", "{{.Names}} {{.State}}"); got != "kb running\nka running" {
		t.Errorf("taken over: %q", got)
	}
	before := answers()
	eventually(t, "the same ping has new answers", func() bool { return answers() > before+3 })
	e.must(t, "run", "--rm", "--network", "keep", e.bin, "tool", "ping", "-c", "1", "10.93.0.2")
	if got := e.must(t, "exec", "ka", "echo", "alive"); got != "alive" {
		t.Errorf("exec: %q", got)
	}
	e.must(t, "rm", "-f", "ka", "kb")
	e.must(t, "network", "rm", "keep")
}

// As root: namespaces of ip netns, by name and by path.
func TestEndToEndRoot(t *testing.T) {
	if os.Getuid() != 0 {
		nettest.Skip(t, "ip netns needs root")
	}
	buildBinary(t)
	dir, err := os.MkdirTemp("/tmp", "weft")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	daemon := exec.Command(os.Getenv(binaryEnv), "daemon", "--host", "unix://"+dir+"/weft.sock", "--data-dir", dir+"/data")
	var log lockedBuffer
	daemon.Stderr = &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := daemon.Wait(); err != nil {
			t.Errorf("daemon: %v\n%s", err, log.String())
		}
	})
	e := newTrial(t, dir)
	eventually(t, "the daemon listens", func() bool { return strings.Contains(log.String(), "daemon listens") })
	name := "weft-e2e-" + strconv.Itoa(os.Getpid())
	ip := func(args ...string) result { return finish(t, exec.Command("ip", args...)) }
	if r := ip("netns", "add", name); r.code != 0 {
		nettest.Skip(t, "ip netns add: %s", r.err)
	}
	t.Cleanup(func() { ip("netns", "del", name) })
	ia, _ := e.pair(t, "ra", "rb")
	e.must(t, "network", "create", "--subnet", "10.95.0.0/24", "blues")
	e.must(t, "network", "connect", "blues", "ra")
	for _, netns := range []string{name, "/run/netns/" + name} {
		e.must(t, "attach", "--netns", netns, "--name", "blue", "--network", "blues,ip=10.95.0.99", "--network", "bridge")
		if r := ip("netns", "exec", name, e.bin, "tool", "ping", "-c", "2", "-i", "50ms", ia); r.code != 0 {
			t.Errorf("from %s: %s%s", netns, r.out, r.err)
		}
		e.pings(t, "ra", "10.95.0.99")
		e.must(t, "detach", "blue")
		if r := ip("-n", name, "-br", "link"); strings.Contains(r.out, "eth0") {
			t.Errorf("detached, the namespace still has %q", r.out)
		}
	}
	if out := e.must(t, "run", "--rm", "--network", "none", "ls", "/sys/class/net"); out != "lo" {
		t.Errorf("--network none has %q", out)
	}
}
