package cnm

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"weft/ipsec"
)

func peers(s ...string) (out []netip.AddrPort) {
	for _, p := range s {
		out = append(out, netip.MustParseAddrPort(p))
	}
	return out
}

func TestParseOverlayOptions(t *testing.T) {
	type M = map[string]string
	for _, c := range []struct {
		name string
		in   M
		want string
		mod  func(*OverlayOptions)
	}{
		{"defaults", nil, "", func(*OverlayOptions) {}},
		{"all", M{"weft.vni": "4097", "weft.peers": "192.0.2.2", OptMTU: "1400", "weft.multicast": "off"}, "", func(o *OverlayOptions) {
			o.VNIs, o.Peers, o.MTU, o.Multicast = []uint32{4097}, peers("192.0.2.2:0"), 1400, false
		}},
		{"short names", M{"mtu": "9000", "weft.multicast": "on"}, "", func(o *OverlayOptions) { o.MTU = 9000 }},
		{"derived mtu", M{"mtu": "0"}, "", func(*OverlayOptions) {}},
		{"smallest vni", M{"weft.vni": "1"}, "", func(o *OverlayOptions) { o.VNIs = []uint32{1} }},
		{"largest vni", M{"weft.vni": "16777215"}, "", func(o *OverlayOptions) { o.VNIs = []uint32{1<<24 - 1} }},
		{"vni list", M{"weft.vni": "5000, 4097"}, "", func(o *OverlayOptions) { o.VNIs = []uint32{5000, 4097} }},
		{"Docker's name", M{OptVNIList: "4097"}, "", func(o *OverlayOptions) { o.VNIs = []uint32{4097} }},
		{"both names", M{OptVNIList: "4097", "weft.vni": " 4097"}, "", func(o *OverlayOptions) { o.VNIs = []uint32{4097} }},
		{"peer forms", M{"weft.peers": "127.0.0.2,127.0.0.2:4790, 2001:db8::2,[2001:db8::3]:4791"}, "", func(o *OverlayOptions) {
			o.Peers = peers("127.0.0.2:0", "127.0.0.2:4790", "[2001:db8::2]:0", "[2001:db8::3]:4791")
		}},

		{"vni 0", M{"weft.vni": "0"}, "failed to parse weft.vni value: 0 (expected numbers from 1 to 16777215", nil},
		{"vni of 25 bits", M{"weft.vni": "16777216"}, "expected numbers from 1 to 16777215", nil},
		{"vni of 33 bits", M{"weft.vni": "4294967297"}, "expected numbers from 1 to 16777215", nil},
		{"negative vni", M{"weft.vni": "-1"}, "expected numbers from 1", nil},
		{"no vni", M{"weft.vni": ""}, "expected numbers from 1", nil},
		{"lost comma", M{"weft.vni": "4097,"}, "expected numbers from 1", nil},
		{"vni in words", M{OptVNIList: "many"}, "failed to parse com.docker.network.driver.overlay.vxlanid_list value: many", nil},
		{"vni twice", M{"weft.vni": "7,8,7"}, "VNI 7 stands twice", nil},
		{"two vnis", M{"weft.vni": "7", OptVNIList: "8"}, "name different VNIs, 8 and 7: give one of them", nil},
		{"two orders", M{"weft.vni": "7,8", OptVNIList: "8,7"}, "name different VNIs", nil},
		{"no peer", M{"weft.peers": ""}, "expected ADDRESS or ADDRESS:PORT", nil},
		{"a name", M{"weft.peers": "node2"}, `found "node2"`, nil},
		{"peer port 0", M{"weft.peers": "192.0.2.2:0"}, "192.0.2.2:0 has port 0", nil},
		{"peer port large", M{"weft.peers": "192.0.2.2:65536"}, "expected ADDRESS or ADDRESS:PORT", nil},
		{"brackets alone", M{"weft.peers": "[2001:db8::2]"}, "expected ADDRESS or ADDRESS:PORT", nil},
		{"peer twice", M{"weft.peers": "192.0.2.2,192.0.2.3,192.0.2.2"}, "192.0.2.2 stands twice", nil},
		{"peer in two spellings", M{"weft.peers": "2001:db8::2,2001:DB8:0::2"}, "2001:DB8:0::2 stands twice", nil},
		{"unspecified", M{"weft.peers": "0.0.0.0"}, "0.0.0.0 is no address of anybody", nil},
		{"unspecified six", M{"weft.peers": "[::]:4789"}, "is no address of anybody", nil},
		{"multicast", M{"weft.peers": "239.1.1.1:4789"}, "is a group address", nil},
		{"multicast six", M{"weft.peers": "ff02::1"}, "is a group address", nil},
		{"broadcast", M{"weft.peers": "255.255.255.255"}, "is a group address", nil},
		{"mapped", M{"weft.peers": "::ffff:192.0.2.2"}, "IPv4 addresses are written as such", nil},
		{"link-local", M{"weft.peers": "fe80::1"}, "give a global address", nil},
		{"zone", M{"weft.peers": "fe80::1%eth0"}, "zones are not supported", nil},
		{"too many", M{"weft.peers": manyPeers(1025)}, "names 1025 peers: at most 1024", nil},
		{"bad mtu", M{"mtu": "big"}, "expected a number", nil},
		{"small mtu", M{"mtu": "67"}, "invalid MTU number: 67", nil},
		{"large mtu", M{OptMTU: "65536"}, "invalid MTU number: 65536", nil},
		{"two mtus", M{"mtu": "1400", OptMTU: "1450"}, "is given twice", nil},
		{"multicast true", M{"weft.multicast": "true"}, "failed to parse weft.multicast value: true (expected on or off)", nil},
		{"encrypted", M{"encrypted": ""}, "", func(o *OverlayOptions) { o.Encrypted = true }},
		{"encrypted true", M{"encrypted": "true"}, "", func(o *OverlayOptions) { o.Encrypted = true }},
		{"encrypted somehow", M{"encrypted": "please"}, "", func(o *OverlayOptions) { o.Encrypted = true }}, // yes in Docker
		{"all of encryption", M{"encrypted": "", "weft.cipher": "chacha20-poly1305", "weft.esn": "off", "weft.psk-file": "/a/../s"}, "", func(o *OverlayOptions) {
			o.Encrypted, o.Cipher, o.ESN, o.PSKFile = true, ipsec.ChaCha20Poly1305, false, "/s"
		}},
		{"smaller keys", M{"encrypted": "", "weft.cipher": "aes-128-gcm", "weft.esn": "on"}, "", func(o *OverlayOptions) { o.Encrypted, o.Cipher = true, ipsec.AES128GCM }},
		{"encrypted false", M{"encrypted": "false"}, "failed to parse encrypted value: false (its presence alone encrypts a network: leave it out for one in clear)", nil}, // yes in Docker
		{"encrypted No", M{"encrypted": "No"}, "its presence alone encrypts a network", nil},
		{"encrypted off", M{"encrypted": "off"}, "its presence alone encrypts a network", nil},
		{"encrypted 0", M{"encrypted": "0"}, "its presence alone encrypts a network", nil},
		{"no such cipher", M{"encrypted": "", "weft.cipher": "aes-256-cbc"}, "failed to parse weft.cipher value: aes-256-cbc (expected aes-256-gcm, aes-128-gcm or chacha20-poly1305)", nil},
		{"no cipher", M{"encrypted": "", "weft.cipher": ""}, "expected aes-256-gcm", nil},
		{"esn true", M{"encrypted": "", "weft.esn": "true"}, "failed to parse weft.esn value: true (expected on or off)", nil},
		{"relative secret", M{"encrypted": "", "weft.psk-file": "secret"}, "expected the absolute path of a file on this node", nil},
		{"no secret", M{"encrypted": "", "weft.psk-file": ""}, "expected the absolute path of a file on this node", nil},
		{"cipher in clear", M{"weft.cipher": "aes-128-gcm"}, "driver option weft.cipher is for encrypted networks: give -o encrypted as well, or leave it out", nil},
		{"esn in clear", M{"weft.esn": "on"}, "driver option weft.esn is for encrypted networks", nil},
		{"secret in clear", M{"weft.psk-file": "/s"}, "driver option weft.psk-file is for encrypted networks", nil},
		{"encrypted in capitals", M{"Encrypted": ""}, `unknown driver option "Encrypted"`, nil},
		{"dsr", M{"dsr": ""}, "not supported yet", nil},
		{"bridge option", M{"enable_icc": "false"}, `unknown driver option "enable_icc" for the overlay driver (known: com.docker.network.driver.mtu, ` +
			`com.docker.network.driver.overlay.vxlanid_list, encrypted, weft.cipher, weft.esn, weft.multicast, weft.peers, weft.psk-file, weft.vni)`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseOverlayOptions(c.in)
			wantErr(t, err, c.want)
			if c.mod == nil {
				return
			}
			want := OverlayOptions{Multicast: true, Cipher: ipsec.AES256GCM, ESN: true}
			c.mod(&want)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("ParseOverlayOptions = %+v, want %+v", got, want)
			}
		})
	}
}

func manyPeers(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}).String()
	}
	return strings.Join(all, ",")
}

// overlay is a network that passes; with changes.
func overlay(t testing.TB, change func(*Network)) Network {
	n := Network{Name: "n", Driver: "overlay", EnableIPv4: true, Options: map[string]string{"weft.vni": "4097", "weft.peers": "192.0.2.2"},
		IPAM: IPAM{Config: []Pool{pool(t, "10.0.9.0/24", "", "")}}}
	if change != nil {
		change(&n)
	}
	return n
}

func TestValidateOverlay(t *testing.T) {
	add := func(subnets ...string) func(*Network) {
		return func(n *Network) {
			for _, s := range subnets {
				n.IPAM.Config = append(n.IPAM.Config, pool(t, s, "", ""))
			}
		}
	}
	set := func(k, v string) func(*Network) { return func(n *Network) { n.Options[k] = v } }
	for _, c := range []struct {
		name   string
		change func(*Network)
		kind   Kind
		want   string
	}{
		{"plain", nil, "", ""},
		{"attachable", func(n *Network) { n.Attachable = true }, "", ""},
		{"internal", func(n *Network) { n.Internal = true }, "", ""},
		{"chosen subnet", func(n *Network) { n.IPAM.Config = nil }, "", ""},
		{"chosen of a size", func(n *Network) { n.IPAM.Config = []Pool{pool(t, "0.0.0.0/26", "", "")} }, "", ""},
		{"range", func(n *Network) { n.IPAM.Config[0] = pool(t, "10.0.9.0/24", "10.0.9.64/26", "") }, "", ""},
		{"six", func(n *Network) { n.EnableIPv6 = true; add("fd00:9::/64")(n) }, "", ""},
		{"serial", func(n *Network) { n.IPAM.Options = map[string]string{OptSerial: "true"} }, "", ""},
		{"of a swarm", func(n *Network) { n.Options = nil }, "", ""},
		{"of a swarm, with its VNI", func(n *Network) { delete(n.Options, OptPeers) }, "", ""},
		{"of a swarm, two VNIs", func(n *Network) { delete(n.Options, OptPeers); n.Options[OptVNI] = "7,8" }, Invalid, "names 2 VNIs for 1 IPv4 subnet"},
		{"local without peers", func(n *Network) { n.Scope = ScopeLocal; delete(n.Options, OptPeers) }, Invalid,
			"an overlay network of scope local needs peers: name the other nodes with -o weft.peers=ADDRESS,ADDRESS:PORT,... and the network with -o weft.vni=NUMBER"},
		{"no vni", func(n *Network) { delete(n.Options, OptVNI) }, Invalid, "driver option weft.vni is missing: without a swarm nobody else chooses the VNI, and every node of the network must name the same one"},
		{"vnis for one subnet", set(OptVNI, "7,8"), Invalid, "names 2 VNIs for 1 IPv4 subnet"},
		{"several subnets", func(n *Network) { n.Options[OptVNI] = "7,8"; add("10.0.10.0/24")(n) }, Unsupported, "several IPv4 subnets are not supported yet"},
		{"several IPv6 subnets", func(n *Network) { n.EnableIPv6 = true; add("fd00:9::/64", "fd00:a::/64")(n) }, Unsupported, "several IPv6 subnets are not supported yet"},
		{"six left open", func(n *Network) { n.EnableIPv6 = true }, Invalid, "needs an IPv6 --subnet"},
		{"six of a size", func(n *Network) { n.EnableIPv6 = true; add("::/64")(n) }, Invalid, "needs an IPv6 --subnet"},
		{"six alone", func(n *Network) { n.EnableIPv4, n.EnableIPv6 = false, true; n.IPAM.Config = nil; add("fd00:9::/64")(n) }, Invalid, "ipv4 pool is empty"},
		{"null ipam", func(n *Network) { n.IPAM = IPAM{Driver: "null"} }, Invalid, "ipv4 pool is empty"},
		{"mtu for six", func(n *Network) { n.EnableIPv6 = true; add("fd00:9::/64")(n); n.Options["mtu"] = "1279" }, Invalid, "IPv6 needs at least 1280"},
		{"small mtu", set("mtu", "576"), "", ""},
		{"swarm scope", func(n *Network) { n.Scope = "swarm" }, Invalid, "driver option weft.peers is for overlays of scope local"},
		{"ingress", func(n *Network) { n.Ingress = true }, Unsupported, "ingress networks are not supported yet"},
		{"encrypted", func(n *Network) { set("encrypted", "")(n); set(OptPSKFile, "/s")(n) }, "", ""},
		{"encrypted without a secret", set("encrypted", ""), Invalid, "an encrypted overlay of scope local needs a secret that its nodes share: name the file it is in with -o weft.psk-file=/PATH, at least 16 bytes, the same on every node"},
		{"a secret for nothing", set(OptPSKFile, "/s"), Invalid, "driver option weft.psk-file is for encrypted networks"},
		{"encrypted in a swarm", func(n *Network) { n.Options = map[string]string{"encrypted": "", OptCipher: "aes-128-gcm"} }, "", ""},
		{"a secret in a swarm", func(n *Network) { n.Options = map[string]string{"encrypted": "", OptPSKFile: "/s"} }, Invalid,
			"driver option weft.psk-file is for overlays of scope local: a swarm's nodes know each other by their certificates"},
		{"unknown option", set("color", "red"), Invalid, `unknown driver option "color" for the overlay driver`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ValidateNetwork(overlay(t, c.change))
			wantErr(t, err, c.want)
			if c.kind != "" && !errors.Is(err, c.kind) {
				t.Fatalf("kind of %v, want %s", err, c.kind)
			}
			scope := ScopeSwarm
			if got.Options[OptPeers] != "" {
				scope = ScopeLocal
			}
			if err == nil && (got.Scope != scope || got.Driver != DriverOverlay || !got.Switched() || got.GivesRoutes()) {
				t.Fatalf("%+v", got)
			}
		})
	}
}

// A template's options are judged when a network is made from it.
func TestOverlayFromConfig(t *testing.T) {
	config, err := ValidateNetwork(overlay(t, func(n *Network) { n.ConfigOnly, n.Driver = true, ""; n.Options["encrypted"] = "" }))
	if err != nil {
		t.Fatal(err)
	}
	n, err := MergeConfigFrom(Network{Name: "m", Driver: "overlay"}, config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = ValidateNetwork(n); !errors.Is(err, Invalid) {
		t.Errorf("an encrypted overlay without a secret, from a template: %v", err)
	}
	delete(n.Options, "encrypted")
	if _, err = ValidateNetwork(n); err != nil {
		t.Error(err)
	}
}

func TestOverlayConflict(t *testing.T) {
	bridge := Network{Name: "front", Driver: "bridge", IPAM: IPAM{Config: []Pool{pool(t, "10.0.3.0/24", "", "")}}}
	others := []Network{bridge, overlay(t, func(n *Network) { n.Name = "wide" })}
	mk := func(vni, subnet string) Network {
		return overlay(t, func(n *Network) {
			n.Options["weft.vni"] = vni
			n.IPAM.Config = []Pool{pool(t, subnet, "", "")}
		})
	}
	for _, c := range []struct {
		name string
		n    Network
		kind Kind
		want string
	}{
		{"apart", mk("4098", "10.0.10.0/24"), "", ""},
		{"same vni", mk("4097", "10.0.10.0/24"), Conflict, "cannot create network n: conflicts with network wide: both have VNI 4097"},
		{"same vni by Docker's name", overlay(t, func(n *Network) {
			n.Options = map[string]string{OptVNIList: "4097", OptPeers: "192.0.2.3"}
			n.IPAM = IPAM{}
		}), Conflict, "both have VNI 4097"},
		{"over an overlay", mk("4098", "10.0.9.128/25"), Forbidden, "Pool overlaps with other one on this address space: 10.0.9.128/25 and 10.0.9.0/24 of network wide"},
		{"over a bridge", mk("4098", "10.0.0.0/16"), Forbidden, "10.0.0.0/16 and 10.0.3.0/24 of network front"},
		{"bridge over an overlay", Network{Name: "n", Driver: "bridge", IPAM: IPAM{Config: []Pool{pool(t, "10.0.8.0/22", "", "")}}}, Forbidden, "10.0.8.0/22 and 10.0.9.0/24 of network wide"},
		{"a template", func() Network { n := mk("4097", "10.0.9.0/24"); n.ConfigOnly = true; return n }(), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckConflict(c.n, others)
			wantErr(t, err, c.want)
			if c.kind != "" && !errors.Is(err, c.kind) {
				t.Errorf("kind of %v, want %s", err, c.kind)
			}
		})
	}
}

func TestRemotes(t *testing.T) {
	addrs := func(s ...string) (out []netip.Addr) {
		for _, a := range s {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	for _, c := range []struct {
		name  string
		peers string
		port  uint16
		own   []netip.Addr
		want  []netip.AddrPort
	}{
		{"default port", "192.0.2.2,192.0.2.3:4790,2001:db8::2", 8472, nil, peers("192.0.2.2:8472", "192.0.2.3:4790", "[2001:db8::2]:8472")},
		{"not to itself", "192.0.2.1,192.0.2.2,2001:db8::1", 4789, addrs("192.0.2.1", "2001:db8::1"), peers("192.0.2.2:4789")},
		{"itself with its port", "192.0.2.1:4789,192.0.2.2", 4789, addrs("192.0.2.1"), peers("192.0.2.2:4789")},
		{"a neighbour on its address", "127.0.0.1:4790", 4789, addrs("127.0.0.1"), peers("127.0.0.1:4790")},
		{"one by two names", "192.0.2.2,192.0.2.2:4789", 4789, nil, peers("192.0.2.2:4789")},
		{"nobody else", "192.0.2.1", 4789, addrs("192.0.2.1"), []netip.AddrPort{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := ParseOverlayOptions(map[string]string{OptPeers: c.peers})
			if err != nil {
				t.Fatal(err)
			}
			if got := o.Remotes(c.port, c.own); !reflect.DeepEqual(got, c.want) {
				t.Errorf("Remotes = %v, want %v", got, c.want)
			}
		})
	}
}

func TestShown(t *testing.T) {
	type M = map[string]string
	for _, c := range []struct {
		name string
		n    Network
		mtu  int
		want M
	}{
		{"bridge", Network{Driver: "bridge", Options: M{"mtu": "1400"}}, 1300, M{"mtu": "1400"}},
		{"mtu unknown", overlay(t, nil), 0, M{OptVNI: "4097", OptVNIList: "4097", OptPeers: "192.0.2.2"}},
		{"mtu derived", overlay(t, nil), 1450, M{OptVNI: "4097", OptVNIList: "4097", OptPeers: "192.0.2.2", OptMTU: "1450"}},
		{"mtu given short", overlay(t, func(n *Network) { n.Options["mtu"] = "1400" }), 1400, M{OptVNI: "4097", OptVNIList: "4097", OptPeers: "192.0.2.2", OptMTU: "1400"}},
		{"cipher", Network{Driver: "overlay", Options: M{OptEncrypted: ""}}, 1408, M{OptEncrypted: "", OptCipher: "aes-256-gcm", OptMTU: "1408"}},
		{"cipher given", Network{Driver: "overlay", Options: M{OptEncrypted: "", OptCipher: "aes-128-gcm"}}, 0, M{OptEncrypted: "", OptCipher: "aes-128-gcm"}},
		{"template", Network{ConfigOnly: true, Driver: "overlay", Options: M{OptVNI: "7"}}, 1450, M{OptVNI: "7"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(c.n.Options)
			got := c.n.Shown(c.mtu)
			if !reflect.DeepEqual(got, c.want) || len(c.n.Options) != before {
				t.Errorf("Shown = %v, want %v; the network has %v", got, c.want, c.n.Options)
			}
			// What is shown can be given again.
			if c.n.Driver == DriverOverlay {
				if _, err := ParseOverlayOptions(got); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestOverlayAdvice(t *testing.T) {
	auto := func(n *Network) { n.IPAM.Config[0].Auto = true }
	ranged := func(n *Network) { n.IPAM.Config[0].IPRange = netip.MustParsePrefix("10.0.9.0/26") }
	for _, c := range []struct {
		name string
		n    Network
		want string
	}{
		{"bridge", Network{Driver: "bridge"}, ""},
		{"all given", overlay(t, ranged), ""},
		{"no range", overlay(t, nil), "give each an --ip-range of its own, or choose addresses with --ip"},
		{"chosen", overlay(t, auto), "subnet 10.0.9.0/24 was chosen by this node alone: give the others --subnet 10.0.9.0/24; each node"},
	} {
		if got := OverlayAdvice(c.n); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzOverlayOptions(f *testing.F) {
	f.Add("4097", "192.0.2.2,[2001:db8::2]:4790", "1450")
	f.Add("1,2", "a", "-1")
	f.Fuzz(func(t *testing.T, vni, peers, mtu string) {
		o, err := ParseOverlayOptions(map[string]string{OptVNI: vni, OptPeers: peers, OptMTU: mtu})
		if err != nil {
			return
		}
		if again, err := vniOption(OptVNI, FormatVNIs(o.VNIs)); err != nil || !reflect.DeepEqual(again, o.VNIs) {
			t.Fatalf("VNIs %q became %v, %v", vni, o.VNIs, again)
		}
		for _, p := range o.Remotes(4789, nil) {
			if a := p.Addr(); p.Port() == 0 || a.IsUnspecified() || a.IsMulticast() || a.Is4In6() || a.Zone() != "" {
				t.Fatalf("peer %s of %q", p, peers)
			}
		}
	})
}
