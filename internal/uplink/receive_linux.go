package uplink

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"

	"weft/internal/frame"
)

// A receiver is what ReadBatch works with: the worker's that calls it.
type receiver struct {
	msg    message
	events [64]unix.EpollEvent
	left   fragments // a datagram of which not all fragments found room
	odd    bool      // the ring comes first
	// The last endpoint's MAC, for packets of the stack's come in runs.
	addr tcpip.Address
	mac  frame.MAC
}

// perSocket is how many datagrams are taken from a socket before the next one's.
const perSocket = 16

// ReadBatch implements vswitch.Queue: what the stack sends, then what the sockets
// have got.
func (h *Host) ReadBatch(b *frame.Batch) (int, error) {
	if err := h.errClosed(); err != nil {
		return 0, err
	}
	before := b.Len()
	if h.rx.left.some() {
		h.rx.left.put(b)
		if h.rx.left.some() {
			return b.Len() - before, nil
		}
		h.ring.keep(false)
	}
	h.rx.addr = tcpip.Address{}
	// Either alone could fill every batch, so they take turns at being the first.
	h.rx.odd = !h.rx.odd
	if h.rx.odd {
		h.readRing(b)
	}
	if !h.sockets.empty() {
		h.readSockets(b)
	}
	h.readRing(b)
	return b.Len() - before, nil
}

// readRing moves what is in the ring to the batch.
func (h *Host) readRing(b *frame.Batch) {
	for !b.Full() {
		o, ok := h.ring.pop()
		if !ok {
			return
		}
		h.putOutgoing(b, &o)
	}
}

func (h *Host) putOutgoing(b *frame.Batch, o *outgoing) {
	if o.pkt == nil {
		b.Append(o.raw)
		return
	}
	if a := destinationOf(o.pkt); a != h.rx.addr {
		mac, ok := h.cfg.Neighbour(fromStack(a))
		if !ok {
			h.rx.addr = tcpip.Address{}
			h.counts.add(noNeighbour)
			o.pkt.DecRef()
			return
		}
		h.rx.addr, h.rx.mac = a, mac
	}
	putPacket(b, o.pkt, h.rx.mac, h.cfg.MAC)
	o.pkt.DecRef()
}

// readSockets moves datagrams from the sockets that have some to the batch.
func (h *Host) readSockets(b *frame.Batch) {
	rx := &h.rx
	n, err := unix.EpollWait(h.sockets.epoll, rx.events[:], 0)
	if err != nil {
		return
	}
	now := h.now()
	for _, e := range rx.events[:n] {
		s := h.sockets.find(uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32)
		if s == nil {
			continue // the ring, or closed meanwhile
		}
		s.client.mu.Lock()
		if !s.closed && e.Events&unix.EPOLLERR != 0 {
			h.drainErrors(s, &rx.msg, now)
		}
		for range perSocket {
			if s.closed || b.Full() || rx.left.some() || !h.readOne(b, s, now) {
				break
			}
		}
		s.client.mu.Unlock()
	}
}

// readOne moves one datagram from a socket to the batch, and reports whether there
// may be more.
func (h *Host) readOne(b *frame.Batch, s *socket, now int64) bool {
	slot := b.Reserve()
	l3 := frame.Headroom + frame.EtherLen
	l4 := l3 + 20
	if s.endpoint.Addr().Is6() {
		l4 = l3 + 40
	}
	at := l4
	if s.proto == frame.ProtoUDP {
		at += 8
	}
	n, errno := h.rx.msg.receive(s.fd, slot[at:min(l3+65535, len(slot))], 0)
	if errno != 0 {
		// Anything but EAGAIN is an error about something sent before.
		return errno != unix.EAGAIN && errno != unix.EBADF
	}
	if h.rx.msg.hdr.Flags&unix.MSG_TRUNC != 0 {
		h.counts.add(truncated)
		return true
	}
	d := h.flowIn(s, addrPort(&h.rx.msg.name), now)
	if d == nil {
		h.counts.add(unsolicited)
		return true
	}
	mac, ok := h.cfg.Neighbour(s.endpoint.Addr())
	if !ok {
		h.counts.add(noNeighbour)
		return true
	}
	in := datagramIn{proto: s.proto, src: d.key.remote, dst: s.endpoint, ttl: 64, l4: slot[l4 : at+n]}
	if s.proto != frame.ProtoUDP {
		if n < 8 || in.l4[0] != echoReply(s.proto) {
			h.counts.add(unsolicited)
			return true
		}
		in.ttl = ttlOf(h.rx.msg.received())
	}
	d.got = min(d.got+1, settled)
	d.in += uint64(n)
	s.client.touch(d, now)
	h.in.Add(uint64(n))
	if s.proto == frame.ProtoUDP {
		in.size = segmentIn(h.rx.msg.received())
	}
	if one := in.first(); l4-l3+one > h.cfg.MTU {
		h.rx.left.begin(&in, mac, h.cfg.MAC, h.cfg.MTU)
		h.rx.left.put(b)
		h.ring.keep(h.rx.left.some())
		return true
	}
	in.header(b.Commit(at+n-frame.Headroom), mac, h.cfg.MAC)
	return true
}

// flowIn returns the flow of what came from outside by a socket, whose client is
// locked; nil when nobody waits for it. RFC 4787, 5: the filter is address- and
// port-dependent, as in Linux, so only those who were sent to can send.
func (h *Host) flowIn(s *socket, from netip.AddrPort, now int64) *datagrams {
	if s.port != nil {
		return s.port.flowFrom(from, destinationIn(h.rx.msg.received()), now)
	}
	key := flowKey{proto: s.proto, endpoint: s.endpoint, remote: netip.AddrPortFrom(h.cfg.seenAs(from.Addr()), from.Port())}
	if s.proto != frame.ProtoUDP {
		key.remote = netip.AddrPortFrom(key.remote.Addr(), 0)
	}
	return s.client.flows[key]
}

// ttlOf returns the TTL or hop limit that the last message came with, less the hop
// that the uplink is.
func ttlOf(control []byte) uint8 {
	for {
		level, kind, data, rest := nextControl(control)
		switch {
		case data == nil:
			return 64
		case len(data) >= 4 && (level == unix.IPPROTO_IP && kind == unix.IP_TTL || level == unix.IPPROTO_IPV6 && kind == unix.IPV6_HOPLIMIT):
			return uint8(max(1, int(int32(binary.NativeEndian.Uint32(data)))-1))
		}
		control = rest
	}
}

// segmentIn returns the size of the datagrams that the last message is made of, 0
// when it is one.
func segmentIn(control []byte) int {
	for {
		level, kind, data, rest := nextControl(control)
		switch {
		case data == nil:
			return 0
		case level == unix.IPPROTO_UDP && kind == unix.UDP_GRO && len(data) >= 4:
			return int(int32(binary.NativeEndian.Uint32(data)))
		}
		control = rest
	}
}

// destinationIn returns the address of the host's that answers to the last message
// are to come from, if the kernel was asked to tell: the one it was sent to; of a
// broadcast the interface's that it came in by, of an IPv6 multicast none.
func destinationIn(control []byte) netip.Addr {
	for {
		level, kind, data, rest := nextControl(control)
		switch {
		case data == nil:
			return netip.Addr{}
		case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= 12:
			return netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= 16:
			if a := netip.AddrFrom16([16]byte(data[:16])); !a.IsMulticast() {
				return a
			}
			return netip.Addr{}
		}
		control = rest
	}
}
