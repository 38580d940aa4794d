package vswitch

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
)

// A cable is an in-memory port: frames put in are read by the switch, frames the
// switch writes are kept.
type cable struct {
	name   string
	port   *Port
	in     []sent
	out    []got
	caps   frame.Caps
	refuse error  // WriteBatch fails with it
	hates  []byte // and with some error at this frame
	// hatesGSO is its error for superframes.
	hatesGSO error
	// refuses is asked about each frame in the order they are offered.
	refuses func(i int) bool
	// sorts writes the longest frames first.
	sorts   bool
	offered int
	closed  bool
	quiet   bool  // keep nothing: benchmarks
	calls   []int // frames offered to each WriteBatch
}

type sent struct {
	data []byte
	off  frame.Offload
}

type got struct {
	data []byte
	off  frame.Offload
}

func (c *cable) ReadBatch(b *frame.Batch) (int, error) {
	if c.closed {
		return 0, os.ErrClosed
	}
	n := 0
	for len(c.in) > 0 && !b.Full() {
		f := b.Append(c.in[0].data)
		if f == nil {
			break
		}
		f.Offload = c.in[0].off
		c.in = c.in[1:]
		n++
	}
	return n, nil
}

func (c *cable) WriteBatch(fs []*frame.Frame) (int, error) {
	if c.refuse != nil {
		return 0, c.refuse
	}
	if c.quiet {
		return len(fs), nil
	}
	c.calls = append(c.calls, len(fs))
	if c.sorts {
		slices.SortStableFunc(fs, func(a, b *frame.Frame) int { return b.Len() - a.Len() })
	}
	for i, f := range fs {
		c.offered++
		if c.refuses != nil && c.refuses(c.offered-1) {
			return i, errors.New("not this one")
		}
		if c.hates != nil && bytes.Equal(f.Bytes(), c.hates) {
			return i, errors.New("not this one")
		}
		if c.hatesGSO != nil && f.Offload.GSO != frame.GSONone {
			return i, c.hatesGSO
		}
		c.out = append(c.out, got{bytes.Clone(f.Bytes()), f.Offload})
	}
	return len(fs), nil
}

func (c *cable) Caps() frame.Caps { return c.caps }

// A net is a switch with one domain and named cables.
type testNet struct {
	t      testing.TB
	sw     *Switch
	domain *Domain
	w      *Worker
	cables map[string]*cable
}

func newNet(t testing.TB, c DomainConfig) *testNet {
	t.Helper()
	n := &testNet{t: t, sw: New(Config{Workers: 2, Seed: 1}), cables: map[string]*cable{}}
	var err error
	if n.domain, err = n.sw.AddDomain(c); err != nil {
		t.Fatal(err)
	}
	if n.w, err = n.sw.NewWorker(); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *testNet) add(name string, c PortConfig) *cable {
	n.t.Helper()
	cb := &cable{name: name}
	c.Name = name
	if c.Domain == nil {
		c.Domain = n.domain
	}
	p, err := n.sw.AddPort(c, cb)
	if err != nil {
		n.t.Fatal(err)
	}
	cb.port = p
	n.cables[name] = cb
	return cb
}

// inject sends one frame into a port and returns where it came out.
func (n *testNet) inject(from *cable, data []byte) map[string][][]byte {
	n.t.Helper()
	return n.injectOffload(from, data, frame.Offload{})
}

func (n *testNet) injectOffload(from *cable, data []byte, o frame.Offload) map[string][][]byte {
	n.t.Helper()
	for _, c := range n.cables {
		c.out = nil
	}
	from.in = append(from.in, sent{data, o})
	if got, err := n.w.Turn(from.port); got != 1 || err != nil {
		n.t.Fatalf("Turn = %d, %v", got, err)
	}
	out := map[string][][]byte{}
	for name, c := range n.cables {
		for _, g := range c.out {
			out[name] = append(out[name], g.data)
		}
	}
	return out
}

// ended returns the reason of the only drop counted on the port since before.
func dropped(before, after Stats) (r frame.Reason, n int) {
	for i := range after.Dropped {
		if d := after.Dropped[i] - before.Dropped[i]; d > 0 {
			r, n = frame.Reason(i), n+int(d)
		}
	}
	return r, n
}

func mac(last byte) frame.MAC { return frame.MAC{0x02, 0x42, 10, 0, 0, last} }

func ip(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, last}) }

func ip6(last byte) netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfd, 15: last}) }

var broadcast = frame.MAC{255, 255, 255, 255, 255, 255}

func hw(m frame.MAC) net.HardwareAddr { return net.HardwareAddr(m[:]) }

// build serialises layers with lengths and checksums computed.
func build(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func eth(src, dst frame.MAC, et layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: hw(src), DstMAC: hw(dst), EthernetType: et}
}

func raw(t testing.TB, src, dst frame.MAC) []byte {
	return build(t, eth(src, dst, 0x88b5), gopacket.Payload(make([]byte, 46)))
}

func tagged(t testing.TB, src, dst frame.MAC, vlan uint16) []byte {
	return build(t, eth(src, dst, layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: vlan, Type: 0x88b5}, gopacket.Payload(make([]byte, 46)))
}

func udp4(t testing.TB, srcMAC, dstMAC frame.MAC, src, dst netip.Addr, sport, dport uint16, payload int) []byte {
	ipl := &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	u := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	if err := u.SetNetworkLayerForChecksum(ipl); err != nil {
		t.Fatal(err)
	}
	return build(t, eth(srcMAC, dstMAC, layers.EthernetTypeIPv4), ipl, u, gopacket.Payload(make([]byte, payload)))
}

func udp6(t testing.TB, srcMAC, dstMAC frame.MAC, src, dst netip.Addr, sport, dport uint16) []byte {
	ipl := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	u := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	if err := u.SetNetworkLayerForChecksum(ipl); err != nil {
		t.Fatal(err)
	}
	return build(t, eth(srcMAC, dstMAC, layers.EthernetTypeIPv6), ipl, u)
}

func arpRequest(t testing.TB, src frame.MAC, sender, target netip.Addr) []byte {
	return build(t, eth(src, broadcast, layers.EthernetTypeARP), &layers.ARP{
		AddrType: 1, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
		SourceHwAddress: src[:], SourceProtAddress: sender.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: target.AsSlice(),
	})
}

func ping4(t testing.TB, srcMAC, dstMAC frame.MAC, src, dst netip.Addr, payload int) []byte {
	return build(t, eth(srcMAC, dstMAC, layers.EthernetTypeIPv4),
		&layers.IPv4{Version: 4, TTL: 9, Protocol: layers.IPProtocolICMPv4, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7, Seq: 1}, gopacket.Payload(bytes.Repeat([]byte{0xa7}, payload)))
}

func icmp6(t testing.TB, srcMAC, dstMAC frame.MAC, src, dst netip.Addr, typ uint8, body []byte) []byte {
	ipl := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	ic := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
	if err := ic.SetNetworkLayerForChecksum(ipl); err != nil {
		t.Fatal(err)
	}
	return build(t, eth(srcMAC, dstMAC, layers.EthernetTypeIPv6), ipl, ic, gopacket.Payload(body))
}
