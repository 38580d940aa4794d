package uplink

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The socket is not to wait, so RawSyscall leaves the scheduler out of it, as in
// package tap.

// readPacket reads one frame, with its header if the socket has one, and returns its
// length, which may be more than fitted.
func readPacket(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, errNothing
	case unix.EINVAL: // merged in a way that a virtio header has no word for
		return 0, errLost
	case unix.ENETDOWN: // told once, when the interface goes down or away
		if gone(fd) {
			return 0, ErrGone
		}
		return 0, errNothing
	case unix.EBADF:
		return 0, ErrGone
	}
	return 0, errno
}

// gone reports whether the interface a socket was bound to has been deleted.
func gone(fd int) bool {
	to, err := unix.Getsockname(fd)
	ll, ok := to.(*unix.SockaddrLinklayer)
	return err == nil && ok && ll.Ifindex <= 0
}

// writePacket sends one frame, with its header if the socket has one. The kernel takes
// all of it or nothing.
func writePacket(fd int, b []byte) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return nil
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, unix.EINTR:
		return ErrBlocked
	case unix.EMSGSIZE:
		return ErrTooBig
	case unix.EINVAL:
		return ErrRefused
	case unix.ENETDOWN:
		return errDown
	case unix.ENXIO, unix.ENODEV, unix.EBADF:
		return ErrGone
	}
	return errno
}

// packetDrops returns how many frames found no room since it was asked last.
func packetDrops(fd int) uint64 {
	s, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return uint64(s.Drops)
}

func closeFD(fd int) error { return unix.Close(fd) }
