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
	// A quarter is the sockets', for the stack alone could fill every batch.
	h.readRing(b, frame.MaxBatch*3/4)
	if !h.sockets.empty() {
		h.readSockets(b)
	}
	h.readRing(b, frame.MaxBatch)
	return b.Len() - before, nil
}

// readRing moves what is in the ring to the batch, until that has most frames.
func (h *Host) readRing(b *frame.Batch, most int) {
	for b.Len() < most && !b.Full() {
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
	if at+n-l3 > h.cfg.MTU {
		in.finish()
		h.rx.left.begin(&in, mac, h.cfg.MAC, h.cfg.MTU)
		h.rx.left.put(b)
		h.ring.keep(h.rx.left.some())
		return true
	}
	f := b.Commit(at + n - frame.Headroom)
	in.header(f, mac, h.cfg.MAC)
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

// A datagramIn is a datagram or echo reply for an endpoint. l4 begins with room for
// the UDP header.
type datagramIn struct {
	proto    uint8
	src, dst netip.AddrPort
	ttl      uint8
	l4       []byte
}

// header writes all headers of a frame that holds the datagram. The checksum of
// UDP is left to the receiver, as kernels do.
func (d *datagramIn) header(f *frame.Frame, to, from frame.MAC) {
	b := f.Bytes()
	ip := b[frame.EtherLen:]
	d.ip(b, to, from)
	if d.proto != frame.ProtoUDP {
		d.finish()
		return
	}
	d.udp()
	l4 := len(ip) - len(d.l4)
	binary.BigEndian.PutUint16(d.l4[6:], frame.Fold(pseudoSum(ip, d.proto, len(d.l4))))
	f.Offload = frame.Offload{Flags: frame.NeedsCsum, CsumStart: uint16(frame.EtherLen + l4), CsumOffset: 6}
}

func (d *datagramIn) ip(b []byte, to, from frame.MAC) {
	if d.dst.Addr().Is4() {
		putEther(b, to, from, frame.EtherIPv4)
		putIPv4(b[frame.EtherLen:], d.src.Addr(), d.dst.Addr(), d.proto, d.ttl, len(d.l4), 0)
		return
	}
	putEther(b, to, from, frame.EtherIPv6)
	putIPv6(b[frame.EtherLen:], d.src.Addr(), d.dst.Addr(), d.proto, d.ttl, len(d.l4))
}

func (d *datagramIn) udp() {
	binary.BigEndian.PutUint16(d.l4, d.src.Port())
	binary.BigEndian.PutUint16(d.l4[2:], d.dst.Port())
	binary.BigEndian.PutUint16(d.l4[4:], uint16(len(d.l4)))
	d.l4[6], d.l4[7] = 0, 0
}

// finish completes the transport header, with its checksum. An echo reply gets the
// endpoint's identifier back.
func (d *datagramIn) finish() {
	field := d.l4[2:4]
	if d.proto == frame.ProtoUDP {
		d.udp()
		field = d.l4[6:8]
	} else {
		binary.BigEndian.PutUint16(d.l4[4:], d.dst.Port())
	}
	field[0], field[1] = 0, 0
	sum := uint64(0)
	if d.proto != frame.ProtoICMP {
		sum = uint64(d.proto) + uint64(len(d.l4))
		src, dst := d.src.Addr().AsSlice(), d.dst.Addr().AsSlice()
		sum = frame.Sum(dst, frame.Sum(src, sum))
	}
	c := frame.Checksum(d.l4, sum)
	if c == 0 && d.proto == frame.ProtoUDP {
		c = 0xffff // zero means none: RFC 768
	}
	binary.BigEndian.PutUint16(field, c)
}

func echoReply(proto uint8) uint8 {
	if proto == frame.ProtoICMP {
		return 0
	}
	return 129
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

// destinationIn returns the address of the host's that the last message was sent
// to, if the kernel was asked to tell.
func destinationIn(control []byte) netip.Addr {
	for {
		level, kind, data, rest := nextControl(control)
		switch {
		case data == nil:
			return netip.Addr{}
		case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= 12:
			return netip.AddrFrom4([4]byte(data[8:12])) // ipi_addr
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= 16:
			return netip.AddrFrom16([16]byte(data[:16]))
		}
		control = rest
	}
}
