package uplink

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// accept takes in clients until the listener is closed. The host's kernel has
// answered their SYN already; one whose target refuses is reset.
func (p *Published) accept() {
	h := p.host
	defer h.work.Done()
	for {
		conn, err := p.listener.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Out of descriptors, most likely: the backlog keeps the client.
			h.counts.add(noSocket)
			select {
			case <-h.ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		if !h.spawn() {
			reset(conn)
			return
		}
		go p.inbound(conn)
	}
}

// inbound is the goroutine of one client.
func (p *Published) inbound(conn *net.TCPConn) {
	h := p.host
	defer h.work.Done()
	s := p.admit(conn.RemoteAddr().(*net.TCPAddr).AddrPort())
	if s == nil {
		h.counts.add(publishedFull)
		reset(conn)
		return
	}
	defer h.removeStream(s)
	end, queue, err := h.dialEndpoint(s)
	if err != nil {
		h.counts.add(publishedRefused)
		h.cfg.Log.Debug("client of a published port not connected", "network", h.cfg.Name, "port", p.binding, "client", conn.RemoteAddr(), "err", err)
		reset(conn)
		return
	}
	if !s.connected(conn, end, queue) {
		reset(conn)
		end.Abort()
		return
	}
	s.splice()
}

// admit puts a client's connection into the table, with the client's own port if
// it is free, else with another; nil when there is no room.
func (p *Published) admit(client netip.AddrPort) *stream {
	source := p.host.sourceFor(client.Addr(), p.binding.Target.Addr())
	port := client.Port()
	for range 32 {
		key := pair{endpoint: p.binding.Target, remote: netip.AddrPortFrom(source, port)}
		s, full := p.host.addStream(key, cameIn, p)
		if full != errPresent {
			return s
		}
		port = randomPort()
	}
	return nil
}

// randomPort returns a port of the range that clients use (RFC 6056, 3.2).
func randomPort() uint16 { return uint16(32768 + rand.IntN(60999-32768+1)) }

// dialEndpoint connects to an endpoint, from the remote address of the stream.
func (h *Host) dialEndpoint(s *stream) (tcpip.Endpoint, *waiter.Queue, error) {
	queue := new(waiter.Queue)
	from, to := s.key.remote, s.key.endpoint
	if _, known := h.cfg.Neighbour(to.Addr()); !known {
		return nil, nil, errors.New("nobody has the target's address")
	}
	end, terr := h.stack.NewEndpoint(tcp.ProtocolNumber, networkOf(to.Addr()), queue)
	if terr != nil {
		return nil, nil, errors.New(terr.String())
	}
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	stop := make(chan struct{})
	s.under(func() { close(stop) })
	// One client may come by several ports from one port of its own.
	end.SocketOptions().SetReuseAddress(true)
	terr = end.Bind(tcpip.FullAddress{NIC: nic, Addr: toStack(from.Addr()), Port: from.Port()})
	if terr == nil {
		terr = end.Connect(tcpip.FullAddress{NIC: nic, Addr: toStack(to.Addr()), Port: to.Port()})
	}
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ready:
			terr = end.LastError()
			if terr == nil && tcp.EndpointState(end.State()) != tcp.StateEstablished && tcp.EndpointState(end.State()) != tcp.StateCloseWait {
				terr = &tcpip.ErrConnectionAborted{}
			}
		case <-stop:
			terr = &tcpip.ErrAborted{}
		}
	}
	if terr != nil {
		end.Abort()
		return nil, nil, errors.New(terr.String())
	}
	return end, queue, nil
}
