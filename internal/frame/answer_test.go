package frame

import (
	"encoding/binary"
	"testing"
)

// answered builds a parsed frame around an IP packet.
func answered(t *testing.T, etherType uint16, packet []byte) *Frame {
	t.Helper()
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, byte(etherType >> 8), byte(etherType)}
	b = append(b, packet...)
	f := new(Frame)
	f.Wrap(append(make([]byte, Headroom), b...), Headroom)
	if r := f.Parse(); r != NotDropped {
		t.Fatal(r)
	}
	return f
}

// ipv4 and ipv6 return packets from 10.0.0.2 or fd00::2 to 10.0.0.3 or fd00::3.
func ipv4(proto byte, l4 []byte) []byte {
	p := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, proto, 0, 0, 10, 0, 0, 2, 10, 0, 0, 3}
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(l4)))
	SetIPv4Checksum(p)
	return append(p, l4...)
}

func ipv6(proto byte, l4 []byte) []byte {
	p := make([]byte, 40)
	p[0], p[5], p[6], p[7] = 0x60, byte(len(l4)), proto, 64
	p[8], p[23], p[24], p[39] = 0xfd, 2, 0xfd, 3
	return append(p, l4...)
}

// tcpBytes returns a TCP header with a SYN's or another's flags, and n bytes of data.
func tcpBytes(flags byte, seq, ack uint32, n int) []byte {
	b := make([]byte, 20+n)
	b[1], b[3] = 1, 2
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ack)
	b[12], b[13] = 5<<4, flags
	return b
}

// TestPutReset: RFC 9293, 3.10.7.1, the state CLOSED.
func TestPutReset(t *testing.T) {
	for _, c := range []struct {
		name     string
		flags    byte
		n        int
		seq, ack uint32 // of the reset
		want     byte   // its flags; 0: none
	}{
		{"SYN", 0x02, 0, 0, 101, 0x14},
		{"SYN with data", 0x02, 7, 0, 108, 0x14},
		{"data", 0x00, 7, 0, 107, 0x14},
		{"FIN", 0x01, 0, 0, 101, 0x14},
		{"ACK", 0x10, 7, 500, 0, 0x04},
		{"SYN, ACK", 0x12, 0, 500, 0, 0x04},
		{"RST", 0x04, 0, 0, 0, 0},
		{"RST, ACK", 0x14, 0, 0, 0, 0},
	} {
		for _, v6 := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				et, p := uint16(EtherIPv4), ipv4(ProtoTCP, tcpBytes(c.flags, 100, 500, c.n))
				if v6 {
					et, p = EtherIPv6, ipv6(ProtoTCP, tcpBytes(c.flags, 100, 500, c.n))
				}
				m := make([]byte, 82)
				n := answered(t, et, p).PutReset(m)
				if n == 0 {
					if c.want != 0 {
						t.Fatal("no reset")
					}
					return
				}
				f := answered(t, et, m[EtherLen:n])
				l4 := f.Bytes()[f.View.L4:]
				if sum := Checksum(l4, f.PseudoSum(20)); sum != 0 || len(l4) != 20 {
					t.Fatalf("checksum off by %#x, %d bytes", sum, len(l4))
				}
				seq, ack := binary.BigEndian.Uint32(l4[4:]), binary.BigEndian.Uint32(l4[8:])
				if l4[1] != 2 || l4[3] != 1 || seq != c.seq || ack != c.ack || l4[13] != c.want {
					t.Fatalf("ports %d > %d, seq %d, ack %d, flags %#x", l4[1], l4[3], seq, ack, l4[13])
				}
			})
		}
	}
	if n := answered(t, EtherIPv4, ipv4(ProtoUDP, make([]byte, 8))).PutReset(make([]byte, 82)); n != 0 {
		t.Fatal("UDP reset")
	}
}

func TestPutError(t *testing.T) {
	for _, c := range []struct {
		name    string
		et      uint16
		packet  []byte
		from    []byte
		quoted  int
		head    int
		proto   uint8
		pseudoV bool
	}{
		{"IPv4", EtherIPv4, ipv4(ProtoUDP, make([]byte, 30)), []byte{10, 0, 0, 1}, 50, 20, ProtoICMP, false},
		{"IPv4, long", EtherIPv4, ipv4(ProtoUDP, make([]byte, 1400)), []byte{10, 0, 0, 1}, 576 - 28, 20, ProtoICMP, false},
		{"IPv6", EtherIPv6, ipv6(ProtoUDP, make([]byte, 30)), []byte{0: 0xfd, 15: 1}, 70, 40, ProtoICMPv6, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := answered(t, c.et, c.packet)
			m := make([]byte, 1302)
			n := f.PutError(m, ICMPError{3, 13, 0x01020304}, c.from)
			if n != EtherLen+c.head+8+c.quoted {
				t.Fatalf("%d bytes", n)
			}
			a := answered(t, c.et, m[EtherLen:n])
			icmp := m[EtherLen+c.head : n]
			pseudo := uint64(0)
			if c.pseudoV {
				pseudo = a.PseudoSum(len(icmp))
			}
			if Checksum(icmp, pseudo) != 0 || a.View.Proto != c.proto || icmp[0] != 3 || icmp[1] != 13 || binary.BigEndian.Uint32(icmp[4:]) != 0x01020304 {
				t.Fatalf("%x", icmp[:8])
			}
			if string(icmp[8:]) != string(c.packet[:c.quoted]) || MAC(m[:6]) != f.SrcMAC() || MAC(m[6:12]) != f.DstMAC() {
				t.Fatal("does not quote the packet, or is for another")
			}
		})
	}
}
