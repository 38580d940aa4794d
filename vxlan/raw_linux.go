package vxlan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// Theory of operation: ESP in IP
//
// A raw socket of protocol 50 (RFC 4303, 2) has no port. It is given a copy of every
// ESP packet that the host receives at its address, whoever else takes them: the
// kernel's own IPsec, or another node's socket. What is not for this node has an SPI
// that it does not know. There is no marker and no keepalive: all that comes is ESP.
//
// Linux hands over IPv4 packets with their header, reassembled, and IPv6 packets
// without it and its extensions. Neither family has segmentation or merging for it.

// rawSocket is udpSocket for ESP in IP. It takes CAP_NET_RAW over the network
// namespace.
func rawSocket(a netip.Addr) (int, error) {
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ESP)
	if err != nil {
		return -1, err
	}
	// IPV6_V6ONLY is not for raw sockets, which have one family anyway.
	if err := neverFragment(fd, a); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// explainRaw says what a raw socket takes.
func explainRaw(a netip.Addr, err error) error {
	family, hint := "IPv4", ""
	if a.Is6() {
		family = "IPv6"
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		hint = ": it takes the right CAP_NET_RAW, which this process lacks; give it that, or send ESP in UDP with --esp-encapsulation udp"
	}
	return fmt.Errorf("vxlan: open a raw %s socket for ESP (IP protocol 50): %w%s", family, err, hint)
}

// ipv4Least is the length of an IPv4 header without options, in bytes.
const ipv4Least = 20

// ipv4Header returns the length of the header in front of what an IPv4 packet of
// ESP holds (RFC 791, 3.1: IHL counts words of four bytes), in bytes.
func ipv4Header(packet []byte) (n int, r frame.Reason) {
	if len(packet) < ipv4Least {
		return 0, frame.Runt
	}
	n = int(packet[0]&15) * 4
	if packet[0]>>4 != 4 || n < ipv4Least || n > len(packet) || packet[9] != unix.IPPROTO_ESP ||
		int(binary.BigEndian.Uint16(packet[2:])) != len(packet) {
		return 0, frame.BadESP
	}
	return n, frame.NotDropped
}
