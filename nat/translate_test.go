package nat

import (
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// families are the endpoints of each test that both have.
var families = []struct{ name, a, b, out, server, other string }{
	{"IPv4", "172.18.0.2", "172.18.0.3", "198.51.100.1", "203.0.113.7", "203.0.113.8"},
	{"IPv6", "[fd00:18::2]", "[fd00:18::3]", "[2001:db8:51::1]", "[2001:db8:7::7]", "[2001:db8:7::8]"},
}

func bare(s string) string {
	if s[0] == '[' {
		return s[1 : len(s)-1]
	}
	return s
}

func TestMasquerade(t *testing.T) {
	for _, c := range families {
		t.Run(c.name, func(t *testing.T) {
			tab := testTable(t, Config{})
			f, side := pass(t, tab, Inside, udp(c.a+":5000", c.server+":53", "query"), 10)
			expectEnds(t, f, c.out+":5000", c.server+":53") // the port is preserved
			if side != Outside {
				t.Fatal("not to the outside")
			}
			f, side = pass(t, tab, Outside, udp(c.server+":53", c.out+":5000", "answer"), 11)
			expectEnds(t, f, c.server+":53", c.a+":5000")
			if side != Inside {
				t.Fatal("not to the inside")
			}
			// RFC 4787, REQ-1: the same mapping for another destination.
			f, _ = pass(t, tab, Inside, udp(c.a+":5000", c.other+":99", "query"), 10)
			expectEnds(t, f, c.out+":5000", c.other+":99")
			// Another endpoint's same port becomes another one, above 1023.
			f, _ = pass(t, tab, Inside, udp(c.b+":5000", c.server+":53", "query"), 10)
			from, _ := ends(f)
			if from.Port() == 5000 || from.Port() < 1024 {
				t.Fatalf("port %d", from.Port())
			}
			f, _ = pass(t, tab, Outside, udp(c.server+":53", from.String(), "answer"), 11)
			expectEnds(t, f, c.server+":53", c.b+":5000")
			// Nobody else gets in, be it from another port of the same address.
			drop(t, tab, Outside, udp(c.server+":54", c.out+":5000", "x"), 11, frame.NoFlow)

			f, _ = pass(t, tab, Inside, echo(bare(c.a), bare(c.server), 77, false), 10)
			expectEnds(t, f, c.out+":77", c.server+":77")
			f, _ = pass(t, tab, Inside, echo(bare(c.b), bare(c.server), 77, false), 10)
			from, _ = ends(f)
			f, _ = pass(t, tab, Outside, echo(bare(c.server), bare(c.out), from.Port(), true), 10)
			expectEnds(t, f, c.server+":77", c.b+":77")
			drop(t, tab, Outside, echo(bare(c.other), bare(c.out), 77, true), 10, frame.NoFlow)
			drop(t, tab, Outside, echo(bare(c.server), bare(c.out), 77, false), 10, frame.NoFlow)
			drop(t, tab, Inside, echo(bare(c.a), bare(c.server), 78, true), 10, frame.NoFlow)
		})
	}
}

func TestPublished(t *testing.T) {
	for _, c := range families {
		t.Run(c.name, func(t *testing.T) {
			tab := testTable(t, Config{})
			f, side := pass(t, tab, Outside, tcp(c.server+":4000", c.out+":8080", nettest.SYN, 1, 0), 10)
			expectEnds(t, f, c.server+":4000", c.a+":80") // the client's own address
			if side != Inside {
				t.Fatal("not to the inside")
			}
			f, _ = pass(t, tab, Inside, tcp(c.a+":80", c.server+":4000", nettest.SYN|nettest.ACK, 1, 2), 10)
			expectEnds(t, f, c.out+":8080", c.server+":4000")
			// What a published socket sends first appears from its published port.
			f, _ = pass(t, tab, Inside, udp(c.a+":53", c.other+":9", "x"), 10)
			expectEnds(t, f, c.out+":5353", c.other+":9")
			f, _ = pass(t, tab, Outside, udp(c.other+":9", c.out+":5353", "x"), 10)
			expectEnds(t, f, c.other+":9", c.a+":53")
			// A published port is nobody's mapping.
			f, _ = pass(t, tab, Inside, tcp(c.b+":8080", c.server+":80", nettest.SYN, 1, 0), 10)
			if from, _ := ends(f); from.Port() == 8080 {
				t.Fatal("mapped to a published port")
			}
			drop(t, tab, Outside, tcp(c.server+":4000", c.out+":8081", nettest.SYN, 1, 0), 10, frame.NoFlow)
		})
	}
}

// TestWholeAddress: tuples that differ in one bit of an address or a port are not one
// flow's, whatever their hashes are.
func TestWholeAddress(t *testing.T) {
	for _, c := range families {
		orig := tuple{addrOf(ip(bare(c.a))), addrOf(ip(bare(c.server))), join(5000, 9)}
		xlat := tuple{addrOf(ip(bare(c.out))), orig.dst, join(6000, 9)}
		cl, bits := classInside, 32
		if c.name == "IPv6" {
			cl, bits = cl|classV6, 128
		}
		f := new(flow)
		f.fill(orig, xlat, uint64(cl), 0, 0)
		for d := range 2 {
			if tup := f.came(d); !f.is(d, &tup, cl) {
				t.Fatalf("way %d is not its own", d)
			}
			for bit := range 2*bits + 32 {
				tup := f.came(d)
				a := &tup.src
				if bit >= bits {
					a = &tup.dst
				}
				switch k := bit % bits; {
				case bit >= 2*bits:
					tup.ports ^= 1 << (bit - 2*bits)
				case k < 64:
					a.lo ^= 1 << k
				default:
					a.hi ^= 1 << (k - 64)
				}
				if f.is(d, &tup, cl) {
					t.Fatalf("%s: way %d is that of another in bit %d", c.name, d, bit)
				}
			}
		}
	}
}

// TestConflict: a port that is published while it is a mapping's has two owners. What
// they share is the first one's.
func TestConflict(t *testing.T) {
	tab := testTable(t, Config{})
	pass(t, tab, Inside, udp("172.18.0.3:7000", "203.0.113.7:9", "x"), 1)
	r := testRules()
	r.Published = append(r.Published, Published{frame.ProtoUDP, ap("0.0.0.0:7000"), ap("172.18.0.2:70")})
	tab.SetRules(r)
	f, _ := pass(t, tab, Outside, udp("203.0.113.7:9", "198.51.100.1:7000", "x"), 1)
	expectEnds(t, f, "203.0.113.7:9", "172.18.0.3:7000")
	f, _ = pass(t, tab, Outside, udp("203.0.113.8:9", "198.51.100.1:7000", "x"), 1)
	expectEnds(t, f, "203.0.113.8:9", "172.18.0.2:70")
	drop(t, tab, Inside, udp("172.18.0.3:7000", "203.0.113.8:9", "x"), 1, frame.TupleTaken)
	checkTable(t, tab)
}

func TestHairpin(t *testing.T) {
	for _, c := range families {
		t.Run(c.name, func(t *testing.T) {
			tab := testTable(t, Config{})
			// By a published port, with the outside address of who asks (RFC 4787, REQ-9).
			f, side := pass(t, tab, Inside, tcp(c.b+":4000", c.out+":8080", nettest.SYN, 1, 0), 10)
			expectEnds(t, f, c.out+":4000", c.a+":80")
			if side != Inside {
				t.Fatal("not to the inside")
			}
			f, side = pass(t, tab, Inside, tcp(c.a+":80", c.out+":4000", nettest.SYN|nettest.ACK, 1, 2), 10)
			expectEnds(t, f, c.out+":8080", c.b+":4000")
			if side != Inside {
				t.Fatal("not to the inside")
			}
			// To itself.
			f, _ = pass(t, tab, Inside, tcp(c.a+":4001", c.out+":8080", nettest.SYN, 1, 0), 10)
			expectEnds(t, f, c.out+":4001", c.a+":80")
			// By mappings: each has to have sent before it hears the other.
			drop(t, tab, Inside, udp(c.a+":7000", c.out+":7001", "x"), 10, frame.NoFlow)
			f, side = pass(t, tab, Inside, udp(c.b+":7001", c.out+":7000", "x"), 10)
			expectEnds(t, f, c.out+":7001", c.a+":7000")
			if side != Inside {
				t.Fatal("not to the inside")
			}
			f, _ = pass(t, tab, Inside, udp(c.a+":7000", c.out+":7001", "x"), 10)
			expectEnds(t, f, c.out+":7000", c.b+":7001")
			// The frame that finds nobody is as it was, for its answer.
			drop(t, tab, Inside, tcp(c.b+":4000", c.out+":8082", nettest.SYN, 1, 0), 10, frame.NoFlow)
		})
	}
}
