package gossip

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// A recorder is a transport that keeps what was sent, sealed as it went.
type recorder struct {
	*memberlist.NetTransport
	mu   sync.Mutex
	sent []sentPacket
}

type sentPacket struct {
	to string
	b  []byte
}

func (r *recorder) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	r.mu.Lock()
	r.sent = append(r.sent, sentPacket{a.Addr, bytes.Clone(b)})
	r.mu.Unlock()
	return r.NetTransport.WriteToAddress(b, a)
}

// TestReplayedPackets: datagrams that members sent earlier, sent again by somebody
// else, change nothing: no row comes back, nobody dies or returns.
func TestReplayedPackets(t *testing.T) {
	leakCheck(t)
	nt, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.7"}, Logger: newLogger(testLog(t), func() {})})
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{NetTransport: nt}
	gs := socketCluster(t)
	g := socketNode(t, 7, func(c *Config) { c.Transport = rec })
	if _, err := g.Join([]netip.AddrPort{gs[0].Addr()}); err != nil {
		t.Fatal(err)
	}
	if err := g.Attach(t.Context(), "net"); err != nil {
		t.Fatal(err)
	}
	put(t, g, "k", "old")
	shows(t, 5*time.Second, "n7/k=old", append(gs, g)...)
	put(t, g, "k", "new")
	put(t, g, "gone", "x")
	shows(t, 5*time.Second, "n7/gone=x n7/k=new", append(gs, g)...)
	remove(t, g, "gone")
	shows(t, 5*time.Second, "n7/k=new", append(gs, g)...)
	time.Sleep(300 * time.Millisecond) // acknowledgements, too
	rec.mu.Lock()
	sent := slices.Clone(rec.sent)
	rec.mu.Unlock()
	if len(sent) < 10 {
		t.Fatalf("%d packets recorded", len(sent))
	}
	version := g.ownVersion()
	replay := func() {
		for _, p := range sent {
			for _, to := range []string{p.to, g.Addr().String()} { // its own, too
				c, err := net.Dial("udp", to)
				if err != nil {
					t.Fatal(err)
				}
				c.Write(p.b)
				c.Close()
			}
		}
	}
	for range 3 {
		replay()
	}
	time.Sleep(500 * time.Millisecond)
	shows(t, time.Second, "n7/k=new", append(gs, g)...)
	for _, n := range append(gs, g) {
		for _, m := range n.Members() {
			if m.State != Alive {
				t.Errorf("%s has %s as %s", n.cfg.NodeID, m.ID, m.State)
			}
		}
	}
	if now := g.ownVersion(); now != version {
		t.Errorf("its version is %d, was %d", now, version)
	}
	// Of one that has left, nothing comes back.
	if err := g.Leave(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	g.Close()
	shows(t, 5*time.Second, "", gs...)
	replay()
	time.Sleep(500 * time.Millisecond)
	shows(t, time.Second, "", gs...)
	if ids := gs[0].Peers("net"); slices.Contains(ids, "n7") {
		t.Errorf("peers %v", ids)
	}
}

func (g *Gossip) ownVersion() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.version
}

// TestForeignCounted: another cluster's packets, garbage, and a cluster whose nodes
// have the same ids: all counted, said once, and nothing changes.
func TestForeignCounted(t *testing.T) {
	leakCheck(t)
	var out safeLog
	gs := []*Gossip{socketNode(t, 1, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&out, nil)) }), socketNode(t, 2)}
	if _, err := gs[1].Join([]netip.AddrPort{gs[0].Addr()}); err != nil {
		t.Fatal(err)
	}
	for _, g := range gs {
		if err := g.Attach(t.Context(), "net"); err != nil {
			t.Fatal(err)
		}
	}
	put(t, gs[1], "k", "v")
	shows(t, 5*time.Second, "n2/k=v", gs...)
	before := fmt.Sprint(gs[0].Members())
	c, err := net.Dial("udp", gs[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other := [][]byte{[]byte("another key, 16b")}
	foreign := socketNode(t, 2, func(c *Config) { c.Keys = other }) // the id of a member
	for range 20 {
		foreign.list.SendBestEffort(&memberlist.Node{Name: "n1", Addr: gs[0].Addr().Addr().AsSlice(), Port: gs[0].Addr().Port()}, []byte("hello"))
		foreign.Join([]netip.AddrPort{gs[0].Addr()})
		for _, n := range []int{1, 2, 29, 1400, 9000, 60000} {
			b := make([]byte, n)
			rand.Read(b)
			c.Write(b)
		}
	}
	within(t, 5*time.Second, func() string {
		if n := gs[0].Stats().Refused; n < 120 {
			return fmt.Sprint(n, " refused")
		}
		return ""
	})
	if now := fmt.Sprint(gs[0].Members()); now != before {
		t.Errorf("members %s, before %s", now, before)
	}
	shows(t, time.Second, "n2/k=v", gs...)
	if n := strings.Count(out.String(), "Decrypt packet failed"); n != 1 {
		t.Errorf("said %d times:\n%s", n, out.String())
	}
	if n := strings.Count(out.String(), "\n"); n > logLines {
		t.Errorf("%d lines", n)
	}
}

// TestManyStreams: hundreds of streams that say nothing, or garbage, are bounded, and
// a node joins and attaches meanwhile.
func TestManyStreams(t *testing.T) {
	leakCheck(t)
	gs := socketCluster(t)
	put(t, gs[0], "k", strings.Repeat("v", 2000))
	before := runtime.NumGoroutine()
	var silent []net.Conn
	for i := range 300 {
		c, err := net.Dial("tcp", gs[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		switch i % 3 {
		case 1:
			c.Write([]byte{10, 0, 0x40, 0, 0}) // encrypted, of 4 MiB
		case 2:
			c.Write(bytes.Repeat([]byte{0xff}, 1000))
		}
		silent = append(silent, c)
	}
	if n := runtime.NumGoroutine(); n > before+2*maxInbound {
		t.Errorf("%d goroutines, %d before", n, before)
	}
	late := socketNode(t, 4)
	within(t, 10*time.Second, func() string {
		if n, err := late.Join([]netip.AddrPort{gs[0].Addr()}); n != 1 {
			return fmt.Sprint(err)
		}
		return ""
	})
	if err := late.Attach(t.Context(), "net"); err != nil {
		t.Error(err)
	}
	if len(late.Rows("net")) != 1 {
		t.Errorf("rows %v", brief(late.Rows("net")))
	}
	if n := gs[0].Stats().Crowded; n == 0 {
		t.Error("nothing counted")
	}
	for _, c := range silent {
		c.Close()
	}
}

// TestCloseUnderStreams: a node ends while others connect.
func TestCloseUnderStreams(t *testing.T) {
	leakCheck(t)
	for range 20 {
		g := socketNode(t, 1)
		at, stop := g.Addr().String(), make(chan struct{})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if c, err := net.Dial("tcp", at); err == nil {
						c.Close()
					}
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		done := make(chan error, 1)
		go func() { done <- g.Close() }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			close(stop)
			t.Fatal("it does not end")
		}
		close(stop)
		wg.Wait()
	}
}

// A safeLog takes a log.
type safeLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *safeLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
