package uplink

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/nettest"
)

// tcpServer listens outside and serves each connection in a goroutine.
func tcpServer(t testing.TB, at string, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(at, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().String()
}

func echo(c *net.TCPConn) { io.Copy(c, c) }

// pattern returns bytes that are nowhere the same.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func TestTCPOut(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4, alice6)
	for _, at := range []string{outside4, outside6} {
		server := tcpServer(t, at, func(c *net.TCPConn) {
			sum := sha256.New()
			io.Copy(sum, c) // until the client's FIN
			c.Write(sum.Sum(nil))
		})
		c := g.mustDial(server)
		data := pattern(8 << 20)
		go func() {
			c.Write(data)
			c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		want := sha256.Sum256(data)
		if err != nil || !bytes.Equal(got, want[:]) {
			t.Errorf("%s: half-closed connection brought %x, %v; want %x", at, got, err, want)
		}
		c.Close()
	}
	none := func() bool { return len(h.Flows()) == 0 }
	if !eventually(none) {
		t.Errorf("flows after the end: %+v", h.Flows())
	}
}

// eventually waits for something that another goroutine does.
func eventually(ok func() bool) bool {
	for range 500 {
		if ok() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// TestTCPHalfClosedByServer: the server ends first, the client goes on sending.
func TestTCPHalfClosedByServer(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4)
	got := make(chan []byte, 1)
	c := g.mustDial(tcpServer(t, outside4, func(c *net.TCPConn) {
		c.Write([]byte("over to you"))
		c.CloseWrite()
		b, _ := io.ReadAll(c)
		got <- b
	}))
	b, err := io.ReadAll(c)
	if err != nil || string(b) != "over to you" {
		t.Fatalf("read %q, %v", b, err)
	}
	data := pattern(1 << 20)
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if b := <-got; !bytes.Equal(b, data) {
		t.Errorf("the server got %d bytes of %d", len(b), len(data))
	}
}

func TestTCPRefused(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	w := newWire(t, h)
	g := newGuest(t, w, alice4)
	for _, tt := range []struct{ name, to, err, count string }{
		{"nobody listens", outside4 + ":9", "refused", "connect-refused"},
		{"no way there", "203.0.113.1:9", "network is unreachable", "connect-unreachable"},
		{"the gateway", gateway4.IP.String() + ":9", "refused", "gateway-refused"},
		{"another network of weft's", "10.1.2.3:9", "no route", "destination-inside"},
		{"link-local", "169.254.169.254:80", "no route", "destination-refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := h.Stats().Counts[tt.count]
			began := time.Now()
			c, err := g.dial(tt.to)
			if err == nil {
				c.Close()
				t.Fatal("connected")
			}
			if !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v, want one that says %q", err, tt.err)
			}
			if d := time.Since(began); d > time.Second {
				t.Errorf("took %v", d)
			}
			if n := h.Stats().Counts[tt.count]; n != before+1 {
				t.Errorf("%s counted %d times", tt.count, n-before)
			}
		})
	}
}

// TestTCPReset: RST goes through, both ways.
func TestTCPReset(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4)
	c := g.mustDial(tcpServer(t, outside4, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.SetLinger(0)
	}))
	c.Write([]byte("x"))
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("after the server's RST: %v", err)
	}

	got := make(chan error, 1)
	c = g.mustDial(tcpServer(t, outside4, func(c *net.TCPConn) {
		_, err := io.Copy(io.Discard, c)
		got <- err
	}))
	c.Write([]byte("x"))
	for k, s := range h.copyStreams() {
		if eventually(func() bool { return s.out.Load() > 0 }) && k.endpoint.Addr() == alice4.IP {
			break
		}
	}
	g.abortAll()
	select {
	case err := <-got:
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after the client's RST: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the client's RST did not get through")
	}
}

func (h *Host) copyStreams() map[pair]*stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := map[pair]*stream{}
	for k, s := range h.streams {
		m[k] = s
	}
	return m
}

// abortAll has the guest's stack reset its connections.
func (g *guest) abortAll() {
	for _, e := range g.stack.RegisteredEndpoints() {
		e.Abort()
	}
}

// TestTCPBackPressure: what a side does not take stays with the other; nothing is
// kept in between but buffers of bounded size.
func TestTCPBackPressure(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4)
	const total = 64 << 20
	var written atomic.Int64
	read := make(chan struct{})
	sum := make(chan []byte, 1)
	c := g.mustDial(tcpServer(t, outside4, func(c *net.TCPConn) {
		<-read
		h := sha256.New()
		io.Copy(h, c)
		sum <- h.Sum(nil)
	}))
	data := pattern(total)
	go func() {
		for b := data; len(b) > 0; {
			n, err := c.Write(b[:min(len(b), 1<<16)])
			if err != nil {
				break
			}
			written.Add(int64(n))
			b = b[n:]
		}
		c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	last := int64(-1)
	eventually(func() bool {
		time.Sleep(200 * time.Millisecond)
		n := written.Load()
		still := n == last
		last = n
		return still
	})
	if last > total*3/4 {
		t.Errorf("%d bytes were taken although nobody reads", last)
	}
	close(read)
	want := sha256.Sum256(data)
	if got := <-sum; !bytes.Equal(got, want[:]) {
		t.Error("what came differs from what was sent")
	}

	// The other way: the server sends, the guest does not read.
	written.Store(0)
	c = g.mustDial(tcpServer(t, outside4, func(c *net.TCPConn) {
		for b := data; len(b) > 0; {
			n, err := c.Write(b[:min(len(b), 1<<16)])
			if err != nil {
				return
			}
			written.Add(int64(n))
			b = b[n:]
		}
	}))
	last = -1
	eventually(func() bool {
		time.Sleep(200 * time.Millisecond)
		n := written.Load()
		still := n == last && n > 0
		last = n
		return still
	})
	if last > total*3/4 {
		t.Errorf("%d bytes were taken from the server although nobody reads", last)
	}
	got := sha256.New()
	if _, err := io.Copy(got, c); err != nil || !bytes.Equal(got.Sum(nil), want[:]) {
		t.Errorf("what came differs from what was sent: %v", err)
	}
}

// TestTCPHeldSYN: a SYN is answered only when the outside has answered. The server
// here does so late: its backlog is full.
func TestTCPHeldSYN(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: netip.MustParseAddr(outside4).As4()}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	at, err := boundTo(fd)
	if err != nil {
		t.Fatal(err)
	}
	first, err := net.Dial("tcp", at.String()) // fills the backlog
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	got := make(chan error, 1)
	go func() {
		c, err := g.dial(at.String())
		if err == nil {
			c.Close()
		}
		got <- err
	}()
	if !eventually(func() bool { return h.Stats().TCP == 1 }) {
		t.Fatal("no connection under way")
	}
	select {
	case err := <-got:
		t.Fatalf("answered before the server has: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if f := h.Flows(); len(f) != 1 || f[0].State != "connecting" {
		t.Errorf("flows: %+v", f)
	}
	nfd, _, err := unix.Accept(fd)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(nfd)
	if err := <-got; err != nil {
		t.Errorf("after the server has accepted: %v", err)
	}
}

// TestTCPHostLoopback: the gateway is the host's loopback, if asked for.
func TestTCPHostLoopback(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, func(c *HostConfig) { c.HostLoopback = true })
	g := newGuest(t, newWire(t, h), alice4, alice6)
	for at, gw := range map[string]netip.Addr{"127.0.0.1": gateway4.IP, "::1": gateway6.IP} {
		_, port, _ := net.SplitHostPort(tcpServer(t, at, echo))
		c := g.mustDial(net.JoinHostPort(gw.String(), port))
		c.Write([]byte("hello"))
		b := make([]byte, 5)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
			t.Errorf("%s: %q, %v", at, b, err)
		}
	}
}

// TestTCPCrowd: an endpoint with many connections has small buffers for the rest.
func TestTCPCrowd(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4)
	server := tcpServer(t, outside4, echo)
	var all []net.Conn
	for range crowd + 3 {
		all = append(all, g.mustDial(server))
	}
	for _, c := range all {
		data := pattern(100)
		c.Write(data)
		if _, err := io.ReadFull(c, data); err != nil {
			t.Fatal(err)
		}
	}
	sizes := map[int64]int{}
	for _, s := range h.copyStreams() {
		sizes[s.end.SocketOptions().GetReceiveBufferSize()]++
	}
	// Those that were under way as the crowd grew may be among them.
	if n := sizes[crowdedBuffer]; n < 3 || n > 10 || sizes[firstBuffer] != crowd+3-n {
		t.Errorf("buffers: %v", sizes)
	}
	// A small one carries as much as a large one, in more steps.
	c := all[len(all)-1]
	data := pattern(4 << 20)
	go c.Write(data)
	got := make([]byte, len(data))
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("by small buffers: %v", err)
	}
	for _, c := range all {
		c.Close()
	}
}

// TestTCPRefusedUpload: a server answers before it has read all, and closes, which
// resets the connection. The answer comes through.
func TestTCPRefusedUpload(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4)
	for range 20 {
		c := g.mustDial(tcpServer(t, outside4, func(c *net.TCPConn) {
			io.ReadFull(c, make([]byte, 100000))
			io.WriteString(c, "too large")
		}))
		c.SetDeadline(time.Now().Add(10 * time.Second))
		wrote := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				_, err = c.Write(make([]byte, 10000))
			}
			wrote <- err
		}()
		b := make([]byte, 9)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "too large" {
			t.Errorf("answer: %q, %v", b, err)
		}
		if err := <-wrote; errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the upload ended with %v", err)
		}
		c.Close()
	}
	if !eventually(func() bool { return h.Stats().TCP == 0 }) {
		t.Errorf("left: %+v", h.Flows())
	}
}
