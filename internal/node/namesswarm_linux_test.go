package node

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"weft/internal/cnm"
)

// Sandboxes on a network of the swarm find those on other nodes by name, by both
// families, until they are gone or have another name.
func TestNamesSwarm(t *testing.T) {
	watchLeaks(t)
	nodes := swarmOf(t, 2, func(t *testing.T, last byte) Config {
		c := swarmConfig(t, last)
		c.ResolvConf = alone(t).ResolvConf
		return c
	})
	_, _, err := nodes[1].NetworkCreate(t.Context(), cnm.Network{Name: "over", Driver: cnm.DriverOverlay, EnableIPv4: true, EnableIPv6: true,
		IPAM: cnm.IPAM{Config: []cnm.Pool{{Subnet: netip.MustParsePrefix("10.67.70.0/24")}, {Subnet: netip.MustParsePrefix("fd67:70::/64")}}}})
	if err != nil {
		t.Fatal(err)
	}
	inTime(t, "the network is known", func() bool { _, err := nodes[2].Network("over"); return err == nil })
	rose := mustRun(t, nodes[1], cnm.SandboxSpec{Name: "rose", Networks: []cnm.NetworkJoin{{Network: "over", Config: cnm.EndpointConfig{Aliases: []string{"www"}}}}})
	mustRun(t, nodes[2], cnm.SandboxSpec{Name: "lily", Networks: on("over")})
	at := rose.Endpoints[0]
	known := func(name string) func() bool {
		return func() bool { _, code := execute(t, nodes[2], "lily", "lookup", name, "A"); return code == 0 }
	}
	inTime(t, "rose is known to lily", known("rose"))
	for _, c := range []struct{ name, kind, want string }{
		{"rose", "A", at.IPv4.Addr().String()},
		{"rose.over", "AAAA", at.IPv6.Addr().String()},
		{"www", "A", at.IPv4.Addr().String()},
		{cnm.ShortID(rose.ID), "A", at.IPv4.Addr().String()},
		{at.IPv4.Addr().String(), "PTR", "rose.over."},
		{at.IPv6.Addr().String(), "PTR", "rose.over."},
	} {
		finds(t, nodes[2], "lily", c.name, c.kind, c.want)
	}
	if err := nodes[1].SandboxRename(t.Context(), "rose", "tulip"); err != nil {
		t.Fatal(err)
	}
	inTime(t, "the new name is known", known("tulip"))
	inTime(t, "the old name is not", func() bool { return !known("rose")() })
	if err := nodes[1].SandboxRemove(t.Context(), "tulip", true); err != nil {
		t.Fatal(err)
	}
	inTime(t, "tulip is forgotten", func() bool { return !known("tulip")() })
}

// What people look names up with finds them: dig, over UDP and TCP and with EDNS, the
// C library's resolver and busybox's.
func TestNamesTools(t *testing.T) {
	n := openNode(t, alone(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.67.65.0/24")})
	at := addr4(mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front"), Expose: []string{"80/tcp"}}), "front").String()
	mustRun(t, n, cnm.SandboxSpec{Name: "lily", Networks: on("front")})
	for _, c := range []struct {
		tool string
		args string
		want string
	}{
		{"dig", "dig +short rose", at},
		{"dig", "dig +tcp +short rose.front", at},
		{"dig", "dig +noedns +short A rose", at},
		{"dig", "dig +short -x " + at, "rose.front."},
		{"dig", "dig rose MX", "status: NOERROR"},
		{"dig", "dig rose", "\nrose.\t\t\t5\tIN\tA\t" + at},
		{"dig", "dig +short _80._tcp.rose SRV", "0 0 80 rose."},
		{"getent", "getent ahostsv4 rose", at},
		{"busybox", "busybox nslookup rose", at},
		{"busybox", "busybox ping -c 1 -W 2 rose", "1 packets received"},
	} {
		if _, err := exec.LookPath(c.tool); err != nil {
			t.Logf("%s: not there, not tried", c.args)
			continue
		}
		out := shell(t, n, "lily", c.args)
		if !strings.Contains(out, c.want) {
			t.Errorf("%s: %q, want %q in it", c.args, out, c.want)
		}
	}
}

// shell runs a command line of the host's programs in a sandbox.
func shell(t *testing.T, n *Node, ref, line string) string {
	t.Helper()
	id, err := n.ExecCreate(t.Context(), ref, ExecSpec{Cmd: []string{"/bin/sh", "-c", line}, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.ExecStart(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, _ := readAll(s)
	return out
}
