package api

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/cnm"
)

func TestSameAddresses(t *testing.T) {
	chosen := cnm.SwarmInfo{
		Control:  netip.MustParseAddrPort("127.0.0.2:5000"),
		DataPath: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.2:4790"), netip.MustParseAddrPort("[2001:db8::2]:4790")},
	}
	of := func(name string) []netip.Addr {
		if name != "wan0" {
			return nil
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("2001:db8::2")}
	}
	for _, c := range []struct {
		name                        string
		own                         cnm.SwarmInfo
		listen, advertise, dataPath string
		err                         string
	}{
		{"nothing", chosen, "", "", "", ""},
		{"Docker's default", chosen, "0.0.0.0:2377", "", "", ""},
		{"all its own", chosen, "127.0.0.2:5000", "127.0.0.2:5000", "2001:db8::2", ""},
		{"any address", chosen, "[::]:5000", "127.0.0.2", "127.0.0.2", ""},
		{"interface", chosen, "wan0:5000", "wan0", "wan0", ""},
		{"mapped", chosen, "", "::ffff:127.0.0.2", "", ""},
		{"listen port", chosen, "0.0.0.0:6000", "", "", "the listen address 0.0.0.0:6000 is not this daemon's: start it with --control-port 6000"},
		{"listen address", chosen, "127.0.0.9:5000", "", "", "start it with --advertise-addr 127.0.0.9"},
		{"advertised port", chosen, "", "127.0.0.2:2377", "", "the advertised address 127.0.0.2:2377 is not this daemon's: start it with --control-port 2377"},
		{"advertised address", chosen, "", "[2001:db8::9]:5000", "", "start it with --advertise-addr 2001:db8::9"},
		{"no interface", chosen, "", "lan0", "", "the advertised address lan0 is not this daemon's"},
		{"data path", chosen, "", "", "127.0.0.9", "the data path address 127.0.0.9 is not this daemon's: start it with --data-path-addr 127.0.0.9"},
		{"not chosen", cnm.SwarmInfo{}, "0.0.0.0:2377", "", "", ""},
		{"not chosen, named", cnm.SwarmInfo{}, "", "127.0.0.2", "", "start it with --advertise-addr 127.0.0.2"},
		{"address only", cnm.SwarmInfo{Addr: netip.MustParseAddr("127.0.0.2")}, "", "127.0.0.2:2377", "", ""},
	} {
		err := sameAddresses(c.own, of, c.listen, c.advertise, c.dataPath)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
	}
	for port, ok := range map[uint32]bool{0: true, 4790: true, 4789: false} {
		if err := sameDataPathPort(chosen, port); (err == nil) != ok {
			t.Errorf("data path port %d: %v", port, err)
		}
	}
}

func TestInterfaceAddrs(t *testing.T) {
	if got := interfaceAddrs("lo"); len(got) == 0 || got[0] != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("lo has %v", got)
	}
	if got := interfaceAddrs("nosuch0"); got != nil {
		t.Errorf("nosuch0 has %v", got)
	}
}

func TestRemoteManagerByName(t *testing.T) {
	got, err := remoteManagers(context.Background(), net.DefaultResolver, []string{"localhost:77"})
	if err != nil || len(got) == 0 || !got[0].Addr().IsLoopback() || got[0].Port() != 77 {
		t.Errorf("%v, %v", got, err)
	}
}
