package lab

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// twoNodes have peers each other and one outside; n2 has two families.
const twoNodes = `networks:
  n: {driver: overlay, subnet: 10.0.0.0/24, options: {weft.vni: 4097, weft.peers: "192.0.2.1,192.0.2.2,192.0.2.9"}}
nodes: {n1: {advertise-addr: 192.0.2.1}, n2: {data-path-addr: [192.0.2.2, "2001:db8::2"]}}
ports:
  a: {network: n, node: n1, ip: 10.0.0.2}
  b: {network: n, node: n2}
  w1: {underlay: true, node: n1}
  w2: {underlay: true, node: n2}
`

// TestOverlayConservation feeds sound and damaged frames from everywhere, twice: the
// outcome is the same, and every frame is where the statistics say.
func TestOverlayConservation(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	dir := t.TempDir()
	inputs := map[string]string{}
	for _, port := range []string{"a", "b", "w1", "w2"} {
		var frames []at
		for i := range 400 {
			host := func() string { return fmt.Sprintf("10.0.0.%d", 2+rng.IntN(9)) }
			data := udp(nettest.Station(host()), nettest.Station(host()))
			if i%5 == 0 {
				data = broadcast(nettest.Station(host()))
			}
			if port[0] == 'w' {
				o := station([]string{"192.0.2.9:5", "192.0.2.8:6", "192.0.2.1:7"}[rng.IntN(3)], "192.0.2."+port[1:]+":4789", 4097+uint32(rng.IntN(8)/7))
				o.noSum = true // so that damage reaches the frame within
				data = o.frame(data)
			}
			if rng.IntN(3) == 0 {
				data[rng.IntN(len(data))] ^= byte(1 + rng.IntN(255))
			}
			if rng.IntN(10) == 0 {
				data = data[:rng.IntN(len(data))]
			}
			frames = append(frames, at{int64(rng.IntN(2000)), data})
		}
		inputs[port] = write(t, dir, port+".pcap", pcapOf(t, frames))
	}
	first, second := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	r, err := Replay(parse(t, twoNodes), inputs, first, Options{Seed: 5})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Replay(parse(t, twoNodes), inputs, second, Options{Seed: 5, Expect: first}); err != nil {
		t.Error(err)
	}
	account(t, r)
	for _, p := range r.Ports {
		data, err := os.ReadFile(outPath(first, p.Name))
		if again, _ := os.ReadFile(outPath(second, p.Name)); err != nil || !bytes.Equal(data, again) {
			t.Errorf("%s differs between two runs (%v)", p.Name, err)
		}
		if n := len(readAll(t, outPath(first, p.Name))); uint64(n) != p.Out.Frames {
			t.Errorf("port %s: %d frames in its capture, %d out", p.Name, n, p.Out.Frames)
		}
		if p.In.Frames != 400 || p.Forwarded == 0 || p.DroppedTotal() == 0 || p.Out.Frames == 0 {
			t.Errorf("port %s sees too little: %+v", p.Name, p)
		}
	}
	if table := r.Table(); !strings.Contains(table, "n@192.0.2.9:4789   n2") || !strings.Contains(table, "1600 frames, every one accounted for") {
		t.Errorf("table\n%s", table)
	}
}

// account adds up independently of the replay's own check.
func account(t *testing.T, r *Result) {
	t.Helper()
	taken, inner, sent, got := map[string]uint64{}, map[string]uint64{}, uint64(0), uint64(0)
	ends := func(p PortResult) uint64 {
		n := p.Forwarded + p.Consumed + p.Kept
		for _, d := range p.Dropped {
			n += d
		}
		if n != p.In.Frames {
			t.Errorf("%s %s: %d in, %d accounted for", p.Name, p.Node, p.In.Frames, n)
		}
		return p.Forwarded
	}
	for _, p := range r.Ports {
		if f := ends(p); p.Name[0] == 'w' {
			taken[p.Node] += f
		}
	}
	for _, p := range r.Direct {
		taken[p.Node] += ends(p)
		sent, got = sent+p.Out.Frames, got+p.In.Frames
	}
	for _, p := range r.Tunnels {
		ends(p)
		inner[p.Node] += p.In.Frames
	}
	if len(taken) != 2 || taken["n1"] != inner["n1"] || taken["n2"] != inner["n2"] || taken["n1"] == 0 || taken["n2"] == 0 {
		t.Errorf("decapsulated %v, came in by tunnels %v", taken, inner)
	}
	if sent != got || sent == 0 {
		t.Errorf("nodes sent each other %d datagrams and got %d", sent, got)
	}
}

// A traceable lab needs no captures: nothing leaves.
func TestTraceTowardsTunnel(t *testing.T) {
	l := parse(t, twoNodes)
	got, err := Trace(l, "a", udp(hostA, hostB))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range got.Out {
		out = append(out, p.Name())
	}
	var steps []string
	for _, s := range got.Steps {
		steps = append(steps, s.Name+": "+s.Result)
	}
	text := strings.Join(steps, "\n")
	if got.Verdict != frame.Forwarded || strings.Join(out, " ") != "n@192.0.2.2:4789 n@192.0.2.9:4789" || !strings.Contains(text, "write: to n@192.0.2.2:4789: written as it is") {
		t.Errorf("%v to %v\n%s", got.Verdict, out, text)
	}
	if got, err = Trace(l, "a", sized(hostA, hostB, 1451)); err != nil || !strings.Contains(fmt.Sprint(got.Steps), "too-big for its MTU of 1450") {
		t.Errorf("%v %v", got.Steps, err)
	}
	if _, err := Trace(l, "w1", nil); err == nil || !strings.Contains(err.Error(), "port w1 is the underlay") {
		t.Errorf("a trace from the wire: %v", err)
	}
}

// What an overlay cannot have here is refused by name.
func TestOverlayRefuses(t *testing.T) {
	swap := func(old, with string) string { return strings.Replace(twoNodes, old, with, 1) }
	for _, c := range []struct{ name, lab, want string }{
		{"encrypted", swap("weft.vni: 4097", `weft.vni: 4097, encrypted: "", weft.psk-file: /secret`), `lab.yaml:2: networks.n: a replay has no keys`},
		{"several subnets", swap("subnet: 10.0.0.0/24", "subnet: [10.0.0.0/24, 10.1.0.0/24]"), "lab.yaml:2: networks.n: overlay networks with several IPv4 subnets are not supported yet"},
		{"several VNIs", swap("weft.vni: 4097", `weft.vni: "1,2"`), "lab.yaml:2: networks.n: driver option weft.vni names 2 VNIs for 1 IPv4 subnet"},
		{"no VNI", swap("weft.vni: 4097, ", ""), "networks.n: driver option weft.vni is missing"},
		{"swarm", strings.Replace(bare, "subnet", "driver: overlay, subnet", 1), "lab.yaml:2: networks.n: an overlay network without peers needs a swarm, and a replay has none"},
		{"unknown option", swap("weft.vni: 4097", "weft.vni: 4097, weft.magic: 1"), `unknown driver option "weft.magic" for the overlay driver`},
		{"node without an address", swap("n1: {advertise-addr: 192.0.2.1}", "n1: {}"), "ports.w1: an underlay port needs a node with an address"},
		{"overlay on a node without an address", strings.NewReplacer("n1: {advertise-addr: 192.0.2.1}", "n1: {}", "  w1: {underlay: true, node: n1}\n", "").Replace(twoNodes),
			"lab.yaml:5: ports.a: network n is an overlay, which needs a node with an address"},
		{"no nodes", strings.Replace(bare, "subnet", `driver: overlay, options: {weft.vni: 1, weft.peers: 192.0.2.1}, subnet`, 1), "ports.a: network n is an overlay, which needs a node with an address"},
		{"peer of the other family", swap("192.0.2.9", "2001:db8::9"), "ports.a: network n has peer 2001:db8::9, and the node no address of that family"},
		{"one VTEP twice", swap("advertise-addr: 192.0.2.1", "advertise-addr: 192.0.2.2"), "nodes.n2: 192.0.2.2:4789 is already that of node n1: give it another data-path-port"},
		{"two addresses of a family", swap("192.0.2.1}", "192.0.2.1, data-path-addr: [192.0.2.1, 192.0.2.3]}"), "nodes.n1: data-path-addr has 192.0.2.1 and 192.0.2.3: expected at most one of each family"},
		{"group address", swap("advertise-addr: 192.0.2.1", "advertise-addr: 224.0.0.1"), "nodes.n1: 224.0.0.1 is no address that a VTEP can have here"},
		{"data path port", swap("192.0.2.1}", "192.0.2.1, data-path-port: 0}"), "nodes.n1.data-path-port: found \"0\", expected a number from 1 to 65535"},
		{"two wires", twoNodes + "  w3: {underlay: true, node: n1}\n", "lab.yaml:9: ports.w3: node n1 has the underlay port w1 already"},
		{"wire on a network", swap("w1: {underlay: true", "w1: {underlay: true, network: n"), "ports.w1: network is not for an underlay port"},
		{"wire with an address", swap("w1: {underlay: true", "w1: {underlay: true, ip: 192.0.2.1"), "ports.w1: ip is not for an underlay port"},
		{"wire with VLANs", swap("w1: {underlay: true", "w1: {underlay: true, vlans: 5"), "ports.w1: vlans is not for an underlay port"},
		{"small wire", swap("w1: {underlay: true", "w1: {underlay: true, mtu: 575"), "ports.w1: mtu 575: an underlay carries packets of 576 bytes at least"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := Parse("lab.yaml", []byte(c.lab))
			if err == nil {
				_, err = build(l, 0)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, expected %q", err, c.want)
			}
		})
	}
}
