package uplink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// openPacket opens the socket without a protocol, so that nothing arrives before
// it is set up, and binds it last.
func openPacket(c PacketConfig) (*Packet, error) {
	ifi, err := net.InterfaceByName(c.Interface)
	if err != nil {
		return nil, fmt.Errorf("there is no such interface here; `ip link` lists them: %w", err)
	}
	own := frame.MAC{}
	if len(ifi.HardwareAddr) != len(own) || ifi.Flags&net.FlagLoopback != 0 {
		return nil, fmt.Errorf("is no Ethernet interface: its link address is %q", ifi.HardwareAddr)
	}
	copy(own[:], ifi.HardwareAddr)
	p := &Packet{name: ifi.Name, mac: c.MAC, index: ifi.Index}
	if p.mac == (frame.MAC{}) {
		p.mac = own
	}
	p.mtu.Store(int32(ifi.MTU))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, explainSocket(err)
	}
	if err := p.setUp(fd, c, own); err != nil {
		unix.Close(fd)
		return nil, err
	}
	p.fd.Store(int32(fd))
	return p, nil
}

// explainSocket says what a packet socket takes.
func explainSocket(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("open a packet socket: %w: it takes the right CAP_NET_RAW over the network namespace, which this process lacks; run as root, or in a namespace of your own, or use --uplink host", err)
	}
	return fmt.Errorf("open a packet socket: %w", err)
}

func (p *Packet) setUp(fd int, c PacketConfig, own frame.MAC) error {
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, packetBuffer)
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, packetBuffer)
	program := packetFilter(p.mac)
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}); err != nil {
		return fmt.Errorf("SO_ATTACH_FILTER: %w", err)
	}
	// The filter does the same, after the kernel has made a copy (before Linux 4.20).
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	p.climb(fd, c.NoOffload)
	if err := p.join(fd, c.Addrs, own); err != nil {
		return err
	}
	// The protocol stands in network byte order.
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: p.index}); err != nil {
		return fmt.Errorf("bind the packet socket: %w", err)
	}
	return nil
}

// climb takes the highest rung the kernel grants.
func (p *Packet) climb(fd int, noOffload bool) {
	if noOffload {
		p.note = "offloads are switched off"
		return
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		p.note = "PACKET_VNET_HDR: " + err.Error()
		return
	}
	p.vnet = true
	p.caps.Store(uint32(frame.CapCsum | frame.CapTSO4 | frame.CapTSO6 | frame.CapECN | frame.CapUSO))
}

// join has the interface take in what is for the uplink: its MAC, for which a device
// without a filter for several goes promiscuous by itself, and the groups of its IPv6
// addresses.
func (p *Packet) join(fd int, addrs []netip.Addr, own frame.MAC) error {
	join := func(kind uint16, m frame.MAC) error {
		r := unix.PacketMreq{Ifindex: int32(p.index), Type: kind, Alen: uint16(len(m))}
		copy(r.Address[:], m[:])
		return unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &r)
	}
	if p.mac != own {
		if err := join(unix.PACKET_MR_UNICAST, p.mac); err != nil {
			return fmt.Errorf("have the interface take in frames for %s: %w", p.mac, err)
		}
	}
	for _, group := range groups(p.mac, addrs) {
		if err := join(unix.PACKET_MR_MULTICAST, group); err != nil {
			return fmt.Errorf("join the group %s of IPv6 neighbours: %w", group, err)
		}
	}
	return nil
}

// groups are the Ethernet addresses (RFC 2464, 7) of what IPv6 neighbours send to more than
// one for the uplink: to all nodes, and where they look for its addresses, the link-local one
// of its MAC among them (RFC 4291, 2.7.1 and appendix A).
func groups(mac frame.MAC, addrs []netip.Addr) (all []frame.MAC) {
	for _, a := range addrs {
		if !a.Is6() {
			continue
		}
		if all == nil {
			all = []frame.MAC{{0x33, 0x33, 0, 0, 0, 1}, {0x33, 0x33, 0xff, mac[3], mac[4], mac[5]}}
		}
		b := a.As16()
		all = append(all, frame.MAC{0x33, 0x33, 0xff, b[13], b[14], b[15]})
	}
	return all
}

// setBuffer asks for a buffer beyond the host's limit, which needs CAP_NET_ADMIN, and
// else for what the limit allows.
func setBuffer(fd, force, opt, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, size)
	}
}
