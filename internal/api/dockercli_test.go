package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// dockers returns every docker command of this machine, by version. The first
// in PATH must be there; Debian's own, which is older, is tested beside it.
func dockers(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	first, err := exec.LookPath("docker")
	if err != nil {
		t.Fatal("the docker command is needed for this test: install Debian's docker-cli or docker.io")
	}
	for _, path := range []string{first, "/usr/bin/docker"} {
		out, err := exec.Command(path, "--version").Output()
		if err != nil {
			continue
		}
		v := strings.Fields(string(out))[2]
		found[strings.TrimSuffix(v, ",")] = path
	}
	return found
}

// A docker runs one version of the command against one server.
type docker struct {
	t    *testing.T
	path string
	sock string
	home string
}

// eachDocker runs a test with every version, each with a backend of its own.
func eachDocker(t *testing.T, test func(d *docker, m *memory)) {
	for v, path := range dockers(t) {
		t.Run(v, func(t *testing.T) {
			m := newMemory()
			_, sock := serve(t, m)
			test(&docker{t, path, sock, t.TempDir()}, m)
		})
	}
}

// command prepares a call with a bound on its time and an empty home.
func (d *docker) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	d.t.Cleanup(cancel)
	c := exec.CommandContext(ctx, d.path, append([]string{"-H", "unix://" + d.sock}, args...)...)
	c.Env = []string{"HOME=" + d.home, "PATH=" + os.Getenv("PATH")}
	return c
}

// run returns stdout, stderr and the exit code.
func (d *docker) run(args ...string) (string, string, int) {
	d.t.Helper()
	var out, errs bytes.Buffer
	c := d.command(args...)
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil && c.ProcessState == nil {
		d.t.Fatalf("docker %v: %v", args, err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// ok runs a call that must succeed and returns what it prints, trimmed.
func (d *docker) ok(args ...string) string {
	d.t.Helper()
	out, errs, code := d.run(args...)
	if code != 0 {
		d.t.Fatalf("docker %v: exit %d: %s%s", args, code, out, errs)
	}
	return strings.TrimSpace(out)
}

// want runs a call that must print exactly this, white space collapsed.
func (d *docker) want(want string, args ...string) {
	d.t.Helper()
	if got := strings.Join(strings.Fields(d.ok(args...)), " "); got != want {
		d.t.Errorf("docker %v prints\n%s\nwant\n%s", args, got, want)
	}
}

// fails runs a call that must fail with a code and a part of its message.
func (d *docker) fails(code int, part string, args ...string) {
	d.t.Helper()
	out, errs, got := d.run(args...)
	if got != code || !strings.Contains(errs, part) {
		d.t.Errorf("docker %v: exit %d, %s%s; want %d with %q", args, got, out, errs, code, part)
	}
}

func TestDockerSystem(t *testing.T) {
	eachDocker(t, func(d *docker, _ *memory) {
		d.want("0.1.0 1.41", "version", "-f", "{{.Server.Version}} {{.Server.MinAPIVersion}}")
		if out := d.ok("version"); !strings.Contains(out, "Server: weft") {
			t.Errorf("version prints %s", out)
		}
		d.want("host1 0.1.0 inactive 2", "info", "-f", "{{.Name}} {{.ServerVersion}} {{.Swarm.LocalNodeState}} {{.NCPU}}")
		out, errs, code := d.run("info")
		if code != 0 || !strings.Contains(out, "Kernel Version: 6.1.0") || !strings.Contains(errs+out, "weft sets no limits") {
			t.Errorf("info: %d %s%s", code, out, errs)
		}
		d.fails(1, "weft has no images", "images")
		d.fails(1, "weft has no volumes", "volume", "ls")
	})
}

func TestDockerNetwork(t *testing.T) {
	eachDocker(t, func(d *docker, m *memory) {
		id := d.ok("network", "create", "--subnet", "10.1.0.0/24", "--gateway", "10.1.0.1", "--ip-range", "10.1.0.128/25",
			"--aux-address", "printer=10.1.0.5", "--internal", "--attachable", "--label", "env=prod", "-o", "com.docker.network.driver.mtu=1400", "front")
		if n, err := m.Network("front"); err != nil || n.ID != id || !n.Internal || n.IPAM.Config[0].Aux["printer"].String() != "10.1.0.5" {
			t.Errorf("created %+v, %v", n, err)
		}
		d.want("bridge bridge local front bridge local host host local none null local", "network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}")
		if out := d.ok("network", "ls"); !strings.HasPrefix(out, "NETWORK ID") || !strings.Contains(out, id[:12]) {
			t.Errorf("network ls prints %s", out)
		}
		d.want("front", "network", "ls", "-f", "label=env=prod", "-f", "type=custom", "--format", "{{.Name}}")
		c := d.ok("create", "--name", "a", "--network", "bridge", "scratch", "sleep", "1000")
		d.want("a", "start", "a")
		d.want("", "network", "connect", "--ip", "10.1.0.130", "--alias", "www", "front", "a")
		d.want("[10.1.0.0/24] a 10.1.0.130/24 02:42:0a:01:00:82", "network", "inspect", "-f",
			`[{{range .IPAM.Config}}{{.Subnet}}{{end}}] {{with index .Containers "`+c+`"}}{{.Name}} {{.IPv4Address}} {{.MacAddress}}{{end}}`, "front")
		var full []map[string]any
		if err := json.Unmarshal([]byte(d.ok("network", "inspect", "front", "bridge")), &full); err != nil || len(full) != 2 || full[0]["Id"] != id {
			t.Errorf("network inspect: %v, %v", full, err)
		}
		d.want("10.1.0.130 [www]", "inspect", "-f", "{{with .NetworkSettings.Networks.front}}{{.IPAddress}} {{.Aliases}}{{end}}", "a")
		d.want(id, "inspect", "-f", "{{.Id}}", "front") // not only containers
		d.fails(1, "already exists in network front", "network", "connect", "front", "a")
		d.fails(1, "active endpoints", "network", "rm", "front")
		d.fails(1, "pre-defined network", "network", "rm", "bridge")
		d.fails(1, "already exists", "network", "create", "front")
		d.fails(1, "nowhere", "network", "inspect", "nowhere")
		d.fails(1, "colour", "network", "ls", "-f", "colour=red")
		d.want("", "network", "disconnect", "-f", "front", "a")
		d.want("front", "network", "rm", "front")
		d.ok("network", "create", "loose")
		d.want("Deleted Networks: loose", "network", "prune", "-f")
		d.ok("rm", "-f", "a")
	})
}

func TestDockerContainers(t *testing.T) {
	eachDocker(t, func(d *docker, m *memory) {
		id := d.ok("create", "--name", "a", "-i", "--label", "env=prod", "--hostname", "h", "-e", "A=b", "-w", "/tmp", "scratch", "cat")
		d.want("a Created", "ps", "-a", "--format", "{{.Names}} {{.Status}}")
		d.want("", "ps", "-q")
		d.want("a", "start", "a")
		if out := d.ok("ps", "--no-trunc"); !strings.Contains(out, id) || !strings.Contains(out, "Up Less than a second") || !strings.Contains(out, "scratch") {
			t.Errorf("ps prints %s", out)
		}
		d.want(id[:12], "ps", "-q", "-f", "label=env=prod", "-f", "status=running", "-f", "name=^a$")
		d.want("h running /tmp [cat] true", "inspect", "-f", "{{.Config.Hostname}} {{.State.Status}} {{.Config.WorkingDir}} {{.Config.Cmd}} {{.Config.OpenStdin}}", "a")
		d.fails(1, "already in use", "create", "--name", "a", "scratch", "cat")
		d.want("UID PID CMD root 1 sleep 1000", "top", "a")
		d.want("a", "stop", "-t", "1", "a")
		d.want("143", "inspect", "-f", "{{.State.ExitCode}}", "a")
		d.want("a", "restart", "a")
		d.want("a", "kill", "-s", "TERM", "a")
		d.fails(1, "is not running", "kill", "a")
		d.want("", "rename", "a", "b")
		d.want("143", "wait", "b")
		d.want("b", "rm", "b")
		d.fails(1, "No such object: b", "inspect", "b")
		d.ok("create", "--name", "c", "scratch", "cat")
		if out := d.ok("container", "prune", "-f"); !strings.Contains(out, "Deleted Containers:") {
			t.Errorf("prune prints %s", out)
		}
		if l := m.Sandboxes(); len(l) != 0 {
			t.Errorf("left: %+v", l)
		}
	})
}

func TestDockerRun(t *testing.T) {
	eachDocker(t, func(d *docker, m *memory) {
		out, errs, code := d.run("run", "--rm", "scratch", "both")
		if out != "out\n" || errs != "err\n" || code != 3 {
			t.Errorf("run: %q %q %d", out, errs, code)
		}
		if l := m.Sandboxes(); len(l) != 0 {
			t.Errorf("--rm left %+v", l)
		}
		c := d.command("run", "-i", "--name", "cat", "--network", "none", "scratch", "cat")
		c.Stdin = strings.NewReader("through and back")
		if got, err := c.Output(); err != nil || string(got) != "through and back" {
			t.Errorf("run -i: %q, %v", got, err)
		}
		d.fails(127, "executable file not found", "run", "scratch", "nosuch")
		d.fails(125, "weft has no images", "run", "alpine", "true")
		d.ok("run", "-d", "--name", "two", "scratch", "both")
		d.want("3", "wait", "two")
		out, errs, _ = d.run("logs", "two")
		if out != "out\n" || errs != "err\n" {
			t.Errorf("logs: %q %q", out, errs)
		}
		if out := d.ok("logs", "-t", "--tail", "1", "-f", "two"); !strings.HasPrefix(out, "20") || !strings.HasSuffix(out, "Z out") {
			t.Errorf("logs -t: %q", out)
		}
	})
}

func TestDockerExecAndAttach(t *testing.T) {
	eachDocker(t, func(d *docker, _ *memory) {
		d.ok("run", "-d", "-i", "--name", "a", "scratch", "cat")
		out, errs, code := d.run("exec", "a", "both")
		if out != "out\n" || errs != "err\n" || code != 3 {
			t.Errorf("exec: %q %q %d", out, errs, code)
		}
		c := d.command("exec", "-i", "a", "cat")
		c.Stdin = strings.NewReader("in")
		if got, err := c.Output(); err != nil || string(got) != "in" {
			t.Errorf("exec -i: %q, %v", got, err)
		}
		d.fails(127, `exec: "nosuch": executable file not found in $PATH`, "exec", "a", "nosuch")
		d.fails(1, "executable file not found", "exec", "-d", "a", "nosuch")
		d.want("", "exec", "-d", "a", "echo", "unseen")
		d.fails(1, "does not support user", "exec", "-u", "bob", "a", "cat")
		c = d.command("attach", "a")
		c.Stdin = strings.NewReader("attached")
		if got, err := c.Output(); err != nil || string(got) != "attached" {
			t.Errorf("attach: %q, %v", got, err)
		}
		d.want("0", "wait", "a")
	})
}

// On a terminal the stream is raw, and the size is handed on before anything
// is said.
func TestDockerTerminal(t *testing.T) {
	eachDocker(t, func(d *docker, m *memory) {
		c := d.command("run", "--rm", "-it", "--name", "a", "scratch", "both")
		c.Args = []string{"script", "-qec", strings.Join(c.Args, " "), "/dev/null"}
		script, err := exec.LookPath("script")
		if err != nil {
			t.Fatal("the script command is needed for this test: install Debian's bsdutils")
		}
		c.Path = script
		c.Stdin, _ = os.Open(os.DevNull)
		out, err := c.Output()
		if !strings.Contains(string(out), "out\r\nerr\r\n") || c.ProcessState.ExitCode() != 3 {
			t.Errorf("run -it: %q, %v", out, err)
		}
		if l := m.Sandboxes(); len(l) != 0 {
			t.Errorf("--rm left %+v", l)
		}
	})
}

func TestDockerEvents(t *testing.T) {
	eachDocker(t, func(d *docker, _ *memory) {
		c := d.command("events", "--format", "{{.Type}} {{.Action}}", "--filter", "type=network")
		pipe, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		since := time.Now().Add(-time.Second).Format(time.RFC3339Nano)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		d.ok("network", "create", "front")
		d.ok("network", "rm", "front")
		want := "network create\nnetwork destroy"
		if got := d.ok("events", "--since", since, "--until", time.Now().Format(time.RFC3339Nano), "--format", "{{.Type}} {{.Action}}"); got != want {
			t.Errorf("history %q, want %q", got, want)
		}
		if got := d.ok("events", "--since", since, "--until", time.Now().Format(time.RFC3339Nano), "--filter", "event=destroy"); !strings.Contains(got, "network destroy ") || !strings.Contains(got, "name=front") {
			t.Errorf("plain history %q", got)
		}
		live := liveEvents(d, c, pipe)
		if !strings.HasPrefix(live, "network ") {
			t.Errorf("live %q", live)
		}
	})
}

// liveEvents makes networks until the command, which may have been slow to
// connect, has printed one, and ends it.
func liveEvents(d *docker, c *exec.Cmd, r io.Reader) string {
	buf := make([]byte, 4096)
	got := make(chan int, 1)
	go func() {
		n, _ := r.Read(buf)
		got <- n
	}()
	for i := 0; i < 50; i++ {
		select {
		case n := <-got:
			_ = c.Process.Kill()
			_ = c.Wait()
			return string(buf[:n])
		case <-time.After(50 * time.Millisecond):
			d.ok("network", "create", "n"+itoa(i))
		}
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	return ""
}

// Both commands must be asked with their own API version, or the tests above
// tested one thing twice.
func TestDockerVersionsDiffer(t *testing.T) {
	versions := map[string]bool{}
	for v, path := range dockers(t) {
		_, sock := serve(t, newMemory())
		d := &docker{t, path, sock, t.TempDir()}
		got := d.ok("version", "-f", "{{.Client.APIVersion}}")
		t.Logf("docker %s speaks API %s", v, got)
		if versions[got] {
			t.Errorf("API %s twice", got)
		}
		versions[got] = true
	}
}
