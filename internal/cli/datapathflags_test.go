package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// someInterfaces stands for a machine.
func someInterfaces(name string) ([]netip.Addr, error) {
	addrs := map[string]string{
		"lo": "127.0.0.1 ::1", "eth0": "fe80::1 2001:db8::7 192.0.2.7", "eth1": "198.51.100.1 198.51.100.2", "eth2": "fe80::2", "eth3": "192.0.2.9",
	}[name]
	if addrs == "" {
		return nil, errors.New("no such interface")
	}
	var out []netip.Addr
	for _, a := range strings.Fields(addrs) {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

func TestDataPathFlags(t *testing.T) {
	for _, c := range []struct {
		name, addrs, advertise string
		port                   int
		want                   string // data path addresses, advertised address
		err                    string
	}{
		{"nothing", "", "", 4789, "[] invalid IP", ""},
		{"one", "192.0.2.1", "", 0, "[192.0.2.1] invalid IP", ""},
		{"one of each, in one", "192.0.2.1, 2001:db8::1", "", 4790, "[192.0.2.1 2001:db8::1] invalid IP", ""},
		{"one of each, repeated", "2001:db8::1 192.0.2.1", "192.0.2.1", 1024, "[2001:db8::1 192.0.2.1] 192.0.2.1", ""},
		{"an interface", "eth0", "eth0", 49151, "[192.0.2.7 2001:db8::7] 192.0.2.7", ""},
		{"loopback", "lo", "", 4789, "[127.0.0.1 ::1] invalid IP", ""},
		{"interface and address", "eth3 2001:db8::1", "2001:db8::1", 4789, "[192.0.2.9 2001:db8::1] 2001:db8::1", ""},
		{"two of a family", "eth3 192.0.2.1", "", 4789, "", "data-path-addr: 192.0.2.9 and 192.0.2.1 are of one family, expected at most one address of each"},
		{"twice", "192.0.2.1 192.0.2.1", "", 4789, "", "of one family"},
		{"several on an interface", "eth1", "", 4789, "", `data-path-addr "eth1": the interface has several addresses of one family, 198.51.100.1 and 198.51.100.2: name the one to use`},
		{"none on an interface", "eth2", "", 4789, "", `data-path-addr "eth2": the interface has no address that could be used`},
		{"no interface", "eth9", "", 4789, "", `data-path-addr "eth9": no such interface`},
		{"empty", "192.0.2.1,", "", 4789, "", `data-path-addr "": no such interface`},
		{"with a port", "192.0.2.1:4789", "", 4789, "", `data-path-addr "192.0.2.1:4789"`},
		{"unspecified", "::", "", 4789, "", "expected an address that this machine has"},
		{"group", "239.1.1.1", "", 4789, "", "expected an address that this machine has"},
		{"mapped", "::ffff:192.0.2.1", "", 4789, "", "expected an address that this machine has"},
		{"link-local", "fe80::1%eth0", "", 4789, "", "link-local addresses and zones are not supported"},
		{"advertised interface", "", "eth1", 4789, "", `advertise-addr "eth1": the interface has several`},
		{"low port", "", "", 1023, "", "data-path-port 1023: expected 1024 to 49151, or 0 for 4789"},
		{"high port", "", "", 49152, "", "data-path-port 49152"},
		{"negative port", "", "", -1, "", "data-path-port -1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := dataPathFlags{Advertise: c.advertise, Port: c.port}
			if c.addrs != "" {
				f.Addrs = strings.Split(strings.ReplaceAll(c.addrs, ", ", ","), " ")
			}
			err := f.check(someInterfaces)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			if got := fmt.Sprint(f.addrs, " ", f.advertise); err == nil && got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// The same settings from the config file, the command line winning.
func TestDataPathConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.yaml")
	const all = "data-path-addr: [192.0.2.1, \"2001:db8::1\"]\ndata-path-port: 4790\nadvertise-addr: 192.0.2.5\nno-udp-gso: true\nno-udp-gro: true\nesp-encapsulation: ip\naes: standard\n"
	for _, c := range []struct{ name, text, line, want, err string }{
		{"all", all, "", "[192.0.2.1 2001:db8::1] 192.0.2.5 4790 true true true true", ""},
		{"nothing", "", "", "[] invalid IP 4789 false false false false", ""},
		{"flags win", all, "--data-path-addr 192.0.2.2 --data-path-port 4791 --advertise-addr 192.0.2.6 --no-udp-gso=false --no-udp-gro=false --esp-encapsulation udp --aes wide", "[192.0.2.2] 192.0.2.6 4791 false false false false", ""},
		{"no list", "data-path-addr: eth0\n", "", "", `line 1: data-path-addr: expected a list such as [192.0.2.1, "2001:db8::1"] or [eth0]`},
		{"no number", "workers: 1\ndata-path-port: vxlan\n", "", "", "line 2: data-path-port: expected a number"},
		{"no address", "advertise-addr: [a]\n", "", "", "line 1: advertise-addr: expected an address or an interface"},
		{"no truth", "no-udp-gso: perhaps\n", "", "", "line 1: no-udp-gso: expected true or false"},
		{"no encapsulation", "esp-encapsulation: tcp\n", "", "", `esp-encapsulation "tcp": expected udp or ip`},
		{"a list of them", "esp-encapsulation: [ip]\n", "", "", "line 1: esp-encapsulation: expected udp or ip"},
		{"no AES", "aes: narrow\n", "", "", `aes "narrow": expected wide or standard`},
		{"a list of AES", "aes: [wide]\n", "", "", "line 1: aes: expected wide or standard"},
		{"bad value", "data-path-port: 1\n", "", "", "data-path-port 1: expected 1024"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			a := &app{getenv: os.Getenv, host: "unix:///run/x.sock"}
			cmd := a.daemonCmd()
			var f daemonFlags
			cmd.ResetFlags()
			f.bind(cmd)
			if err := cmd.Flags().Parse(append(strings.Fields(c.line), "--config", path)); err != nil {
				t.Fatal(err)
			}
			err := f.load(cmd)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			if err != nil {
				return
			}
			cfg, _, err := a.places(&f)
			got := fmt.Sprint(cfg.DataPathAddrs, " ", cfg.AdvertiseAddr, " ", cfg.DataPathPort, " ", cfg.NoGSO, " ", cfg.NoGRO, " ", cfg.ESPInIP, " ", cfg.StandardAES)
			if err != nil || got != c.want {
				t.Errorf("%s, %v, want %s", got, err, c.want)
			}
		})
	}
}
