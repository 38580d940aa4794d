package uplink

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"weft/internal/frame"
)

// Theory of operation: the packet uplink
//
// A Packet is open from OpenPacket until Close, which is final and may be called
// twice. The kernel gives the socket a copy of every frame that comes in by the
// interface and passes a filter: to the uplink's MAC, and of those to a group ARP and
// ICMPv6 alone. What the kernel itself sends by the interface is none of it.
//
// The kernel's own stack sees these frames too. It leaves those alone that are for
// another MAC than the interface's, which is why the uplink has one of its own where
// it can; see CheckPacket for what else is to hold.
//
// With a virtio header (PACKET_VNET_HDR) the kernel hands over what it has merged as
// it is, and takes superframes, which it cuts where the device cannot. Without one,
// frames come with their checksums and segmentation undone and nothing that says so:
// what is seen in them is put into Offload (frame.Unfinished). Kernels that refuse
// one kind of superframe (UDP segmentation before Linux 6.2) are found out as in
// package tap: a kind that is refused refusals times and was never taken is given up.

const (
	refusals = 8
	// packetBuffer is the size asked for the socket's buffers, in bytes. The kernel
	// counts a superframe with about a third more than its length.
	packetBuffer = 8 << 20
)

// The errors of a packet uplink that callers branch on.
var (
	// ErrRefused is about one frame, which the kernel does not take, or says that
	// the interface is down.
	ErrRefused = errors.New("uplink: frame refused")
	// ErrBlocked means that there is no room now. It wraps frame.ErrBlocked.
	ErrBlocked = fmt.Errorf("uplink: %w", frame.ErrBlocked)
	// ErrTooBig means that the frame is larger than the interface takes. It wraps
	// frame.ErrTooBig.
	ErrTooBig = fmt.Errorf("uplink: %w", frame.ErrTooBig)
	// ErrGone means that the interface was deleted. It wraps os.ErrClosed.
	ErrGone = fmt.Errorf("uplink: interface is gone: %w", os.ErrClosed)
	// ErrUnsupported is returned on systems other than Linux.
	ErrUnsupported = errors.New("uplink: packet uplinks need Linux")
)

// The system layer's answers that never leave this package.
var (
	errNothing = errors.New("uplink: nothing to read")
	errLost    = errors.New("uplink: a frame that the kernel cannot describe")
	errDown    = errors.New("uplink: interface is down")
)

// A PacketConfig says how a packet uplink is opened.
type PacketConfig struct {
	// Interface is the name of an Ethernet interface in this network namespace.
	Interface string
	// MAC is the uplink's own address on the link; zero takes the interface's.
	MAC frame.MAC
	// Addrs are the uplink's IP addresses: the groups that IPv6 neighbours look for
	// them in are joined.
	Addrs []netip.Addr
	// NoOffload does without the virtio header.
	NoOffload bool
}

// A Packet is an open packet uplink, and the queue of its port on the switch.
type Packet struct {
	name  string
	mac   frame.MAC
	index int // of the interface
	mtu   atomic.Int32
	vnet  bool // frames carry a virtio header
	note  string
	fd    atomic.Int32

	caps    atomic.Uint32 // frame.Caps
	proven  atomic.Uint32 // frame.Caps the kernel took at least once
	refused [8]atomic.Uint32
	lost    atomic.Uint64

	mu    sync.Mutex // guards drops, which asking the kernel sets back there
	drops uint64
}

// OpenPacket opens an uplink on an interface, which must be up to be of use. What the
// kernel must not own and do is for [CheckPacket].
func OpenPacket(c PacketConfig) (*Packet, error) {
	p, err := openPacket(c)
	if err != nil {
		return nil, fmt.Errorf("uplink packet:%s: %w", c.Interface, err)
	}
	return p, nil
}

// Name returns the interface's name.
func (p *Packet) Name() string { return p.name }

// MAC returns the uplink's address on the link.
func (p *Packet) MAC() frame.MAC { return p.mac }

// MTU returns the interface's MTU in bytes, as of the opening or the last Refresh.
func (p *Packet) MTU() int { return int(p.mtu.Load()) }

// FD returns the descriptor, -1 after Close.
//
// borrowed: it belongs to the uplink.
func (p *Packet) FD() int { return int(p.fd.Load()) }

// Caps returns the offloads the uplink takes on write. They shrink if the kernel
// refuses what it should take.
func (p *Packet) Caps() frame.Caps { return frame.Caps(p.caps.Load()) }

// A PacketStats says what happened outside of the switch, since the opening.
type PacketStats struct {
	Drops uint64 // frames for which the socket had no room
	Lost  uint64 // frames that could not be read: too long, or of a kind without a virtio header
	// Rung is how frames are exchanged with the kernel, "vnet" or "plain", and Note
	// why it is not the former.
	Rung, Note string
}

// Stats returns the counters.
func (p *Packet) Stats() PacketStats {
	s := PacketStats{Lost: p.lost.Load(), Rung: "plain", Note: p.note}
	if p.vnet {
		s.Rung = "vnet"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if fd := p.FD(); fd >= 0 {
		p.drops += packetDrops(fd)
	}
	s.Drops = p.drops
	return s
}

// Close closes the descriptor. Nobody may be inside ReadBatch or WriteBatch, or
// waiting for it.
func (p *Packet) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	fd := p.fd.Swap(-1)
	if fd < 0 {
		return nil
	}
	p.drops += packetDrops(int(fd))
	if err := closeFD(int(fd)); err != nil {
		return fmt.Errorf("uplink packet:%s: close: %w", p.name, err)
	}
	return nil
}

// took notes that the kernel took a superframe of this kind.
func (p *Packet) took(kind frame.Caps) {
	if frame.Caps(p.proven.Load())&kind != kind {
		p.proven.Or(uint32(kind))
	}
}

// refuse notes that the kernel refused a superframe of this kind, and gives the
// kind up if it was never taken.
func (p *Packet) refuse(kind frame.Caps) {
	kind &^= frame.Caps(p.proven.Load())
	if kind == 0 {
		return
	}
	if n := &p.refused[bits.TrailingZeros32(uint32(kind))]; n.Add(1) >= refusals {
		n.Store(0)
		p.caps.And(^uint32(kind))
	}
}

func (p *Packet) fail(op string, err error) error {
	if errors.Is(err, os.ErrClosed) {
		return err
	}
	return fmt.Errorf("uplink packet:%s: %s: %w", p.name, op, err)
}
