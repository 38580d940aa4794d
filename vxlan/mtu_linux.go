package vxlan

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// PathMTU returns the largest underlay packet, in bytes, that the kernel now
// believes the path to an address takes: the MTU of the interface the route leads
// through, or less, if a router on the way said so (RFC 1191, RFC 8201).
func (s *Socket) PathMTU(peer netip.Addr) (int, error) {
	from := s.addr.Addr()
	mtu, err := pathMTU(from, peer.Unmap())
	if err != nil {
		return 0, fmt.Errorf("vxlan: ask for the MTU of the path from %s to %s: %w", from, peer, err)
	}
	return mtu, nil
}

// pathMTU asks through a socket that is connected but never sends.
func pathMTU(from, to netip.Addr) (int, error) {
	if from.Is4() != to.Is4() {
		return 0, errors.New("one address is IPv4 and the other IPv6")
	}
	fd, err := udpSocket(from)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	if _, err := bind(fd, netip.AddrPortFrom(from, 0)); err != nil {
		return 0, fmt.Errorf("bind: %w", err)
	}
	if err := connect(fd, netip.AddrPortFrom(to, Port)); err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	if to.Is6() {
		return unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU)
	}
	return unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
}
