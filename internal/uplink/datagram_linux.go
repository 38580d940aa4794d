package uplink

import (
	"container/list"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// A flowKey names a datagram flow by its ends as the endpoint sees them. For echo
// the endpoint's port is the identifier, the remote's is 0. Without a remote it
// names a mapping.
type flowKey struct {
	proto            uint8
	endpoint, remote netip.AddrPort
}

// A datagrams is a flow of UDP datagrams, or of echo requests and replies. All of
// it is guarded by its client's mu.
type datagrams struct {
	key           flowKey
	sock          *socket
	way           direction
	to            address        // outside
	client        netip.AddrPort // of a published port,
	called        netip.Addr     // and the address it called, if that was asked for
	control       []byte         // what is said with each send: where it comes from
	element       *list.Element
	started, last int64
	sent, got     uint32 // datagrams, up to settled
	out, in       uint64 // bytes
}

// How long a flow may be idle. RFC 4787 asks for at least two minutes, five by
// default, and lets well-known ports have less (REQ-5); RFC 5508 asks for at least
// one minute for queries (REQ-2).
const (
	idleShort   = int64(30 * time.Second) // DNS that was answered
	idleEcho    = int64(60 * time.Second)
	idleDefault = int64(5 * time.Minute)
	idleSettled = int64(30 * time.Minute) // both have sent several times
	// A client of a published port is known for as long as there is room: what
	// the endpoint sends to it has no other way.
	idlePublished = int64(24 * time.Hour)
	settled       = 3
)

func (d *datagrams) idleLimit() int64 {
	switch {
	case d.way == cameIn:
		return idlePublished
	case d.key.proto != frame.ProtoUDP:
		return idleEcho
	case d.key.remote.Port() == 53 && d.got >= d.sent:
		return idleShort
	case d.sent >= settled && d.got >= settled:
		return idleSettled
	}
	return idleDefault
}

// touch notes that something was carried.
func (c *client) touch(d *datagrams, now int64) {
	d.last = now
	c.recent[d.way].MoveToFront(d.element)
}

// expire ends the flows that are idle for too long. Those in front may have a
// longer limit, so it looks at all; there is nothing to do more than once in a
// few seconds.
func (c *client) expire(h *Host, now int64) {
	for _, d := range c.flows {
		if now-d.last > d.idleLimit() {
			c.end(h, d)
		}
	}
}

// end forgets a flow, and the mapping with its last.
func (c *client) end(h *Host, d *datagrams) {
	delete(c.flows, d.key)
	c.recent[d.way].Remove(d.element)
	h.flows.Add(-1)
	if d.sock.port != nil {
		delete(d.sock.port.clients, d.client)
	}
	if d.sock.flows--; d.sock.flows == 0 && d.sock.port == nil {
		delete(c.sockets, flowKey{proto: d.key.proto, endpoint: d.key.endpoint})
		h.sockets.remove(d.sock)
	}
}

// endAll forgets all flows.
func (c *client) endAll(h *Host) {
	for _, d := range c.flows {
		c.end(h, d)
	}
}

// insert adds a flow by a socket, making room if it must; false when there is
// none.
func (c *client) insert(h *Host, d *datagrams, now int64) bool {
	recent := &c.recent[d.way]
	if recent.Len() >= h.cfg.MaxFlowsPerEndpoint {
		c.evict(h, d.way)
	}
	if !h.takeFlow() {
		if recent.Len() == 0 {
			h.counts.add(tableFull)
			return false
		}
		c.evict(h, d.way)
		if !h.takeFlow() {
			h.counts.add(tableFull)
			return false
		}
	}
	d.started, d.last = now, now
	d.sock.flows++
	d.element = recent.PushFront(d)
	c.flows[d.key] = d
	return true
}

// evict ends the flow that was idle for longest.
func (c *client) evict(h *Host, way direction) {
	c.end(h, c.recent[way].Back().Value.(*datagrams))
	h.counts.add(evicted)
}

// flowOf returns what flow a packet belongs to, and what it carries.
func (p *packet) flowOf() (flowKey, []byte) {
	key := flowKey{proto: p.proto}
	if p.proto == frame.ProtoUDP {
		key.endpoint = netip.AddrPortFrom(p.src, binary.BigEndian.Uint16(p.l4))
		key.remote = netip.AddrPortFrom(p.dst, binary.BigEndian.Uint16(p.l4[2:]))
		return key, p.l4[8:]
	}
	key.endpoint = netip.AddrPortFrom(p.src, binary.BigEndian.Uint16(p.l4[4:]))
	key.remote = netip.AddrPortFrom(p.dst, 0)
	return key, p.l4 // the kernel puts in its own identifier
}

// sendOut carries a datagram or echo request out.
func (h *Host) sendOut(p *packet) {
	key, payload := p.flowOf()
	var d *datagrams
	c := h.client(p.src, false)
	if c != nil {
		d = c.flows[key]
	}
	if d == nil {
		if c != nil {
			c.mu.Unlock()
		}
		if c, d = h.begin(p, key); d == nil {
			return
		}
	}
	errno, mtu := h.send(d, p, payload), 0
	if errno == unix.EMSGSIZE {
		mtu = h.drainErrors(d.sock, &c.msg, p.now)
	}
	if errno == 0 {
		d.sent = min(d.sent+1, settled)
		d.out += uint64(len(payload))
		c.touch(d, p.now)
		h.out.Add(uint64(len(payload)))
	} else if d.sent == 0 && d.got == 0 {
		c.end(h, d)
	}
	c.mu.Unlock()
	if errno != 0 {
		h.unsent(p, errno, mtu)
	}
}

// begin makes the flow of a packet, and returns it with its client, locked; or
// says to the endpoint why not.
func (h *Host) begin(p *packet, key flowKey) (*client, *datagrams) {
	outside, j := h.cfg.judgeFrom(p.src, p.dst)
	if j != allowed {
		h.refuse(p, j)
		return nil, nil
	}
	c := h.client(p.src, true)
	if c == nil {
		return nil, nil // closed
	}
	s, err := h.mapping(c, key)
	if err != nil {
		c.mu.Unlock()
		h.noSocket(p, err)
		return nil, nil
	}
	d := &datagrams{key: key, sock: s, way: began, to: addressOf(netip.AddrPortFrom(outside, key.remote.Port()))}
	s.flows++ // that making room does not take it away
	ok := c.insert(h, d, p.now)
	s.flows--
	if !ok {
		if s.flows == 0 {
			delete(c.sockets, flowKey{proto: key.proto, endpoint: key.endpoint})
			h.sockets.remove(s)
		}
		c.mu.Unlock()
		h.answer(p, adminProhibited)
		return nil, nil
	}
	return c, d
}

// mapping returns the socket of an endpoint's port.
func (h *Host) mapping(c *client, key flowKey) (*socket, error) {
	key.remote = netip.AddrPort{}
	if s := c.sockets[key]; s != nil {
		return s, nil
	}
	fd, err := openSocket(key.proto, c.addr)
	if err != nil {
		return nil, err
	}
	s := &socket{fd: fd, proto: key.proto, v4: c.addr.Is4(), endpoint: key.endpoint, client: c}
	if err := h.sockets.add(s); err != nil {
		return nil, err
	}
	c.sockets[key] = s
	return s, nil
}

// refuse tells an endpoint that it may not send there.
func (h *Host) refuse(p *packet, j judgement) {
	h.counts.add(j.count())
	switch {
	case j == silent:
	case j == refused && p.proto == frame.ProtoUDP:
		h.answer(p, portUnreachable)
	default:
		h.answer(p, adminProhibited)
	}
}

// noSocket tells an endpoint that the host gives none.
func (h *Host) noSocket(p *packet, err error) {
	switch {
	case p.proto != frame.ProtoUDP && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)):
		h.counts.add(pingForbidden)
		h.answer(p, adminProhibited)
	case errors.Is(err, unix.EAFNOSUPPORT):
		h.counts.add(noSocket)
		h.answer(p, netUnreachable)
	default:
		h.counts.add(noSocket) // it may have one the next time
	}
}
