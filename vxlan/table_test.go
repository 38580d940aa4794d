package vxlan

import (
	"net/netip"
	"testing"

	"weft/internal/frame"
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestTable(t *testing.T) {
	table := NewTable([]Route{
		{Peer: addrPort("10.0.0.1:4789"), VNI: 4097, Port: 1},
		{Peer: addrPort("10.0.0.1:4789"), VNI: 4098, Port: 2},
		{Peer: addrPort("127.0.0.1:4790"), VNI: 4097, Port: 3},
		{Peer: addrPort("127.0.0.1:4791"), VNI: 4097, Port: 4},
		{Peer: addrPort("127.0.0.1:4792"), VNI: 4098, Port: 5},
		{Peer: addrPort("[fd00::1]:4789"), VNI: 4097, Port: 6},
		{Peer: addrPort("[::ffff:10.0.0.9]:4789"), VNI: 4097, Port: 7},
		{Peer: addrPort("[fe80::1%eth0]:4789"), VNI: 4097, Port: 8},
		{Peer: addrPort("10.0.0.7:0"), VNI: 4097, Port: 9},
		{Peer: addrPort("10.0.0.7:4790"), VNI: 4097, Port: 10},
		{Peer: addrPort("10.0.0.5:4789"), VNI: 4097, Port: 99},
		{Peer: addrPort("10.0.0.5:4789"), VNI: 4097, Port: 11},
	})
	for _, c := range []struct {
		name, src string
		vni       uint32
		port      uint32
		want      frame.Reason
	}{
		{"alone on its address", "10.0.0.1:4789", 4097, 1, 0},
		{"its other network", "10.0.0.1:4789", 4098, 2, 0},
		{"alone: any source port", "10.0.0.1:61234", 4097, 1, 0},
		{"alone: port 0", "10.0.0.1:0", 4097, 1, 0},
		{"no such network", "10.0.0.1:4789", 4099, 0, frame.UnknownVNI},
		{"IPv4-mapped source", "[::ffff:10.0.0.1]:4789", 4097, 1, 0},
		{"IPv4-mapped peer", "10.0.0.9:1", 4097, 7, 0},
		{"stranger", "10.0.0.2:4789", 4097, 0, frame.UnknownVTEP},
		{"shared address, first", "127.0.0.1:4790", 4097, 3, 0},
		{"shared address, second", "127.0.0.1:4791", 4097, 4, 0},
		{"shared address, third", "127.0.0.1:4792", 4098, 5, 0},
		{"shared address, another's network", "127.0.0.1:4792", 4097, 0, frame.UnknownVNI},
		{"shared address, other port", "127.0.0.1:50000", 4097, 0, frame.UnknownVTEP},
		{"shared address, port 0", "127.0.0.1:0", 4097, 0, frame.UnknownVTEP},
		{"IPv6", "[fd00::1]:4444", 4097, 6, 0},
		{"IPv6 stranger", "[fd00::2]:4789", 4097, 0, frame.UnknownVTEP},
		{"zone of the peer", "[fe80::1]:4789", 4097, 8, 0},
		{"zone of the source", "[fe80::1%eth1]:4789", 4097, 8, 0},
		{"port 0 of a peer is VXLAN's", "10.0.0.7:4789", 4097, 9, 0},
		{"and another shares its address", "10.0.0.7:4790", 4097, 10, 0},
		{"the last of two routes counts", "10.0.0.5:4789", 4097, 11, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			port, r := table.Lookup(addrPort(c.src), c.vni)
			if port != c.port || r != c.want {
				t.Errorf("Lookup(%s, %d) = %d, %v, want %d, %v", c.src, c.vni, port, r, c.port, c.want)
			}
		})
	}
	for a, want := range map[string]bool{"127.0.0.1": true, "::ffff:127.0.0.1": true, "10.0.0.1": false, "10.0.0.2": false, "fd00::1": false, "10.0.0.7": true} {
		if got := table.Shared(netip.MustParseAddr(a)); got != want {
			t.Errorf("Shared(%s) = %v", a, got)
		}
	}
}

// The order of routes makes no difference.
func TestTableOrder(t *testing.T) {
	routes := []Route{
		{Peer: addrPort("127.0.0.1:1"), VNI: 1, Port: 1}, {Peer: addrPort("127.0.0.1:2"), VNI: 1, Port: 2}, {Peer: addrPort("127.0.0.1:3"), VNI: 1, Port: 3},
		{Peer: addrPort("127.0.0.1:1"), VNI: 2, Port: 4}, {Peer: addrPort("127.0.0.1:2"), VNI: 2, Port: 5},
	}
	for turn := range routes {
		var rs []Route
		for i := range routes {
			rs = append(rs, routes[(i+turn)%len(routes)])
		}
		table := NewTable(rs)
		for _, r := range routes {
			if port, reason := table.Lookup(r.Peer, r.VNI); port != r.Port || reason != frame.NotDropped {
				t.Errorf("turn %d: Lookup(%v, %d) = %d, %v", turn, r.Peer, r.VNI, port, reason)
			}
		}
		if _, reason := table.Lookup(addrPort("127.0.0.1:3"), 2); reason != frame.UnknownVNI {
			t.Errorf("turn %d: a network of another peer: %v", turn, reason)
		}
	}
}

func TestNoTable(t *testing.T) {
	var none *Table
	if _, r := none.Lookup(addrPort("10.0.0.1:4789"), 1); r != frame.UnknownVTEP {
		t.Errorf("without a table: %v", r)
	}
	if none.Shared(netip.MustParseAddr("10.0.0.1")) {
		t.Error("without a table an address is shared")
	}
	if _, r := NewTable(nil).Lookup(addrPort("10.0.0.1:4789"), 1); r != frame.UnknownVTEP {
		t.Errorf("empty table: %v", r)
	}
}

// A node that shares its own address with a peer sends from its listening port to
// everybody: a third node tells the two apart by nothing else.
func TestSharedWithPeer(t *testing.T) {
	routes := []Route{{Peer: addrPort("127.0.0.1:4790"), VNI: 4097, Port: 1}, {Peer: addrPort("127.0.0.9:4789"), VNI: 4097, Port: 2}}
	third := netip.MustParseAddr("127.0.0.9")
	if NewTable(routes, netip.MustParseAddr("127.0.0.2")).Shared(third) {
		t.Error("alone on its address, and bound to one port")
	}
	if !NewTable(routes, netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")).Shared(third) {
		t.Error("one of two on its address, and not bound to its port")
	}
}
