package node

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
)

// overlayAlone describes an overlay whose only peer is not there.
func overlayAlone(name string, vni int, internal bool) cnm.Network {
	return cnm.Network{Name: name, Driver: cnm.DriverOverlay, Internal: internal, IPAM: pool(fmt.Sprintf("10.67.%d.0/24", vni-4100)),
		Options: map[string]string{"weft.vni": fmt.Sprint(vni), "weft.peers": "127.0.0.9"}}
}

// places is where a sandbox is: its interfaces with their networks, and by which the
// default route goes.
func places(t *testing.T, n *Node, ref string) string {
	t.Helper()
	var out []string
	for _, e := range mustFind(t, n, ref).Endpoints {
		s := e.IfName + "=" + e.Network
		if e.WayOut {
			s += "!"
		}
		out = append(out, s)
	}
	routes, _ := execute(t, n, ref, "print", "/proc/net/route")
	for line := range strings.Lines(routes) {
		if f := strings.Fields(line); f[1] == "00000000" {
			out = append(out, "by "+f[0])
		}
	}
	return strings.Join(out, " ")
}

func wantPlaces(t *testing.T, n *Node, ref, when, want string) {
	t.Helper()
	if got := places(t, n, ref); got != want {
		t.Errorf("%s: %q, want %q", when, got, want)
	}
}

func mustConnect(t *testing.T, n *Node, network, ref string) {
	t.Helper()
	if err := n.NetworkConnect(t.Context(), network, ref, cnm.EndpointConfig{}); err != nil {
		t.Fatalf("connect %s to %s: %v", ref, network, err)
	}
}

func mustDisconnect(t *testing.T, n *Node, network, ref string) {
	t.Helper()
	if err := n.NetworkDisconnect(t.Context(), network, ref, false); err != nil {
		t.Fatalf("disconnect %s from %s: %v", ref, network, err)
	}
}

// A sandbox on overlays alone has its way out on weft_gwbridge, as its last interface,
// for as long as nothing else leads out.
func TestGwbridge(t *testing.T) {
	watchLeaks(t)
	n := overlayNode(t, 1)
	mustNetwork(t, n, overlayAlone("front", 4101, false))
	mustNetwork(t, n, overlayAlone("back", 4102, false))
	mustNetwork(t, n, overlayAlone("secret", 4103, true))
	mustNetwork(t, n, cnm.Network{Name: "yard", IPAM: pool("10.67.50.0/24")})
	if _, err := n.Network(cnm.NetGwbridge); !errors.Is(err, cnm.NotFound) {
		t.Errorf("there before it is needed: %v", err)
	}
	events := n.Events(t.Context(), time.Time{}, time.Time{})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front", "back")})
	wantPlaces(t, n, "rose", "at the start", "eth0=front eth1=back eth2=weft_gwbridge! by eth2")
	for _, want := range []string{"create ", "create weft_gwbridge", "connect front", "connect back", "connect weft_gwbridge", "start "} {
		e := nextEvent(t, events)
		network := ""
		if e.Type == "network" {
			network = e.Attributes["name"]
		}
		if got := e.Action + " " + network; got != want {
			t.Fatalf("event %q, want %q", got, want)
		}
	}
	nw, err := n.Network(cnm.NetGwbridge)
	if err != nil || nw.EnableIPv6 || nw.Driver != cnm.DriverBridge || len(nw.Subnets) != 1 || nw.Subnets[0].Subnet.Bits() != 16 {
		t.Errorf("network: %+v, %v", nw, err)
	}
	if len(nw.Endpoints) != 1 || nw.Endpoints[0].Name != "gateway_"+rose.ID[:12] || nw.Endpoints[0].Sandbox != "rose" || nw.Endpoints[0].DNSNames != nil {
		t.Errorf("endpoints: %+v", nw.Endpoints)
	}
	hosts, _ := execute(t, n, "rose", "print", "/etc/hosts")
	if strings.Contains(hosts, addr4(rose, cnm.NetGwbridge).String()) || !strings.Contains(hosts, addr4(rose, "back").String()) {
		t.Errorf("/etc/hosts:\n%s", hosts)
	}
	if out, code := execute(t, n, "rose", "ping", nw.IPAM.Config[0].Gateway.String()); code != 0 {
		t.Errorf("its gateway: %s", out)
	}

	mustConnect(t, n, "secret", "rose")
	wantPlaces(t, n, "rose", "an internal overlay besides", "eth0=front eth1=back eth2=weft_gwbridge! eth3=secret by eth2")
	mustConnect(t, n, "yard", "rose")
	wantPlaces(t, n, "rose", "a bridge besides", "eth0=front eth1=back eth3=secret eth4=yard by eth4")
	mustDisconnect(t, n, "back", "rose")
	mustDisconnect(t, n, "yard", "rose")
	wantPlaces(t, n, "rose", "no bridge any more", "eth0=front eth3=secret eth1=weft_gwbridge! by eth1")
	mustDisconnect(t, n, "front", "rose")
	wantPlaces(t, n, "rose", "an internal overlay alone", "eth3=secret")
	mustConnect(t, n, "front", "rose")
	wantPlaces(t, n, "rose", "an overlay again", "eth3=secret eth0=front eth1=weft_gwbridge! by eth1")
	if err := n.SandboxRemove(t.Context(), "rose", true); err != nil {
		t.Fatal(err)
	}
	if nw, err := n.Network(cnm.NetGwbridge); err != nil || len(nw.Endpoints) != 0 || nw.Subnets[0].InUse != 3 {
		t.Errorf("after its removal: %+v, %v", nw, err)
	}

	mustRun(t, n, cnm.SandboxSpec{Name: "mute", Networks: on("secret")})
	wantPlaces(t, n, "mute", "internal", "eth0=secret")
	mustRun(t, n, cnm.SandboxSpec{Name: "outside", Networks: on("front", "yard")})
	wantPlaces(t, n, "outside", "overlay and bridge", "eth0=front eth1=yard by eth1")
	mustRun(t, n, cnm.SandboxSpec{Name: "nothing", NetworkMode: cnm.NetNone})
	wantPlaces(t, n, "nothing", "none", "=none")
}

// Nobody reaches another sandbox by weft_gwbridge.
func TestGwbridgeApart(t *testing.T) {
	watchLeaks(t)
	n := overlayNode(t, 1)
	mustNetwork(t, n, overlayAlone("front", 4101, false))
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":7000"), Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("front")})
	reach(t, n, "tulip", addr4(rose, "front"), true)
	reach(t, n, "tulip", addr4(rose, cnm.NetGwbridge), false)
}

// The network is the user's to make, is not removed while somebody is on it, and comes
// back when it is needed again. It can be joined by hand, like any.
func TestGwbridgeOwn(t *testing.T) {
	watchLeaks(t)
	n := overlayNode(t, 1)
	mustNetwork(t, n, overlayAlone("front", 4101, false))
	own := cnm.Network{Name: cnm.NetGwbridge, EnableIPv4: true, EnableIPv6: true, Labels: map[string]string{"mine": "yes"},
		IPAM: cnm.IPAM{Config: []cnm.Pool{{Subnet: netip.MustParsePrefix("10.67.60.0/24")}, {Subnet: netip.MustParsePrefix("fd67:60::/64")}}}}
	mustNetwork(t, n, own)
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front")})
	if e := rose.Endpoints[1]; e.IPv4.String() != "10.67.60.2/24" || e.IPv6.String() != "fd67:60::2/64" || !e.Gateway6.IsValid() {
		t.Errorf("endpoint %+v", e)
	}
	err := n.NetworkRemove(t.Context(), cnm.NetGwbridge)
	if !errors.Is(err, cnm.Forbidden) || !strings.Contains(err.Error(), `has active endpoints (name:"gateway_`+rose.ID[:12]+`" id:`) {
		t.Errorf("removal while in use: %v", err)
	}
	if gone, err := n.NetworkPrune(t.Context(), nil); err != nil || len(gone) != 0 {
		t.Errorf("pruned %v, %v", gone, err)
	}
	if err := n.NetworkDisconnect(t.Context(), cnm.NetGwbridge, "rose", false); !errors.Is(err, cnm.Conflict) || !strings.Contains(err.Error(), "is not connected to network") {
		t.Errorf("disconnect by hand: %v", err)
	}
	// By hand with an address that is asked for; taken by nobody, then by another.
	fixed := cnm.EndpointConfig{IPv4: netip.MustParseAddr("10.67.60.77")}
	if err := n.NetworkConnect(t.Context(), cnm.NetGwbridge, "rose", fixed); err != nil {
		t.Fatal(err)
	}
	wantPlaces(t, n, "rose", "joined by hand", "eth0=front eth1=weft_gwbridge by eth1")
	mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("front")})
	if err := n.NetworkConnect(t.Context(), cnm.NetGwbridge, "tulip", fixed); err == nil {
		t.Error("one address was given twice")
	}
	wantPlaces(t, n, "tulip", "a connect that failed", "eth0=front eth1=weft_gwbridge! by eth1")
	mustDisconnect(t, n, cnm.NetGwbridge, "rose")
	wantPlaces(t, n, "rose", "left by hand", "eth0=front eth1=weft_gwbridge! by eth1")

	for _, name := range []string{"rose", "tulip"} {
		if err := n.SandboxRemove(t.Context(), name, true); err != nil {
			t.Fatal(err)
		}
	}
	if gone, err := n.NetworkPrune(t.Context(), func(nw cnm.Network) bool { return nw.Name != cnm.NetGwbridge }); err != nil || len(gone) != 1 {
		t.Errorf("pruned %v, %v", gone, err)
	}
	mustRun(t, n, cnm.SandboxSpec{Name: "aster", Networks: on("front")})
	if nw, err := n.Network(cnm.NetGwbridge); err != nil || nw.EnableIPv6 || len(nw.Labels) != 0 {
		t.Errorf("made again: %+v, %v", nw, err)
	}
}

// Where no address is left for it, a sandbox does not start, and what fails to be
// connected is as it was.
func TestGwbridgeFull(t *testing.T) {
	watchLeaks(t)
	n := overlayNode(t, 1)
	mustNetwork(t, n, overlayAlone("front", 4101, false))
	mustNetwork(t, n, overlayAlone("secret", 4103, true))
	mustNetwork(t, n, cnm.Network{Name: "yard", IPAM: pool("10.67.50.0/24")})
	mustNetwork(t, n, cnm.Network{Name: cnm.NetGwbridge, IPAM: pool("10.67.60.0/30")}) // for one
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front")})
	_, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "tulip", Cmd: program("sleep"), Networks: on("front")})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), "tulip"); !errors.Is(err, cnm.Unavailable) {
		t.Errorf("start: %v", err)
	}
	if sb := mustFind(t, n, "tulip"); sb.State == cnm.Running || len(sb.Endpoints) != 0 {
		t.Errorf("after a failed start: %+v", sb)
	}
	mustRun(t, n, cnm.SandboxSpec{Name: "aster", Networks: on("secret")})
	if err := n.NetworkConnect(t.Context(), "front", "aster", cnm.EndpointConfig{}); !errors.Is(err, cnm.Unavailable) {
		t.Errorf("connect: %v", err)
	}
	wantPlaces(t, n, "aster", "after a failed connect", "eth0=secret")
	mustRun(t, n, cnm.SandboxSpec{Name: "lily", Networks: on("front", "yard")})
	if err := n.NetworkDisconnect(t.Context(), "yard", "lily", false); !errors.Is(err, cnm.Unavailable) {
		t.Errorf("disconnect: %v", err)
	}
	wantPlaces(t, n, "lily", "after a disconnect without a way out", "eth0=front")
	if err := n.SandboxRemove(t.Context(), "rose", true); err != nil {
		t.Fatal(err)
	}
	mustConnect(t, n, "secret", "lily")
	wantPlaces(t, n, "lily", "there is room again", "eth0=front eth1=secret eth2=weft_gwbridge! by eth2")
}

// With the uplink none, nothing leads out.
func TestGwbridgeNoUplink(t *testing.T) {
	watchLeaks(t)
	c := overlayConfig(t, 1)
	c.Uplink.Kind = UplinkNone
	n := openBeside(t, c)
	mustNetwork(t, n, overlayAlone("front", 4101, false))
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front")})
	wantPlaces(t, n, "rose", "overlay", "eth0=front")
	if _, err := n.Network(cnm.NetGwbridge); !errors.Is(err, cnm.NotFound) {
		t.Errorf("made all the same: %v", err)
	}
	mustConnect(t, n, "bridge", "rose")
	wantPlaces(t, n, "rose", "bridge", "eth0=front eth1=bridge by eth1")
	if resolv, _ := execute(t, n, "rose", "print", "/etc/resolv.conf"); strings.Contains(resolv, "ExtServers") {
		t.Errorf("questions are forwarded to servers nobody reaches:\n%s", resolv)
	}
}
