package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
)

// A fabric carries datagrams and streams between nodes of one process, as badly as
// it is told to. In a synctest bubble its delays cost no time.
type fabric struct {
	mu                    sync.Mutex
	rng                   *rand.Rand
	nodes                 map[string]*port
	loss, dup             float64
	delay                 time.Duration
	cut                   func(from, to string) bool
	packets, bytes, dials int
}

func newFabric(seed uint64) *fabric {
	return &fabric{rng: rand.New(rand.NewPCG(seed, 7)), nodes: map[string]*port{}, delay: time.Millisecond}
}

// faults sets what datagrams suffer: loss and duplication, and a random delay.
func (f *fabric) faults(loss, dup float64, delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loss, f.dup, f.delay = loss, dup, delay
}

// split cuts the nodes at some addresses off from all others; without addresses it
// heals.
func (f *fabric) split(side ...netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := func(a string) bool { return slices.Contains(side, netip.MustParseAddrPort(a)) }
	f.cut = func(from, to string) bool { return in(from) != in(to) }
}

// traffic returns and resets the counts of datagrams, their bytes, and streams.
func (f *fabric) traffic() (packets, bytes, dials int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	packets, bytes, dials = f.packets, f.bytes, f.dials
	f.packets, f.bytes, f.dials = 0, 0, 0
	return packets, bytes, dials
}

type port struct {
	f       *fabric
	addr    netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
}

func (f *fabric) port(addr string) *port {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &port{f, netip.MustParseAddrPort(addr), make(chan *memberlist.Packet, 4096), make(chan net.Conn, 256)}
	f.nodes[addr] = p
	return p
}

func (p *port) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return p.addr.Addr().AsSlice(), int(p.addr.Port()), nil
}

func (p *port) WriteTo(b []byte, to string) (time.Time, error) {
	f, now := p.f, time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.packets++
	f.bytes += len(b)
	if len(b) > 1400 {
		return now, fmt.Errorf("datagram of %d bytes", len(b))
	}
	copies := 1
	if f.rng.Float64() < f.dup {
		copies = 2
	}
	for range copies {
		if f.rng.Float64() < f.loss {
			continue
		}
		pkt := &memberlist.Packet{Buf: slices.Clone(b), From: net.UDPAddrFromAddrPort(p.addr)}
		time.AfterFunc(time.Duration(f.rng.Int64N(int64(f.delay)+1)), func() { f.deliver(p.addr.String(), to, pkt) })
	}
	return now, nil
}

func (f *fabric) deliver(from, to string, pkt *memberlist.Packet) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.nodes[to]
	if d == nil || f.cut != nil && f.cut(from, to) {
		return
	}
	pkt.Timestamp = time.Now()
	select {
	case d.packets <- pkt:
	default:
	}
}

func (p *port) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	f := p.f
	f.mu.Lock()
	f.dials++
	d := f.nodes[to]
	cut := f.cut != nil && f.cut(p.addr.String(), to)
	f.mu.Unlock()
	if cut {
		time.Sleep(timeout)
		return nil, errors.New("no answer")
	}
	if d == nil {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	select {
	case d.streams <- there:
		return here, nil
	default:
		return nil, errors.New("backlog full")
	}
}

func (p *port) PacketCh() <-chan *memberlist.Packet { return p.packets }
func (p *port) StreamCh() <-chan net.Conn           { return p.streams }

func (p *port) Shutdown() error {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if p.f.nodes[p.addr.String()] == p {
		delete(p.f.nodes, p.addr.String())
	}
	return nil
}

var testKey = []byte("0123456789abcdef")

// node starts a node "nI" at 10.0.0.I:7946, changed by options, and has the test
// close it.
func (f *fabric) node(t *testing.T, i int, options ...func(*Config)) *Gossip {
	t.Helper()
	c := Config{NodeID: fmt.Sprintf("n%d", i), Name: fmt.Sprintf("host%d", i), Keys: [][]byte{testKey}}
	for _, o := range options {
		o(&c)
	}
	if c.Transport == nil {
		c.Transport = f.port(place(i).String())
	}
	g, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func place(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 7946)
}

// bootstrap makes the nodes with some numbers ones to join.
func bootstrap(is ...int) func(*Config) {
	return func(c *Config) {
		c.Bootstrap = func() (addrs []netip.AddrPort) {
			for _, i := range is {
				addrs = append(addrs, place(i))
			}
			return addrs
		}
	}
}

// bubble runs a test with a fabric in a time of its own.
func bubble(t *testing.T, seed uint64, test func(t *testing.T, f *fabric)) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) }) // what memberlist began ends
		test(t, newFabric(seed))
	})
}

// cluster starts nodes 1 to n, who know each other, and attaches them to network
// "net".
func (f *fabric) cluster(t *testing.T, n int, options ...func(*Config)) []*Gossip {
	t.Helper()
	var gs []*Gossip
	for i := range n {
		gs = append(gs, f.node(t, i+1, append([]func(*Config){bootstrap(1)}, options...)...))
	}
	within(t, 2*time.Minute, func() string { // memberlist's push-pull is every 30 s
		for _, g := range gs {
			if got := len(alive(g)); got != n {
				return fmt.Sprintf("%s knows %d of %d members", g.cfg.NodeID, got, n)
			}
		}
		return ""
	})
	for _, g := range gs {
		if err := g.Attach(t.Context(), "net"); err != nil {
			t.Fatal(err)
		}
	}
	within(t, 10*time.Second, func() string {
		for _, g := range gs {
			if got := len(g.Peers("net")); got != n-1 {
				return fmt.Sprintf("%s knows %d of %d peers", g.cfg.NodeID, got, n-1)
			}
		}
		return ""
	})
	return gs
}

func alive(g *Gossip) (ids []string) {
	for _, m := range g.Members() {
		if m.State == Alive {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// within waits until a condition says nothing more, for a time at most.
func within(t *testing.T, most time.Duration, unmet func() string) {
	t.Helper()
	deadline := time.Now().Add(most)
	for step := time.Millisecond; ; step = min(2*step, 100*time.Millisecond) {
		why := unmet()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %s", most, why)
		}
		time.Sleep(step)
	}
}

// shows waits until every node has exactly some rows of "net", as brief writes
// them.
func shows(t *testing.T, most time.Duration, want string, gs ...*Gossip) {
	t.Helper()
	within(t, most, func() string {
		for _, g := range gs {
			if got := strings.Join(brief(g.Rows("net")), " "); got != want {
				return fmt.Sprintf("%s has rows %q, expected %q", g.cfg.NodeID, got, want)
			}
		}
		return ""
	})
}

func put(t *testing.T, g *Gossip, key, value string) {
	t.Helper()
	if err := g.Put("net", key, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, g *Gossip, key string) {
	t.Helper()
	if err := g.Delete("net", key); err != nil {
		t.Fatal(err)
	}
}

// testLog logs to the test's output.
func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }
