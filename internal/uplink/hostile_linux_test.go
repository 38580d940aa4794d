package uplink

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// away is a host behind the gateway.
func away(ip string) nettest.Host {
	return nettest.Host{MAC: gateway4.MAC, IP: netip.MustParseAddr(ip)}
}

// blackHole routes 192.0.2.0/24 to where nobody answers.
func blackHole(t testing.TB) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	r := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4(192, 0, 2, 0), Mask: net.CIDRMask(24, 32)}, Scope: netlink.SCOPE_LINK}
	if err := netlink.RouteAdd(r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.RouteDel(r) })
}

func syn(from, to nettest.Host, sport, dport uint16) []byte {
	return nettest.TCP(from, to, nettest.Segment{SrcPort: sport, DstPort: dport, Seq: 1, Flags: nettest.SYN, Window: 65535})
}

// spoil changes a byte without mending any checksum.
func spoil(f []byte, at int) []byte {
	b := append([]byte{}, f...)
	b[at] ^= 0x55
	return b
}

// TestBadFrames: each is dropped for its reason, answered or not, and nothing of it
// gets out.
func TestBadFrames(t *testing.T) {
	nettest.CheckLeaks(t)
	server := udpSocket(t, outside4)
	port := server.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	out := away(outside4)
	udp := nettest.UDP(alice4, out, 5000, port, []byte("payload"))
	stranger := nettest.Station("172.18.0.77")
	thief := nettest.Host{MAC: bob4.MAC, IP: alice4.IP}
	big := nettest.TCP(alice4, out, nettest.Segment{SrcPort: 1, DstPort: 2, Flags: nettest.ACK, Payload: make([]byte, 3000)})
	other := nettest.Ether(gateway4.MAC, alice4.MAC, frame.EtherIPv4, nettest.IP(alice4.IP, out.IP, 47, make([]byte, 3000)))
	dying := func(datagram []byte) []byte {
		return nettest.Ether(gateway4.MAC, alice4.MAC, frame.EtherIPv4, nettest.IPTTL(alice4.IP, out.IP, frame.ProtoUDP, 1, datagram))
	}
	unreachable := append([]byte{3, 1, 0xfc, 0xfe}, make([]byte, 32)...)
	for _, tt := range []struct {
		name     string
		data     []byte
		count    string
		answered bool
	}{
		{"runt", udp[:20], "bad-header", false},
		{"IP header checksum", spoil(udp, 14+8), "bad-checksum", false},
		{"UDP checksum", spoil(udp, 14+20+8), "bad-checksum", false},
		{"TCP checksum", spoil(syn(alice4, out, 1, 2), 14+20+4), "bad-checksum", false},
		{"echo checksum", spoil(nettest.Echo(alice4, out, false, 1, 1, []byte("x")), 14+20+6), "bad-checksum", false},
		{"land", syn(alice4, nettest.Host{MAC: gateway4.MAC, IP: alice4.IP}, 80, 80), "bad-source", false},
		{"SYN of a stranger", syn(stranger, out, 1, 2), "bad-source", false},
		{"SYN with a neighbour's address", syn(thief, out, 1, 2), "bad-source", false},
		{"datagram with a neighbour's address", nettest.UDP(thief, out, 5000, port, nil), "bad-source", false},
		{"segment with a neighbour's address", nettest.TCP(thief, out, nettest.Segment{SrcPort: 1, DstPort: 2, Flags: nettest.ACK}), "bad-source", false},
		{"fragment with a neighbour's address", nettest.Fragments(nettest.UDP(thief, out, 5000, port, make([]byte, 3000)), 1500)[0], "bad-source", false},
		{"TCP in fragments", nettest.Fragments(big, 1500)[0], "tcp-fragment", false},
		{"another protocol in fragments", nettest.Fragments(other, 1500)[0], "not-carried", true},
		{"a later fragment of it", nettest.Fragments(other, 1500)[1], "not-carried", false},
		{"no hop left", dying(udp[14+20:]), "ttl-exceeded", true},
		{"no hop left for a fragment", nettest.Fragments(dying(make([]byte, 3000)), 1500)[0], "ttl-exceeded", true},
		{"no hop left for a later fragment", nettest.Fragments(dying(make([]byte, 3000)), 1500)[1], "ttl-exceeded", false},
		{"no hop left for an ICMP error", nettest.Ether(gateway4.MAC, alice4.MAC, frame.EtherIPv4, nettest.IPTTL(alice4.IP, out.IP, frame.ProtoICMP, 1, unreachable)), "ttl-exceeded", false},
		{"VLAN", nettest.Tag(udp, 5), "not-carried", false},
		{"ARP", nettest.ARPRequest(alice4, gateway4.IP), "not-carried", false},
		{"ICMPv6 in IPv4", nettest.Ether(gateway4.MAC, alice4.MAC, frame.EtherIPv4, nettest.IP(alice4.IP, out.IP, frame.ProtoICMPv6, make([]byte, 8))), "not-carried", true},
		{"echo reply", nettest.Echo(alice4, out, true, 1, 1, nil), "not-carried", false},
		{"multicast", nettest.UDP(alice4, away("224.1.1.1"), 5000, 5, nil), "destination-refused", false},
		{"broadcast", nettest.UDP(alice4, away("255.255.255.255"), 5000, 5, nil), "destination-refused", false},
		{"this network", nettest.UDP(alice4, away("0.0.0.1"), 5000, 5, nil), "destination-refused", false},
		{"IPv4-mapped loopback", nettest.UDP(alice6, away("::ffff:127.0.0.1"), 5000, 5, nil), "destination-refused", true},
		{"IPv4-mapped", nettest.UDP(alice6, away("::ffff:"+outside4), 5000, 5, nil), "destination-refused", true},
		{"IPv6 loopback", nettest.UDP(alice6, away("::1"), 5000, 5, nil), "destination-refused", true},
		{"IPv6 link-local", nettest.UDP(alice6, away("fe80::1"), 5000, 5, nil), "destination-refused", true},
		{"SYN to loopback", syn(alice4, away("127.0.0.1"), 1, 2), "destination-refused", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, nil)
			w := newWire(t, h)
			got := make(chan []byte, 10)
			w.attach(alice4.MAC, func(b []byte, _ frame.Offload) { got <- b })
			w.send(tt.data, frame.Offload{})
			stats := h.Stats()
			for name, n := range stats.Counts {
				if want := uint64(0); name == tt.count && n != 1 || name != tt.count && n != want {
					t.Errorf("%s counted %d times", name, n)
				}
			}
			if stats.TCP+stats.UDP+stats.ICMP != 0 {
				t.Errorf("it made a flow: %+v", h.Flows())
			}
			select {
			case b := <-got:
				if !tt.answered {
					t.Errorf("answered: %x", b)
				}
			case <-time.After(100 * time.Millisecond):
				if tt.answered {
					t.Error("not answered")
				}
			}
		})
	}
	server.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _, err := server.ReadFrom(make([]byte, 10)); err == nil {
		t.Errorf("a bad datagram of %d bytes got out", n)
	}
}

// TestSYNFlood: an endpoint has so many connections under way, and no other one
// notices.
func TestSYNFlood(t *testing.T) {
	nettest.CheckLeaks(t)
	blackHole(t)
	h := newHost(t, func(c *HostConfig) { c.MaxFlowsPerEndpoint = 160 }) // 20 under way
	w := newWire(t, h)
	w.attach(alice4.MAC, func([]byte, frame.Offload) {})
	for i := range 5000 {
		w.send(syn(alice4, away(fmt.Sprintf("192.0.2.%d", i%250+1)), uint16(1000+i), 80), frame.Offload{})
	}
	s := h.Stats()
	if s.TCP != 20 || s.Counts["half-open-full"] != 4980 {
		t.Errorf("%d under way, %d dropped", s.TCP, s.Counts["half-open-full"])
	}
	bob := newGuest(t, w, bob4)
	began := time.Now()
	c := bob.mustDial(tcpServer(t, outside4, echo))
	if d := time.Since(began); d > time.Second {
		t.Errorf("a neighbour had to wait for %v", d)
	}
	c.Close()
}

// TestTableFull: one more connection than there may be is answered as prohibited,
// and others go on.
func TestTableFull(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, func(c *HostConfig) { c.MaxFlows, c.MaxFlowsPerEndpoint = 6, 4 })
	w := newWire(t, h)
	alice, bob := newGuest(t, w, alice4), newGuest(t, w, bob4)
	server := tcpServer(t, outside4, echo)
	works := func(c net.Conn) {
		t.Helper()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Errorf("connection of the table: %v", err)
		}
	}
	var all []net.Conn
	for range 4 {
		all = append(all, alice.mustDial(server))
	}
	if _, err := alice.dial(server); err == nil || !strings.Contains(err.Error(), "no route") || h.Stats().Counts["endpoint-full"] != 1 {
		t.Errorf("the fifth connection: %v, counted %v", err, h.Stats().Counts)
	}
	for range 2 {
		all = append(all, bob.mustDial(server))
	}
	if _, err := bob.dial(server); err == nil || h.Stats().Counts["table-full"] != 1 {
		t.Errorf("the seventh connection of all: %v, counted %v", err, h.Stats().Counts)
	}
	for _, c := range all {
		works(c)
		c.Close()
	}
	if !eventually(func() bool { return h.Stats().TCP == 0 }) {
		t.Fatalf("left: %+v", h.Flows())
	}
	works(bob.mustDial(server))
}

// TestErrorsLimited: ICMP errors are few, for each endpoint by itself.
func TestErrorsLimited(t *testing.T) {
	var b budget
	now := int64(time.Hour)
	n := 0
	for range 1000 {
		if b.take(alice4.IP, now) {
			n++
		}
	}
	if n != errorBurst {
		t.Errorf("%d at once, want %d", n, errorBurst)
	}
	if !b.take(bob4.IP, now) {
		t.Error("a neighbour gets none")
	}
	now += int64(time.Second / 2)
	n = 0
	for range 1000 {
		if b.take(alice4.IP, now) {
			n++
		}
	}
	if n != errorsSecond/2 {
		t.Errorf("%d after half a second, want %d", n, errorsSecond/2)
	}
}

// TestEndpointGone: what belongs to an endpoint that has gone ends; what is idle
// does not.
func TestEndpointGone(t *testing.T) {
	nettest.CheckLeaks(t)
	gone := make(chan struct{})
	h := newHost(t, func(c *HostConfig) {
		known := c.Neighbour
		c.Neighbour = func(a netip.Addr) (frame.MAC, bool) {
			select {
			case <-gone:
				return frame.MAC{}, false
			default:
				return known(a)
			}
		}
	})
	g := newGuest(t, newWire(t, h), alice4)
	got := make(chan error, 1)
	c := g.mustDial(tcpServer(t, outside4, func(c *net.TCPConn) {
		_, err := io.Copy(c, c)
		got <- err
	}))
	u := g.udp("172.18.0.2:5000")
	u.WriteTo([]byte("x"), udpSocket(t, outside4).LocalAddr())
	if !eventually(func() bool { s := h.Stats(); return s.UDP == 1 && s.TCP == 1 && h.Flows()[0].State == "established" }) {
		t.Fatalf("flows: %+v", h.Flows())
	}
	h.sweepOnce(h.now() + int64(72*time.Hour))
	if s := h.Stats(); s.TCP != 1 || s.UDP != 0 {
		t.Errorf("after three idle days: %d connections, %d datagram flows", s.TCP, s.UDP)
	}
	c.Write([]byte("still there"))
	b := make([]byte, 11)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Errorf("the idle connection: %v", err)
	}
	close(gone)
	h.sweepOnce(h.now())
	if h.Stats().TCP != 1 {
		t.Error("ended at once: the endpoint may be about to move")
	}
	h.sweepOnce(h.now())
	select {
	case err := <-got:
		if err == nil {
			t.Error("the server saw an orderly end")
		}
	case <-time.After(5 * time.Second):
		t.Error("the connection lives on")
	}
}

// TestCloseLeavesNothing: with all kinds of flows under way. CheckLeaks looks past
// epoll sets and eventfds.
func TestCloseLeavesNothing(t *testing.T) {
	nettest.CheckLeaks(t)
	blackHole(t)
	server := tcpServer(t, outside4, func(c *net.TCPConn) {
		b := make([]byte, 1<<16)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	warm, err := net.Dial("tcp", server) // the runtime's own epoll set
	if err != nil {
		t.Fatal(err)
	}
	warm.Close()
	open := func() int {
		e, _ := os.ReadDir("/proc/self/fd")
		return len(e)
	}
	for range 3 {
		before := open()
		h := newHost(t, nil)
		w := newWire(t, h)
		g := newGuest(t, w, alice4)
		// A connection whose reader stands still, one whose target refuses late.
		g.mustDial(server)
		w.attach(bob4.MAC, func([]byte, frame.Offload) {})
		for i := range 20 { // under way, and half open: SYN-ACK is never answered
			w.send(syn(bob4, away("192.0.2.1"), uint16(1000+i), 80), frame.Offload{})
			at := netip.MustParseAddrPort(server)
			w.send(syn(bob4, away(outside4), uint16(2000+i), at.Port()), frame.Offload{})
			w.send(nettest.UDP(bob4, away(outside4), uint16(3000+i), 9, nil), frame.Offload{})
		}
		w.send(nettest.Echo(bob4, away(outside4), false, 1, 1, nil), frame.Offload{})
		p := publish(t, h, "tcp", outside4+":0", "172.18.0.3:80") // bob never answers
		publish(t, h, "udp", outside4+":0", "172.18.0.3:80")
		c, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		h.Close()
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("closing took %v", d)
		}
		c.Close()
		if s := h.Stats(); s.TCP+s.UDP+s.ICMP != 0 || h.flows.Load() != 0 {
			t.Errorf("after Close: %+v, %d counted", h.Flows(), h.flows.Load())
		}
		if _, err := h.ReadBatch(frame.NewBatch()); err != os.ErrClosed {
			t.Errorf("ReadBatch: %v", err)
		}
		if _, err := h.WriteBatch(nil); err != os.ErrClosed {
			t.Errorf("WriteBatch: %v", err)
		}
		if !eventually(func() bool { return open() <= before }) {
			t.Errorf("%d descriptors before, %d after", before, open())
		}
	}
}

// FuzzWriteBatch: nothing that an endpoint sends stops the uplink.
func FuzzWriteBatch(f *testing.F) {
	out := away(outside4)
	f.Add(syn(alice4, out, 1, 9)[14:], uint8(0), uint8(0), uint16(0), false)
	f.Add(nettest.UDP(alice4, out, 1, 9, []byte("x"))[14:], uint8(1), uint8(5), uint16(1), false)
	f.Add(nettest.Echo(alice4, out, false, 1, 1, nil)[14:], uint8(0), uint8(0), uint16(0), false)
	f.Add(nettest.UDP(alice6, away(outside6), 1, 9, []byte("x"))[14:], uint8(0), uint8(0), uint16(0), true)
	for _, fr := range nettest.Fragments(nettest.UDP(alice4, out, 1, 9, make([]byte, 3000)), 1500) {
		f.Add(fr[14:], uint8(0), uint8(0), uint16(0), false)
	}
	h, err := NewHost(testConfig())
	if err != nil {
		f.Fatal(err)
	}
	defer h.Close()
	b := frame.NewBatch()
	f.Fuzz(func(t *testing.T, ip []byte, flags, gso uint8, size uint16, v6 bool) {
		et := uint16(frame.EtherIPv4)
		if v6 {
			et = frame.EtherIPv6
		}
		b.Reset()
		fr := b.Append(nettest.Ether(gateway4.MAC, alice4.MAC, et, ip))
		if fr == nil {
			return
		}
		fr.Offload = frame.Offload{Flags: flags, GSO: frame.GSO(gso), Size: size, CsumStart: 34, CsumOffset: 6}
		h.WriteBatch([]*frame.Frame{fr})
		b.Reset()
		h.ReadBatch(b)
		for i := range b.Len() {
			if r := b.At(i).Parse(); r != frame.NotDropped {
				t.Fatalf("answered with a bad frame: %v", r)
			}
		}
	})
}
