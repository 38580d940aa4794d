package vswitch

import (
	"math"
	"net/netip"
	"sync/atomic"

	"weft/internal/frame"
)

// A Queue is what the switch reads and writes: a TAP queue, an in-memory cable,
// a capture file. Batches, never single frames.
type Queue interface {
	// ReadBatch appends the frames that are there to the batch, until it is
	// full, and returns how many. It never blocks: 0, nil means nothing is
	// there. os.ErrClosed means the port is gone for good.
	ReadBatch(b *frame.Batch) (int, error)
	// WriteBatch writes the frames, those of one flow in order, and returns how
	// many were taken; it may change the order of fs to that it writes in. It
	// never blocks. When that is fewer than all, the error says why the next
	// one was not; the caller goes on behind it. Several workers may call it at
	// a time.
	//
	// borrowed: the frames are the caller's; their headroom may be scribbled on,
	// their bytes may not.
	WriteBatch(fs []*frame.Frame) (int, error)
	// Caps tells the offloads WriteBatch takes now. It may shrink at run time.
	Caps() frame.Caps
}

// A PortConfig describes a port.
type PortConfig struct {
	// Name is shown to users, and names the port in captures.
	Name string
	// Domain is the bridge domain the port is on.
	Domain *Domain
	// MAC is the endpoint's own address. A port with one is guarded: only that
	// address, and Addrs, may send from it, and it is bound statically. Zero
	// leaves the port unguarded and learning.
	MAC frame.MAC
	// Addrs are the endpoint's own IP addresses. The EUI-64 link-local address
	// of MAC is allowed without being listed.
	Addrs []netip.Addr
	// AllowRA and AllowDHCP let a guarded endpoint be a router or a DHCP server.
	AllowRA, AllowDHCP bool
	// MaxMACs bounds the addresses learned on the port; 0 is DefaultMaxMACs,
	// negative none: only addresses bound statically may send from it.
	MaxMACs int
	// Isolated ports reach only ports that are not.
	Isolated bool
	// Horizon is a split-horizon group: frames never go from a port to another
	// of the same group. 0 is no group. A port of one is a tunnel, a way through
	// an underlay: only there are TCP segment sizes clamped and senders told what
	// is too big.
	Horizon uint8
	// MTU is the largest IP packet, in bytes, that leaves through the port at
	// first (see [Port.SetMTU]); 0 does not check.
	MTU int
	// Exit makes the port the domain's way out; see exit.go. A domain has one at
	// most, and it needs a gateway.
	Exit bool
	// VLANs, when not nil, are the only 802.1Q identifiers the port carries; 0
	// stands for untagged frames.
	VLANs []uint16
}

// DefaultMaxMACs is the number of addresses a port may have learned at a time.
const DefaultMaxMACs = 1024

// A Port is a port of the switch, made by [Switch.AddPort].
type Port struct {
	cfg    PortConfig
	sw     *Switch
	domain *Domain
	slot   uint32
	serial uint32 // no other port of the switch has it, ever
	queues []Queue
	guard  guard
	vlans  *[64]uint64
	macs   atomic.Int32
	mtu    atomic.Int32
	groups int // groups entered for the port, under the table's mu; see groups.go
	gone   atomic.Bool
	// counters has one entry per worker; see stats.go.
	counters []counters
	capture  atomic.Pointer[captureHook]
}

// Name returns the configured name.
func (p *Port) Name() string { return p.cfg.Name }

// Index returns the port's slot in the switch, as it stands in frame.Frame.In and
// in the tables of a [Source]. A removed port's slot is given to a later one.
func (p *Port) Index() uint32 { return p.slot }

// Serial returns the number that stands for the port in captures. Unlike the slot,
// which stands in frame.Frame.In, it is never given to a later port.
func (p *Port) Serial() uint32 { return p.serial }

// Learned returns the number of addresses learned on the port.
func (p *Port) Learned() int { return int(p.macs.Load()) }

// MTU returns the largest IP packet, in bytes, that leaves through the port now; 0
// does not check.
func (p *Port) MTU() int { return int(p.mtu.Load()) }

// SetMTU changes it, from the next batch on.
func (p *Port) SetMTU(n int) { p.mtu.Store(int32(min(max(n, 0), math.MaxInt32))) }

// tunnel reports whether the port is a way through an underlay, of which there
// are several side by side.
func (p *Port) tunnel() bool { return p.cfg.Horizon != 0 }

// queue returns the queue that worker number i writes to.
func (p *Port) queue(i int) Queue {
	if len(p.queues) == 1 {
		return p.queues[0]
	}
	return p.queues[i%len(p.queues)]
}

// takeMAC counts one more learned address, unless the limit is reached.
func (p *Port) takeMAC() bool {
	if int(p.macs.Add(1)) > p.cfg.MaxMACs {
		p.macs.Add(-1)
		return false
	}
	return true
}

// carries reports whether the port takes part in a VLAN.
func (p *Port) carries(vlan uint16) bool {
	return p.vlans == nil || p.vlans[vlan>>6]&(1<<(vlan&63)) != 0
}

// reaches reports whether frames from p may leave through q.
func (p *Port) reaches(q *Port) bool {
	return p != q &&
		!(p.cfg.Isolated && q.cfg.Isolated) &&
		(p.cfg.Horizon == 0 || p.cfg.Horizon != q.cfg.Horizon)
}

// apart says why frames from p may not leave through q, which it does not reach.
func (p *Port) apart(q *Port) frame.Reason {
	if p.cfg.Isolated && q.cfg.Isolated {
		return frame.Isolated
	}
	return frame.SplitHorizon
}

func vlanSet(ids []uint16) *[64]uint64 {
	if ids == nil {
		return nil
	}
	set := new([64]uint64)
	for _, id := range ids {
		set[(id&0x0fff)>>6] |= 1 << (id & 63)
	}
	return set
}
