package uplink

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// send carries a packet's payload out by a flow, whose client is locked.
func (h *Host) send(d *datagrams, p *packet, payload []byte) unix.Errno {
	ttl := p.ttl
	if p.dst != h.cfg.gateway(p.dst) {
		ttl--
	}
	f := may
	if p.dontFragment() {
		f = never
	}
	d.sock.prepare(max(ttl, 1), f)
	if p.f != nil && p.f.Offload.GSO.Kind() == frame.GSOUDP {
		return d.sendSegments(payload, int(p.f.Offload.Size))
	}
	return d.sendOne(payload)
}

// sendOne sends a datagram. An error that came before, about another datagram, is
// told only once: the next try is about this one.
func (d *datagrams) sendOne(payload []byte) unix.Errno {
	errno := d.sock.client.msg.send(d.sock.fd, payload, &d.to, d.control)
	switch errno {
	case 0, unix.EAGAIN, unix.EMSGSIZE:
		return errno
	}
	return d.sock.client.msg.send(d.sock.fd, payload, &d.to, d.control)
}

// sendSegments sends datagrams of one size, the last of which may be shorter: at
// once where the kernel does that (UDP_SEGMENT, Linux 4.18), else one by one.
func (d *datagrams) sendSegments(payload []byte, size int) unix.Errno {
	const most = 64 // UDP_MAX_SEGMENTS of kernels before 6.9
	for len(payload) > size {
		n := min(len(payload), size*most)
		var segment [2]byte
		binary.NativeEndian.PutUint16(segment[:], uint16(size))
		control := appendControl(d.control[:len(d.control):len(d.control)], unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment[:])
		switch errno := d.sock.client.msg.send(d.sock.fd, payload[:n], &d.to, control); errno {
		case 0:
		case unix.EAGAIN:
			return errno
		default:
			// Not supported here, or an error that came before.
			n = size
			if errno := d.sendOne(payload[:n]); errno != 0 {
				return errno
			}
		}
		payload = payload[n:]
	}
	if len(payload) == 0 {
		return 0
	}
	return d.sendOne(payload)
}

// unsent tells an endpoint why its datagram could not be sent; mtu is that of the
// path, if that is why.
func (h *Host) unsent(p *packet, errno unix.Errno, mtu int) {
	switch errno {
	case unix.EAGAIN, unix.ENOBUFS:
		h.counts.add(sendBlocked)
		return
	}
	h.counts.add(sendFailed)
	switch errno {
	case unix.EMSGSIZE:
		if mtu > 0 {
			h.report(p.src, h.cfg.gateway(p.src), packetTooBig.of(p.v4, mtu), p.ip, p.now)
		}
	case unix.ENETUNREACH:
		h.answer(p, netUnreachable)
	case unix.EHOSTUNREACH:
		h.answer(p, hostUnreachable)
	case unix.EACCES, unix.EPERM:
		h.answer(p, adminProhibited)
	}
}

// A sock_extended_err (linux/errqueue.h), and where the error came from.
type extended struct {
	errno      unix.Errno
	origin     uint8
	kind, code uint8
	info       uint32
	from       netip.Addr
	valid      bool
}

const (
	originLocal = 1
	originICMP  = 2
	originICMP6 = 3
)

// errorOf finds the extended error among control messages.
func errorOf(control []byte) (e extended) {
	for {
		level, kind, data, rest := nextControl(control)
		if data == nil {
			return e
		}
		control = rest
		if len(data) < 16 || !(level == unix.IPPROTO_IP && kind == unix.IP_RECVERR || level == unix.IPPROTO_IPV6 && kind == unix.IPV6_RECVERR) {
			continue
		}
		e.errno = unix.Errno(binary.NativeEndian.Uint32(data))
		e.origin, e.kind, e.code = data[4], data[5], data[6]
		e.info = binary.NativeEndian.Uint32(data[8:])
		e.valid = true
		if len(data) < 32 {
			continue
		}
		switch offender := data[16:]; binary.NativeEndian.Uint16(offender) { // SO_EE_OFFENDER
		case unix.AF_INET:
			e.from = netip.AddrFrom4([4]byte(offender[4:8]))
		case unix.AF_INET6:
			if len(offender) >= 24 {
				e.from = netip.AddrFrom16([16]byte(offender[8:24]))
			}
		}
	}
}

// drainErrors passes the ICMP errors that a socket got on to the endpoint, whose
// client is locked. It returns the MTU of a path that something was too big for in
// the first place, 0 if nothing was: such an error does not say about what it is.
func (h *Host) drainErrors(s *socket, msg *message, now int64) (mtu int) {
	var quoted [128]byte
	for range 16 {
		n, errno := msg.receive(s.fd, quoted[:], unix.MSG_ERRQUEUE)
		if errno != 0 {
			break
		}
		switch e := errorOf(msg.received()); {
		case !e.valid:
		case e.origin == originLocal && e.errno == unix.EMSGSIZE:
			mtu = int(e.info)
		default:
			h.passError(s, &e, addrPort(&msg.name), quoted[:n], now)
		}
	}
	// What is pending beside the queue would be reported for ever.
	unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return mtu
}

// passError tells an endpoint of an error about what it sent to an outside
// address, beginning with data.
func (h *Host) passError(s *socket, e *extended, to netip.AddrPort, data []byte, now int64) {
	key := flowKey{proto: s.proto, endpoint: s.endpoint, remote: netip.AddrPortFrom(h.cfg.seenAs(to.Addr()), to.Port())}
	if s.proto != frame.ProtoUDP {
		key.remote = netip.AddrPortFrom(key.remote.Addr(), 0)
	}
	if s.port != nil {
		d := s.port.flowTo(to)
		if d == nil {
			return
		}
		key = d.key
	} else if s.client.flows[key] == nil {
		return
	}
	v4 := s.endpoint.Addr().Is4()
	from := h.cfg.gateway(s.endpoint.Addr())
	var said icmpError
	switch {
	case e.origin == originICMP && v4, e.origin == originICMP6 && !v4:
		said = icmpError{e.kind, e.code, 0}
		if v4 && e.kind == 3 && e.code == 4 || !v4 && e.kind == 2 {
			said.info = e.info // the MTU
		}
		if seen := h.cfg.seenAs(e.from); e.from.IsValid() && e.from.Is4() == v4 && !h.cfg.Inside(seen) && !e.from.IsUnspecified() {
			from = seen
		}
	default:
		return
	}
	h.report(s.endpoint.Addr(), from, said, quote(key, data), now)
}

// quote builds the packet that an error is about, as its sender knows it.
func quote(key flowKey, data []byte) []byte {
	head := 20
	if key.endpoint.Addr().Is6() {
		head = 40
	}
	n := head
	if key.proto == frame.ProtoUDP {
		n += 8
	}
	b := append(make([]byte, n, n+len(data)), data...)
	if head == 20 {
		putIPv4(b, key.endpoint.Addr(), key.remote.Addr(), key.proto, 1, len(b)-head, 0)
	} else {
		putIPv6(b, key.endpoint.Addr(), key.remote.Addr(), key.proto, 1, len(b)-head)
	}
	if l4 := b[head:]; key.proto == frame.ProtoUDP {
		binary.BigEndian.PutUint16(l4, key.endpoint.Port())
		binary.BigEndian.PutUint16(l4[2:], key.remote.Port())
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	} else if len(l4) >= 8 {
		binary.BigEndian.PutUint16(l4[4:], key.endpoint.Port())
	}
	return b
}
