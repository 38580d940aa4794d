package uplink

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// udpServer serves datagrams outside.
func udpServer(t testing.TB, at string, serve func(c *net.UDPConn, b []byte, from netip.AddrPort)) netip.AddrPort {
	t.Helper()
	c := udpSocket(t, at)
	done := make(chan struct{})
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	go func() {
		defer close(done)
		b := make([]byte, 65536)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			serve(c, b[:n], from)
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func udpEcho(c *net.UDPConn, b []byte, from netip.AddrPort) { c.WriteToUDPAddrPort(b, from) }

func udpSocket(t testing.TB, at string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(at), 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

func TestUDPOut(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4, alice6)
	for at, from := range map[string]string{outside4: "172.18.0.2:5000", outside6: "[fd00:18::2]:5000"} {
		server := udpServer(t, at, udpEcho)
		c := g.udp(from)
		for _, n := range []int{0, 1, 1000, 1472, 1473, 9000, 60000} {
			data := pattern(n)
			if _, err := c.WriteTo(data, net.UDPAddrFromAddrPort(server)); err != nil {
				t.Fatalf("%s: sending %d bytes: %v", at, n, err)
			}
			b := make([]byte, 65536)
			k, addr, err := c.ReadFrom(b)
			if err != nil || !bytes.Equal(b[:k], data) {
				t.Fatalf("%s: %d bytes came back as %d, %v: %v", at, n, k, err, h.Stats().Counts)
			}
			if got := addr.(*net.UDPAddr).AddrPort(); got != server {
				t.Errorf("%s: answer from %v, want %v", at, got, server)
			}
		}
	}
	for _, f := range h.Flows() {
		if f.State != "replied" || f.BytesIn != f.BytesOut || f.BytesIn < 60000 {
			t.Errorf("flow %+v", f)
		}
	}
}

// TestUDPMapping: one port of an endpoint is one port outside, whoever it sends
// to, and only those may send to it.
func TestUDPMapping(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4)
	c := g.udp("172.18.0.2:5000")
	a, b, stranger := udpSocket(t, outside4), udpSocket(t, outside4), udpSocket(t, outside4)
	var ports []netip.AddrPort
	for _, s := range []*net.UDPConn{a, b} {
		if _, err := c.WriteTo([]byte("hello"), s.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		_, from, err := s.ReadFromUDPAddrPort(make([]byte, 10))
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, from)
	}
	if ports[0] != ports[1] {
		t.Errorf("two destinations see %v", ports)
	}
	stranger.WriteToUDPAddrPort([]byte("stranger"), ports[0])
	b.WriteToUDPAddrPort([]byte("friend"), ports[0])
	got := make([]byte, 100)
	n, _, err := c.ReadFrom(got)
	if err != nil || string(got[:n]) != "friend" {
		t.Errorf("got %q, %v", got[:n], err)
	}
	if !eventually(func() bool { return h.Stats().Counts["unsolicited"] == 1 }) {
		t.Errorf("counts: %v", h.Stats().Counts)
	}
}

// TestUDPErrors: what the host's kernel learns, the endpoint learns.
func TestUDPErrors(t *testing.T) {
	nettest.CheckLeaks(t)
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	narrow := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4(192, 0, 2, 0), Mask: net.CIDRMask(24, 32)}, MTU: 1000, Scope: netlink.SCOPE_LINK}
	if err := netlink.RouteAdd(narrow); err != nil {
		t.Fatal(err)
	}
	defer netlink.RouteDel(narrow)
	h := newHost(t, nil)
	w := newWire(t, h)
	got := make(chan []byte, 100)
	w.attach(alice4.MAC, func(b []byte, _ frame.Offload) { got <- b })
	away := func(ip string) nettest.Host { return nettest.Host{MAC: gateway4.MAC, IP: netip.MustParseAddr(ip)} }
	for _, tt := range []struct {
		name       string
		data       []byte
		from       string
		kind, code byte
		info       []byte
	}{
		{"port unreachable", nettest.UDP(alice4, away(outside4), 5000, 9, []byte("x")), outside4, 3, 3, []byte{0, 0, 0, 0}},
		{"no route", nettest.UDP(alice4, away("203.0.113.1"), 5001, 9, []byte("x")), "172.18.0.1", 3, 0, nil},
		{"too big for the path", nettest.UDP(alice4, away("192.0.2.1"), 5002, 9, make([]byte, 1200)), "172.18.0.1", 3, 4, []byte{0, 0, 1000 >> 8, 1000 & 255}},
		{"no hop left", nettest.Ether(gateway4.MAC, alice4.MAC, frame.EtherIPv4, nettest.IPTTL(alice4.IP, away(outside4).IP, frame.ProtoUDP, 1, nettest.UDP(alice4, away(outside4), 5003, 9, []byte("x"))[34:])), "172.18.0.1", 11, 0, nil},
		{"the gateway", nettest.UDP(alice4, away("172.18.0.1"), 5004, 53, []byte("x")), "172.18.0.1", 3, 3, nil},
		{"another network of weft's", nettest.UDP(alice4, away("10.1.1.1"), 5005, 53, []byte("x")), "172.18.0.1", 3, 13, nil},
		{"loopback", nettest.UDP(alice4, away("127.0.0.1"), 5006, 53, []byte("x")), "172.18.0.1", 3, 13, nil},
		{"SCTP", nettest.Ether(gateway4.MAC, alice4.MAC, frame.EtherIPv4, nettest.IP(alice4.IP, away(outside4).IP, 132, make([]byte, 12))), "172.18.0.1", 3, 13, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.send(tt.data, frame.Offload{})
			select {
			case b := <-got:
				src, _ := netip.AddrFromSlice(b[26:30])
				if b[23] != frame.ProtoICMP || b[34] != tt.kind || b[35] != tt.code || src.String() != tt.from {
					t.Fatalf("protocol %d from %v, type %d code %d: want ICMP from %s, type %d code %d", b[23], src, b[34], b[35], tt.from, tt.kind, tt.code)
				}
				if tt.info != nil && !bytes.Equal(b[38:42], tt.info) {
					t.Errorf("second word %x, want %x", b[38:42], tt.info)
				}
				// Addresses and ports of what the error is about.
				if q := b[42:]; !bytes.Equal(q[12:24], tt.data[26:38]) {
					t.Errorf("quotes %x, want %x", q[12:24], tt.data[26:38])
				}
				if frame.Checksum(b[34:], 0) != 0 || frame.Checksum(b[14:34], 0) != 0 {
					t.Error("a checksum is wrong")
				}
			case <-time.After(3 * time.Second):
				t.Fatalf("no answer: %v", h.Stats().Counts)
			}
		})
	}
}

// TestUDPHops: the uplink is a hop, so traceroute sees what is behind it.
func TestUDPHops(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	w := newWire(t, h)
	server := udpSocket(t, outside4)
	raw, err := server.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTTL, 1) })
	if err != nil {
		t.Fatal(err)
	}
	to := away(outside4)
	for _, ttl := range []uint8{64, 2, 255} {
		l4 := nettest.UDP(alice4, to, 5000, server.LocalAddr().(*net.UDPAddr).AddrPort().Port(), []byte("x"))[34:]
		w.send(nettest.Ether(gateway4.MAC, alice4.MAC, frame.EtherIPv4, nettest.IPTTL(alice4.IP, to.IP, frame.ProtoUDP, ttl, l4)), frame.Offload{})
		oob := make([]byte, 64)
		_, n, _, _, err := server.ReadMsgUDP(make([]byte, 10), oob)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, got, _ := nextControl(oob[:n]); len(got) < 4 || got[0] != ttl-1 {
			t.Errorf("TTL %d came as %v", ttl, got)
		}
	}
}

// TestUDPBounded: an endpoint has so many flows, and the one idle for longest goes.
func TestUDPBounded(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, func(c *HostConfig) { c.MaxFlowsPerEndpoint = 4 })
	g := newGuest(t, newWire(t, h), alice4)
	server := udpServer(t, outside4, udpEcho)
	ask := func(port string) {
		t.Helper()
		c := g.udp("172.18.0.2:" + port)
		c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(server))
		if _, _, err := c.ReadFrom(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	for _, p := range []string{"5001", "5002", "5003", "5004", "5001", "5005", "5006"} {
		ask(p)
	}
	var left []string
	for _, f := range h.Flows() {
		left = append(left, f.Endpoint.String())
	}
	all := strings.Join(left, " ")
	if len(left) != 4 || strings.Contains(all, "5002") || strings.Contains(all, "5003") || h.Stats().Counts["evicted"] != 2 {
		t.Errorf("left are %v, %d evicted", left, h.Stats().Counts["evicted"])
	}
	h.sweepOnce(h.now() + idleDefault - int64(time.Second))
	if n := h.Stats().UDP; n != 4 {
		t.Errorf("%d flows are left before their time", n)
	}
	h.sweepOnce(h.now() + idleDefault + int64(time.Second))
	if n := h.Stats().UDP; n != 0 {
		t.Errorf("%d flows have outlived their time", n)
	}
}

// TestEcho: pings go out by ping sockets, and the replies are the outside's own.
func TestEcho(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	w := newWire(t, h)
	got := make(chan []byte, 100)
	w.attach(alice4.MAC, func(b []byte, _ frame.Offload) { got <- b })
	if err := PingSockets(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		me   nettest.Host
		to   string
		size int
	}{
		{"IPv4", alice4, outside4, 56},
		{"IPv6", alice6, outside6, 56},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := nettest.Host{MAC: gateway4.MAC, IP: netip.MustParseAddr(tt.to)}
			for seq := uint16(1); seq < 4; seq++ {
				f := nettest.Echo(tt.me, to, false, 4242, seq, pattern(tt.size))
				w.send(f, frame.Offload{})
				select {
				case b := <-got:
					at := 34
					if tt.me.IP.Is6() {
						at = 54
					}
					if b[at] != echoReply(protoOf(tt.me)) || !bytes.Equal(b[at+4:], f[at+4:]) {
						t.Errorf("reply %x to %x", b[at:], f[at:])
					}
				case <-time.After(3 * time.Second):
					t.Fatalf("no reply: %v", h.Stats().Counts)
				}
			}
		})
	}
	// Nobody there: nothing is invented.
	w.send(nettest.Echo(alice4, nettest.Host{MAC: gateway4.MAC, IP: netip.MustParseAddr("203.0.113.7")}, false, 4242, 1, nil), frame.Offload{})
	if b := <-got; b[34] != 3 {
		t.Errorf("ICMP type %d for a destination without a route", b[34])
	}
}

func protoOf(h nettest.Host) uint8 {
	if h.IP.Is4() {
		return frame.ProtoICMP
	}
	return frame.ProtoICMPv6
}

// TestEchoForbidden: without ping sockets, pings are answered as prohibited.
func TestEchoForbidden(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		if err := PingSockets(); err == nil || !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "ping_group_range") {
			t.Errorf("PingSockets: %v", err)
		}
		h := newHost(t, nil)
		w := newWire(t, h)
		got := make(chan []byte, 100)
		w.attach(alice4.MAC, func(b []byte, _ frame.Offload) { got <- b })
		w.send(nettest.Echo(alice4, nettest.Host{MAC: gateway4.MAC, IP: netip.MustParseAddr(outside4)}, false, 1, 1, nil), frame.Offload{})
		if b := <-got; b[34] != 3 || b[35] != 13 || h.Stats().Counts["ping-forbidden"] != 1 {
			t.Errorf("type %d code %d, counted %d", b[34], b[35], h.Stats().Counts["ping-forbidden"])
		}
	})
}

// TestIdleLimits: how long a flow may be idle.
func TestIdleLimits(t *testing.T) {
	to := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(outside4), port) }
	for _, tt := range []struct {
		name      string
		proto     uint8
		port      uint16
		way       direction
		sent, got uint32
		want      time.Duration
	}{
		{"unanswered", frame.ProtoUDP, 4000, began, 3, 0, 5 * time.Minute},
		{"answered", frame.ProtoUDP, 4000, began, 1, 1, 5 * time.Minute},
		{"both several times", frame.ProtoUDP, 4000, began, 3, 3, 30 * time.Minute},
		{"DNS", frame.ProtoUDP, 53, began, 3, 3, 30 * time.Second},
		{"DNS unanswered", frame.ProtoUDP, 53, began, 2, 1, 5 * time.Minute},
		{"ping", frame.ProtoICMP, 0, began, 3, 3, time.Minute},
		{"published", frame.ProtoUDP, 4000, cameIn, 0, 1, 24 * time.Hour},
	} {
		d := datagrams{key: flowKey{proto: tt.proto, remote: to(tt.port)}, way: tt.way, sent: tt.sent, got: tt.got}
		if got := time.Duration(d.idleLimit()); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
