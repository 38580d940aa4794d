package vswitch

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
)

// snap returns what an Ethernet II frame looks like behind LLC and SNAP headers.
func snap(data []byte) []byte {
	inner := append([]byte{0xaa, 0xaa, 3, 0, 0, 0}, data[12:]...)
	return slices.Concat(data[:12], []byte{byte(len(inner) >> 8), byte(len(inner))}, inner)
}

// tags puts 802.1Q tags in front.
func tags(data []byte, ids ...byte) []byte {
	b := bytes.Clone(data[:12])
	for _, id := range ids {
		b = append(b, 0x81, 0, 0, id)
	}
	return append(b, data[12:]...)
}

// behind6 puts headers between the IPv6 header of an untagged frame and the rest.
func behind6(data []byte, next byte, headers ...byte) []byte {
	b := slices.Concat(data[:54], headers, data[54:])
	n := len(b) - 54
	b[18], b[19], b[20] = byte(n>>8), byte(n), next
	return b
}

// TestGuardBypasses tries what is known to get past guards: each frame is
// forged, and would be dropped if it said so plainly.
func TestGuardBypasses(t *testing.T) {
	own, ll, zero := mac(2), netip.AddrFrom16(linkLocal(mac(2))), netip.IPv6Unspecified()
	all, allNodes := frame.MAC{0x33, 0x33, 0, 0, 0, 1}, netip.MustParseAddr("ff02::1")
	limited := netip.MustParseAddr("255.255.255.255")
	ra := icmp6(t, own, all, ll, allNodes, 134, make([]byte, 12))
	option := func(kind byte, m frame.MAC) []byte { return append([]byte{kind, 1}, m[:]...) }
	na := func(options ...byte) []byte {
		target := ip6(2).As16()
		return slices.Concat([]byte{0x20, 0, 0, 0}, target[:], options)
	}
	groupReport := build(t, eth(own, frame.MAC{1, 0, 0x5e, 0, 0, 22}, layers.EthernetTypeIPv4),
		&layers.IPv4{Version: 4, TTL: 1, Protocol: layers.IPProtocolIGMP, SrcIP: make([]byte, 4), DstIP: []byte{224, 0, 0, 22}}, gopacket.Payload(make([]byte, 16)))
	long := bytes.Repeat([]byte{60, 0, 1, 4, 0, 0, 0, 0}, 8)
	tests := []struct {
		name string
		cfg  PortConfig
		data []byte
		want frame.Reason
	}{
		{"foreign IPv4 behind LLC", PortConfig{}, snap(udp4(t, own, mac(3), ip(9), ip(3), 5, 5, 9)), frame.LLCGuard},
		{"ARP behind LLC", PortConfig{}, snap(arpRequest(t, own, ip(9), ip(3))), frame.LLCGuard},
		{"router advertisement behind a tag behind LLC", PortConfig{}, snap(tags(ra, 0)), frame.LLCGuard},
		{"router advertisement behind LLC behind a tag", PortConfig{}, tags(snap(ra), 0), frame.LLCGuard},
		{"spanning tree is not IP", PortConfig{}, snap(raw(t, own, mac(3))), 0},
		{"router advertisement behind priority tags", PortConfig{}, tags(ra, 0, 0), frame.RAGuard},
		{"VLAN below a priority tag", PortConfig{VLANs: []uint16{0}}, tags(raw(t, own, mac(3)), 0, 5), frame.VLANGuard},

		{"from nobody to a host", PortConfig{}, udp4(t, own, mac(3), netip.IPv4Unspecified(), ip(3), 5, 5, 9), frame.SpoofedIP},
		{"from nobody to all", PortConfig{}, udp4(t, own, broadcast, netip.IPv4Unspecified(), limited, 5, 5, 9), frame.SpoofedIP},
		{"group report from nobody", PortConfig{}, groupReport, 0},
		{"from nobody to an IPv6 host", PortConfig{}, udp6(t, own, mac(3), zero, ip6(3), 5, 5), frame.SpoofedIP},
		{"ping from nobody", PortConfig{}, icmp6(t, own, all, zero, allNodes, 128, make([]byte, 4)), frame.SpoofedIP},
		{"advertisement from nobody", PortConfig{}, icmp6(t, own, all, zero, allNodes, 136, na(option(2, own)...)), frame.SpoofedIP},
		{"listener report from nobody", PortConfig{}, icmp6(t, own, all, zero, allNodes, 143, make([]byte, 4)), 0},
		{"router solicitation from nobody", PortConfig{}, icmp6(t, own, all, zero, allNodes, 133, make([]byte, 4)), 0},

		{"DHCP offer from another port", PortConfig{}, udp4(t, own, mac(3), ip(2), ip(3), 1067, 68, 240), frame.DHCPGuard},
		{"DHCPv6 reply from another port", PortConfig{}, udp6(t, own, mac(3), ip6(2), ip6(3), 1547, 546), frame.DHCPGuard},
		{"DHCPv6 request", PortConfig{}, udp6(t, own, mac(3), ll, ip6(3), 546, 547), 0},
		{"DHCPv6 reply cut off in a first fragment", PortConfig{}, behind6(udp6(t, own, mac(3), ip6(2), ip6(3), 547, 546)[:58], 44, 17, 0, 0, 1, 0, 0, 0, 9), frame.DHCPGuard},

		{"advertisement with two MACs, ours last", PortConfig{}, icmp6(t, own, all, ip6(2), allNodes, 136, na(slices.Concat(option(2, mac(9)), option(2, own))...)), frame.BadARP},
		{"advertisement with the zero MAC", PortConfig{}, icmp6(t, own, all, ip6(2), allNodes, 136, na(option(2, frame.MAC{})...)), frame.SpoofedMAC},
		{"router solicitation with another's MAC", PortConfig{}, icmp6(t, own, all, ll, allNodes, 133, slices.Concat(make([]byte, 4), option(1, mac(9)))), frame.SpoofedMAC},
		{"router advertisement behind options", PortConfig{}, behind6(ra, 60, 58, 0, 1, 4, 0, 0, 0, 0), frame.RAGuard},
		{"router advertisement behind too many options", PortConfig{}, behind6(ra, 60, append(long, 58, 0, 1, 4, 0, 0, 0, 0)...), frame.RAGuard},
		{"the same from a router, for it hides all else, too", PortConfig{AllowRA: true}, behind6(ra, 60, append(long, 58, 0, 1, 4, 0, 0, 0, 0)...), frame.RAGuard},
		{"too many options in a first fragment", PortConfig{}, behind6(ra, 44, append([]byte{60, 0, 0, 1, 0, 0, 0, 9}, append(long, 58, 0, 1, 4, 0, 0, 0, 0)...)...), frame.RAGuard},
		{"ICMPv6 cut off in a first fragment", PortConfig{}, behind6(ra[:56], 44, 58, 0, 0, 1, 0, 0, 0, 9), frame.RAGuard},
		{"later fragment", PortConfig{}, behind6(ra, 44, 60, 0, 0, 8, 0, 0, 0, 9), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNet(t, DomainConfig{})
			tt.cfg.MAC, tt.cfg.Addrs = own, []netip.Addr{ip(2), ip6(2)}
			a := n.add("a", tt.cfg)
			n.add("b", PortConfig{})
			out := n.inject(a, tt.data)
			if r, _ := dropped(Stats{}, a.port.Stats()); r != tt.want {
				t.Errorf("ended as %v, want %v", r, tt.want)
			}
			if passed := len(out["b"]) == 1; passed != (tt.want == frame.NotDropped) {
				t.Errorf("passed: %v", passed)
			}
		})
	}
}

// TestGuardAgainstUnfinishedChecksums: a port that cannot take an unfinished
// checksum gets it finished, which must not write an address the guard has not
// seen.
func TestGuardAgainstUnfinishedChecksums(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{MAC: mac(2), Addrs: []netip.Addr{ip(2)}})
	n.add("b", PortConfig{})
	data := udp4(t, mac(2), mac(3), ip(2), ip(3), 5, 5, 40)
	for start := range uint16(len(data)) {
		for offset := range uint16(len(data)) {
			out := n.injectOffload(a, data, frame.Offload{Flags: frame.NeedsCsum, CsumStart: start, CsumOffset: offset})
			for _, got := range out["b"] {
				if !bytes.Equal(got[:38], data[:38]) { // up to and with the ports
					t.Fatalf("checksum from %d at +%d: headers became % x", start, offset, got[:38])
				}
			}
		}
	}
}

// TestVLANsHaveNeighboursOfTheirOwn: what is said on a VLAN is neither answered
// from the untagged network's table nor does it teach it.
func TestVLANsHaveNeighboursOfTheirOwn(t *testing.T) {
	n := newNet(t, DomainConfig{GatewayMAC: mac(1), Gateways: []netip.Addr{ip(1)}})
	a := n.add("a", PortConfig{})
	n.add("b", PortConfig{})
	if got := names(n.inject(a, tags(arpRequest(t, mac(2), ip(2), ip(1)), 5))); !slices.Equal(got, []string{"b"}) {
		t.Errorf("a question on VLAN 5 went to %v, want b", got)
	}
	if m, known := n.domain.Neighbours().Lookup(ip(2)); known {
		t.Errorf("VLAN 5 taught the untagged network that %v is at %v", ip(2), m)
	}
	if got := names(n.inject(a, tags(arpRequest(t, mac(2), ip(2), ip(1)), 0))); !slices.Equal(got, []string{"a"}) {
		t.Errorf("a question with a priority tag went to %v, want an answer", got)
	}
}
