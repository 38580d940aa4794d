package node

import (
	"os"
	"strings"
	"testing"

	"weft/internal/cnm"
	"weft/internal/sandbox"
)

// What a daemon had half done when it was killed is undone by the next.
func TestRestoreHalfDone(t *testing.T) {
	c := testConfig(t)
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	needSandboxes(t)
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.12.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "back", IPAM: pool("10.66.13.0/24")})
	for _, name := range []string{"connecting", "disconnecting", "starting", "started", "staying"} {
		mustRun(t, n, cnm.SandboxSpec{Name: name, Networks: on("front")})
	}
	change := func(name string, f func(b *box)) {
		b, err := n.findBox(name)
		if err != nil {
			t.Fatal(err)
		}
		f(b)
		if err := n.save(b); err != nil {
			t.Fatal(err)
		}
	}
	// Killed after the interface was made and before the connect was complete.
	change("connecting", func(b *box) {
		if err := n.connectLive(t.Context(), b, "back", cnm.EndpointConfig{}); err != nil {
			t.Fatal(err)
		}
	})
	// Killed within a start: with the process running, or the agent only.
	change("started", func(b *box) { b.sb.State = cnm.Created })
	change("starting", func(b *box) { b.sb.State = cnm.Created })
	agents := map[string]*sandbox.Agent{}
	for _, name := range []string{"disconnecting", "starting"} {
		b, _ := n.findBox(name)
		a, err := sandbox.Connect(t.Context(), b.runDir)
		if err != nil {
			t.Fatal(err)
		}
		agents[name] = a
	}
	n.Close()
	// Killed after the interface was removed and before that was noted.
	if err := agents["disconnecting"].RemoveInterface(t.Context(), "eth0"); err != nil {
		t.Fatal(err)
	}
	if err := agents["starting"].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, a := range agents {
		a.Close()
	}

	n = openNode(t, c)
	for name, want := range map[string]struct {
		state cnm.State
		links string
	}{
		"connecting": {cnm.Running, "eth0"}, "disconnecting": {cnm.Running, ""}, "started": {cnm.Running, "eth0"}, "starting": {cnm.Created, ""},
	} {
		sb := mustFind(t, n, name)
		got := ""
		for _, e := range sb.Endpoints {
			got += e.IfName
		}
		if sb.State != want.state || got != want.links {
			t.Errorf("%s: %s with %q, want %s with %q", name, sb.State, got, want.state, want.links)
		}
		if want.state != cnm.Running {
			continue
		}
		if out, _ := execute(t, n, name, "links"); strings.Count(out, "eth") != len(want.links)/4 {
			t.Errorf("%s has inside:\n%s", name, out)
		}
	}
	// "connecting", "started" and "staying" are on front, nobody on back.
	for name, used := range map[string]uint64{"front": 6, "back": 3} {
		nw, err := n.Network(name)
		if err != nil || nw.Subnets[0].InUse != used {
			t.Errorf("network %s: %+v, %v, want %d in use", name, nw.Subnets, err, used)
		}
	}
	if out, code := execute(t, n, "connecting", "ping", addr4(mustFind(t, n, "started"), "front").String()); code != 0 {
		t.Errorf("ping: %s", out)
	}
	if _, err := os.Stat(n.boxDir(mustFind(t, n, "starting").ID)); err != nil {
		t.Error(err)
	}
}
