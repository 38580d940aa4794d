package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/nettest"
)

// A daemon is a node as users have it: a process that is told what to do by the
// command line.
type daemon struct{ env []string }

// startDaemon starts one, in a named namespace if one is given, in directories of
// its own. At the end its sandboxes and then it are gone.
func startDaemon(t *testing.T, ns string, flags ...string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	d := &daemon{append(os.Environ(), "XDG_RUNTIME_DIR="+run, "WEFT_HOST=unix://"+run+"/weft.sock")}
	args := append([]string{weft(), "daemon", "--log-level", "warn", "--data-dir", filepath.Join(dir, "data")}, flags...)
	if ns != "" {
		args = in(ns, args...)
	}
	b := startWith(t, d.env, args...)
	if !eventually(t, 15*time.Second, "the daemon answers", func() bool { _, ok := d.try(t, "info"); return ok }) {
		t.Fatal(b.stop(t))
	}
	t.Cleanup(func() {
		if ids, _ := d.try(t, "ps", "-aq"); ids != "" {
			d.do(t, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
		}
	})
	return d
}

func (d *daemon) try(t *testing.T, args ...string) (string, bool) {
	t.Helper()
	return runWith(t, d.env, append([]string{weft()}, args...)...)
}

// do runs a command of weft that has to succeed.
func (d *daemon) do(t *testing.T, args ...string) string {
	t.Helper()
	out, ok := d.try(t, args...)
	if !ok {
		t.Errorf("weft %s failed:\n%s", strings.Join(args, " "), out)
	}
	return strings.TrimSpace(out)
}

// TestNamespaces has three nodes, each in a namespace, on one Ethernet.
func TestNamespaces(t *testing.T) {
	isolated(t, func(t *testing.T) {
		ip(t, `link add hub type bridge
			link set hub up`)
		names, addrs := []string{"n1", "n2", "n3"}, []string{"10.9.0.1", "10.9.0.2", "10.9.0.3"}
		for i, ns := range names {
			ip(t, fmt.Sprintf(`netns add %[1]s
				link add %[1]s type veth peer name u netns %[1]s
				link set %[1]s master hub
				link set %[1]s up
				-n %[1]s addr add %[2]s/24 dev u
				-n %[1]s link set lo up
				-n %[1]s link set u up`, ns, addrs[i]))
		}
		triangle(t, names, addrs, "1450")
	})
}

// TestOneUser has three nodes on the loopback of one machine, whose user has no
// rights but his own.
func TestOneUser(t *testing.T) {
	needs(t)
	nettest.Unprivileged(t, func(t *testing.T) {
		triangle(t, []string{"", "", ""}, []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}, "65485", "--data-path-port", "24793")
	})
}

// triangle joins three nodes by an overlay and has everybody talk to everybody.
func triangle(t *testing.T, names, addrs []string, mtu string, flags ...string) {
	t.Helper()
	var nodes []*daemon
	for i, a := range addrs {
		d := startDaemon(t, names[i], append([]string{"--advertise-addr", a}, flags...)...)
		d.do(t, "network", "create", "-d", "overlay", "--ipv6", "--subnet", "10.66.20.0/24", "--ip-range", fmt.Sprintf("10.66.20.%d/28", 16*(i+1)),
			"--subnet", "fd66:20::/64", "--ip-range", fmt.Sprintf("fd66:20::%d:0/112", i+1), "-o", "weft.vni=4097", "-o", "weft.peers="+strings.Join(addrs, ","), "over")
		d.do(t, "run", "-d", "--name", "box", "--network", "over", "--", weft(), "tool", "serve")
		nodes = append(nodes, d)
	}
	inspect := func(i int, field string) string {
		t.Helper()
		return nodes[i].do(t, "inspect", "-f", `{{(index .NetworkSettings.Networks "over").`+field+`}}`, "box")
	}
	for i, d := range nodes {
		for j := range nodes {
			if i == j {
				continue
			}
			for _, field := range []string{"IPAddress", "GlobalIPv6Address"} {
				d.do(t, "exec", "box", weft(), "tool", "ping", "-c", "2", "-i", "50ms", inspect(j, field))
			}
		}
		next := inspect((i+1)%3, "IPAddress")
		d.do(t, "exec", "box", weft(), "tool", "send", "-m", "50", next)
		d.do(t, "exec", "box", weft(), "tool", "blast", "-t", "100ms", next)
		if links := d.do(t, "exec", "box", weft(), "tool", "links"); !strings.Contains(links, "eth0 mtu "+mtu+" ") {
			t.Errorf("expected MTU %s:\n%s", mtu, links)
		}
	}
	for i, d := range nodes {
		peers := strings.Fields(d.do(t, "peers", "ls", "--format", "{{.Peer}}"))
		for j, a := range addrs {
			known := slices.ContainsFunc(peers, func(p string) bool { return strings.HasPrefix(p, a+":") })
			if known != (i != j) {
				t.Errorf("peers of node %d: %q", i+1, peers)
			}
		}
	}
}
