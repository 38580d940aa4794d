package lab

import (
	"net/netip"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// wayOut is a node with two networks that lead out and one that does not, and a router
// outside that everybody knows.
const wayOut = `networks:
  front: {subnet: [10.0.0.0/24, "fd00::/64"], ipv6: true}
  back: {subnet: 10.0.1.0/24}
  hidden: {subnet: 10.0.2.0/24, internal: true}
nodes:
  n1: {uplink-addr: [192.0.2.1/24, "2001:db8::1/64"], uplink-gateway: [192.0.2.254, "2001:db8::fe"]}
ports:
  a: {network: front, ip: [10.0.0.2, "fd00::2"]}
  b: {network: back, ip: 10.0.1.2, publish: ["8080:80", "5353:53/udp"]}
  h: {network: hidden, ip: 10.0.2.2}
  world: {outside: true, mtu: 1400, ip: [192.0.2.254, "2001:db8::fe"]}
`

var (
	macA, macB   = frame.MAC{2, 0x42, 10, 0, 0, 2}, frame.MAC{2, 0x42, 10, 0, 1, 2}
	uplinkMAC    = frame.MAC{2, 0x42, 192, 0, 2, 1}
	routerMAC    = frame.MAC{2, 0x42, 192, 0, 2, 254}
	fromA, fromB = link{macA, frame.MAC{2, 0x42, 10, 0, 0, 1}}, link{macB, frame.MAC{2, 0x42, 10, 0, 1, 1}}
	toA, toB     = fromA.back(), fromB.back()
	out          = link{uplinkMAC, routerMAC}
	in           = out.back()
)

// The sockets of the cases.
const (
	sockA, sockA6       = "10.0.0.2:1000", "[fd00::2]:1000"
	sockOut, sockOut6   = "192.0.2.1:1000", "[2001:db8::1]:1000"
	server, server6     = "198.51.100.9:53", "[2001:db8:7::9]:53"
	client, web         = "198.51.100.9:4000", "192.0.2.1:8080"
	ipServer, ipServer6 = "198.51.100.9", "2001:db8:7::9"
	elsewhere           = "203.0.113.1"
)

// mss is a SYN's maximum segment size.
func mss(n uint16) []layers.TCPOption {
	return []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{byte(n >> 8), byte(n)}}}
}

// outsideCases are those of the way out and in, with every frame that leaves.
func outsideCases() []statedCase {
	return append(append(translated(), errors4()...), crossing()...)
}

func translated() []statedCase {
	syn, synAck := layers.TCP{SYN: true, Seq: 1, Window: 64240, Options: mss(1460)}, layers.TCP{SYN: true, ACK: true, Seq: 7, Ack: 2, Window: 64240, Options: mss(1460)}
	synLess, synAckLess := syn, synAck
	synLess.Options, synAckLess.Options = mss(1360), mss(1360) // the outside takes 1,400
	data, fin := layers.TCP{ACK: true, PSH: true, Seq: 2, Ack: 8, Window: 502}, layers.TCP{ACK: true, FIN: true, Seq: 6, Ack: 8, Window: 502}
	answer, finAnswer := layers.TCP{ACK: true, PSH: true, Seq: 8, Ack: 6, Window: 502}, layers.TCP{ACK: true, FIN: true, Seq: 12, Ack: 7, Window: 502}
	last := layers.TCP{ACK: true, Seq: 7, Ack: 13, Window: 502}
	return []statedCase{
		{name: "nat-tcp", lab: wayOut, in: map[string][]at{
			"a": {{0, fromA.tcp(sockA, server, 64, syn, "")}, {20, fromA.tcp(sockA, server, 64, data, "weft")},
				{40, fromA.tcp(sockA, server, 64, fin, "")}, {60, fromA.tcp(sockA, server, 64, last, "")}},
			"world": {{10, in.tcp(server, sockOut, 57, synAck, "")}, {30, in.tcp(server, sockOut, 57, answer, "warp")},
				{50, in.tcp(server, sockOut, 57, finAnswer, "")}},
		}, out: map[string][]at{
			"world": {{0, out.tcp(sockOut, server, 63, synLess, "")}, {20, out.tcp(sockOut, server, 63, data, "weft")},
				{40, out.tcp(sockOut, server, 63, fin, "")}, {60, out.tcp(sockOut, server, 63, last, "")}},
			"a": {{10, toA.tcp(server, sockA, 56, synAckLess, "")}, {30, toA.tcp(server, sockA, 56, answer, "warp")},
				{50, toA.tcp(server, sockA, 56, finAnswer, "")}},
		}, want: `a in 4 forwarded 4 consumed 0 out 3
b in 0 forwarded 0 consumed 0 out 0
h in 0 forwarded 0 consumed 0 out 0
world in 3 forwarded 3 consumed 0 out 4`},

		{name: "nat-udp", lab: wayOut, in: map[string][]at{
			"a": {{0, fromA.udp(sockA, server, 64, "q")}, {2, fromA.udp(sockA, elsewhere+":53", 64, "q")}},
			"b": {{4, fromB.udp("10.0.1.2:1000", server, 64, "q")}}, // the port is a's already
			"world": {
				{1, in.udp(server, sockOut, 57, "answer")}, {3, in.udp(elsewhere+":53", sockOut, 57, "answer")},
				{5, in.udp(server, "192.0.2.1:"+chosen, 57, "answer")},
				{6, in.udp(elsewhere+":54", sockOut, 57, "nobody asked")},
				// An answer is waited for 300 s of the virtual clock.
				{299_000, in.udp(server, sockOut, 57, "late")}, {599_500, in.udp(server, sockOut, 57, "too late")},
			},
		}, out: map[string][]at{
			"world": {
				{0, out.udp(sockOut, server, 63, "q")}, {2, out.udp(sockOut, elsewhere+":53", 63, "q")}, {4, out.udp("192.0.2.1:"+chosen, server, 63, "q")},
				{6, own(out.complaint("192.0.2.1", elsewhere, 64, 3, 3, 0, in.udp(elsewhere+":54", sockOut, 57, "nobody asked")))},
				{599_500, own(out.complaint("192.0.2.1", ipServer, 64, 3, 3, 0, in.udp(server, sockOut, 57, "too late")))},
			},
			"a": {{1, toA.udp(server, sockA, 56, "answer")}, {3, toA.udp(elsewhere+":53", sockA, 56, "answer")}, {299_000, toA.udp(server, sockA, 56, "late")}},
			"b": {{5, toB.udp(server, "10.0.1.2:1000", 56, "answer")}},
		}, want: `a in 2 forwarded 2 consumed 0 out 3
b in 1 forwarded 1 consumed 0 out 1
h in 0 forwarded 0 consumed 0 out 0
world in 6 forwarded 4 consumed 0 out 5 no-flow=2`},

		{name: "nat-ping", lab: wayOut, in: map[string][]at{
			"a":     {{0, fromA.echo("10.0.0.2", ipServer, 64, false, 9)}, {2, fromA.echo("10.0.0.2", "192.0.2.1", 64, false, 9)}},
			"world": {{1, in.echo(ipServer, "192.0.2.1", 57, true, 9)}, {3, in.echo(ipServer, "192.0.2.1", 57, false, 5)}, {4, in.echo(ipServer, "192.0.2.1", 57, true, 10)}},
		}, out: map[string][]at{
			// The node's own address outside answers both sides.
			"a":     {{1, toA.echo(ipServer, "10.0.0.2", 56, true, 9)}, {2, toA.echo("192.0.2.1", "10.0.0.2", 64, true, 9)}},
			"world": {{0, out.echo("192.0.2.1", ipServer, 63, false, 9)}, {3, out.echo("192.0.2.1", ipServer, 64, true, 5)}},
		}, want: `a in 2 forwarded 1 consumed 1 out 2
b in 0 forwarded 0 consumed 0 out 0
h in 0 forwarded 0 consumed 0 out 0
world in 3 forwarded 1 consumed 1 out 2 no-flow=1`},

		{name: "nat-ipv6", lab: wayOut, in: map[string][]at{
			"a": {{0, fromA.tcp(sockA6, server6, 64, syn, "")}, {2, fromA.udp(sockA6, server6, 64, "q")}, {4, fromA.echo("fd00::2", ipServer6, 64, false, 9)},
				{6, fromA.udp(sockA6, server6, 64, strings.Repeat("x", 1400))}},
			"world": {{1, in.tcp(server6, sockOut6, 57, synAck, "")}, {3, in.udp(server6, sockOut6, 57, "answer")}, {5, in.echo(ipServer6, "2001:db8::1", 57, true, 9)},
				{7, in.complaint("2001:db8:8::1", "2001:db8::1", 60, 1, 4, 0, out.udp(sockOut6, server6, 60, "q"))}},
		}, out: map[string][]at{
			"world": {{0, out.tcp(sockOut6, server6, 63, with(syn, 1340), "")}, {2, out.udp(sockOut6, server6, 63, "q")}, {4, out.echo("2001:db8::1", ipServer6, 63, false, 9)}},
			"a": {{1, toA.tcp(server6, sockA6, 56, with(synAck, 1340), "")}, {3, toA.udp(server6, sockA6, 56, "answer")}, {5, toA.echo(ipServer6, "fd00::2", 56, true, 9)},
				{6, toA.complaint("fd00::1", "fd00::2", 64, 2, 0, 1400, fromA.udp(sockA6, server6, 64, strings.Repeat("x", 1400)))},
				{7, toA.complaint("2001:db8:8::1", "fd00::2", 59, 1, 4, 0, fromA.udp(sockA6, server6, 60, "q"))}},
		}, want: `a in 4 forwarded 3 consumed 0 out 5 too-big=1
b in 0 forwarded 0 consumed 0 out 0
h in 0 forwarded 0 consumed 0 out 0
world in 4 forwarded 4 consumed 0 out 3`},
	}
}

// chosen is the port outside that seed 0 gives b, whose own is taken: below 1024 as that is (RFC 4787, 4.2.2).
const chosen = "569"

func with(t layers.TCP, size uint16) layers.TCP {
	t.Options = mss(size)
	return t
}

// errors4 are the cases of ICMP and of fragments.
func errors4() []statedCase {
	query := func(k link, src string, ttl uint8) []byte { return k.udp(src, server, ttl, "query") }
	big := fromA.udp(sockA, server, 64, strings.Repeat("x", 1400))
	unasked := out.udp("192.0.2.1:999", server, 60, "q")
	long, longOut := fromA.udp(sockA, server, 64, strings.Repeat("x", 2000)), out.udp(sockOut, server, 63, strings.Repeat("x", 2000))
	reply, replyIn := in.udp(server, sockOut, 57, strings.Repeat("y", 2000)), toA.udp(server, sockA, 56, strings.Repeat("y", 2000))
	cut := func(b []byte) (f [2][]byte) { copy(f[:], nettest.Fragments(b, 1300)); return f }
	l, lo, r, ri := cut(long), cut(longOut), cut(reply), cut(replyIn)
	return []statedCase{
		{name: "nat-icmp-error", lab: wayOut, in: map[string][]at{
			"a": {{0, query(fromA, sockA, 64)}, {10, own(big)}, {11, big}}, // that may be fragmented: nobody is told
			"b": {{21, fromB.complaint("10.0.1.2", ipServer, 64, 3, 3, 0, toB.udp("198.51.100.9:4000", "10.0.1.2:53", 56, "q"))}},
			"world": {
				{1, in.complaint(ipServer, "192.0.2.1", 57, 3, 3, 0, query(out, sockOut, 50))},            // by the server itself
				{2, in.complaint(elsewhere, "192.0.2.1", 60, 3, 4, 1280, query(out, sockOut, 60))},        // by a router on the way
				{3, in.complaint(elsewhere, "192.0.2.1", 60, 11, 0, 0, query(out, sockOut, 1)[:14+20+8])}, // the least there must be
				{4, in.complaint(elsewhere, "192.0.2.1", 60, 3, 3, 0, unasked)},                           // about nothing that was sent
				{20, in.udp(client, "192.0.2.1:5353", 57, "q")},
			},
		}, out: map[string][]at{
			"a": {
				{1, toA.complaint(ipServer, "10.0.0.2", 56, 3, 3, 0, query(fromA, sockA, 50))},
				{2, toA.complaint(elsewhere, "10.0.0.2", 59, 3, 4, 1280, query(fromA, sockA, 60))},
				{3, toA.complaint(elsewhere, "10.0.0.2", 59, 11, 0, 0, query(fromA, sockA, 1)[:14+20+8])},
				{10, own(toA.complaint("10.0.0.1", "10.0.0.2", 64, 3, 4, 1400, own(big)))},
			},
			"b": {{20, toB.udp(client, "10.0.1.2:53", 56, "q")}},
			"world": {{0, query(out, sockOut, 63)},
				{21, out.complaint("192.0.2.1", ipServer, 63, 3, 3, 0, in.udp(client, "192.0.2.1:5353", 56, "q"))}},
		}, want: `a in 3 forwarded 1 consumed 0 out 4 too-big=2
b in 1 forwarded 1 consumed 0 out 1
h in 0 forwarded 0 consumed 0 out 0
world in 5 forwarded 4 consumed 0 out 2 stray-icmp-error=1`},

		{name: "nat-fragments", lab: wayOut, in: map[string][]at{
			"a":     {{0, l[0]}, {1, l[1]}},
			"world": {{2, r[1]}, {3, r[0]}, {4, r[1]}}, // the first one before its datagram's first: a stray
		}, out: map[string][]at{
			"world": {{0, lo[0]}, {1, lo[1]}},
			"a":     {{3, ri[0]}, {4, ri[1]}},
		}, want: `a in 2 forwarded 2 consumed 0 out 2
b in 0 forwarded 0 consumed 0 out 0
h in 0 forwarded 0 consumed 0 out 0
world in 3 forwarded 2 consumed 0 out 2 stray-fragment=1`},
	}
}

// crossing are the cases of published ports, of what is refused, and of next hops.
func crossing() []statedCase {
	syn, synAck := layers.TCP{SYN: true, Seq: 1, Window: 64240}, layers.TCP{SYN: true, ACK: true, Seq: 7, Ack: 2, Window: 64240}
	reset := layers.TCP{RST: true, ACK: true, Ack: 2}
	fromH := link{frame.MAC{2, 0x42, 10, 0, 2, 2}, frame.MAC{2, 0x42, 10, 0, 2, 1}}
	greFrom := func(k link, src string) []byte {
		return k.ip(src, ipServer, 64, layers.IPProtocolGRE, gopacket.Payload("no ports here"))
	}
	neighbour := nettest.Station("192.0.2.7")
	self, unanswered := nettest.Station("192.0.2.1"), netip.MustParseAddr("192.0.2.8")
	first := fromA.udp(sockA, "192.0.2.7:9", 64, "first")
	unheard := fromA.udp(sockA, "192.0.2.8:9", 64, "unheard")
	return []statedCase{
		{name: "nat-published", lab: wayOut, in: map[string][]at{
			"b": {{1, fromB.tcp("10.0.1.2:80", client, 64, synAck, "")}, {3, fromB.udp("10.0.1.2:53", client, 64, "answer")}},
			"world": {{0, in.tcp(client, web, 57, syn, "")}, {2, in.udp(client, "192.0.2.1:5353", 57, "q")},
				{4, in.tcp(client, "192.0.2.1:8081", 57, syn, "")}}, // a closed port
		}, out: map[string][]at{
			"b": {{0, toB.tcp(client, "10.0.1.2:80", 56, syn, "")}, {2, toB.udp(client, "10.0.1.2:53", 56, "q")}},
			"world": {{1, out.tcp(web, client, 63, synAck, "")}, {3, out.udp("192.0.2.1:5353", client, 63, "answer")},
				{4, own(out.tcp("192.0.2.1:8081", client, 64, reset, ""))}},
		}, want: `a in 0 forwarded 0 consumed 0 out 0
b in 2 forwarded 2 consumed 0 out 2
h in 0 forwarded 0 consumed 0 out 0
world in 3 forwarded 2 consumed 0 out 3 no-flow=1`},

		{name: "nat-hairpin", lab: wayOut, in: map[string][]at{
			"a": {{0, fromA.tcp(sockA, web, 64, syn, "")}},
			"b": {{1, fromB.tcp("10.0.1.2:80", sockOut, 64, synAck, "")}},
		}, out: map[string][]at{
			"b": {{0, toB.tcp(sockOut, "10.0.1.2:80", 63, syn, "")}},
			"a": {{1, toA.tcp(web, sockA, 63, synAck, "")}},
		}, want: `a in 1 forwarded 1 consumed 0 out 1
b in 1 forwarded 1 consumed 0 out 1
h in 0 forwarded 0 consumed 0 out 0
world in 0 forwarded 0 consumed 0 out 0`},

		{name: "nat-refused", lab: wayOut, in: map[string][]at{
			"a": {
				{0, fromA.udp(sockA, "10.0.1.2:53", 64, "q")},        // another network
				{1, fromA.udp(sockA, "10.0.2.2:53", 64, "q")},        // one that has no way out
				{2, fromA.udp(sockA, server, 1, "q")},                // its last hop
				{3, fromA.udp(sockA, "169.254.169.254:80", 64, "q")}, // link-local
				{4, fromA.udp(sockA, "240.0.0.1:80", 64, "q")},       // class E, about which nobody is told (RFC 1122, 3.2.2)
				{5, greFrom(fromA, "10.0.0.2")},                      // nothing to tell flows by
				{6, fromA.udp(sockA, "192.0.2.1:9", 64, "q")},        // a closed port of the node's
			},
			"h": {{10, fromH.udp("10.0.2.2:1000", server, 64, "q")}},
			"world": {
				{20, in.udp("10.0.0.2:5", "192.0.2.1:5353", 57, "q")},  // who is inside
				{21, in.udp("192.0.2.1:5", "192.0.2.1:5353", 57, "q")}, // the node itself
				{22, in.udp(client, "192.0.2.9:5353", 57, "q")},        // for another
				{23, in.udp(client, "10.0.1.2:53", 57, "q")},           // past the translation
			},
		}, out: map[string][]at{
			"a": {
				{0, own(toA.complaint("10.0.0.1", "10.0.0.2", 64, 3, 13, 0, fromA.udp(sockA, "10.0.1.2:53", 64, "q")))},
				{1, own(toA.complaint("10.0.0.1", "10.0.0.2", 64, 3, 13, 0, fromA.udp(sockA, "10.0.2.2:53", 64, "q")))},
				{2, own(toA.complaint("10.0.0.1", "10.0.0.2", 64, 11, 0, 0, fromA.udp(sockA, server, 1, "q")))},
				{3, own(toA.complaint("10.0.0.1", "10.0.0.2", 64, 3, 13, 0, fromA.udp(sockA, "169.254.169.254:80", 64, "q")))},
				{5, own(toA.complaint("10.0.0.1", "10.0.0.2", 64, 3, 2, 0, greFrom(fromA, "10.0.0.2")))},
				{6, own(toA.complaint("192.0.2.1", "10.0.0.2", 64, 3, 3, 0, fromA.udp(sockA, "192.0.2.1:9", 64, "q")))},
			},
		}, want: `a in 7 forwarded 0 consumed 0 out 6 martian=2 ttl-exceeded=1 no-ports=1 stays-inside=2 no-flow=1
b in 0 forwarded 0 consumed 0 out 0
h in 1 forwarded 0 consumed 0 out 0 no-route=1
world in 4 forwarded 0 consumed 0 out 0 spoofed-ip=2 no-route=2`},

		{name: "nat-next-hop", lab: strings.Replace(wayOut, `, ip: [192.0.2.254, "2001:db8::fe"]}`, "}", 1), in: map[string][]at{
			"a": {{0, first}, {1, fromA.udp(sockA, "192.0.2.7:9", 64, "second")}, {100, unheard}, {9000, fromA.udp(sockA, "192.0.2.7:9", 64, "later")}},
			"world": {{2, nettest.ARPReply(neighbour, self)}, {3, nettest.ARPRequest(neighbour, self.IP)},
				{4, nettest.ARPRequest(neighbour, hostX.IP)}},
		}, out: map[string][]at{
			"a": {{3000, own(toA.complaint("192.0.2.8", "10.0.0.2", 63, 3, 1, 0, fromA.udp(sockA, "192.0.2.8:9", 63, "unheard")))}},
			"world": {{0, nettest.ARPRequest(self, neighbour.IP)},
				{2, link{uplinkMAC, neighbour.MAC}.udp(sockOut, "192.0.2.7:9", 63, "second")}, // the last one that was held
				{3, nettest.ARPReply(self, neighbour)},
				// Asked three times, a second apart, then given up.
				{100, nettest.ARPRequest(self, unanswered)}, {1000, nettest.ARPRequest(self, unanswered)}, {2000, nettest.ARPRequest(self, unanswered)},
				{9000, link{uplinkMAC, neighbour.MAC}.udp(sockOut, "192.0.2.7:9", 63, "later")}},
		}, want: `a in 4 forwarded 1 consumed 0 out 1 kept 3
b in 0 forwarded 0 consumed 0 out 0
h in 0 forwarded 0 consumed 0 out 0
world in 3 forwarded 0 consumed 2 out 7 unknown-neighbour=1`},
	}
}
