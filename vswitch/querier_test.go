package vswitch

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/capture"
	"weft/internal/frame"
)

// general returns a general query by a router.
func general4(src frame.MAC, from netip.Addr) []byte {
	return igmp4(src, from, addr("224.0.0.1"), plain4(0x11, 100, "0.0.0.0"))
}

func general6(src frame.MAC, from netip.Addr) []byte {
	return mld6(src, from, addr("ff02::1"), plain6(130, 10000, "::"))
}

// TestQueriesAreLinux compares what the switch asks with what a Linux bridge with
// the same address asks, byte by byte. They differ in the timing they announce.
func TestQueriesAreLinux(t *testing.T) {
	r, err := capture.Open("../testdata/vswitch/group-messages.pcap")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	g := &gateway{mac: mac(1)}
	made := map[int][]byte{
		1: g.query(ip4Family, groupKey{}, queryResponse), 3: g.query(ip6Family, groupKey{}, queryResponse),
		10: g.query(ip4Family, groupKey4(g1.AsSlice()), memberResponse), 12: g.query(ip6Family, groupKey6(g6.AsSlice()), memberResponse),
	}
	var p capture.Packet
	for i := 1; i <= 12; i++ {
		if err := r.Next(&p); err != nil {
			t.Fatal(err)
		}
		b := made[i]
		if b == nil {
			continue
		}
		theirs, ours := bytes.Clone(p.Data), bytes.Clone(b)
		if len(theirs) != len(ours) {
			t.Fatalf("query %d: % x\nLinux: % x", i, ours, theirs)
		}
		// Not compared: the message's interval and, with it, its checksum.
		blank := []int{40, 41, 47}
		if i == 3 || i == 12 {
			blank = []int{64, 65, 87}
		}
		for _, at := range blank {
			theirs[at], ours[at] = 0, 0
		}
		if !bytes.Equal(theirs, ours) {
			t.Errorf("query %d: % x\nLinux:   % x", i, ours, theirs)
		}
	}
	for _, i := range []int{1, 3, 10, 12} { // say verifies every checksum
		if got := say(t, made[i]); !strings.HasPrefix(got, "query ") {
			t.Errorf("the switch reads its own query as %q", got)
		}
	}
	pkt := gopacket.NewPacket(made[1], layers.LayerTypeEthernet, gopacket.Default)
	q, _ := pkt.Layer(layers.LayerTypeIGMP).(*layers.IGMP)
	if q == nil || q.Version != 3 || q.Type != layers.IGMPMembershipQuery || q.RobustnessValue != 2 || q.MaxResponseTime.Seconds() != 10 {
		t.Errorf("gopacket reads %v", pkt)
	}
}

func TestStartupAndInterval(t *testing.T) {
	n := &snoopNet{newNet(t, DomainConfig{Snooping: true, GatewayMAC: mac(1)}), 5000}
	n.add("a", PortConfig{MAC: mac(2)})
	var at []uint32
	count := func(seconds uint32) {
		for range seconds {
			n.now++
			for _, q := range n.wait(0) {
				if say(t, q) != "query all in 10s" {
					t.Fatalf("asked %q", say(t, q))
				}
				at = append(at, n.now)
			}
		}
	}
	first := n.wait(0)
	if len(first) != 2 {
		t.Fatalf("%d queries at once, want one for each family", len(first))
	}
	count(300)
	if want := []uint32{5010, 5010, 5135, 5135, 5260, 5260}; !slices.Equal(at, want) {
		t.Errorf("asked at %v, want %v", at, want)
	}
	at = nil
	n.add("b", PortConfig{MAC: mac(3)})
	count(12)
	if want := []uint32{5301, 5301, 5311, 5311}; !slices.Equal(at, want) {
		t.Errorf("a port added at 5300: asked at %v, want %v", at, want)
	}
	// However many ports are added, startupInterval lies between queries.
	at = nil
	for i := range byte(40) {
		n.add(string('c'+rune(i)), PortConfig{MAC: mac(10 + i)})
		count(1)
	}
	if len(at) > 2*(40/startupInterval+1) {
		t.Errorf("%d queries in 40 seconds", len(at))
	}
}

// TestFloodUntilAsked: multicast is only kept from ports that could have said
// that they listen.
func TestFloodUntilAsked(t *testing.T) {
	for _, tt := range []struct {
		name    string
		gateway frame.MAC
	}{{"a switch that asks", mac(1)}, {"no gateway, so that it never asks", frame.MAC{}}} {
		t.Run(tt.name, func(t *testing.T) {
			n := &snoopNet{newNet(t, DomainConfig{Snooping: true, GatewayMAC: tt.gateway}), 5000}
			n.add("a", PortConfig{MAC: mac(2), Addrs: []netip.Addr{ip(2)}})
			n.add("b", PortConfig{MAC: mac(3), Addrs: []netip.Addr{ip(3)}})
			r := n.add("r", PortConfig{})
			n.wantData("before any query", "a", g1, "b", "r")
			if n.wait(2*queryResponse - 1); tt.gateway == (frame.MAC{}) {
				n.wait(1000)
				n.wantData("nobody asks", "a", g1, "b", "r")
				n.inject(r, general4(mac(30), ip(30)))
				n.wait(2*queryResponse - 1)
				n.wantData("a router has just asked", "a", g1, "b", "r")
				n.wait(1)
				n.wantData("nobody has answered", "a", g1, "r")
				n.wait(groupAge + 1)
				n.wantData("the router is gone", "a", g1, "b", "r")
				return
			}
			n.wantData("answers are due", "a", g1, "b", "r")
			n.wait(1)
			n.wantData("nobody has answered", "a", g1)
			n.wait(1000)
			n.wantData("still nobody", "a", g1)
		})
	}
}

func TestElection(t *testing.T) {
	own := netip.AddrFrom16(linkLocal(mac(1)))
	lower, higher := addr("fe80::1"), addr("febf:ffff::1")
	tests := []struct {
		name     string
		port     string
		data     []byte
		silences int // queries of 0 or 1 family silenced
		router   bool
	}{
		{"IGMP router", "u", general4(mac(30), ip(30)), 1, true},
		{"IGMP router behind a tunnel", "t1", general4(mac(21), ip(21)), 1, true},
		{"another switch", "t1", general4(mac(1), netip.IPv4Unspecified()), 0, false},
		{"another proxy", "u", general4(mac(30), netip.IPv4Unspecified()), 0, false},
		{"MLD router with a lower address", "u", general6(mac(30), lower), 1, true},
		{"MLD router with a higher address", "u", general6(mac(30), higher), 0, true},
		{"another switch, MLD", "t1", general6(mac(1), own), 0, false},
		{"a question for a group elects nobody", "u", igmp4(mac(30), ip(30), g1, plain4(0x11, 10, g1.String())), 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newSnoopNet(t, DomainConfig{})
			before := n.cables[tt.port].port.Stats()
			out := n.inject(n.cables[tt.port], tt.data)
			if r, c := dropped(before, n.cables[tt.port].port.Stats()); c != 0 || len(out["a"]) != 1 || len(out["b"]) != 1 {
				t.Fatalf("a query was not flooded: %v, %v", names(out), r)
			}
			if tt.port == "t1" && len(out["t2"]) != 0 {
				t.Error("a query crossed the horizon")
			}
			if got := n.domain.Routers(); (len(got) == 1) != tt.router || tt.router && got[0] != n.cables[tt.port].port {
				t.Errorf("routers: %v", got)
			}
			if got := len(n.wait(routerAge - 1)); got != 4-2*tt.silences {
				t.Errorf("%d queries in %d seconds, want %d", got, routerAge, 4-2*tt.silences)
			}
			if tt.router {
				want := []string{tt.port}
				g := g1
				if tt.data[12] == 0x86 {
					g = g6
				}
				n.wantData("to the router", "a", g, want...)
				n.wait(1)
				n.wantData("the router is gone", "a", g)
			}
			if got := len(n.wait(queryInterval)); got != 2 {
				t.Errorf("%d queries when the other is gone, want 2", got)
			}
			if _, learned := n.domain.fdbPort(mac(1)); learned {
				t.Error("the gateway's address was learned")
			}
		})
	}
}

// fdbPort returns the slot an address is bound to.
func (d *Domain) fdbPort(m frame.MAC) (uint32, bool) {
	v := d.fdb.lookup(fdbKey(0, m))
	return valPort(v), v&valValid != 0
}

// TestGatewayMACThroughTunnel: nothing but another switch's query may have it.
func TestGatewayMACThroughTunnel(t *testing.T) {
	own := netip.AddrFrom16(linkLocal(mac(1)))
	tests := map[string][]byte{
		"anything":              raw(t, mac(1), broadcast),
		"a router's query":      general4(mac(1), ip(9)),
		"a report":              igmp4(mac(1), netip.IPv4Unspecified(), to3, report3(record(4, "239.1.2.3"))),
		"a query on a VLAN":     tags(general4(mac(1), netip.IPv4Unspecified()), 7),
		"another's MLD query":   general6(mac(1), addr("fe80::1")),
		"a query to one host":   append(append(hw(mac(3)), hw(mac(1))...), general4(mac(1), netip.IPv4Unspecified())[12:]...),
		"from an endpoint's":    nil,
		"a broken query of MLD": append(general6(mac(1), own)[:80], 1, 2, 3, 4, 5, 6),
	}
	for name, data := range tests {
		n := newSnoopNet(t, DomainConfig{})
		in := n.cables["t1"]
		if data == nil {
			in, data = n.cables["u"], general4(mac(1), netip.IPv4Unspecified())
		}
		before := in.port.Stats()
		tr := n.sw.Trace(in.port, data, frame.Offload{})
		out := n.inject(in, data)
		if r, _ := dropped(before, in.port.Stats()); r != frame.SpoofedMAC {
			t.Errorf("%s: reached %v, dropped for %v", name, names(out), r)
		}
		checkTrace(t, tr, out, frame.SpoofedMAC)
	}
}

// TestQueryGuard: an endpoint that asked would become a router and be sent all
// multicast.
func TestQueryGuard(t *testing.T) {
	ll := netip.AddrFrom16(linkLocal(mac(2)))
	first := general4(mac(2), ip(2))
	first[20] |= 0x20
	for name, data := range map[string][]byte{
		"IGMP": general4(mac(2), ip(2)), "from nobody": general4(mac(2), netip.IPv4Unspecified()), "MLD": general6(mac(2), ll),
		"to one host": append(append(hw(mac(3)), hw(mac(2))...), general4(mac(2), ip(2))[12:]...), "first fragment": first,
		"empty": igmp4(mac(2), ip(2), addr("224.0.0.1"), nil),
	} {
		n := newSnoopNet(t, DomainConfig{})
		a := n.cables["a"].port
		before := a.Stats()
		out := n.inject(n.cables["a"], data)
		if r, _ := dropped(before, a.Stats()); r != frame.QueryGuard || len(out) != 0 || len(n.domain.Routers()) != 0 {
			t.Errorf("%s: reached %v, dropped for %v", name, names(out), r)
		}
		router := n.add("router", PortConfig{MAC: mac(40), Addrs: []netip.Addr{ip(40)}, AllowRA: true})
		if name == "IGMP" {
			n.inject(router, general4(mac(40), ip(40)))
			if got := n.domain.Routers(); len(got) != 1 || got[0] != router.port {
				t.Errorf("an endpoint that may be a router is none: %v", got)
			}
			if out := n.say4("b", 4, g1); len(out["router"]) != 1 {
				t.Error("a report did not reach the router")
			}
		}
	}
}

func TestOriginate(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	n.add("isolated", PortConfig{Isolated: true})
	n.add("tagged", PortConfig{VLANs: []uint16{5}})
	for _, c := range n.cables {
		c.out = nil
	}
	q := n.domain.gateway.query(ip4Family, groupKey{}, queryResponse)
	before := n.cables["t1"].port.Stats()
	n.w.Originate(n.domain, q)
	for name, c := range n.cables {
		if want := name != "tagged"; (len(c.out) == 1) != want {
			t.Errorf("%s got %d frames", name, len(c.out))
		} else if want && !bytes.Equal(c.out[0].data, q) {
			t.Errorf("%s got % x", name, c.out[0].data)
		}
	}
	if s := n.cables["t1"].port.Stats(); s.OutFrames != before.OutFrames+1 || s.OutBytes != before.OutBytes+uint64(len(q)) || s.InFrames != before.InFrames {
		t.Errorf("counted %+v after %+v", s, before)
	}
	n.w.Originate(n.domain, make([]byte, 5))
	n.w.Originate(n.domain, make([]byte, frame.MaxFrame+1))
	if got := testing.AllocsPerRun(20, func() {
		for _, c := range n.cables {
			c.quiet = true
		}
		n.w.Originate(n.domain, q)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
	checkConservation(t, n.testNet)
}

// TestManyLeaves: the questions they cause are bounded, and all are asked in the
// end.
func TestManyLeaves(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	for i := range byte(100) {
		n.say4("t1", 4, netip.AddrFrom4([4]byte{239, 9, 9, i}))
	}
	for i := range byte(100) {
		n.say4("t1", 3, netip.AddrFrom4([4]byte{239, 9, 9, i}))
	}
	total := 0
	for range 20 {
		n.now++
		n.sw.Tick(n.now)
		q := n.sw.Queries(n.domain, n.now)
		if len(q) > groupQueries {
			t.Fatalf("%d queries at once", len(q))
		}
		total += len(q)
	}
	if rows := n.domain.Groups(); total < 100 || len(rows) != 0 {
		t.Errorf("%d queries, %d groups left", total, len(rows))
	}
}
