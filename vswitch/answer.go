package vswitch

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"weft/arp"
	"weft/internal/frame"
)

// answer replies to what the switch knows itself: ARP and neighbour discovery
// from the domain's table, ping to the gateway. It rewrites the frame in place
// and sends it back, and reports whether the frame has ended. Table and gateway
// are the untagged network's: on a VLAN the same address may be another host's.
func (w *Worker) answer(in *Port, f *frame.Frame, hook *captureHook) bool {
	if f.View.VLAN != 0 {
		return false
	}
	if neighbourly(f) {
		return w.answerNeighbour(in, f, hook)
	}
	d := in.domain
	if !d.gateway.on || f.DstMAC() != d.gateway.mac || !d.gateway.pinged(f) {
		return false
	}
	w.save(f, hook)
	d.gateway.pong(f)
	w.reply(in, f)
	return true
}

// neighbourly reports whether a frame speaks ARP or neighbour discovery.
func neighbourly(f *frame.Frame) bool {
	switch f.View.EtherType {
	case frame.EtherARP:
		return true
	case frame.EtherIPv6:
		if f.View.Proto == frame.ProtoICMPv6 && f.View.L4 != 0 {
			t := f.Bytes()[f.View.L4]
			return t == icmp6NS || t == icmp6NA
		}
	}
	return false
}

// learnNeighbour teaches the table what frames from unguarded ports say of
// their senders; guarded ones were entered statically, and so were those behind a
// port that learns nothing: of them only who claims the gateway's address is looked
// for. What is malformed goes nowhere, whoever it came from.
func (w *Worker) learnNeighbour(in *Port, f *frame.Frame) frame.Reason {
	if in.guard.on || f.View.VLAN != 0 || !neighbourly(f) {
		return frame.NotDropped
	}
	d := in.domain
	addr, mac, ok := arp.Sender(f)
	if ok && d.gateway.owns(addr) || !ok && arp.Malformed(f) {
		return frame.BadARP
	}
	if d.cfg.Outside {
		if r := d.router.Load(); ok && r != nil {
			w.hear(r, addr, mac)
		}
		return frame.NotDropped
	}
	if ok && !w.quiet && in.cfg.MaxMACs >= 0 && addr.IsValid() && !addr.IsUnspecified() && unicast(mac) && mac != (frame.MAC{}) {
		d.neighbours.Learn(addr, mac, w.now)
	}
	return frame.NotDropped
}

// answerNeighbour answers a request from the table.
func (w *Worker) answerNeighbour(in *Port, f *frame.Frame, hook *captureHook) bool {
	d := in.domain
	if r := w.learnNeighbour(in, f); r != frame.NotDropped {
		f.Drop(r)
		return true
	}
	w.save(f, hook)
	switch d.neighbours.Answer(f) {
	case arp.Reply:
		w.reply(in, f)
		return true
	case arp.Bad:
		f.Drop(frame.BadARP)
		return true
	case arp.Unknown:
		if d.cfg.DropUnknownNeighbour || d.cfg.Outside {
			f.Drop(frame.UnknownARP)
			return true
		}
	case arp.Ignore:
		if d.cfg.Outside && f.DstMAC() == d.gateway.mac { // what the router was told
			f.Verdict = frame.Consumed
			return true
		}
	}
	return false
}

// reply sends a frame back through the port it came from: it is consumed, and
// what leaves is the switch's own.
func (w *Worker) reply(in *Port, f *frame.Frame) {
	f.Verdict = frame.Consumed
	w.send(in, f)
}

// pinged reports whether the frame is an unfragmented echo request (RFC 792, RFC
// 4443, 4.1) to one of the gateway's addresses. Its checksum is the asker's
// business: a wrong one comes back wrong.
func (g *gateway) pinged(f *frame.Frame) bool {
	v, b := &f.View, f.Bytes()
	if v.L4 == 0 || v.Fragment {
		return false
	}
	l4 := b[v.L4:]
	switch {
	case v.Proto == frame.ProtoICMP && v.EtherType == frame.EtherIPv4:
		if l4[0] != icmpEcho || l4[1] != 0 {
			return false
		}
		return g.own4(b[v.L3+16:])
	case v.Proto == frame.ProtoICMPv6 && v.EtherType == frame.EtherIPv6:
		if l4[0] != icmp6Echo || l4[1] != 0 {
			return false
		}
		return g.own6(b[v.L3+24:])
	}
	return false
}

// own4 and own6 report whether the address at the start of b is the gateway's.
func (g *gateway) own4(b []byte) bool { return slices.Contains(g.ip4, binary.BigEndian.Uint32(b)) }
func (g *gateway) own6(b []byte) bool { return slices.Contains(g.ip6, [16]byte(b[:16])) }

func (g *gateway) owns(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		return g.own4(b[:])
	}
	if !a.IsValid() {
		return false
	}
	b := a.As16()
	return g.own6(b[:])
}

// ICMP and ICMPv6 echo types.
const (
	icmpEcho       = 8
	icmpEchoReply  = 0
	icmp6Echo      = 128
	icmp6EchoReply = 129
)

// pong turns an echo request into its reply in place: addresses swapped, a fresh
// TTL, the type changed and its checksum with it (RFC 1624). Swapping addresses
// changes no sum.
func (g *gateway) pong(f *frame.Frame) {
	b, v := f.Bytes(), &f.View
	copy(b[0:6], b[6:12])
	copy(b[6:12], g.mac[:])
	p, l4 := b[v.L3:], b[v.L4:]
	if v.EtherType == frame.EtherIPv4 {
		swap(p[12:16], p[16:20])
		p[8] = frame.DefaultTTL
		frame.SetIPv4Checksum(p)
		l4[0] = icmpEchoReply
	} else {
		swap(p[8:24], p[24:40])
		p[7] = frame.DefaultTTL
		l4[0] = icmp6EchoReply
	}
	// An unfinished checksum covers the type when it is finished.
	if f.Offload.Flags&frame.NeedsCsum != 0 {
		return
	}
	old, sum := uint16(icmpEcho)<<8, binary.BigEndian.Uint16(l4[2:])
	if v.EtherType == frame.EtherIPv6 {
		old = icmp6Echo << 8
	}
	binary.BigEndian.PutUint16(l4[2:], frame.Adjust(sum, old, uint16(l4[0])<<8))
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

// unserved says why a frame to the gateway's MAC ends here: it is for an address
// of the gateway, which serves nothing but ping, or for somewhere else, and
// there is no way out.
func (g *gateway) unserved(f *frame.Frame) frame.Reason {
	b, v := f.Bytes(), &f.View
	if v.EtherType == frame.EtherIPv4 && g.own4(b[v.L3+16:]) || v.EtherType == frame.EtherIPv6 && g.own6(b[v.L3+24:]) {
		return frame.UnknownGateway
	}
	return frame.NoRoute
}
