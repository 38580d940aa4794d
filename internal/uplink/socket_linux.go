package uplink

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// A socketSet is the epoll set of the ring's eventfd and all datagram sockets.
type socketSet struct {
	epoll int

	mu   sync.RWMutex
	by   map[uint64]*socket // by token; the ring's is 0
	last uint64
}

func (t *socketSet) open(ring int) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	t.epoll, t.by = epoll, map[uint64]*socket{}
	if err := t.watch(ring, 0); err != nil {
		unix.Close(epoll)
		return err
	}
	return nil
}

func (t *socketSet) watch(fd int, token uint64) error {
	// Fd and Pad are the two halves of the kernel's 64-bit user data.
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(uint32(token)), Pad: int32(uint32(token >> 32))}
	if err := unix.EpollCtl(t.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// add takes in a socket, which is closed when that fails.
func (t *socketSet) add(s *socket) error {
	t.mu.Lock()
	t.last++
	s.token = t.last
	t.by[s.token] = s
	t.mu.Unlock()
	if err := t.watch(s.fd, s.token); err != nil {
		t.remove(s)
		return err
	}
	return nil
}

// remove closes a socket. The caller holds its client's lock, so nobody uses it.
func (t *socketSet) remove(s *socket) {
	t.mu.Lock()
	delete(t.by, s.token)
	t.mu.Unlock()
	s.closed = true
	unix.Close(s.fd)
}

func (t *socketSet) find(token uint64) *socket {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.by[token]
}

func (t *socketSet) empty() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.by) == 0
}

func (t *socketSet) close() { unix.Close(t.epoll) }

// A socket is a datagram or ping socket of the host: that of all flows of one
// endpoint's port (RFC 4787, 4.1: endpoint-independent mapping), or a published
// port's. All of it is guarded by its client's mu.
type socket struct {
	fd       int
	token    uint64
	proto    uint8
	v4       bool // the family outside
	endpoint netip.AddrPort
	client   *client
	port     *Published // nil for a mapping
	flows    int
	closed   bool
	// As last set, for they follow what the endpoint sends.
	ttl      int
	fragment fragmentation
}

// fragmentation is what the kernel does with datagrams that do not fit the path.
type fragmentation int8

const (
	unset fragmentation = iota
	may
	never
)

// openSocket opens a socket for a protocol and the family of an address. It is
// bound to nothing.
func openSocket(proto uint8, of netip.Addr) (int, error) {
	family, protocol := unix.AF_INET, 0
	if of.Is6() {
		family = unix.AF_INET6
	}
	switch proto {
	case frame.ProtoICMP:
		protocol = unix.IPPROTO_ICMP
	case frame.ProtoICMPv6:
		protocol = unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, err
	}
	set := func(level, option int) {
		err = errors.Join(err, unix.SetsockoptInt(fd, level, option, 1))
	}
	if of.Is4() {
		set(unix.IPPROTO_IP, unix.IP_RECVERR)
	} else {
		set(unix.IPPROTO_IPV6, unix.IPV6_RECVERR)
	}
	switch {
	case proto == frame.ProtoICMP:
		set(unix.IPPROTO_IP, unix.IP_RECVTTL)
	case proto == frame.ProtoICMPv6:
		set(unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT)
	case of.Is6():
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	if proto == frame.ProtoUDP {
		// Several datagrams of one size come at once (Linux 5.0): as well without.
		unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	}
	return fd, nil
}

// prepare has the socket send as the endpoint's packet asks: with one hop less
// than that had, in fragments or not. Few sockets see these change.
func (s *socket) prepare(ttl uint8, f fragmentation) {
	if int(ttl) != s.ttl {
		s.ttl = int(ttl)
		if s.v4 {
			unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_TTL, s.ttl)
		} else {
			unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, s.ttl)
		}
	}
	if f == s.fragment {
		return
	}
	s.fragment = f
	switch {
	case s.v4 && f == never:
		unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	case s.v4:
		unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_WANT)
	case f == never:
		unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
	default:
		unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_WANT)
	}
}
