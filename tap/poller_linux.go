package tap

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wakeToken marks the eventfd inside the epoll set; it is no valid token.
const wakeToken = ^uint64(0)

// A Poller waits for many descriptors at once: one epoll set, level-triggered,
// so what is left unread is reported again.
type Poller struct {
	epoll  int
	events []unix.EpollEvent // the waiter's, reused
	busy   bool              // the last Wait reported something
	spin   patience

	mu   sync.Mutex // guards wake against Close
	wake int
}

// NewPoller returns an empty set.
func NewPoller() (*Poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("poller: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("poller: eventfd: %w", err)
	}
	p := &Poller{epoll: epoll, wake: wake}
	if err := p.add(wake, wakeToken); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Add watches a descriptor for frames to read; Wait reports it as token, which
// may be anything but the largest number.
func (p *Poller) Add(fd int, token uint64) error {
	if token == wakeToken {
		return fmt.Errorf("poller: token %#x is reserved", token)
	}
	return p.add(fd, token)
}

func (p *Poller) add(fd int, token uint64) error {
	// Fd and Pad are the two halves of the kernel's 64-bit user data.
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(uint32(token)), Pad: int32(uint32(token >> 32))}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("poller: add descriptor %d: %w", fd, err)
	}
	return nil
}

// Remove stops watching a descriptor. It must be called before the descriptor
// is closed if a duplicate of it is open elsewhere.
func (p *Poller) Remove(fd int) error {
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
		return fmt.Errorf("poller: remove descriptor %d: %w", fd, err)
	}
	return nil
}

// Wait fills ready with the tokens of descriptors that can be read, or whose
// interface is gone, and returns their number. It returns 0 after timeout
// milliseconds, after Wake and when a signal came; a negative timeout waits for
// ever, 0 only looks. Its error is os.ErrClosed after Close. A Wait for ever that
// follows a busy one lingers before it sleeps; see linger.
func (p *Poller) Wait(ready []uint64, timeout int) (int, error) {
	if len(ready) == 0 {
		return 0, errors.New("poller: no room for tokens")
	}
	if len(p.events) < len(ready) {
		p.events = make([]unix.EpollEvent, len(ready))
	}
	// No more events than tokens are asked for: the kernel takes turns among
	// what it has reported, so an event thrown away here could starve.
	n, errno := 0, unix.Errno(0)
	if timeout < 0 && p.busy {
		n, errno = p.linger(len(ready))
	}
	if n == 0 && errno == 0 {
		n, errno = epollWait(p.epoll, p.events[:len(ready)], timeout)
	}
	p.busy = n > 0
	switch errno {
	case 0:
	case unix.EINTR:
		return 0, nil
	case unix.EBADF:
		return 0, os.ErrClosed
	default:
		return 0, fmt.Errorf("poller: wait: %w", errno)
	}
	found := 0
	for i := range p.events[:n] {
		token := uint64(uint32(p.events[i].Fd)) | uint64(uint32(p.events[i].Pad))<<32
		if token == wakeToken {
			p.clearWake()
			continue
		}
		ready[found] = token
		found++
	}
	return found, nil
}

// epollWait leaves the Go scheduler out of a call that does not block.
func epollWait(epoll int, events []unix.EpollEvent, timeout int) (int, unix.Errno) {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(events)))
	var n uintptr
	var errno unix.Errno
	if timeout == 0 {
		n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), at, uintptr(len(events)), 0, 0, 0)
	} else {
		n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), at, uintptr(len(events)), uintptr(timeout), 0, 0)
	}
	return int(n), errno
}

// Wake makes a Wait under way, or the next one, return.
func (p *Poller) Wake() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wake < 0 {
		return os.ErrClosed
	}
	one := [8]byte{1} // any non-zero count, in either byte order
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(p.wake), uintptr(unsafe.Pointer(&one)), 8)
	if errno != 0 && errno != unix.EAGAIN {
		return fmt.Errorf("poller: wake: %w", errno)
	}
	return nil
}

func (p *Poller) clearWake() {
	var count [8]byte
	unix.RawSyscall(unix.SYS_READ, uintptr(p.wake), uintptr(unsafe.Pointer(&count)), 8)
}

// Close gives the set back. Nobody may be waiting: Wake, and let the waiter end
// first.
func (p *Poller) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wake < 0 {
		return nil
	}
	err := errors.Join(unix.Close(p.wake), unix.Close(p.epoll))
	p.wake, p.epoll = -1, -1
	return err
}
