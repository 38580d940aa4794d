//go:build linux

package cli

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A published port is reached from outside, and is told of the same way everywhere.
func tryPorts(t *testing.T, e *trial) {
	e.must(t, "run", "-d", "--name", "shop", "-p", "127.0.0.1::5201", "--expose", "53/udp", "--", e.bin, "tool", "serve")
	at := e.must(t, "port", "shop", "5201")
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatalf("weft port prints %q", at)
	}
	if got, want := e.must(t, "port", "shop"), "5201/tcp -> "+at; got != want {
		t.Errorf("port: %q, expected %q", got, want)
	}
	if got, want := e.must(t, "ps", "-f", "publish="+port, "--format", "{{.Names}} {{.Ports}}"), "shop 53/udp, "+at+"->5201/tcp"; got != want {
		t.Errorf("ps: %q, expected %q", got, want)
	}
	send := func() result { return finish(t, exec.Command(e.bin, "tool", "send", "-m", "1", at)) }
	eventually(t, "a transfer to "+at, func() bool { return send().code == 0 })
	e.fails(t, 1, "no public port '53/udp' published for shop", "port", "shop", "53/udp")
	e.fails(t, 125, "already allocated", "run", "--name", "late", "-p", at+":80", "--", "true")
	e.must(t, "rm", "late")
	if got := e.try(t, "run", "--rm", "--network", "host", "-p", "5201", "--", "true"); got.code != 0 || !strings.Contains(got.err, "discarded when using host network mode") {
		t.Errorf("in network mode host: exit code %d, %q", got.code, got.err)
	}
	if docker, err := exec.LookPath("docker"); err == nil {
		c := exec.Command(docker, "-H", e.socket(t), "port", "shop")
		c.Env = append(os.Environ(), "DOCKER_CONFIG="+os.TempDir())
		if r := finish(t, c); strings.TrimSpace(r.out) != "5201/tcp -> "+at {
			t.Errorf("docker port: exit code %d, %q %q", r.code, r.out, r.err)
		}
	}
	e.must(t, "run", "-d", "--name", "all", "-P", "--expose", "5201", "--", "sleep", "300")
	if got := e.must(t, "port", "all"); !strings.HasPrefix(got, "5201/tcp -> 0.0.0.0:") {
		t.Errorf("port, with all published: %q", got)
	}
	e.must(t, "rm", "-f", "all")
	e.must(t, "stop", "-t", "0", "shop")
	if got := e.must(t, "port", "shop"); got != "" {
		t.Errorf("port of a stopped sandbox: %q", got)
	}
	if r := send(); r.code == 0 {
		t.Errorf("a transfer to a stopped sandbox succeeds: %s", r.out)
	}
	e.must(t, "rm", "shop")
}
