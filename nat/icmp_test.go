package nat

import (
	"encoding/binary"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// errorAbout builds an ICMP error that quotes n bytes of the packet in a frame, all of it
// when n is 0.
func errorAbout(from, to string, typ byte, quoted []byte, n int) []byte {
	quoted = quoted[14:]
	if n == 0 || n > len(quoted) {
		n = len(quoted)
	}
	m := append([]byte{typ, 0, 0, 0, 0, 0, 5, 0x78}, quoted[:n]...)
	return icmpFrame(ip(bare(from)), ip(bare(to)), m)
}

// quotedFrame returns the packet an error quotes, as a frame. A quote that was cut is
// filled up with zeroes.
func quotedFrame(t testing.TB, f *frame.Frame) *frame.Frame {
	t.Helper()
	b := f.Bytes()
	q := append(append([]byte{}, b[:14]...), b[int(f.View.L4)+8:]...)
	want := 14 + 40 + int(binary.BigEndian.Uint16(q[18:]))
	if q[14]>>4 == 4 {
		want = 14 + int(binary.BigEndian.Uint16(q[16:]))
	}
	if cut := len(q); cut < want {
		q = append(q, make([]byte, want-cut)...)
		if at := want - 20 + 12; cut <= at { // TCP without options: its length
			q[at] = 5 << 4
		}
	}
	return wrap(t, q[:want])
}

// TestErrors: errors go with the flow of the packet they are about, in both directions,
// and what they quote is the packet as it was on the other side (RFC 5508, REQ-4 and 5).
func TestErrors(t *testing.T) {
	for _, c := range families {
		unreachable, router, inner := byte(3), "192.0.2.254", "172.18.0.9"
		if c.name == "IPv6" {
			unreachable, router, inner = 1, "2001:db8:ff::1", "fd00:18::9"
		}
		for _, p := range []struct {
			name      string
			out, back []byte // the packet that made the flow, and its answer
		}{
			{"UDP", udp(c.a+":5000", c.server+":9", "some payload"), udp(c.server+":9", c.out+":5000", "another payload")},
			{"TCP", tcp(c.a+":5000", c.server+":9", syn, 1, 0), tcp(c.server+":9", c.out+":5000", syn|ack, 1, 2)},
			{"echo", echo(bare(c.a), bare(c.server), 50, false), echo(bare(c.server), bare(c.out), 50, true)},
		} {
			for _, quote := range []int{0, 28, 48} { // whole, 8 bytes of transport of either family
				if c.name == "IPv6" && quote == 28 || c.name == "IPv4" && quote == 48 && p.name != "TCP" {
					continue
				}
				t.Run(c.name+" "+p.name, func(t *testing.T) {
					tab := testTable(t, Config{})
					// Somebody has the port: the translation is not the identity.
					pass(t, tab, Inside, udp(c.b+":5000", c.server+":9", "x"), 1)
					pass(t, tab, Inside, tcp(c.b+":5000", c.server+":9", syn, 1, 0), 1)
					pass(t, tab, Inside, echo(bare(c.b), bare(c.server), 50, false), 1)
					sent, _ := pass(t, tab, Inside, p.out, 1)
					outside, _ := ends(sent)
					wasFrom, wasTo := ends(wrap(t, p.out))

					f, side := pass(t, tab, Outside, errorAbout(router, c.out, unreachable, sent.Bytes(), quote), 2)
					from, to := ends(f)
					if side != Inside || from.Addr() != ip(router) || to.Addr() != ip(bare(c.a)) {
						t.Fatalf("%v > %v", from, to)
					}
					q := quotedFrame(t, f)
					if a, b := ends(q); a != wasFrom || b != wasTo {
						t.Fatalf("quotes %v > %v, want %v > %v", a, b, wasFrom, wasTo)
					}
					if quote == 0 {
						checkSums(t, q)
					}

					answer := append([]byte{}, p.back...)
					if p.name == "echo" {
						answer = echo(bare(c.server), bare(c.out), outside.Port(), true)
					} else {
						binary.BigEndian.PutUint16(answer[wrap(t, answer).View.L4+2:], outside.Port())
					}
					got := wrap(t, answer)
					if _, r := tab.Inbound(got, 2); r != frame.NotDropped {
						t.Fatal(r)
					}
					for _, who := range []string{bare(c.a), inner} {
						f, side = pass(t, tab, Inside, errorAbout(who, c.server, unreachable, got.Bytes(), quote), 3)
						from, to = ends(f)
						// Whoever it is from inside, it is the outside address that is seen.
						if side != Outside || from.Addr() != outside.Addr() || to.Addr() != ip(bare(c.server)) {
							t.Fatalf("%v > %v", from, to)
						}
						a, b := ends(quotedFrame(t, f))
						wantFrom, wantTo := ends(wrap(t, answer))
						if a != wantFrom || b != wantTo {
							t.Fatalf("quotes %v > %v, want %v > %v", a, b, wantFrom, wantTo)
						}
					}
				})
			}
		}
	}
}

// TestHairpinErrors: an error about a packet between two endpoints finds its sender.
func TestHairpinErrors(t *testing.T) {
	for _, c := range families {
		t.Run(c.name, func(t *testing.T) {
			tab := testTable(t, Config{})
			unreachable := byte(3)
			if c.name == "IPv6" {
				unreachable = 1
			}
			sent := udp(c.b+":4000", c.out+":5353", "query")
			got, _ := pass(t, tab, Inside, sent, 1)
			f, side := pass(t, tab, Inside, errorAbout(c.a, c.out, unreachable, got.Bytes(), 0), 2)
			from, to := ends(f)
			if side != Inside || from.Addr() != ip(bare(c.out)) || to.Addr() != ip(bare(c.b)) {
				t.Fatalf("%v to %v > %v", side, from, to)
			}
			q := quotedFrame(t, f)
			expectEnds(t, q, c.b+":4000", c.out+":5353")
			checkSums(t, q)
			if ttl := f.Bytes()[f.View.L3+8]; c.name == "IPv4" && ttl != 63 {
				t.Fatalf("TTL %d", ttl)
			}
		})
	}
}

func TestErrorsRefused(t *testing.T) {
	sent := udp("198.51.100.1:5000", "203.0.113.7:9", "some payload") // as it was outside
	change := func(b []byte, at int, v byte) []byte {
		b = append([]byte{}, b...)
		b[at] = v
		return b
	}
	// of changes a byte of the ICMP message and mends its checksum.
	of := func(at int, v byte) []byte {
		b := errorAbout("192.0.2.254", "198.51.100.1", 3, sent, 0)
		return icmpFrame(ip("192.0.2.254"), ip("198.51.100.1"), change(b[34:], at, v))
	}
	good := errorAbout("192.0.2.254", "198.51.100.1", 3, sent, 0)
	for _, c := range []struct {
		name string
		b    []byte
		want frame.Reason
	}{
		{"good", good, frame.NotDropped},
		{"wrong checksum, RFC 5508 REQ-3", change(good, len(good)-1, 'X'), frame.BadICMP},
		{"wrong quoted checksum, RFC 5508 REQ-3 a", of(8+8, 63), frame.BadICMP},
		{"quote too short", errorAbout("192.0.2.254", "198.51.100.1", 3, sent, 27), frame.BadICMP},
		{"quote of half a header", errorAbout("192.0.2.254", "198.51.100.1", 3, sent, 19), frame.BadICMP},
		{"quotes IPv6", of(8, 0x65), frame.BadICMP},
		{"quoted header longer than the quote", of(8, 0x4f), frame.BadICMP},
		{"another flow", errorAbout("192.0.2.254", "198.51.100.1", 3, udp("198.51.100.1:5001", "203.0.113.7:9", "x"), 0), frame.StrayICMP},
		{"another destination", errorAbout("192.0.2.254", "198.51.100.1", 3, udp("198.51.100.1:5000", "203.0.113.8:9", "x"), 0), frame.StrayICMP},
		{"not to who sent", errorAbout("192.0.2.254", "198.51.100.2", 3, sent, 0), frame.StrayICMP},
		{"quotes the other direction", errorAbout("192.0.2.254", "198.51.100.1", 3, udp("203.0.113.7:9", "198.51.100.1:5000", "x"), 0), frame.StrayICMP},
		{"source quench, RFC 6633", errorAbout("192.0.2.254", "198.51.100.1", 4, sent, 0), frame.NoPorts},
		{"about an error", errorAbout("192.0.2.254", "198.51.100.1", 3, errorAbout("198.51.100.1", "203.0.113.7", 3, sent, 0), 0), frame.BadICMP},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := testTable(t, Config{})
			pass(t, tab, Inside, udp("172.18.0.2:5000", "203.0.113.7:9", "some payload"), 1)
			if c.want == frame.NotDropped {
				pass(t, tab, Outside, c.b, 5)
			} else {
				drop(t, tab, Outside, c.b, 5, c.want)
			}
			tab.Flows(func(f Flow) bool {
				if f.Seen != 1 { // RFC 5508, REQ-6
					t.Error("refreshed by an error")
				}
				return true
			})
			if s := tab.Stats(); s.Flows != 1 {
				t.Fatalf("%+v", s)
			}
		})
	}
}

// TestQuotedExtensions: the quoted IPv6 packet may have extension headers.
func TestQuotedExtensions(t *testing.T) {
	tab := testTable(t, Config{})
	l4 := udp("[fd00:18::2]:5000", "[2001:db8:7::7]:9", "x")[54:]
	b := nettest.Ether(frame.MAC{2}, frame.MAC{2}, frame.EtherIPv6,
		nettest.IP(ip("fd00:18::2"), ip("2001:db8:7::7"), 60, append([]byte{17, 0, 1, 4, 0, 0, 0, 0}, l4...)))
	sent, _ := pass(t, tab, Inside, b, 1)
	f, _ := pass(t, tab, Outside, errorAbout("2001:db8:ff::1", "2001:db8:51::1", 2, sent.Bytes(), 0), 1)
	expectEnds(t, quotedFrame(t, f), "[fd00:18::2]:5000", "[2001:db8:7::7]:9")
}
