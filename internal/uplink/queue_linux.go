package uplink

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"weft/internal/frame"
)

// WriteBatch implements vswitch.Queue. It takes every frame: what cannot be
// carried is answered, or counted, here.
func (h *Host) WriteBatch(fs []*frame.Frame) (int, error) {
	if err := h.errClosed(); err != nil {
		return 0, err
	}
	now := h.now()
	for _, f := range fs {
		h.take(f, now)
	}
	return len(fs), nil
}

// take carries one frame.
func (h *Host) take(f *frame.Frame, now int64) {
	if r := f.Parse(); r != frame.NotDropped {
		h.counts.add(badHeader)
		return
	}
	v := &f.View
	if v.VLAN != 0 || v.EtherType != frame.EtherIPv4 && v.EtherType != frame.EtherIPv6 {
		h.counts.add(notCarried)
		return
	}
	p := packet{f: f, ip: f.Bytes()[v.L3:], mac: f.SrcMAC(), now: now}
	p.readHeader()
	switch {
	case p.v4 && frame.Fold(frame.Sum(p.ip[:p.head], 0)) != 0xffff:
		h.counts.add(badChecksum)
		return
	case p.src == p.dst, !h.is(p.src, p.mac): // land, and who uses another's address
		h.counts.add(badSource)
		return
	case v.Fragment && v.Proto == frame.ProtoTCP:
		h.counts.add(tcpFragment)
		return
	case !p.carried():
		h.counts.add(notCarried)
		h.answer(&p, adminProhibited)
		return
	case p.ttl <= 1 && p.dst != h.cfg.gateway(p.dst):
		h.counts.add(ttlExceeded)
		h.answer(&p, hopExceeded)
		return
	case v.Fragment:
		h.deliver(f) // the stack puts datagrams together again: see reassembled
		return
	}
	p.setL4(p.ip[v.L4-v.L3:][:f.L4Len()])
	if !p.summed() {
		h.counts.add(badChecksum)
		return
	}
	switch v.Proto {
	case frame.ProtoTCP:
		if p.l4[13]&(synFlag|ackFlag) != synFlag || h.mayConnect(&p) {
			h.deliver(f)
		}
	case frame.ProtoUDP:
		h.sendOut(&p)
	default:
		h.takeICMP(&p)
	}
}

// takeICMP carries echo requests; errors are for the stack's connections.
func (h *Host) takeICMP(p *packet) {
	switch kind := p.l4[0]; {
	case kind == echoRequest(p.v4) && len(p.l4) >= 8:
		h.sendOut(p)
	case p.v4 && (kind == 3 || kind == 11 || kind == 12), !p.v4 && kind >= 1 && kind <= 4:
		h.deliver(p.f)
	default:
		h.counts.add(notCarried)
	}
}

// deliver copies the packet of a frame into the stack. Its checksums are right.
func (h *Host) deliver(f *frame.Frame) {
	ip := f.Bytes()[f.View.L3:]
	if f.View.EtherType == frame.EtherIPv4 {
		ip = ip[:binary.BigEndian.Uint16(ip[2:])]
	} else {
		ip = ip[:40+int(binary.BigEndian.Uint16(ip[4:]))]
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: inStack(ip, int(f.View.Payload)-int(f.View.L3))})
	h.link.deliver(f.View.EtherType, pkt)
	pkt.DecRef()
}

// inStack copies a packet into the stack's memory: its headers, of n bytes, apart
// from what they carry. The stack copies the piece that headers lie in once more,
// whenever it looks at them in a packet that it has cloned.
func inStack(ip []byte, n int) buffer.Buffer {
	const most = 128 // bytes of headers
	if n <= 0 || n > most || n == len(ip) {
		return buffer.MakeWithData(ip)
	}
	// A piece with room behind it would have the payload's first bytes moved there.
	size := most / 2
	if n > size {
		size = most
	}
	head := buffer.NewViewSize(size)
	head.TrimFront(size - n)
	copy(head.AsSlice(), ip)
	b := buffer.MakeWithView(head)
	b.Append(buffer.NewViewWithData(ip[n:]))
	return b
}

// reassembled takes datagrams that came in fragments, from the stack. What came
// whole never gets here.
func (h *Host) reassembled(_ stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	view := pkt.ToView()
	defer view.Release()
	p := packet{ip: view.AsSlice(), now: h.now()}
	p.readHeader()
	head := len(pkt.NetworkHeader().Slice()) // with all extension headers
	p.proto = uint8(pkt.TransportProtocolNumber)
	p.setL4(p.ip[head:])
	mac, ok := h.cfg.Neighbour(p.src)
	if !ok {
		h.counts.add(badSource)
		return true
	}
	p.mac = mac
	switch {
	case !p.summed():
		h.counts.add(badChecksum)
	case p.proto == frame.ProtoUDP && len(p.l4) >= 8, len(p.l4) >= 8 && p.l4[0] == echoRequest(p.v4):
		h.sendOut(&p)
	default:
		h.counts.add(notCarried)
	}
	return true
}

// A packet is an IP packet from an endpoint, in a frame or put together.
type packet struct {
	f        *frame.Frame // nil when put together
	ip, l4   []byte       // from the IP header, and from the transport header on
	head     int          // length of the IP header proper
	v4       bool
	proto    uint8
	ttl      uint8
	src, dst netip.Addr
	mac      frame.MAC
	now      int64
}

// readHeader reads the IP header, whose lengths have been checked.
func (p *packet) readHeader() {
	b := p.ip
	if p.v4 = b[0]>>4 == 4; p.v4 {
		p.head, p.ttl, p.proto = int(b[0]&15)*4, b[8], b[9]
		p.src, p.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		return
	}
	p.head, p.ttl, p.proto = 40, b[7], b[6]
	p.src, p.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	if p.f != nil {
		p.proto = p.f.View.Proto
	}
}

// setL4 sets the transport part. A datagram's may end before the packet does.
func (p *packet) setL4(b []byte) {
	if p.proto == frame.ProtoUDP && len(b) >= 8 {
		if n := int(binary.BigEndian.Uint16(b[4:])); n >= 8 && n <= len(b) {
			b = b[:n]
		}
	}
	p.l4 = b
}

// carried reports whether the transport is one that the uplink knows, in a family
// it belongs to. Behind more IPv6 extension headers than View looks at it is not
// known, and the stack would look further.
func (p *packet) carried() bool {
	if p.f.View.L4 == 0 && !p.f.View.Fragment {
		return false
	}
	switch p.proto {
	case frame.ProtoTCP, frame.ProtoUDP:
		return true
	case frame.ProtoICMP:
		return p.v4
	case frame.ProtoICMPv6:
		return !p.v4
	}
	return false
}

// dontFragment reports whether the packet asks to be dropped rather than cut.
func (p *packet) dontFragment() bool {
	return p.f != nil && (!p.v4 || p.ip[6]&0x40 != 0)
}

// isError reports whether a packet in a frame is an ICMP error, or may be one.
func (p *packet) isError() bool {
	v, b := &p.f.View, p.f.Bytes()
	switch {
	case p.v4:
		return v.Proto == frame.ProtoICMP && (v.L4 == 0 || frame.IsError4(b[v.L4]))
	default:
		return v.Proto == frame.ProtoICMPv6 && (v.L4 == 0 || frame.IsError6(b[v.L4]))
	}
}

// summed reports whether the transport checksum is right, or vouched for by the
// kernel that left it undone or has verified it.
func (p *packet) summed() bool {
	if p.f != nil && p.f.Offload.Flags&(frame.NeedsCsum|frame.DataValid) != 0 {
		return true
	}
	if p.proto == frame.ProtoUDP && len(p.l4) >= 8 && p.l4[6] == 0 && p.l4[7] == 0 {
		return p.v4 // RFC 768; RFC 8200, 8.1
	}
	sum := uint64(0)
	if p.proto != frame.ProtoICMP {
		sum = pseudoSum(p.ip, p.proto, len(p.l4))
	}
	return frame.Fold(frame.Sum(p.l4, sum)) == 0xffff
}

// answer sends an ICMP error about the packet to the endpoint, from the gateway; but
// none about one, nor about a fragment other than the first (RFC 1122, 3.2.2; RFC
// 4443, 2.4 e).
func (h *Host) answer(p *packet, t trouble) {
	if p.f != nil && (p.f.View.Later || p.isError()) {
		return
	}
	h.report(p.src, h.cfg.gateway(p.src), t.of(p.v4, h.cfg.MTU), p.ip, p.now)
}

// report sends an ICMP error to an endpoint.
func (h *Host) report(endpoint, from netip.Addr, e icmpError, quoted []byte, now int64) {
	mac, ok := h.cfg.Neighbour(endpoint)
	switch {
	case !ok:
		h.counts.add(noNeighbour)
	case !from.IsValid(): // no gateway of this family
	case !h.errors.take(endpoint, now):
		h.counts.add(icmpLimited)
	case !h.ring.push(outgoing{raw: errorFrame(h.cfg.MAC, mac, from, endpoint, e, quoted)}):
		h.counts.add(ringFull)
	}
}

const (
	synFlag = 2
	ackFlag = 16
)

// echoRequest returns the ICMP type of an echo request (RFC 792; RFC 4443, 4.1).
func echoRequest(v4 bool) uint8 {
	if v4 {
		return 8
	}
	return 128
}
