package vswitch

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/frame"
)

// Theory of operation: what a router says
//
// A packet that goes no further is answered as a kernel's router or host would do it, so
// that a program learns at once what it would else wait for: no more than maxTooBig
// messages a second and worker, of all kinds together, and each stands for the frame that
// it answers on the egress list.

// complain answers a packet from inside with an error from the domain's gateway.
func (w *Worker) complain(in *Port, f *frame.Frame, e icmpError, rest int) {
	if mayTell(f) && w.tooBig.take(w.now) {
		w.tellSender(in, f, in.domain.gateway.address(f), e, rest)
	}
}

// complainThrough answers a packet from outside that has been translated already. The
// message about it comes from the gateway inside and is translated as one that a host there
// had sent.
func (w *Worker) complainThrough(r *Router, in *Port, f *frame.Frame, e icmpError, rest int) {
	if w.quiet || !mayTell(f) || !w.tooBig.take(w.now) {
		return
	}
	slot := w.ownBatch().Reserve()
	if slot == nil {
		return
	}
	from := netip.Addr{}
	_, dst := addresses(f)
	if d, _ := r.table.Load().inside.lookup(dst); d != nil {
		from = d.gateway.address(f)
	}
	c := w.own.Commit(appendError(slot[frame.Headroom:], f, from, e, rest))
	c.In, c.Verdict = f.In, frame.Consumed
	if c.Parse() != frame.NotDropped {
		return
	}
	if side, reason := r.cfg.Translator.Outbound(c, w.now); side == Outside && reason == frame.NotDropped {
		w.send(in, c)
	}
}

// refuse answers a packet for an address of the router's where nothing is behind it, as a
// host does whose port is closed: a reset (RFC 9293, 3.10.7.1), or port unreachable.
func (w *Worker) refuse(in *Port, f *frame.Frame) {
	v := &f.View
	switch {
	case !mayTell(f) || v.L4 == 0 || v.Fragment:
	case v.Proto == frame.ProtoUDP:
		if w.tooBig.take(w.now) {
			w.tellSender(in, f, netip.Addr{}, portUnreachable, 0)
		}
	case v.Proto == frame.ProtoTCP && f.Bytes()[v.L4+13]&tcpRST == 0:
		if w.tooBig.take(w.now) {
			w.reset(in, f)
		}
	}
}

// address returns the gateway's first address of a packet's family; not valid if it has
// none.
func (g *gateway) address(f *frame.Frame) netip.Addr {
	switch {
	case f.View.EtherType == frame.EtherIPv4 && len(g.ip4) > 0:
		return addr4(g.ip4[0])
	case f.View.EtherType == frame.EtherIPv6 && len(g.ip6) > 0:
		return netip.AddrFrom16(g.ip6[0])
	}
	return netip.Addr{}
}

// TCP flags (RFC 9293, 3.1).
const (
	tcpFIN = 0x01
	tcpRST = 0x04
	tcpACK = 0x10
)

// reset answers a segment with a reset.
func (w *Worker) reset(in *Port, f *frame.Frame) {
	slot := w.ownBatch().Reserve()
	if slot == nil {
		return
	}
	v, b := &f.View, f.Bytes()
	m, l3 := slot[frame.Headroom:], int(v.L3)
	copy(m, b[:l3])
	copy(m, b[6:12])
	copy(m[6:], b[:6])
	l4 := l3 + 20
	if v.EtherType == frame.EtherIPv6 {
		l4 = l3 + 40
	}
	m = m[:l4+20]
	ip, tcp, got := m[l3:l4], m[l4:], b[v.L4:]
	clear(m[l3:])
	copy(tcp, got[2:4])
	copy(tcp[2:], got[:2])
	tcp[12] = 5 << 4
	if flags := got[13]; flags&tcpACK != 0 {
		copy(tcp[4:8], got[8:12])
		tcp[13] = tcpRST
	} else {
		n := f.L4Len() - int(v.Payload-v.L4) + int(flags&tcpFIN) + int(flags&tcpSYN)>>1
		binary.BigEndian.PutUint32(tcp[8:], binary.BigEndian.Uint32(got[4:])+uint32(n))
		tcp[13] = tcpRST | tcpACK
	}
	p := b[l3:]
	if v.EtherType == frame.EtherIPv6 {
		ip[0], ip[6], ip[7] = 0x60, frame.ProtoTCP, defaultTTL
		binary.BigEndian.PutUint16(ip[4:], 20)
		copy(ip[8:], p[24:40])
		copy(ip[24:], p[8:24])
	} else {
		ip[0], ip[6], ip[8], ip[9] = 0x45, 0x40, defaultTTL, frame.ProtoTCP
		binary.BigEndian.PutUint16(ip[2:], 40)
		copy(ip[12:], p[16:20])
		copy(ip[16:], p[12:16])
		frame.SetIPv4Checksum(ip)
	}
	c := w.own.Commit(len(m))
	c.In, c.Verdict = f.In, frame.Consumed
	if c.Parse() == frame.NotDropped {
		binary.BigEndian.PutUint16(tcp[16:], frame.Checksum(tcp, c.PseudoSum(20)))
		w.send(in, c)
	}
}
