package discovery

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// A datagrams is the part of net.UDPConn that is used: it makes no garbage.
type datagrams interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	LocalAddr() net.Addr
	Close() error
}

// plain makes one of any net.PacketConn that speaks UDP, such as that of a userspace
// stack.
type plain struct{ net.PacketConn }

func (p plain) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, from, err := p.ReadFrom(b)
	if u, ok := from.(*net.UDPAddr); ok {
		return n, u.AddrPort(), err
	}
	if err == nil {
		err = errNotUDP
	}
	return n, netip.AddrPort{}, err
}

func (p plain) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return p.WriteTo(b, net.UDPAddrFromAddrPort(to))
}

var errNotUDP = errors.New("not a UDP socket")

// readBuffer is how many bytes of queries a socket may hold while its goroutine does
// not get a processor.
const readBuffer = 1 << 20

// maxReadErrors is how many errors may follow each other until a socket is given up.
const maxReadErrors = 10

// ServePacket answers on a UDP socket, which becomes the server's, until Close.
func (s *Server) ServePacket(pc net.PacketConn) error {
	d, ok := pc.(datagrams)
	if !ok {
		d = plain{pc}
	}
	if b, ok := pc.(interface{ SetReadBuffer(int) error }); ok {
		b.SetReadBuffer(readBuffer) // the kernel gives what it may
	}
	return s.own(pc, func() {
		defer s.disown(pc)
		s.readDatagrams(d)
	})
}

func (s *Server) readDatagrams(d datagrams) {
	t := turn{out: make([]byte, maxUDP)}
	in := make([]byte, maxQuery+1)
	for errs := 0; errs < maxReadErrors; {
		n, from, err := d.ReadFromUDPAddrPort(in)
		switch {
		case err == nil:
			errs = 0
			s.datagram(&t, d, from, in[:n])
		case errors.Is(err, net.ErrClosed), s.ctx.Err() != nil:
			return
		default:
			if errs++; errs == maxReadErrors {
				s.failed("UDP", d.LocalAddr(), err)
			}
			time.Sleep(time.Duration(errs) * time.Millisecond)
		}
	}
}

func (s *Server) datagram(t *turn, d datagrams, from netip.AddrPort, msg []byte) {
	s.stats.count(QueriesUDP)
	answer, p := s.respond(t, s.view(from.Addr()), from.Addr(), msg, false)
	if p != nil {
		answer = s.ask(p, false, func(answer []byte) { d.WriteToUDPAddrPort(answer, from) })
	}
	if answer != nil {
		d.WriteToUDPAddrPort(answer, from) // who does not take it asks again
	}
}
