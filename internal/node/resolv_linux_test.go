package node

import (
	"net/netip"
	"strings"
	"testing"

	"weft/internal/cnm"
)

// A sandbox's resolv.conf names the host's servers where its default routes lead out,
// those of the families they lead out by, and none otherwise. It follows its networks.
func TestResolvConfFollows(t *testing.T) {
	watchLeaks(t)
	n := overlayNode(t, 1)
	type M = map[string]string
	mustNetwork(t, n, cnm.Network{Name: "yard", IPAM: pool("10.67.50.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "inner", IPAM: pool("10.67.51.0/24"), Internal: true})
	mustNetwork(t, n, cnm.Network{Name: "shut", IPAM: pool("10.67.52.0/24"), Options: M{"enable_ip_masquerade": "false"}})
	mustNetwork(t, n, overlayAlone("front", 4101, false))
	mustNetwork(t, n, overlayAlone("secret", 4103, true))
	_, _, err := n.NetworkCreate(t.Context(), cnm.Network{Name: "dual", EnableIPv4: true, EnableIPv6: true, IPAM: cnm.IPAM{Config: []cnm.Pool{
		{Subnet: netip.MustParsePrefix("10.67.53.0/24")}, {Subnet: netip.MustParsePrefix("fd67:53::/64")}}}})
	if err != nil {
		t.Fatal(err)
	}
	host := cnm.ParseResolvConf(hostResolvConf())
	v4, both, none := string(host.Plain(false)), string(host.Plain(true)), string(host.Alone())
	if !strings.Contains(v4, "nameserver ") || strings.Contains(none, "nameserver ") {
		t.Fatalf("this host's: %q, %q", v4, none)
	}
	for _, c := range []struct {
		name string
		spec cnm.SandboxSpec
		want string
	}{
		{"default", cnm.SandboxSpec{}, v4},
		{"a bridge of the user's", cnm.SandboxSpec{Networks: on("yard")}, v4},
		{"both families", cnm.SandboxSpec{Networks: on("dual")}, both},
		{"internal", cnm.SandboxSpec{Networks: on("inner")}, none},
		{"internal and a bridge", cnm.SandboxSpec{Networks: on("inner", "yard")}, v4},
		{"not masqueraded", cnm.SandboxSpec{Networks: on("shut")}, none},
		{"overlay", cnm.SandboxSpec{Networks: on("front")}, v4},
		{"internal overlay", cnm.SandboxSpec{Networks: on("secret")}, none},
		{"none", cnm.SandboxSpec{NetworkMode: cnm.NetNone}, none},
		{"host", cnm.SandboxSpec{NetworkMode: cnm.NetHost}, both},
		{"its own", cnm.SandboxSpec{Networks: on("inner"), DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")}}, "192.0.2.53"},
	} {
		sb := mustRun(t, n, c.spec)
		if got, _ := execute(t, n, sb.ID, "print", "/etc/resolv.conf"); got != c.want && !strings.Contains(got, "nameserver "+c.want+"\n") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("inner"), ExtraHosts: []string{"me:host-gateway"}})
	hosts := func(want string) {
		t.Helper()
		if got, _ := execute(t, n, "rose", "print", "/etc/hosts"); !strings.Contains(got, "\n"+want+"\tme\n") {
			t.Errorf("host-gateway is not %s:\n%s", want, got)
		}
	}
	bridge, _ := n.Network("bridge")
	hosts(bridge.IPAM.Config[0].Gateway.String())
	mustConnect(t, n, "yard", "rose")
	if got, _ := execute(t, n, "rose", "print", "/etc/resolv.conf"); got != v4 {
		t.Errorf("after a connect: %q", got)
	}
	hosts("10.67.50.1")
	mustDisconnect(t, n, "yard", "rose")
	if got, _ := execute(t, n, "rose", "print", "/etc/resolv.conf"); got != none {
		t.Errorf("after a disconnect: %q", got)
	}
}
