package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUplinkFlags(t *testing.T) {
	for _, c := range []struct {
		name     string
		flag     string
		loopback bool
		want     string
		err      string
	}{
		{"nothing", "", false, "host", ""},
		{"host", "host", false, "host", ""},
		{"loopback", "host", true, "host", ""},
		{"none", "none", false, "none", ""},
		{"an interface", "packet:eth0", false, "packet:eth0", ""},
		{"an alias", "packet:eth0:1", false, "", `uplink "packet:eth0:1": expected host, none, or packet: and the name of an interface`},
		{"no interface", "packet:", false, "", `uplink "packet:"`},
		{"no colon", "packet", false, "", `uplink "packet"`},
		{"long", "packet:an-interface-too-long", false, "", "expected host, none"},
		{"host with more", "host:eth0", false, "", `uplink "host:eth0"`},
		{"unknown", "slirp", false, "", `uplink "slirp"`},
		{"loopback of none", "none", true, "", "host-loopback: uplink none does not reach this machine's loopback, expected uplink host"},
		{"loopback of an interface", "packet:eth0", true, "", "host-loopback: uplink packet:eth0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := uplinkFlags{Uplink: c.flag, HostLoopback: c.loopback}
			if c.flag == "packet:eth0" {
				f.UplinkAddrs = []string{"192.0.2.7"}
			}
			err := f.check()
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			if err == nil && f.uplink.String() != c.want {
				t.Errorf("%s, want %s", f.uplink, c.want)
			}
		})
	}
}

// The config file has the flags too, and they win.
func TestUplinkConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.yaml")
	if err := os.WriteFile(path, []byte("uplink: packet:eth7\nuplink-addr: [192.0.2.7/24, '2001:db8::7']\nuplink-gateway: [192.0.2.1]\nuplink-mac: interface\nhost-loopback: false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"file", []string{"--config", path}, "packet:eth7"},
		{"both", []string{"--config", path, "--uplink", "packet:eth1"}, "packet:eth1"},
		{"neither", nil, "host"},
	} {
		var f daemonFlags
		cmd := (&app{}).daemonCmd()
		cmd.ResetFlags()
		f.bind(cmd)
		if err := cmd.ParseFlags(c.args); err != nil {
			t.Fatal(err)
		}
		if err := f.load(cmd); err != nil || f.uplink.String() != c.want || f.HostLoopback {
			t.Errorf("%s: %s, %v, %v", c.name, f.uplink, f.HostLoopback, err)
		}
	}
}

// What a packet uplink is told, and what it is not to be.
func TestPacketFlags(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags uplinkFlags
		err   string
	}{
		{"all", uplinkFlags{Uplink: "packet:eth0", UplinkAddrs: []string{"192.0.2.7/24", "2001:db8::7"}, UplinkGateways: []string{"192.0.2.1", "fe80::1"}, UplinkMAC: "interface"}, ""},
		{"own", uplinkFlags{Uplink: "packet:eth0", UplinkAddrs: []string{"192.0.2.7"}, UplinkMAC: "own"}, ""},
		{"no address", uplinkFlags{Uplink: "packet:eth0"}, "uplink packet:eth0 needs an address: --uplink-addr"},
		{"a name", uplinkFlags{Uplink: "packet:eth0", UplinkAddrs: []string{"router"}}, `uplink-addr "router": expected an address`},
		{"a gateway's name", uplinkFlags{Uplink: "packet:eth0", UplinkAddrs: []string{"192.0.2.7"}, UplinkGateways: []string{"router"}}, `uplink-gateway "router": expected an address`},
		{"a MAC", uplinkFlags{Uplink: "packet:eth0", UplinkAddrs: []string{"192.0.2.7"}, UplinkMAC: "02:00:00:00:00:01"}, "expected own or interface"},
		{"of the host uplink", uplinkFlags{UplinkAddrs: []string{"192.0.2.7"}}, "for uplink packet:INTERFACE, not for host"},
	} {
		err := c.flags.check()
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
		if u := c.flags.uplink; c.name == "all" && (len(u.Addrs) != 2 || u.Addrs[0].Bits() != 24 || u.Addrs[1].Bits() != 128 || len(u.Gateways) != 2 || !u.InterfaceMAC) {
			t.Errorf("%s: %+v", c.name, u)
		}
	}
}
