package tap

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The descriptors are non-blocking, so read(2) and write(2) return as soon as
// the bytes are copied. RawSyscall therefore leaves the scheduler out of it: the
// hand-over of the processor that an ordinary system call prepares for costs
// more than a small frame's copy.

// readFrame reads one frame, with its header if the queue has one.
func readFrame(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, errNothing
	case unix.EBADFD, unix.EBADF, unix.ENODEV:
		return 0, ErrGone
	}
	return 0, errno
}

// writeFrame writes one frame, with its header if the queue has one. The kernel
// takes all of it or nothing.
func writeFrame(fd int, b []byte) error {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	switch errno {
	case 0:
		return nil
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, unix.EINTR:
		return ErrBlocked
	case unix.EINVAL, unix.EMSGSIZE:
		return ErrRefused
	case unix.EIO: // the driver's answer while IFF_UP is not set
		return errDown
	case unix.EBADFD, unix.EBADF, unix.ENODEV:
		return ErrGone
	}
	return errno
}

func closeFD(fd int) error { return unix.Close(fd) }

func duplicate(fd int, name string) (*os.File, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(dup), name), nil
}

func persist(fd int, on bool) error {
	value := 0
	if on {
		value = 1
	}
	return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, value)
}
