package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/cnm"
)

// again closes a node and opens its successor.
func again(t *testing.T, n *Node, c Config) *Node {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	return openBeside(t, c)
}

// The way out outlives the daemon, and a daemon that was killed while it moved leaves
// nothing half done.
func TestGwbridgeRestart(t *testing.T) {
	watchLeaks(t)
	c := overlayConfig(t, 1)
	n := openBeside(t, c)
	mustNetwork(t, n, overlayAlone("front", 4101, false))
	mustNetwork(t, n, cnm.Network{Name: "yard", IPAM: pool("10.67.50.0/24")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front")})
	const before = "eth0=front eth1=weft_gwbridge! by eth1"
	wantPlaces(t, n, "rose", "at the start", before)

	n = again(t, n, c)
	wantPlaces(t, n, "rose", "after a restart", before)
	if got := addr4(mustFind(t, n, "rose"), cnm.NetGwbridge); got != addr4(rose, cnm.NetGwbridge) {
		t.Errorf("another address: %s", got)
	}
	if nw, err := n.Network(cnm.NetGwbridge); err != nil || nw.Subnets[0].InUse != 4 {
		t.Errorf("network %+v, %v", nw, err)
	}

	// A connect that was not written down: the way out has moved already.
	b, _ := n.findBox("rose")
	yard, _ := n.Network("yard")
	if err := n.connectLive(t.Context(), b, yard.ID, cnm.EndpointConfig{}); err != nil {
		t.Fatal(err)
	}
	if err := n.settle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	wantPlaces(t, n, "rose", "half a connect", "eth0=front eth2=yard by eth2")
	n = again(t, n, c)
	wantPlaces(t, n, "rose", "after half a connect", before)

	// The same, but the old way out was there still: the route went with the new one.
	b, _ = n.findBox("rose")
	if err := n.connectLive(t.Context(), b, yard.ID, cnm.EndpointConfig{}); err != nil {
		t.Fatal(err)
	}
	wantPlaces(t, n, "rose", "a third of a connect", "eth0=front eth1=weft_gwbridge! eth2=yard by eth2")
	n = again(t, n, c)
	wantPlaces(t, n, "rose", "after a third of a connect", before)

	// A daemon without an uplink takes it away, one with an uplink gives it back.
	none := c
	none.Uplink.Kind = UplinkNone
	n = again(t, n, none)
	wantPlaces(t, n, "rose", "without an uplink", "eth0=front")
	if resolv, _ := execute(t, n, "rose", "print", "/etc/resolv.conf"); strings.Contains(resolv, "ExtServers") {
		t.Errorf("questions are forwarded to servers nobody reaches:\n%s", resolv)
	}
	n = again(t, n, c)
	wantPlaces(t, n, "rose", "with an uplink again", before)

	// From inside it is only gone until something changes.
	execute(t, n, "rose", "unlink", "eth1")
	for range 200 {
		if len(mustFind(t, n, "rose").Endpoints) == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	wantPlaces(t, n, "rose", "deleted from inside", "eth0=front")
	mustNetwork(t, n, overlayAlone("back", 4102, false))
	mustConnect(t, n, "back", "rose")
	wantPlaces(t, n, "rose", "another overlay", "eth0=front eth1=back eth2=weft_gwbridge! by eth2")
}

// swing connects rose to a bridge network and disconnects it, for ever.
func swing(ctx context.Context, n *Node) {
	for {
		n.NetworkConnect(ctx, "yard", "rose", cnm.EndpointConfig{})
		n.NetworkDisconnect(ctx, "yard", "rose", false)
	}
}

// A daemon that is killed at any moment while a way out moves leaves the sandbox one, and
// no address that nobody has.
func TestGwbridgeKilled(t *testing.T) {
	watchLeaks(t)
	c := overlayConfig(t, 1)
	log := c.Log
	n := openBeside(t, c)
	mustNetwork(t, n, overlayAlone("front", 4101, false))
	mustNetwork(t, n, cnm.Network{Name: "yard", IPAM: pool("10.67.50.0/24")})
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front")})
	for range 12 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		cmd := startDaemon(t, c, "swing")
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		c.Log = log
		n = openBeside(t, c)
		at := places(t, n, "rose")
		var by, network string
		_, err := fmt.Sscanf(strings.ReplaceAll(at, "=", " "), "eth0 front %s %s by %s", &by, &network, new(string))
		if err != nil || !strings.HasSuffix(at, " by "+by) || network != "yard" && network != cnm.NetGwbridge+"!" {
			t.Errorf("rose is at %q", at)
		}
		if spec := len(mustFind(t, n, "rose").Spec.Networks); (spec == 2) != (network == "yard") {
			t.Errorf("rose is at %q, and wants %d networks", at, spec)
		}
		for _, nw := range n.Networks() {
			for _, s := range nw.Subnets {
				if nw.Driver == cnm.DriverBridge && s.InUse != uint64(3+len(nw.Endpoints)) {
					t.Errorf("network %s: %d addresses in use, %d endpoints", nw.Name, s.InUse, len(nw.Endpoints))
				}
			}
		}
	}
}

// A bridge network's interface that is deleted from inside gives way to weft_gwbridge.
func TestGwbridgeBridgeDeleted(t *testing.T) {
	watchLeaks(t)
	n := overlayNode(t, 1)
	mustNetwork(t, n, overlayAlone("front", 4101, false))
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front", "bridge")})
	wantPlaces(t, n, "rose", "at the start", "eth0=front eth1=bridge by eth1")
	execute(t, n, "rose", "unlink", "eth1")
	want := "eth0=front eth1=weft_gwbridge! by eth1"
	for range 200 {
		if places(t, n, "rose") == want {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	wantPlaces(t, n, "rose", "deleted from inside", want)
}

// A namespace made by somebody else has its way out too.
func TestGwbridgeForeign(t *testing.T) {
	watchLeaks(t)
	c := overlayConfig(t, 1)
	n := openBeside(t, c)
	mustNetwork(t, n, overlayAlone("front", 4101, false))
	server := strange(t, "sleep")
	if _, err := n.AttachForeign(t.Context(), cnm.SandboxSpec{Name: "stranger", Networks: on("front"), Foreign: &cnm.Foreign{PID: server.Process.Pid}}); err != nil {
		t.Fatal(err)
	}
	look := func() (at string) {
		for _, e := range mustFind(t, n, "stranger").Endpoints {
			at += fmt.Sprintf("%s=%s ", e.IfName, e.Network)
		}
		routes := readKnob(fmt.Sprintf("/proc/%d/net/route", server.Process.Pid))
		for line := range strings.Lines(routes) {
			if f := strings.Fields(line); f[1] == "00000000" {
				at += "by " + f[0]
			}
		}
		return at
	}
	want := func(when, want string) {
		t.Helper()
		if got := look(); got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	want("attached", "eth0=front eth1=weft_gwbridge by eth1")
	n = again(t, n, c)
	want("after a restart", "eth0=front eth1=weft_gwbridge by eth1")
	mustConnect(t, n, "bridge", "stranger")
	want("a bridge besides", "eth0=front eth2=bridge by eth2")
	mustDisconnect(t, n, "bridge", "stranger")
	want("no bridge any more", "eth0=front eth1=weft_gwbridge by eth1")
	if err := n.Detach(t.Context(), "stranger"); err != nil {
		t.Fatal(err)
	}
	if nw, err := n.Network(cnm.NetGwbridge); err != nil || len(nw.Endpoints) != 0 {
		t.Errorf("after detach: %+v, %v", nw, err)
	}
}

// Many sandboxes need the network at once, while it is removed whenever it can be.
func TestGwbridgeAtOnce(t *testing.T) {
	watchLeaks(t)
	n := overlayNode(t, 1)
	mustNetwork(t, n, overlayAlone("front", 4101, false))
	mustNetwork(t, n, cnm.Network{Name: "yard", IPAM: pool("10.67.50.0/24")})
	ctx, cancel := context.WithCancel(t.Context())
	var pruner, starts sync.WaitGroup
	pruner.Go(func() {
		for ctx.Err() == nil {
			n.NetworkPrune(ctx, func(nw cnm.Network) bool { return nw.Name != cnm.NetGwbridge })
		}
	})
	for i := range 6 {
		starts.Go(func() {
			name := fmt.Sprintf("box%d", i)
			mustRun(t, n, cnm.SandboxSpec{Name: name, Networks: on("front")})
			for range 3 {
				mustConnect(t, n, "yard", name)
				mustDisconnect(t, n, "yard", name)
			}
			wantPlaces(t, n, name, "in the end", "eth0=front eth1=weft_gwbridge! by eth1")
		})
	}
	starts.Wait()
	cancel()
	pruner.Wait()
	if nw, err := n.Network(cnm.NetGwbridge); err != nil || len(nw.Endpoints) != 6 || nw.Subnets[0].InUse != 9 {
		t.Errorf("%+v, %v", nw, err)
	}
}

// Overlays of a swarm are no different, and their subnets are left alone.
func TestGwbridgeSwarm(t *testing.T) {
	watchLeaks(t)
	n := swarm(t, 1)[1]
	_, _, err := n.NetworkCreate(t.Context(), cnm.Network{Name: "over", Driver: cnm.DriverOverlay, EnableIPv4: true, IPAM: pool("172.18.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = n.NetworkCreate(t.Context(), cnm.Network{Name: "secret", Driver: cnm.DriverOverlay, EnableIPv4: true, Internal: true})
	if err != nil {
		t.Fatal(err)
	}
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("over")})
	wantPlaces(t, n, "rose", "in a swarm", "eth0=over eth1=weft_gwbridge! by eth1")
	if a := addr4(rose, cnm.NetGwbridge); a != netip.MustParseAddr("172.19.0.2") {
		t.Errorf("on weft_gwbridge it has %s", a)
	}
	mustRun(t, n, cnm.SandboxSpec{Name: "mute", Networks: on("secret")})
	wantPlaces(t, n, "mute", "internal, in a swarm", "eth0=secret")
}
