package uplink

import (
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const nic tcpip.NICID = 1

// The buffers of a connection in the stack, in bytes. Each begins with the first
// and grows to the second only while the other side takes what it holds: a
// connection that stands still keeps no more than it began with.
const (
	firstBuffer = 256 << 10
	largeBuffer = 6 << 20
)

// An endpoint's connections beyond crowd have buffers of a fixed size: one that
// means ill could have all of them grow, and then take nothing.
const (
	crowd         = 256
	crowdedBuffer = 64 << 10
)

// TIME-WAIT guards against segments that come late. Between stack and endpoint
// there is only the switch; a minute would keep a hundred thousand dead
// connections at 2,000 new ones a second.
const timeWait = time.Second

// openStack makes the stack: every address is its own (promiscuous), and it may
// send from every address (spoofing), for it stands for the whole world.
func (h *Host) openStack() error {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	h.stack = s
	if err := h.configureStack(); err != nil {
		s.Destroy()
		return fmt.Errorf("TCP/IP stack: %w", err)
	}
	h.syns = tcp.NewForwarder(s, firstBuffer, h.cfg.MaxFlows, h.outbound)
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, h.unclaimed)
	s.SetTransportProtocolHandler(udp.ProtocolNumber, h.reassembled)
	s.SetTransportProtocolHandler(icmp.ProtocolNumber4, h.reassembled)
	s.SetTransportProtocolHandler(icmp.ProtocolNumber6, h.reassembled)
	return nil
}

func (h *Host) configureStack() error {
	s := h.stack
	sack := tcpip.TCPSACKEnabled(true)
	// RACK takes reordering for loss where segments are large and few: throughput
	// collapses (gvisor.dev/issue/9707). Cubic's window can overflow (11632).
	recovery := tcpip.TCPRecovery(0)
	reno := tcpip.CongestionControlOption("reno")
	grow := tcpip.TCPModerateReceiveBufferOption(true)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: firstBuffer, Max: largeBuffer}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: firstBuffer, Max: largeBuffer}
	wait := tcpip.TCPTimeWaitTimeoutOption(timeWait)
	tries := tcpip.TCPSynRetriesOption(4) // SYN and SYN-ACK: 31 s in all
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &recovery, &reno, &grow, &send, &receive, &wait, &tries} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("option %T: %s", o, err)
		}
	}
	if err := s.CreateNIC(nic, h.link); err != nil {
		return fmt.Errorf("interface: %s", err)
	}
	if err := s.SetPromiscuousMode(nic, true); err != nil {
		return fmt.Errorf("interface: %s", err)
	}
	if err := s.SetSpoofing(nic, true); err != nil {
		return fmt.Errorf("interface: %s", err)
	}
	s.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic},
		{Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	return nil
}

func toStack(a netip.Addr) tcpip.Address {
	if a.Is4() {
		return tcpip.AddrFrom4(a.As4())
	}
	return tcpip.AddrFrom16(a.As16())
}

func fromStack(a tcpip.Address) netip.Addr {
	if a.Len() == 4 {
		return netip.AddrFrom4(a.As4())
	}
	return netip.AddrFrom16(a.As16())
}

// pairOf returns the ends of a connection that an endpoint has begun.
func pairOf(id stack.TransportEndpointID) pair {
	return pair{
		endpoint: netip.AddrPortFrom(fromStack(id.RemoteAddress), id.RemotePort),
		remote:   netip.AddrPortFrom(fromStack(id.LocalAddress), id.LocalPort),
	}
}

func networkOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}
