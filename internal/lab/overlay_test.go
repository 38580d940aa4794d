package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"weft/internal/capture"
	"weft/internal/frame"
	"weft/internal/nettest"
)

// oneNode is a node with a guarded and a learning port and a wire, and two peers.
const oneNode = `networks:
  n: {driver: overlay, subnet: 10.0.0.0/24, options: {weft.vni: 4097, weft.peers: "192.0.2.2,192.0.2.3"}}
nodes: {n1: {advertise-addr: 192.0.2.1}}
ports:
  a: {network: n, ip: 10.0.0.2}
  b: {network: n}
  wire: {underlay: true}
`

var (
	h3 = nettest.Station("10.0.0.3")
	h4 = nettest.Station("10.0.0.4")
	h5 = nettest.Station("10.0.0.5")
	h9 = nettest.Station("10.0.0.9")

	// Stations of the underlay as n1 sees them; sources of foreign VTEPs are free.
	from2 = station("192.0.2.2:50002", "192.0.2.1:4789", 4097)
	from3 = station("192.0.2.3:50003", "192.0.2.1:4789", 4097)
	to2   = station("192.0.2.1:0", "192.0.2.2:4789", 4097)
	to3   = station("192.0.2.1:0", "192.0.2.3:4789", 4097)
)

// with returns a copy that a change was made to.
func (o outer) with(change func(*outer)) outer {
	change(&o)
	return o
}

// A statedCase is a golden of which every frame that leaves is stated.
type statedCase struct {
	name, lab string
	in, out   map[string][]at
	want      string
}

// overlays are the cases of VXLAN.
func overlays() []statedCase {
	return append(append(tunnelled(), between()...), refused())
}

func tunnelled() []statedCase {
	reply := nettest.ARPReply(hostA, h3)
	six, six2 := "[2001:db8::1]", "[2001:db8::2]"
	return []statedCase{
		{name: "overlay-decap", lab: oneNode, in: map[string][]at{
			"wire": {
				{0, from2.frame(broadcast(h3))},
				{1, from2.frame(udp(h3, hostA))},
				{2, from3.with(func(o *outer) { o.noSum = true }).frame(udp(h4, hostA))},
				{3, from3.with(func(o *outer) { o.src = "192.0.2.3:7" }).frame(udp(h4, hostA))},
				{4, from3.with(func(o *outer) { o.flags, o.reserved = 0xff, 0xff }).frame(udp(h4, hostA))},
				{5, from2.frame(nettest.ARPRequest(h3, hostA.IP))},
			},
		}, out: map[string][]at{
			"a": {{0, broadcast(h3)}, {1, udp(h3, hostA)}, {2, udp(h4, hostA)}, {3, udp(h4, hostA)}, {4, udp(h4, hostA)}, {5, nettest.ARPRequest(h3, hostA.IP)}},
			"b": {{0, broadcast(h3)}, {5, nettest.ARPRequest(h3, hostA.IP)}},
		}, want: `a in 0 forwarded 0 consumed 0 out 6
b in 0 forwarded 0 consumed 0 out 2
wire in 6 forwarded 6 consumed 0 out 0
n@192.0.2.2:4789 n1 in 3 forwarded 3 consumed 0 out 0
n@192.0.2.3:4789 n1 in 3 forwarded 3 consumed 0 out 0
direct n1 in 0 forwarded 0 consumed 0 out 0`},

		{name: "overlay-encap", lab: oneNode, in: map[string][]at{
			"a": {
				{0, broadcast(hostA)},
				{1, udp(hostA, h3)}, // unknown: flooded
				{3, udp(hostA, h3)}, // behind 192.0.2.2 by now
				{4, reply},
				{5, nettest.TCP(hostA, h3, nettest.Segment{SrcPort: 1000, DstPort: 80, Flags: nettest.ACK, Payload: []byte("weft")})},
			},
			"b":    {{6, nettest.Ether(h3.MAC, h9.MAC, 0x88b5, []byte("no IP"))}},
			"wire": {{2, from2.frame(udp(h3, hostA))}},
		}, out: map[string][]at{
			"a": {{2, udp(h3, hostA)}},
			"b": {{0, broadcast(hostA)}, {1, udp(hostA, h3)}},
			"wire": {
				{0, to2.frame(broadcast(hostA))}, {0, to3.frame(broadcast(hostA))},
				{1, to2.frame(udp(hostA, h3))}, {1, to3.frame(udp(hostA, h3))},
				{3, to2.frame(udp(hostA, h3))},
				{4, to2.frame(reply)},
				{5, to2.frame(nettest.TCP(hostA, h3, nettest.Segment{SrcPort: 1000, DstPort: 80, Flags: nettest.ACK, Payload: []byte("weft")}))},
				{6, to2.frame(nettest.Ether(h3.MAC, h9.MAC, 0x88b5, []byte("no IP")))},
			},
		}, want: `a in 5 forwarded 5 consumed 0 out 1
b in 1 forwarded 1 consumed 0 out 2
wire in 1 forwarded 1 consumed 0 out 8
n@192.0.2.2:4789 n1 in 1 forwarded 1 consumed 0 out 6
n@192.0.2.3:4789 n1 in 0 forwarded 0 consumed 0 out 2
direct n1 in 0 forwarded 0 consumed 0 out 0`},

		{name: "overlay-ipv6", lab: `networks:
  n: {driver: overlay, subnet: [10.0.0.0/24, "fd00::/64"], ipv6: true, options: {weft.vni: 16777215, weft.peers: "2001:db8::2"}}
nodes: {n1: {data-path-addr: [192.0.2.1, "2001:db8::1"], data-path-port: 4790}}
ports:
  a: {network: n, ip: [10.0.0.2, "fd00::2"]}
  wire: {underlay: true}
`, in: map[string][]at{
			"wire": {
				{0, station(six2+":50002", six+":4790", 0xffffff).frame(udp(h3, hostA))},
				{1, station(six2+":50002", six+":4790", 0xffffff).with(func(o *outer) { o.noSum = true }).frame(udp(b6, a6))},
				{2, changed(station(six2+":50002", six+":4790", 0xffffff).frame(udp(b6, a6)), 130)},
			},
			"a": {{3, udp(a6, b6)}, {4, udp(hostA, h3)}},
		}, out: map[string][]at{
			"a": {{0, udp(h3, hostA)}, {1, udp(b6, a6)}},
			"wire": {{3, station(six+":0", six2+":4790", 0xffffff).frame(udp(a6, b6))},
				{4, station(six+":0", six2+":4790", 0xffffff).frame(udp(hostA, h3))}},
		}, want: `a in 2 forwarded 2 consumed 0 out 2
wire in 3 forwarded 2 consumed 0 out 2 bad-checksum=1
n@[2001:db8::2]:4790 n1 in 2 forwarded 2 consumed 0 out 2
direct n1 in 0 forwarded 0 consumed 0 out 0`},

		{name: "overlay-vlan", lab: strings.Replace(oneNode, "b: {network: n}", "b: {network: n, vlans: [10]}", 1), in: map[string][]at{
			"wire": {{0, from2.frame(nettest.Tag(broadcast(h3), 10))}, {1, from2.frame(nettest.Tag(broadcast(h3), 20))}},
			"b":    {{2, nettest.Tag(udp(h4, h3), 10)}, {3, nettest.Tag(udp(h4, h3), 20)}},
		}, out: map[string][]at{
			"a":    {{0, nettest.Tag(broadcast(h3), 10)}, {1, nettest.Tag(broadcast(h3), 20)}},
			"b":    {{0, nettest.Tag(broadcast(h3), 10)}},
			"wire": {{2, to2.frame(nettest.Tag(udp(h4, h3), 10))}},
		}, want: `a in 0 forwarded 0 consumed 0 out 2
b in 2 forwarded 1 consumed 0 out 1 vlan-guard=1
wire in 2 forwarded 2 consumed 0 out 1
n@192.0.2.2:4789 n1 in 2 forwarded 2 consumed 0 out 1
n@192.0.2.3:4789 n1 in 0 forwarded 0 consumed 0 out 0
direct n1 in 0 forwarded 0 consumed 0 out 0`},

		{name: "overlay-too-big", lab: strings.Replace(oneNode, "vni: 4097", "vni: 4097, mtu: 1400", 1), in: map[string][]at{
			"wire": {{0, from2.frame(udp(h3, hostA))}, {9, from2.frame(sized(h3, hostA, 1401))}},
			"a": {
				{1, sized(hostA, h3, 1450)}, // fits 1500 bytes of the underlay
				{2, sized(hostA, h3, 1451)}, // a is told
				{3, sized(hostA, h4, 1451)}, // to nobody known: for all, and nobody is told
				{4, nettest.Tag(sized(hostA, h3, 1450), 5)},
				{5, syn(hostA, h3, 1460)},
				{6, syn(hostA, h4, 1460)}, // flooded frames are not written to
			},
		}, out: map[string][]at{
			"a": {{0, udp(h3, hostA)}, {2, fragNeeded(sized(hostA, h3, 1451), 1450)}},
			"b": {{6, syn(hostA, h4, 1460)}},
			"wire": {
				{1, to2.frame(sized(hostA, h3, 1450))},
				{5, to2.frame(syn(hostA, h3, 1410))},
				{6, to2.frame(syn(hostA, h4, 1460))}, {6, to3.frame(syn(hostA, h4, 1460))},
			},
		}, want: `a in 6 forwarded 3 consumed 0 out 2 too-big=3 out:too-big=1
b in 0 forwarded 0 consumed 0 out 1 out:too-big=2
wire in 2 forwarded 2 consumed 0 out 4
n@192.0.2.2:4789 n1 in 2 forwarded 1 consumed 0 out 3 too-big=1 out:too-big=3
n@192.0.2.3:4789 n1 in 0 forwarded 0 consumed 0 out 1 out:too-big=2
direct n1 in 0 forwarded 0 consumed 0 out 0`},

		{name: "overlay-jumbo", lab: strings.Replace(oneNode, "underlay: true", "underlay: true, mtu: 9000", 1), in: map[string][]at{
			"wire": {{0, from2.frame(sized(h3, hostA, 8950))}},
			"a":    {{1, sized(hostA, h3, 8950)}, {2, sized(hostA, h3, 8951)}},
		}, out: map[string][]at{
			"a":    {{0, sized(h3, hostA, 8950)}, {2, fragNeeded(sized(hostA, h3, 8951), 8950)}},
			"wire": {{1, to2.frame(sized(hostA, h3, 8950))}},
		}, want: `a in 2 forwarded 1 consumed 0 out 2 too-big=1
b in 0 forwarded 0 consumed 0 out 0
wire in 1 forwarded 1 consumed 0 out 1
n@192.0.2.2:4789 n1 in 1 forwarded 1 consumed 0 out 1 out:too-big=1
n@192.0.2.3:4789 n1 in 0 forwarded 0 consumed 0 out 0
direct n1 in 0 forwarded 0 consumed 0 out 0`},
	}
}

// between are the cases of several VTEPs: replication, horizon, nodes of one lab.
func between() []statedCase {
	threePeers := strings.Replace(oneNode, "192.0.2.3", "192.0.2.3,192.0.2.4:4790,192.0.2.1", 1)
	to4 := station("192.0.2.1:0", "192.0.2.4:4790", 4097)
	own := func(o *outer) { o.src = "192.0.2.1:4789" }
	return []statedCase{
		{name: "overlay-split-horizon", lab: threePeers, in: map[string][]at{
			"a": {{0, broadcast(hostA)}},
			"wire": {
				{1, from2.frame(broadcast(h3))},
				{2, from3.frame(broadcast(h4))},
				{3, from2.frame(udp(h3, h4))}, // known behind the other tunnel
				{4, from3.frame(udp(h4, h5))}, // unknown: for ports, never for tunnels
				{5, from2.frame(udp(h3, h3))}, // known behind the same
				{6, from3.frame(broadcast(h3))},
			},
			"b": {{7, udp(h9, h3)}}, // moved to 192.0.2.3
		}, out: map[string][]at{
			"a": {{1, broadcast(h3)}, {2, broadcast(h4)}, {4, udp(h4, h5)}, {6, broadcast(h3)}},
			"b": {{0, broadcast(hostA)}, {1, broadcast(h3)}, {2, broadcast(h4)}, {4, udp(h4, h5)}, {6, broadcast(h3)}},
			"wire": {{0, to2.frame(broadcast(hostA))}, {0, to3.frame(broadcast(hostA))}, {0, to4.frame(broadcast(hostA))},
				{7, to3.frame(udp(h9, h3))}},
		}, want: `a in 1 forwarded 1 consumed 0 out 4
b in 1 forwarded 1 consumed 0 out 5
wire in 6 forwarded 6 consumed 0 out 4
n@192.0.2.2:4789 n1 in 3 forwarded 1 consumed 0 out 1 same-port=1 split-horizon=1
n@192.0.2.3:4789 n1 in 3 forwarded 3 consumed 0 out 2
n@192.0.2.4:4790 n1 in 0 forwarded 0 consumed 0 out 1
direct n1 in 0 forwarded 0 consumed 0 out 0`},

		{name: "overlay-quiet", lab: strings.Replace(oneNode, "vni: 4097", `vni: 4097, weft.multicast: "off"`, 1), in: map[string][]at{
			"a":    {{0, broadcast(hostA)}, {1, udp(hostA, h3)}},
			"wire": {{2, from2.frame(broadcast(h3))}},
		}, out: map[string][]at{
			"a":    {{2, broadcast(h3)}},
			"b":    {{0, broadcast(hostA)}, {1, udp(hostA, h3)}, {2, broadcast(h3)}},
			"wire": {{1, to2.frame(udp(hostA, h3))}, {1, to3.frame(udp(hostA, h3))}},
		}, want: `a in 2 forwarded 2 consumed 0 out 1
b in 0 forwarded 0 consumed 0 out 3
wire in 1 forwarded 1 consumed 0 out 2
n@192.0.2.2:4789 n1 in 1 forwarded 1 consumed 0 out 1
n@192.0.2.3:4789 n1 in 0 forwarded 0 consumed 0 out 1
direct n1 in 0 forwarded 0 consumed 0 out 0`},

		{name: "overlay-shared-address", lab: strings.Replace(oneNode, "192.0.2.2,192.0.2.3", "192.0.2.2,192.0.2.2:4790", 1), in: map[string][]at{
			"wire": {
				{0, from2.with(func(o *outer) { o.src = "192.0.2.2:4789" }).frame(udp(h3, hostA))},
				{1, from2.with(func(o *outer) { o.src = "192.0.2.2:4790" }).frame(udp(h4, hostA))},
				{2, from2.frame(udp(h4, hostA))}, // which of them?
			},
			"a": {{3, udp(hostA, h3)}, {4, udp(hostA, h4)}},
		}, out: map[string][]at{
			"a": {{0, udp(h3, hostA)}, {1, udp(h4, hostA)}},
			"wire": {{3, to2.with(own).frame(udp(hostA, h3))},
				{4, to2.with(own).with(func(o *outer) { o.dst = "192.0.2.2:4790" }).frame(udp(hostA, h4))}},
		}, want: `a in 2 forwarded 2 consumed 0 out 2
b in 0 forwarded 0 consumed 0 out 0
wire in 3 forwarded 2 consumed 0 out 2 unknown-vtep=1
n@192.0.2.2:4789 n1 in 1 forwarded 1 consumed 0 out 1
n@192.0.2.2:4790 n1 in 1 forwarded 1 consumed 0 out 1
direct n1 in 0 forwarded 0 consumed 0 out 0`},

		nodes(),
	}
}

// nodes is two nodes end to end, one of them with a peer outside, and a third that
// only the first knows.
func nodes() statedCase {
	back := station("192.0.2.2:0", "192.0.2.1:4789", 4097)
	outside := station("192.0.2.1:0", "192.0.2.9:4789", 4097)
	request, reply := nettest.ARPRequest(hostA, h3.IP), nettest.ARPReply(h3, hostA)
	other := broadcast(h9)
	return statedCase{name: "overlay-nodes", lab: `networks:
  m: {driver: overlay, subnet: 10.0.1.0/24, options: {weft.vni: 5, weft.peers: 192.0.2.3}}
  n: {driver: overlay, subnet: 10.0.0.0/24, options: {weft.vni: 4097, weft.peers: "192.0.2.1,192.0.2.2,192.0.2.9"}}
nodes:
  n1: {advertise-addr: 192.0.2.1}
  n2: {advertise-addr: 192.0.2.2}
  n3: {advertise-addr: 192.0.2.3}
ports:
  a: {network: n, node: n1, ip: 10.0.0.2}
  b: {network: n, node: n2}
  c: {network: m, node: n1}
  d: {network: n, node: n3}
  e: {network: n, node: n2}
  wire1: {underlay: true, node: n1}
  wire2: {underlay: true, node: n2}
`, in: map[string][]at{
		"a": {{0, request}, {2, udp(hostA, h3)}},
		"b": {{1, reply}},
		"c": {{3, other}}, // to n3, which has no such network and no such peer
		"d": {{4, broadcast(h4)}},
	}, out: map[string][]at{
		"a": {{1, reply}},
		"b": {{0, request}, {2, udp(hostA, h3)}},
		"e": {{0, request}},
		"wire1": {{0, to2.frame(request)}, {0, outside.frame(request)}, {1, back.frame(reply)}, {2, to2.frame(udp(hostA, h3))},
			{3, to3.with(func(o *outer) { o.vni = 5 }).frame(other)},
			{4, station("192.0.2.3:0", "192.0.2.1:4789", 4097).frame(broadcast(h4))}},
		"wire2": {{0, to2.frame(request)}, {1, back.frame(reply)}, {2, to2.frame(udp(hostA, h3))},
			{4, station("192.0.2.3:0", "192.0.2.2:4789", 4097).frame(broadcast(h4))}},
	}, want: `a in 2 forwarded 2 consumed 0 out 1
b in 1 forwarded 1 consumed 0 out 2
c in 1 forwarded 1 consumed 0 out 0
d in 1 forwarded 1 consumed 0 out 0
e in 0 forwarded 0 consumed 0 out 1
wire1 in 0 forwarded 0 consumed 0 out 6
wire2 in 0 forwarded 0 consumed 0 out 4
m@192.0.2.3:4789 n1 in 0 forwarded 0 consumed 0 out 1
n@192.0.2.2:4789 n1 in 1 forwarded 1 consumed 0 out 2
n@192.0.2.9:4789 n1 in 0 forwarded 0 consumed 0 out 1
n@192.0.2.1:4789 n2 in 2 forwarded 2 consumed 0 out 1
n@192.0.2.9:4789 n2 in 0 forwarded 0 consumed 0 out 0
n@192.0.2.1:4789 n3 in 0 forwarded 0 consumed 0 out 1
n@192.0.2.2:4789 n3 in 0 forwarded 0 consumed 0 out 1
n@192.0.2.9:4789 n3 in 0 forwarded 0 consumed 0 out 0 out:write-failed=1
direct n1 in 2 forwarded 1 consumed 0 out 3 unknown-vni=1
direct n2 in 3 forwarded 2 consumed 0 out 1 unknown-vtep=1
direct n3 in 1 forwarded 0 consumed 0 out 2 unknown-vni=1`}
}

// refused are datagrams that end at the wire, or at the tunnel before anything is
// learned from them.
func refused() statedCase {
	good := from2.frame(udp(h3, hostA))
	udpOf := func(n int) []byte { // a datagram with n bytes of VXLAN
		return from2.datagram(netip.MustParseAddrPort(from2.src), good[42:42+n])
	}
	nested := from2.frame(from3.frame(udp(h3, hostA)))
	garbage := nettest.Ether(hostA.MAC, h3.MAC, frame.EtherIPv4, []byte("this is no IPv4"))
	gateway := withSource(udp(h3, hostA), gw.MAC)
	return statedCase{name: "overlay-refused", lab: oneNode, in: map[string][]at{
		"wire": {
			{0, from2.with(func(o *outer) { o.src = "192.0.2.9:50002" }).frame(udp(h3, hostA))}, // unknown VTEP
			{1, from2.with(func(o *outer) { o.vni = 4098 }).frame(udp(h3, hostA))},              // unknown VNI
			{2, from2.with(func(o *outer) { o.flags = 0xf7 }).frame(udp(h3, hostA))},            // all flags but I
			{3, udpOf(7)},           // header cut
			{4, udpOf(8 + 13)},      // inner Ethernet header cut
			{5, good[:len(good)-1]}, // shorter than its IP header says
			{6, good[:13]},          // no Ethernet header
			{7, changed(good, 24)},  // IPv4 checksum
			{8, changed(good, 60)},  // UDP checksum
			{9, nettest.ARPRequest(nettest.Station("192.0.2.2"), netip.MustParseAddr("192.0.2.1"))},
			{10, from2.with(func(o *outer) { o.dst = "192.0.2.8:4789" }).frame(udp(h3, hostA))},
			{11, from2.with(func(o *outer) { o.dst = "192.0.2.1:4790" }).frame(udp(h3, hostA))},
			{12, from2.with(func(o *outer) { o.fragmentFlag = layers.IPv4MoreFragments }).frame(udp(h3, hostA))},
			{13, from2.with(func(o *outer) { o.proto = layers.IPProtocolUDPLite }).frame(udp(h3, hostA))},
			{14, make([]byte, 65536)}, // a record longer than any frame
			// This node's own datagram, and its own frame come back in a peer's.
			{15, from2.with(func(o *outer) { o.src = "192.0.2.1:4789" }).frame(broadcast(hostA))},
			{16, from2.frame(broadcast(hostA))},
			{17, from2.frame(gateway)}, // the gateway is on every node
			{18, from2.frame(garbage)}, // IPv4 by its EtherType alone
			{19, from2.frame(withSource(udp(h3, hostA), nettest.Broadcast))},
			{20, nested}, // one layer is taken off; what is in it is nobody's
			{21, from2.with(func(o *outer) { o.src = "192.0.2.9:50002" }).datagram(netip.MustParseAddrPort("192.0.2.9:5"), nil)}, // strangers are not looked into
		},
		// Of all that nothing was learned: h3 is still unknown.
		"a": {{30, udp(hostA, h3)}},
	}, out: map[string][]at{
		"a":    {{20, nested[50:]}},
		"b":    {{20, nested[50:]}, {30, udp(hostA, h3)}},
		"wire": {{30, to2.frame(udp(hostA, h3))}, {30, to3.frame(udp(hostA, h3))}},
	}, want: `a in 1 forwarded 1 consumed 0 out 1
b in 0 forwarded 0 consumed 0 out 2
wire in 22 forwarded 5 consumed 0 out 2 not-ip=1 bad-checksum=2 other-destination=1 fragment=1 not-udp=1 other-port=1 runt=3 oversized=1 bad-vxlan=1 unknown-vtep=3 unknown-vni=1 bad-header=1
n@192.0.2.2:4789 n1 in 5 forwarded 1 consumed 0 out 1 bad-header=1 bad-source=1 spoofed-mac=1 static-mac=1
n@192.0.2.3:4789 n1 in 0 forwarded 0 consumed 0 out 1
direct n1 in 0 forwarded 0 consumed 0 out 0`}
}

// TestStatedFrames compares what left, as it lies under testdata, with what
// gopacket makes of the same.
func TestStatedFrames(t *testing.T) {
	for _, c := range append(overlays(), outsideCases()...) {
		t.Run(c.name, func(t *testing.T) {
			l, err := Load(filepath.Join(goldenDir, c.name+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, p := range l.Ports {
				want := write(t, dir, p.Name, pcapOf(t, c.out[p.Name]))
				if d, err := comparePort(p.Name, want, outPath(filepath.Join(goldenDir, c.name, "out"), p.Name)); err != nil || d != nil {
					t.Errorf("%v %v", err, d)
				}
			}
		})
	}
}

// TestOverlayTshark shows what was encapsulated to a decoder that did not learn
// VXLAN from us: all wires in one capture.
func TestOverlayTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		nettest.Skip(t, "tshark is not installed")
	}
	var all []at
	var names []string
	for _, c := range overlays() {
		wires, err := filepath.Glob(filepath.Join(goldenDir, c.name, "out", "wire*.pcap"))
		if err != nil || len(wires) == 0 {
			t.Fatalf("%s: wires %v, %v", c.name, wires, err)
		}
		for _, path := range wires {
			for i, data := range readAll(t, path) {
				all, names = append(all, at{0, data}), append(names, fmt.Sprintf("%s: frame %d", path, i+1))
			}
		}
	}
	path := write(t, t.TempDir(), "all.pcap", pcapOf(t, all))
	cmd := exec.Command(tshark, "-r", path, "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-d", "udp.port==4790,vxlan",
		"-T", "fields", "-E", "separator=|", "-E", "occurrence=f", "-e", "udp.checksum.status", "-e", "vxlan.vni", "-e", "_ws.malformed", "-e", "ip.flags.df")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(all) {
		t.Fatalf("%d lines for %d frames", len(lines), len(all))
	}
	for i, line := range lines {
		// The first UDP checksum is the outer one; 1 is good.
		if f := strings.Split(line, "|"); len(f) != 4 || f[0] != "1" || f[1] == "" || f[2] != "" {
			t.Errorf("%s: checksum, VNI, malformed, DF: %s", names[i], line)
		}
	}
}

// readAll returns the frames of a capture.
func readAll(t *testing.T, path string) (frames [][]byte) {
	r, err := capture.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		var p capture.Packet
		if err := r.Next(&p); errors.Is(err, io.EOF) {
			return frames
		} else if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, bytes.Clone(p.Data))
	}
}
