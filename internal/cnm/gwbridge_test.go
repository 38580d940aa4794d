package cnm

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestNeedsGateway(t *testing.T) {
	overlay := Network{Name: "front", Driver: DriverOverlay}
	secret := Network{Name: "secret", Driver: DriverOverlay, Internal: true}
	bridge := Network{Name: "b", Driver: DriverBridge}
	shut := Network{Name: "shut", Driver: DriverBridge, Options: map[string]string{optMasquerade: "false"}}
	routed := Network{Name: "routed", Driver: DriverBridge, Options: map[string]string{optGatewayMode4: "routed"}}
	foreign := Network{Name: "foreign", Driver: DriverBridge, Options: map[string]string{optInhibitIPv4: "true"}}
	gw := Gwbridge()
	type on struct {
		nw       Network
		gw4, gw6 string
		wayOut   bool
		priority int
	}
	for _, c := range []struct {
		name string
		mode string
		on   []on
		want GatewayNeed
	}{
		{"nothing", "", nil, NeedsNone},
		{"overlay", "", []on{{nw: overlay}}, NeedsWayOut},
		{"overlay and what it has already", "", []on{{nw: overlay}, {nw: gw, gw4: "172.18.0.1", wayOut: true}}, NeedsWayOut},
		{"way out of nothing", "", []on{{nw: gw, gw4: "172.18.0.1", wayOut: true}}, NeedsNone},
		{"joined by hand", "", []on{{nw: overlay}, {nw: gw, gw4: "172.18.0.1"}}, NeedsNone},
		{"internal overlay", "", []on{{nw: secret}}, NeedsNone},
		{"internal overlay and another", "", []on{{nw: secret}, {nw: overlay}}, NeedsWayOut},
		{"bridge", "", []on{{nw: bridge, gw4: "172.19.0.1"}}, NeedsNone},
		{"bridge without gateway", "", []on{{nw: bridge}}, NeedsNone},
		{"overlay and bridge", "", []on{{nw: overlay}, {nw: bridge, gw4: "172.19.0.1"}}, NeedsNone},
		{"overlay and internal bridge", "", []on{{nw: bridge}, {nw: overlay}}, NeedsWayOut},
		{"overlay and IPv6 alone", "", []on{{nw: bridge, gw6: "fd00::1"}, {nw: overlay}}, NeedsWayOut},
		{"host", NetHost, nil, NeedsNone},
		{"publishes, internal overlay", "", []on{{nw: secret}}, NeedsWayIn},
		{"publishes, internal overlay and what it has already", "", []on{{nw: secret}, {nw: gw, wayOut: true}}, NeedsWayIn},
		{"publishes, overlay", "", []on{{nw: overlay}}, NeedsWayOut},
		{"publishes, both", "", []on{{nw: secret}, {nw: overlay}}, NeedsWayOut},
		{"publishes, bridge", "", []on{{nw: bridge, gw4: "172.19.0.1"}}, NeedsNone},
		{"publishes, IPv6 alone", "", []on{{nw: bridge, gw6: "fd00::1"}}, NeedsNone},
		{"publishes, not masqueraded", "", []on{{nw: shut, gw4: "172.20.0.1"}}, NeedsWayIn},
		{"publishes, not masqueraded, and what it has already", "", []on{{nw: shut, gw4: "172.20.0.1"}, {nw: gw, wayOut: true}}, NeedsWayIn},
		{"publishes, not masqueraded, and another that is no default route", "", []on{{nw: shut, gw4: "172.20.0.1", priority: 1}, {nw: bridge, gw4: "172.19.0.1"}}, NeedsWayIn},
		{"publishes, not masqueraded, but another is the default route", "", []on{{nw: shut, gw4: "172.20.0.1"}, {nw: bridge, gw4: "172.19.0.1", priority: 1}}, NeedsNone},
		{"publishes, IPv4 not masqueraded", "", []on{{nw: routed, gw4: "172.20.0.1", gw6: "fd00::1"}}, NeedsNone},
		{"publishes, somebody else's gateway", "", []on{{nw: foreign, gw4: "172.20.0.1"}}, NeedsWayIn},
		{"publishes, somebody else's IPv4 gateway", "", []on{{nw: foreign, gw4: "172.20.0.1", gw6: "fd00::1"}}, NeedsNone},
		{"not masqueraded", "", []on{{nw: shut, gw4: "172.20.0.1"}}, NeedsNone},
		{"publishes, no network", "", nil, NeedsNone},
		{"publishes, host", NetHost, nil, NeedsNone},
		{"none", NetNone, []on{{nw: overlay}}, NeedsNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			var eps []Endpoint
			var networks []Network
			for _, o := range c.on {
				e := Endpoint{WayOut: o.wayOut, Config: EndpointConfig{GwPriority: o.priority}}
				e.Gateway4, _ = netip.ParseAddr(o.gw4)
				e.Gateway6, _ = netip.ParseAddr(o.gw6)
				eps, networks = append(eps, e), append(networks, o.nw)
			}
			spec := SandboxSpec{NetworkMode: c.mode}
			if strings.HasPrefix(c.name, "publishes") {
				spec.Ports = []PortMapping{{Proto: "tcp", Port: 80}}
			}
			if got := NeedsGateway(&spec, eps, networks); got != c.want {
				t.Fatalf("NeedsGateway = %v, want %v", got, c.want)
			}
		})
	}
}

func TestGwbridge(t *testing.T) {
	n, err := ValidateNetwork(Gwbridge())
	o, oerr := ParseBridgeOptions(n.Options)
	if err != nil || oerr != nil || o.ICC || !o.Masquerades(true) || o.Name != NetGwbridge || n.EnableIPv6 || !n.GivesRoutes() || IsPredefined(n.Name) {
		t.Errorf("%+v, %+v, %v, %v", n, o, err, oerr)
	}
	for _, c := range []struct {
		name string
		n    Network
		want string
	}{
		{"own options", Network{Driver: "bridge", EnableIPv4: true, EnableIPv6: true, Options: map[string]string{"mtu": "1400"}}, ""},
		{"overlay", Network{Driver: "overlay", EnableIPv4: true}, "could not be: its driver is not bridge"},
		{"internal", Network{Driver: "bridge", EnableIPv4: true, Internal: true}, "could not be: it is internal"},
		{"not masqueraded", Network{Driver: "bridge", EnableIPv4: true, Options: map[string]string{optMasquerade: "false"}}, "could not be: its options let no IPv4 leave"},
		{"routed", Network{Driver: "bridge", EnableIPv4: true, Options: map[string]string{optGatewayMode4: "routed"}}, "could not be: its options let no IPv4 leave"},
		{"somebody else's gateway", Network{Driver: "bridge", EnableIPv4: true, Options: map[string]string{optInhibitIPv4: "true"}}, "could not be: its options let no IPv4 leave"},
		{"IPv6 routed", Network{Driver: "bridge", EnableIPv4: true, EnableIPv6: true, Options: map[string]string{optGatewayMode6: "routed"}}, ""},
		{"template", Network{ConfigOnly: true, EnableIPv4: true}, "its driver is not bridge"},
		{"all wrong", Network{Driver: "overlay", Internal: true, IPAM: IPAM{Driver: IPAMNull}},
			"its driver is not bridge, it is internal, it has no IPv4, it gives no addresses"},
	} {
		c.n.Name = NetGwbridge
		_, err := ValidateNetwork(c.n)
		wantErr(t, err, c.want)
		if c.want != "" && !errors.Is(err, Invalid) {
			t.Errorf("%s: %v is not of kind %v", c.name, err, Invalid)
		}
	}
}

func TestGatewayName(t *testing.T) {
	if got := GatewayName(strings.Repeat("0f", 32)); got != "gateway_0f0f0f0f0f0f" {
		t.Errorf("%q", got)
	}
}
