package cnm

import (
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"weft/internal/frame"
)

func fsLocal(p string) bool { return filepath.IsLocal(p) && filepath.Clean(p) == p }

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func TestValidateEndpoint(t *testing.T) {
	user := Network{Name: "n", Driver: "bridge", IPAM: IPAM{Config: []Pool{pool(t, "10.0.0.0/24", "10.0.0.0/28", "")}}}
	auto := Network{Name: "n", Driver: "bridge", IPAM: IPAM{Config: []Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Auto: true}}}}
	predefined := Network{Name: "bridge", Driver: "bridge"}
	host := Network{Name: "host", Driver: "host"}
	for _, c := range []struct {
		name string
		n    Network
		c    EndpointConfig
		want string
	}{
		{"nothing", user, EndpointConfig{}, ""},
		{"static", user, EndpointConfig{IPv4: addr("10.0.0.7")}, ""},
		{"outside range", user, EndpointConfig{IPv4: addr("10.0.0.200")}, ""},
		{"outside subnet", user, EndpointConfig{IPv4: addr("10.0.1.7")}, "invalid endpoint settings:\nno configured subnet contains IP address 10.0.1.7"},
		{"auto subnet", auto, EndpointConfig{IPv4: addr("10.0.0.7")}, "user specified IP address is supported only when connecting to networks with user configured subnets"},
		{"v6 without subnet", user, EndpointConfig{IPv6: addr("fd00::7")}, "user configured subnets"},
		{"wrong family", user, EndpointConfig{IPv4: addr("fd00::7")}, "invalid IPv4 address: fd00::7"},
		{"unspecified", user, EndpointConfig{IPv4: addr("0.0.0.0")}, "invalid IPv4 address: 0.0.0.0"},
		{"default bridge", predefined, EndpointConfig{IPv4: addr("172.17.0.7")}, "user specified IP address is supported on user defined networks only"},
		{"default bridge alias", predefined, EndpointConfig{Aliases: []string{"a"}}, "network-scoped alias is supported only for containers in user defined networks"},
		{"host address", host, EndpointConfig{IPv4: addr("10.0.0.7")}, "user defined networks only"},
		{"host alias", host, EndpointConfig{Aliases: []string{"a"}}, "network-scoped alias"},
		{"host mac", host, EndpointConfig{MAC: frame.MAC{2}}, "conflicting options: mac-address"},
		{"link local", user, EndpointConfig{LinkLocal: []netip.Addr{addr("169.254.1.1"), addr("fe80::5")}}, ""},
		{"not link local", user, EndpointConfig{LinkLocal: []netip.Addr{addr("10.0.0.1")}}, "invalid link-local IP address: 10.0.0.1"},
		{"mac", user, EndpointConfig{MAC: frame.MAC{2, 1}}, ""},
		{"group mac", user, EndpointConfig{MAC: frame.MAC{3, 1}}, "invalid MAC address 03:01:00:00:00:00: it is a group address"},
		{"dotted alias", user, EndpointConfig{Aliases: []string{"db.example.com"}}, ""},
		{"bad alias", user, EndpointConfig{Aliases: []string{"a b"}}, `invalid alias "a b"`},
		{"link", user, EndpointConfig{Links: []string{"db:mydb", "web"}}, ""},
		{"link on host", host, EndpointConfig{Links: []string{"web"}}, "links are not supported on the default network (web)"},
		{"bad link", user, EndpointConfig{Links: []string{"a:b:c"}}, "bad format for links: a:b:c"},
		{"ifname", user, EndpointConfig{DriverOpts: map[string]string{OptIfName: "wan0"}}, ""},
		{"bad ifname", user, EndpointConfig{DriverOpts: map[string]string{OptIfName: "a/b"}}, `invalid interface name "a/b"`},
		{"sysctls", user, EndpointConfig{DriverOpts: map[string]string{OptSysctls: "net.ipv4.conf.IFNAME.log_martians=1"}}, ""},
		{"bad sysctls", user, EndpointConfig{DriverOpts: map[string]string{OptSysctls: "net.ipv4.conf.eth0.log_martians=1"}}, "unrecognised network interface sysctl"},
		{"sysctls of the host", user, EndpointConfig{DriverOpts: map[string]string{OptSysctls: "net.ipv4.conf.IFNAME.forwarding=1,net.core.conf.IFNAME.x=1"}}, `sysctl "net.core.conf.IFNAME.x=1"`},
		{"sysctls with slashes", user, EndpointConfig{DriverOpts: map[string]string{OptSysctls: "net.ipv4.conf.IFNAME.a/b=1"}}, "unrecognised network interface sysctl"},
		{"a router", user, EndpointConfig{DriverOpts: map[string]string{"weft.allow-ra": "true", "weft.allow-dhcp": "false"}}, ""},
		{"bad switch", user, EndpointConfig{DriverOpts: map[string]string{"weft.allow-ra": "maybe"}}, "invalid driver option weft.allow-ra=maybe: expected on or off, or true or false"},
		{"no guard", user, EndpointConfig{DriverOpts: map[string]string{"weft.guard": "off", "weft.mac-limit": "5"}}, ""},
		{"bad guard", user, EndpointConfig{DriverOpts: map[string]string{"weft.guard": "no way"}}, "weft.guard=no way"},
		{"bad limit", user, EndpointConfig{DriverOpts: map[string]string{"weft.mac-limit": "0"}}, "expected a number from 1 to 1048576"},
		{"bad queues", user, EndpointConfig{DriverOpts: map[string]string{"weft.queues": "9"}}, "expected a number from 1 to 8"},
		{"unknown option", user, EndpointConfig{DriverOpts: map[string]string{"x": "y"}}, `unknown driver option "x" for an endpoint`},
		{"config only", Network{ConfigOnly: true}, EndpointConfig{}, "configuration-only network"},
		{"several", user, EndpointConfig{MAC: frame.MAC{1}, Aliases: []string{""}}, "invalid endpoint settings:\n* invalid MAC"},
	} {
		t.Run(c.name, func(t *testing.T) { wantErr(t, ValidateEndpoint(c.n, c.c), c.want) })
	}
}

func TestEndpointSysctls(t *testing.T) {
	got, err := EndpointSysctls("net.ipv4.conf.IFNAME.forwarding=1,net.ipv6.conf.IFNAME.accept_ra=2", "eth0.5")
	want := map[string]string{"net/ipv4/conf/eth0.5/forwarding": "1", "net/ipv6/conf/eth0.5/accept_ra": "2"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("EndpointSysctls = %v, %v, want %v", got, err, want)
	}
}

func TestEndpointOptions(t *testing.T) {
	got, err := ParseEndpointOptions(map[string]string{OptIfName: "wan0", "weft.allow-ra": "true", "weft.allow-dhcp": "1",
		"weft.guard": "off", "weft.mac-limit": "7", "weft.queues": "2"})
	want := EndpointOptions{IfName: "wan0", AllowRA: true, AllowDHCP: true, NoGuard: true, MACLimit: 7, Queues: 2}
	if err != nil || got != want {
		t.Fatalf("ParseEndpointOptions = %+v, %v, want %+v", got, err, want)
	}
	if got, err := ParseEndpointOptions(map[string]string{"weft.guard": "on"}); err != nil || got != (EndpointOptions{}) {
		t.Fatalf("guard on: %+v, %v", got, err)
	}
}

func TestDefaultGateway(t *testing.T) {
	ep := func(network, gw4, gw6 string, prio int) Endpoint {
		return Endpoint{Network: network, Gateway4: addr(gw4), Gateway6: addr(gw6), Config: EndpointConfig{GwPriority: prio}}
	}
	out := ep("weft_gwbridge", "172.18.0.1", "fd01::1", 0)
	out.WayOut = true
	for _, c := range []struct {
		name   string
		eps    []Endpoint
		v4, v6 int
	}{
		{"way out alone", []Endpoint{ep("a", "", "", 5), out}, 1, 1},
		{"way out last", []Endpoint{out, ep("z", "10.0.0.1", "", -9)}, 1, 0},
		{"none", nil, -1, -1},
		{"only internal", []Endpoint{ep("a", "", "", 9)}, -1, -1},
		{"lexical", []Endpoint{ep("b", "10.0.0.1", "", 0), ep("a", "10.1.0.1", "", 0)}, 1, -1},
		{"both families first", []Endpoint{ep("a", "10.0.0.1", "", 0), ep("b", "10.1.0.1", "fd00::1", 0)}, 1, 1},
		{"priority over both", []Endpoint{ep("b", "10.1.0.1", "fd00::1", 0), ep("c", "10.0.0.1", "", 1)}, 1, 0},
		{"negative priority", []Endpoint{ep("a", "10.0.0.1", "", -1), ep("b", "10.1.0.1", "", 0)}, 1, -1},
		{"priorities far apart", []Endpoint{ep("a", "10.0.0.1", "", math.MinInt), ep("b", "10.1.0.1", "", math.MaxInt)}, 1, -1},
		{"internal with priority", []Endpoint{ep("a", "", "", 5), ep("b", "10.1.0.1", "", 0)}, 1, -1},
		{"one family each", []Endpoint{ep("a", "10.0.0.1", "", 0), ep("b", "", "fd00::1", 0)}, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if v4, v6 := DefaultGateway(c.eps); v4 != c.v4 || v6 != c.v6 {
				t.Fatalf("DefaultGateway = %d, %d, want %d, %d", v4, v6, c.v4, c.v6)
			}
		})
	}
}

func TestDNSNames(t *testing.T) {
	id := strings.Repeat("ab", 32)
	got := DNSNames(SandboxSpec{Name: "web", Hostname: "abababababab"}, id, EndpointConfig{Aliases: []string{"www", "web"}})
	if want := []string{"web", "www", "abababababab"}; !reflect.DeepEqual(got, want) {
		t.Fatalf("DNSNames = %v, want %v", got, want)
	}
}

func TestHostsFile(t *testing.T) {
	got := string(HostsFile{Hostname: "rose", Domainname: "example.org", HostGateway: addr("172.17.0.1"),
		Extra:     []string{"db:10.9.9.9", "me=host-gateway", "six:[fd00::9]"},
		Endpoints: []Endpoint{{IPv4: netip.MustParsePrefix("172.19.0.2/16"), IPv6: netip.MustParsePrefix("fd00::2/64")}}}.Bytes())
	for _, line := range []string{"127.0.0.1\tlocalhost\n", "ff02::2\tip6-allrouters\n", "10.9.9.9\tdb\n", "172.17.0.1\tme\n", "fd00::9\tsix\n",
		"172.19.0.2\trose.example.org rose\n", "fd00::2\trose.example.org rose\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("hosts lacks %q:\n%s", line, got)
		}
	}
	v4 := string(HostsFile{Hostname: "rose", NoIPv6: true, Endpoints: []Endpoint{
		{IPv4: netip.MustParsePrefix("172.19.0.2/16")}, {IPv4: netip.MustParsePrefix("172.18.0.2/16"), WayOut: true},
	}}.Bytes())
	if v4 != "127.0.0.1\tlocalhost\n172.19.0.2\trose\n" {
		t.Errorf("IPv4 hosts = %q", v4)
	}
}

func TestReachableServers(t *testing.T) {
	host := ParseResolvConf([]byte("nameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver fe80::1%eth0\n"))
	for _, c := range []struct {
		name string
		got  []netip.Addr
		want string
	}{
		{"both", host.Reachable(true, true), "[127.0.0.53 192.0.2.1 2001:db8::1]"},
		{"IPv4", host.Reachable(true, false), "[127.0.0.53 192.0.2.1]"},
		{"IPv6", host.Reachable(false, true), "[127.0.0.53 2001:db8::1]"},
		{"none named", ResolvConf{}.Reachable(true, false), "[8.8.8.8 8.8.4.4]"},
		{"none of the family", ResolvConf{Servers: []netip.Addr{addr("192.0.2.1")}}.Reachable(false, true), "[2001:4860:4860::8888 2001:4860:4860::8844]"},
	} {
		if fmt.Sprint(c.got) != c.want {
			t.Errorf("%s: %v, want %s", c.name, c.got, c.want)
		}
	}
}

func TestResolvConf(t *testing.T) {
	host := ParseResolvConf([]byte("# c\nnameserver 127.0.0.53\nnameserver 192.0.2.1 # x\nnameserver fe80::1%eth0\nnameserver bad\ndomain old\nsearch a.example b.example\noptions edns0 trust-ad\n"))
	const head = "# Generated by weft.\n"
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"plain", host.Plain(true), head + "nameserver 192.0.2.1\nsearch a.example b.example\noptions edns0 trust-ad\n"},
		{"alone", host.Alone(), head + "search a.example b.example\noptions edns0 trust-ad\n"},
		{"embedded", host.Embedded([]string{"host(127.0.0.53)", "192.0.2.1"}), head + "nameserver 127.0.0.11\nsearch a.example b.example\noptions edns0 trust-ad ndots:0\n# ExtServers: [host(127.0.0.53) 192.0.2.1]\n"},
		{"nothing left", ResolvConf{Servers: []netip.Addr{addr("127.0.0.53")}}.Plain(false), head + "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"},
		{"nothing left, v6", ResolvConf{}.Plain(true), head + "nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n"},
		{"override", host.Override(SandboxSpec{DNS: []netip.Addr{addr("9.9.9.9")}, DNSSearch: []string{"."}, DNSOptions: []string{"ndots:2"}}).Embedded([]string{"9.9.9.9"}),
			head + "nameserver 127.0.0.11\noptions ndots:2\n# ExtServers: [9.9.9.9]\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if string(c.got) != c.want {
				t.Fatalf("got\n%s\nwant\n%s", c.got, c.want)
			}
		})
	}
}
