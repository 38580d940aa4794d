package node

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/cnm"
	"weft/internal/nettest"
	"weft/tap"
)

// with is a join of a network with driver options, K=V each.
func with(network string, options ...string) []cnm.NetworkJoin {
	m := make(map[string]string)
	for _, o := range options {
		k, v, _ := strings.Cut(o, "=")
		m[k] = v
	}
	return []cnm.NetworkJoin{{Network: network, Config: cnm.EndpointConfig{DriverOpts: m}}}
}

// The options of an endpoint reach the guard of its port.
func TestGuardOptions(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", EnableIPv4: true, EnableIPv6: true, IPAM: cnm.IPAM{Config: []cnm.Pool{
		{Subnet: netip.MustParsePrefix("10.66.50.0/24")}, {Subnet: netip.MustParsePrefix("fd66:50::/64")}}}})
	mustRun(t, n, cnm.SandboxSpec{Name: "plain", Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "router", Networks: with("front", "weft.allow-ra=true")})
	mustRun(t, n, cnm.SandboxSpec{Name: "server", Networks: with("front", "weft.allow-dhcp=true")})
	mustRun(t, n, cnm.SandboxSpec{Name: "free", Networks: with("front", "weft.guard=off", "weft.mac-limit=1")})
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "late", Cmd: program("sleep"), Networks: on("bridge")})
	if err == nil {
		err = n.SandboxStart(t.Context(), id)
	}
	if err == nil {
		err = n.NetworkConnect(t.Context(), "front", "late", cnm.EndpointConfig{DriverOpts: map[string]string{"weft.guard": "off"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ box, frame, want string }{
		{"plain", "spoofed", "dropped: spoofed-mac"}, {"plain", "offer", "dropped: dhcp-guard"}, {"plain", "advertisement", "dropped: ra-guard"},
		{"router", "advertisement", "forwarded"}, {"router", "offer", "dropped: dhcp-guard"}, {"router", "spoofed", "dropped: spoofed-mac"},
		{"server", "offer", "forwarded"}, {"server", "advertisement", "dropped: ra-guard"},
		{"free", "spoofed", "forwarded"}, {"free", "offer", "forwarded"}, {"free", "advertisement", "forwarded"},
		{"late:eth1", "spoofed", "forwarded"},
	} {
		name, _, _ := strings.Cut(c.box, ":")
		sb := mustFind(t, n, name)
		e := sb.Endpoints[len(sb.Endpoints)-1]
		own, port := nettest.Host{MAC: e.MAC, IP: e.IPv4.Addr()}, c.box
		var f []byte
		switch c.frame {
		case "spoofed":
			f = nettest.Ether(nettest.Broadcast, nettest.Station("10.66.50.99").MAC, 0x88b5, make([]byte, 46))
		case "offer":
			udp := make([]byte, 8+240)
			binary.BigEndian.PutUint16(udp, 67)
			binary.BigEndian.PutUint16(udp[2:], 68)
			binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
			f = nettest.Ether(nettest.Broadcast, own.MAC, 0x0800, nettest.IP(own.IP, netip.MustParseAddr("255.255.255.255"), 17, udp))
		case "advertisement":
			all := netip.MustParseAddr("ff02::1")
			f = nettest.Ether([6]byte{0x33, 0x33, 0, 0, 0, 1}, own.MAC, 0x86dd, nettest.IPTTL(linkLocal(own.MAC), all, 58, 255, append([]byte{134}, make([]byte, 15)...)))
		}
		steps, err := n.Trace(t.Context(), TraceOptions{Port: port, Frame: f})
		if err != nil {
			t.Fatal(err)
		}
		if got := steps[len(steps)-1].Result; got != c.want {
			t.Errorf("%s from %s: %s, want %s: %+v", c.frame, c.box, got, c.want, steps)
		}
	}
	n.path.mu.Lock()
	defer n.path.mu.Unlock()
	for _, lp := range n.path.ports {
		if want := map[string]int{"free:eth0": 1}[lp.plan.name]; lp.plan.maxMACs != want {
			t.Errorf("%s learns %d addresses, want %d", lp.plan.name, lp.plan.maxMACs, want)
		}
	}
}

// A port whose options changed is made anew.
func TestPlanOptions(t *testing.T) {
	front := bridge("a", nil, "10.0.0.1")
	rose := at("a", "rose", "eth0", "10.0.0.2/24")
	for _, option := range []string{"weft.allow-ra=true", "weft.allow-dhcp=true", "weft.guard=off", "weft.mac-limit=3"} {
		changed := rose
		changed.Config = with("a", option)[0].Config
		steps := difference(makePlan(desired{networks: []cnm.Network{front}, endpoints: []desiredEndpoint{rose}, guard: true}),
			makePlan(desired{networks: []cnm.Network{front}, endpoints: []desiredEndpoint{changed}, guard: true}))
		if len(steps) != 2 || steps[0].op != removePort || steps[1].op != addPort {
			t.Errorf("%s: %v", option, steps)
		}
	}
}

// Settings of an interface are written where they belong, under the name it has.
func TestEndpointSysctls(t *testing.T) {
	n := openNode(t, testConfig(t))
	p := strange(t, "sleep")
	const opt = "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.neigh.IFNAME.mcast_solicit=7"
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("bridge")})
	mustNetwork(t, n, cnm.Network{Name: "front"})
	if err := n.NetworkConnect(t.Context(), "front", "rose", with("", opt)[0].Config); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"conf/eth1/log_martians": "1", "conf/eth0/log_martians": "0", "neigh/eth1/mcast_solicit": "7"} {
		if out, _ := execute(t, n, "rose", "print", "/proc/sys/net/ipv4/"+path); strings.TrimSpace(out) != want {
			t.Errorf("%s is %s, want %s", path, out, want)
		}
	}
	if _, err := n.AttachForeign(t.Context(), cnm.SandboxSpec{Foreign: &cnm.Foreign{PID: p.Process.Pid}, Networks: with("front", opt)}); err != nil {
		t.Errorf("in somebody else's namespace: %v", err)
	}
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "tulip", Cmd: program("sleep"),
		Networks: with("front", "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.nonsense=1")})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), id); err == nil || !strings.Contains(err.Error(), "net.ipv4.conf.eth0.nonsense") {
		t.Errorf("a setting that does not exist: %v", err)
	}
}

// The ladder of offloads begins where the daemon's setting says, for interfaces
// made before it was set as well.
func TestTAPOffload(t *testing.T) {
	c := testConfig(t)
	p := strange(t, "serve", ":7000")
	for i, step := range []struct{ set, want tap.Rung }{{tap.TSO, tap.TSO}, {tap.Plain, tap.Plain}, {tap.USO, tap.USO}, {tap.Water, tap.Plain}} {
		c.TAPOffload = step.set
		n, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.51.0/24")})
			mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":7000"), Networks: on("front")})
			mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("front")})
			if _, err := n.AttachForeign(t.Context(), cnm.SandboxSpec{Name: "guest", Networks: on("front"), Foreign: &cnm.Foreign{PID: p.Process.Pid}}); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range n.Stats() {
			want := step.want
			if s.Sandbox == "guest" { // opened anew: it can be on any rung
				want = step.set
			}
			if s.Rung != want.String() {
				t.Errorf("set to %s: %s is on %s, want %s", step.set, s.Port, s.Rung, want)
			}
		}
		for _, to := range []string{"rose", "guest"} {
			reach(t, n, "tulip", addr4(mustFind(t, n, to), "front"), true)
		}
		if i == 3 {
			fresh := mustRun(t, n, cnm.SandboxSpec{Name: "fresh", Networks: on("front")})
			reach(t, n, "fresh", addr4(mustFind(t, n, "rose"), "front"), true)
			for _, s := range n.Stats() {
				if s.SandboxID == fresh.ID && s.Rung != "water" {
					t.Errorf("a new one is on %s", s.Rung)
				}
			}
			for _, s := range n.Sandboxes() {
				if err := n.SandboxRemove(t.Context(), s.ID, true); err != nil {
					t.Error(err)
				}
			}
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// An endpoint with several queues is served by several workers, also after a
// restart of the daemon.
func TestQueues(t *testing.T) {
	c := testConfig(t)
	p := strange(t, "serve", ":7000")
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.52.0/24")})
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":7000"), Networks: with("front", "weft.queues=4")})
	mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: with("front", "weft.queues=2")})
	mustRun(t, n, cnm.SandboxSpec{Name: "aster", Networks: on("front")})
	if _, err := n.AttachForeign(t.Context(), cnm.SandboxSpec{Name: "guest", Networks: with("front", "weft.queues=2"), Foreign: &cnm.Foreign{PID: p.Process.Pid}}); err != nil {
		t.Fatal(err)
	}
	check := func(n *Node) {
		t.Helper()
		n.path.mu.Lock()
		for _, lp := range n.path.ports {
			if lp.exit != nil {
				continue
			}
			want := map[string]int{"rose": 4, "tulip": 2, "aster": 1, "guest": 2}[strings.TrimSuffix(lp.plan.name, ":eth0")]
			var serves [2]int
			for _, s := range lp.charges {
				serves[s.worker.id]++
			}
			if len(lp.charges) != want || want > 1 && serves[0] != serves[1] {
				t.Errorf("%s has %d queues, want %d, served by %v", lp.plan.name, len(lp.charges), want, serves)
			}
		}
		n.path.mu.Unlock()
		for _, from := range []string{"tulip", "aster"} {
			for range 8 { // flows enough for every queue
				for _, to := range []string{"rose", "guest"} {
					reach(t, n, from, addr4(mustFind(t, n, to), "front"), true)
				}
			}
		}
	}
	check(n)
	n.path.tick(n.now())
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	check(openNode(t, c))
}

// The doctor tries what the daemon may use.
func TestDoctorOffload(t *testing.T) {
	needSandboxes(t)
	for _, c := range doctor(t.TempDir(), tap.TSO, Uplink{}) {
		if c.Name == "TAP offloads" {
			if c.Status != OK || c.Found != "tso, the most that --tap-offload allows" {
				t.Errorf("%+v", c)
			}
			return
		}
	}
	t.Error("the doctor does not say")
}
