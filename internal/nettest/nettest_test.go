package nettest

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
)

var (
	a4, b4 = Station("10.0.0.2"), Station("10.0.0.3")
	a6, b6 = Station("fd00::2"), Station("fd00::3")
)

// Every frame built must be one that an independent decoder takes whole, with
// the same checksums as it computes itself.
func TestBuilders(t *testing.T) {
	seg := Segment{SrcPort: 1, DstPort: 80, Seq: 7, Flags: SYN, Window: 512, Options: []byte{2, 4, 5, 0xb4}, Payload: []byte("odd")}
	for _, c := range []struct {
		name   string
		f      []byte
		layers string
	}{
		{"udp4", UDP(a4, b4, 1, 2, []byte("hello")), "Ethernet IPv4 UDP Payload"},
		{"udp6", UDP(a6, b6, 1, 2, []byte("hello")), "Ethernet IPv6 UDP Payload"},
		{"tcp4", TCP(a4, b4, seg), "Ethernet IPv4 TCP Payload"},
		{"tcp6", TCP(a6, b6, seg), "Ethernet IPv6 TCP Payload"},
		{"echo4", Echo(a4, b4, false, 1, 2, []byte("x")), "Ethernet IPv4 ICMPv4 Payload"},
		{"echo6", Echo(a6, b6, true, 1, 2, nil), "Ethernet IPv6 ICMPv6 ICMPv6Echo"},
		{"arp", ARPRequest(a4, b4.IP), "Ethernet ARP"},
		{"arp reply", ARPReply(a4, b4), "Ethernet ARP"},
		{"gratuitous", GratuitousARP(a4), "Ethernet ARP"},
		{"probe", ARPProbe(a4), "Ethernet ARP"},
		{"ns", NeighborSolicit(a6, b6.IP), "Ethernet IPv6 ICMPv6 ICMPv6NeighborSolicitation"},
		{"na", NeighborAdvert(a6, b6), "Ethernet IPv6 ICMPv6 ICMPv6NeighborAdvertisement"},
		{"ra", RouterAdvert(Station("fe80::1")), "Ethernet IPv6 ICMPv6 ICMPv6RouterAdvertisement"},
		{"dhcp", DHCPOffer(a4, b4), "Ethernet IPv4 UDP DHCPv4"},
		{"vlan", Tag(UDP(a4, b4, 1, 2, []byte("hello")), 7), "Ethernet Dot1Q IPv4 UDP Payload"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := gopacket.NewPacket(c.f, layers.LayerTypeEthernet, gopacket.Default)
			var got []byte
			for i, l := range p.Layers() {
				if i > 0 {
					got = append(got, ' ')
				}
				got = append(got, l.LayerType().String()...)
			}
			if string(got) != c.layers {
				t.Fatalf("layers %s, want %s (%v)", got, c.layers, p.ErrorLayer())
			}
			// gopacket pads to 60 bytes.
			again := reserialize(t, p)
			if tail := bytes.TrimLeft(again[min(len(again), len(c.f)):], "\x00"); !bytes.HasPrefix(again, c.f) || len(tail) > 0 {
				t.Fatalf("built %x, gopacket makes %x of it", c.f, again)
			}
			var f frame.Frame
			f.Wrap(append(make([]byte, frame.Headroom), c.f...), frame.Headroom)
			if r := f.Parse(); r != frame.NotDropped {
				t.Fatalf("Parse: %v", r)
			}
		})
	}
}

// reserialize writes a packet's layers again, lengths and checksums computed
// anew.
func reserialize(t *testing.T, p gopacket.Packet) []byte {
	t.Helper()
	var ls []gopacket.SerializableLayer
	for _, l := range p.Layers() {
		switch v := l.(type) {
		case *layers.UDP:
			v.SetNetworkLayerForChecksum(p.NetworkLayer())
		case *layers.TCP:
			v.SetNetworkLayerForChecksum(p.NetworkLayer())
		case *layers.ICMPv6:
			v.SetNetworkLayerForChecksum(p.NetworkLayer())
		}
		s, ok := l.(gopacket.SerializableLayer)
		if !ok {
			t.Fatalf("%v cannot be written", l.LayerType())
		}
		ls = append(ls, s)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestSupers(t *testing.T) {
	payload := make([]byte, 5000)
	tcp4, o1 := TCPSuper(a4, b4, Segment{Payload: payload, Flags: ACK}, 1460)
	tcp6, o2 := TCPSuper(a6, b6, Segment{Payload: payload, Flags: ACK}, 1440)
	udp, o3 := UDPSuper(a4, b4, 1, 2, payload, 1472)
	whole := UDP(a6, b6, 1, 2, payload[:100])
	partial, o4 := NeedsCsum(whole)
	for _, c := range []struct {
		name string
		f    []byte
		o    frame.Offload
	}{{"tcp4", tcp4, o1}, {"tcp6", tcp6, o2}, {"udp", udp, o3}, {"needs csum", partial, o4}} {
		t.Run(c.name, func(t *testing.T) {
			var f frame.Frame
			f.Wrap(append(make([]byte, frame.Headroom), c.f...), frame.Headroom)
			f.Offload = c.o
			if r := f.Parse(); r != frame.NotDropped || f.View.L4 != c.o.CsumStart {
				t.Fatalf("Parse: %v, %+v", r, f.View)
			}
		})
	}
	// Finishing the unfinished checksum must give the whole frame again.
	l4 := partial[o4.CsumStart:]
	sum := checksum(l4, 0)
	l4[o4.CsumOffset], l4[o4.CsumOffset+1] = byte(sum>>8), byte(sum)
	if !bytes.Equal(partial, whole) {
		t.Fatalf("finished %x, want %x", partial, whole)
	}
}

func TestFragments(t *testing.T) {
	whole := UDP(a4, b4, 1, 2, make([]byte, 3000))
	frags := Fragments(whole, 1500)
	if len(frags) != 3 {
		t.Fatalf("%d fragments, want 3", len(frags))
	}
	n := 0
	for _, f := range frags {
		n += len(f) - 34
		if checksum(f[14:34], 0) != 0 {
			t.Error("bad header checksum")
		}
	}
	if n != len(whole)-34 {
		t.Fatalf("fragments hold %d bytes, want %d", n, len(whole)-34)
	}
}

func TestCable(t *testing.T) {
	a, b := Cable(2)
	a.Send([]byte("0123456789abcdef"), []byte("fedcba9876543210"))
	batch := frame.NewBatch()
	n, err := b.ReadBatch(batch)
	if n != 2 || err != nil || string(batch.At(0).Bytes()) != "0123456789abcdef" || a.Written() != 2 {
		t.Fatalf("ReadBatch = %d, %v", n, err)
	}
	fs := []*frame.Frame{batch.At(0), batch.At(1), batch.At(0)}
	if n, err := b.WriteBatch(fs); n != 2 || err != frame.ErrBlocked {
		t.Fatalf("WriteBatch on a full cable = %d, %v", n, err)
	}
	if a.Waiting() != 2 || len(a.Drain()) != 2 || a.Waiting() != 0 {
		t.Fatal("frames were lost")
	}
	refused := errors.New("refused")
	b.Refuse = func(*frame.Frame) error { return refused }
	if n, err := b.WriteBatch(fs); n != 0 || err != refused {
		t.Fatalf("WriteBatch with Refuse = %d, %v", n, err)
	}
	select {
	case <-a.Ready():
	default:
		t.Fatal("Ready has no token")
	}
	a.Close()
	if _, err := b.ReadBatch(batch); err != os.ErrClosed {
		t.Fatalf("ReadBatch after Close = %v", err)
	}
}

func TestCableAllocs(t *testing.T) {
	a, b := Cable(8)
	batch := frame.NewBatch()
	a.Send(UDP(a4, b4, 1, 2, make([]byte, 1000)))
	b.ReadBatch(batch)
	fs := []*frame.Frame{batch.At(0)}
	for range 16 {
		a.WriteBatch(fs)
		b.ReadBatch(frame.NewBatch())
	}
	other := frame.NewBatch()
	ZeroAllocs(t, func() {
		a.WriteBatch(fs)
		other.Reset()
		if n, _ := b.ReadBatch(other); n != 1 {
			t.Fatal("frame was lost")
		}
	})
}

func TestLedger(t *testing.T) {
	var l Ledger
	var f frame.Frame
	f.Drop(frame.Runt)
	l.Count(&f)
	l.Check(t)
	l.Count(&frame.Frame{}) // still pending: must not add up
	probe := &recorder{TB: t}
	if l.Check(probe); !probe.failed {
		t.Fatal("an unfinished frame went unnoticed")
	}
}

// A recorder notes failures instead of passing them on.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Helper()               {}

func TestClock(t *testing.T) {
	c := NewClock()
	s := c.Seconds()
	if c.Advance(90 * time.Second); c.Seconds() != s+90 || c.Nanos() != c.Now().UnixNano() {
		t.Fatal("the clock is wrong")
	}
}
