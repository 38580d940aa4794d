package vxlan

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"weft/ipsec"
)

// Theory of operation: several readers on one port
//
// To open a packet costs more than to receive it, so a peer's packets are opened by
// several workers. All of them come from one port and to one port, for these are what
// NATs know, and no hash over addresses and ports could tell them apart. The SPI can:
// its lowest bits are the worker that sealed (package ipsec). So the listening
// descriptors are a group (SO_REUSEPORT) with a classic BPF program that chooses by the
// SPI, and what one worker sealed, a flow, comes to one reader in order. What is no ESP
// begins with the marker, which is 0, or is too short to be looked into: the first
// reader gets it.
//
// Which reader a packet comes to is of no consequence for what becomes of it: all have
// the same SAs, whose windows any number of them may use.
//
// On the way, a receiving kernel may merge what two workers have sent (GRO), for it does
// not know of SPIs, and the flow of the second would come by two readers. It does not
// merge what has different times to live: each descriptor that is sent from has its own,
// 64 at most less its number.
//
// The port is taken before it is shared, so that two daemons never share one. Where the
// kernel has no part in it, one reader is enough.

// share opens the readers beyond the first.
func (s *Socket) share() {
	first := s.FD()
	if unix.SetsockoptInt(first, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) != nil {
		return
	}
	for len(s.readers) < s.cfg.Readers {
		if !s.another() {
			break
		}
	}
	if n := len(s.readers); n > 1 && chooseBySPI(first, n) != nil {
		for _, rx := range s.readers[1:] {
			unix.Close(int(rx.fd.Swap(-1)))
		}
		s.readers, s.fds = s.readers[:1], s.fds[:1]
	}
}

// another opens one more reader and reports whether it could.
func (s *Socket) another() bool {
	a := s.addr.Addr()
	fd, err := udpSocket(a)
	if err != nil {
		return false
	}
	rx := new(Reader)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) != nil || liveLess(fd, a, len(s.readers)) != nil {
		unix.Close(fd)
		return false
	}
	s.listens(rx, fd)
	if _, err := bind(fd, s.addr); err != nil {
		s.fds, s.readers = s.fds[:len(s.fds)-1], s.readers[:len(s.readers)-1]
		unix.Close(fd)
		return false
	}
	return true
}

// liveLess takes n off the time to live, or hop limit, of what leaves from a
// descriptor.
func liveLess(fd int, a netip.Addr, n int) error {
	level, option := unix.IPPROTO_IP, unix.IP_TTL
	if a.Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
	}
	now, err := unix.GetsockoptInt(fd, level, option)
	if err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, level, option, max(1, now-n))
}

// chooseBySPI has the kernel give a packet to the descriptor of the group whose number
// is the sending worker's, modulo n. The program sees the datagram's payload, and a
// load from behind its end ends the program with 0.
func chooseBySPI(fd, n int) error {
	program := [...]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: ipsec.MaxWorkers - 1},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(n)},
		{Code: unix.BPF_RET | unix.BPF_A},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}
