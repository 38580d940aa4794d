//go:build linux

package cli

import (
	"maps"
	"strings"
	"testing"

	"weft/internal/cnm"
)

// squeeze makes one space of each run of them, and one line of all.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestNodeLs(t *testing.T) {
	m := leads(t)
	for _, c := range []struct{ args, want string }{
		{"", "ID HOSTNAME STATUS AVAILABILITY MANAGER STATUS ROLE LOSS " +
			oneID + " * one Ready Active Leader voter " + threeID + " three Ready Drain worker stops nothing elsewhere " +
			twoID + " two Down Active Unreachable standby stops nothing: the voters go on"},
		{"-q", oneID + " " + threeID + " " + twoID},
		{"--format {{.Hostname}}:{{.TLSStatus}}", "one:Ready three:Ready two:Ready"},
		{"-f node.label=rack=a --format {{.Hostname}}", "three"},
		{"-f node.label=rack=b -q", ""},
		{"-f role=manager -f name=two -q", twoID},
	} {
		if got := squeeze(m.must(t, append([]string{"node", "ls"}, strings.Fields(c.args)...)...)); got != c.want {
			t.Errorf("node ls %s: %q, expected %q", c.args, got, c.want)
		}
	}
	if got := squeeze(m.must(t, "node", "ls", "--format", "{{.Hostname}}:{{.Self}}{{if .Self}}me{{end}}")); got != "one:trueme three:false two:false" {
		t.Errorf("who it is: %s", got)
	}
	if out := m.must(t, "node", "ls", "--format", "json", "-f", "name=one"); !strings.Contains(out, `"Self":true`) {
		t.Errorf("JSON: %s", out)
	}
	if out := m.must(t, "node", "ls", "--help"); !strings.Contains(out, "node.label=") {
		t.Errorf("help names no node.label: %s", out)
	}
	// While a root is replaced, who has yet to renew is told.
	m.with(func() {
		m.swarm.OldRootPEM, m.swarm.RootPEM, m.swarm.RootRotation = m.swarm.RootPEM, root(t), true
		m.nodes[1].OldRoot = true
	})
	if got := squeeze(m.must(t, "node", "ls", "--format", "{{.Hostname}}:{{.TLSStatus}}")); got != "one:Ready three:Ready two:Needs Rotation" {
		t.Errorf("during a rotation: %s", got)
	}
	m.with(func() { m.swarm.RootRotation, m.swarm.OldRootPEM, m.swarm.RootPEM = false, nil, nil })
	if got := squeeze(m.must(t, "node", "ls", "--format", "{{.TLSStatus}}")); got != "Unknown Unknown Unknown" {
		t.Errorf("without a root: %s", got)
	}
	stranger(t).fails(t, 1, "not a swarm manager", "node", "ls")
}

func TestNodeUpdate(t *testing.T) {
	m := leads(t)
	for _, c := range []struct {
		args, word string
		code       int
	}{
		{"node update three", "nothing to change was named", 2},
		{"node update --availability often three", `"often" for "--availability" flag: expected active, pause or drain`, 2},
		{"node update --role boss three", "expected worker or manager", 2},
		{"node update --label-add =x three", "expected KEY[=VALUE]", 2},
		{"node update --label-rm colour three", "key colour doesn't exist in node's labels", 1},
		{"node update --label-add a=b --label-rm colour three", "key colour doesn't exist in node's labels", 1},
		{"node update --availability drain four", "node four not found", 1},
		{"node update --availability drain", "exactly 1 argument", 2},
		{"node rm three", "is not down", 1},
		{"node promote", "at least 1 argument", 2},
	} {
		m.fails(t, c.code, c.word, strings.Fields(c.args)...)
	}
	three := func() (s cnm.NodeSpec) {
		m.with(func() { s = m.nodes[2].Spec })
		return s
	}
	if s := three(); !maps.Equal(s.Labels, map[string]string{"rack": "a", "ssd": ""}) || s.Role != cnm.Worker || s.Availability != cnm.Drain {
		t.Errorf("refused changes made it %+v", s)
	}
	if out := m.must(t, "node", "update", "--label-add", "rack=b", "--label-add", "key", "--label-rm", "ssd", "--availability", "pause", "three"); out != "three\n" {
		t.Errorf("node update prints %q", out)
	}
	if s := three(); !maps.Equal(s.Labels, map[string]string{"rack": "b", "key": ""}) || s.Role != cnm.Worker || s.Availability != cnm.Pause {
		t.Errorf("it is %+v", s)
	}
	for _, c := range []struct{ args, want string }{
		{"node promote three", "Node three promoted in the swarm.\n"},
		{"node promote three", "Node three is already a manager.\n"},
		{"node demote three", "Node three demoted in the swarm.\n"},
		{"node update --role manager three", "three\n"},
		{"node rm --force two three", "two\nthree\n"},
	} {
		if out := m.must(t, strings.Fields(c.args)...); out != c.want {
			t.Errorf("%s prints %q, expected %q", c.args, out, c.want)
		}
	}
	m.fails(t, 1, "node two not found", "node", "rm", "two")
}

func TestNodeInspect(t *testing.T) {
	m := leads(t)
	if out := m.must(t, "node", "inspect", "-f", "{{.ID}} {{.Spec.Role}}", "self"); out != oneID+" manager\n" {
		t.Errorf("self: %q", out)
	}
	out := m.must(t, "node", "inspect", "--pretty", "one")
	for _, line := range []string{
		"ID: " + oneID, "Hostname: one", "Joined at: 2023-11-14T22:13:20Z", "State: Ready", "Availability: Active", "Address: 127.0.0.1",
		"Manager Status: Address: 127.0.0.1:2377 Raft Status: Reachable Leader: Yes", "Engine Version: 0", "TrustRoot: -----BEGIN CERTIFICATE-----", "Issuer Subject: M",
	} {
		if !strings.Contains(squeeze(out), line) {
			t.Errorf("--pretty has no %q:\n%s", line, out)
		}
	}
	code, out, errs := m.weft(t, "node", "inspect", "--pretty", "three", "four", "two")
	if code != 1 || !strings.Contains(errs, "node four not found") {
		t.Errorf("exit code %d, %q", code, errs)
	}
	if s := squeeze(out); !strings.Contains(s, "Labels: - rack=a - ssd Hostname: three") || !strings.Contains(s, "Message: Stops nothing elsewhere Availability: Drain") ||
		!strings.Contains(s, "Leader: No") || strings.Contains(s, "Platform:") || !strings.Contains(out, "\n\nID:") {
		t.Errorf("--pretty of two:\n%s", out)
	}
	m.fails(t, 2, "exclude each other", "node", "inspect", "--pretty", "-f", "json", "one")
	m.fails(t, 1, "node four not found", "node", "inspect", "four")
}

func TestInfoSwarm(t *testing.T) {
	m := leads(t)
	want := "Swarm: active NodeID: " + oneID + " Is Manager: true ClusterID: cluster Managers: 2 Nodes: 3 Default Address Pool: 10.0.0.0/8 SubnetSize: 24 " +
		"Data Path Port: 4789 CA Configuration: Expiry Duration: 3 months Autolock Managers: false Root Rotation In Progress: false " +
		"Node Address: 127.0.0.1 Manager Addresses: 127.0.0.1:2377 127.0.0.2:2377 "
	if out := squeeze(m.must(t, "info")); !strings.Contains(out, want) {
		t.Errorf("info: %s\nexpected %s", out, want)
	}
	m.with(func() { m.info.Manager = false })
	out := m.must(t, "info")
	if want := "Swarm: active\n NodeID: " + oneID + "\n Is Manager: false\n Node Address: 127.0.0.1\n"; !strings.Contains(out, want) {
		t.Errorf("a worker's info: %s", out)
	}
	m.with(func() { m.info.State, m.info.Error = "locked", "it is locked" })
	if out := m.must(t, "info"); !strings.Contains(out, "Swarm: locked\n Error: it is locked\n") || strings.Contains(out, "NodeID") {
		t.Errorf("a locked manager's info: %s", out)
	}
	if out := stranger(t).must(t, "info"); !strings.Contains(out, "Swarm: inactive\n") || strings.Contains(out, "NodeID") {
		t.Errorf("a stranger's info: %s", out)
	}
}

// The shell offers nodes where they are asked for, and the words of flags and
// arguments that are fixed.
func TestCompleteSwarm(t *testing.T) {
	m := leads(t)
	for _, c := range []struct{ line, want string }{
		{"node rm ", "one two three"}, {"node rm one ", "two three"}, {"node inspect ", "self one two three"}, {"node promote two ", "one three"},
		{"node demote ", "one two three"}, {"node update ", "one two three"}, {"node update one ", ""}, {"swarm join-token ", "worker manager"},
		{"swarm join-token worker ", ""}, {"swarm init --availability ", "active pause drain"}, {"node update --role ", "worker manager"},
		{"swarm join --availability ", "active pause drain"}, {"network create --driver ", "bridge overlay"}, {"inspect --type ", "container network"},
	} {
		args := strings.Split(c.line, " ")
		_, out, _ := m.weft(t, append([]string{"__complete"}, args...)...)
		names, _, _ := strings.Cut(out, ":")
		if got := squeeze(names); got != c.want {
			t.Errorf("weft %s: %q is offered, expected %q", c.line, got, c.want)
		}
	}
}
