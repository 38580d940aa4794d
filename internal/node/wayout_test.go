package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/cnm"
)

// An exit is there while somebody is on a network that leads out.
func TestExitsInPlan(t *testing.T) {
	with := func(options map[string]string, change func(*cnm.Network)) cnm.Network {
		nw := bridge("a", options, "10.0.0.1", "fd00::1")
		if change != nil {
			change(&nw)
		}
		return nw
	}
	type M = map[string]string
	rose := []desiredEndpoint{at("a", "rose", "eth0", "10.0.0.2/24", "fd00::2/64")}
	for _, c := range []struct {
		name  string
		nw    cnm.Network
		on    []desiredEndpoint
		exits bool
		want  string // the exit's addresses and MTU
	}{
		{"somebody", with(nil, nil), rose, true, "[10.0.0.1 fd00::1] 1500"},
		{"nobody", with(nil, nil), nil, true, ""},
		{"no uplink", with(nil, nil), rose, false, ""},
		{"internal", with(nil, func(nw *cnm.Network) { nw.Internal = true }), rose, true, ""},
		{"overlay", with(M{"weft.vni": "4097", "weft.peers": "127.0.0.9"}, func(nw *cnm.Network) { nw.Driver = cnm.DriverOverlay }), rose, true, ""},
		{"MTU", with(M{"mtu": "1400"}, nil), rose, true, "[10.0.0.1 fd00::1] 1400"},
		{"not masqueraded", with(M{"enable_ip_masquerade": "false"}, nil), rose, true, ""},
		{"IPv4 routed", with(M{"gateway_mode_ipv4": "routed"}, nil), rose, true, "[fd00::1] 1500"},
		{"both routed", with(M{"gateway_mode_ipv4": "routed", "gateway_mode_ipv6": "routed"}, nil), rose, true, ""},
		{"the gateway is somebody else's", with(M{"inhibit_ipv4": "true"}, nil), rose, true, "[fd00::1] 1500"},
		{"no gateway", with(M{"gateway_mode_ipv4": "isolated", "gateway_mode_ipv6": "isolated"}, nil), rose, true, ""},
		{"apart from each other", with(M{"enable_icc": "false"}, nil), rose, true, "[10.0.0.1 fd00::1] 1500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := makePlan(desired{networks: []cnm.Network{c.nw}, endpoints: c.on, exits: c.exits, guard: true})
			got := ""
			for key, port := range p["a"].ports {
				if port.exit {
					got = fmt.Sprint(port.addrs, " ", port.mtu)
					if key != exitKey("a") || port.mac != gatewayMAC(&c.nw) || port.guard || port.name != "net-a@uplink" {
						t.Errorf("%v: %+v", key, port)
					}
				}
			}
			if got != c.want {
				t.Errorf("exit %q, want %q", got, c.want)
			}
		})
	}
}

// An exit comes with the first endpoint, goes with the last, and is made anew when its
// addresses change.
func TestExitSteps(t *testing.T) {
	desire := func(options map[string]string, names ...string) desired {
		d := desired{networks: []cnm.Network{bridge("a", options, "10.0.0.1", "fd00::1")}, exits: true}
		for i, name := range names {
			d.endpoints = append(d.endpoints, at("a", name, "eth0", fmt.Sprintf("10.0.0.%d/24", i+2)))
		}
		return d
	}
	const add, remove = "add-port a net-a@uplink 02:42:0a:00:00:01 [10.0.0.1 fd00::1] mtu 1500 guard false", "remove-port a a uplink"
	for _, c := range []struct {
		name      string
		old, next desired
		want      []string // of the exit
	}{
		{"the first comes", desire(nil), desire(nil, "rose"), []string{add}},
		{"a second comes", desire(nil, "rose"), desire(nil, "rose", "tulip"), nil},
		{"one goes", desire(nil, "rose", "tulip"), desire(nil, "rose"), nil},
		{"the last goes", desire(nil, "rose"), desire(nil), []string{remove}},
		{"the network goes", desire(nil, "rose"), desired{}, []string{remove}},
		{"IPv4 is routed", desire(nil, "rose"), desire(map[string]string{"gateway_mode_ipv4": "routed"}, "rose"),
			[]string{remove, "add-port a net-a@uplink 02:42:0a:00:00:01 [fd00::1] mtu 1500 guard false"}},
		{"it becomes another domain", desire(nil, "rose"), desire(map[string]string{"enable_icc": "false"}, "rose"), []string{remove, add}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, s := range difference(makePlan(c.old), makePlan(c.next)) {
				if strings.Contains(s.String(), exitName) {
					got = append(got, s.String())
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("steps %q, want %q", got, c.want)
			}
		})
	}
}

func TestInside(t *testing.T) {
	n := &Node{networks: map[string]*network{}}
	for i, s := range []string{"10.0.0.0/24", "fd00::/64", "10.66.0.0/16", ""} {
		nw := &network{Network: cnm.Network{Name: fmt.Sprint(i)}}
		if s != "" {
			nw.IPAM.Config = []cnm.Pool{{Subnet: netip.MustParsePrefix(s)}}
		}
		n.networks[nw.Name] = nw
	}
	if n.isInside(netip.MustParseAddr("10.0.0.7")) {
		t.Error("inside before there is a plan")
	}
	subnets := n.insideLocked()
	n.inside.Store(&subnets)
	for a, want := range map[string]bool{"10.0.0.7": true, "10.0.1.7": false, "10.66.3.4": true, "fd00::9": true, "fd00:0:0:1::9": false, "192.0.2.1": false} {
		if got := n.isInside(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s inside: %v", a, got)
		}
	}
}

// packet configures a packet uplink.
func packet(ifname string, addrs []string, gateways ...string) func(*Config) {
	u := Uplink{Kind: UplinkPacket, Interface: ifname}
	for _, s := range addrs {
		p, err := ParseUplinkAddr(s)
		if err != nil {
			panic(err)
		}
		u.Addrs = append(u.Addrs, p)
	}
	for _, s := range gateways {
		u.Gateways = append(u.Gateways, netip.MustParseAddr(s))
	}
	return func(c *Config) { c.Uplink = u }
}

func TestUplinkConfigChecks(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"default", func(*Config) {}, ""},
		{"loopback", func(c *Config) { c.HostLoopback = true }, ""},
		{"none", func(c *Config) { c.Uplink.Kind = UplinkNone }, ""},
		{"loopback of none", func(c *Config) { c.Uplink.Kind, c.HostLoopback = UplinkNone, true }, "node: host-loopback: uplink none"},
		{"packet", packet("eth0", []string{"192.0.2.7/24", "2001:db8::7"}, "192.0.2.1", "fe80::1"), ""},
		{"packet without an address", packet("eth0", nil), "uplink packet:eth0 needs an address"},
		{"an address for all", packet("eth0", []string{"224.0.0.1"}), "uplink-addr 224.0.0.1/32: expected an address of one host"},
		{"a link's address", packet("eth0", []string{"fe80::7/64"}), "uplink-addr fe80::7/64"},
		{"one address twice", packet("eth0", []string{"192.0.2.7/24", "192.0.2.7"}), "uplink-addr 192.0.2.7 stands twice"},
		{"two gateways of a family", packet("eth0", []string{"192.0.2.7"}, "192.0.2.1", "192.0.2.2"), "uplink-gateway 192.0.2.1 and 192.0.2.2"},
		{"no gateway's address", packet("eth0", []string{"192.0.2.7"}, "0.0.0.0"), "uplink-gateway 0.0.0.0"},
		{"an IPv4-mapped gateway", packet("eth0", []string{"2001:db8::7"}, "::ffff:192.0.2.1"), "uplink-gateway ::ffff:192.0.2.1"},
		{"a gateway with a zone", packet("eth0", []string{"2001:db8::7"}, "fe80::1%eth0"), "uplink-gateway fe80::1%eth0"},
		{"an address of the host uplink", func(c *Config) { c.Uplink.InterfaceMAC = true }, "are for uplink packet:INTERFACE, not for host"},
	} {
		cfg := Config{DataDir: t.TempDir(), RunDir: t.TempDir()}
		c.change(&cfg)
		if err := cfg.complete(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
