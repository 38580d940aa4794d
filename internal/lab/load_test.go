package lab

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/frame"
)

// full uses every key there is.
const full = `
networks:
  front: {driver: overlay, subnet: 10.0.1.0/24, attachable: true, options: {encrypted: ""}}
  back:
    subnet: [10.1.0.0/16, "fd00:1::/64"]
    ip-range: 10.1.2.0/24
    gateway: [10.1.0.254]
    aux-address: {printer: 10.1.0.9}
    ipam-driver: default
    ipam-opt: {com.docker.network.ipam.serial: "true"}
    ipv4: true
    ipv6: true
    internal: true
    labels: [team=net, quiet]
  auto: {}
  auto2:
nodes:
  n1: {advertise-addr: 127.0.0.1, data-path-addr: [192.0.2.1, "2001:db8::1"], data-path-port: 4790, uplink-addr: [198.51.100.1/24, "2001:db8:9::1"], uplink-gateway: 198.51.100.254}
  n2:
sandboxes:
  rose:
    network: ["back,ip=10.1.2.5", front]
    node: n1
    command: [sleep, "300"]
    hostname: rose
    env: {A: 1, B:}
    workdir: /tmp
    rootfs: /srv/rose
    sysctls: [net.ipv4.ip_forward=1]
    labels: {x: y}
    dns: 192.0.2.53
    extra-hosts: ["db:10.1.2.9"]
    service: web
    publish: "8080:80"
services:
  web: {network: front, publish: ["8080:80"], endpoint-mode: dnsrr}
ports:
  b: {network: back, node: n2, ip: 10.1.2.7}
  a: {network: back, node: n1, mac: 02:42:0a:01:02:06, ip: ["10.1.2.6", "fd00:1::6"], mac-limit: 3, vlans: [0, 10], mtu: 1400, allow: [ra, dhcp], publish: ["8080:80", "53:53/udp"]}
  w: {underlay: true, node: n1, mtu: 9000}
  o: {outside: true, node: n1, mtu: 1400, ip: 198.51.100.254, mac: "02:00:00:00:00:09"}
links:
  rose: {delay: 10ms, jitter: 1ms, loss: 1%, rate: 10mbit}
`

func TestParseEverything(t *testing.T) {
	l, err := Parse("lab.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range l.Networks {
		names = append(names, n.Name)
	}
	if got := strings.Join(names, " "); got != "auto auto2 back front" {
		t.Errorf("networks %s, expected them by name", got)
	}
	back := l.network("back")
	if g := back.Resolved[0].Gateway; g != netip.MustParseAddr("10.1.0.254") || !back.Internal || !back.EnableIPv6 {
		t.Errorf("network back: %+v", back)
	}
	if g := back.Resolved[1].Gateway; g != netip.MustParseAddr("fd00:1::1") {
		t.Errorf("IPv6 gateway %s", g)
	}
	// Docker's first pool is the default network's.
	if got := l.network("auto").Resolved[0].Subnet.String() + " " + l.network("auto2").Resolved[0].Gateway.String(); got != "172.18.0.0/16 172.19.0.1" {
		t.Errorf("chosen subnet and gateway %s", got)
	}
	a, b := l.Ports[0], l.Ports[1]
	if a.MAC != (frame.MAC{2, 0x42, 10, 1, 2, 6}) || len(a.Addrs) != 2 || a.MACLimit != 3 || len(a.VLANs) != 2 || a.MTU != 1400 || !a.AllowRA || !a.AllowDHCP {
		t.Errorf("port a: %+v", a)
	}
	if b.MAC != (frame.MAC{2, 0x42, 10, 1, 2, 7}) {
		t.Errorf("port b has MAC %s, expected the one derived from its address", b.MAC)
	}
	s := l.Sandboxes[0]
	if s.Name != "rose" || len(s.Networks) != 2 || s.Networks[0].Config.IPv4.String() != "10.1.2.5" || strings.Join(s.Env, " ") != "A=1 B=" || s.Publish[0] != "8080:80" {
		t.Errorf("sandbox: %+v", s)
	}
	if k := l.Links[0]; k.Delay != 10*time.Millisecond || k.Jitter != time.Millisecond || k.Loss != 0.01 || k.Rate != 10_000_000 {
		t.Errorf("link: %+v", k)
	}
	n := l.Nodes[0]
	if at := n.vtep(); n.Name != "n1" || n.AdvertiseAddr.String() != "127.0.0.1" || len(at) != 2 || at[1].String() != "[2001:db8::1]:4790" {
		t.Errorf("node: %+v", n)
	}
	if len(n.UplinkAddrs) != 2 || n.UplinkAddrs[1].String() != "2001:db8:9::1/128" || len(n.UplinkGateways) != 1 || n.UplinkMAC().String() != "02:42:c6:33:64:01" {
		t.Errorf("node outside: %+v", n)
	}
	if a, o := l.Ports[0], l.Ports[2]; len(a.Publish) != 2 || a.Publish[1].String() != "53:53/udp" || !o.Outside || o.MTU != 1400 || o.MAC[5] != 9 {
		t.Errorf("outside: %+v %+v", a, o)
	}
	if w := l.Ports[3]; !w.Underlay || w.MTU != 9000 || w.MAC != (frame.MAC{}) {
		t.Errorf("wire: %+v", w)
	}
}

func TestParseErrors(t *testing.T) {
	const n = "networks: {n: {subnet: 10.0.0.0/24}}\n"
	tests := []struct{ name, lab, want string }{
		{"empty", "# nothing\n", "lab.yaml: empty"},
		{"not yaml", "a: [1\nb: 2", "lab.yaml: yaml: line"},
		{"a list", "- a", "lab.yaml:1: expected keys and values, found a list"},
		{"two documents", n + "---\n" + n, "a second document; a lab is one"},
		{"unknown key", n + "\nport: {}\n", `lab.yaml:3: unknown key "port"; there are: links, networks, nodes, ports, sandboxes, services`},
		{"unknown key below", n + "ports:\n  a:\n    network: n\n    macc: x\n",
			`lab.yaml:5: ports.a: unknown key "macc"; there are: allow, ip, mac, mac-limit, mtu, network, node, outside, publish, underlay, vlans`},
		{"key twice", "nodes:\n  n1: {}\n  n1: {}\n", `lab.yaml:3: nodes: key "n1" is already on line 2`},
		{"alias", "nodes: {n1: &x {}, n2: *x}", "lab.yaml:1: nodes.n2: expected keys and values, found an alias"},
		{"merge", "nodes: {<<: {}, n2: }", "expected a plain key, found an alias"},
		{"name", "nodes: {../n1: {}}", `lab.yaml:1: nodes: invalid name "../n1"`},
		{"scalar for an object", "ports: {a: 5}", `lab.yaml:1: ports.a: expected keys and values, found "5"`},
		{"list for a scalar", "networks: {n: {driver: [a]}}", "networks.n.driver: expected one value, found a list"},
		{"null for a scalar", n + "ports: {a: {network: }}", "ports.a.network: expected one value, found nothing"},
		{"mac", n + "ports: {a: {network: n, mac: 01:00:5e:00:00:01}}", `ports.a.mac: found "01:00:5e:00:00:01", expected a unicast MAC address`},
		{"ip", n + "ports: {a: {network: n, ip: [10.0.0.2, x]}}", `ports.a.ip[1]: found "x", expected an IP address`},
		{"number", n + "ports: {a: {network: n, mtu: 67}}", `expected a number from 68 to 65535`},
		{"bool", "networks: {n: {internal: yes}}", `networks.n.internal: found "yes", expected true or false`},
		{"allow", n + "ports: {a: {network: n, allow: bpdu}}", `ports.a: allow "bpdu": expected ra or dhcp`},
		{"loss", "links: {a: {loss: 101%}}", `links.a.loss: found "101%", expected a share such as 1%`},
		{"rate", "links: {a: {rate: 10}}", "expected a rate such as 10mbit"},
		{"delay", "links: {a: {delay: -1s}}", "expected a duration such as 10ms"},
		{"jitter", n + "ports: {a: {network: n}}\nlinks: {a: {jitter: 1s}}", `jitter "1s" is more than delay "0s"`},
		{"endpoint mode", "services: {s: {endpoint-mode: x}}", `services.s: endpoint-mode "x": expected vip or dnsrr`},
		{"driver", "networks: {n: {driver: magic}}", `networks.n: driver "magic": expected bridge, overlay, macvlan or ipvlan`},
		{"driver option", "networks: {n: {options: {weird: 1}}}", `unknown driver option "weird"`},
		{"subnet", "networks: {n: {subnet: 10.0.0.0}}", "invalid subnet 10.0.0.0: invalid CIDR"},
		{"overlapping subnets", "networks:\n  n: {subnet: 10.0.0.0/8}\n  m: {subnet: 10.1.0.0/16}\n", "overlap"},
		{"no such network", n + "ports: {a: {network: m}}", `lab.yaml:2: ports.a: network "m" is not in this file: expected n`},
		{"no networks", "ports: {a: {network: m}}", `network "m" is not in this file, which has no networks`},
		{"network missing", n + "ports: {a: {}}", "ports.a: network is missing"},
		{"no such node", n + "nodes: {x: {}}\nports: {a: {network: n, node: y}}", `ports.a: node "y" is not in this file: expected x`},
		{"no nodes", n + "ports: {a: {network: n, node: y}}", `node "y" is not in this file, which has no nodes`},
		{"node missing", n + "nodes: {x: {}, y: {}}\nports: {a: {network: n}}", "ports.a: node is missing: this lab has x, y"},
		{"no such service", n + "sandboxes: {s: {network: n, service: web, command: x}}", `sandboxes.s: service "web" is not in this file`},
		{"link to nothing", "links: {a: {}}", "links.a: no sandbox or port has this name"},
		{"ports that differ in case", n + "ports: {a: {network: n}, A: {network: n}}", "differs from port A only in case"},
		{"ip outside", n + "ports: {a: {network: n, ip: 10.0.1.2}}", "ports.a: ip 10.0.1.2 lies outside network n, which has 10.0.0.0/24"},
		{"ip of the gateway", n + "ports: {a: {network: n, ip: 10.0.0.1}}", "ports.a: ip 10.0.0.1 is the gateway of network n"},
		{"ip twice", n + "ports: {a: {network: n, ip: 10.0.0.2}, b: {network: n, mac: 02:00:00:00:00:01, ip: 10.0.0.2}}", "ports.b: network n: Address already in use: 10.0.0.2"},
		{"mac twice", n + "ports: {a: {network: n, mac: 02:00:00:00:00:01}, b: {network: n, mac: 02:00:00:00:00:01}}", "ports.b: mac 02:00:00:00:00:01 is already that of port a"},
		{"IPv6 without mac", n + "ports: {a: {network: n, ip: fe80::1}}", "ports.a: ip without an IPv4 address needs mac"},
		{"many", strings.Repeat("x: {}\n", 1) + "y: {}\nz: {}\n", "lab.yaml:3: unknown key \"z\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Parse("lab.yaml", []byte(tt.lab))
			if err == nil || l != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, expected %q", err, tt.want)
			}
		})
	}
}

// What two checks find is said once.
func TestParseSaysOnce(t *testing.T) {
	_, err := Parse("lab.yaml", []byte("networks:\n  n: {subnet: 10.0.0.0/8}\n  m: {subnet: 10.1.0.0/16}\n"))
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "overlaps") {
		t.Errorf("error %v, expected one line", err)
	}
}

func TestParseBounds(t *testing.T) {
	if _, err := Parse("lab.yaml", make([]byte, maxFile+1)); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("error %v", err)
	}
	_, err := Parse("lab.yaml", []byte("a: {}\nb: {}\nc: {}\nd: {}\ne: {}\nf: {}\ng: {}\nh: {}\ni: {}\nj: {}\nk: {}\nl: {}\n"))
	if err == nil || !strings.HasSuffix(err.Error(), "lab.yaml: 2 more") || strings.Count(err.Error(), "unknown key") != 10 {
		t.Errorf("error %v, expected ten mistakes and how many more there are", err)
	}
}

func TestLoadMissing(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, expected %v", err, os.ErrNotExist)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	for _, g := range goldens() {
		f.Add([]byte(g.lab))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse("f.yaml", b)
		if err != nil || len(l.Ports) == 0 || len(l.Ports) > 100 {
			return
		}
		if _, err := build(l, 1); err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
	})
}
