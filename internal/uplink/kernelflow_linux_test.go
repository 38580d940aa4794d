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
	}
	k.conserved(t)
}

// TestKernelUDPSegments: datagrams of one size that a kernel sends at once, in
// superframes, each way; also such that are themselves too long for a frame.
func TestKernelUDPSegments(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	k := newKernelGuest(t, h)
	for _, size := range []int{1000, 1472, 4000} {
		outside := udpSocket(t, outside4)
		c, err := k.dial(t, "udp", outside.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("hello"))
		_, from, err := outside.ReadFromUDPAddrPort(make([]byte, 10))
		if err != nil {
			t.Fatal(err)
		}
		data := pattern(9*size + 7)
		if size <= 1472 { // what does not fit a frame no kernel segments
			segmenting(t, c.(*net.UDPConn), size)
			if _, err := c.Write(data); err != nil {
				t.Fatal(err)
			}
			collect(t, outside, size, data)
		}
		segmenting(t, outside, size)
		if _, err := outside.WriteToUDPAddrPort(data, from); err != nil {
			t.Fatal(err)
		}
		collect(t, c, size, data)
	}
	k.conserved(t)
}

// segmenting has the kernel cut what is sent into datagrams.
func segmenting(t *testing.T, c *net.UDPConn, size int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size) })
	if err != nil {
		nettest.Skip(t, "UDP_SEGMENT: %v", err)
	}
}

// collect reads datagrams of one size until all of data is there.
func collect(t *testing.T, c net.Conn, size int, data []byte) {
	t.Helper()
	var got []byte
	b := make([]byte, 65536)
	for len(got) < len(data) {
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("size %d: after %d bytes: %v", size, len(got), err)
		}
		if n != size && n != len(data)%size {
			t.Errorf("size %d: a datagram of %d bytes", size, n)
		}
		got = append(got, b[:n]...)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("size %d: datagrams came changed, or in another order", size)
	}
}

// TestReadBatchFair: a stack that fills every batch does not keep datagrams back.
func TestReadBatchFair(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	got := make(chan struct{}, 1)
	server := udpServer(t, outside4, func(c *net.UDPConn, b []byte, from netip.AddrPort) {
		udpEcho(c, b, from)
		got <- struct{}{}
	})
	f := frame.NewBatch().Append(nettest.UDP(alice4, away(outside4), 5000, server.Port(), []byte("x")))
	h.WriteBatch([]*frame.Frame{f})
	<-got
	large := nettest.Ether(alice4.MAC, gateway4.MAC, frame.EtherIPv4, nettest.IP(away(outside4).IP, alice4.IP, frame.ProtoUDP, make([]byte, 60000)))
	b := frame.NewBatch()
	for range 4 {
		for range 10 {
			h.ring.push(outgoing{raw: large})
		}
		b.Reset()
		h.ReadBatch(b)
		for i := range b.Len() {
			if b.At(i).Len() < 100 {
				return
			}
		}
	}
	t.Error("no datagram in four batches")
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
