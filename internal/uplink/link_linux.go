package uplink

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"weft/internal/frame"
)

// A link is the stack's network interface: it carries IP packets, superframes
// whole, to and from the ring. Ethernet headers are the queue's business.
//
// It does not claim to finish checksums: segments that hold data come with an
// unfinished one and say so, while the few others (SYN, RST) come finished.
// Checksums of what goes in were verified, or vouched for, before.
type link struct {
	mtu        uint32
	ring       *ring
	counts     *counters
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
}

// maxGSO is the most payload of one packet: with the longest headers it fits an
// IP packet of 65,535 bytes.
const maxGSO = 65535 - 40 - 60

// deliver hands a packet to the stack.
func (l *link) deliver(etherType uint16, pkt *stack.PacketBuffer) {
	if d := l.dispatcher.Load(); d != nil {
		(*d).DeliverNetworkPacket(tcpip.NetworkProtocolNumber(etherType), pkt)
	}
}

// WritePackets implements stack.LinkWriter.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for i, pkt := range pkts.AsSlice() {
		if !l.ring.push(outgoing{pkt: pkt.IncRef()}) {
			pkt.DecRef()
			l.counts.add(ringFull)
			return i, &tcpip.ErrNoBufferSpace{}
		}
	}
	return pkts.Len(), nil
}

// The rest of stack.LinkEndpoint and stack.GSOEndpoint.

func (l *link) MTU() uint32                          { return l.mtu }
func (l *link) SetMTU(uint32)                        {}
func (l *link) MaxHeaderLength() uint16              { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress       { return "" }
func (l *link) SetLinkAddress(tcpip.LinkAddress)     {}
func (l *link) IsAttached() bool                     { return l.dispatcher.Load() != nil }
func (l *link) Wait()                                {}
func (l *link) AddHeader(*stack.PacketBuffer)        {}
func (l *link) SetOnCloseAction(func())              {}
func (l *link) Close()                               {}
func (l *link) GSOMaxSize() uint32                   { return maxGSO }
func (l *link) SupportedGSO() stack.SupportedGSO     { return stack.HostGSOSupported }
func (l *link) ParseHeader(*stack.PacketBuffer) bool { return true }

func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&d)
}

// putPacket copies a packet of the stack's into the batch, behind an Ethernet
// header, with what the stack left undone.
func putPacket(b *frame.Batch, pkt *stack.PacketBuffer, dst, src frame.MAC) {
	slot := b.Reserve()
	at := frame.Headroom + frame.EtherLen
	for _, part := range pkt.AsSlices() {
		at += copy(slot[at:], part)
	}
	putEther(slot[frame.Headroom:], dst, src, uint16(pkt.NetworkProtocolNumber))
	f := b.Commit(at - frame.Headroom)
	g := &pkt.GSOOptions
	if g.Type == stack.GSONone || !g.NeedsCsum {
		return
	}
	o := &f.Offload
	o.Flags, o.CsumStart, o.CsumOffset = frame.NeedsCsum, frame.EtherLen+uint16(len(pkt.NetworkHeader().Slice())), g.CsumOffset
	if pkt.Data().Size() <= int(g.MSS) {
		return // fits one segment
	}
	o.Size, o.HdrLen, o.GSO = g.MSS, uint16(frame.EtherLen+pkt.HeaderSize()), frame.GSOTCP4
	if g.Type == stack.GSOTCPv6 {
		o.GSO = frame.GSOTCP6
	}
}

// destinationOf returns the destination of an IP packet of the stack's.
func destinationOf(pkt *stack.PacketBuffer) tcpip.Address {
	h := pkt.NetworkHeader().Slice()
	if pkt.NetworkProtocolNumber == header.IPv4ProtocolNumber {
		return header.IPv4(h).DestinationAddress()
	}
	return header.IPv6(h).DestinationAddress()
}
