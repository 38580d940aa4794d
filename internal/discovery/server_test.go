package discovery

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weft/internal/nettest"
)

// serve starts a server on UDP and TCP of one loopback port.
func serve(t testing.TB, c ServerConfig) (*Server, netip.AddrPort) {
	t.Helper()
	s := NewServer(c)
	for range 20 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err != nil { // somebody has the port over TCP
			pc.Close()
			continue
		}
		s.ServePacket(pc)
		s.ServeStream(l)
		t.Cleanup(func() { s.Close() })
		return s, pc.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	t.Fatal("no port is free for both")
	return nil, netip.AddrPort{}
}

// rawQuery is a query to be spoilt.
func rawQuery(t testing.TB, spoil func(b []byte) []byte) []byte {
	return spoil(packed(t, ask("rose.", dns.TypeA)))
}

// TestMalformed is what is said to packets that are no proper question.
func TestMalformed(t *testing.T) {
	tb := world(t)
	stats := &Stats{}
	v := tb.NewView(ViewConfig{Networks: on("front")})
	s := NewServer(ServerConfig{View: v.ForAll, Stats: stats})
	defer s.Close()
	tail := func(b ...byte) func([]byte) []byte { return func(q []byte) []byte { return append(q, b...) } }
	at := func(i int, c byte) func([]byte) []byte { return func(q []byte) []byte { q[i] = c; return q } }
	opt := []byte{0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0}
	for _, c := range []struct {
		name  string
		msg   []byte
		rcode int // -1: nothing is sent
		count Counter
	}{
		{"empty", nil, -1, Malformed},
		{"no header", make([]byte, 11), -1, Malformed},
		{"an answer", rawQuery(t, at(2, 0x80)), -1, Dropped},
		{"an answer with nothing in it", []byte{0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}, -1, Dropped},
		{"opcode IQUERY", rawQuery(t, at(2, 1<<3)), dns.RcodeNotImplemented, NotImplemented},
		{"opcode UPDATE", rawQuery(t, at(2, 5<<3)), dns.RcodeNotImplemented, NotImplemented},
		{"no question", rawQuery(t, at(5, 0)), dns.RcodeFormatError, Malformed},
		{"two questions", rawQuery(t, func(q []byte) []byte { q[5] = 2; return append(q, q[12:]...) }), dns.RcodeFormatError, Malformed},
		{"65,535 questions", rawQuery(t, func(q []byte) []byte { q[4], q[5] = 255, 255; return q }), dns.RcodeFormatError, Malformed},
		{"an answer section", rawQuery(t, at(7, 1)), dns.RcodeFormatError, Malformed},
		{"cut off in the name", rawQuery(t, func(q []byte) []byte { return q[:15] }), dns.RcodeFormatError, Malformed},
		{"cut off in the type", rawQuery(t, func(q []byte) []byte { return q[:len(q)-3] }), dns.RcodeFormatError, Malformed},
		{"a name that points to itself", rawQuery(t, func(q []byte) []byte { return append(q[:12], 0xc0, 12, 0, 1, 0, 1) }), dns.RcodeFormatError, Malformed},
		{"a label of 64", rawQuery(t, at(12, 64)), dns.RcodeFormatError, Malformed},
		{"a name of 256", rawQuery(t, func(q []byte) []byte {
			return append(bytes.Join([][]byte{q[:12], bytes.Repeat([]byte("\x3f"+string(make([]byte, 63))), 4)}, nil), 0, 0, 1, 0, 1)
		}), dns.RcodeFormatError, Malformed},
		{"two OPT records", rawQuery(t, func(q []byte) []byte { q[11] = 2; return append(append(q, opt...), opt...) }), dns.RcodeFormatError, Malformed},
		{"an OPT record cut off", rawQuery(t, func(q []byte) []byte { q[11] = 1; return append(q, opt[:9]...) }), dns.RcodeFormatError, Malformed},
		{"an option longer than the record", rawQuery(t, func(q []byte) []byte { q[11] = 1; return append(append(q, opt[:10]...), 4, 0, 10, 0, 50) }), dns.RcodeFormatError, Malformed},
		{"too long", rawQuery(t, tail(make([]byte, maxQuery)...)), dns.RcodeFormatError, Malformed},
		{"class CHAOS", rawQuery(t, func(q []byte) []byte { q[len(q)-1] = 3; return q }), dns.RcodeRefused, Refused},
		{"class ANY", rawQuery(t, func(q []byte) []byte { q[len(q)-1] = 255; return q }), dns.RcodeRefused, Refused},
		{"type AXFR", packed(t, ask("rose.", dns.TypeAXFR)), dns.RcodeRefused, Refused},
		{"type IXFR", packed(t, ask("rose.", dns.TypeIXFR)), dns.RcodeRefused, Refused},
		{"type OPT", packed(t, ask("rose.", dns.TypeOPT)), dns.RcodeRefused, Refused},
		{"type MAILB", packed(t, ask("rose.", dns.TypeMAILB)), dns.RcodeRefused, Refused},
		{"type TSIG", packed(t, ask("rose.", dns.TypeTSIG)), dns.RcodeRefused, Refused},
		{"unknown, and nobody to ask", packed(t, ask("nobody.", dns.TypeA)), dns.RcodeServerFailure, NotForwarded},
		{"the root", packed(t, ask(".", dns.TypeNS)), dns.RcodeServerFailure, NotForwarded},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := stats.Get(c.count)
			tn := turn{out: make([]byte, maxUDP)}
			a, p := s.respond(&tn, v, netip.Addr{}, c.msg, false)
			if stats.Get(c.count) != before+1 {
				t.Errorf("%s is %d", c.count, stats.Get(c.count)-before)
			}
			if c.rcode < 0 {
				if a != nil || p != nil {
					t.Errorf("answered with % x", a)
				}
				return
			}
			m := new(dns.Msg)
			if err := m.Unpack(a); err != nil || m.Rcode != c.rcode || !m.Response || m.Id != binary.BigEndian.Uint16(c.msg) || len(m.Answer) > 0 || len(a) > max(len(c.msg), headerLen) {
				t.Errorf("%v, %v, %d bytes for %d", m, err, len(a), len(c.msg))
			}
		})
	}
}

// TestServerViews has a server on a gateway tell its clients apart, by address.
func TestServerViews(t *testing.T) {
	nettest.CheckLeaks(t)
	tb := world(t)
	front, back := tb.NewView(ViewConfig{Networks: on("front")}), tb.NewView(ViewConfig{Networks: on("back"), Ndots: true, Forwarder: NewForwarder(ForwarderConfig{})})
	_, addr := serve(t, ServerConfig{View: func(a netip.Addr) *View {
		return map[netip.Addr]*View{netip.MustParseAddr("127.0.0.2"): front, netip.MustParseAddr("127.0.0.3"): back}[a]
	}})
	for _, network := range []string{"udp", "tcp"} {
		for from, want := range map[string]string{"127.0.0.2": "10.0.1.2", "127.0.0.3": "10.0.2.2", "127.0.0.4": "REFUSED"} {
			var local net.Addr = &net.UDPAddr{IP: net.ParseIP(from)}
			if network == "tcp" {
				local = &net.TCPAddr{IP: net.ParseIP(from)}
			}
			c := dns.Client{Net: network, Dialer: &net.Dialer{LocalAddr: local}, Timeout: 5 * time.Second}
			m, _, err := c.Exchange(ask("rose.", dns.TypeA), addr.String())
			if err != nil {
				t.Fatal(err)
			}
			got := dns.RcodeToString[m.Rcode]
			if len(m.Answer) == 1 {
				got = rdata(m.Answer[0])
			}
			if got != want {
				t.Errorf("%s from %s: %s, want %s", network, from, got, want)
			}
		}
	}
	if m := slow(t, back, ask("nodot.", dns.TypeA)); m == nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) > 0 {
		t.Errorf("ndots, unknown without a dot: %v, want an empty answer", m)
	}
	if slow(t, back, ask("with.dot.", dns.TypeA)) != nil || slow(t, back, ask("nodot.", dns.TypeTXT)) != nil {
		t.Error("ndots: what has a dot, or is no address, is not forwarded")
	}
}

// TestTCP is how connections are treated.
func TestTCP(t *testing.T) {
	nettest.CheckLeaks(t)
	tb := world(t)
	slowly := newFakeServer(t, zoneData{"slow.example. A": "192.0.2.1"})
	honest := slowly.answer
	slowly.set(func(q *dns.Msg, tcp bool) [][]byte { time.Sleep(100 * time.Millisecond); return honest(q, tcp) })
	v := tb.NewView(ViewConfig{Networks: on("front"), Forwarder: forwarder(&Stats{}, 5*time.Second, slowly)})
	stats := &Stats{}
	many(t, tb, "front", 3000)
	s, addr := serve(t, ServerConfig{View: v.ForAll, Stats: stats, TCPConns: 4, TCPClients: 3, TCPIdle: 800 * time.Millisecond})
	dial := func(from string) *dns.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { c.Close() })
		return &dns.Conn{Conn: c}
	}
	t.Run("pipelined, answered as they are ready", func(t *testing.T) {
		c := dial("127.0.0.1")
		defer c.Close()
		for _, name := range []string{"slow.example.", "rose.", "m3000."} {
			if err := c.WriteMsg(ask(name, dns.TypeA)); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for range 3 {
			m, err := c.ReadMsg()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(m.Question[0].Name, len(m.Answer)))
		}
		if fmt.Sprint(got) != "[rose.1 m3000.3000 slow.example.1]" {
			t.Errorf("%v", got)
		}
	})
	ended := func(c net.Conn) bool {
		_, err := c.Read(make([]byte, 1))
		return errors.Is(err, io.EOF) || err != nil && !timeout(err)
	}
	t.Run("silent", func(t *testing.T) {
		c, start := dial("127.0.0.1"), time.Now()
		if !ended(c.Conn) || time.Since(start) < 600*time.Millisecond {
			t.Errorf("closed after %v", time.Since(start))
		}
	})
	t.Run("a message that does not end", func(t *testing.T) {
		c := dial("127.0.0.1")
		if c.Conn.Write([]byte{0, 50, 1}); !ended(c.Conn) {
			t.Error("still open")
		}
	})
	t.Run("too long a message", func(t *testing.T) {
		c := dial("127.0.0.1")
		b := append([]byte{0xff, 0xff}, packed(t, ask("rose.", dns.TypeA))...)
		c.Conn.Write(append(b, make([]byte, 65535-len(b)+2)...))
		if m, err := c.ReadMsg(); err != nil && !errors.Is(err, io.EOF) && m == nil {
			t.Log(err) // the rest of the message is thrown away: that may be a reset
		}
		if !ended(c.Conn) {
			t.Error("still open")
		}
	})
	t.Run("rubbish", func(t *testing.T) {
		c := dial("127.0.0.1")
		if c.Conn.Write([]byte{0, 3, 1, 2, 3}); !ended(c.Conn) {
			t.Error("still open")
		}
	})
	t.Run("a client that does not read", func(t *testing.T) {
		c := dial("127.0.0.1")
		q := packed(t, ask("m3000.", dns.TypeAAAA))
		q = append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)
		var err error
		for end := time.Now().Add(15 * time.Second); err == nil && time.Now().Before(end); time.Sleep(time.Millisecond) {
			_, err = c.Conn.Write(q) // each is answered with 60 KB
		}
		if err == nil {
			t.Error("still open")
		}
	})
	t.Run("too many", func(t *testing.T) {
		for end := time.Now().Add(10 * time.Second); connections(s) > 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		var open []*dns.Conn
		works := func(c *dns.Conn) bool {
			c.WriteMsg(ask("rose.", dns.TypeA))
			_, err := c.ReadMsg()
			return err == nil
		}
		for range 3 {
			open = append(open, dial("127.0.0.1"))
		}
		for i, c := range open {
			if !works(c) {
				t.Fatalf("connection %d does not work", i)
			}
		}
		if works(dial("127.0.0.1")) || !works(dial("127.0.0.2")) || works(dial("127.0.0.3")) {
			t.Error("3 of one address and 4 of all are allowed")
		}
		if stats.Get(TCPRefused) != 2 {
			t.Errorf("%d refused", stats.Get(TCPRefused))
		}
	})
	s.Close()
	if s.conns != 0 || len(s.clients) != 0 || len(s.open) != 0 {
		t.Errorf("left: %d connections, %v, %v", s.conns, s.clients, s.open)
	}
	if err := s.ServePacket(newPacketConn(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a socket for a closed server: %v", err)
	}
}

func connections(s *Server) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

func newPacketConn(t testing.TB) net.PacketConn {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return pc
}

// onlyPacketConn hides what a UDP socket can do beyond net.PacketConn.
type onlyPacketConn struct{ net.PacketConn }

// broken fails to read.
type broken struct {
	net.PacketConn
	err error
}

func (b broken) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, b.err }

// TestPacketConns serves on other sockets than those of package net.
func TestPacketConns(t *testing.T) {
	nettest.CheckLeaks(t)
	v := world(t).NewView(ViewConfig{Networks: on("front")})
	failed := make(chan error, 1)
	s := NewServer(ServerConfig{View: v.ForAll, Failed: func(err error) { failed <- err }})
	defer s.Close()
	pc := newPacketConn(t)
	s.ServePacket(onlyPacketConn{pc})
	if m := exchange(t, "udp", pc.LocalAddr().(*net.UDPAddr).AddrPort(), ask("rose.", dns.TypeA), 5*time.Second); m == nil || len(m.Answer) != 1 {
		t.Errorf("%v", m)
	}
	s.ServePacket(broken{newPacketConn(t), io.ErrNoProgress})
	if err := <-failed; !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

// TestManyServers is what a sandbox costs: two goroutines and little memory. There are
// as many as an ordinary limit of 1,024 descriptors allows, with two each.
func TestManyServers(t *testing.T) {
	nettest.CheckLeaks(t)
	tb := world(t)
	const n = 450
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	routines := runtime.NumGoroutine()
	servers := make([]*Server, 0, n)
	ports := make([]netip.AddrPort, 0, n)
	for range n {
		v := tb.NewView(ViewConfig{Networks: on("front"), Forwarder: NewForwarder(ForwarderConfig{})})
		s, addr := serve(t, ServerConfig{View: v.ForAll})
		servers, ports = append(servers, s), append(ports, addr)
	}
	if m := exchange(t, "udp", ports[len(ports)-1], ask("rose.", dns.TypeA), 5*time.Second); m == nil || len(m.Answer) != 1 {
		t.Errorf("%v", m)
	}
	if got := runtime.NumGoroutine() - routines; got > 2*len(servers)+2 {
		t.Errorf("%d goroutines for %d servers", got, len(servers))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)) / int64(len(servers))
	t.Logf("%d bytes for each server", each)
	if each > 64<<10 {
		t.Errorf("%d bytes for each server", each)
	}
	for _, s := range servers {
		s.Close()
	}
}

// TestRace asks while the table changes and views do, and closes in the midst of it.
func TestRace(t *testing.T) {
	nettest.CheckLeaks(t)
	tb := world(t)
	up := newFakeServer(t, zoneData{"x.example. A": "192.0.2.1"})
	v := tb.NewView(ViewConfig{Networks: on("front")})
	s, addr := serve(t, ServerConfig{View: v.ForAll})
	var wg sync.WaitGroup
	done := make(chan struct{})
	for i := range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if m := exchange(t, []string{"udp", "tcp"}[i%2], addr, ask([]string{"lily.", "tasks.web.", "x.example."}[i%3], dns.TypeA), 200*time.Millisecond); m != nil && i%3 == 0 && len(m.Answer) != 1 {
					t.Errorf("lily: %v", m)
				}
			}
		})
	}
	for i := range 300 {
		task := ep("front", "t1", "web.1.abc", "10.0.1.11")
		task.Service, task.State = "s1", State(i%3)
		update(t, tb, task, Static{Name: "s", Type: "A", Values: []string{fmt.Sprint("192.0.2.", i%250)}})
		v.Set(ViewConfig{Networks: on("front"), Forwarder: forwarder(&Stats{}, 50*time.Millisecond, up)})
		for range tb.Records() {
		}
		tb.Conflicts()
	}
	s.Close()
	close(done)
	wg.Wait()
}
