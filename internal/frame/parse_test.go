package frame

import (
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	eth4  = "02420a000003 02420a000002 0800 "
	eth6  = "02420a000003 02420a000002 86dd "
	ip4   = "45 00 001c 0001 4000 40 11 26cf 0a000002 0a000003 " // 28 bytes: UDP, 8
	udp8  = "1000 1001 0008 0000"
	ip6   = "60000000 0008 11 40 fd000000000000000000000000000002 fd000000000000000000000000000003 "
	echo6 = "60000000 0008 3a 40 fd000000000000000000000000000002 fd000000000000000000000000000003 8000 0000 0007 0001"
	// options6 is an IPv6 header with destination options before UDP.
	options6 = "60000000 0010 3c 40 fd000000000000000000000000000002 fd000000000000000000000000000003 1100 010400000000"
	tcp20    = "1000 0050 00000001 00000000 50 02 ffff 0000 0000"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		hex  string
		off  Offload
		want Reason
		view View
	}{
		{"empty", "", Offload{}, Runt, View{}},
		{"one byte short", "02420a000003 02420a000002 08", Offload{}, Runt, View{}},
		{"header only, unknown type", "02420a000003 02420a000002 88cc", Offload{}, NotDropped, View{L3: 14, EtherType: 0x88cc}},
		{"group source", "02420a000003 01420a000002 88cc", Offload{}, BadSource, View{}},
		{"zero source", "02420a000003 000000000000 88cc", Offload{}, BadSource, View{}},
		{"udp", eth4 + ip4 + udp8, Offload{}, NotDropped, View{L3: 14, L4: 34, Payload: 42, EtherType: EtherIPv4, Proto: ProtoUDP}},
		{"udp padded to 60", eth4 + ip4 + udp8 + strings.Repeat("00", 18), Offload{}, NotDropped, View{L3: 14, L4: 34, Payload: 42, EtherType: EtherIPv4, Proto: ProtoUDP}},
		{"udp6", eth6 + ip6 + udp8, Offload{}, NotDropped, View{L3: 14, L4: 54, Payload: 62, EtherType: EtherIPv6, Proto: ProtoUDP}},
		{"vlan 5", "02420a000003 02420a000002 8100 6005 0800" + ip4 + udp8, Offload{}, NotDropped, View{L3: 18, L4: 38, Payload: 46, EtherType: EtherIPv4, VLAN: 5, Proto: ProtoUDP}},
		{"two tags", "02420a000003 02420a000002 88a8 0007 8100 0005 0800" + ip4 + udp8, Offload{}, NotDropped, View{L3: 22, L4: 42, Payload: 50, EtherType: EtherIPv4, VLAN: 7, Proto: ProtoUDP}},
		{"priority tag", "02420a000003 02420a000002 8100 6000 0800" + ip4 + udp8, Offload{}, NotDropped, View{L3: 18, L4: 38, Payload: 46, EtherType: EtherIPv4, Proto: ProtoUDP}},
		{"vlan 5 below a priority tag", "02420a000003 02420a000002 8100 6000 8100 0005 0800" + ip4 + udp8, Offload{}, NotDropped, View{L3: 22, L4: 42, Payload: 50, EtherType: EtherIPv4, VLAN: 5, Proto: ProtoUDP}},
		{"three tags", "02420a000003 02420a000002 8100 0007 8100 0005 8100 0005 0800" + ip4 + udp8, Offload{}, BadHeader, View{}},
		{"tag cut", "02420a000003 02420a000002 8100 00", Offload{}, BadHeader, View{}},
		{"ipv4 cut", eth4 + "45 00 001c", Offload{}, BadHeader, View{}},
		{"ipv4 total beyond frame", eth4 + "45 00 001d 0001 4000 40 11 26cf 0a000002 0a000003" + udp8, Offload{}, BadHeader, View{}},
		{"ipv4 header length 16", eth4 + "44 00 001c 0001 4000 40 11 26cf 0a000002 0a000003" + udp8, Offload{}, BadHeader, View{}},
		{"ipv4 version 6", eth4 + "65 00 001c 0001 4000 40 11 26cf 0a000002 0a000003" + udp8, Offload{}, BadHeader, View{}},
		{"later fragment", eth4 + "45 00 001c 0001 0002 40 11 26cf 0a000002 0a000003" + udp8, Offload{}, NotDropped, View{L3: 14, EtherType: EtherIPv4, Proto: ProtoUDP, Fragment: true, Later: true}},
		{"udp length beyond packet", eth4 + ip4 + "1000 1001 0009 0000", Offload{}, BadHeader, View{}},
		{"udp length below 8", eth4 + ip4 + "1000 1001 0007 0000", Offload{}, BadHeader, View{}},
		{"tcp data offset beyond packet", eth4 + "45 00 0028 0001 4000 40 06 26cf 0a000002 0a000003" + "1000 0050 00000001 00000000 60 02 ffff 0000 0000", Offload{}, BadHeader, View{}},
		{"ipv6 payload beyond frame", eth6 + "60000000 0009 11 40 fd000000000000000000000000000002 fd000000000000000000000000000003" + udp8, Offload{}, BadHeader, View{}},
		{"ipv6 destination options then udp", eth6 + options6 + udp8, Offload{}, NotDropped, View{L3: 14, L4: 62, Payload: 70, EtherType: EtherIPv6, Proto: ProtoUDP}},
		{"ipv6 options beyond packet", eth6 + "60000000 0008 3c 40 fd000000000000000000000000000002 fd000000000000000000000000000003 11ff 010400000000", Offload{}, BadHeader, View{}},
		{"ipv6 later fragment", eth6 + "60000000 0010 2c 40 fd000000000000000000000000000002 fd000000000000000000000000000003 1100 0009 00000001" + udp8, Offload{}, NotDropped, View{L3: 14, EtherType: EtherIPv6, Proto: ProtoUDP, Fragment: true, Later: true}},

		{"checksum start in the Ethernet header", eth4 + ip4 + udp8, Offload{Flags: NeedsCsum, CsumStart: 10, CsumOffset: 6}, BadOffload, View{}},
		{"checksum past the end", eth4 + ip4 + udp8, Offload{Flags: NeedsCsum, CsumStart: 34, CsumOffset: 7}, BadOffload, View{}},
		{"checksum of udp", eth4 + ip4 + udp8, Offload{Flags: NeedsCsum, CsumStart: 34, CsumOffset: 6}, NotDropped, View{L3: 14, L4: 34, Payload: 42, EtherType: EtherIPv4, Proto: ProtoUDP}},
		{"checksum over the IPv4 source", eth4 + ip4 + udp8, Offload{Flags: NeedsCsum, CsumStart: 14, CsumOffset: 12}, BadOffload, View{}},
		{"checksum over the IPv6 source", eth6 + ip6 + udp8, Offload{Flags: NeedsCsum, CsumStart: 14, CsumOffset: 8}, BadOffload, View{}},
		{"checksum over an extension header", eth6 + options6 + udp8, Offload{Flags: NeedsCsum, CsumStart: 54, CsumOffset: 0}, BadOffload, View{}},
		{"checksum over a UDP port", eth4 + ip4 + udp8, Offload{Flags: NeedsCsum, CsumStart: 34, CsumOffset: 0}, BadOffload, View{}},
		{"checksum over a UDP port from behind it", eth4 + "45 00 0020 0001 4000 40 11 26cb 0a000002 0a000003 1000 1001 000c 0000 00000000", Offload{Flags: NeedsCsum, CsumStart: 36, CsumOffset: 0}, BadOffload, View{}},
		{"checksum over an ICMPv6 type", eth6 + echo6, Offload{Flags: NeedsCsum, CsumStart: 54, CsumOffset: 0}, BadOffload, View{}},
		{"checksum inside an ICMPv6 message", eth6 + echo6, Offload{Flags: NeedsCsum, CsumStart: 58, CsumOffset: 0}, BadOffload, View{}},
		{"checksum of ICMPv6", eth6 + echo6, Offload{Flags: NeedsCsum, CsumStart: 54, CsumOffset: 2}, NotDropped, View{L3: 14, L4: 54, EtherType: EtherIPv6, Proto: ProtoICMPv6}},
		{"checksum over an ARP sender", "ffffffffffff 02420a000002 0806 0001 0800 06 04 0001 02420a000002 0a000002 000000000000 0a000003", Offload{Flags: NeedsCsum, CsumStart: 14, CsumOffset: 14}, BadOffload, View{}},
		{"checksum of a fragment", eth4 + "45 00 001c 0001 2000 40 11 26cf 0a000002 0a000003" + udp8, Offload{Flags: NeedsCsum, CsumStart: 34, CsumOffset: 6}, BadOffload, View{}},
		{"checksum inside a UDP tunnel", eth4 + "45 00 0020 0001 4000 40 11 26cb 0a000002 0a000003 1000 1001 000c 0000 00000000", Offload{Flags: NeedsCsum, CsumStart: 42, CsumOffset: 2}, NotDropped, View{L3: 14, L4: 34, Payload: 42, EtherType: EtherIPv4, Proto: ProtoUDP}},
		{"checksum inside a GRE tunnel", eth4 + "45 00 001c 0001 4000 40 2f 26b1 0a000002 0a000003" + udp8, Offload{Flags: NeedsCsum, CsumStart: 38, CsumOffset: 2}, NotDropped, View{L3: 14, EtherType: EtherIPv4, Proto: 47}},
		{"gso without checksum", eth4 + ip4 + udp8, Offload{GSO: GSOUDP, Size: 1400}, BadOffload, View{}},
		{"gso of size 0", eth4 + ip4 + udp8, Offload{Flags: NeedsCsum, GSO: GSOUDP, CsumStart: 34, CsumOffset: 6}, BadOffload, View{}},
		{"tcp gso on udp", eth4 + ip4 + udp8, Offload{Flags: NeedsCsum, GSO: GSOTCP4, Size: 9, CsumStart: 34, CsumOffset: 16}, BadOffload, View{}},
		{"tcp4 gso on ipv6", eth6 + "60000000 0014 06 40 fd000000000000000000000000000002 fd000000000000000000000000000003" + tcp20, Offload{Flags: NeedsCsum, GSO: GSOTCP4, Size: 9, CsumStart: 54, CsumOffset: 16}, BadOffload, View{}},
		{"tcp6 gso", eth6 + "60000000 0014 06 40 fd000000000000000000000000000002 fd000000000000000000000000000003" + tcp20, Offload{Flags: NeedsCsum, GSO: GSOTCP6 | GSOECN, Size: 9, CsumStart: 54, CsumOffset: 16}, NotDropped, View{L3: 14, L4: 54, Payload: 74, EtherType: EtherIPv6, Proto: ProtoTCP}},
		{"gso with bytes behind the packet", eth4 + ip4 + udp8 + "00", Offload{Flags: NeedsCsum, GSO: GSOUDP, Size: 9, CsumStart: 34, CsumOffset: 6}, BadOffload, View{}},
		{"udp gso", eth4 + ip4 + udp8, Offload{Flags: NeedsCsum, GSO: GSOUDP, Size: 9, CsumStart: 34, CsumOffset: 6}, NotDropped, View{L3: 14, L4: 34, Payload: 42, EtherType: EtherIPv4, Proto: ProtoUDP}},
		{"gso kind unknown", eth4 + ip4 + udp8, Offload{Flags: NeedsCsum, GSO: 7, Size: 9, CsumStart: 34, CsumOffset: 6}, BadOffload, View{}},
		{"fragmentation offload is never offered", eth4 + ip4 + udp8, Offload{Flags: NeedsCsum, GSO: GSOUFO, Size: 9, CsumStart: 34, CsumOffset: 6}, BadOffload, View{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := NewBatch()
			f := b.Append(unhex(t, tt.hex))
			f.Offload = tt.off
			if got := f.Parse(); got != tt.want {
				t.Fatalf("Parse = %v, want %v", got, tt.want)
			}
			got := f.View
			got.walked = 0 // not for others to see
			if tt.want == NotDropped && got != tt.view {
				t.Errorf("View = %+v, want %+v", got, tt.view)
			}
		})
	}
}

func TestBatchBounds(t *testing.T) {
	b := NewBatch()
	big := make([]byte, MaxFrame)
	n := 0
	for b.Append(big) != nil {
		n++
	}
	if n != 7 {
		t.Errorf("%d frames of %d bytes fit in %d, want 7", n, MaxFrame, ArenaSize)
	}
	b.Reset()
	for n = 0; b.Append(big[:60]) != nil; n++ {
	}
	if n != MaxBatch {
		t.Errorf("%d small frames fit, want %d", n, MaxBatch)
	}
	if b.Append(make([]byte, MaxFrame+1)) != nil {
		t.Error("a frame longer than MaxFrame was taken")
	}
	for i := 1; i < b.Len(); i++ {
		if len(b.At(i).Head(Headroom)) != Headroom+60 {
			t.Fatalf("frame %d has lost its headroom", i)
		}
	}
}

// Lent frames lie where they lay, share the batch with copied ones, and cannot
// grow into what lies behind them.
func TestLend(t *testing.T) {
	mem := []byte("--------frame-one--------frame-two")
	b := NewBatch()
	b.Append([]byte("copied"))
	one, two := b.Lend(mem, 8, 9), b.Lend(mem, 25, 9)
	if string(one.Bytes()) != "frame-one" || string(two.Bytes()) != "frame-two" || &one.Bytes()[0] != &mem[8] {
		t.Fatalf("lent %q and %q", one.Bytes(), two.Bytes())
	}
	if got := string(two.Head(10)); got != "ne--------frame-two" {
		t.Errorf("with ten bytes of headroom: %q", got)
	}
	if one.Grow(1) {
		t.Error("a lent frame grew into the next one")
	}
	if b.Len() != 3 || b.At(1) != one || b.At(2) != two {
		t.Errorf("batch of %d", b.Len())
	}
	for b.Len() < MaxBatch {
		b.Lend(mem, 0, len(mem))
	}
	if f := b.Lend(mem, 0, 1); f != nil {
		t.Errorf("frame %d was lent to a batch of %d", b.Len(), MaxBatch)
	}
	b.Reset()
	one = b.Lend(mem, 8, 9)
	one.Drop(Runt)
	b.Reset()
	if again := b.Lend(mem, 8, 9); again.Verdict != Pending || again.Reason != NotDropped {
		t.Errorf("metadata of the last batch: %+v", again)
	}
}

func TestReasonNames(t *testing.T) {
	seen := map[string]Reason{}
	for r := range Reason(Reasons) {
		name := r.String()
		if other, twice := seen[name]; name == "" || twice {
			t.Errorf("reason %d is called %q, as is %d", r, name, other)
		}
		seen[name] = r
	}
}

func FuzzParse(f *testing.F) {
	f.Add(unhex(f, eth4+ip4+udp8), uint8(1), uint8(5), uint16(100), uint16(34), uint16(6))
	f.Add(unhex(f, eth6+ip6+udp8), uint8(0), uint8(0), uint16(0), uint16(0), uint16(0))
	b := NewBatch()
	f.Fuzz(func(t *testing.T, data []byte, flags, gso uint8, size, start, offset uint16) {
		b.Reset()
		fr := b.Append(data)
		if fr == nil {
			return
		}
		fr.Offload = Offload{Flags: flags, GSO: GSO(gso), Size: size, CsumStart: start, CsumOffset: offset}
		if fr.Parse() != NotDropped {
			return
		}
		v, n := fr.View, len(data)
		if int(v.L3) > n || int(v.L4) > n || int(v.Payload) > n {
			t.Fatalf("offsets beyond %d bytes: %+v", n, v)
		}
		if v.L4 != 0 && (v.L4 < v.L3 || int(v.L4)+fr.L4Len() > n) {
			t.Fatalf("transport beyond %d bytes: %+v", n, v)
		}
		if flags&NeedsCsum != 0 && int(start)+int(offset)+2 > n {
			t.Fatalf("checksum field beyond the frame")
		}
	})
}
