package cluster

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"weft/internal/cnm"
	"weft/internal/frame"
)

func rose() Endpoint {
	return Endpoint{
		ID: strings.Repeat("a1", 32), Sandbox: "rose", Names: []string{"rose", "db"}, MAC: frame.MAC{2, 0x42, 10, 0, 1, 2},
		Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("fd00::2")}, VTEP: netip.MustParseAddrPort("127.0.0.1:4789"),
	}
}

func TestEndpointRoundTrip(t *testing.T) {
	e := rose()
	b, err := e.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeEndpoint(e.ID, b)
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("%+v, %v\n%s", got, err, b)
	}
}

// TestEndpointLongest: the longest names there can be fit into a row.
func TestEndpointLongest(t *testing.T) {
	e := rose()
	e.Names = nil
	for i := range 64 {
		e.Names = append(e.Names, fmt.Sprintf("%02d%s", i, strings.Repeat("x", 61)))
	}
	b, err := e.encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeEndpoint(e.ID, b); err != nil {
		t.Error(err)
	}
	for range 64 {
		e.Names = append(e.Names, strings.Repeat("y", maxName))
	}
	if _, err := e.encode(); err == nil || !strings.Contains(err.Error(), "fewer aliases") {
		t.Errorf("a row that is too long: %v", err)
	}
}

func TestEndpointRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Endpoint)
		want   string
	}{
		{"group MAC", func(e *Endpoint) { e.MAC[0] = 1 }, "no station's"},
		{"no MAC", func(e *Endpoint) { e.MAC = frame.MAC{} }, "no station's"},
		{"VTEP without a port", func(e *Endpoint) { e.VTEP = netip.MustParseAddrPort("127.0.0.1:0") }, "VTEP"},
		{"VTEP of a group", func(e *Endpoint) { e.VTEP = netip.MustParseAddrPort("224.0.0.1:4789") }, "VTEP"},
		{"no VTEP", func(e *Endpoint) { e.VTEP = netip.AddrPort{} }, "VTEP"},
		{"broadcast of everybody", func(e *Endpoint) { e.Addrs[0] = netip.IPv4Unspecified() }, "address"},
		{"group address", func(e *Endpoint) { e.Addrs[0] = netip.MustParseAddr("ff02::1") }, "address"},
		{"address with a zone", func(e *Endpoint) { e.Addrs[0] = netip.MustParseAddr("fe80::1%eth0") }, "address"},
		{"IPv4 in IPv6", func(e *Endpoint) { e.Addrs[0] = netip.MustParseAddr("::ffff:10.0.0.1") }, "address"},
		{"long name", func(e *Endpoint) { e.Names[0] = strings.Repeat("n", 254) }, "name of 254"},
		{"many names", func(e *Endpoint) { e.Names = make([]string, 129) }, "129 names"},
		{"many addresses", func(e *Endpoint) { e.Addrs = make([]netip.Addr, 65) }, "65 addresses"},
		{"another key", func(e *Endpoint) { e.ID = "rose" }, "no endpoint's id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := rose()
			tt.change(&e)
			b, err := e.encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decodeEndpoint(e.ID, b); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, expected %q", err, tt.want)
			}
		})
	}
}

func FuzzDecodeEndpoint(f *testing.F) {
	e := rose()
	b, _ := e.encode()
	f.Add(b)
	f.Add([]byte(`{"m":"02:42:0a:00:01:02","a":null,"v":"[fe80::1%x]:1"}`))
	f.Add([]byte(`{"a":["10.0.0.1"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEndpoint(cnm.NewID(), b)
		if err != nil {
			return
		}
		again, err := e.encode()
		if err != nil {
			return // longer than it came: escapes
		}
		if got, err := decodeEndpoint(e.ID, again); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%+v became %+v, %v", e, got, err)
		}
	})
}
