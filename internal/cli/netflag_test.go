package cli

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"
)

func TestParseNetwork(t *testing.T) {
	ip := netip.MustParseAddr
	mac := network.HardwareAddr{2, 0x42, 10, 0, 0, 9}
	tests := []struct {
		name, in string
		want     netAttachment
		err      string // part of the error
	}{
		{name: "name alone", in: "front", want: netAttachment{name: "front"}},
		{name: "everything", in: "front,ip=10.0.0.9,ip6=fd00::9,alias=a,alias=b,mac=02:42:0a:00:00:09,link-local-ip=169.254.1.1,gw-priority=-3,driver-opt=k=v",
			want: netAttachment{name: "front", ip: ip("10.0.0.9"), ip6: ip("fd00::9"), aliases: []string{"a", "b"}, mac: mac,
				linkLocal: []netip.Addr{ip("169.254.1.1")}, gwPriority: -3, driverOpts: map[string]string{"k": "v"}}},
		{name: "docker's form", in: "name=front,mac-address=02:42:0a:00:00:09", want: netAttachment{name: "front", mac: mac}},
		{name: "name later", in: "ip=10.0.0.9,name=front", want: netAttachment{name: "front", ip: ip("10.0.0.9")}},
		{name: "empty", in: "", err: "expected NET"},
		{name: "no name", in: "ip=10.0.0.9", err: "name is missing"},
		{name: "unknown key", in: "front,foo=1", err: `unknown key "foo"`},
		{name: "no value", in: "front,ip=", err: "no value"},
		{name: "v6 in ip", in: "front,ip=fd00::9", err: "not an IPv4 address"},
		{name: "v4 in ip6", in: "front,ip6=10.0.0.9", err: "not an IPv6 address"},
		{name: "no address", in: "front,ip=10.0.0", err: "not an IP address"},
		{name: "zone", in: "front,ip6=fe80::1%eth0", err: "not an IP address"},
		{name: "not link-local", in: "front,link-local-ip=10.0.0.9", err: "not a link-local address"},
		{name: "multicast MAC", in: "front,mac=01:00:5e:00:00:01", err: "multicast"},
		{name: "short MAC", in: "front,mac=02:42:0a", err: "not a MAC address"},
		{name: "EUI-64", in: "front,mac=02:42:0a:00:00:00:00:09", err: "not a MAC address"},
		{name: "priority", in: "front,gw-priority=high", err: "not a whole number"},
		{name: "second ip", in: "front,ip=10.0.0.9,ip=10.0.0.10", err: "second ip="},
		{name: "driver-opt", in: "front,driver-opt=k", err: "not KEY=VALUE"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseNetwork(tt.in)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, expected one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestNetworkTwice(t *testing.T) {
	var f netFlag
	if err := f.Set("front"); err != nil {
		t.Fatal(err)
	}
	if err := f.Set("front,ip=10.0.0.9"); err == nil {
		t.Error("the same network twice is no error")
	}
}

func FuzzParseNetwork(f *testing.F) {
	f.Add("front,ip=10.0.0.9,alias=a,mac=02:42:0a:00:00:09")
	f.Add("name=front,driver-opt=a=b,gw-priority=1")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseNetwork(s)
		if err == nil && n.name == "" {
			t.Errorf("%q: a network without a name", s)
		}
	})
}
