package uplink

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Theory of operation: a connection to the outside
//
// A SYN is judged by mayConnect, from its frame. If it may go, the stack gets it,
// finds nobody who listens, and asks unclaimed, which puts the connection into the
// table and has outbound called in a goroutine. That connects a socket of the host;
// the endpoint hears nothing meanwhile, and a SYN that is sent again changes
// nothing. Then:
//
//	connected     the stack answers SYN with SYN-ACK, and the two are spliced
//	refused       RST
//	unreachable   the ICMP error that fits; connect(2) of the endpoint fails with it
//	nobody there  ICMP host unreachable, when the host's kernel has given up
//	no socket     nothing: the endpoint sends its SYN again
//
// A gateway that serves nothing refuses by the stack's own RST, as does any
// segment that belongs to no connection.

// mayConnect judges a SYN, and answers the one that may not go on to the stack.
func (h *Host) mayConnect(p *packet) bool {
	_, j := h.cfg.judgeFrom(p.src, p.dst)
	switch j {
	case allowed, refused: // the latter by the stack, and counted in unclaimed
		return true
	}
	h.refuse(p, j)
	return false
}

// unclaimed takes TCP segments that belong to no connection of the stack's. False
// has the stack answer with RST.
func (h *Host) unclaimed(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	seg := header.TCP(pkt.TransportHeader().Slice())
	if seg.Flags()&(header.TCPFlagSyn|header.TCPFlagAck|header.TCPFlagRst) != header.TCPFlagSyn {
		return false
	}
	key := pairOf(id)
	if _, j := h.cfg.judgeFrom(key.endpoint.Addr(), key.remote.Addr()); j != allowed {
		h.counts.add(j.count())
		return false
	}
	quoted := append(append([]byte{}, pkt.NetworkHeader().Slice()...), seg...)
	s, full := h.addStream(key, began, nil)
	switch {
	case full == errPresent: // sent again, or still closing
		return true
	case s == nil:
		h.counts.add(full)
		if full != halfOpenFull { // room for that comes soon: it will be sent again
			h.reportSYN(key, quoted, adminProhibited)
		}
		return true
	}
	s.quoted = quoted
	if !h.spawn() {
		h.removeStream(s)
		return true
	}
	if !h.syns.HandlePacket(id, pkt) {
		h.removeStream(s)
		h.work.Done()
		return false
	}
	return true
}

// reportSYN answers a SYN with an ICMP error.
func (h *Host) reportSYN(key pair, quoted []byte, t trouble) {
	a := key.endpoint.Addr()
	h.report(a, h.cfg.gateway(a), t.of(a.Is4(), 0), quoted, h.now())
}

// keepAlive has the kernel probe as its sysctls say (tcp_keepalive_time and so on):
// by default every two hours, so that a peer that has vanished is found out, and
// an idle connection costs next to nothing.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}
}

// outbound is the goroutine of a connection that an endpoint begins.
func (h *Host) outbound(r *tcp.ForwarderRequest) {
	defer h.work.Done()
	s := h.stream(pairOf(r.ID()))
	defer h.removeStream(s)
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	s.under(cancel)
	conn, err := h.dial(ctx, s.key.remote)
	if err != nil {
		r.Complete(h.notConnected(s, err))
		return
	}
	queue := new(waiter.Queue)
	end, terr := r.CreateEndpoint(queue)
	r.Complete(false)
	if terr != nil {
		reset(conn) // the endpoint has thought better of it
		return
	}
	if !s.connected(conn, end, queue) {
		reset(conn)
		end.Abort()
		return
	}
	s.splice()
}

// dial connects a socket of the host's.
func (h *Host) dial(ctx context.Context, remote netip.AddrPort) (*net.TCPConn, error) {
	outside, _ := h.cfg.judge(remote.Addr())
	d := net.Dialer{KeepAliveConfig: keepAlive(), Control: inlineUrgent}
	d.SetMultipathTCP(false)
	network := "tcp4"
	if outside.Is6() {
		network = "tcp6"
	}
	c, err := d.DialContext(ctx, network, netip.AddrPortFrom(outside, remote.Port()).String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// inlineUrgent keeps urgent data where it is in the stream: the stack knows no
// other place for it.
func inlineUrgent(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
	}); cerr != nil {
		return cerr
	}
	return err
}

// notConnected tells the endpoint why there is no connection, and reports whether
// the stack is to do it, by RST.
func (h *Host) notConnected(s *stream, err error) bool {
	tell := func(n counter, t trouble) bool {
		h.counts.add(n)
		h.reportSYN(s.key, s.quoted, t)
		return false
	}
	var errno syscall.Errno
	switch errors.As(err, &errno); {
	case h.ctx.Err() != nil, errors.Is(err, context.Canceled):
		return false
	case errno == unix.ECONNREFUSED, errno == unix.ECONNRESET:
		h.counts.add(connectRefused)
		return true
	case errno == unix.ENETUNREACH, errno == unix.EAFNOSUPPORT:
		return tell(connectUnreachable, netUnreachable)
	case errno == unix.EHOSTUNREACH, errno == unix.EINVAL, errno == unix.EHOSTDOWN, errno == unix.ENOPROTOOPT:
		return tell(connectUnreachable, hostUnreachable)
	case errno == unix.EACCES, errno == unix.EPERM:
		return tell(connectUnreachable, adminProhibited)
	case errno == unix.ETIMEDOUT, errors.Is(err, os.ErrDeadlineExceeded):
		return tell(connectTimeout, hostUnreachable)
	}
	h.counts.add(noSocket)
	h.cfg.Log.Debug("no socket for a connection", "network", h.cfg.Name, "to", s.key.remote, "err", err)
	return false
}
