package lab

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/internal/capture"
	"weft/internal/frame"
	"weft/internal/nettest"
)

var update = flag.Bool("update", false, "write testdata/lab anew")

const goldenDir = "../../testdata/lab"

// epoch is when every golden capture begins: 2026-01-01, in nanoseconds.
const epoch = int64(1767225600_000000000)

// at is a frame fed in at so many milliseconds.
type at struct {
	ms   int64
	data []byte
}

// A golden is a lab, what is fed in, and what must come of it. The captures
// under testdata show the rest.
type golden struct {
	name string
	lab  string
	in   map[string][]at
	want string // one line per port, see brief
}

var (
	hostA = nettest.Station("10.0.0.2")
	hostB = nettest.Station("10.0.0.3")
	hostC = nettest.Station("10.0.0.4")
	hostX = nettest.Station("10.0.0.99")
	gw    = nettest.Station("10.0.0.1")
	a6    = nettest.Host{MAC: hostA.MAC, IP: netip.MustParseAddr("fd00::2")}
	b6    = nettest.Host{MAC: hostB.MAC, IP: netip.MustParseAddr("fd00::3")}
	gw6   = nettest.Host{MAC: gw.MAC, IP: netip.MustParseAddr("fd00::1")}
)

func udp(from, to nettest.Host) []byte { return nettest.UDP(from, to, 1000, 2000, []byte("weft")) }

// broadcast is a UDP datagram to everybody.
func broadcast(from nettest.Host) []byte {
	return udp(from, nettest.Host{MAC: nettest.Broadcast, IP: netip.MustParseAddr("255.255.255.255")})
}

func router(h nettest.Host) nettest.Host {
	m := h.MAC
	return nettest.Host{MAC: m, IP: netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})}
}

const bare = `networks:
  n: {subnet: 10.0.0.0/24}
ports:
  a: {network: n}
  b: {network: n}
  c: {network: n}
`

const guarded = `networks:
  n: {subnet: [10.0.0.0/24, "fd00::/64"], ipv6: true}
ports:
  a: {network: n, ip: [10.0.0.2, "fd00::2"]}
  b: {network: n, mac: "02:42:0a:00:00:03", ip: [10.0.0.3, "fd00::3"]}
  c: {network: n}
`

func goldens() []golden {
	all := append(forwarding(), control()...)
	for _, c := range append(overlays(), outsideCases()...) {
		all = append(all, golden{c.name, c.lab, c.in, c.want})
	}
	return all
}

// forwarding are the cases of learning, flooding and sizes.
func forwarding() []golden {
	long := func(n int) []byte { return nettest.UDP(hostA, hostB, 1, 2, make([]byte, n-42)) }
	group := func(last byte) nettest.Host {
		return nettest.Host{MAC: frame.MAC{1, 0x80, 0xc2, 0, 0, last}, IP: netip.MustParseAddr("224.0.0.1")}
	}
	return []golden{
		{"unicast-learning", bare, map[string][]at{
			"a": {{0, udp(hostA, hostB)}, {20, udp(hostA, hostB)}},
			"b": {{10, udp(hostB, hostA)}},
		}, `a in 2 forwarded 2 consumed 0 out 1
b in 1 forwarded 1 consumed 0 out 2
c in 0 forwarded 0 consumed 0 out 1`},

		{"flood", bare + "  d: {network: n}\n", map[string][]at{
			"a": {{0, broadcast(hostA)}, {1, udp(hostA, nettest.Host{MAC: frame.MAC{1, 0, 0x5e, 0, 0, 9}, IP: netip.MustParseAddr("224.0.0.9")})},
				{2, udp(hostA, group(0))}, {3, udp(hostA, group(0x0e))}, {4, udp(hostA, group(0x10))}},
		}, `a in 5 forwarded 3 consumed 0 out 0 reserved-group=2
b in 0 forwarded 0 consumed 0 out 3
c in 0 forwarded 0 consumed 0 out 3
d in 0 forwarded 0 consumed 0 out 3`},

		{"mac-move", bare, map[string][]at{
			"a": {{0, broadcast(hostX)}},
			"b": {{20, broadcast(hostX)}},
			"c": {{10, udp(hostC, hostX)}, {30, udp(hostC, hostX)}},
		}, `a in 1 forwarded 1 consumed 0 out 2
b in 1 forwarded 1 consumed 0 out 2
c in 2 forwarded 2 consumed 0 out 2`},

		{"ageing", bare, map[string][]at{
			"a": {{0, broadcast(hostX)}},
			"c": {{299_000, udp(hostC, hostX)}, {302_000, udp(hostC, hostX)}},
		}, `a in 1 forwarded 1 consumed 0 out 2
b in 0 forwarded 0 consumed 0 out 2
c in 2 forwarded 2 consumed 0 out 1`},

		{"static-wins", guarded, map[string][]at{
			"c": {{0, udp(nettest.Host{MAC: hostA.MAC, IP: hostC.IP}, hostB)}, {10, udp(hostC, hostA)}},
		}, `a in 0 forwarded 0 consumed 0 out 1
b in 0 forwarded 0 consumed 0 out 0
c in 2 forwarded 1 consumed 0 out 0 static-mac=1`},

		{"mac-limit", strings.Replace(bare, "a: {network: n}", "a: {network: n, mac-limit: 2}", 1), map[string][]at{
			"a": {{0, broadcast(hostA)}, {1, broadcast(hostB)}, {2, broadcast(hostC)}, {3, broadcast(hostB)}},
		}, `a in 4 forwarded 3 consumed 0 out 0 mac-limit=1
b in 0 forwarded 0 consumed 0 out 3
c in 0 forwarded 0 consumed 0 out 3`},

		{"sizes", strings.Replace(bare, "b: {network: n}", "b: {network: n, mtu: 1500}", 1), map[string][]at{
			"a": {
				{0, nil},
				{1, udp(hostA, hostB)[:13]},
				{2, udp(hostA, hostB)[:14]}, // an Ethernet header that promises IPv4
				{3, long(1514)},
				{4, long(1515)}, // more than b's MTU, not more than c's
				{5, long(9014)},
				{6, make([]byte, 65536)}, // a record longer than any frame
			},
			"b": {{10, broadcast(hostB)}},
			"c": {{20, long(1515)}},
		}, `a in 7 forwarded 3 consumed 0 out 1 runt=2 oversized=1 bad-header=1
b in 1 forwarded 1 consumed 0 out 1 out:too-big=3
c in 1 forwarded 0 consumed 0 out 4 too-big=1`},

		{"ties", bare, map[string][]at{
			"b": {{0, broadcast(hostB)}, {0, broadcast(hostA)}, {5, broadcast(hostB)}, {3, broadcast(hostB)}},
			"a": {{0, broadcast(hostA)}, {4, broadcast(hostC)}},
		}, `a in 2 forwarded 2 consumed 0 out 4
b in 4 forwarded 4 consumed 0 out 2
c in 0 forwarded 0 consumed 0 out 6`},
	}
}

// control are the cases of the guard, of separation and of what the switch
// answers itself.
func control() []golden {
	return []golden{
		{"guard-spoof", guarded, map[string][]at{
			"a": {
				{0, udp(hostA, hostB)},
				{1, udp(hostX, hostB)}, // not its MAC
				{2, udp(nettest.Host{MAC: hostA.MAC, IP: hostB.IP}, hostB)},            // not its IP
				{3, udp(nettest.Host{MAC: hostA.MAC, IP: b6.IP}, b6)},                  // not its IPv6
				{4, nettest.GratuitousARP(nettest.Host{MAC: hostA.MAC, IP: hostB.IP})}, // not its ARP binding
				{5, udp(a6, b6)},
				{6, udp(router(hostA), b6)}, // its EUI-64 link-local address
			},
		}, `a in 7 forwarded 3 consumed 0 out 0 spoofed-mac=1 spoofed-ip=3
b in 0 forwarded 0 consumed 0 out 3
c in 0 forwarded 0 consumed 0 out 0`},

		{"ra-dhcp-guard", strings.Replace(guarded, `"fd00::3"]}`, `"fd00::3"], allow: [ra, dhcp]}`, 1), map[string][]at{
			"a": {{0, nettest.RouterAdvert(router(hostA))}, {1, nettest.DHCPOffer(hostA, hostB)}},
			"b": {{2, nettest.RouterAdvert(router(hostB))}, {3, nettest.DHCPOffer(hostB, hostA)}},
		}, `a in 2 forwarded 0 consumed 0 out 2 ra-guard=1 dhcp-guard=1
b in 2 forwarded 2 consumed 0 out 0
c in 0 forwarded 0 consumed 0 out 1`},

		{"vlan", `networks:
  n: {subnet: 10.0.0.0/24}
ports:
  a: {network: n}
  b: {network: n}
  c: {network: n, vlans: [10]}
`, map[string][]at{
			"a": {{0, nettest.Tag(broadcast(hostX), 10)}, {2, nettest.Tag(broadcast(hostX), 20)}, {6, broadcast(hostA)}},
			"b": {{1, nettest.Tag(broadcast(hostX), 20)}, {3, nettest.Tag(udp(hostB, hostX), 10)}, {4, nettest.Tag(udp(hostB, hostX), 20)}},
			"c": {{5, nettest.Tag(udp(hostC, hostX), 10)}, {7, broadcast(hostC)}, {8, nettest.Tag(broadcast(hostC), 20)}},
		}, `a in 3 forwarded 3 consumed 0 out 4
b in 3 forwarded 3 consumed 0 out 3
c in 3 forwarded 1 consumed 0 out 1 vlan-guard=2`},

		{"arp-nd-answered", guarded, map[string][]at{
			"a": {
				{0, nettest.ARPRequest(hostA, hostB.IP)},
				{1, nettest.NeighborSolicit(a6, b6.IP)},
				{2, nettest.ARPRequest(hostA, hostX.IP)}, // unknown: flooded
				{3, nettest.ARPProbe(hostA)},             // for its own address: nobody answers
			},
			"c": {{4, nettest.ARPRequest(hostC, hostA.IP)}, {5, nettest.GratuitousARP(hostC)}},
			"b": {{6, nettest.ARPRequest(hostB, hostC.IP)}}, // learned from c's announcement
		}, `a in 4 forwarded 2 consumed 2 out 3
b in 1 forwarded 0 consumed 1 out 4
c in 2 forwarded 1 consumed 1 out 3`},

		{"gateway-ping", guarded, map[string][]at{
			"a": {
				{0, nettest.ARPRequest(hostA, gw.IP)},
				{1, nettest.Echo(hostA, gw, false, 1, 1, []byte("weft"))},
				{2, nettest.NeighborSolicit(a6, gw6.IP)},
				{3, nettest.Echo(a6, gw6, false, 1, 2, []byte("weft"))},
				{4, udp(hostA, gw)},
				{5, udp(hostA, nettest.Host{MAC: gw.MAC, IP: netip.MustParseAddr("192.0.2.1")})},
			},
		}, `a in 6 forwarded 0 consumed 4 out 4 gateway-unserved=1 no-route=1
b in 0 forwarded 0 consumed 0 out 0
c in 0 forwarded 0 consumed 0 out 0`},

		{"isolation", `networks:
  n: {subnet: 10.0.0.0/24}
  m: {subnet: 10.0.1.0/24}
nodes: {n1: {}, n2: {}}
ports:
  a: {network: n, node: n1}
  b: {network: n, node: n1}
  c: {network: m, node: n1}
  d: {network: n, node: n2}
`, map[string][]at{
			"a": {{0, broadcast(hostA)}, {3, udp(hostA, nettest.Host{MAC: gw.MAC, IP: netip.MustParseAddr("10.0.1.2")})}},
			"c": {{1, broadcast(hostC)}, {2, udp(hostC, hostA)}},
			"d": {{4, broadcast(hostX)}},
		}, `a in 2 forwarded 1 consumed 0 out 0 no-route=1
b in 0 forwarded 0 consumed 0 out 1
c in 2 forwarded 0 consumed 0 out 0 no-port=2
d in 1 forwarded 0 consumed 0 out 0 no-port=1`},

		{"icc-off", strings.Replace(guarded, "ipv6: true", "ipv6: true, options: {enable_icc: false}", 1), map[string][]at{
			"a": {{0, udp(hostA, hostB)}, {2, nettest.Echo(hostA, gw, false, 1, 1, nil)}},
		}, `a in 2 forwarded 0 consumed 1 out 1 isolated=1
b in 0 forwarded 0 consumed 0 out 0
c in 0 forwarded 0 consumed 0 out 0`},
	}
}

// brief is the statistics in a line per port, tunnel and node.
func brief(r *Result) string {
	var lines []string
	for _, p := range r.Ports {
		lines = append(lines, p.Name+" "+counts(&p))
	}
	for _, p := range slices.Concat(r.Tunnels, r.Direct) {
		lines = append(lines, p.Name+" "+p.Node+" "+counts(&p))
	}
	return strings.Join(lines, "\n")
}

func counts(p *PortResult) string {
	s := fmt.Sprintf("in %d forwarded %d consumed %d out %d", p.In.Frames, p.Forwarded, p.Consumed, p.Out.Frames)
	if p.Kept > 0 {
		s += fmt.Sprintf(" kept %d", p.Kept)
	}
	for _, name := range reasons() {
		if n := p.Dropped[name]; n > 0 {
			s += fmt.Sprintf(" %s=%d", name, n)
		}
		if n := p.OutDropped[name]; n > 0 {
			s += fmt.Sprintf(" out:%s=%d", name, n)
		}
	}
	return s
}

func pcapOf(t testing.TB, frames []at) []byte {
	var b bytes.Buffer
	w := capture.NewPcapWriter(&b)
	for _, f := range frames {
		if err := w.Write(epoch+f.ms*1_000_000, f.data, len(f.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestGolden replays every golden lab. The statistics are stated above, the
// captures lie under testdata; -update writes those, never the former.
func TestGolden(t *testing.T) {
	sources, err := os.ReadFile("../../testdata/SOURCES.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range goldens() {
		t.Run(g.name, func(t *testing.T) {
			dir := filepath.Join(goldenDir, g.name)
			files := map[string][]byte{dir + ".yaml": []byte(g.lab)}
			inputs := map[string]string{}
			for port, frames := range g.in {
				inputs[port] = filepath.Join(dir, "in", port+".pcap")
				files[inputs[port]] = pcapOf(t, frames)
			}
			hold(t, files)
			l, err := Load(dir + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			out := t.TempDir()
			expect := filepath.Join(dir, "out")
			opts := Options{Expect: expect}
			if *update {
				opts.Expect = ""
			}
			r, err := Replay(l, inputs, out, opts)
			if err != nil {
				t.Fatal(err)
			}
			if got := brief(r); got != g.want {
				t.Errorf("statistics\n%s\nexpected\n%s", got, g.want)
			}
			hold(t, readDir(t, out, expect))
			if !bytes.Contains(sources, []byte("`lab/"+g.name)) {
				t.Errorf("testdata/SOURCES.md has no line for lab/%s", g.name)
			}
		})
	}
}

// hold compares files with what they must hold, or writes them with -update.
func hold(t *testing.T, files map[string][]byte) {
	t.Helper()
	for path, want := range files {
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s is not what this test makes (%v); if that is meant, run with -update", path, err)
		}
	}
}

// readDir returns the files of a directory under the names they have in another.
func readDir(t *testing.T, dir, as string) map[string][]byte {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Join(as, e.Name())] = b
	}
	return files
}

// TestGoldensAreUsed finds files that no test reads any more.
func TestGoldensAreUsed(t *testing.T) {
	entries, err := os.ReadDir(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".yaml")
		if !slices.ContainsFunc(goldens(), func(g golden) bool { return g.name == name }) {
			t.Errorf("%s belongs to no case", filepath.Join(goldenDir, e.Name()))
		}
	}
}
