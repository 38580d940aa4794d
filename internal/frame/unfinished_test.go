package frame_test

import (
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

func TestUnfinished(t *testing.T) {
	a, b := nettest.Station("10.0.1.2"), nettest.Station("10.0.1.3")
	a6, b6 := nettest.Station("fd00::2"), nettest.Station("fd00::3")
	segment := func(n int, flags uint8) nettest.Segment {
		return nettest.Segment{SrcPort: 1, DstPort: 2, Flags: flags, Options: make([]byte, 12), Payload: make([]byte, n)}
	}
	udp, tcp, tcp6 := nettest.UDP(a, b, 1, 2, make([]byte, 100)), nettest.TCP(a, b, segment(100, nettest.ACK)), nettest.TCP(a6, b6, segment(100, nettest.ACK))
	open := func(f []byte) []byte { g, _ := nettest.NeedsCsum(f); return g }
	super, superOff := nettest.TCPSuper(a, b, segment(9000, nettest.ACK), 1398)
	super6, super6Off := nettest.TCPSuper(a6, b6, segment(9000, nettest.ACK), 1378)
	cwr, cwrOff := nettest.TCPSuper(a, b, segment(9000, nettest.ACK|nettest.CWR), 1398)
	cwrOff.GSO |= frame.GSOECN
	uso, usoOff := nettest.UDPSuper(a, b, 1, 2, make([]byte, 9000), 1000)
	usoOff.GSO, usoOff.Size, usoOff.HdrLen = 0, 0, 0
	sum := func(l4, at uint16) frame.Offload {
		return frame.Offload{Flags: frame.NeedsCsum, CsumStart: l4, CsumOffset: at}
	}
	noSum := append([]byte{}, udp...)
	noSum[14+20+6], noSum[14+20+7] = 0, 0
	wrong := append([]byte{}, tcp...)
	wrong[len(wrong)-1]++
	fragment := open(udp)
	fragment[14+6] = 0x20
	icmp := nettest.Ether(b.MAC, a.MAC, frame.EtherIPv4, nettest.IP(a.IP, b.IP, frame.ProtoICMP, make([]byte, 40)))
	for _, c := range []struct {
		name string
		data []byte
		want frame.Offload
	}{
		{"finished UDP", udp, frame.Offload{}},
		{"finished TCP", tcp, frame.Offload{}},
		{"finished TCP over IPv6", tcp6, frame.Offload{}},
		{"unfinished UDP", open(udp), sum(34, 6)},
		{"unfinished TCP", open(tcp), sum(34, 16)},
		{"unfinished TCP over IPv6", open(tcp6), sum(54, 16)},
		{"unfinished, VLAN", nettest.Tag(open(tcp), 5), sum(38, 16)},
		{"superframe", super, superOff},
		{"superframe over IPv6", super6, super6Off},
		{"superframe with CWR", cwr, cwrOff},
		{"UDP superframe, its size lost", uso, usoOff},
		{"without UDP checksum", noSum, frame.Offload{}},
		{"wrong checksum", wrong, frame.Offload{}},
		{"fragment", fragment, frame.Offload{}},
		{"ICMP", icmp, frame.Offload{}},
		{"ARP", nettest.Ether(b.MAC, a.MAC, frame.EtherARP, make([]byte, 46)), frame.Offload{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := frame.NewBatch().Append(c.data)
			if r := f.Parse(); r != frame.NotDropped {
				t.Fatal(r)
			}
			f.Unfinished(1450)
			if f.Offload != c.want {
				t.Fatalf("offload %+v, want %+v", f.Offload, c.want)
			}
			if r := f.Parse(); r != frame.NotDropped {
				t.Errorf("a virtio header that lies: %v", r)
			}
		})
	}
}

// What Unfinished says never contradicts the frame.
func FuzzUnfinished(f *testing.F) {
	a, b := nettest.Station("10.0.1.2"), nettest.Station("10.0.1.3")
	open, _ := nettest.NeedsCsum(nettest.UDP(a, b, 1, 2, make([]byte, 100)))
	super, _ := nettest.TCPSuper(a, b, nettest.Segment{Payload: make([]byte, 3000)}, 1000)
	f.Add(open, 1450)
	f.Add(super, 1450)
	f.Add(super, 0)
	batch := frame.NewBatch()
	f.Fuzz(func(t *testing.T, data []byte, mtu int) {
		batch.Reset()
		fr := batch.Append(data)
		if fr == nil || fr.Parse() != frame.NotDropped {
			return
		}
		fr.Unfinished(mtu)
		if r := fr.Parse(); r != frame.NotDropped {
			t.Fatalf("%+v: %v", fr.Offload, r)
		}
	})
}
