//go:build linux

package cli

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"weft/internal/api"
	"weft/internal/cnm"
	"weft/internal/node"
)

// A listener is a daemon whose sandboxes' ports are published already.
type listener struct {
	api.Backend
	boxes []cnm.Sandbox
}

func (l *listener) Info() node.Info          { return node.Info{Version: "0", OS: "test"} }
func (l *listener) Sandboxes() []cnm.Sandbox { return l.boxes }
func (l *listener) Sandbox(ref string) (cnm.Sandbox, error) {
	for _, b := range l.boxes {
		if b.Spec.Name == ref {
			return b, nil
		}
	}
	return cnm.Sandbox{}, cnm.Errorf(cnm.NotFound, "No such container: %s", ref)
}

// listens serves the boxes and returns the socket.
func listens(t *testing.T, boxes ...cnm.Sandbox) string {
	t.Helper()
	sock := "unix://" + filepath.Join(t.TempDir(), "s")
	ln, err := api.Listen(sock)
	if err != nil {
		t.Fatal(err)
	}
	s := api.NewServer(&listener{boxes: boxes}, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	})
	return sock
}

func running(name string, ports ...string) cnm.Sandbox {
	b := cnm.Sandbox{ID: strings.Repeat(name[:1], 64), State: cnm.Running, Spec: cnm.SandboxSpec{Name: name, Cmd: []string{"x"}, Expose: []string{"443/tcp"}}}
	for _, p := range ports { // 80/tcp=0.0.0.0:8080
		inside, host, _ := strings.Cut(p, "=")
		ms, err := cnm.ParsePublish(inside)
		if err != nil {
			panic(err)
		}
		b.Ports = append(b.Ports, cnm.PublishedPort{Proto: ms[0].Proto, Port: ms[0].Port, Host: netip.MustParseAddrPort(host)})
	}
	return b
}

func TestPort(t *testing.T) {
	made := running("made", "80/tcp=0.0.0.0:8080")
	made.State, made.Ports = cnm.Created, nil
	sock := listens(t, running("web", "53/udp=0.0.0.0:5353", "80/tcp=0.0.0.0:32770", "80/tcp=[::]:32770", "9000/tcp=127.0.0.1:900", "53/tcp=[::1]:53"), running("shut"), made)
	for _, c := range []struct {
		args     string
		code     int
		out, err string
	}{
		{"port web", 0, "53/tcp -> [::1]:53\n53/udp -> 0.0.0.0:5353\n80/tcp -> 0.0.0.0:32770\n80/tcp -> [::]:32770\n9000/tcp -> 127.0.0.1:900\n", ""},
		{"port web 80", 0, "0.0.0.0:32770\n[::]:32770\n", ""},
		{"port web 53/UDP", 0, "0.0.0.0:5353\n", ""},
		{"port web 81", 1, "", "weft: no public port '81/tcp' published for web\n"},
		{"port web 80/udp", 1, "", "weft: no public port '80/udp' published for web\n"},
		{"port web 443", 1, "", "weft: no public port '443/tcp' published for web\n"}, // exposed only
		{"port web http", 1, "", "weft: invalid port 'http': invalid syntax: expected a number from 1 to 65535, and tcp or udp after a slash\n"},
		{"port shut", 0, "", ""},
		{"port made", 0, "", ""},
		{"port made 80", 1, "", "weft: no public port '80/tcp' published for made\n"},
		{"port nobody", 1, "", "weft: No such container: nobody\n"},
		{"port", 2, "", "needs at least 1 argument"},
		{"port web 80 81", 2, "", "takes at most 2 arguments"},
	} {
		code, out, errs := weft(t, append([]string{"-H", sock}, strings.Fields(c.args)...)...)
		if code != c.code || out != c.out || (errs != c.err) && (c.code != 2 || !strings.Contains(errs, c.err)) {
			t.Errorf("weft %s: exit code %d, %q, %q, expected %d, %q, %q", c.args, code, out, errs, c.code, c.out, c.err)
		}
	}
}

func TestPsPorts(t *testing.T) {
	sock := listens(t, running("web", "80/tcp=0.0.0.0:80", "81/tcp=0.0.0.0:81", "80/tcp=[::]:80", "81/tcp=[::]:81", "53/udp=127.0.0.1:5353"), running("shut"))
	_, out, errs := weft(t, "-H", sock, "ps", "--format", "{{.Names}} {{.Ports}}")
	want := "web 0.0.0.0:80-81->80-81/tcp, [::]:80-81->80-81/tcp, 443/tcp, 127.0.0.1:5353->53/udp\nshut 443/tcp\n"
	if out != want {
		t.Errorf("ps prints\n%s%s\nexpected\n%s", out, errs, want)
	}
	if _, out, errs = weft(t, "-H", sock, "ps", "-f", "publish=5353/udp", "--format", "{{.Names}}"); out != "web\n" {
		t.Errorf("ps -f publish prints %q %q", out, errs)
	}
	if _, out, _ = weft(t, "-H", sock, "__complete", "port", ""); !strings.HasPrefix(out, "web\nshut\n:") {
		t.Errorf("after port is offered %q", out)
	}
	if _, out, _ = weft(t, "-H", sock, "__complete", "port", "web", ""); !strings.HasPrefix(out, "53/udp\n80/tcp\n81/tcp\n:") {
		t.Errorf("after port web is offered %q", out)
	}
}

// The expected lines are those of Docker 28 for the same ports.
func TestDisplayPorts(t *testing.T) {
	port := func(ip string, public, private uint16, proto string) container.PortSummary {
		p := container.PortSummary{PrivatePort: private, PublicPort: public, Type: proto}
		if ip != "" {
			p.IP = netip.MustParseAddr(ip)
		}
		return p
	}
	for _, c := range []struct {
		name  string
		ports []container.PortSummary
		want  string
	}{
		{"none", nil, ""},
		{"exposed", []container.PortSummary{port("", 0, 80, "tcp")}, "80/tcp"},
		{"exposed run", []container.PortSummary{port("", 0, 81, "tcp"), port("", 0, 80, "tcp"), port("", 0, 53, "udp")}, "53/udp, 80-81/tcp"},
		{"published", []container.PortSummary{port("::", 8080, 80, "tcp"), port("0.0.0.0", 8080, 80, "tcp")}, "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"},
		{"other numbers make no run", []container.PortSummary{port("0.0.0.0", 8080, 80, "tcp"), port("0.0.0.0", 8081, 81, "tcp")}, "0.0.0.0:8080->80/tcp, 0.0.0.0:8081->81/tcp"},
		{"run", []container.PortSummary{port("0.0.0.0", 80, 80, "tcp"), port("0.0.0.0", 81, 81, "tcp"), port("::", 80, 80, "tcp"), port("::", 81, 81, "tcp"), port("0.0.0.0", 82, 82, "udp")},
			"0.0.0.0:80-81->80-81/tcp, [::]:80-81->80-81/tcp, 0.0.0.0:82->82/udp"},
		{"gap", []container.PortSummary{port("0.0.0.0", 80, 80, "tcp"), port("", 0, 79, "tcp"), port("0.0.0.0", 82, 82, "tcp"), port("0.0.0.0", 9, 70, "tcp")},
			"0.0.0.0:80->80/tcp, 79/tcp, 0.0.0.0:82->82/tcp, 0.0.0.0:9->70/tcp"},
		{"highest", []container.PortSummary{port("1.2.3.4", 65534, 65534, "tcp"), port("1.2.3.4", 65535, 65535, "tcp")}, "1.2.3.4:65534-65535->65534-65535/tcp"},
	} {
		if got := displayPorts(c.ports); got != c.want {
			t.Errorf("%s: %q, expected %q", c.name, got, c.want)
		}
	}
}
