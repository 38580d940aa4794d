package uplink

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/nettest"
)

func publish(t testing.TB, h *Host, proto, listen, target string) *Published {
	t.Helper()
	p, err := h.Publish(Binding{Proto: proto, Listen: netip.MustParseAddrPort(listen), Target: netip.MustParseAddrPort(target)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// addrServer says to each client who it is, then echoes.
func addrServer(t testing.TB, l net.Listener) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, c.RemoteAddr().String()+"\n")
				io.Copy(c, c)
			}()
		}
	}()
}

// TestPublishTCP: clients keep their address and port, but for those the endpoint
// could not answer.
func TestPublishTCP(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4, alice6)
	addrServer(t, g.listen("172.18.0.2:80"))
	addrServer(t, g.listen("[fd00:18::2]:80"))
	all4, all6 := publish(t, h, "tcp", "0.0.0.0:0", "172.18.0.2:80"), publish(t, h, "tcp", "[::]:0", "[fd00:18::2]:80")
	mixed := publish(t, h, "tcp", "["+outside6+"]:0", "172.18.0.2:80")
	for _, tt := range []struct {
		name, from, to string
		port           *Published
		seen           string
	}{
		{"IPv4", outside4, outside4, all4, outside4},
		{"IPv6", outside6, outside6, all6, outside6},
		{"loopback", "127.0.0.1", "127.0.0.1", all4, gateway4.IP.String()},
		{"IPv6 loopback", "::1", "::1", all6, gateway6.IP.String()},
		{"IPv6 to an endpoint's IPv4", outside6, outside6, mixed, gateway4.IP.String()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(tt.from)}}
			c, err := d.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(tt.to), tt.port.Addr().Port()).String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			data := pattern(1 << 20)
			go func() {
				c.Write(data)
				c.(*net.TCPConn).CloseWrite()
			}()
			b, err := io.ReadAll(c)
			line, rest, _ := strings.Cut(string(b), "\n")
			if err != nil || !bytes.Equal([]byte(rest), data) {
				t.Errorf("%d bytes came back, %v", len(rest), err)
			}
			want := netip.AddrPortFrom(netip.MustParseAddr(tt.seen), c.LocalAddr().(*net.TCPAddr).AddrPort().Port())
			if line != want.String() {
				t.Errorf("the client was seen as %s, want %s", line, want)
			}
		})
	}
}

// TestPublishTCPRefused: a target that refuses has its client reset.
func TestPublishTCPRefused(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	newGuest(t, newWire(t, h), alice4)
	p := publish(t, h, "tcp", outside4+":0", "172.18.0.2:81")
	c, err := net.Dial("tcp", p.Addr().String())
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
	if n := h.Stats().Counts["published-refused"]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestPublishSamePort: a client may use one port of its own for several.
func TestPublishSamePort(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4)
	addrServer(t, g.listen("172.18.0.2:80"))
	addrServer(t, g.listen("172.18.0.2:81"))
	seen := map[string]int{}
	from := &net.TCPAddr{IP: net.ParseIP(outside4), Port: 45454}
	for _, target := range []string{"172.18.0.2:80", "172.18.0.2:81", "172.18.0.2:80"} {
		p := publish(t, h, "tcp", outside4+":0", target)
		d := net.Dialer{LocalAddr: from, Control: reuse}
		c, err := d.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		b := make([]byte, 64)
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("%s: %v %v", target, err, h.Stats().Counts)
		}
		seen[target+" "+strings.TrimSpace(string(b[:n]))]++
	}
	if len(seen) != 3 || seen["172.18.0.2:80 198.51.100.1:45454"] != 1 || seen["172.18.0.2:81 198.51.100.1:45454"] != 1 {
		t.Errorf("seen: %v", seen)
	}
}

func reuse(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) })
}

// TestPublishHairpin: an endpoint reaches a published port by the host's address,
// even its own.
func TestPublishHairpin(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4)
	addrServer(t, g.listen("172.18.0.2:80"))
	c := g.mustDial(publish(t, h, "tcp", "0.0.0.0:0", "172.18.0.2:80").at(outside4))
	c.SetDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 64)
	n, err := c.Read(b)
	if err != nil || !strings.HasPrefix(string(b[:n]), outside4+":") {
		t.Errorf("seen as %q, %v", b[:n], err)
	}
}

// at returns an address of the host's with the published port.
func (p *Published) at(ip string) string {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), p.Addr().Port()).String()
}

func TestPublishUDP(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4, alice6)
	serve := func(at string) {
		c := g.udp(at)
		go func() {
			b := make([]byte, 65536)
			for {
				n, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				c.WriteTo(append([]byte(from.String()+"\n"), b[:n]...), from)
			}
		}()
	}
	serve("172.18.0.2:53")
	serve("[fd00:18::2]:53")
	all4, all6 := publish(t, h, "udp", "0.0.0.0:0", "172.18.0.2:53"), publish(t, h, "udp", "[::]:0", "[fd00:18::2]:53")
	one := publish(t, h, "udp", "198.51.100.2:0", "172.18.0.2:53")
	mixed := publish(t, h, "udp", "[::]:0", "172.18.0.2:53")
	for _, tt := range []struct {
		name, from, to string
		port           *Published
		seen           string
	}{
		{"IPv4", outside4, outside4, all4, outside4},
		{"the address called answers", outside4, "198.51.100.2", all4, outside4},
		{"one address", outside4, "198.51.100.2", one, outside4},
		{"IPv6", outside6, outside6, all6, outside6},
		{"loopback", "127.0.0.1", "127.0.0.1", all4, gateway4.IP.String()},
		{"IPv6 loopback", "::1", "::1", all6, gateway6.IP.String()},
		{"IPv6 to an endpoint's IPv4", outside6, outside6, mixed, gateway4.IP.String()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := udpSocket(t, tt.from)
			to := netip.AddrPortFrom(netip.MustParseAddr(tt.to), tt.port.Addr().Port())
			for _, n := range []int{1, 30000} {
				data := pattern(n)
				if _, err := c.WriteToUDPAddrPort(data, to); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 65536)
				k, from, err := c.ReadFromUDPAddrPort(b)
				if err != nil {
					t.Fatalf("%v: %v", err, h.Stats().Counts)
				}
				line, rest, _ := strings.Cut(string(b[:k]), "\n")
				want := netip.AddrPortFrom(netip.MustParseAddr(tt.seen), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
				if from != to || line != want.String() || rest != string(data) {
					t.Errorf("answer from %v, want %v; seen as %s, want %s; %d bytes of %d", from, to, line, want, len(rest), n)
				}
			}
		})
	}
	t.Run("broadcast", func(t *testing.T) {
		c := udpSocket(t, "127.0.0.1")
		port := all4.Addr().Port()
		c.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(netip.MustParseAddr("127.255.255.255"), port))
		_, from, err := c.ReadFromUDPAddrPort(make([]byte, 100))
		if want := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port); from != want {
			t.Errorf("answer from %v, want %v: %v, %v", from, want, err, h.Stats().Counts)
		}
	})
	h.sweepOnce(h.now() + int64(time.Hour))
	if n := h.Stats().UDP; n != 8 {
		t.Errorf("%d flows of clients idle for an hour, want 8", n)
	}
	all4.Close()
	if n := h.Stats().UDP; n != 4 {
		t.Errorf("%d flows after a port was closed, want 4", n)
	}
}

func TestPublishErrors(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	tcp, udp := publish(t, h, "tcp", outside4+":0", "172.18.0.2:80"), publish(t, h, "udp", outside4+":0", "172.18.0.2:80")
	for _, tt := range []struct {
		name string
		b    Binding
		err  error
		says string
	}{
		{"TCP port taken", Binding{"tcp", tcp.Addr(), tcp.Binding().Target}, syscall.EADDRINUSE, "something else on this host has tcp port " + tcp.Addr().String()},
		{"TCP port taken for one address", Binding{"tcp", netip.AddrPortFrom(netip.IPv4Unspecified(), tcp.Addr().Port()), tcp.Binding().Target}, syscall.EADDRINUSE, "something else"},
		{"UDP port taken", Binding{"udp", udp.Addr(), udp.Binding().Target}, syscall.EADDRINUSE, "something else on this host has udp port"},
		{"foreign address", Binding{"tcp", netip.MustParseAddrPort("203.0.113.1:80"), tcp.Binding().Target}, syscall.EADDRNOTAVAIL, "no interface of this host has address 203.0.113.1"},
		{"SCTP", Binding{"sctp", tcp.Addr(), tcp.Binding().Target}, nil, `protocol "sctp": expected tcp or udp`},
		{"no target", Binding{"tcp", tcp.Addr(), netip.AddrPort{}}, nil, "is no address and port of an endpoint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := h.Publish(tt.b)
			if err == nil {
				p.Close()
				t.Fatal("published")
			}
			if tt.err != nil && !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v: want %v, saying %q", err, tt.err, tt.says)
			}
		})
	}
	// What is explained, is explained right: a process without the right.
	err := explain(os.NewSyscallError("bind", syscall.EACCES), Binding{"tcp", netip.MustParseAddrPort("0.0.0.0:80"), tcp.Binding().Target})
	if !errors.Is(err, syscall.EACCES) || !strings.Contains(err.Error(), "net.ipv4.ip_unprivileged_port_start to 80") {
		t.Error(err)
	}
	h.Close()
	if _, err := h.Publish(tcp.Binding()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestDestinationIn: who sends to a group is answered from an address that the kernel
// chooses.
func TestDestinationIn(t *testing.T) {
	for to, want := range map[string]netip.Addr{outside6: netip.MustParseAddr(outside6), "ff02::1": {}} {
		info := append(netip.MustParseAddr(to).AsSlice(), 1, 0, 0, 0)
		if got := destinationIn(appendControl(nil, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, info)); got != want {
			t.Errorf("sent to %s: %v, want %v", to, got, want)
		}
	}
}
