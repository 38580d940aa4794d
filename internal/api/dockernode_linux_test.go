package api

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"weft/internal/node"
	"weft/internal/sandbox"
)

// TestMain makes this test's binary the agent of real sandboxes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sandbox.AgentArg {
		os.Exit(sandbox.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// realNode opens a node, with every sandbox of it gone after the test.
func realNode(t *testing.T) *node.Node {
	t.Helper()
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("this host has no usable TUN device: %v", err)
	}
	_ = f.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("", "weft") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	n, err := node.Open(t.Context(), node.Config{DataDir: filepath.Join(run, "data"), RunDir: filepath.Join(run, "run"), Exe: exe, Version: "0.1.0", DataPathPort: 24791})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, b := range n.Sandboxes() {
			if err := n.SandboxRemove(context.Background(), b.ID, true); err != nil && statusOf(err) != 404 {
				t.Errorf("remove %s: %v", b.Spec.Name, err)
			}
		}
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return n
}

// The whole way: real docker commands, the API, a node, sandboxes.
func TestDockerOnNode(t *testing.T) {
	for v, path := range dockers(t) {
		t.Run(v, func(t *testing.T) {
			n := realNode(t)
			_, sock := serve(t, n)
			d := &docker{t, path, sock, t.TempDir()}
			t.Run("run", func(t *testing.T) { runOnNode(d.in(t)) })
			t.Run("networks", func(t *testing.T) { networksOnNode(d.in(t)) })
			t.Run("overlays", func(t *testing.T) { overlaysOnNode(d.in(t)) })
			t.Run("life", func(t *testing.T) { lifeOnNode(d.in(t)) })
		})
	}
}

func (d *docker) in(t *testing.T) *docker { c := *d; c.t = t; return &c }

func runOnNode(d *docker) {
	out, errs, code := d.run("run", "--rm", "--network", "none", "scratch", "sh", "-c", "echo out; echo err >&2; exit 3")
	if out != "out\n" || errs != "err\n" || code != 3 {
		d.t.Errorf("run: %q %q %d", out, errs, code)
	}
	c := d.command("run", "--rm", "-i", "scratch", "cat")
	c.Stdin = strings.NewReader(strings.Repeat("through and back ", 10000))
	if got, err := c.Output(); err != nil || len(got) != 170000 {
		d.t.Errorf("run -i: %d bytes, %v", len(got), err)
	}
	d.fails(127, "executable file not found", "run", "--rm", "scratch", "/no/such/program")
	d.fails(125, "network nosuch not found", "run", "--rm", "--network", "nosuch", "scratch", "true")
	d.want("h1", "run", "--rm", "--hostname", "h1", "scratch", "cat", "/proc/sys/kernel/hostname")
	d.want("", "ps", "-aq")
}

func networksOnNode(d *docker) {
	d.ok("network", "create", "--subnet", "10.77.1.0/24", "front")
	d.fails(1, "overlap", "network", "create", "--subnet", "10.77.1.128/25", "back")
	d.ok("network", "create", "--subnet", "10.77.2.0/24", "--internal", "back")
	d.ok("run", "-d", "--name", "rose", "--network", "front", "scratch", "sleep", "1000")
	d.want("10.77.1.2 02:42:0a:4d:01:02 10.77.1.1", "inspect", "-f",
		"{{with .NetworkSettings.Networks.front}}{{.IPAddress}} {{.MacAddress}} {{.Gateway}}{{end}}", "rose")
	d.ok("network", "connect", "--ip", "10.77.2.9", "back", "rose")
	if out := d.ok("exec", "rose", "cat", "/proc/net/dev"); !strings.Contains(out, "eth0:") || !strings.Contains(out, "eth1:") {
		d.t.Errorf("interfaces after connect: %s", out)
	}
	d.want("rose 10.77.2.9/24", "network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}", "back")
	d.fails(1, "active endpoints", "network", "rm", "front")
	d.ok("network", "disconnect", "back", "rose")
	if out := d.ok("exec", "rose", "cat", "/proc/net/dev"); strings.Contains(out, "eth1:") {
		d.t.Errorf("interfaces after disconnect: %s", out)
	}
	d.want("rose", "rm", "-f", "rose")
	if out := d.ok("network", "prune", "-f"); !strings.Contains(out, "front") || !strings.Contains(out, "back") {
		d.t.Errorf("prune: %s", out)
	}
}

func overlaysOnNode(d *docker) {
	wide := []string{"network", "create", "-d", "overlay", "-o", "weft.vni=4097", "-o", "weft.peers=127.0.0.2,127.0.0.3:4790"}
	if id := d.ok(append(wide, "wide")...); len(id) != 64 { // docker does not show the warning
		d.t.Errorf("create prints %q", id)
	}
	d.want("overlay local 10.0.1.0/24 10.0.1.1 127.0.0.2:24791 127.0.0.3:4790", "network", "inspect", "-f",
		"{{.Driver}} {{.Scope}}{{range .IPAM.Config}} {{.Subnet}} {{.Gateway}}{{end}}{{range .Peers}} {{.Name}}{{end}}", "wide")
	d.fails(1, "both have VNI 4097", append(wide, "--subnet", "10.0.9.0/24", "--attachable", "twin")...)
	d.fails(1, "needs a swarm", "network", "create", "-d", "overlay", "--attachable", "lone")
	d.fails(1, "weft.peers is for overlays of scope local", append(wide, "--scope", "swarm", "far")...)
	d.ok("run", "-d", "--name", "rose", "--network", "wide", "scratch", "sleep", "1000")
	d.want("10.0.1.2 02:42:0a:00:01:02 []", "inspect", "-f", "{{with .NetworkSettings.Networks.wide}}{{.IPAddress}} {{.MacAddress}} [{{.Gateway}}]{{end}}", "rose")
	if out := d.ok("exec", "rose", "cat", "/proc/net/route"); strings.Contains(out, "eth0\t00000000") {
		d.t.Errorf("an overlay gave a default route: %s", out)
	}
	// Its way out is on weft_gwbridge, which shows it by a name of its own, while the
	// sandbox is not said to be on that network.
	out := d.ok("network", "inspect", "-f", "{{.Driver}} {{.Internal}} {{index .Options \"com.docker.network.bridge.enable_icc\"}}{{range $id, $c := .Containers}} {{$id}} {{$c.Name}}{{end}}", "weft_gwbridge")
	if !regexp.MustCompile(`^bridge false false ([0-9a-f]{12})[0-9a-f]{52} gateway_([0-9a-f]{12})$`).MatchString(out) || out[19:31] != out[len(out)-12:] {
		d.t.Errorf("weft_gwbridge: %q", out)
	}
	d.want("wide", "inspect", "-f", "{{range $name, $e := .NetworkSettings.Networks}}{{$name}} {{end}}", "rose")
	d.want("", "ps", "-q", "--filter", "network=weft_gwbridge")
	if out := d.ok("exec", "rose", "cat", "/proc/net/route"); !strings.Contains(out, "eth1\t00000000") {
		d.t.Errorf("no default route by weft_gwbridge: %s", out)
	}
	d.fails(1, "is not connected to network", "network", "disconnect", "weft_gwbridge", "rose")
	d.fails(1, "active endpoints", "network", "rm", "weft_gwbridge")
	d.ok("rm", "-f", "rose")
	d.want("weft_gwbridge", "network", "rm", "weft_gwbridge")
	d.want("wide", "network", "rm", "wide")
}

func lifeOnNode(d *docker) {
	since := time.Now().Add(-time.Second).Format(time.RFC3339Nano)
	d.ok("run", "-d", "--name", "iris", "scratch", "sh", "-c", "echo hello; trap 'exit 5' TERM; while :; do sleep 0.05; done")
	if out := d.ok("ps"); !regexp.MustCompile(`(?m)^[0-9a-f]{12} +scratch +"sh -c 'echo hello.* Up .* iris$`).MatchString(out) {
		d.t.Errorf("ps: %s", out)
	}
	if out := d.ok("logs", "-t", "iris"); !regexp.MustCompile(`^20\S+Z hello$`).MatchString(out) {
		d.t.Errorf("logs: %q", out)
	}
	out, errs, code := d.run("exec", "-e", "A=b", "-w", "/proc", "iris", "sh", "-c", "echo $A $PWD; exit 4")
	if out != "b /proc\n" || code != 4 {
		d.t.Errorf("exec: %q %q %d", out, errs, code)
	}
	for name, ctrl := range map[string][]string{"detached": {"exec", "-d"}, "left": {"exec"}} {
		file := filepath.Join(d.home, name)
		c := d.command(append(ctrl, "iris", "sh", "-c", "echo begun; sleep 0.3; echo heard by nobody; echo again; echo alive > "+file)...)
		if out, err := c.StdoutPipe(); err != nil || c.Start() != nil {
			d.t.Fatal(err)
		} else if name == "left" {
			_, _ = out.Read(make([]byte, 6))
			_ = c.Process.Kill()
		}
		_ = c.Wait()
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if b, _ := os.ReadFile(file); string(b) == "alive\n" {
				break
			}
			if time.Now().After(end) {
				d.t.Errorf("exec, client %s: the process died of its output", name)
				break
			}
		}
	}
	d.want("iris", "stop", "iris")
	d.want("5", "wait", "iris")
	d.want("exited 5", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "iris")
	d.want("iris", "start", "iris")
	d.want("iris", "kill", "iris")
	d.want("137", "wait", "iris")
	d.want("iris", "rm", "iris")
	events := d.ok("events", "--since", since, "--until", time.Now().Format(time.RFC3339Nano), "-f", "container=iris", "-f", "type=container",
		"-f", "event=create", "-f", "event=start", "-f", "event=die", "-f", "event=destroy", "--format", "{{.Action}}{{with .Actor.Attributes.exitCode}} {{.}}{{end}}")
	if want := "create\nstart\ndie 5\nstart\ndie 137\ndestroy"; events != want {
		d.t.Errorf("events %q, want %q", events, want)
	}
}
