package node

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/cnm"
	"weft/internal/frame"
)

// bridge is a network as the desired state holds it.
func bridge(id string, options map[string]string, gateways ...string) cnm.Network {
	nw := cnm.Network{ID: id, Name: "net-" + id, Driver: cnm.DriverBridge, Options: options}
	for _, g := range gateways {
		nw.IPAM.Config = append(nw.IPAM.Config, cnm.Pool{Gateway: netip.MustParseAddr(g)})
	}
	return nw
}

// at is an endpoint with one address per family.
func at(network, box, ifName string, addrs ...string) desiredEndpoint {
	e := desiredEndpoint{sandbox: box, Endpoint: cnm.Endpoint{ID: network + box, NetworkID: network, SandboxID: "id-" + box, IfName: ifName, MTU: 1500}}
	for _, a := range addrs {
		p := netip.MustParsePrefix(a)
		if p.Addr().Is4() {
			e.IPv4 = p
		} else {
			e.IPv6 = p
		}
	}
	if e.IPv4.IsValid() {
		e.MAC = deriveMAC(e.IPv4.Addr())
	} else {
		e.MAC = deriveMAC(e.IPv6.Addr())
	}
	return e
}

// String writes a step as a test wants to read it.
func (s step) String() string {
	switch s.op {
	case addDomain:
		return fmt.Sprintf("%s %s gw %s %v isolated %v", s.op, s.network, s.domain.gatewayMAC, s.domain.gateways, s.domain.isolated)
	case addPort:
		return fmt.Sprintf("%s %s %s %s %v mtu %d guard %v", s.op, s.network, s.port.name, s.port.mac, s.port.addrs, s.port.mtu, s.port.guard)
	case removePort:
		return fmt.Sprintf("%s %s %s %s", s.op, s.network, s.key.sandbox, s.key.ifName)
	case setNeighbour:
		return fmt.Sprintf("%s %s %s %s", s.op, s.network, s.addr, s.mac)
	case removeNeighbour:
		return fmt.Sprintf("%s %s %s", s.op, s.network, s.addr)
	case setRemote:
		return fmt.Sprintf("%s %s %s %s", s.op, s.network, s.mac, s.key.ifName)
	case removeRemote:
		return fmt.Sprintf("%s %s %s", s.op, s.network, s.mac)
	}
	return fmt.Sprintf("%s %s", s.op, s.network)
}

func TestPlan(t *testing.T) {
	front := bridge("a", nil, "10.0.0.1")
	rose, tulip := at("a", "rose", "eth0", "10.0.0.2/24"), at("a", "tulip", "eth0", "10.0.0.3/24")
	for _, c := range []struct {
		name      string
		old, next desired
		want      []string
	}{
		{"nothing", desired{}, desired{}, nil},
		{"a network", desired{}, desired{networks: []cnm.Network{front}}, []string{
			"add-domain a gw 02:42:0a:00:00:01 [10.0.0.1] isolated false",
			"set-neighbour a 10.0.0.1 02:42:0a:00:00:01"}},
		{"an endpoint", desired{networks: []cnm.Network{front}}, desired{networks: []cnm.Network{front}, endpoints: []desiredEndpoint{rose}, guard: true}, []string{
			"add-port a rose:eth0 02:42:0a:00:00:02 [10.0.0.2] mtu 1500 guard true",
			"set-neighbour a 10.0.0.2 02:42:0a:00:00:02"}},
		{"one goes, one comes", desired{networks: []cnm.Network{front}, endpoints: []desiredEndpoint{rose}},
			desired{networks: []cnm.Network{front}, endpoints: []desiredEndpoint{tulip}}, []string{
				"remove-neighbour a 10.0.0.2", "remove-port a id-rose eth0",
				"add-port a tulip:eth0 02:42:0a:00:00:03 [10.0.0.3] mtu 1500 guard false", "set-neighbour a 10.0.0.3 02:42:0a:00:00:03"}},
		{"everything goes", desired{networks: []cnm.Network{front}, endpoints: []desiredEndpoint{rose}}, desired{}, []string{
			"remove-port a id-rose eth0", "remove-domain a"}},
		{"two stacks", desired{}, desired{networks: []cnm.Network{bridge("b", nil, "10.0.0.1", "fd00::1")}, endpoints: []desiredEndpoint{at("b", "rose", "eth1", "10.0.0.2/24", "fd00::2/64")}}, []string{
			"add-domain b gw 02:42:0a:00:00:01 [10.0.0.1 fd00::1] isolated false",
			"add-port b rose:eth1 02:42:0a:00:00:02 [10.0.0.2 fd00::2 fe80::42:aff:fe00:2] mtu 1500 guard false",
			"set-neighbour b 10.0.0.1 02:42:0a:00:00:01", "set-neighbour b 10.0.0.2 02:42:0a:00:00:02", "set-neighbour b fd00::1 02:42:0a:00:00:01",
			"set-neighbour b fd00::2 02:42:0a:00:00:02", "set-neighbour b fe80::42:aff:fe00:2 02:42:0a:00:00:02"}},
		{"no communication between endpoints", desired{}, desired{networks: []cnm.Network{bridge("c", map[string]string{"com.docker.network.bridge.enable_icc": "false"})}}, []string{
			"add-domain c gw 00:00:00:00:00:00 [] isolated true"}},
		{"gateway inhibited", desired{}, desired{networks: []cnm.Network{bridge("d", map[string]string{"inhibit_ipv4": "true"}, "10.0.0.1", "fd00::1")}}, []string{
			"add-domain d gw 02:42:0a:00:00:01 [fd00::1] isolated false", "set-neighbour d fd00::1 02:42:0a:00:00:01"}},
		{"a changed domain is made anew", desired{networks: []cnm.Network{front}, endpoints: []desiredEndpoint{rose}},
			desired{networks: []cnm.Network{bridge("a", nil, "10.0.0.254")}, endpoints: []desiredEndpoint{rose}}, []string{
				"remove-port a id-rose eth0", "remove-domain a", "add-domain a gw 02:42:0a:00:00:fe [10.0.0.254] isolated false",
				"add-port a rose:eth0 02:42:0a:00:00:02 [10.0.0.2] mtu 1500 guard false",
				"set-neighbour a 10.0.0.2 02:42:0a:00:00:02", "set-neighbour a 10.0.0.254 02:42:0a:00:00:fe"}},
		{"a new name changes nothing", desired{networks: []cnm.Network{front}, endpoints: []desiredEndpoint{rose}},
			desired{networks: []cnm.Network{front}, endpoints: []desiredEndpoint{renamed(rose, "daisy")}}, nil},
		{"drivers without a switch", desired{}, desired{networks: []cnm.Network{{ID: "h", Driver: cnm.DriverHost}, {ID: "n", Driver: cnm.DriverNone},
			{ID: "t", Driver: cnm.DriverBridge, ConfigOnly: true}}}, nil},
		{"an endpoint of an unknown network", desired{}, desired{endpoints: []desiredEndpoint{rose}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, s := range difference(makePlan(c.old), makePlan(c.next)) {
				got = append(got, s.String())
			}
			if a, b := strings.Join(got, "\n"), strings.Join(c.want, "\n"); a != b {
				t.Errorf("got\n%s\nwant\n%s", a, b)
			}
			if again := difference(makePlan(c.next), makePlan(c.next)); len(again) != 0 {
				t.Errorf("a plan differs from itself: %v", again)
			}
		})
	}
}

// TestPlanFilled is about overlays that a cluster fills.
func TestPlanFilled(t *testing.T) {
	vtep := func(n byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, n}), 4789) }
	host := func(n, at byte) remoteHost {
		a := netip.AddrFrom4([4]byte{10, 0, 1, n})
		return remoteHost{mac: deriveMAC(a), addrs: []netip.Addr{a}, vtep: vtep(at)}
	}
	nw := cnm.Network{ID: "o", Name: "front", Driver: cnm.DriverOverlay}
	with := func(f filling, eps ...desiredEndpoint) desired {
		f.vni = 4097
		return desired{networks: []cnm.Network{nw}, endpoints: eps, filled: map[string]filling{"o": f}}
	}
	alone := with(filling{})
	two := with(filling{vteps: []netip.AddrPort{vtep(2)}, remotes: []remoteHost{host(3, 2)}})
	const tunnel2 = "add-port o front@127.0.0.2:4789 00:00:00:00:00:00 [] mtu 1450 guard false"
	for _, c := range []struct {
		name      string
		old, next desired
		want      []string
	}{
		{"a node comes", alone, two, []string{tunnel2, "set-remote o 02:42:0a:00:01:03 vtep 127.0.0.2:4789", "set-neighbour o 10.0.1.3 02:42:0a:00:01:03"}},
		{"it goes", two, alone, []string{"remove-neighbour o 10.0.1.3", "remove-remote o 02:42:0a:00:01:03", "remove-port o o vtep 127.0.0.2:4789"}},
		{"behind nobody", alone, with(filling{remotes: []remoteHost{host(3, 2)}}), nil},
		{"moved", two, with(filling{vteps: []netip.AddrPort{vtep(2), vtep(3)}, remotes: []remoteHost{host(3, 3)}}), []string{
			"remove-remote o 02:42:0a:00:01:03", "add-port o front@127.0.0.3:4789 00:00:00:00:00:00 [] mtu 1450 guard false",
			"set-remote o 02:42:0a:00:01:03 vtep 127.0.0.3:4789"}},
		{"lives here now", two, with(filling{vteps: []netip.AddrPort{vtep(2)}, remotes: []remoteHost{host(3, 2)}}, at("o", "rose", "eth0", "10.0.1.3/24")), []string{
			"remove-remote o 02:42:0a:00:01:03", "add-port o rose:eth0 02:42:0a:00:01:03 [10.0.1.3] mtu 1500 guard false"}},
		{"one more behind it", two, with(filling{vteps: []netip.AddrPort{vtep(2)}, remotes: []remoteHost{host(3, 2), host(4, 2)}}), []string{
			"set-remote o 02:42:0a:00:01:04 vtep 127.0.0.2:4789", "set-neighbour o 10.0.1.4 02:42:0a:00:01:04"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, s := range difference(makePlan(c.old), makePlan(c.next)) {
				got = append(got, s.String())
			}
			if a, b := strings.Join(got, "\n"), strings.Join(c.want, "\n"); a != b {
				t.Errorf("got\n%s\nwant\n%s", a, b)
			}
		})
	}
	p := makePlan(two)["o"]
	if !p.filled || p.vni != 4097 || p.ports[tunnelKey("o", vtep(2))].maxMACs >= 0 {
		t.Errorf("%+v", p)
	}
}

func renamed(e desiredEndpoint, name string) desiredEndpoint {
	e.sandbox = name
	return e
}

func TestGatewayMAC(t *testing.T) {
	for _, c := range []struct {
		name     string
		gateways []string
		want     frame.MAC
	}{
		{"four", []string{"172.17.0.1"}, frame.MAC{2, 0x42, 172, 17, 0, 1}},
		{"four wins", []string{"fd00::1", "172.17.0.1"}, frame.MAC{2, 0x42, 172, 17, 0, 1}},
		{"six", []string{"fd00::1"}, deriveMAC(netip.MustParseAddr("fd00::1"))},
		{"none", nil, frame.MAC{}},
	} {
		nw := bridge("a", nil, c.gateways...)
		if got := gatewayMAC(&nw); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	a, b := deriveMAC(netip.MustParseAddr("fd00::1")), deriveMAC(netip.MustParseAddr("fd00::2"))
	if a == b || a[0] != 2 || a[1] != 0x42 {
		t.Errorf("derived from IPv6: %s, %s", a, b)
	}
}
