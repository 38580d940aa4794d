package uplink

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An address is a sockaddr of either family.
type address struct {
	raw unix.RawSockaddrInet6 // or a RawSockaddrInet4 in its place
	len uint32
}

func addressOf(a netip.AddrPort) address {
	to := address{}
	if ip := a.Addr(); ip.Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&to.raw))
		v4.Family, v4.Addr = unix.AF_INET, ip.As4()
		to.len = unix.SizeofSockaddrInet4
	} else {
		to.raw.Family, to.raw.Addr = unix.AF_INET6, ip.As16()
		if scope, err := strconv.ParseUint(ip.Zone(), 10, 32); err == nil {
			to.raw.Scope_id = uint32(scope)
		}
		to.len = unix.SizeofSockaddrInet6
	}
	// The port lies at the same place in both, in network byte order.
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&to.raw.Port))[:], a.Port())
	return to
}

// addrPort is the reverse of addressOf. The zone of a link-local address is the
// number of its interface.
func addrPort(raw *unix.RawSockaddrInet6) netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&raw.Port))[:])
	switch raw.Family {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(raw)).Addr), port)
	case unix.AF_INET6:
		a := netip.AddrFrom16(raw.Addr)
		if raw.Scope_id != 0 && a.IsLinkLocalUnicast() {
			a = a.WithZone(strconv.FormatUint(uint64(raw.Scope_id), 10))
		}
		return netip.AddrPortFrom(a, port)
	}
	return netip.AddrPort{}
}

// A message is the memory of one sendmsg(2) or recvmsg(2), reused.
type message struct {
	hdr     unix.Msghdr
	iov     unix.Iovec
	name    unix.RawSockaddrInet6
	control [256]byte
}

// receive does one recvmsg(2) that does not block.
func (m *message) receive(fd int, into []byte, flags int) (int, unix.Errno) {
	m.iov.Base = unsafe.SliceData(into)
	m.iov.SetLen(len(into))
	m.hdr = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&m.name)), Namelen: uint32(unsafe.Sizeof(m.name)), Iov: &m.iov, Control: &m.control[0]}
	m.hdr.SetIovlen(1)
	m.hdr.SetControllen(len(m.control))
	m.name.Family = unix.AF_UNSPEC
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr)), uintptr(flags|unix.MSG_DONTWAIT))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// send does one sendmsg(2) that does not block; control may be empty.
func (m *message) send(fd int, data []byte, to *address, control []byte) unix.Errno {
	m.iov.Base = unsafe.SliceData(data)
	m.iov.SetLen(len(data))
	m.name = to.raw
	m.hdr = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&m.name)), Namelen: to.len, Iov: &m.iov}
	m.hdr.SetIovlen(1)
	if len(control) > 0 {
		m.hdr.Control = unsafe.SliceData(control)
		m.hdr.SetControllen(len(control))
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr)), unix.MSG_DONTWAIT)
	return errno
}

// next returns the first control message of b, and what is behind it; data is nil
// at the end.
func nextControl(b []byte) (level, kind int32, data, rest []byte) {
	if len(b) < unix.SizeofCmsghdr {
		return 0, 0, nil, nil
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
	n := int(h.Len)
	if n < unix.CmsgLen(0) || n > len(b) {
		return 0, 0, nil, nil
	}
	return h.Level, h.Type, b[unix.CmsgLen(0):n], b[min(unix.CmsgSpace(n-unix.CmsgLen(0)), len(b)):]
}

// appendControl appends a control message.
func appendControl(b []byte, level, kind int32, data []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, unix.CmsgSpace(len(data)))...)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[at]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[at+unix.CmsgLen(0):], data)
	return b
}

// received returns the control messages of the last receive.
func (m *message) received() []byte { return m.control[:min(int(m.hdr.Controllen), len(m.control))] }

// waiting returns how many bytes of a TCP socket can be read now.
func waiting(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	if err != nil {
		return 0
	}
	return n
}
