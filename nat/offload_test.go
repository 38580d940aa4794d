package nat

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// TestUnfinished: superframes and frames whose checksum is to be finished by another come
// out with the sum of the new pseudo-header, and their payload untouched.
func TestUnfinished(t *testing.T) {
	payload := bytes.Repeat([]byte("superframe "), 4000)
	for _, c := range families {
		from, to, back := ap(c.b+":5000"), ap(c.server+":9"), ap(c.out+":5000")
		for _, k := range []struct {
			name string
			make func(from, to nettest.Host, sport, dport uint16) ([]byte, frame.Offload)
		}{
			{"TCP superframe", func(a, b nettest.Host, sport, dport uint16) ([]byte, frame.Offload) {
				return nettest.TCPSuper(a, b, nettest.Segment{SrcPort: sport, DstPort: dport, Flags: ack, Payload: payload}, 1400)
			}},
			{"UDP superframe", func(a, b nettest.Host, sport, dport uint16) ([]byte, frame.Offload) {
				return nettest.UDPSuper(a, b, sport, dport, payload, 1400)
			}},
			{"unfinished TCP", func(a, b nettest.Host, sport, dport uint16) ([]byte, frame.Offload) {
				return nettest.NeedsCsum(nettest.TCP(a, b, nettest.Segment{SrcPort: sport, DstPort: dport, Flags: ack, Payload: payload[:100]}))
			}},
			{"unfinished UDP", func(a, b nettest.Host, sport, dport uint16) ([]byte, frame.Offload) {
				return nettest.NeedsCsum(nettest.UDP(a, b, sport, dport, payload[:101]))
			}},
		} {
			t.Run(c.name+" "+k.name, func(t *testing.T) {
				tab := testTable(t, Config{})
				pass(t, tab, Inside, udp(c.a+":5000", c.server+":9", "x"), 1) // has the port
				pass(t, tab, Inside, tcp(c.a+":5000", c.server+":9", syn, 1, 0), 1)
				cross := func(side Side, b []byte, o frame.Offload) *frame.Frame {
					f := wrap(t, b)
					if f.Offload = o; f.Parse() != frame.NotDropped {
						t.Fatal("bad test frame")
					}
					if _, r := cross(tab, side, f, 1); r != frame.NotDropped {
						t.Fatal(r)
					}
					if r := f.Parse(); r != frame.NotDropped || f.Offload != o {
						t.Fatalf("%v, %+v", r, f.Offload)
					}
					checkSums(t, f)
					at := f.View.Payload
					if !bytes.Equal(f.Bytes()[at:], b[at:]) {
						t.Fatal("payload changed")
					}
					return f
				}
				b, o := k.make(host(from.Addr()), host(to.Addr()), 5000, 9)
				f := cross(Inside, b, o)
				outside, _ := ends(f)
				if outside.Port() == 5000 {
					t.Fatal("not translated")
				}
				b, o = k.make(host(to.Addr()), host(back.Addr()), 9, outside.Port())
				expectEnds(t, cross(Outside, b, o), c.server+":9", c.b+":5000")
			})
		}
	}
}

// TestLies: a wrong checksum stays wrong by the same amount, and none stays none.
func TestLies(t *testing.T) {
	for _, c := range families {
		tab := testTable(t, Config{})
		for _, b := range [][]byte{
			udp(c.a+":5000", c.server+":9", "some payload"), tcp(c.a+":5000", c.server+":9", syn, 1, 0), echo(bare(c.a), bare(c.server), 9, false),
		} {
			b[len(b)-1] ^= 0x55
			f := wrap(t, b)
			if _, r := tab.Outbound(f, 1); r != frame.NotDropped {
				t.Fatal(r)
			}
			f.Bytes()[f.Len()-1] ^= 0x55
			checkSums(t, f)
		}
	}
	none := udp("172.18.0.2:5000", "203.0.113.7:9", "x")
	none[40], none[41] = 0, 0
	f, _ := pass(t, testTable(t, Config{}), Inside, none, 1)
	if f.Bytes()[40] != 0 || f.Bytes()[41] != 0 {
		t.Fatal("a checksum where there was none")
	}
}

// TestNeverZero: a UDP checksum that comes out as zero is sent as ffff (RFC 768). Among
// this many payloads one does.
func TestNeverZero(t *testing.T) {
	tab := testTable(t, Config{})
	zeroes := 0
	for i := range 1 << 16 {
		b := udp("172.18.0.2:5000", "203.0.113.7:9", string([]byte{byte(i >> 8), byte(i)}))
		f := wrap(t, b)
		if _, r := tab.Outbound(f, 1); r != frame.NotDropped {
			t.Fatal(r)
		}
		switch {
		case f.Bytes()[40] == 0 && f.Bytes()[41] == 0:
			t.Fatalf("payload %#04x: no checksum", i)
		case f.Bytes()[40] == 0xff && f.Bytes()[41] == 0xff:
			zeroes++
		}
	}
	if zeroes == 0 {
		t.Fatal("no sum was zero")
	}
}

// TestAnySum: whatever addresses, ports and payload are, the sums are right.
func TestAnySum(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	tab := testTable(t, Config{})
	for range 20000 {
		c := families[r.IntN(2)]
		a := ap(c.a + ":1")
		server := ap(c.server + ":1")
		raw := server.Addr().AsSlice()
		raw[len(raw)-1], raw[len(raw)-2] = byte(r.Uint32()), byte(r.Uint32())
		to := host(mustAddr(raw))
		payload := make([]byte, r.IntN(60))
		for i := range payload {
			payload[i] = []byte{0, 0xff, byte(r.Uint32())}[r.IntN(3)]
		}
		sport, dport := uint16(r.Uint32())|1, uint16(r.Uint32())|1
		if r.IntN(2) == 0 {
			pass(t, tab, Inside, nettest.UDP(host(a.Addr()), to, sport, dport, payload), 1)
		} else {
			pass(t, tab, Inside, nettest.TCP(host(a.Addr()), to, nettest.Segment{SrcPort: sport, DstPort: dport, Flags: syn, Payload: payload}), 1)
		}
	}
	checkTable(t, tab)
}

func mustAddr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}
