package cnm

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"weft/internal/frame"
)

// pool makes a Pool from strings; aux is NAME, IP, NAME, IP, ...
func pool(t testing.TB, subnet, ipRange, gateway string, aux ...string) Pool {
	t.Helper()
	m := map[string]string{}
	for i := 0; i < len(aux); i += 2 {
		m[aux[i]] = aux[i+1]
	}
	p, err := ParsePool(subnet, ipRange, gateway, m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParsePool(t *testing.T) {
	_, err := ParsePool("10.0.0.0", "x", "1.2.3", map[string]string{"b": "?", "a": "10.0.0.1"})
	const want = "invalid network config:\n* invalid subnet 10.0.0.0: invalid CIDR block notation\n* invalid ip-range x: invalid CIDR block notation\n" +
		"* invalid gateway 1.2.3: invalid address\n* invalid auxiliary address b: invalid address"
	if err == nil || err.Error() != want || !errors.Is(err, Invalid) {
		t.Fatalf("ParsePool = %v, want %s", err, want)
	}
}

func TestValidatePools(t *testing.T) {
	type P = []Pool
	p := func(subnet, ipRange, gateway string, aux ...string) Pool {
		return pool(t, subnet, ipRange, gateway, aux...)
	}
	for _, c := range []struct {
		name  string
		pools P
		want  string
	}{
		{"none", nil, ""},
		{"source E model 1", P{p("10.0.0.0/24", "", "10.0.0.1")}, ""},
		{"source E host A", P{p("192.168.1.0/24", "192.168.1.0/28", "192.168.1.100", "DefaultGatewayIPv4", "192.168.1.1")}, ""},
		{"dual stack", P{p("10.0.0.0/24", "", ""), p("fd00:1::/64", "", "fd00:1::1")}, ""},
		{"any of a size", P{p("0.0.0.0/24", "", ""), p("::/64", "", "")}, ""},
		{"any with gateway", P{p("0.0.0.0/24", "", "10.0.0.1")}, "no matching subnet for gateway 10.0.0.1"},
		{"host bits", P{p("10.0.0.5/24", "", "")}, "invalid network config:\ninvalid subnet 10.0.0.5/24: it should be 10.0.0.0/24"},
		{"range host bits", P{p("10.0.0.0/24", "10.0.0.5/28", "")}, "invalid ip-range 10.0.0.5/28: it should be 10.0.0.0/28"},
		{"range bigger", P{p("10.0.0.0/24", "10.0.0.0/16", "")}, "invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.0.0/24"},
		{"range elsewhere", P{p("10.0.0.0/24", "10.0.1.0/28", "")}, "invalid ip-range 10.0.1.0/28: parent subnet 10.0.0.0/24 doesn't contain ip-range"},
		{"range family", P{p("10.0.0.0/24", "fd00::/80", "")}, "invalid ip-range fd00::/80: parent subnet is an IPv4 block"},
		{"gateway elsewhere", P{p("10.0.0.0/24", "", "10.0.1.1")}, "invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24 doesn't contain this address"},
		{"gateway family", P{p("10.0.0.0/24", "", "fd00::1")}, "invalid gateway fd00::1: parent subnet is an IPv4 block"},
		{"gateway network", P{p("10.0.0.0/24", "", "10.0.0.0")}, "it is the network address of 10.0.0.0/24"},
		{"gateway broadcast", P{p("10.0.0.0/24", "", "10.0.0.255")}, "it is the broadcast address of 10.0.0.0/24"},
		{"v6 last is fine", P{p("fd00::/64", "", "fd00::ffff:ffff:ffff:ffff")}, ""},
		{"aux elsewhere", P{p("10.0.0.0/24", "", "", "r", "10.9.0.1")}, "invalid auxiliary address r: parent subnet 10.0.0.0/24 doesn't contain this address"},
		{"aux outside range", P{p("10.0.0.0/24", "10.0.0.0/28", "", "r", "10.0.0.99")}, ""},
		{"aux is gateway", P{p("10.0.0.0/24", "", "10.0.0.1", "r", "10.0.0.1")}, "invalid auxiliary address r: 10.0.0.1 is the gateway"},
		{"aux twice", P{p("10.0.0.0/24", "", "", "a", "10.0.0.9", "b", "10.0.0.9")}, "invalid auxiliary address b: 10.0.0.9 is already reserved as a"},
		{"range alone", P{p("", "10.0.0.0/28", "")}, "no matching subnet for range 10.0.0.0/28"},
		{"gateway alone", P{p("", "", "10.0.0.1")}, "no matching subnet for gateway 10.0.0.1"},
		{"aux alone", P{p("", "", "", "a", "10.0.0.1")}, "no matching subnet for aux-address 10.0.0.1"},
		{"two v4", P{p("10.0.0.0/24", "", ""), p("10.0.1.0/24", "", "")}, "bridge driver doesn't support multiple subnets"},
		{"overlap", P{p("10.0.0.0/16", "", ""), p("10.0.1.0/24", "", "")}, "Pool overlaps with other one on this address space"},
		{"loopback", P{p("127.0.0.0/8", "", "")}, "loopback, multicast"},
		{"multicast", P{p("224.0.0.0/8", "", "")}, "loopback, multicast"},
		{"everything", P{p("0.0.0.0/0", "", "")}, "whole address space"},
		{"too small", P{p("10.0.0.0/31", "", "")}, "no room for a gateway and an endpoint (at most /30)"},
		{"smallest", P{p("10.0.0.0/30", "", "")}, ""},
		{"mapped", P{p("::ffff:10.0.0.0/120", "", "")}, "IPv4 subnets are written as such"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ValidateNetwork(Network{Name: "n", EnableIPv4: true, EnableIPv6: true, IPAM: IPAM{Config: c.pools}})
			wantErr(t, err, c.want)
		})
	}
}

func TestValidateNetwork(t *testing.T) {
	v4 := []Pool{pool(t, "10.0.0.0/24", "", "")}
	v6 := []Pool{pool(t, "fd00::/64", "", "")}
	opt := func(k, v string) map[string]string { return map[string]string{k: v} }
	for _, c := range []struct {
		name string
		n    Network
		kind Kind
		want string
	}{
		{"defaults", Network{EnableIPv4: true}, "", ""},
		{"no family", Network{}, Invalid, "IPv4 or IPv6 must be enabled"},
		{"v6 only", Network{EnableIPv6: true, IPAM: IPAM{Config: v6}}, "", ""},
		{"v6 subnet without v6", Network{EnableIPv4: true, IPAM: IPAM{Config: v6}}, Invalid, "invalid subnet fd00::/64: IPv6 is not enabled on this network (--ipv6)"},
		{"v4 subnet without v4", Network{EnableIPv6: true, IPAM: IPAM{Config: v4}}, Invalid, "IPv4 is not enabled"},
		{"local overlay", Network{Driver: "overlay", Scope: "local", EnableIPv4: true}, Invalid, "an overlay network of scope local needs peers"},
		{"macvlan", Network{Driver: "macvlan", EnableIPv4: true}, Unsupported, "not supported yet"},
		{"ipvlan", Network{Driver: "ipvlan", EnableIPv4: true}, Unsupported, "not supported yet"},
		{"second host", Network{Driver: "host", EnableIPv4: true}, Forbidden, `only one instance of "host" network is allowed`},
		{"second none", Network{Driver: "none", EnableIPv4: true}, Forbidden, `only one instance of "null" network is allowed`},
		{"plugin", Network{Driver: "weave", EnableIPv4: true}, Invalid, `could not find plugin "weave"`},
		{"swarm scope", Network{Scope: "swarm", EnableIPv4: true}, Unsupported, `network scope "swarm" is not supported yet for driver bridge`},
		{"scope", Network{Scope: "global", EnableIPv4: true}, Invalid, `invalid network scope "global" (available: local, swarm)`},
		{"ingress", Network{Ingress: true, EnableIPv4: true}, Unsupported, "ingress networks are not supported yet"},
		{"dhcp", Network{EnableIPv4: true, IPAM: IPAM{Driver: "dhcp"}}, Unsupported, `ipam driver "dhcp" is not supported yet`},
		{"remote ipam", Network{EnableIPv4: true, IPAM: IPAM{Driver: "infoblox"}}, Unsupported, `ipam driver "infoblox": remote`},
		{"null ipam", Network{EnableIPv4: true, IPAM: IPAM{Driver: "null"}}, "", ""},
		{"null ipam subnet", Network{EnableIPv4: true, IPAM: IPAM{Driver: "null", Config: v4}}, Invalid, "null ipam driver does not handle specific address pool requests"},
		{"serial", Network{EnableIPv4: true, IPAM: IPAM{Options: opt(OptSerial, "true")}}, "", ""},
		{"bad serial", Network{EnableIPv4: true, IPAM: IPAM{Options: opt(OptSerial, "yes")}}, Invalid, "failed to parse com.docker.network.ipam.serial value: yes (expected true or false)"},
		{"ipam option", Network{EnableIPv4: true, IPAM: IPAM{Options: opt("color", "red")}}, Invalid, `unknown ipam option "color"`},
		{"driver option", Network{EnableIPv4: true, Options: opt("encrypted", "")}, Invalid, `unknown driver option "encrypted" for the bridge driver`},
		{"isolated", Network{EnableIPv4: true, Options: opt("gateway_mode_ipv4", "isolated")}, Invalid, "gateway mode 'isolated' can only be used for an internal network"},
		{"isolated internal", Network{EnableIPv4: true, Internal: true, Options: opt("gateway_mode_ipv4", "isolated")}, "", ""},
		{"mtu for v6", Network{EnableIPv6: true, Options: opt("mtu", "1000")}, Invalid, "IPv6 needs at least 1280"},
		{"default bridge", Network{EnableIPv4: true, Options: opt(optDefaultBridge, "true")}, Forbidden, "reserved"},
		{"empty label", Network{EnableIPv4: true, Labels: opt("", "x")}, Invalid, "invalid label"},
		{"config only", Network{ConfigOnly: true, EnableIPv4: true, IPAM: IPAM{Config: v4}}, "", ""},
		{"config only internal", Network{ConfigOnly: true, EnableIPv4: true, Internal: true}, Forbidden, "configuration network can only contain network specific fields"},
		{"config of config", Network{ConfigOnly: true, EnableIPv4: true, ConfigFrom: "x"}, Forbidden, "cannot depend on another configuration network"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.n.Name = "n"
			got, err := ValidateNetwork(c.n)
			wantErr(t, err, c.want)
			if c.kind != "" && !errors.Is(err, c.kind) {
				t.Fatalf("kind of %v, want %s", err, c.kind)
			}
			if err == nil && (got.Scope != "local" || got.IPAM.Driver == "" || got.Driver == "" || got.Options == nil || got.Labels == nil) {
				t.Fatalf("defaults are missing: %+v", got)
			}
		})
	}
	// Docker's CLI sends "bridge" unless told otherwise.
	for _, driver := range []string{"", "bridge", "overlay", "null"} {
		got, err := ValidateNetwork(Network{Name: "cfg", Driver: driver, ConfigOnly: true, EnableIPv4: true})
		if err != nil || APIDriver(got.Driver) != "null" {
			t.Errorf("template with driver %q: %q, %v; want null", driver, got.Driver, err)
		}
	}
	for _, n := range Predefined() {
		if _, err := ParseBridgeOptions(n.Options); err != nil || !IsPredefined(n.Name) {
			t.Errorf("predefined %s: %v", n.Name, err)
		}
	}
}

func TestMergeConfigFrom(t *testing.T) {
	config := Network{Name: "cfg", ConfigOnly: true, EnableIPv4: true, Options: map[string]string{"enable_icc": "false"},
		Labels: map[string]string{"a": "b"}, IPAM: IPAM{Driver: "default", Config: []Pool{pool(t, "10.1.0.0/24", "", "")}}}
	n, err := MergeConfigFrom(Network{Name: "n", EnableIPv4: true, Internal: true}, config)
	if err != nil || n.ConfigFrom != "cfg" || n.ConfigOnly || !n.Internal || n.Options["enable_icc"] != "false" || n.Labels["a"] != "b" || n.IPAM.Config[0].Subnet.String() != "10.1.0.0/24" {
		t.Fatalf("MergeConfigFrom = %+v, %v", n, err)
	}
	n.Options["enable_icc"] = "true"
	if config.Options["enable_icc"] != "false" {
		t.Fatal("the merged network shares the template's maps")
	}
	for _, c := range []struct {
		name      string
		n, config Network
		want      string
	}{
		{"no template", Network{}, Network{Name: "x"}, "not a configuration network"},
		{"both", Network{ConfigOnly: true}, config, "cannot depend on another"},
		{"own subnet", Network{IPAM: IPAM{Config: config.IPAM.Config}}, config, "user specified configurations are not supported"},
		{"own labels", Network{Labels: config.Labels}, config, "user specified configurations are not supported"},
		{"own options", Network{Options: config.Options}, config, "network driver options are not supported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := MergeConfigFrom(c.n, c.config)
			wantErr(t, err, c.want)
		})
	}
}

func TestCheckConflict(t *testing.T) {
	mk := func(name, subnet, bridge string) Network {
		n := Network{Name: name, Driver: "bridge", Options: map[string]string{}}
		if subnet != "" {
			n.IPAM.Config = []Pool{pool(t, subnet, "", "")}
		}
		if bridge != "" {
			n.Options["name"] = bridge
		}
		return n
	}
	others := []Network{mk("a", "10.0.0.0/16", "br1")}
	for _, c := range []struct {
		name string
		n    Network
		want string
	}{
		{"apart", mk("b", "10.1.0.0/16", "br2"), ""},
		{"no subnet", mk("b", "", ""), ""},
		{"same name", mk("a", "", ""), "network with name a already exists"},
		{"overlap", mk("b", "10.0.3.0/24", ""), "invalid pool request: Pool overlaps with other one on this address space: 10.0.3.0/24 and 10.0.0.0/16 of network a"},
		{"same subnet", mk("b", "10.0.0.0/16", ""), "Pool overlaps with other one on this address space"},
		{"same subnet, other range", func() Network {
			n := mk("b", "10.0.0.0/16", "")
			n.IPAM.Config[0].IPRange = netip.MustParsePrefix("10.0.7.0/24")
			return n
		}(), "networks have overlapping IPv4"},
		{"bridge name", mk("b", "10.1.0.0/16", "br1"), "both name their bridge br1"},
	} {
		t.Run(c.name, func(t *testing.T) { wantErr(t, CheckConflict(c.n, others), c.want) })
	}
}

func TestJSONRoundTrip(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	net := Network{ID: NewID(), Name: "n", Created: at, Scope: "local", Driver: "bridge", EnableIPv4: true, Options: map[string]string{"a": "b"},
		IPAM: IPAM{Driver: "default", Config: []Pool{{}, pool(t, "10.0.0.0/24", "10.0.0.0/28", "10.0.0.1", "r", "10.0.0.9")}}}
	cfg := EndpointConfig{IPv4: netip.MustParseAddr("10.0.0.2"), LinkLocal: []netip.Addr{netip.MustParseAddr("fe80::1")}, MAC: frame.MAC{2}, GwPriority: -1}
	box := Sandbox{ID: NewID(), Created: at, State: Running, Spec: SandboxSpec{Cmd: []string{"sh"}, DNS: []netip.Addr{EmbeddedDNS},
		StopTimeout: time.Second, Networks: []NetworkJoin{{Network: "n", Config: cfg}}, Foreign: &Foreign{PID: 7}},
		Endpoints: []Endpoint{{ID: NewID(), Config: cfg, MAC: frame.MAC{2, 0x42}, IPv4: netip.MustParsePrefix("10.0.0.2/24"), Gateway4: netip.MustParseAddr("10.0.0.1")}, {}}}
	for _, c := range []struct {
		name    string
		in, out any
	}{
		{"network", &net, new(Network)}, {"empty network", new(Network), new(Network)},
		{"sandbox", &box, new(Sandbox)}, {"empty sandbox", new(Sandbox), new(Sandbox)},
		{"event", &Event{Time: at, Type: "network", Attributes: map[string]string{"a": "b"}}, new(Event)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := json.Marshal(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(b, c.out); err != nil || !reflect.DeepEqual(c.in, c.out) {
				t.Fatalf("%s became %+v, %v", b, c.out, err)
			}
		})
	}
}

func TestSerial(t *testing.T) {
	for value, want := range map[string]bool{"": true, "t": true, "TRUE": true, "1": true, "True": true, "0": false, "F": false, "false": false} {
		if got, err := (IPAM{Options: map[string]string{OptSerial: value}}).Serial(); got != want || err != nil {
			t.Errorf("%q is %v, %v", value, got, err)
		}
	}
	if on, err := (IPAM{}).Serial(); on || err != nil {
		t.Errorf("without the option: %v, %v", on, err)
	}
}
