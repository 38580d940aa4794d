package vswitch

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/internal/nettest"
	"weft/tap"
)

// TestKernelHost has the kernel join, answer the switch's queries, receive and
// leave, through a TAP.
func TestKernelHost(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		dev, err := tap.Open(tap.Options{Name: "h"})
		if err != nil {
			t.Skipf("opening a TAP: %v", err)
		}
		defer dev.Close()
		link, err := netlink.LinkByName("h")
		if err != nil {
			t.Fatal(err)
		}
		a, _ := netlink.ParseAddr("10.0.0.2/24")
		if err := netlink.LinkSetHardwareAddr(link, hw(mac(2))); err != nil {
			t.Fatal(err)
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			t.Fatal(err)
		}
		n := newNet(t, DomainConfig{Snooping: true, GatewayMAC: mac(1), Gateways: []netip.Addr{ip(1)}})
		h, err := n.sw.AddPort(PortConfig{Name: "h", Domain: n.domain, MAC: mac(2), Addrs: []netip.Addr{ip(2)}}, dev.Queues()[0])
		if err != nil {
			t.Fatal(err)
		}
		other := n.add("other", PortConfig{MAC: mac(3), Addrs: []netip.Addr{ip(3), ip6(3)}})
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
		k := &kernelHost{t, n, h, other, 1000}
		k.asks(2)
		k.pass(2*queryResponse + 1)
		for _, g := range []netip.Addr{g1, g6} {
			k.joins(g)
		}
		if s := h.Stats(); s.DroppedTotal() != 0 {
			t.Errorf("frames of the kernel's were dropped: %+v", s.Dropped)
		}
		checkConservation(t, n)
	})
}

type kernelHost struct {
	*testing.T
	n     *testNet
	h     *Port
	other *cable
	now   uint32
}

// pass lets virtual time pass, without asking.
func (k *kernelHost) pass(seconds uint32) {
	k.now += seconds
	k.n.sw.Tick(k.now)
}

// asks sends the queries that are due to the kernel.
func (k *kernelHost) asks(want int) {
	k.Helper()
	k.pass(1)
	queries := k.n.sw.Queries(k.n.domain, k.now)
	if len(queries) != want {
		k.Errorf("%d queries, want %d", len(queries), want)
	}
	for _, q := range queries {
		k.n.w.Originate(k.n.domain, q)
	}
}

// until turns the port, in real time, until the table says what it should.
func (k *kernelHost) until(what string, g netip.Addr, want bool) {
	k.Helper()
	listens := func(e GroupEntry) bool { return e.Group == g && e.Port == k.h && e.Left == groupAge }
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := k.n.w.Turn(k.h); err != nil {
			k.Fatal(err)
		}
		if slices.ContainsFunc(k.n.domain.Groups(), listens) == want {
			return
		}
		if time.Now().After(end) {
			k.Fatalf("%s: %+v", what, k.n.domain.Groups())
		}
	}
}

// joins is the life of a listener in the kernel.
func (k *kernelHost) joins(g netip.Addr) {
	k.Helper()
	ifi, err := net.InterfaceByName("h")
	if err != nil {
		k.Fatal(err)
	}
	network := "udp4"
	if g.Is6() {
		network = "udp6"
	}
	conn, err := net.ListenMulticastUDP(network, ifi, net.UDPAddrFromAddrPort(netip.AddrPortFrom(g, 5001)))
	if err != nil {
		k.Fatal(err)
	}
	defer conn.Close()
	k.until("a socket joined", g, true)
	if got := names(k.send(g)); len(got) != 0 { // h is no cable
		k.Errorf("%v reached %v", g, got)
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if size, err := conn.Read(make([]byte, 100)); err != nil || g.Is4() && size != 30 {
		k.Errorf("%v: the socket received %d bytes, %v", g, size, err)
	}
	k.pass(queryInterval)
	k.asks(2)
	k.until("the kernel answered a query", g, true)
	_ = conn.Close()
	k.until("the socket was closed", g, false)
}

func (k *kernelHost) send(g netip.Addr) map[string][][]byte {
	if g.Is4() {
		return k.n.inject(k.other, udp4(k.T, mac(3), groupMAC(g), ip(3), g, 5000, 5001, 30))
	}
	return k.n.inject(k.other, udp6(k.T, mac(3), groupMAC(g), ip6(3), g, 5000, 5001))
}
