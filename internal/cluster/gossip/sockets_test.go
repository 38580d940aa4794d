package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// socketNode starts a node with sockets at 127.0.0.I and a free port.
func socketNode(t *testing.T, i int, options ...func(*Config)) *Gossip {
	t.Helper()
	c := Config{
		NodeID: fmt.Sprintf("n%d", i), Name: fmt.Sprintf("host%d", i), Keys: [][]byte{testKey}, Log: testLog(t), Meta: []byte{byte(i)},
		Bind: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(i)}), 0),
	}
	for _, o := range options {
		o(&c)
	}
	g, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// leakCheck fails the test when goroutines are left at its end.
func leakCheck(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(20 * time.Second) // memberlist's probes end by timeout
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				b := make([]byte, 1<<20)
				t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), b[:runtime.Stack(b, true)])
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// socketCluster starts three nodes that know each other and have network "net".
func socketCluster(t *testing.T) []*Gossip {
	t.Helper()
	gs := []*Gossip{socketNode(t, 1), socketNode(t, 2), socketNode(t, 3)}
	for _, g := range gs[1:] {
		if n, err := g.Join([]netip.AddrPort{gs[0].Addr()}); n != 1 || err != nil {
			t.Fatalf("joined %d: %v", n, err)
		}
	}
	for _, g := range gs {
		if err := g.Attach(t.Context(), "net"); err != nil {
			t.Fatal(err)
		}
	}
	within(t, 10*time.Second, func() string {
		for _, g := range gs {
			if len(g.Peers("net")) != 2 {
				return fmt.Sprint(g.cfg.NodeID, " has peers ", g.Peers("net"))
			}
		}
		return ""
	})
	return gs
}

func TestSockets(t *testing.T) {
	leakCheck(t)
	gs := socketCluster(t)
	put(t, gs[0], "k", "v")
	shows(t, 5*time.Second, "n1/k=v", gs...)
	big := strings.Repeat("x", MaxValue)
	put(t, gs[1], "big", big)
	shows(t, 5*time.Second, "n1/k=v n2/big="+big, gs...)
	remove(t, gs[1], "big")
	shows(t, 5*time.Second, "n1/k=v", gs...)
	for i, m := range gs[2].Members() {
		want := Member{ID: fmt.Sprint("n", i+1), Name: fmt.Sprint("host", i+1), Addr: gs[i].Addr(), Meta: []byte{byte(i + 1)}}
		if m.ID != want.ID || m.Name != want.Name || m.Addr != want.Addr || !bytes.Equal(m.Meta, want.Meta) || m.State != Alive {
			t.Errorf("member %+v, expected %+v", m, want)
		}
	}
	if err := gs[0].Leave(5 * time.Second); err != nil {
		t.Error(err)
	}
	shows(t, 5*time.Second, "", gs[1:]...)
	if err := gs[0].Close(); err != nil {
		t.Error(err)
	}
	if err := gs[0].Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := gs[0].Join([]netip.AddrPort{gs[1].Addr()}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("joining after Close: %v", err)
	}
	if err := gs[0].Leave(time.Second); !errors.Is(err, net.ErrClosed) {
		t.Errorf("leaving after Close: %v", err)
	}
	if err := gs[0].Attach(t.Context(), "other"); err != nil && !errors.Is(err, ErrNotSynced) {
		t.Errorf("attaching after Close: %v", err)
	}
}

func TestForeignKey(t *testing.T) {
	leakCheck(t)
	gs := socketCluster(t)
	put(t, gs[0], "k", "v")
	stranger := socketNode(t, 4, func(c *Config) { c.Keys = [][]byte{[]byte("another key, 16b")} })
	if n, err := stranger.Join([]netip.AddrPort{gs[0].Addr(), gs[1].Addr()}); n != 0 || err == nil {
		t.Errorf("joined %d nodes with a foreign key, error %v", n, err)
	}
	for _, b := range [][]byte{{}, {8}, []byte("\x08\x01\x01\x02n9\x03net\x02n9\x01k\x01\x00\x01v"), bytes.Repeat([]byte{0xff}, 1400)} {
		conn, err := net.Dial("udp", gs[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(b)
		conn.Close()
	}
	time.Sleep(300 * time.Millisecond)
	if len(stranger.Members()) != 1 || len(gs[0].Members()) != 3 {
		t.Errorf("the stranger knows %v, a node %v", stranger.Members(), gs[0].Members())
	}
	shows(t, time.Second, "n1/k=v", gs...)
}

// TestRotation changes the ring twice while rows are written: nothing is lost, and
// the first key is good for nothing afterwards.
func TestRotation(t *testing.T) {
	leakCheck(t)
	gs := socketCluster(t)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				gs[i%3].Put("net", fmt.Sprint("k", i%30), fmt.Append(nil, i))
			}
		}
	}()
	ring := [][]byte{testKey}
	for round := range 2 {
		next := bytes.Repeat([]byte{byte(round + 1)}, 32)
		for _, step := range [][][]byte{append(ring[:len(ring):len(ring)], next), append([][]byte{next}, ring...), {next}} {
			for _, g := range gs {
				if err := g.SetKeys(step); err != nil {
					t.Fatal(err)
				}
				if got := g.ring.GetKeys(); !equalKeys(got, step) {
					t.Fatalf("ring %x, expected %x", got, step)
				}
			}
			time.Sleep(20 * time.Millisecond)
			ring = step
		}
	}
	close(stop)
	<-done
	put(t, gs[0], "last", "v")
	within(t, 10*time.Second, func() string {
		want := fmt.Sprint(brief(gs[0].Rows("net")))
		for _, g := range gs[1:] {
			if got := fmt.Sprint(brief(g.Rows("net"))); got != want || !strings.Contains(got, "last") {
				return got + " and " + want
			}
		}
		return ""
	})
	late := socketNode(t, 4)
	if n, err := late.Join([]netip.AddrPort{gs[0].Addr()}); n != 0 || err == nil {
		t.Errorf("joined %d nodes with the old key, error %v", n, err)
	}
}

// equalKeys compares rings: the first key by place, the others in any order.
func equalKeys(a, b [][]byte) bool {
	if len(a) != len(b) || !bytes.Equal(a[0], b[0]) {
		return false
	}
	for _, k := range a {
		if !bytes.Contains(bytes.Join(b, []byte("|")), k) {
			return false
		}
	}
	return true
}

func TestSetKeys(t *testing.T) {
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 16) }
	for _, c := range []struct {
		name, from, to, err string
	}{
		{"same", "a", "a", ""},
		{"another", "a", "b", ""},
		{"added", "a", "ab", ""},
		{"turned", "ab", "ba", ""},
		{"dropped behind", "ab", "a", ""},
		{"dropped in front", "ab", "b", ""},
		{"dropped in the middle", "abc", "ac", ""},
		{"all at once", "abc", "dce", ""},
		{"none", "a", "", "at least one key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys := func(s string) (out [][]byte) {
				for i := range len(s) {
					out = append(out, key(s[i]))
				}
				return out
			}
			ring, err := newRing(keys(c.from))
			if err != nil {
				t.Fatal(err)
			}
			g := &Gossip{ring: ring}
			if err := g.SetKeys(keys(c.to)); c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, expected %q", err, c.err)
				}
				return
			}
			if got := ring.GetKeys(); !equalKeys(got, keys(c.to)) {
				t.Errorf("ring %s, expected %s", got, c.to)
			}
		})
	}
}

// TestStalledPeer: who does not read from a stream holds its writer only for a
// time, and not at all when the node closes.
func TestStalledPeer(t *testing.T) {
	leakCheck(t)
	l, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g := socketNode(t, 1)
	done := make(chan error, 1)
	go func() {
		_, err := g.Join([]netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()})
		done <- err
	}()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	g.Close()
	if err := <-done; err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("joining a stalled node: %v, after Close took %v", err, time.Since(start))
	}
}
