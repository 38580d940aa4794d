package vxlan

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The descriptors are non-blocking, so these calls return as soon as the bytes
// are copied. RawSyscall therefore leaves the scheduler out of it, as in tap.

// sendmmsg returns how many messages were taken; the error is about the first
// one, when that is none.
func sendmmsg(fd int, msgs []unix.Mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// recvmmsg returns how many messages were there.
func recvmmsg(fd int, msgs []unix.Mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// sendEach is sendmmsg by one sendto(2) per message, of one buffer each.
func sendEach(fd int, msgs []unix.Mmsghdr) (int, unix.Errno) {
	for i := range msgs {
		h := &msgs[i].Hdr
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(h.Iov.Base)), uintptr(h.Iov.Len),
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(h.Name)), uintptr(h.Namelen))
		if errno != 0 {
			if i > 0 {
				errno = 0
			}
			return i, errno
		}
	}
	return len(msgs), 0
}

// sendTo sends one datagram.
func sendTo(fd int, datagram []byte, to *address) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(datagram))), uintptr(len(datagram)),
		unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&to.raw)), uintptr(to.len))
	return errno
}

// recvEach is recvmmsg by one recvfrom(2) per message, without control messages.
func recvEach(fd int, msgs []unix.Mmsghdr) (int, unix.Errno) {
	for i := range msgs {
		h := &msgs[i].Hdr
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(h.Iov.Base)), uintptr(h.Iov.Len),
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(h.Name)), uintptr(unsafe.Pointer(&h.Namelen)))
		if errno != 0 {
			if i > 0 {
				errno = 0
			}
			return i, errno
		}
		msgs[i].Len, h.Flags = uint32(n), 0
		h.SetControllen(0)
	}
	return len(msgs), 0
}

// An address is a sockaddr of either family.
type address struct {
	raw unix.RawSockaddrInet6 // or a RawSockaddrInet4 in its place
	len uint32
}

func addressOf(a netip.AddrPort) address {
	to := address{}
	if ip := a.Addr().Unmap(); ip.Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&to.raw))
		v4.Family, v4.Addr = unix.AF_INET, ip.As4()
		to.len = unix.SizeofSockaddrInet4
	} else {
		to.raw.Family, to.raw.Addr, to.raw.Scope_id = unix.AF_INET6, ip.As16(), scopeOf(ip.Zone())
		to.len = unix.SizeofSockaddrInet6
	}
	// The port lies at the same place in both, in network byte order.
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&to.raw.Port))[:], a.Port())
	return to
}

// scopeOf returns the index of the interface a zone names, 0 if there is none.
func scopeOf(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}

// senderOf returns the source that a received sockaddr names.
func senderOf(raw *unix.RawSockaddrInet6) source {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&raw.Port))[:])
	if raw.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(raw))
		return source{0, 0xffff<<32 | uint64(binary.BigEndian.Uint32(v4.Addr[:])), port}
	}
	return source{binary.BigEndian.Uint64(raw.Addr[:]), binary.BigEndian.Uint64(raw.Addr[8:]), port}
}

func connect(fd int, a netip.AddrPort) error {
	to := addressOf(a)
	if _, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&to.raw)), uintptr(to.len)); errno != 0 {
		return errno
	}
	return nil
}

// kernelDrops asks what was dropped in front of a socket. SO_RXQ_OVFL would have
// the kernel tell, but must not be used: once something was dropped, hardened
// kernels (usercopy) stop the thread that receives a packet which a TCP of the same
// host has sent through a VXLAN device, for they take the copying of the count
// for a leak.
func kernelDrops(fd int) uint64 {
	const drops = 8 // SK_MEMINFO_DROPS
	var info [drops + 1]uint32
	n := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0
	}
	return uint64(info[drops])
}
