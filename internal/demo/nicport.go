package demo

import (
	"os"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"weft/internal/frame"
)

// A nicPort is the cable between a host's interface and a port of the switch: a
// vswitch.Queue over a channel that the stack writes to. Superframes cross it
// whole, both ways.
type nicPort struct {
	link   stack.LinkEndpoint // with Ethernet headers, for the stack
	ch     *channel.Endpoint
	wake   func() // somebody has work for the switch
	closed atomic.Bool

	mu  sync.Mutex
	raw [][]byte // frames sent past the stack
}

// depth is how many packets may wait for the switch before the stack is told to
// hold back.
const depth = 1024

func newNICPort(mac []byte, wake func()) *nicPort {
	p := &nicPort{wake: wake}
	p.ch = channel.New(depth, 1500+header.EthernetMinimumSize, tcpip.LinkAddress(mac))
	p.ch.SupportedGSOKind = stack.HostGSOSupported
	// The stack cannot be told per packet that a sum was left undone. Nothing
	// damages frames between two hosts of one process.
	p.ch.LinkEPCapabilities = stack.CapabilityRXChecksumOffload
	p.ch.AddNotify(p)
	p.link = ethernet.New(p.ch)
	return p
}

// WriteNotify is called by the channel when the stack has sent a packet.
func (p *nicPort) WriteNotify() { p.wake() }

// inject sends a frame the stack knows nothing of.
func (p *nicPort) inject(data []byte) {
	p.mu.Lock()
	p.raw = append(p.raw, data)
	p.mu.Unlock()
	p.wake()
}

// ReadBatch implements vswitch.Queue.
func (p *nicPort) ReadBatch(b *frame.Batch) (int, error) {
	if p.closed.Load() {
		return 0, os.ErrClosed
	}
	n := 0
	p.mu.Lock()
	for len(p.raw) > 0 && !b.Full() {
		b.Append(p.raw[0])
		p.raw = p.raw[1:]
		n++
	}
	p.mu.Unlock()
	for !b.Full() {
		pkt := p.ch.Read()
		if pkt == nil {
			break
		}
		takePacket(b, pkt)
		pkt.DecRef()
		n++
	}
	return n, nil
}

// takePacket copies a packet into the batch, with what the stack left undone.
func takePacket(b *frame.Batch, pkt *stack.PacketBuffer) {
	slot := b.Reserve()
	at := frame.Headroom
	for _, part := range pkt.AsSlices() {
		at += copy(slot[at:], part)
	}
	f := b.Commit(at - frame.Headroom)
	g := &pkt.GSOOptions
	if g.Type == stack.GSONone {
		return
	}
	if g.NeedsCsum {
		f.Offload.Flags = frame.NeedsCsum
		f.Offload.CsumStart = header.EthernetMinimumSize + g.L3HdrLen
		f.Offload.CsumOffset = g.CsumOffset
	}
	if pkt.Data().Size() <= int(g.MSS) {
		return // fits one segment
	}
	f.Offload.Size = g.MSS
	f.Offload.HdrLen = uint16(pkt.HeaderSize())
	f.Offload.GSO = frame.GSOTCP4
	if g.Type == stack.GSOTCPv6 {
		f.Offload.GSO = frame.GSOTCP6
	}
}

// WriteBatch implements vswitch.Queue: the stack takes each frame at once, in
// the caller's goroutine.
func (p *nicPort) WriteBatch(fs []*frame.Frame) (int, error) {
	for i, f := range fs {
		if p.closed.Load() {
			return i, os.ErrClosed
		}
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(f.Bytes())})
		p.ch.InjectInbound(0, pkt)
		pkt.DecRef()
	}
	return len(fs), nil
}

// Caps implements vswitch.Queue.
func (p *nicPort) Caps() frame.Caps {
	return frame.CapCsum | frame.CapTSO4 | frame.CapTSO6 | frame.CapECN
}

// close pulls the cable.
func (p *nicPort) close() {
	p.closed.Store(true)
	p.ch.Close()
}
