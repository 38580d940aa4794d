package vswitch

import (
	"net/netip"
	"slices"
	"testing"

	"weft/internal/frame"
)

// TestExit: what is for the gateway's MAC leaves by the exit, and comes back by it;
// nothing else does.
func TestExit(t *testing.T) {
	gw := mac(0xfe)
	beyond := netip.MustParseAddr("192.0.2.1")
	tests := []struct {
		name string
		from string
		data []byte
		to   string // one port, or nobody
		drop frame.Reason
	}{
		{"the world beyond", "a", udp4(t, mac(2), gw, ip(2), beyond, 9, 9, 9), "exit", 0},
		{"the gateway itself", "a", udp4(t, mac(2), gw, ip(2), ip(1), 9, 9, 9), "exit", 0},
		{"from an isolated port", "b", udp4(t, mac(3), gw, ip(3), beyond, 9, 9, 9), "exit", 0},
		{"ping to the gateway", "a", ping4(t, mac(2), gw, ip(2), ip(1), 9), "a", 0},
		{"a broadcast", "a", raw(t, mac(2), broadcast), "b", 0},
		{"by a VLAN", "a", tagged(t, mac(2), gw, 5), "", frame.NoRoute},
		{"back", "exit", udp4(t, gw, mac(2), beyond, ip(2), 9, 9, 9), "a", 0},
		{"back to an isolated port", "exit", udp4(t, gw, mac(3), beyond, ip(3), 9, 9, 9), "b", 0},
		{"back to nobody", "exit", udp4(t, gw, mac(9), beyond, ip(9), 9, 9, 9), "", frame.UnknownMAC},
		{"back from another MAC", "exit", udp4(t, mac(9), mac(2), beyond, ip(2), 9, 9, 9), "", frame.SpoofedMAC},
		{"back to all", "exit", raw(t, gw, broadcast), "", frame.SpoofedMAC},
		{"round", "exit", udp4(t, gw, gw, beyond, ip(2), 9, 9, 9), "", frame.SamePort},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNet(t, DomainConfig{GatewayMAC: gw, Gateways: []netip.Addr{ip(1)}})
			cables := map[string]*cable{"a": n.add("a", PortConfig{}), "b": n.add("b", PortConfig{Isolated: true}), "exit": n.add("exit", PortConfig{Exit: true})}
			n.inject(cables["a"], raw(t, mac(2), mac(2)))
			n.inject(cables["b"], raw(t, mac(3), mac(3)))
			from := cables[tt.from]
			before := from.port.Stats()
			out := n.inject(from, tt.data)
			if r, _ := dropped(before, from.port.Stats()); r != tt.drop {
				t.Errorf("ended as %v, want %v", r, tt.drop)
			}
			var to []string
			for name, frames := range out {
				if len(frames) > 0 {
					to = append(to, name)
				}
			}
			if want := []string{tt.to}; tt.to != "" && !slices.Equal(to, want) || tt.to == "" && len(to) > 0 {
				t.Errorf("left by %q, want %q", to, tt.to)
			}
		})
	}
}

// TestExits: one a domain, and none where there is no gateway; who has gone is none.
func TestExits(t *testing.T) {
	gw := mac(0xfe)
	n := newNet(t, DomainConfig{GatewayMAC: gw, Gateways: []netip.Addr{ip(1)}})
	a, exit := n.add("a", PortConfig{}), n.add("exit", PortConfig{Exit: true})
	if _, err := n.sw.AddPort(PortConfig{Name: "more", Domain: n.domain, Exit: true}, &cable{}); err == nil {
		t.Error("a second exit")
	}
	bare, err := n.sw.AddDomain(DomainConfig{Name: "bare"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.sw.AddPort(PortConfig{Name: "x", Domain: bare, Exit: true}, &cable{}); err == nil {
		t.Error("an exit without a gateway")
	}
	n.sw.RemovePort(exit.port)
	before := a.port.Stats()
	n.inject(a, udp4(t, mac(2), gw, ip(2), netip.MustParseAddr("192.0.2.1"), 9, 9, 9))
	if r, _ := dropped(before, a.port.Stats()); r != frame.NoRoute {
		t.Errorf("without its exit: %v", r)
	}
	n.add("again", PortConfig{Exit: true})
}
