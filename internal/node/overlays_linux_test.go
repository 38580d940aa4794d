package node

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/cnm"
)

// static is a static overlay; pools are "SUBNET [RANGE [GATEWAY]]".
func static(name, vni string, pools ...string) cnm.Network {
	nw := cnm.Network{Name: name, Driver: "overlay", EnableIPv4: true, Options: map[string]string{"weft.vni": vni, "weft.peers": "127.0.0.2"}}
	for _, s := range pools {
		f := append(strings.Fields(s), "", "")
		p, err := cnm.ParsePool(f[0], f[1], f[2], nil)
		if err != nil {
			panic(err)
		}
		nw.IPAM.Config = append(nw.IPAM.Config, p)
		nw.EnableIPv6 = nw.EnableIPv6 || p.Subnet.Addr().Is6()
	}
	return nw
}

func TestOverlaySubnets(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.0.2.0/24")})
	subnet := func(name string) string {
		nw, err := n.Network(name)
		if err != nil || len(nw.Subnets) == 0 {
			t.Fatal(nw, err)
		}
		return nw.Subnets[0].Subnet.String()
	}
	for _, c := range []struct {
		name, want, warning string
		nw                  cnm.Network
		kind                cnm.Kind
	}{
		{"first", "10.0.1.0/24", "subnet 10.0.1.0/24 was chosen by this node alone", static("first", "1"), ""},
		{"second", "10.0.3.0/24", "chosen by this node alone", static("second", "2"), ""}, // front is in the way
		{"given", "10.0.0.0/24", "an --ip-range of its own", static("given", "3", "10.0.0.0/24"), ""},
		{"ranged", "10.9.0.0/24", "", static("ranged", "4", "10.9.0.0/24 10.9.0.64/26"), ""},
		{"alone", "10.8.0.0/24", "weft.peers names this node alone", func() cnm.Network {
			nw := static("alone", "6", "10.8.0.0/24 10.8.0.64/26")
			nw.Options["weft.peers"] = "127.0.0.1"
			return nw
		}(), ""},
		{"same vni", "both have VNI 4", "", static("x", "4"), cnm.Conflict},
		{"overlap", "10.0.1.0/25 and 10.0.1.0/24 of network first", "", static("x", "5", "10.0.1.0/25"), cnm.Forbidden},
		{"encrypted without a secret", "needs a secret", "", func() cnm.Network { nw := static("x", "5"); nw.Options["encrypted"] = ""; return nw }(), cnm.Invalid},
	} {
		_, warning, err := n.NetworkCreate(t.Context(), c.nw)
		switch {
		case c.kind != "":
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", c.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case subnet(c.nw.Name) != c.want || (warning == "") != (c.warning == "") || !strings.Contains(warning, c.warning):
			t.Errorf("%s: subnet %s, warning %q", c.name, subnet(c.nw.Name), warning)
		}
	}
}

// Nodes that have one overlay give addresses each from its own range, and have one
// gateway (the golden cases of the design's source E).
func TestOverlayAddresses(t *testing.T) {
	for _, c := range []struct {
		name, pool, gateway, first, second string
	}{
		{"no range", "192.168.1.0/24", "192.168.1.1", "192.168.1.2", "192.168.1.3"},
		{"host A", "192.168.1.0/24 192.168.1.0/28 192.168.1.100", "192.168.1.100", "192.168.1.1", "192.168.1.2"},
		{"host B", "192.168.1.0/24 192.168.1.32/28 192.168.1.101", "192.168.1.101", "192.168.1.32", "192.168.1.33"},
		{"lowest range", "192.168.1.0/24 192.168.1.0/26", "192.168.1.1", "192.168.1.2", "192.168.1.3"},
		{"next range", "192.168.1.0/24 192.168.1.64/26", "192.168.1.1", "192.168.1.64", "192.168.1.65"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig(t)
			n := openNode(t, config)
			mustNetwork(t, n, static("wide", "4097", c.pool, "fd00:9::/64"))
			give := func(box string) (cnm.Endpoint, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				b := newBox(cnm.Sandbox{ID: box, Spec: cnm.SandboxSpec{Name: box}})
				return n.joinLocked(b, cnm.NetworkJoin{Network: "wide"}, nil)
			}
			a, err := give("a")
			b, err2 := give("b")
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			if a.IPv4.Addr().String() != c.first || b.IPv4.Addr().String() != c.second || a.IPv6.String() != "fd00:9::2/64" {
				t.Errorf("addresses %s and %s, %s", a.IPv4, b.IPv4, a.IPv6)
			}
			if a.MAC != deriveMAC(a.IPv4.Addr()) || a.MTU != 65485 || a.Gateway4.IsValid() || a.Gateway6.IsValid() || a.IfName != "eth0" {
				t.Errorf("endpoint %+v", a)
			}
			gateway := netip.MustParseAddr(c.gateway)
			if nw, err := n.Network("wide"); err != nil || nw.IPAM.Config[0].Gateway != gateway {
				t.Errorf("gateway %+v, %v", nw.IPAM, err)
			}
			n.mu.Lock()
			_, err = n.joinLocked(newBox(cnm.Sandbox{ID: "c"}), cnm.NetworkJoin{Network: "wide", Config: cnm.EndpointConfig{IPv4: gateway}}, nil)
			n.mu.Unlock()
			if !errors.Is(err, cnm.Forbidden) {
				t.Errorf("the gateway's address was given: %v", err)
			}
		})
	}
}

// An overlay is there again after a restart, with what it was made of.
func TestOverlayRestored(t *testing.T) {
	config := testConfig(t)
	n := openNode(t, config)
	mustNetwork(t, n, static("wide", "4097"))
	before, _ := n.Network("wide")
	inTime(t, "the loopback's MTU is made use of", func() bool { p, _ := n.Peers(); return len(p) == 1 && p[0].MTU == 65485 })
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = openNode(t, config)
	if p, _ := n.Peers(); len(p) != 1 || p[0].MTU != 65485 {
		t.Errorf("the tunnel starts with another MTU than it had: %+v", p)
	}
	after, err := n.Network("wide")
	if err != nil || after.ID != before.ID || after.IPAM.Config[0].Subnet.String() != "10.0.1.0/24" || join(after.Peers) != "[127.0.0.2:4789]" {
		t.Errorf("%+v, %v", after, err)
	}
	if _, _, err := n.NetworkCreate(t.Context(), static("again", "4097")); !errors.Is(err, cnm.Conflict) {
		t.Errorf("the VNI is free again: %v", err)
	}
}
