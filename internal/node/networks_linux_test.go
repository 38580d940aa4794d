package node

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/cnm"
)

func TestPredefinedNetworks(t *testing.T) {
	c := testConfig(t)
	n := openNode(t, c)
	var names []string
	for _, nw := range n.Networks() {
		names = append(names, nw.Name+" "+nw.Driver)
		if err := n.NetworkRemove(t.Context(), nw.Name); !errors.Is(err, cnm.Forbidden) || err.Error() != nw.Name+" is a pre-defined network and cannot be removed" {
			t.Errorf("removal of %s: %v", nw.Name, err)
		}
		if _, _, err := n.NetworkCreate(t.Context(), cnm.Network{Name: nw.Name, EnableIPv4: true}); !errors.Is(err, cnm.Forbidden) {
			t.Errorf("creation of %s: %v", nw.Name, err)
		}
	}
	if !slices.Equal(names, []string{"bridge bridge", "host host", "none none"}) {
		t.Errorf("networks %q", names)
	}
	b, err := n.Network("bridge")
	if err != nil || len(b.IPAM.Config) != 1 || b.IPAM.Config[0].Gateway != b.IPAM.Config[0].Subnet.Addr().Next() || b.Subnets[0].InUse != 3 {
		t.Errorf("bridge: %+v, %v", b, err)
	}
}

func TestNetworkErrors(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.67.0.0/24")})
	for _, c := range []struct {
		name string
		nw   cnm.Network
		kind cnm.Kind
		text string
	}{
		{"same name", cnm.Network{Name: "front"}, cnm.Conflict, "network with name front already exists"},
		{"same subnet", cnm.Network{Name: "x", IPAM: pool("10.67.0.0/24")}, cnm.Forbidden, "verlap"},
		{"subnet within", cnm.Network{Name: "x", IPAM: pool("10.67.0.128/25")}, cnm.Forbidden, "verlap"},
		{"unknown driver", cnm.Network{Name: "x", Driver: "magic"}, cnm.Invalid, `plugin "magic"`},
		{"unknown option", cnm.Network{Name: "x", Options: map[string]string{"speed": "1"}}, cnm.Invalid, `unknown driver option "speed"`},
		{"gateway outside", cnm.Network{Name: "x", IPAM: cnm.IPAM{Config: []cnm.Pool{{Subnet: netip.MustParsePrefix("10.68.0.0/24"), Gateway: netip.MustParseAddr("10.69.0.1")}}}},
			cnm.Invalid, "invalid gateway 10.69.0.1"},
		{"nothing to copy from", cnm.Network{Name: "x", ConfigFrom: "nowhere"}, cnm.NotFound, `configuration network "nowhere" does not exist`},
	} {
		c.nw.EnableIPv4 = true
		if _, _, err := n.NetworkCreate(t.Context(), c.nw); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := n.NetworkRemove(t.Context(), "nowhere"); !errors.Is(err, cnm.NotFound) || err.Error() != "network nowhere not found" {
		t.Errorf("removal: %v", err)
	}
	if got := len(n.Networks()); got != 4 {
		t.Errorf("%d networks", got)
	}
}

// What is accepted and changes nothing is said so, and IPAM options are read as
// they were checked.
func TestNetworkOptions(t *testing.T) {
	n := openNode(t, testConfig(t))
	create := func(name string, nw cnm.Network) string {
		t.Helper()
		nw.Name, nw.EnableIPv4 = name, true
		_, warning, err := n.NetworkCreate(t.Context(), nw)
		if err != nil {
			t.Fatal(err)
		}
		return warning
	}
	routed := map[string]string{"gateway_mode_ipv4": "routed"}
	const want = "driver option gateway_mode_ipv4=routed lets nothing leave this node: nobody routes to the network, and only what is masqueraded is answered"
	if got := create("plain", cnm.Network{}); got != "" {
		t.Errorf("warning %q", got)
	}
	if got := create("routed", cnm.Network{Options: routed}); got != want {
		t.Errorf("warning %q", got)
	}
	if got := create("settings", cnm.Network{ConfigOnly: true, Options: routed}); got != "" {
		t.Errorf("of settings: warning %q", got)
	}
	if got := create("copy", cnm.Network{ConfigFrom: "settings"}); got != want {
		t.Errorf("of a copy: warning %q", got)
	}
	create("serial", cnm.Network{IPAM: cnm.IPAM{Config: pool("10.67.1.0/24").Config, Options: map[string]string{cnm.OptSerial: "TRUE"}}})
	var given []netip.Addr
	for range 2 {
		sb := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("serial")})
		given = append(given, addr4(sb, "serial"))
		if err := n.SandboxRemove(t.Context(), "rose", true); err != nil {
			t.Fatal(err)
		}
	}
	if given[0] == given[1] {
		t.Errorf("%v was given twice in a row", given[0])
	}
}

// What is accepted as a sysctl reaches the kernel, however its name was written.
func TestSysctls(t *testing.T) {
	n := openNode(t, testConfig(t))
	read := "cd /proc/sys/net/ipv4/conf/default; cat rp_filter log_martians"
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: []string{"/bin/sh", "-c", read}, NetworkMode: "none", Sysctls: map[string]string{
		"net.ipv4.conf.default.rp_filter": "2", "net/ipv4/conf/default/log_martians": "1",
	}})
	logs, err := n.SandboxLogs(t.Context(), "rose", LogOptions{Follow: true, Tail: -1, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	for _, want := range []string{"2\n", "1\n"} {
		if l, err := logs.Next(); err != nil || string(l.Text) != want {
			t.Errorf("inside: %q, %v, want %q", l.Text, err, want)
		}
	}
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Cmd: []string{"true"}, NetworkMode: "none",
		Sysctls: map[string]string{"net.ipv4.conf.eth0/1.forwarding": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), id); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("of an interface that is not there: %v", err)
	}
}

// A pool runs dry and fills again; nothing is lost on the way.
func TestExhaustion(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "tiny", IPAM: pool("10.67.1.0/30")})
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("tiny")})
	id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "tulip", Cmd: program("sleep"), Networks: on("bridge", "tiny")})
	if err != nil {
		t.Fatal(err)
	}
	nw, _ := n.Network("tiny")
	want := "no available IPv4 addresses on this network's address pools: tiny (" + nw.ID + ")"
	for range 3 {
		if err := n.SandboxStart(t.Context(), id); !errors.Is(err, cnm.Unavailable) || err.Error() != want {
			t.Fatalf("start on a full network: %v", err)
		}
	}
	if b, _ := n.Network("bridge"); b.Subnets[0].InUse != 3 {
		t.Errorf("addresses of bridge were lost: %+v", b.Subnets)
	}
	if err := n.SandboxRemove(t.Context(), "rose", true); err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// The pools run out of subnets and get them back.
func TestPoolsExhausted(t *testing.T) {
	c := testConfig(t)
	c.Pools = []AddressPool{{Base: netip.MustParsePrefix("10.67.64.0/22"), Size: 24}} // one is for network bridge
	n := openNode(t, c)
	for range 3 {
		mustNetwork(t, n, cnm.Network{Name: cnm.NewID()[:8]})
	}
	_, _, err := n.NetworkCreate(t.Context(), cnm.Network{Name: "over", EnableIPv4: true})
	if !errors.Is(err, cnm.Unavailable) || err.Error() != "all predefined address pools have been fully subnetted" {
		t.Errorf("one more: %v", err)
	}
	if _, err := n.Network("over"); !errors.Is(err, cnm.NotFound) {
		t.Errorf("it is there: %v", err)
	}
	if gone, err := n.NetworkPrune(t.Context(), nil); err != nil || len(gone) != 3 {
		t.Errorf("pruned: %q, %v", gone, err)
	}
	mustNetwork(t, n, cnm.Network{Name: "over"})
}

func TestPrune(t *testing.T) {
	n := openNode(t, testConfig(t))
	for _, name := range []string{"a", "b", "used", "kept"} {
		mustNetwork(t, n, cnm.Network{Name: name})
	}
	mustRun(t, n, cnm.SandboxSpec{Networks: on("used")})
	removed, err := n.NetworkPrune(t.Context(), func(nw cnm.Network) bool { return nw.Name == "kept" })
	if err != nil || !slices.Equal(removed, []string{"a", "b"}) {
		t.Errorf("pruned %q, %v", removed, err)
	}
}

func TestConfigFrom(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "template", ConfigOnly: true, IPAM: pool("10.67.2.0/24"), Labels: map[string]string{"a": "b"}})
	mustNetwork(t, n, cnm.Network{Name: "made", ConfigFrom: "template"})
	nw, err := n.Network("made")
	if err != nil || nw.IPAM.Config[0].Subnet.String() != "10.67.2.0/24" || nw.Labels["a"] != "b" {
		t.Errorf("made: %+v, %v", nw, err)
	}
	if err := n.NetworkRemove(t.Context(), "template"); !errors.Is(err, cnm.Forbidden) {
		t.Errorf("removal of a template in use: %v", err)
	}
	if id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Cmd: program("sleep"), Networks: on("template")}); err == nil {
		t.Errorf("a sandbox on a template: %s", id)
	}
}

// Source E-14, host A: the switch is .100, and the sandboxes' way out is the
// underlay's router.
func TestAuxiliaryGateway(t *testing.T) {
	n := openNode(t, testConfig(t))
	p := cnm.Pool{Subnet: netip.MustParsePrefix("10.67.3.0/24"), IPRange: netip.MustParsePrefix("10.67.3.0/28"), Gateway: netip.MustParseAddr("10.67.3.100"),
		Aux: map[string]netip.Addr{cnm.AuxGateway4: netip.MustParseAddr("10.67.3.1")}}
	p6 := cnm.Pool{Subnet: netip.MustParsePrefix("fd67:3::/64"), Aux: map[string]netip.Addr{cnm.AuxGateway6: netip.MustParseAddr("fd67:3::99")}}
	id := mustNetwork(t, n, cnm.Network{Name: "brnet", EnableIPv4: true, EnableIPv6: true, IPAM: cnm.IPAM{Config: []cnm.Pool{p, p6}}})
	mustNetwork(t, n, cnm.Network{Name: "inner", Internal: true, IPAM: cnm.IPAM{Config: []cnm.Pool{{Subnet: netip.MustParsePrefix("10.67.4.0/24"),
		Aux: map[string]netip.Addr{cnm.AuxGateway4: netip.MustParseAddr("10.67.4.9")}}}}})
	sb := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("brnet", "inner")})
	e := sb.Endpoints
	if got := e[0].IPv4.Addr().String() + " " + e[0].Gateway4.String() + " " + e[0].Gateway6.String(); got != "10.67.3.2 10.67.3.1 fd67:3::99" {
		t.Errorf("address and default routes: %s", got)
	}
	if e[1].Gateway4.IsValid() {
		t.Errorf("an internal network offers the gateway %s", e[1].Gateway4)
	}
	if out, code := execute(t, n, "rose", "print", "/proc/net/route"); code != 0 || !strings.Contains(out, "eth0\t00000000\t0103430A\t") {
		t.Errorf("routes inside:\n%s", out)
	}
	if out, code := execute(t, n, "rose", "ping", "10.67.3.100"); code != 0 {
		t.Errorf("the switch's own address is silent: %s", out)
	}
	if nw, _ := n.Network(id); nw.IPAM.Config[0].Gateway.String() != "10.67.3.100" {
		t.Errorf("gateway %s", nw.IPAM.Config[0].Gateway)
	}
}

// Given pools stay in their order; what is added for a family goes where Docker
// has it: IPv4 first, IPv6 last.
func TestPoolOrder(t *testing.T) {
	n := openNode(t, testConfig(t))
	v6, any6, v4 := netip.MustParsePrefix("fd67:5::/64"), netip.MustParsePrefix("::/64"), netip.MustParsePrefix("10.67.5.0/24")
	for _, c := range []struct {
		name  string
		pools []cnm.Pool
		want  string // families
	}{
		{"none given", nil, "46"},
		{"any IPv6", []cnm.Pool{{Subnet: any6}}, "46"},
		{"IPv6", []cnm.Pool{{Subnet: v6}}, "46"},
		{"IPv4", []cnm.Pool{{Subnet: v4}}, "46"},
		{"IPv6 and no subnet", []cnm.Pool{{Subnet: v6}, {}}, "46"},
		{"both given", []cnm.Pool{{Subnet: v6}, {Subnet: v4}}, "64"},
	} {
		id, _, err := n.NetworkCreate(t.Context(), cnm.Network{Name: "x", EnableIPv4: true, EnableIPv6: true, IPAM: cnm.IPAM{Config: c.pools}})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		nw, _ := n.Network(id)
		got := ""
		for _, p := range nw.IPAM.Config {
			if p.Subnet.Addr().Is4() {
				got += "4"
			} else {
				got += "6"
			}
		}
		if got != c.want {
			t.Errorf("%s: families %s, want %s", c.name, got, c.want)
		}
		if err := n.NetworkRemove(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}
