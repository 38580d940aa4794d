package node

import (
	"net/netip"
	"strings"
	"testing"

	"weft/internal/cnm"
)

func TestCheckDataPath(t *testing.T) {
	for _, c := range []struct{ name, addrs, want string }{
		{"none", "", ""},
		{"one of each family", "192.0.2.1 2001:db8::1", ""},
		{"two of a family", "192.0.2.1 2001:db8::1 192.0.2.2", "192.0.2.1 and 192.0.2.2 are of one family"},
		{"group", "239.0.0.1", "expected an address of this machine"},
	} {
		var config Config
		for _, a := range strings.Fields(c.addrs) {
			config.DataPathAddrs = append(config.DataPathAddrs, netip.MustParseAddr(a))
		}
		if err := config.checkDataPath(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	config := Config{DataDir: "d", RunDir: "r"}
	if err := config.complete(); err != nil || config.DataPathPort != 4789 {
		t.Errorf("default port %d, %v", config.DataPathPort, err)
	}
}

// What a network is made of its options, and who gives routes.
func TestNewNetwork(t *testing.T) {
	n := &Node{cfg: Config{DataPathPort: 4800, DataPathAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
	n.path = &dataPath{underlay: underlay{cfg: n.cfg.underlay()}}
	gw := []cnm.Pool{{Gateway: netip.MustParseAddr("10.0.1.1")}}
	type M = map[string]string
	for _, c := range []struct {
		name   string
		nw     cnm.Network
		mtu    int
		peers  string
		routes bool
		err    string
	}{
		{"bridge", cnm.Network{Driver: "bridge", Options: M{"mtu": "1400"}}, 1400, "[]", true, ""},
		{"internal bridge", cnm.Network{Driver: "bridge", Internal: true}, 1500, "[]", false, ""},
		{"overlay", cnm.Network{Driver: "overlay", Options: M{"weft.vni": "7", "weft.peers": "192.0.2.1,192.0.2.2,192.0.2.3:4789"}}, 1450, "[192.0.2.2:4800 192.0.2.3:4789]", false, ""},
		{"overlay with mtu", cnm.Network{Driver: "overlay", Options: M{"weft.vni": "7", "weft.peers": "192.0.2.2", "mtu": "9000"}}, 9000, "[192.0.2.2:4800]", false, ""},
		{"overlay over six", cnm.Network{Name: "six", Driver: "overlay", Options: M{"weft.vni": "7", "weft.peers": "192.0.2.2,2001:db8::2"}}, 1450, "[192.0.2.2:4800 [2001:db8::2]:4800]", false,
			"peer 2001:db8::2: this node's data path has no IPv6 address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.nw.IPAM.Config = gw
			nw := n.newNetwork(c.nw)
			if nw.options.MTU != c.mtu || nw.options.IfPrefix != "eth" || !nw.options.ICC || nw.ID == "" {
				t.Errorf("%+v", nw.options)
			}
			view := n.viewLocked(nw)
			if got := join(view.Peers); got != c.peers {
				t.Errorf("peers %s, want %s", got, c.peers)
			}
			gw4, _ := gateways(nw)
			if gw4.IsValid() != c.routes {
				t.Errorf("endpoints route by %s", gw4)
			}
			own := n.cfg.underlay()
			if err := own.checkPeers(nw.overlay.Peers); (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
		})
	}
}

func join(peers []netip.AddrPort) string {
	s := make([]string, len(peers))
	for i, p := range peers {
		s[i] = p.String()
	}
	return "[" + strings.Join(s, " ") + "]"
}
