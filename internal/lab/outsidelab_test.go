package lab

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/frame"
)

// What an outside cannot have is refused by name.
func TestOutsideRefuses(t *testing.T) {
	swap := func(old, with string) string { return strings.Replace(wayOut, old, with, 1) }
	for _, c := range []struct{ name, lab, want string }{
		{"outside of a node without an address", strings.Replace(bare, "c: {network: n}", "c: {outside: true}", 1), "lab.yaml:6: ports.c: an outside port needs a node with an address there"},
		{"no outside port", wayOut[:strings.Index(wayOut, "  world:")], "lab.yaml:6: nodes.n1: uplink-addr needs a port of the node that is the outside"},
		{"two outside ports", wayOut + "  w2: {outside: true}\n", "ports.world: node n1 has the outside port w2 already"},
		{"no prefix", swap("192.0.2.1/24", "192.0.2.1/33"), `nodes.n1.uplink-addr[0]: found "192.0.2.1/33", expected an address with or without`},
		{"group address", swap("192.0.2.1/24", "224.0.0.1/24"), "nodes.n1: uplink-addr 224.0.0.1/24: expected an address of one host"},
		{"twice", swap("192.0.2.1/24,", "192.0.2.1/24, 192.0.2.1,"), "nodes.n1: uplink-addr 192.0.2.1 stands twice"},
		{"two gateways", swap(`192.0.2.254, "`, `192.0.2.254, 192.0.2.253, "`), "uplink-gateway 192.0.2.253 is the second of its family"},
		{"gateway nowhere", swap("uplink-gateway: [192.0.2.254", "uplink-gateway: [0.0.0.0"), "uplink-gateway 0.0.0.0: expected the address of a router outside"},
		{"gateway without an address", "nodes: {n1: {uplink-gateway: 192.0.2.254}}", "nodes.n1: uplink-gateway without uplink-addr"},
		{"on a network", swap("outside: true", "outside: true, network: front"), "ports.world: network is not for an outside port"},
		{"publishes", swap("outside: true", `outside: true, publish: "80:80"`), "ports.world: publish is not for an outside port"},
		{"underlay too", swap("outside: true", "outside: true, underlay: true"), "ports.world: outside is not for an underlay port"},
		{"nobody's MAC", swap(`ip: [192.0.2.254, "2001:db8::fe"]`, `mac: "02:00:00:00:00:09"`), "ports.world: mac without ip"},
		{"itself", swap(`ip: [192.0.2.254`, `ip: [192.0.2.1`), "ports.world: ip 192.0.2.1 with mac 02:42:c0:00:02:01 is node n1 itself"},
		{"published without an outside", strings.Replace(bare, "c: {network: n}", `c: {network: n, ip: 10.0.0.9, publish: "80:80"}`, 1), "ports.c: publish needs a node with an address outside"},
		{"no such publish", swap(`"8080:80"`, `"8080:x"`), "ports.b.publish[0]: invalid containerPort: x"},
		{"too many", swap(`"8080:80"`, strings.Repeat(`"1-65535:1-65535",`, 2)+`"1-65535:1-65535"`), "more than the 131072 published ports"},
		{"taken", swap(`"fd00::2"]}`, `"fd00::2"], publish: ["8080:81"]}`), "ports.b: port 8080:80/tcp cannot be published: it is already that of port a"},
		{"taken on one address", swap(`"fd00::2"]}`, `"fd00::2"], publish: ["192.0.2.1:8080:81"]}`), "it is already that of port a"},
		{"another's address", swap(`"8080:80"`, `"192.0.2.9:8080:80"`), "the node has the addresses [192.0.2.1 2001:db8::1] outside"},
		{"of the other family", swap(`"8080:80"`, `"[2001:db8::1]:8080:80"`), "no address of the family of 2001:db8::1 by which network back leads in"},
		{"internal", swap("h: {network: hidden, ip: 10.0.2.2", `h: {network: hidden, ip: 10.0.2.2, publish: "81:81"`), "ports.h: port 81:81/tcp cannot be published: network hidden leads in for none of its addresses"},
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

// TestPublishChooses: a port that is not named is the first free one, of a range as well.
func TestPublishChooses(t *testing.T) {
	l := parse(t, strings.NewReplacer(`"fd00::2"]}`, `"fd00::2"], publish: ["80", "9000-9001:81"]}`, `"8080:80", "5353:53/udp"`, `"32769:1", "80", "80/udp", "9000-9001:82"`).Replace(wayOut))
	b, err := build(l, 0)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := l.published(b.nodes[0], &l.Nodes[0], l.inside(b.nodes[0]))
	var got []string
	for _, r := range rules {
		got = append(got, r.Outside.String()+">"+r.Inside.String())
	}
	want := "0.0.0.0:32768>10.0.0.2:80 [::]:32768>[fd00::2]:80 0.0.0.0:9000>10.0.0.2:81 [::]:9000>[fd00::2]:81 " +
		"0.0.0.0:32769>10.0.1.2:1 0.0.0.0:32770>10.0.1.2:80 0.0.0.0:32768>10.0.1.2:80 0.0.0.0:9001>10.0.1.2:82"
	if text := strings.Join(got, " "); err != nil || text != want {
		t.Errorf("%v\n%s, expected\n%s", err, text, want)
	}
}

// TestOutsideTrace: a trace shows the steps from both sides.
func TestOutsideTrace(t *testing.T) {
	for _, c := range []struct {
		name, port string
		data       []byte
		want       string
	}{
		{"out", "a", fromA.udp(sockA, server, 64, "q"), "translate: 10.0.0.2:1000>198.51.100.9:53 becomes 192.0.2.1:1000>198.51.100.9:53 by a new flow\n" +
			"route: next hop 192.0.2.254, through world\nwrite: world: written as it is"},
		{"hairpin", "a", fromA.udp(sockA, "192.0.2.1:5353", 64, "q"), "translate: 10.0.0.2:1000>192.0.2.1:5353 becomes 192.0.2.1:1000>10.0.1.2:53 by a new flow, and back in by a published port\n" +
			"route: 10.0.1.2 is on back, at 02:42:0a:00:01:02\nwrite: b: written as it is"},
		{"in", "world", in.udp(client, "192.0.2.1:5353", 64, "q"), "learn: 02:42:c0:00:02:fe is outside, where nothing is learned\nanswer: not for the switch to answer\n" +
			"translate: 198.51.100.9:4000>192.0.2.1:5353 becomes 198.51.100.9:4000>10.0.1.2:53 by a published port\nroute: 10.0.1.2 is on back, at 02:42:0a:00:01:02\nwrite: b: written as it is"},
		{"in, for nobody", "world", in.udp(client, "192.0.2.1:5354", 64, "q"), "translate: refused: no-flow\nroute: dropped: no-flow; world is told"},
		{"to another network", "a", fromA.udp(sockA, "10.0.2.2:5", 64, "q"), "route: dropped: stays-inside; a is told"},
		{"from an internal one", "h", link{frame.MAC{2, 0x42, 10, 0, 2, 2}, frame.MAC{2, 0x42, 10, 0, 2, 1}}.udp("10.0.2.2:5", server, 64, "q"), "forward: 02:42:0a:00:02:01: dropped: no-route"},
	} {
		got, err := Trace(parse(t, wayOut), c.port, c.data)
		if err != nil {
			t.Fatal(err)
		}
		var steps []string
		for _, s := range got.Steps {
			steps = append(steps, s.Name+": "+s.Result)
		}
		if text := strings.Join(steps, "\n"); !strings.Contains(text, c.want) {
			t.Errorf("%s:\n%s\nexpected\n%s", c.name, text, c.want)
		}
	}
}

// TestOutsideIsDeterministic: who asks many next hops at a time, and has many ports to
// choose, does the same with the same seed, and another with another.
func TestOutsideIsDeterministic(t *testing.T) {
	var a, b []at
	for i := range 40 {
		neighbour := fmt.Sprintf("192.0.2.%d:9", 10+i)
		a = append(a, at{int64(i), fromA.udp(sockA, neighbour, 64, "q")}, at{int64(i), fromA.udp(fmt.Sprintf("10.0.0.2:%d", 2000+i), server, 64, "q")})
		b = append(b, at{int64(i), fromB.udp(fmt.Sprintf("10.0.1.2:%d", 2000+i), server, 64, "q")})
	}
	b = append(b, at{10_000, fromB.udp("10.0.1.2:2000", server, 64, "q")})
	dir := t.TempDir()
	inputs := map[string]string{"a": write(t, dir, "a", pcapOf(t, a)), "b": write(t, dir, "b", pcapOf(t, b))}
	first := filepath.Join(dir, "1")
	r, err := Replay(parse(t, wayOut), inputs, first, Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	// Outside are 81 datagrams and three questions for each hop; each frame that was held is
	// answered.
	if got := brief(r); !strings.Contains(got, "a in 80 forwarded 40 consumed 0 out 40 kept 40\n") || !strings.Contains(got, "world in 0 forwarded 0 consumed 0 out 201") {
		t.Errorf("statistics\n%s", got)
	}
	if _, err := Replay(parse(t, wayOut), inputs, filepath.Join(dir, "2"), Options{Seed: 1, Expect: first}); err != nil {
		t.Error(err)
	}
	if _, err := Replay(parse(t, wayOut), inputs, filepath.Join(dir, "3"), Options{Seed: 2, Expect: first}); err == nil {
		t.Error("another seed chooses the same ports")
	}
}
