package uplink

import (
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// listenUDP opens the socket of a published UDP port.
func (p *Published) listenUDP() error {
	h, at := p.host, p.binding.Listen
	fd, err := openSocket(frame.ProtoUDP, at.Addr())
	if err != nil {
		return err
	}
	// Only a socket for all addresses has to be told which one a client called.
	if at.Addr().IsUnspecified() {
		if at.Addr().Is4() {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		} else {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	}
	if err == nil {
		err = bind(fd, at)
	}
	if err == nil {
		p.addr, err = boundTo(fd)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	// Many clients wait in it; as much as the host allows.
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
	c := h.client(p.binding.Target.Addr(), true)
	if c == nil {
		unix.Close(fd)
		return net.ErrClosed
	}
	defer c.mu.Unlock()
	p.sock = &socket{fd: fd, proto: frame.ProtoUDP, v4: at.Addr().Is4(), endpoint: p.binding.Target, client: c, port: p}
	p.clients = map[netip.AddrPort]*datagrams{}
	if err := h.sockets.add(p.sock); err != nil {
		return err
	}
	c.ports++
	return nil
}

func bind(fd int, a netip.AddrPort) error {
	if a.Addr().Is4() {
		return unix.Bind(fd, &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())})
	}
	to := &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	if zone := a.Addr().Zone(); zone != "" {
		ifi, err := net.InterfaceByName(zone)
		if err != nil {
			return unix.EADDRNOTAVAIL
		}
		to.ZoneId = uint32(ifi.Index)
	}
	return unix.Bind(fd, to)
}

func boundTo(fd int) (netip.AddrPort, error) {
	name, err := unix.Getsockname(fd)
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)), nil
	}
	return netip.AddrPort{}, err
}

// flowTo returns the flow of a client that is known, or nil.
func (p *Published) flowTo(client netip.AddrPort) *datagrams { return p.clients[client] }

// flowFrom returns the flow of a client, who called the address called, or nil when
// there is no room for it. The target's client is locked.
func (p *Published) flowFrom(client netip.AddrPort, called netip.Addr, now int64) *datagrams {
	d := p.clients[client]
	if d != nil {
		d.answerFrom(called)
		return d
	}
	c, h := p.sock.client, p.host
	source := h.sourceFor(client.Addr(), c.addr)
	key := flowKey{proto: frame.ProtoUDP, endpoint: p.binding.Target, remote: netip.AddrPortFrom(source, client.Port())}
	for range 32 {
		if c.flows[key] == nil {
			break
		}
		key.remote = netip.AddrPortFrom(source, randomPort())
	}
	if c.flows[key] != nil {
		h.counts.add(publishedFull)
		return nil
	}
	d = &datagrams{key: key, sock: p.sock, way: cameIn, to: addressOf(client), client: client}
	if !c.insert(h, d, now) {
		h.counts.add(publishedFull)
		return nil
	}
	p.clients[client] = d
	d.answerFrom(called)
	return d
}

// answerFrom has answers leave from the address that was called.
func (d *datagrams) answerFrom(called netip.Addr) {
	switch {
	case !called.IsValid():
		d.control = nil
	case called.Is4():
		info := unix.Inet4Pktinfo{Spec_dst: called.As4()}
		if len(d.control) == 0 || called != d.called {
			d.control = appendControl(nil, unix.IPPROTO_IP, unix.IP_PKTINFO, (*[unix.SizeofInet4Pktinfo]byte)(unsafe.Pointer(&info))[:])
		}
	default:
		info := unix.Inet6Pktinfo{Addr: called.As16()}
		if len(d.control) == 0 || called != d.called {
			d.control = appendControl(nil, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, (*[unix.SizeofInet6Pktinfo]byte)(unsafe.Pointer(&info))[:])
		}
	}
	d.called = called
}
