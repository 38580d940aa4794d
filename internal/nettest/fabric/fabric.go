package fabric

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Theory of operation
//
// One mutex guards the fabric; a stream has one of its own (stream.go), which may
// be held when the fabric's is taken, never the other way round. A datagram is a
// timer; a stream's bytes wait in the receiver's half until their time has come and
// while the two hosts are cut off from each other: as with TCP, a cut delays them,
// and only deadlines end the stream.

// maxDatagram is the largest datagram there may be, in bytes: what the product
// promises to stay within.
const maxDatagram = 1400

// Traffic is what was sent, lost or not. Bytes are of payload.
type Traffic struct {
	Datagrams, DatagramBytes int
	Streams, StreamBytes     int // streams that were opened
	Segments                 int // of TCP, of at most maxSegment bytes each
}

const (
	udpHeader  = 28   // IPv4 and UDP
	tcpHeader  = 52   // IPv4 and TCP with timestamps (RFC 7323)
	maxSegment = 1448 // of TCP over an MTU of 1500
	bareStream = 8    // segments without payload that open and close a stream
)

// Wire returns the bytes of IP packets that the traffic is: with headers, and for
// streams the handshake, the end and an acknowledgement for every other segment.
func (t Traffic) Wire() int {
	return t.DatagramBytes + udpHeader*t.Datagrams + t.StreamBytes + tcpHeader*(t.Segments+t.Segments/2+bareStream*t.Streams)
}

func (t *Traffic) add(o Traffic) {
	t.Datagrams += o.Datagrams
	t.DatagramBytes += o.DatagramBytes
	t.Streams += o.Streams
	t.StreamBytes += o.StreamBytes
	t.Segments += o.Segments
}

// A Fabric joins hosts, which are addresses.
type Fabric struct {
	mu        sync.Mutex
	rng       *rand.Rand
	ports     map[netip.AddrPort]*Port
	listeners map[netip.AddrPort]*listener
	streams   map[*stream]bool // to be woken when a cut ends
	loss, dup float64
	delay     time.Duration
	apart     map[netip.Addr]bool // the hosts on the other side of a cut
	sent      map[netip.Addr]*Traffic
}

// New returns a fabric without faults, whose datagrams take up to a millisecond.
func New(seed uint64) *Fabric {
	return &Fabric{
		rng: rand.New(rand.NewPCG(seed, 7)), delay: time.Millisecond, ports: map[netip.AddrPort]*Port{},
		listeners: map[netip.AddrPort]*listener{}, streams: map[*stream]bool{}, sent: map[netip.Addr]*Traffic{},
	}
}

// Faults sets what datagrams suffer: the share that is lost and that is doubled,
// and how long they and the bytes of streams take at most.
func (f *Fabric) Faults(loss, dup float64, delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loss, f.dup, f.delay = loss, dup, delay
}

// Split cuts some hosts off from all others; without hosts it heals.
func (f *Fabric) Split(side ...netip.Addr) {
	f.mu.Lock()
	f.apart = map[netip.Addr]bool{}
	for _, a := range side {
		f.apart[a] = true
	}
	var all []*stream
	for s := range f.streams {
		all = append(all, s)
	}
	f.mu.Unlock()
	for _, s := range all {
		s.wake()
	}
}

// cut reports whether two hosts are cut off from each other.
func (f *Fabric) cut(a, b netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.apart[a] != f.apart[b]
}

// late returns when something sent now arrives.
func (f *Fabric) late() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Add(f.delayLocked())
}

func (f *Fabric) delayLocked() time.Duration { return time.Duration(f.rng.Int64N(int64(f.delay) + 1)) }

func (f *Fabric) count(from netip.Addr, t Traffic) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.countLocked(from, t)
}

func (f *Fabric) countLocked(from netip.Addr, t Traffic) {
	sum := f.sent[from]
	if sum == nil {
		sum = new(Traffic)
		f.sent[from] = sum
	}
	sum.add(t)
}

// Sent returns what each host has sent since the last call.
func (f *Fabric) Sent() map[netip.Addr]Traffic {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[netip.Addr]Traffic, len(f.sent))
	for a, t := range f.sent {
		out[a] = *t
	}
	clear(f.sent)
	return out
}

// Total returns what all hosts have sent since the last call of it or of Sent.
func (f *Fabric) Total() (sum Traffic) {
	for _, t := range f.Sent() {
		sum.add(t)
	}
	return sum
}

// send carries a datagram.
func (f *Fabric) send(from, to netip.AddrPort, b []byte) error {
	if len(b) > maxDatagram {
		return fmt.Errorf("datagram of %d bytes, at most %d are expected", len(b), maxDatagram)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.countLocked(from.Addr(), Traffic{Datagrams: 1, DatagramBytes: len(b)})
	copies := 1
	if f.rng.Float64() < f.dup {
		copies = 2
	}
	for range copies {
		if f.rng.Float64() < f.loss {
			continue
		}
		p := packet(from, b)
		time.AfterFunc(f.delayLocked(), func() { f.deliver(from, to, p) })
	}
	return nil
}
