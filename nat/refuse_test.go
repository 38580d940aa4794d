package nat

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

func TestRefused(t *testing.T) {
	const s4, s6 = "203.0.113.7:80", "[2001:db8:7::7]:80"
	ttl := func(b []byte, ttl byte) []byte { // the header checksum may be wrong: nobody gets to it
		b = append([]byte{}, b...)
		if b[14]>>4 == 4 {
			b[22] = ttl
		} else {
			b[21] = ttl
		}
		return b
	}
	options := func(opts ...byte) []byte { // an IPv4 header with options
		l4 := udp("172.18.0.2:1", s4, "x")[34:]
		h := append(nettest.IP(ip("172.18.0.2"), ip("203.0.113.7"), frame.ProtoUDP, nil), opts...)
		h[0] = byte(0x40 | len(h)/4)
		binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(l4)))
		frame.SetIPv4Checksum(h)
		return nettest.Ether(host(ip("203.0.113.7")).MAC, host(ip("172.18.0.2")).MAC, frame.EtherIPv4, append(h, l4...))
	}
	behind := func(header ...byte) []byte { // an IPv6 extension header before UDP
		l4 := udp("[fd00:18::2]:1", s6, "x")[54:]
		return nettest.Ether(host(ip("2001:db8:7::7")).MAC, host(ip("fd00:18::2")).MAC, frame.EtherIPv6,
			nettest.IP(ip("fd00:18::2"), ip("2001:db8:7::7"), header[0], append(header[1:], l4...)))
	}
	publishedTo := func(to string) []byte { // UDP from the published socket
		b := udp("[fd00:18::2]:53", s6, "x")
		a := ip(to).As16()
		copy(b[38:], a[:])
		return b
	}
	for _, c := range []struct {
		name string
		from Side
		b    []byte
		want frame.Reason
	}{
		{"not IP", Inside, nettest.Ether(frame.MAC{2}, frame.MAC{2}, 0x88cc, make([]byte, 46)), frame.NoPorts},
		{"SCTP", Inside, nettest.Ether(frame.MAC{2}, frame.MAC{2}, frame.EtherIPv4, nettest.IP(ip("172.18.0.2"), ip("203.0.113.7"), 132, make([]byte, 20))), frame.NoPorts},
		{"ICMPv6 in IPv4", Inside, nettest.Ether(frame.MAC{2}, frame.MAC{2}, frame.EtherIPv4, nettest.IP(ip("172.18.0.2"), ip("203.0.113.7"), 58, make([]byte, 20))), frame.NoPorts},
		{"timestamp request", Inside, icmpFrame(ip("172.18.0.2"), ip("203.0.113.7"), append([]byte{13}, make([]byte, 19)...)), frame.NoPorts},
		{"redirect", Outside, icmpFrame(ip("203.0.113.7"), ip("198.51.100.1"), append([]byte{5}, make([]byte, 35)...)), frame.NoPorts},
		{"short echo", Inside, icmpFrame(ip("172.18.0.2"), ip("203.0.113.7"), []byte{8, 0, 0, 0, 1}), frame.BadICMP},
		{"last hop", Inside, ttl(udp("172.18.0.2:1", s4, "x"), 1), frame.TTLExceeded},
		{"no hop", Inside, ttl(udp("172.18.0.2:1", s4, "x"), 0), frame.TTLExceeded},
		{"last hop, IPv6", Outside, ttl(udp(s6, "[2001:db8:51::1]:5353", "x"), 1), frame.TTLExceeded},
		{"land", Inside, udp("172.18.0.2:1", "172.18.0.2:1", "x"), frame.Land},
		{"land from outside", Outside, udp("198.51.100.1:5353", "198.51.100.1:5353", "x"), frame.Land},
		{"a stranger inside", Inside, udp("192.0.2.1:1", s4, "x"), frame.Martian},
		{"an outside address inside", Inside, udp("198.51.100.1:1", s4, "x"), frame.Martian},
		{"to loopback", Inside, udp("172.18.0.2:1", "127.0.0.1:1", "x"), frame.Martian},
		{"to multicast", Inside, udp("172.18.0.2:1", "224.0.0.9:1", "x"), frame.Martian},
		{"to broadcast", Inside, udp("172.18.0.2:1", "255.255.255.255:1", "x"), frame.Martian},
		{"to link-local", Inside, udp("172.18.0.2:1", "169.254.169.254:1", "x"), frame.Martian},
		{"to link-local, IPv6", Inside, udp("[fd00:18::2]:1", "[fe80::1]:1", "x"), frame.Martian},
		{"to multicast, IPv6", Inside, udp("[fd00:18::2]:1", "[ff0e::1]:1", "x"), frame.Martian},
		{"to an IPv4-mapped address", Inside, publishedTo("::ffff:198.51.100.1"), frame.Martian},
		{"an inside address outside", Outside, udp("172.18.0.3:1", "198.51.100.1:5353", "x"), frame.Martian},
		{"loopback outside", Outside, udp("127.0.0.1:1", "198.51.100.1:5353", "x"), frame.Martian},
		{"own address outside", Outside, udp("198.51.100.1:1", "198.51.100.1:5353", "x"), frame.Land},
		{"to another's address", Outside, tcp(s4, "198.51.100.2:8080", syn, 1, 0), frame.NoFlow},
		{"to an inside address", Outside, tcp(s4, "172.18.0.2:80", syn, 1, 0), frame.NoFlow},
		{"to a network of weft's", Inside, udp("172.18.0.2:1", "172.18.9.9:1", "x"), frame.StaysInside},
		{"from port 0", Inside, udp("172.18.0.2:0", s4, "x"), frame.PortZero},
		{"to port 0", Inside, tcp("172.18.0.2:1", "203.0.113.7:0", syn, 1, 0), frame.PortZero},
		{"loose source route", Inside, options(131, 7, 4, 1, 2, 3, 4, 0), frame.SourceRouted},
		{"strict source route behind others", Inside, options(1, 7, 3, 4, 137, 7, 4, 1, 2, 3, 4, 0), frame.SourceRouted},
		{"option without length", Inside, options(1, 1, 1, 7), frame.SourceRouted},
		{"option of length 0", Inside, options(7, 0, 0, 0), frame.SourceRouted},
		{"routing header", Inside, behind(43, 17, 0, 0, 1, 0, 0, 0, 0), frame.SourceRouted},
		{"routing header behind a fragment's", Inside, behind(44, 43, 0, 0, 1, 0, 0, 0, 9, 17, 0, 0, 1, 0, 0, 0, 0), frame.SourceRouted},
		{"routing header behind another", Inside, behind(0, 43, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 0), frame.SourceRouted},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := testTable(t, Config{})
			drop(t, tab, c.from, c.b, 1, c.want)
			if tab.Stats().Flows != 0 {
				t.Fatal("made a flow")
			}
		})
	}
	for _, b := range [][]byte{options(1, 1, 1, 0), options(148, 4, 0, 0), behind(0, 17, 0, 1, 4, 0, 0, 0, 0)} {
		pass(t, testTable(t, Config{}), Inside, b, 1)
	}
}

// TestNoWayOut: a family without an outside address has none.
func TestNoWayOut(t *testing.T) {
	tab := testTable(t, Config{})
	r := testRules()
	r.Outside = r.Outside[:1]
	tab.SetRules(r)
	pass(t, tab, Inside, udp("172.18.0.2:1", "203.0.113.7:80", "x"), 1)
	drop(t, tab, Inside, udp("[fd00:18::2]:1", "[2001:db8:7::7]:80", "x"), 1, frame.NoRoute)
	drop(t, tab, Outside, udp("[2001:db8:7::7]:80", "[2001:db8:51::1]:5353", "x"), 1, frame.NoFlow)
	// From a socket that is published at any address of that family, to the other's.
	b := udp("[fd00:18::2]:53", "[2001:db8:7::7]:80", "x")
	mapped := ip("::ffff:198.51.100.1").As16()
	copy(b[38:], mapped[:])
	drop(t, tab, Inside, b, 1, frame.Martian)
}

// TestRulesChange: flows end whose rule has gone, the others stay.
func TestRulesChange(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Rules)
		gone   string // the endpoints' ports whose flows end
	}{
		{"same", func(*Rules) {}, ""},
		{"more ports published", func(r *Rules) {
			r.Published = append(r.Published, Published{frame.ProtoTCP, ap("0.0.0.0:99"), ap("172.18.0.2:99")})
		}, ""},
		{"outside address gone", func(r *Rules) { r.Outside = r.Outside[1:] }, "masquerade published static hairpin back"},
		{"publication gone", func(r *Rules) { r.Published = nil }, "published static back"},
		{"published for another", func(r *Rules) { r.Published[0].Inside = ap("172.18.0.9:80") }, "published back"},
		{"inside network gone", func(r *Rules) { r.Inside = r.Inside[1:] }, "masquerade static hairpin"},
		{"server is inside now", func(r *Rules) { r.Inside = append(r.Inside, netip.MustParsePrefix("203.0.113.0/24")) }, "masquerade static"},
		{"server's address is ours now", func(r *Rules) { r.Outside = append(r.Outside, ip("203.0.113.7")) }, "masquerade static published"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := testTable(t, Config{})
			pass(t, tab, Inside, udp("172.18.0.3:1000", "203.0.113.7:9", "x"), 1)
			pass(t, tab, Inside, udp("172.18.0.2:53", "203.0.113.7:9", "x"), 1)
			pass(t, tab, Outside, tcp("203.0.113.7:1002", "198.51.100.1:8080", syn, 1, 0), 1)
			pass(t, tab, Inside, tcp("172.18.0.3:1003", "198.51.100.1:8080", syn, 1, 0), 1)
			r := testRules()
			c.change(r)
			tab.SetRules(r)
			left := map[string]bool{}
			tab.Flows(func(f Flow) bool {
				name := map[uint16]string{1000: "masquerade", 53: "static", 1002: "published", 1003: "hairpin"}[f.Source.Port()]
				if name == "hairpin" && f.Published {
					name = "back"
				}
				left[name] = true
				return true
			})
			gone := ""
			for _, name := range []string{"masquerade", "static", "published", "hairpin", "back"} {
				if !left[name] {
					gone += name + " "
				}
			}
			if !sameWords(gone, c.gone) {
				t.Fatalf("gone: %q, want %q", gone, c.gone)
			}
			checkTable(t, tab)
		})
	}
}
