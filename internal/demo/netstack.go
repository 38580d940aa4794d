package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"weft/internal/nettool"
)

// A netHost is a TCP/IP stack of its own: a host without a kernel.
type netHost struct {
	stack *stack.Stack
	nics  []nic // in the order they came
	next  tcpip.NICID
}

// A nic is one of a host's interfaces.
type nic struct {
	id      tcpip.NICID
	name    string
	network string
	mac     net.HardwareAddr
	addr    netip.Prefix
	leads   bool // beyond its network, by the gateway
	port    *nicPort
}

func newNetHost() (*netHost, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	sack := tcpip.TCPSACKEnabled(true)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: 4 << 20, Max: 8 << 20}
	recv := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: 4 << 20, Max: 8 << 20}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &send, &recv} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			s.Destroy()
			return nil, fmt.Errorf("TCP options of a host: %s", err)
		}
	}
	return &netHost{stack: s, next: 1}, nil
}

// attach adds an interface and routes: to its network and, through the gateway
// of the first one, elsewhere.
func (h *netHost) attach(n nic) error {
	n.id, h.next = h.next, h.next+1
	used := map[string]bool{}
	for _, o := range h.nics {
		used[o.name] = true
	}
	for i := 0; n.name == "" || used[n.name]; i++ {
		n.name = fmt.Sprintf("eth%d", i)
	}
	if err := h.stack.CreateNICWithOptions(n.id, n.port.link, stack.NICOptions{Name: n.name}); err != nil {
		return fmt.Errorf("interface %s: %s", n.name, err)
	}
	addr := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{
		Address: tcpip.AddrFrom4(n.addr.Addr().As4()), PrefixLen: n.addr.Bits()}}
	if err := h.stack.AddProtocolAddress(n.id, addr, stack.AddressProperties{}); err != nil {
		h.stack.RemoveNIC(n.id)
		return fmt.Errorf("address %s: %s", n.addr, err)
	}
	h.nics = append(h.nics, n)
	h.route()
	return nil
}

// detach removes the interface on a network and returns it.
func (h *netHost) detach(network string) (nic, error) {
	for i, n := range h.nics {
		if n.network == network {
			h.nics = append(h.nics[:i:i], h.nics[i+1:]...)
			h.route()
			if err := h.stack.RemoveNIC(n.id); err != nil {
				return n, fmt.Errorf("interface %s: %s", n.name, err)
			}
			return n, nil
		}
	}
	return nic{}, errors.New("not on this network")
}

func (h *netHost) route() {
	var table []tcpip.Route
	for _, n := range h.nics {
		to := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(n.addr.Masked().Addr().As4()), PrefixLen: n.addr.Bits()}
		table = append(table, tcpip.Route{Destination: to.Subnet(), NIC: n.id})
	}
	if len(h.nics) > 0 && h.nics[0].leads {
		n := h.nics[0]
		gw := tcpip.AddrFrom4(n.addr.Masked().Addr().Next().As4())
		table = append(table, tcpip.Route{Destination: header.IPv4EmptySubnet, Gateway: gw, NIC: n.id})
	}
	h.stack.SetRouteTable(table)
}

// listen opens a TCP port on all addresses.
func (h *netHost) listen(port uint16) (net.Listener, error) {
	return gonet.ListenTCP(h.stack, tcpip.FullAddress{Port: port}, ipv4.ProtocolNumber)
}

// listenUDP opens a UDP port on all addresses.
func (h *netHost) listenUDP(port uint16) (net.PacketConn, error) {
	return gonet.DialUDP(h.stack, &tcpip.FullAddress{Port: port}, nil, ipv4.ProtocolNumber)
}

// dial connects. The error wraps nettool's for what the stack has found: gonet keeps
// no more of that than its text.
func (h *netHost) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	at := tcpip.FullAddress{Addr: tcpip.AddrFrom4(to.Addr().As4()), Port: to.Port()}
	c, err := gonet.DialContextTCP(ctx, h.stack, at, ipv4.ProtocolNumber)
	if err == nil {
		return c, nil
	}
	var op *net.OpError
	if errors.As(err, &op) {
		switch op.Err.Error() {
		case new(tcpip.ErrConnectionRefused).String():
			err = errors.Join(nettool.ErrRefused, err)
		case new(tcpip.ErrNetworkUnreachable).String(), new(tcpip.ErrHostUnreachable).String():
			err = errors.Join(nettool.ErrUnreachable, err)
		}
	}
	return nil, err
}

// pingSocket opens an ICMP socket: it sets and checks identifiers itself.
func (h *netHost) pingSocket() (net.PacketConn, error) {
	var wq waiter.Queue
	ep, err := h.stack.NewEndpoint(icmp.ProtocolNumber4, ipv4.ProtocolNumber, &wq)
	if err != nil {
		return nil, fmt.Errorf("ICMP socket: %s", err)
	}
	return gonet.NewUDPConn(&wq, ep), nil
}

// close ends the stack's connections and waits for its goroutines.
func (h *netHost) close() {
	h.stack.Close()
	h.stack.Wait()
}

// macFor returns Docker's MAC for an IPv4 address.
func macFor(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return append(net.HardwareAddr{2, 0x42}, bytes.Clone(b[:])...)
}
