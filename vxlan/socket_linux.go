package vxlan

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/ipsec"
)

// Theory of operation: the socket
//
// A Socket is one listening descriptor, which receives everything, and a pool of
// further ones, which only send: their ports are the entropy that spreads flows
// over paths and queues. A filter that takes nothing keeps the pool's receive
// buffers empty, whoever sends to them. A socket for ESP may have several listening
// descriptors on its one port (see share_linux.go), and no pool.
//
// It is open from Listen until Close, which is final and may be called twice.
// The ladders stand where Listen's probes put them; sending steps down at run
// time when the kernel refuses (see send_linux.go) and never up again.
//
// What one worker sends with (sender) is shared by all links, and only ever
// touched by that worker; what is received with (Reader) belongs to the one
// goroutine that reads by it. The table is the only thing both sides and the control
// plane touch, as a snapshot.

// A Socket receives from and sends to the VTEPs of one underlay address.
type Socket struct {
	cfg     Config
	addr    netip.AddrPort
	fds     []int    // to send from: the listening ones, then the pool
	ports   []uint16 // the pool's
	table   atomic.Pointer[Table]
	sas     atomic.Pointer[ipsec.Table]
	rung    atomic.Uint32 // SendRung
	note    atomic.Pointer[string]
	rx      Reader        // the first of
	readers []*Reader     // as many as there are listening descriptors
	senders []*sender     // by worker
	lost    atomic.Uint64 // KernelDrops, as of Close
	closing sync.Once
}

// Listen opens the socket of an underlay address. Nothing is accepted until
// SetTable.
func Listen(c Config) (*Socket, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Socket{cfg: c}
	s.rx.fd.Store(-1)
	if err := s.open(); err != nil {
		s.Close()
		return nil, err
	}
	for i := range c.Workers {
		s.senders = append(s.senders, newSender(s, i))
	}
	return s, nil
}

// open opens the descriptors, the listening one first.
func (s *Socket) open() error {
	fd, err := s.listener()
	if err != nil {
		return err
	}
	s.listens(&s.rx, fd)
	s.probeSend(fd)
	if s.addr, err = bind(fd, s.cfg.Addr); err != nil {
		return s.cfg.explainBind(err)
	}
	if s.cfg.Raw {
		s.addr = s.cfg.Addr // the kernel tells the protocol for a port
	}
	if s.cfg.Readers > 1 {
		s.share()
	}
	for range s.cfg.Pool {
		fd, port, err := poolSocket(s.cfg.Addr.Addr(), s.cfg.SendBuffer)
		if err != nil {
			return fmt.Errorf("vxlan: open a socket to send from %s: %w", s.cfg.Addr.Addr(), err)
		}
		s.fds = append(s.fds, fd)
		s.ports = append(s.ports, port)
	}
	return nil
}

// listens makes a descriptor one to receive by, before it is bound.
func (s *Socket) listens(rx *Reader, fd int) {
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, s.cfg.ReceiveBuffer)
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, s.cfg.SendBuffer)
	if s.cfg.Addr.Addr().Is6() && !s.cfg.Raw {
		// VTEPs may send a zero checksum over IPv6 (RFC 6935); not fatal either.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_RX, 1)
	}
	s.probeReceive(rx, fd)
	rx.init(s, fd)
	s.fds, s.readers = append(s.fds, fd), append(s.readers, rx)
}

// listener returns the descriptor that is to be bound.
func (s *Socket) listener() (int, error) {
	a := s.cfg.Addr.Addr()
	if s.cfg.Raw {
		fd, err := rawSocket(a)
		if err != nil {
			return -1, explainRaw(a, err)
		}
		return fd, nil
	}
	fd, err := udpSocket(a)
	if err != nil {
		return -1, fmt.Errorf("vxlan: open a UDP socket for %s: %w", a, err)
	}
	return fd, nil
}

// Addr returns the address and port the socket receives on; of a raw one, port 0.
func (s *Socket) Addr() netip.AddrPort { return s.addr }

// SourcePorts returns the pool's ports, which datagrams leave from beside Addr's.
// The slice is not to be changed.
func (s *Socket) SourcePorts() []uint16 { return s.ports }

// Readers returns what receives: each is for one goroutine. The slice is not to be
// changed.
func (s *Socket) Readers() []*Reader { return s.readers }

// FD, ReadBatch and Pending are those of the first reader, which is all there is
// unless [Config].Readers says more.
func (s *Socket) FD() int                               { return s.rx.FD() }
func (s *Socket) ReadBatch(b *frame.Batch) (int, error) { return s.rx.ReadBatch(b) }
func (s *Socket) Pending() bool                         { return s.rx.Pending() }

// SetTable replaces the table of accepted sources; nil accepts none.
func (s *Socket) SetTable(t *Table) { s.table.Store(t) }

// SetSAs replaces the security associations that packets are opened by, on a
// socket for ESP; nil opens none.
func (s *Socket) SetSAs(t *ipsec.Table) { s.sas.Store(t) }

// Send sends a datagram that holds no frame from the listening port: an
// announcement, a keepalive, a dummy packet. It may be called from anywhere, never
// waits, and what the kernel does not take is lost.
func (s *Socket) Send(to netip.AddrPort, datagram []byte) error {
	fd := s.FD()
	if fd < 0 {
		return os.ErrClosed
	}
	at := s.destination(to)
	if errno := sendTo(fd, datagram, &at); errno != 0 {
		return fmt.Errorf("vxlan: send to %s: %w", to, errno)
	}
	return nil
}

// destination is where the kernel is told to send to.
func (s *Socket) destination(to netip.AddrPort) address {
	if s.cfg.Raw {
		to = netip.AddrPortFrom(to.Addr(), 0) // IPv6 refuses another port than its protocol
	}
	return addressOf(to)
}

// Stats returns what the socket has done so far.
func (s *Socket) Stats() SocketStats {
	st := SocketStats{
		SendRung: SendRung(s.rung.Load()), ReceiveRung: s.rx.rung, ReceiveNote: s.rx.note,
	}
	if note := s.note.Load(); note != nil {
		st.SendNote = *note
	}
	st.KernelDrops = s.lost.Load()
	for _, rx := range s.readers {
		rx.counters.addTo(&st)
		if fd := rx.FD(); fd >= 0 {
			st.KernelDrops += kernelDrops(fd)
		}
	}
	for _, tx := range s.senders {
		tx.counters.addTo(&st)
		if errno := unix.Errno(tx.counters.fault.Load()); errno != 0 {
			st.SendFault = errno.Error()
		}
	}
	if fd := s.FD(); fd >= 0 {
		st.SendBuffer, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
		st.ReceiveBuffer, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	}
	return st
}

// Close closes all descriptors. Whoever polls the listening ones is woken; reads
// and writes return os.ErrClosed from then on.
func (s *Socket) Close() error {
	s.closing.Do(func() {
		for _, rx := range s.readers {
			if fd := int(rx.fd.Swap(-1)); fd >= 0 {
				s.lost.Add(kernelDrops(fd))
			}
		}
		for _, fd := range s.fds {
			// The answer is ENOTCONN; who polls hears of it all the same.
			_ = unix.Shutdown(fd, unix.SHUT_RDWR)
			unix.Close(fd)
		}
	})
	return nil
}

// stepDown takes sending to a lower rung for good.
func (s *Socket) stepDown(to SendRung, why string) {
	for {
		now := s.rung.Load()
		if SendRung(now) >= to {
			return
		}
		if s.rung.CompareAndSwap(now, uint32(to)) {
			s.note.Store(&why)
			return
		}
	}
}

// explainBind says who else may have the address and what to do.
func (c *Config) explainBind(err error) error {
	what, hint, others, option := "UDP "+c.Addr.String(), "", "a VXLAN interface of the kernel (ip -d link show type vxlan)", "--data-path-port"
	if c.ESP {
		others, option = "an IKE daemon such as strongSwan's", "--esp-port"
	}
	if c.Raw {
		what = "IP protocol 50 at " + c.Addr.Addr().String()
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		hint = ": another weft daemon, or " + others + ", has this port; end it, or choose another port with " + option
	case errors.Is(err, unix.EADDRNOTAVAIL):
		hint = ": no interface of this host has that address; give one that ip address shows with --data-path-addr"
	case errors.Is(err, unix.EACCES):
		hint = ": ports below 1024 need a right this process lacks; choose another port with " + option
	}
	return fmt.Errorf("vxlan: listen on %s: %w%s", what, err, hint)
}
