package node

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
)

func pool(subnet string) cnm.IPAM {
	return cnm.IPAM{Config: []cnm.Pool{{Subnet: netip.MustParsePrefix(subnet)}}}
}

// Networks join those on them and part them from everybody else; connect and
// disconnect work on running sandboxes.
func TestConnectivity(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.1.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "back", IPAM: pool("10.66.2.0/24")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":7000"), Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "aster", Networks: on("back")})
	if a := addr4(rose, "front"); a != netip.MustParseAddr("10.66.1.2") || rose.Endpoints[0].MAC.String() != "02:42:0a:42:01:02" {
		t.Errorf("rose: %+v", rose.Endpoints)
	}
	reach(t, n, "tulip", addr4(rose, "front"), true)
	reach(t, n, "aster", addr4(rose, "front"), false)
	if out, code := execute(t, n, "tulip", "ping", "10.66.1.1"); code != 0 {
		t.Errorf("ping to the gateway: %s", out)
	}

	if err := n.NetworkConnect(t.Context(), "back", "rose", cnm.EndpointConfig{}); err != nil {
		t.Fatal(err)
	}
	rose = mustFind(t, n, "rose")
	if len(rose.Endpoints) != 2 || rose.Endpoints[1].IfName != "eth1" {
		t.Fatalf("after connect: %+v", rose.Endpoints)
	}
	reach(t, n, "aster", addr4(rose, "back"), true)
	reach(t, n, "tulip", addr4(rose, "front"), true)
	if hosts, _ := execute(t, n, "rose", "print", "/etc/hosts"); !strings.Contains(hosts, "10.66.1.2\t") || !strings.Contains(hosts, "10.66.2.3\t") {
		t.Errorf("/etc/hosts:\n%s", hosts)
	}
	if err := n.NetworkConnect(t.Context(), "back", "rose", cnm.EndpointConfig{}); !errors.Is(err, cnm.Forbidden) {
		t.Errorf("second connect: %v", err)
	}
	if err := n.NetworkRemove(t.Context(), "back"); err == nil || !strings.Contains(err.Error(), `network back has active endpoints (name:"aster" id:"`) {
		t.Errorf("removal while in use: %v", err)
	}

	if err := n.NetworkDisconnect(t.Context(), "front", "rose", false); err != nil {
		t.Fatal(err)
	}
	if links, _ := execute(t, n, "rose", "links"); strings.Contains(links, "eth0") || !strings.Contains(links, "eth1") {
		t.Errorf("after disconnect:\n%s", links)
	}
	reach(t, n, "tulip", netip.MustParseAddr("10.66.1.2"), false)
	reach(t, n, "aster", addr4(rose, "back"), true)
	if got := len(n.Stats()); got != 3 {
		t.Errorf("%d ports, want 3", got)
	}
}

func TestDualStackAndOptions(t *testing.T) {
	n := openNode(t, testConfig(t))
	_, _, err := n.NetworkCreate(t.Context(), cnm.Network{Name: "dual", EnableIPv4: true, EnableIPv6: true,
		IPAM:    cnm.IPAM{Config: []cnm.Pool{{Subnet: netip.MustParsePrefix("10.66.3.0/24")}, {Subnet: netip.MustParsePrefix("fd66:3::/64")}}},
		Options: map[string]string{"com.docker.network.driver.mtu": "1400"}})
	if err != nil {
		t.Fatal(err)
	}
	mustNetwork(t, n, cnm.Network{Name: "six", EnableIPv6: true})
	mustNetwork(t, n, cnm.Network{Name: "apart", Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"}})
	mustNetwork(t, n, cnm.Network{Name: "inner", Internal: true})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":7000"), Networks: on("dual", "six", "apart", "inner")})
	mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("inner", "apart", "six", "dual")})
	e := rose.Endpoints
	if e[0].IPv6.String() != "fd66:3::2/64" || e[0].MTU != 1400 || e[1].IPv4.IsValid() || !e[1].IPv6.IsValid() || e[3].Gateway4.IsValid() {
		t.Errorf("endpoints %+v", e)
	}
	reach(t, n, "tulip", e[0].IPv6.Addr(), true)
	reach(t, n, "tulip", e[1].IPv6.Addr(), true)
	reach(t, n, "tulip", e[2].IPv4.Addr(), false) // no ICC
	reach(t, n, "tulip", e[3].IPv4.Addr(), true)
	for _, gw := range []netip.Addr{netip.MustParseAddr("fd66:3::1"), e[1].Gateway6, netip.MustParseAddr("10.66.3.1"), e[2].Gateway4} {
		if out, code := execute(t, n, "tulip", "ping", gw.String()); code != 0 {
			t.Errorf("ping to gateway %s: %s", gw, out)
		}
	}
	if links, _ := execute(t, n, "rose", "links"); !strings.Contains(links, "eth0 02:42:0a:42:03:02 1400 [10.66.3.2/24 fd66:3::2/64") {
		t.Errorf("links:\n%s", links)
	}
}

// The default route follows the endpoints.
func TestDefaultRoute(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.14.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "back", IPAM: pool("10.66.15.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "inner", IPAM: pool("10.66.16.0/24"), Internal: true})
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("inner", "front")})
	check := func(when, want string) {
		t.Helper()
		out, _ := execute(t, n, "rose", "print", "/proc/net/route")
		got := ""
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); f[1] == "00000000" {
				got += f[0] + " " + f[2]
			}
		}
		if got != want {
			t.Errorf("%s: default route %q, want %q:\n%s", when, got, want, out)
		}
	}
	check("at the start", "eth1 010E420A")
	if err := n.NetworkConnect(t.Context(), "back", "rose", cnm.EndpointConfig{GwPriority: 1}); err != nil {
		t.Fatal(err)
	}
	check("a better one is connected", "eth2 010F420A")
	if err := n.NetworkDisconnect(t.Context(), "back", "rose", false); err != nil {
		t.Fatal(err)
	}
	check("it is disconnected", "eth1 010E420A")
	if err := n.NetworkDisconnect(t.Context(), "front", "rose", false); err != nil {
		t.Fatal(err)
	}
	check("an internal network is left", "")
}

// The families may have their default routes by way of different interfaces.
func TestDefaultRoutesPart(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "four", IPAM: pool("10.66.17.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "six", EnableIPv6: true, IPAM: pool("fd66:17::/64")})
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("four")})
	check := func(when string, want4, want6 bool) {
		t.Helper()
		out4, _ := execute(t, n, "rose", "print", "/proc/net/route")
		out6, _ := execute(t, n, "rose", "print", "/proc/net/ipv6_route")
		got4 := strings.Contains(out4, "eth0\t00000000\t0111420A")
		got6 := strings.Contains(out6, "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd660017000000000000000000000001")
		if got4 != want4 || got6 != want6 {
			t.Errorf("%s: IPv4 %v, IPv6 %v:\n%s%s", when, got4, got6, out4, out6)
		}
	}
	check("at the start", true, false)
	if err := n.NetworkConnect(t.Context(), "six", "rose", cnm.EndpointConfig{}); err != nil {
		t.Fatal(err)
	}
	check("another for IPv6", true, true)
	if err := n.NetworkDisconnect(t.Context(), "four", "rose", false); err != nil {
		t.Fatal(err)
	}
	check("that for IPv4 is gone", false, true)
}

func TestModes(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustRun(t, n, cnm.SandboxSpec{Name: "alone", NetworkMode: "none"})
	if links, _ := execute(t, n, "alone", "links"); strings.Count(links, "\n") != 1 || !strings.HasPrefix(links, "lo ") {
		t.Errorf("none: %s", links)
	}
	mustRun(t, n, cnm.SandboxSpec{Name: "open", Networks: on("host")})
	links, _ := execute(t, n, "open", "links")
	if own, _ := run(t, program("links")...); links != own {
		t.Errorf("host: %s, this host has %s", links, own)
	}
	for _, c := range []struct{ network, sandbox string }{{"bridge", "alone"}, {"bridge", "open"}, {"host", "alone"}} {
		if err := n.NetworkConnect(t.Context(), c.network, c.sandbox, cnm.EndpointConfig{}); !errors.Is(err, cnm.Forbidden) {
			t.Errorf("connect %s to %s: %v", c.sandbox, c.network, err)
		}
	}
}

func TestStaticAddresses(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.4.0/29")})
	mustNetwork(t, n, cnm.Network{Name: "auto"})
	join := func(name, network, ip string) error {
		id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: name, Cmd: program("sleep"),
			Networks: []cnm.NetworkJoin{{Network: network, Config: cnm.EndpointConfig{IPv4: netip.MustParseAddr(ip)}}}})
		if err != nil {
			return err
		}
		return n.SandboxStart(t.Context(), id)
	}
	if err := join("rose", "front", "10.66.4.5"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, network, ip, want string }{
		{"taken", "front", "10.66.4.5", "Address already in use"},
		{"gateway", "front", "10.66.4.1", "Address already in use"},
		{"outside", "front", "10.66.5.1", "no configured subnet contains IP address 10.66.5.1"},
		{"auto", "auto", "172.18.0.9", "user specified IP address is supported only when connecting to networks with user configured subnets"},
		{"default", "bridge", "172.17.0.9", "user specified IP address is supported on user defined networks only"},
	} {
		if err := join(c.name, c.network, c.ip); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	// A static address survives a stop and is free for others meanwhile.
	if err := n.SandboxKill(t.Context(), "rose", ""); err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), "rose"); err != nil {
		t.Fatal(err)
	}
	if a := addr4(mustFind(t, n, "rose"), "front"); a.String() != "10.66.4.5" {
		t.Errorf("after a restart: %s", a)
	}
}

// A link-local address is one sandbox's on a network, as every other.
func TestLinkLocalAddresses(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.14.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "back", IPAM: pool("169.254.7.0/24")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: []cnm.NetworkJoin{{Network: "front", Config: cnm.EndpointConfig{
		LinkLocal: []netip.Addr{netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("fe80::42:aff:fe42:e09")}}}}})
	iris := mustRun(t, n, cnm.SandboxSpec{Name: "iris", Networks: on("back")})
	front, err := n.Network("front")
	if err != nil {
		t.Fatal(err)
	}
	used := front.Subnets[0].InUse
	join := func(network string, c cnm.EndpointConfig) error {
		id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Cmd: program("sleep"), Networks: []cnm.NetworkJoin{{Network: network, Config: c}}})
		if err != nil {
			return err
		}
		return n.SandboxStart(t.Context(), id)
	}
	for _, c := range []struct{ name, network, address, want string }{
		{"another's", "front", "169.254.1.1", "already in use by container rose on network front"},
		{"another's own", "front", linkLocal(rose.Endpoints[0].MAC).String(), "already in use by container rose on network front"},
		{"the gateway's own", "front", linkLocal(gatewayMAC(&front.Network)).String(), "already in use by the gateway on network front"},
		{"the gateway's", "back", "169.254.7.1", "lies in the subnet 169.254.7.0/24 of network back"},
		{"given to another", "back", addr4(iris, "back").String(), "lies in the subnet"},
		{"on another network", "back", "169.254.1.1", ""},
	} {
		err := join(c.network, cnm.EndpointConfig{LinkLocal: []netip.Addr{netip.MustParseAddr(c.address)}})
		if (c.want == "") != (err == nil) || err != nil && (!errors.Is(err, cnm.Conflict) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	// The address an interface gives itself may not be one that is taken either.
	err = join("front", cnm.EndpointConfig{IPv4: netip.MustParseAddr("10.66.14.9")})
	if !errors.Is(err, cnm.Conflict) {
		t.Errorf("its MAC's address is rose's: %v", err)
	}
	if front, _ = n.Network("front"); front.Subnets[0].InUse != used {
		t.Errorf("%d addresses in use after refusals, %d before", front.Subnets[0].InUse, used)
	}
}

// Sandboxes that die while they are connected leave nothing half made.
func TestDeathWhileConnecting(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front"})
	for i := range 4 {
		sb := mustRun(t, n, cnm.SandboxSpec{Name: "rose"})
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			time.Sleep(time.Duration(i) * 4 * time.Millisecond)
			kill(t, n, sb.ID)
		}()
		n.NetworkConnect(t.Context(), "front", "rose", cnm.EndpointConfig{}) // may win or lose
		<-killed
		if _, err := n.SandboxWait(t.Context(), "rose", false); err != nil {
			t.Fatal(err)
		}
		if err := n.SandboxRemove(t.Context(), "rose", false); err != nil {
			t.Fatal(err)
		}
		for _, nw := range n.Networks() {
			for _, s := range nw.Subnets {
				if s.InUse != 3 || len(nw.Endpoints) != 0 {
					t.Errorf("network %s: %d addresses in use, endpoints %v", nw.Name, s.InUse, nw.Endpoints)
				}
			}
		}
		if len(n.Stats()) != 0 {
			t.Errorf("ports: %+v", n.Stats())
		}
	}
}
