package cnm

import (
	"reflect"
	"testing"
)

func TestParseBridgeOptions(t *testing.T) {
	type M = map[string]string
	for _, c := range []struct {
		name string
		in   M
		want string
		mod  func(*BridgeOptions)
	}{
		{"defaults", nil, "", func(*BridgeOptions) {}},
		{"full names", M{optICC: "false", optMasquerade: "0", optName: "br7", optMTU: "1400"}, "",
			func(o *BridgeOptions) { o.ICC, o.Masquerade, o.Name, o.MTU = false, false, "br7", 1400 }},
		{"short names", M{"enable_icc": "false", "enable_ip_masquerade": "false", "name": "br7", "mtu": "1400", "inhibit_ipv4": "true"}, "",
			func(o *BridgeOptions) {
				o.ICC, o.Masquerade, o.Name, o.MTU, o.InhibitIPv4 = false, false, "br7", 1400, true
			}},
		{"modes", M{"gateway_mode_ipv4": "routed", "gateway_mode_ipv6": "nat-unprotected"}, "",
			func(o *BridgeOptions) { o.Mode4, o.Mode6 = ModeRouted, ModeNATUnprotected }},
		{"interfaces", M{"trusted_host_interfaces": "eth0:wlan0", "container_iface_prefix": "net"}, "",
			func(o *BridgeOptions) { o.Trusted, o.IfPrefix = []string{"eth0", "wlan0"}, "net" }},
		{"same twice", M{"enable_icc": "false", optICC: "false"}, "", func(o *BridgeOptions) { o.ICC = false }},
		{"twice", M{"enable_icc": "true", optICC: "false"}, "is given twice", nil},
		{"bad bool", M{"enable_icc": "maybe"}, "failed to parse enable_icc value: maybe (expected true or false)", nil},
		{"bad mode", M{optGatewayMode4: "open"}, "failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: open (unknown gateway mode open)", nil},
		{"bad binding", M{optBindIPv4: "::1"}, "expected an IPv4 address", nil},
		{"bad host address", M{"host_ipv4": "host"}, "expected an IPv4 address", nil},
		{"bad name", M{"name": "a-very-long-bridge-name"}, "1 to 15 characters", nil},
		{"bad prefix", M{"container_iface_prefix": "eth1"}, "does not end in a digit", nil},
		{"bad mtu", M{"mtu": "big"}, "expected a number", nil},
		{"negative mtu", M{"mtu": "-1"}, "invalid MTU number: -1", nil},
		{"large mtu", M{"mtu": "65536"}, "invalid MTU number: 65536", nil},
		{"parent", M{"parent": "eth0"}, "not supported yet", nil},
		{"unknown", M{"com.docker.network.bridge.color": "red"}, `unknown driver option "com.docker.network.bridge.color"`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseBridgeOptions(c.in)
			wantErr(t, err, c.want)
			if c.mod == nil {
				return
			}
			want, _ := ParseBridgeOptions(nil)
			c.mod(&want)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("ParseBridgeOptions = %+v, want %+v", got, want)
			}
		})
	}
}

func TestBridgeWarning(t *testing.T) {
	type M = map[string]string
	const shut = " nothing leave this node: nobody routes to the network, and only what is masqueraded is answered"
	for _, c := range []struct {
		name string
		in   M
		want string
	}{
		{"nothing set", nil, ""},
		{"defaults", M{"enable_ip_masquerade": "true", "gateway_mode_ipv4": "nat", "host_binding_ipv4": "0.0.0.0"}, ""},
		{"with an effect", M{"enable_icc": "false", "mtu": "1400", "inhibit_ipv4": "true", "gateway_mode_ipv6": "isolated"}, ""},
		{"routed", M{"gateway_mode_ipv4": "routed"}, "driver option gateway_mode_ipv4=routed lets" + shut},
		{"binding", M{"host_binding_ipv4": "127.0.0.1"}, ""},
		{"all", M{"gateway_mode_ipv4": "nat-unprotected", "gateway_mode_ipv6": "routed", "host_binding_ipv4": "127.0.0.1",
			"trusted_host_interfaces": "eth0", "enable_ip_masquerade": "false", "host_ipv4": "10.0.0.1"},
			"driver options gateway_mode_ipv4=nat-unprotected, trusted_host_interfaces, host_ipv4 have no effect yet; " +
				"driver options gateway_mode_ipv6=routed, enable_ip_masquerade=false let" + shut},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := ParseBridgeOptions(c.in)
			if got := o.Warning(); err != nil || got != c.want {
				t.Fatalf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
	for _, n := range append(Predefined(), Gwbridge()) {
		if o, _ := ParseBridgeOptions(n.Options); o.Warning() != "" {
			t.Errorf("predefined %s: %s", n.Name, o.Warning())
		}
	}
}

func TestMasquerades(t *testing.T) {
	type M = map[string]string
	for _, c := range []struct {
		name   string
		in     M
		v4, v6 bool
	}{
		{"defaults", nil, true, true},
		{"off", M{"enable_ip_masquerade": "false"}, false, false},
		{"routed", M{"gateway_mode_ipv4": "routed"}, false, true},
		{"unprotected", M{"gateway_mode_ipv4": "nat-unprotected", "gateway_mode_ipv6": "routed"}, true, false},
		{"isolated", M{"gateway_mode_ipv4": "isolated", "gateway_mode_ipv6": "isolated"}, false, false},
	} {
		o, err := ParseBridgeOptions(c.in)
		if err != nil || o.Masquerades(true) != c.v4 || o.Masquerades(false) != c.v6 {
			t.Errorf("%s: IPv4 %v, IPv6 %v, %v", c.name, o.Masquerades(true), o.Masquerades(false), err)
		}
	}
}

func TestPoolsFromFlags(t *testing.T) {
	type S = []string
	for _, c := range []struct {
		name                           string
		subnets, ranges, gateways, aux S
		want                           []Pool
		err                            string
	}{
		{"none", nil, nil, nil, nil, []Pool{}, ""},
		{"sorted", S{"10.0.0.0/24", "fd00::/64"}, S{"10.0.0.0/28"}, S{"fd00::1", "10.0.0.1"}, S{"r=10.0.0.9"},
			[]Pool{pool(t, "10.0.0.0/24", "10.0.0.0/28", "10.0.0.1", "r", "10.0.0.9"), pool(t, "fd00::/64", "", "fd00::1")}, ""},
		{"bad subnet", S{"x"}, nil, nil, nil, nil, "invalid CIDR block notation"},
		{"overlap", S{"10.0.0.0/24", "10.0.0.0/16"}, nil, nil, nil, nil, "multiple overlapping subnet configuration is not supported"},
		{"lost range", S{"10.0.0.0/24"}, S{"10.1.0.0/28"}, nil, nil, nil, "no matching subnet for range 10.1.0.0/28"},
		{"two ranges", S{"10.0.0.0/24"}, S{"10.0.0.0/28", "10.0.0.16/28"}, nil, nil, nil, "cannot configure multiple ranges"},
		{"lost gateway", nil, nil, S{"10.0.0.1"}, nil, nil, "no matching subnet for gateway 10.0.0.1"},
		{"two gateways", S{"10.0.0.0/24"}, nil, S{"10.0.0.1", "10.0.0.2"}, nil, nil, "cannot configure multiple gateways"},
		{"lost aux", nil, nil, nil, S{"a=10.0.0.1"}, nil, "no matching subnet for aux-address 10.0.0.1"},
		{"bad aux", S{"10.0.0.0/24"}, nil, nil, S{"10.0.0.1"}, nil, "expected NAME=IP"},
		{"aux twice", S{"10.0.0.0/24"}, nil, nil, S{"a=10.0.0.1", "a=10.0.0.2"}, nil, "auxiliary address a is given twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := PoolsFromFlags(c.subnets, c.ranges, c.gateways, c.aux)
			wantErr(t, err, c.err)
			if err == nil && !reflect.DeepEqual(got, c.want) {
				t.Fatalf("PoolsFromFlags = %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestParseNetworkFlag(t *testing.T) {
	j, err := ParseNetworkFlag("name=front,ip=10.0.0.5,ip6=fd00::5,alias=a,alias=b,mac-address=02:42:0a:00:00:05,gw-priority=-3,link-local-ip=169.254.1.1,driver-opt=k=v=w")
	if err != nil || j.Network != "front" || j.Config.IPv4.String() != "10.0.0.5" || j.Config.IPv6.String() != "fd00::5" || len(j.Config.Aliases) != 2 ||
		j.Config.MAC.String() != "02:42:0a:00:00:05" || j.Config.GwPriority != -3 || len(j.Config.LinkLocal) != 1 || j.Config.DriverOpts["k"] != "v=w" {
		t.Fatalf("ParseNetworkFlag = %+v, %v", j, err)
	}
	for _, c := range []struct{ name, in, network, want string }{
		{"name", "front", "front", ""},
		{"name first", "front,mac=02:42:0a:00:00:05", "front", ""},
		{"no name", "ip=10.0.0.5", "", "network name/id is not specified"},
		{"empty", "", "", "network name/id is not specified"},
		{"bad field", "front,color=red", "", "invalid field key color"},
		{"no value", "front,ip", "", "expected KEY=VALUE"},
		{"bad ip", "front,ip=fd00::1", "", "invalid IPv4 address: fd00::1"},
		{"bad ip6", "front,ip6=10.0.0.1", "", "invalid IPv6 address: 10.0.0.1"},
		{"bad mac", "front,mac=x", "", "invalid MAC address"},
		{"bad priority", "front,gw-priority=1x", "", "invalid gw-priority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j, err := ParseNetworkFlag(c.in)
			wantErr(t, err, c.want)
			if err == nil && j.Network != c.network {
				t.Fatalf("network %q, want %q", j.Network, c.network)
			}
		})
	}
}

func FuzzParsers(f *testing.F) {
	for _, s := range []string{"name=front,ip=10.0.0.5", "a:b", "net.ipv4.ip_forward=1", "nameserver 1.1.1.1\noptions ndots:3", "SIGRTMIN+3",
		"net.ipv4.conf.IFNAME.forwarding=1", "host:1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ParseNetworkFlag(s)
		ParseLink(s)
		ParseExtraHost(s)
		EndpointSysctls(s, "eth0")
		ParsePool(s, s, s, map[string]string{s: s})
		if n, err := ParseSignal(s); err == nil && (n < 1 || n > 64) {
			t.Fatalf("signal %q is %d", s, n)
		}
		ParseResolvConf([]byte(s)).Embedded([]string{s})
		ParseResolvConf([]byte(s)).Plain(true)
		if k, _, err := ParseSysctl(s); err == nil && !fsLocal(SysctlPath(k)) {
			t.Fatalf("sysctl %q leaves /proc/sys: %s", s, SysctlPath(k))
		}
	})
}
