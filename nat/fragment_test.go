package nat

import (
	"encoding/binary"
	"testing"

	"weft/internal/frame"
)

// fragmented cuts the packet in a frame into fragments of n bytes (RFC 791, 3.2; RFC
// 8200, 4.5).
func fragmented(b []byte, id uint32, n int) (all [][]byte) {
	if b[14]>>4 == 4 {
		for at := 0; at < len(b)-34; at += n {
			end := min(at+n, len(b)-34)
			f := append(append([]byte{}, b[:34]...), b[34+at:34+end]...)
			binary.BigEndian.PutUint16(f[16:], uint16(20+end-at))
			binary.BigEndian.PutUint16(f[18:], uint16(id))
			field := uint16(at / 8)
			if end < len(b)-34 {
				field |= 0x2000
			}
			binary.BigEndian.PutUint16(f[20:], field)
			frame.SetIPv4Checksum(f[14:])
			all = append(all, f)
		}
		return all
	}
	for at := 0; at < len(b)-54; at += n {
		end := min(at+n, len(b)-54)
		h := make([]byte, 8)
		h[0] = b[20]
		binary.BigEndian.PutUint16(h[2:], uint16(at))
		if end < len(b)-54 {
			h[3] |= 1
		}
		binary.BigEndian.PutUint32(h[4:], id)
		f := append(append(append([]byte{}, b[:54]...), h...), b[54+at:54+end]...)
		binary.BigEndian.PutUint16(f[18:], uint16(8+end-at))
		f[20] = 44
		all = append(all, f)
	}
	return all
}

// defragmented is the reverse.
func defragmented(t testing.TB, all []*frame.Frame) *frame.Frame {
	t.Helper()
	var b []byte
	for i, f := range all {
		fb := f.Bytes()
		head := 34
		if fb[14]>>4 == 6 {
			head = 62
		}
		if i == 0 {
			b = append(b, fb[:head]...)
			if head == 62 {
				b = append(b[:54], fb[62:]...)
				b[20] = fb[54]
				continue
			}
			b[20], b[21] = 0, 0
		}
		b = append(b, fb[head:]...)
	}
	if b[14]>>4 == 4 {
		binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14))
		frame.SetIPv4Checksum(b[14:])
	} else {
		binary.BigEndian.PutUint16(b[18:], uint16(len(b)-54))
	}
	return wrap(t, b)
}

func TestFragments(t *testing.T) {
	for _, c := range families {
		for _, order := range [][]int{{0, 1, 2, 3}, {0, 3, 2, 1}, {0, 2, 1, 3}} {
			t.Run(c.name, func(t *testing.T) {
				tab := testTable(t, Config{})
				pass(t, tab, Inside, udp(c.b+":5000", c.server+":9", "x"), 1) // has the port
				cross := func(b []byte, from Side) *frame.Frame {
					out := make([]*frame.Frame, 4)
					for _, i := range order {
						out[i], _ = pass(t, tab, from, fragmented(b, 7, 16)[i], 1)
					}
					whole := defragmented(t, out)
					checkSums(t, whole)
					return whole
				}
				f := cross(udp(c.a+":5000", c.server+":9", "a payload of more than thirty-two bytes, in fragments"), Inside)
				outside, _ := ends(f)
				f = cross(udp(c.server+":9", outside.String(), "an answer of more than thirty-two bytes, in fragments"), Outside)
				expectEnds(t, f, c.server+":9", c.a+":5000")
				// Hairpin: to the other endpoint's published port, itself from another.
				f = cross(udp(c.b+":5001", c.out+":5353", "a payload of more than thirty-two bytes, in fragments"), Inside)
				expectEnds(t, f, c.out+":5001", c.a+":53")
			})
		}
	}
}

func TestFragmentsRefused(t *testing.T) {
	for _, c := range families {
		whole := udp(c.a+":5000", c.server+":9", "a payload of more than sixty-four bytes, to be sent in many fragments of one size")
		pieces := func(n int) [][]byte { return fragmented(whole, 7, n) }
		begin := func(t *testing.T) *Table {
			tab := testTable(t, Config{})
			pass(t, tab, Inside, pieces(16)[0], 1)
			return tab
		}
		t.Run(c.name, func(t *testing.T) {
			drop(t, testTable(t, Config{}), Inside, pieces(16)[1], 1, frame.StrayFragment)
			drop(t, begin(t), Inside, fragmented(whole, 8, 16)[1], 1, frame.StrayFragment)
			drop(t, begin(t), Inside, pieces(16)[1], 1+fragmentLife, frame.StrayFragment)
			drop(t, begin(t), Outside, pieces(16)[1], 1, frame.StrayFragment)
			// The first again, and others that overlap it.
			drop(t, begin(t), Inside, pieces(16)[0], 1, frame.BadFragment)
			drop(t, begin(t), Inside, pieces(8)[1], 1, frame.BadFragment)
			tab := begin(t)
			pass(t, tab, Inside, pieces(16)[2], 1)
			drop(t, tab, Inside, pieces(16)[2], 1, frame.BadFragment)
			drop(t, tab, Inside, pieces(24)[1], 1, frame.BadFragment)
			drop(t, tab, Inside, pieces(32)[1], 1, frame.BadFragment)
			// Behind the end, and an end before what has come.
			tab = begin(t)
			last := pieces(16)
			pass(t, tab, Inside, last[len(last)-1], 1)
			drop(t, tab, Inside, last[len(last)-1], 1, frame.BadFragment)
			drop(t, tab, Inside, fragmented(append(whole, make([]byte, 64)...), 7, 16)[len(last)], 1, frame.BadFragment)
			tab = begin(t)
			pass(t, tab, Inside, pieces(16)[3], 1)
			head := 14 + 20
			if c.name == "IPv6" {
				head = 14 + 40
			}
			drop(t, tab, Inside, fragmented(whole[:head+24], 7, 16)[1], 1, frame.BadFragment)
			// A complete datagram is forgotten: its identification may come again.
			tab = testTable(t, Config{})
			for range 2 {
				for _, p := range pieces(32) {
					pass(t, tab, Inside, p, 1)
				}
			}
		})
	}
	tab := testTable(t, Config{})
	header := tcp("172.18.0.2:5000", "203.0.113.7:9", syn, 1, 0)
	drop(t, tab, Inside, fragmented(header, 7, 8)[0], 1, frame.BadFragment) // tiny (RFC 1858, 3)
	pass(t, tab, Inside, fragmented(append(header, make([]byte, 40)...), 7, 24)[0], 1)
	drop(t, tab, Inside, fragmented(header, 7, 8)[1], 1, frame.BadFragment) // into the header (RFC 1858, 4)
	odd := fragmented(udp("172.18.0.2:5000", "203.0.113.7:9", "0123456789"), 9, 16)[0]
	odd = odd[:len(odd)-1]
	binary.BigEndian.PutUint16(odd[16:], 20+15)
	frame.SetIPv4Checksum(odd[14:])
	drop(t, tab, Inside, odd, 1, frame.BadFragment) // not a multiple of 8
}

// TestFragmentFlood: who begins ever new datagrams displaces its own, the oldest first.
func TestFragmentFlood(t *testing.T) {
	tab := testTable(t, Config{})
	bystander := fragmented(udp("172.18.0.3:5000", "203.0.113.7:9", "a payload of several fragments"), 1, 16)
	if tab.keys.host(addrOf(ip("172.18.0.3")))%fragmentBuckets == tab.keys.host(addrOf(ip("172.18.0.2")))%fragmentBuckets {
		t.Fatal("choose another seed")
	}
	pass(t, tab, Inside, bystander[0], 1)
	flood := udp("172.18.0.2:5000", "203.0.113.7:9", "a payload of several fragments")
	for id := range uint32(1000) {
		pass(t, tab, Inside, fragmented(flood, id, 16)[0], 1+id/500)
	}
	pass(t, tab, Inside, bystander[1], 2)
	pass(t, tab, Inside, fragmented(flood, 999, 16)[1], 2)
	drop(t, tab, Inside, fragmented(flood, 1, 16)[1], 2, frame.StrayFragment)
}

// TestFragmentedHeaders: IPv6 headers before the fragment header.
func TestFragmentedHeaders(t *testing.T) {
	tab := testTable(t, Config{})
	whole := fragmented(udp("[fd00:18::2]:5000", "[2001:db8:7::7]:9", "a payload of several fragments"), 1, 16)
	for _, p := range whole {
		b := append([]byte{}, p[:54]...)
		b[20] = 0 // hop-by-hop options in front
		b = append(append(b, 44, 0, 1, 4, 0, 0, 0, 0), p[54:]...)
		binary.BigEndian.PutUint16(b[18:], uint16(len(b)-54))
		f, _ := pass(t, tab, Inside, b, 1)
		if from, _ := ends(f); from.Addr() != ip("2001:db8:51::1") {
			t.Fatalf("from %v", from)
		}
	}
}
