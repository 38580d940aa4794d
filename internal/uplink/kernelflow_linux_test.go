package uplink

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// inside runs f on a goroutine that stays in the guest's namespace; sockets that
// it makes belong to that.
func (k *kernelGuest) inside(t *testing.T, f func() error) {
	t.Helper()
	s := k.sibling(t)
	var err error
	s.do(func() { err = f() })
	if err != nil {
		t.Error(err)
	}
}

// listen and dial make sockets of the guest's.
func (k *kernelGuest) listen(t *testing.T, network, at string) (l net.Listener) {
	t.Helper()
	k.inside(t, func() (err error) { l, err = net.Listen(network, at); return err })
	if l == nil {
		t.FailNow()
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (k *kernelGuest) dial(t *testing.T, network, to string) (c net.Conn, err error) {
	t.Helper()
	k.inside(t, func() error { c, err = dialHere(network, to); return nil })
	if err == nil {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// dialHere connects on this very thread: net.Dialer may try in goroutines of its
// own.
func dialHere(network, to string) (net.Conn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	a := netip.MustParseAddrPort(to)
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(a.Port())}
	if a.Addr().Is4() {
		sa.(*unix.SockaddrInet4).Addr = a.Addr().As4()
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	if network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, sa); err != nil {
		unix.Close(fd)
		return nil, err
	}
	unix.SetNonblock(fd, true)
	f := os.NewFile(uintptr(fd), to)
	defer f.Close()
	return net.FileConn(f)
}

// conserved fails when the switch has dropped a frame of the guest's or the
// uplink's: none of what these tests do is to be lost.
func (k *kernelGuest) conserved(t *testing.T) {
	t.Helper()
	if s := k.exit.Stats(); s.DroppedTotal() != 0 {
		t.Errorf("frames of the uplink's were dropped: %v", s.Dropped)
	}
	for _, n := range []string{"bad-header", "bad-checksum", "bad-source", "not-carried", "ring-full", "no-neighbour", "tcp-fragment", "truncated"} {
		if c := k.host.Stats().Counts[n]; c != 0 {
			t.Errorf("%s: %d", n, c)
		}
	}
}

// TestKernelTCP: a kernel's own TCP, with superframes, both ways, out and in.
func TestKernelTCP(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	k := newKernelGuest(t, h)
	data := pattern(32 << 20)
	want := sha256.Sum256(data)
	for _, at := range []string{outside4, outside6} {
		server := tcpServer(t, at, func(c *net.TCPConn) {
			sum := sha256.New()
			io.Copy(sum, c)
			c.Write(sum.Sum(nil))
			c.Write(data)
		})
		c, err := k.dial(t, "tcp", server)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c.Write(data)
			c.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || len(got) != len(want)+len(data) || !bytes.Equal(got[:len(want)], want[:]) || !bytes.Equal(got[len(want):], data) {
			t.Errorf("%s: %d bytes, %v", at, len(got), err)
		}
	}
	// A published port: the client's address, and its bytes.
	l := k.listen(t, "tcp4", "172.18.0.2:80")
	addrServer(t, l)
	p := publish(t, h, "tcp", outside4+":0", "172.18.0.2:80")
	c, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	go func() {
		c.Write(data)
		c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	line, rest, _ := strings.Cut(string(got), "\n")
	if err != nil || line != c.LocalAddr().String() || rest != string(data) {
		t.Errorf("published: seen as %q, %d bytes of %d, %v", line, len(rest), len(data), err)
	}
	k.conserved(t)
}

// TestKernelErrors: a kernel understands what it is told.
func TestKernelErrors(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	k := newKernelGuest(t, h)
	for _, tt := range []struct {
		network, to string
		want        error
	}{
		{"tcp", outside4 + ":9", unix.ECONNREFUSED},
		{"tcp", "[" + outside6 + "]:9", unix.ECONNREFUSED},
		{"tcp", "203.0.113.1:9", unix.ENETUNREACH},
		{"tcp", "[2001:db8:1::1]:9", unix.ENETUNREACH},
		{"tcp", "10.1.2.3:9", unix.EHOSTUNREACH},
		{"tcp", "172.18.0.1:9", unix.ECONNREFUSED},
		{"udp", outside4 + ":9", unix.ECONNREFUSED},
		{"udp", "[" + outside6 + "]:9", unix.ECONNREFUSED},
		{"udp", "172.18.0.1:9", unix.ECONNREFUSED},
		{"udp", "10.1.2.3:9", unix.EHOSTUNREACH},
	} {
		t.Run(tt.network+" "+tt.to, func(t *testing.T) {
			c, err := k.dial(t, tt.network, tt.to)
			if err == nil && tt.network == "udp" {
				// Two errors in a row: the second datagram goes by a flow that is there.
				for range 2 {
					c.Write([]byte("x"))
					if _, err = c.Read(make([]byte, 10)); err == nil {
						break
					}
				}
			}
			if !errors.Is(err, tt.want) && !(tt.want == unix.EHOSTUNREACH && errors.Is(err, unix.EACCES)) {
				t.Errorf("%v, want %v; counted %v", err, tt.want, h.Stats().Counts)
			}
		})
	}
}

// TestKernelUDP: datagrams of all sizes, in superframes and in fragments.
func TestKernelUDP(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	k := newKernelGuest(t, h)
	for _, at := range []string{outside4, outside6} {
		c, err := k.dial(t, "udp", udpServer(t, at, udpEcho).String())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 1, 1400, 1473, 5000, 65000} {
			data := pattern(n)
			if _, err := c.Write(data); err != nil {
				t.Fatalf("%s: sending %d bytes: %v", at, n, err)
			}
			b := make([]byte, 65536)
			k, err := c.Read(b)
			if err != nil || !bytes.Equal(b[:k], data) {
				t.Errorf("%s: %d bytes came back as %d, %v: %v", at, n, k, err, h.Stats().Counts)
			}
		}
		if at == outside4 {
			segmented(t, c)
		}
	}
	k.conserved(t)
}

// segmented has the guest's kernel send 40 datagrams in one superframe.
func segmented(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000) })
	if err != nil {
		nettest.Skip(t, "UDP_SEGMENT: %v", err)
	}
	data := pattern(39*1000 + 7)
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	var got []byte
	b := make([]byte, 65536)
	for len(got) < len(data) {
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		if n != 1000 && n != 7 {
			t.Errorf("a datagram of %d bytes", n)
		}
		got = append(got, b[:n]...)
	}
	if !bytes.Equal(got, data) {
		t.Error("datagrams of a superframe came back changed, or in another order")
	}
}

// TestSteadyStateAllocs: datagrams cost no memory, once their flow is there.
func TestSteadyStateAllocs(t *testing.T) {
	h := newHost(t, nil)
	server := udpServer(t, outside4, func(*net.UDPConn, []byte, netip.AddrPort) {})
	b := frame.NewBatch()
	f := b.Append(nettest.UDP(alice4, away(outside4), 5000, server.Port(), make([]byte, 100)))
	fs := []*frame.Frame{f}
	h.WriteBatch(fs)
	nettest.ZeroAllocs(t, func() { h.WriteBatch(fs) })

	in := frame.NewBatch()
	echo := udpServer(t, outside4, udpEcho)
	f2 := frame.NewBatch().Append(nettest.UDP(alice4, away(outside4), 5001, echo.Port(), make([]byte, 100)))
	total := 0
	nettest.ZeroAllocs(t, func() {
		h.WriteBatch([]*frame.Frame{f2}[:])
		for range 100 {
			in.Reset()
			n, err := h.ReadBatch(in)
			if err != nil {
				t.Fatal(err)
			}
			if total += n; n > 0 {
				break
			}
			time.Sleep(100 * time.Microsecond)
		}
	})
	if total == 0 {
		t.Error("nothing came back")
	}
}
