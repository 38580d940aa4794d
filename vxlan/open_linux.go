package vxlan

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// udpSocket returns a non-blocking UDP socket of an address's family that never
// fragments: a datagram too large for its path is refused (RFC 7348, 4.3: VTEPs
// must not fragment).
func udpSocket(a netip.Addr) (int, error) {
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if a.Is6() {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err = errors.Join(err, neverFragment(fd, a)); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// neverFragment has the kernel refuse what is too large for its path.
func neverFragment(fd int, a netip.Addr) error {
	if a.Is6() {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
}

// poolTries is how many ports are tried for one socket of the pool.
const poolTries = 100

// poolSocket returns a socket to send from, on a random free port of the dynamic
// range, that takes no input.
func poolSocket(a netip.Addr, buffer int) (fd int, port uint16, err error) {
	if fd, err = udpSocket(a); err != nil {
		return -1, 0, err
	}
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, buffer)
	if err = takeNothing(fd); err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	for range poolTries {
		port = uint16(firstPoolPort + rand.IntN(lastPoolPort-firstPoolPort+1))
		if _, err = bind(fd, netip.AddrPortFrom(a, port)); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	return fd, port, nil
}

// takeNothing attaches a classic BPF program that accepts 0 bytes of everything,
// before the socket has a port that anybody could send to.
func takeNothing(fd int) error {
	program := [1]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// setBuffer asks for a buffer beyond the host's limit, which needs CAP_NET_ADMIN,
// and else for what the limit allows. The kernel grants what it can either way.
func setBuffer(fd, force, opt, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, size)
	}
}

// bind binds the socket and returns the address it got.
func bind(fd int, a netip.AddrPort) (netip.AddrPort, error) {
	to := addressOf(a)
	if _, _, errno := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&to.raw)), uintptr(to.len)); errno != 0 {
		return a, errno
	}
	got, err := unix.Getsockname(fd)
	if err != nil {
		return a, err
	}
	port := a.Port()
	switch got := got.(type) {
	case *unix.SockaddrInet4:
		port = uint16(got.Port)
	case *unix.SockaddrInet6:
		port = uint16(got.Port)
	}
	return netip.AddrPortFrom(a.Addr(), port), nil
}

// probeReceive finds the rung to receive on: before the socket has a port, so
// that nothing can arrive half way.
func (s *Socket) probeReceive(rx *Reader, fd int) {
	var probe [1]unix.Mmsghdr
	if _, errno := recvmmsg(fd, probe[:]); errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR {
		rx.rung, rx.note = ReceiveSingle, "recvmmsg: "+errno.Error()
		return
	}
	rx.rung = ReceiveMMsg
	if s.cfg.Raw {
		rx.note = "ESP in IP has no GRO"
		return
	}
	if s.cfg.NoGRO {
		rx.note = "GRO is switched off"
		return
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil {
		rx.note = "UDP_GRO: " + err.Error()
		return
	}
	rx.rung = ReceiveGRO
}

// probeSend finds the rung to send on. What a route makes of GSO shows only when
// something is sent.
func (s *Socket) probeSend(fd int) {
	if _, errno := sendmmsg(fd, nil); errno != 0 {
		s.stepDown(SendSingle, "sendmmsg: "+errno.Error())
		return
	}
	if s.cfg.Raw {
		s.stepDown(SendMMsg, "ESP in IP has no GSO")
		return
	}
	if s.cfg.NoGSO {
		s.stepDown(SendMMsg, "GSO is switched off")
		return
	}
	if _, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT); err != nil {
		s.stepDown(SendMMsg, "UDP_SEGMENT: "+err.Error())
		return
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		if fault := gsoFault(unix.ByteSliceToString(uts.Release[:])); fault != "" {
			s.stepDown(SendMMsg, fault)
		}
	}
}
