package vxlan

import (
	"net/netip"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

var (
	hostA  = nettest.Station("10.0.1.2")
	hostB  = nettest.Station("10.0.1.3")
	hostA6 = nettest.Station("fd00:1::2")
	hostB6 = nettest.Station("fd00:1::3")
)

// parsed returns a frame that has gone through the view step.
func parsed(t testing.TB, b *frame.Batch, data []byte) *frame.Frame {
	t.Helper()
	f := b.Append(data)
	if f == nil {
		t.Fatalf("batch of %d takes no frame of %d bytes", b.Len(), len(data))
	}
	if r := f.Parse(); r != frame.NotDropped {
		t.Fatalf("frame of %d bytes: %v", len(data), r)
	}
	return f
}

func hashOf(t testing.TB, data []byte) uint32 {
	return flowHash(parsed(t, frame.NewBatch(), data))
}

// Flows that differ in one port or one address spread evenly over the pool.
func TestHashSpreads(t *testing.T) {
	const n, sockets = 4000, 4
	for _, c := range []struct {
		name string
		data func(i int) []byte
	}{
		{"IPv4 source ports", func(i int) []byte { return nettest.UDP(hostA, hostB, uint16(32768+i), 53, nil) }},
		{"IPv6 source ports", func(i int) []byte { return nettest.UDP(hostA6, hostB6, uint16(32768+i), 53, nil) }},
		{"TCP source ports", func(i int) []byte {
			return nettest.TCP(hostA, hostB, nettest.Segment{SrcPort: uint16(32768 + i), DstPort: 80})
		}},
		{"IPv4 addresses", func(i int) []byte {
			to := nettest.Host{IP: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), MAC: hostB.MAC}
			return nettest.UDP(hostA, to, 1, 1, nil)
		}},
		{"MAC addresses", func(i int) []byte {
			return nettest.Ether(frame.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, hostA.MAC, 0x88b5, make([]byte, 46))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var count [sockets]int
			b := frame.NewBatch()
			for i := range n {
				b.Reset()
				count[uint64(flowHash(parsed(t, b, c.data(i))))*sockets>>32]++
			}
			for _, got := range count {
				if got < n/sockets*85/100 || got > n/sockets*115/100 {
					t.Fatalf("%v: not even", count)
				}
			}
		})
	}
}

// What a flow is, and what is none of its business.
func TestHashFlow(t *testing.T) {
	base := nettest.UDP(hostA, hostB, 1000, 2000, []byte("payload"))
	later := append([]byte{}, base...)
	later[14+6], later[14+7] = 0, 5 // a fragment behind the first
	first := append([]byte{}, base...)
	first[14+6] = 0x20 // more fragments
	for _, c := range []struct {
		name string
		a, b []byte
		same bool
	}{
		{"payload", base, nettest.UDP(hostA, hostB, 1000, 2000, []byte("another one")), true},
		{"VLAN tag", base, nettest.Tag(base, 7), true},
		{"destination port", base, nettest.UDP(hostA, hostB, 1000, 2001, nil), false},
		{"source address", base, nettest.UDP(nettest.Station("10.0.1.4"), hostB, 1000, 2000, nil), false},
		{"protocol", base, nettest.TCP(hostA, hostB, nettest.Segment{SrcPort: 1000, DstPort: 2000}), false},
		{"fragments stay together", first, later, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if same := hashOf(t, c.a) == hashOf(t, c.b); same != c.same {
				t.Errorf("same hash: %v, want %v", same, c.same)
			}
		})
	}
}

// A View that is not this frame's leads to no other memory.
func FuzzFlowHash(f *testing.F) {
	f.Add(nettest.UDP(hostA, hostB, 1, 2, nil), uint16(14), uint16(34), uint16(frame.EtherIPv4), uint8(17))
	f.Add([]byte{1, 2, 3}, uint16(22), uint16(65535), uint16(frame.EtherIPv6), uint8(6))
	b := frame.NewBatch()
	f.Fuzz(func(t *testing.T, data []byte, l3, l4, et uint16, proto uint8) {
		b.Reset()
		fr := b.Append(data)
		if fr == nil {
			return
		}
		fr.View = frame.View{L3: l3, L4: l4, EtherType: et, Proto: proto}
		// Another frame of the flow, elsewhere in memory.
		again := b.Append(data)
		again.View = fr.View
		if flowHash(fr) != flowHash(again) {
			t.Fatal("two frames of one flow have two hashes")
		}
	})
}
