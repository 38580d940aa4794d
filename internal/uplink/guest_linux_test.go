package uplink

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// The network of the tests: 172.18.0.0/16 and fd00:18::/64, the gateway at .1.
var (
	gateway4 = nettest.Station("172.18.0.1")
	gateway6 = nettest.Host{MAC: gateway4.MAC, IP: netip.MustParseAddr("fd00:18::1")}
	alice4   = nettest.Station("172.18.0.2")
	alice6   = nettest.Host{MAC: alice4.MAC, IP: netip.MustParseAddr("fd00:18::2")}
	bob4     = nettest.Station("172.18.0.3")
)

// inNetworks is the tests' HostConfig.Inside.
func inNetworks(a netip.Addr) bool {
	return netip.MustParsePrefix("172.18.0.0/16").Contains(a) || netip.MustParsePrefix("10.0.0.0/8").Contains(a) || netip.MustParsePrefix("fd00:18::/64").Contains(a)
}

func testConfig() HostConfig {
	return HostConfig{
		Name: "front", MAC: gateway4.MAC, Addrs: []netip.Addr{gateway4.IP, gateway6.IP}, MTU: 1500, Inside: inNetworks,
		Neighbour: func(a netip.Addr) (frame.MAC, bool) {
			for _, n := range []nettest.Host{alice4, alice6, bob4} {
				if n.IP == a {
					return n.MAC, true
				}
			}
			return frame.MAC{}, false
		},
	}
}

func newHost(t testing.TB, change func(*HostConfig)) *Host {
	t.Helper()
	cfg := testConfig()
	if change != nil {
		change(&cfg)
	}
	h, err := NewHost(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// A wire is the test in the place of the switch: it reads the host's queue, and
// hands each frame to whoever has its destination MAC.
type wire struct {
	host *Host
	stop chan struct{}
	done sync.WaitGroup

	mu sync.Mutex
	to map[frame.MAC]func([]byte, frame.Offload)
}

func newWire(t testing.TB, h *Host) *wire {
	w := &wire{host: h, stop: make(chan struct{}), to: map[frame.MAC]func([]byte, frame.Offload){}}
	w.done.Go(func() {
		b := frame.NewBatch()
		for {
			select {
			case <-w.stop:
				return
			default:
			}
			fds := []unix.PollFd{{Fd: int32(h.FD()), Events: unix.POLLIN}}
			if n, _ := unix.Poll(fds, 20); n == 0 {
				continue
			}
			b.Reset()
			if _, err := h.ReadBatch(b); err != nil {
				return
			}
			for i := range b.Len() {
				f := b.At(i)
				if r := f.Parse(); r != frame.NotDropped {
					t.Errorf("a frame of the uplink's is bad: %v: %x", r, f.Bytes())
				}
				if f.SrcMAC() != gateway4.MAC {
					t.Errorf("a frame of the uplink's comes from %v", f.SrcMAC())
				}
				w.mu.Lock()
				deliver := w.to[f.DstMAC()]
				w.mu.Unlock()
				if deliver == nil {
					t.Errorf("a frame of the uplink's for %v", f.DstMAC())
					continue
				}
				deliver(append([]byte{}, f.Bytes()...), f.Offload)
			}
		}
	})
	t.Cleanup(func() {
		close(w.stop)
		w.done.Wait()
	})
	return w
}

// attach has frames for a MAC delivered.
func (w *wire) attach(mac frame.MAC, deliver func([]byte, frame.Offload)) {
	w.mu.Lock()
	w.to[mac] = deliver
	w.mu.Unlock()
}

// send hands frames to the host.
func (w *wire) send(data []byte, o frame.Offload) {
	b := frame.NewBatch()
	f := b.Append(data)
	f.Offload = o
	w.host.WriteBatch([]*frame.Frame{f})
}

// A guest is an endpoint with a TCP/IP stack of its own.
type guest struct {
	t     testing.TB
	stack *stack.Stack
	link  *channel.Endpoint
	wire  *wire
}

func newGuest(t testing.TB, w *wire, addrs ...nettest.Host) *guest {
	t.Helper()
	g := &guest{t: t, wire: w}
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	mac := addrs[0].MAC
	g.link = channel.New(4096, 1500+header.EthernetMinimumSize, tcpip.LinkAddress(mac[:]))
	g.link.SupportedGSOKind = stack.HostGSOSupported
	g.link.LinkEPCapabilities = stack.CapabilityRXChecksumOffload
	if err := g.stack.CreateNIC(nic, ethernet.New(g.link)); err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		bits := 16
		if a.IP.Is6() {
			bits = 64
		}
		if err := g.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: networkOf(a.IP), AddressWithPrefix: tcpip.AddressWithPrefix{Address: toStack(a.IP), PrefixLen: bits}}, stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
	}
	gw := tcpip.LinkAddress(gateway4.MAC[:])
	g.stack.AddStaticNeighbor(nic, ipv4.ProtocolNumber, toStack(gateway4.IP), gw)
	g.stack.AddStaticNeighbor(nic, ipv6.ProtocolNumber, toStack(gateway6.IP), gw)
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, Gateway: toStack(gateway4.IP), NIC: nic},
		{Destination: header.IPv6EmptySubnet, Gateway: toStack(gateway6.IP), NIC: nic},
	})
	w.attach(mac, g.receive)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { g.transmit(ctx) })
	t.Cleanup(func() {
		cancel()
		done.Wait()
		g.stack.Close()
		g.stack.Wait()
	})
	return g
}

// receive takes a frame of the host's.
func (g *guest) receive(data []byte, o frame.Offload) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(data)})
	g.link.InjectInbound(0, pkt)
	pkt.DecRef()
}

// transmit sends what the stack sends.
func (g *guest) transmit(ctx context.Context) {
	b := frame.NewBatch()
	for {
		pkt := g.link.ReadContext(ctx)
		if pkt == nil {
			return
		}
		b.Reset()
		// The link's packets have their Ethernet header already.
		view := pkt.ToView()
		f := b.Append(view.AsSlice())
		view.Release()
		if o := &pkt.GSOOptions; o.Type != stack.GSONone && o.NeedsCsum {
			f.Offload = frame.Offload{Flags: frame.NeedsCsum, CsumStart: frame.EtherLen + o.L3HdrLen, CsumOffset: o.CsumOffset}
			if pkt.Data().Size() > int(o.MSS) {
				f.Offload.Size, f.Offload.GSO = o.MSS, frame.GSOTCP4
				if o.Type == stack.GSOTCPv6 {
					f.Offload.GSO = frame.GSOTCP6
				}
			}
		}
		pkt.DecRef()
		if f.DstMAC() == gateway4.MAC {
			g.wire.host.WriteBatch([]*frame.Frame{f})
		}
	}
}

func (g *guest) dial(to string) (net.Conn, error) {
	a := netip.MustParseAddrPort(to)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return gonet.DialContextTCP(ctx, g.stack, tcpip.FullAddress{NIC: nic, Addr: toStack(a.Addr()), Port: a.Port()}, networkOf(a.Addr()))
}

func (g *guest) mustDial(to string) net.Conn {
	g.t.Helper()
	c, err := g.dial(to)
	if err != nil {
		g.t.Fatalf("dialing %s: %v", to, err)
	}
	g.t.Cleanup(func() { c.Close() })
	return c
}

func (g *guest) listen(at string) net.Listener {
	g.t.Helper()
	a := netip.MustParseAddrPort(at)
	l, err := gonet.ListenTCP(g.stack, tcpip.FullAddress{NIC: nic, Addr: toStack(a.Addr()), Port: a.Port()}, networkOf(a.Addr()))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { l.Close() })
	return l
}

// udp opens a UDP socket, bound to a port of the guest's.
func (g *guest) udp(at string) *gonet.UDPConn {
	g.t.Helper()
	a := netip.MustParseAddrPort(at)
	c, err := gonet.DialUDP(g.stack, &tcpip.FullAddress{NIC: nic, Addr: toStack(a.Addr()), Port: a.Port()}, nil, networkOf(a.Addr()))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}
