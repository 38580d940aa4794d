package ipsec

import (
	"testing"
)

// TestOverhead states the arithmetic that the MTU of an encrypted network stands
// on: VXLAN in ESP in UDP.
func TestOverhead(t *testing.T) {
	const udp, vxlan, ethernet = 8, 8, 14
	for _, c := range []struct {
		name                string
		underlay, ip        int
		encapsulation       Encapsulation
		inner, overhead, in int
	}{
		// 1500 - 20 - 8 - 16 - 16 = 1440, a multiple of 4; 1440 - 2 - 30 = 1408.
		{"IPv4, UDP", 1500, 20, InUDP, 1408, 42, 0},
		{"IPv6, UDP", 1500, 40, InUDP, 1388, 42, 0},
		{"IPv4", 1500, 20, InIP, 1416, 34, 0},
		{"IPv6", 1500, 40, InIP, 1396, 34, 0},
		{"one byte more is lost", 1501, 20, InUDP, 1408, 42, 1},
		{"three bytes more", 1503, 20, InUDP, 1408, 42, 3},
		{"four bytes more", 1504, 20, InUDP, 1412, 42, 0},
		{"jumbo", 9000, 20, InUDP, 8908, 42, 0},
	} {
		for _, a := range algorithms {
			t.Run(c.name+" "+a.String(), func(t *testing.T) {
				n := a.MaxPayload(c.encapsulation, c.underlay-c.ip)
				if inner := n - udp - vxlan - ethernet; inner != c.inner {
					t.Errorf("inner MTU %d, want %d", inner, c.inner)
				}
				if got := a.Overhead(c.encapsulation, n); got != c.overhead {
					t.Errorf("overhead %d, want %d", got, c.overhead)
				}
				if total := c.ip + c.encapsulation.Len() + a.PacketLen(n); total != c.underlay-c.in {
					t.Errorf("underlay packet of %d bytes, want %d", total, c.underlay-c.in)
				}
				if in := a.PacketLen(n + 1); c.ip+c.encapsulation.Len()+in <= c.underlay {
					t.Errorf("a payload of %d bytes fits as well", n+1)
				}
			})
		}
	}
}

func TestPacketLen(t *testing.T) {
	for n := range 100 {
		least := 8 + 8 + n + 2 + 16
		got := AES256GCM.PacketLen(n)
		if got < least || got > least+3 || got%4 != 0 {
			t.Errorf("%d bytes make %d, want a multiple of 4 from %d", n, got, least)
		}
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name, datagram string
		want           Kind
	}{
		{"keepalive", "ff", KindKeepalive},
		{"two bytes of it", "ffff", KindShort},
		{"nothing", "", KindShort},
		{"IKE", "00000000 29", KindMarked},
		{"the marker alone", "00000000", KindMarked},
		{"half a marker", "0000", KindShort},
		{"ESP", "00000100 00000001", KindESP},
		{"reserved SPI", "00000001 00000001", KindESP},
		{"cut in the sequence number", "00000100 000000", KindShort},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Classify(unhex(t, compact(c.datagram))); got != c.want {
				t.Fatalf("%v, want %v", got, c.want)
			}
		})
	}
}

func compact(s string) string {
	b := []byte{}
	for _, c := range []byte(s) {
		if c != ' ' {
			b = append(b, c)
		}
	}
	return string(b)
}

func TestAlgorithmNames(t *testing.T) {
	for _, a := range algorithms {
		if got, err := ParseAlgorithm(a.String()); got != a || err != nil {
			t.Errorf("%v parsed as %v, %v", a, got, err)
		}
	}
	if _, err := ParseAlgorithm(""); err == nil {
		t.Error("no name was taken for an algorithm")
	}
	if s := Algorithm(0).String() + Algorithm(99).String(); s != "algorithm 0algorithm 99" {
		t.Error(s)
	}
	if _, err := Algorithm(0).aead(make([]byte, 32), testAES); err == nil {
		t.Error("algorithm 0 works")
	}
}
