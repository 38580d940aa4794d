package node

import (
	"errors"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/internal/cnm"
	"weft/internal/sandbox"
)

// unlink deletes an interface of the sandbox it runs in.
func unlink(ifName string) error {
	link, err := netlink.LinkByName(ifName)
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

// An interface that is deleted from inside takes its endpoint along, and the
// sandbox off its network: it may be connected again.
func TestInterfaceDeletedInside(t *testing.T) {
	n := openNode(t, testConfig(t))
	front := mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.40.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "back", IPAM: pool("10.66.41.0/24")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front", "back")})
	mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Cmd: program("serve", ":7000"), Networks: on("front")})
	events := n.Events(t.Context(), time.Time{}, time.Time{})
	if out, code := execute(t, n, "rose", "unlink", "eth0"); code != 0 {
		t.Fatal(out)
	}
	for {
		e := nextEvent(t, events)
		if e.Type == "network" {
			if e.Action != "disconnect" || e.ActorID != front || e.Attributes["container"] != rose.ID {
				t.Errorf("event %+v", e)
			}
			break
		}
	}
	rose = mustFind(t, n, "rose")
	if len(rose.Endpoints) != 1 || len(rose.Spec.Networks) != 1 || rose.Spec.Networks[0].Network != "back" || len(n.Stats()) != 2 {
		t.Errorf("after it: %+v, on %+v, ports %+v", rose.Endpoints, rose.Spec.Networks, n.Stats())
	}
	if nw, _ := n.Network("front"); len(nw.Endpoints) != 1 {
		t.Errorf("still on front: %+v", nw.Endpoints)
	}
	if err := n.NetworkDisconnect(t.Context(), "front", "rose", false); !errors.Is(err, cnm.Conflict) {
		t.Errorf("disconnect: %v", err)
	}
	if err := n.NetworkConnect(t.Context(), "front", "rose", cnm.EndpointConfig{}); err != nil {
		t.Fatal(err)
	}
	if e := mustFind(t, n, "rose").Endpoints; len(e) != 2 || e[1].IfName != "eth0" {
		t.Errorf("connected again: %+v", e)
	}
	reach(t, n, "rose", addr4(mustFind(t, n, "tulip"), "front"), true)
	// The next one stays away over a restart of the sandbox; a network that went
	// with the sandbox's end comes back.
	execute(t, n, "rose", "unlink", "eth0")
	for range 300 {
		if len(mustFind(t, n, "rose").Endpoints) == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	kill(t, n, rose.ID)
	if _, err := n.SandboxWait(t.Context(), "rose", false); err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), "rose"); err != nil {
		t.Fatal(err)
	}
	if e := mustFind(t, n, "rose").Endpoints; len(e) != 1 || e[0].Network != "back" {
		t.Errorf("after a restart: %+v", e)
	}
}

// The same while no daemon runs.
func TestInterfaceDeletedMeanwhile(t *testing.T) {
	c := testConfig(t)
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.42.0/24")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front", "bridge")})
	n.mu.Lock()
	dir := n.boxes[rose.ID].runDir
	n.mu.Unlock()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := sandbox.Connect(t.Context(), dir)
	if err == nil {
		err = errors.Join(a.RemoveInterface(t.Context(), "eth0"), a.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	n = openNode(t, c)
	rose = mustFind(t, n, "rose")
	if len(rose.Endpoints) != 1 || len(rose.Spec.Networks) != 1 || rose.Endpoints[0].Network != "bridge" {
		t.Errorf("after it: %+v, on %+v", rose.Endpoints, rose.Spec.Networks)
	}
	if err := n.NetworkConnect(t.Context(), "front", "rose", cnm.EndpointConfig{}); err != nil {
		t.Error(err)
	}
}

// Interfaces that go with their sandbox, however it ends, are no reason to forget
// the networks.
func TestInterfacesEndWithSandbox(t *testing.T) {
	n := openNode(t, testConfig(t))
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose"})
	b, err := n.findBox(rose.ID)
	if err != nil {
		t.Fatal(err)
	}
	b.op.Lock()                                                          // what follows from the end has to wait
	if err := b.agent.RemoveInterface(t.Context(), "eth0"); err != nil { // as an agent does when it ends
		t.Fatal(err)
	}
	kill(t, n, rose.ID)
	for range 300 {
		if len(n.path.deadPorts()) == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	dead := n.path.deadPorts()
	for _, key := range dead {
		n.bury(b, key)
	}
	b.op.Unlock()
	if len(dead) != 1 {
		t.Errorf("dead ports: %v", dead)
	}
	if _, err := n.SandboxWait(t.Context(), "rose", false); err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), "rose"); err != nil {
		t.Fatal(err)
	}
	if e := mustFind(t, n, "rose").Endpoints; len(e) != 1 {
		t.Errorf("not on its network any more: %+v", e)
	}
}

// A sandbox without a network, or on the host's, is listed there; from none it may
// be taken off to join others.
func TestModeNetworks(t *testing.T) {
	c := testConfig(t)
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.43.0/24")})
	events := n.Events(t.Context(), time.Time{}, time.Time{})
	lone := mustRun(t, n, cnm.SandboxSpec{Name: "lone", NetworkMode: cnm.NetNone})
	near := mustRun(t, n, cnm.SandboxSpec{Name: "near", NetworkMode: cnm.NetHost})
	nextEvent(t, events) // create
	if e := nextEvent(t, events); e.Type != "network" || e.Action != "connect" || e.Attributes["name"] != "none" || e.Attributes["type"] != "null" {
		t.Errorf("event %+v", e)
	}
	ids := make(map[string]string)
	for name, sb := range map[string]cnm.Sandbox{cnm.NetNone: lone, cnm.NetHost: near} {
		nw, err := n.Network(name)
		if err != nil || len(nw.Endpoints) != 1 || len(sb.Endpoints) != 1 {
			t.Fatalf("%s: %+v, %+v, %v", name, nw.Endpoints, sb.Endpoints, err)
		}
		e, own := nw.Endpoints[0], sb.Endpoints[0]
		if e.SandboxID != sb.ID || e.Sandbox != sb.Spec.Name || e.ID != own.ID || len(e.ID) != 64 || own.NetworkID != nw.ID || e.IPv4.IsValid() {
			t.Errorf("%s: %+v, in the sandbox %+v", name, e, own)
		}
		ids[name] = e.ID
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = openNode(t, c)
	if e := mustFind(t, n, "near").Endpoints; len(e) != 1 || e[0].ID != ids[cnm.NetHost] || ids[cnm.NetHost] == ids[cnm.NetNone] {
		t.Errorf("after a restart: %+v, before %v", e, ids)
	}
	if err := n.NetworkConnect(t.Context(), "front", "lone", cnm.EndpointConfig{}); !errors.Is(err, cnm.Forbidden) {
		t.Errorf("connect of one on none: %v", err)
	}
	if err := n.NetworkDisconnect(t.Context(), "host", "near", false); !errors.Is(err, cnm.Forbidden) {
		t.Errorf("disconnect from host: %v", err)
	}
	if err := n.NetworkDisconnect(t.Context(), "none", "lone", false); err != nil {
		t.Fatal(err)
	}
	if err := n.NetworkDisconnect(t.Context(), "none", "lone", false); !errors.Is(err, cnm.Conflict) {
		t.Errorf("second disconnect: %v", err)
	}
	if err := n.NetworkConnect(t.Context(), "front", "lone", cnm.EndpointConfig{}); err != nil {
		t.Fatal(err)
	}
	lone = mustFind(t, n, "lone")
	if nw, _ := n.Network(cnm.NetNone); len(nw.Endpoints) != 0 || lone.Spec.NetworkMode != "" || len(lone.Endpoints) != 1 || lone.Endpoints[0].IfName != "eth0" {
		t.Errorf("on none: %+v; %+v", nw.Endpoints, lone)
	}
	kill(t, n, lone.ID)
	if _, err := n.SandboxWait(t.Context(), "lone", false); err != nil {
		t.Fatal(err)
	}
	if nw, _ := n.Network("front"); len(nw.Endpoints) != 0 {
		t.Errorf("on front, stopped: %+v", nw.Endpoints)
	}
	if err := n.SandboxStart(t.Context(), "lone"); err != nil || addr4(mustFind(t, n, "lone"), "front").String() != "10.66.43.2" {
		t.Errorf("started again: %v, %+v", err, mustFind(t, n, "lone"))
	}
}
