package vswitch

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/frame"
)

// What a packet is answered with that goes no further, in bytes from the ICMP header:
// type, code, checksum, and four bytes that hold an MTU or nothing (RFC 792; RFC 1191, 4;
// RFC 4443, 3). The packet follows, as much as leaves the whole within maxError bytes.
const (
	icmpErrorLen = 8
	maxError4    = 576  // RFC 1812, 4.3.2.3
	maxError6    = 1280 // RFC 4443, 2.4 c
)

// An icmpError is a message's type and code, in both families.
type icmpError struct{ type4, code4, type6, code6 uint8 }

// The messages, RFC 792 and RFC 4443 in the order of their types.
var (
	noRoute         = icmpError{3, 0, 1, 0}
	hostUnreachable = icmpError{3, 1, 1, 3}
	portUnreachable = icmpError{3, 3, 1, 4}
	fragNeeded      = icmpError{3, 4, 2, 0} // packet too big
	prohibited      = icmpError{3, 13, 1, 1}
	timeExceeded    = icmpError{11, 0, 3, 0}
)

// wantsTooBig reports whether the sender of a packet that does not fit is to be told: not
// where routers may cut it (RFC 1191, 3), though a TCP superframe is not for them to cut.
func wantsTooBig(f *frame.Frame) bool {
	if f.View.EtherType == frame.EtherIPv4 {
		const df = 0x40
		tcpSuper := f.Offload.GSO != frame.GSONone && f.View.Proto == frame.ProtoTCP
		if f.Bytes()[f.View.L3+6]&df == 0 && !tcpSuper {
			return false
		}
	}
	return mayTell(f)
}

// mayTell reports whether a packet may be answered with an error at all: not one that is
// an error itself, nor a fragment but the first, nor what has no single sender or receiver
// (RFC 1122, 3.2.2; RFC 4443, 2.4 e).
func mayTell(f *frame.Frame) bool {
	v, b := &f.View, f.Bytes()
	p := b[v.L3:]
	switch v.EtherType {
	case frame.EtherIPv4:
		return !v.Later && single4(p[12:]) && single4(p[16:]) &&
			!(v.Proto == frame.ProtoICMP && (v.L4 == 0 || isError4(b[v.L4])))
	case frame.EtherIPv6:
		return !v.Later && single6(p[8:]) && single6(p[24:]) &&
			!(v.Proto == frame.ProtoICMPv6 && (v.L4 == 0 || isError6(b[v.L4])))
	}
	return false
}

// single4 and single6 report whether the address at the start of b can be one
// host's on a wire.
func single4(b []byte) bool { return b[0] != 0 && b[0] != 127 && b[0] < 224 }

func single6(b []byte) bool {
	a := [16]byte(b)
	loopback := [16]byte{15: 1}
	return a[0] != 0xff && a != [16]byte{} && a != loopback
}

// isError4 and isError6 report whether an ICMP type is that of an error message
// or, which counts as one, of a redirect. All but the known informational ones
// of version 4 are taken for errors.
func isError4(t byte) bool {
	switch t {
	case 0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43: // echo, router, timestamp, information, mask, extended echo
		return false
	}
	return true
}

func isError6(t byte) bool { return t < 128 || t == icmp6Redirect }

// sendTooBig tells the sender of f, which came through in, that a packet of mtu bytes
// would have fitted. The switch has no address that the sender must know, so the message
// comes from the one that the packet was for.
func (w *Worker) sendTooBig(in *Port, f *frame.Frame, mtu int) {
	w.tellSender(in, f, netip.Addr{}, fragNeeded, mtu)
}

// tellSender answers f, which came through in, with an error from an address.
func (w *Worker) tellSender(in *Port, f *frame.Frame, from netip.Addr, e icmpError, rest int) {
	slot := w.ownBatch().Reserve()
	if slot == nil {
		return
	}
	c := w.own.Commit(appendError(slot[frame.Headroom:], f, from, e, rest))
	c.In, c.VNI, c.Verdict = f.In, f.VNI, frame.Consumed
	c.Parse()
	w.send(in, c)
}

// appendError writes a frame into m that answers f, VLAN tags and all, with an error, and
// returns its length. from is the address that it comes from; not valid: the one that f was
// for.
func appendError(m []byte, f *frame.Frame, from netip.Addr, e icmpError, rest int) int {
	v, b := &f.View, f.Bytes()
	copy(m, b[:v.L3])
	copy(m, b[6:12])
	copy(m[6:], b[:6])
	n := int(v.L3)
	if v.EtherType == frame.EtherIPv4 {
		return n + appendError4(m[n:], b[n:], from, e, rest)
	}
	return n + appendError6(m[n:], b[n:], from, e, rest)
}

// appendError4 writes an IPv4 packet into m, about the one at the start of p, and
// returns its length.
func appendError4(m, p []byte, from netip.Addr, e icmpError, rest int) int {
	quoted := min(len(p), int(binary.BigEndian.Uint16(p[2:])), maxError4-20-icmpErrorLen)
	n := 20 + icmpErrorLen + quoted
	m = m[:n]
	clear(m[:20+icmpErrorLen])
	m[0] = 0x45
	binary.BigEndian.PutUint16(m[2:], uint16(n))
	m[6] = 0x40 // never fragmented, so no identification is needed (RFC 6864, 4.1)
	m[8], m[9] = defaultTTL, frame.ProtoICMP
	copy(m[12:], p[16:20])
	if from.Is4() {
		a := from.As4()
		copy(m[12:], a[:])
	}
	copy(m[16:], p[12:16])
	frame.SetIPv4Checksum(m)
	icmp := m[20:]
	icmp[0], icmp[1] = e.type4, e.code4
	binary.BigEndian.PutUint16(icmp[6:], uint16(min(rest, 65535)))
	copy(icmp[icmpErrorLen:], p[:quoted])
	binary.BigEndian.PutUint16(icmp[2:], frame.Checksum(icmp, 0))
	return n
}

// appendError6 writes an IPv6 packet into m, about the one at the start of p, and
// returns its length.
func appendError6(m, p []byte, from netip.Addr, e icmpError, rest int) int {
	quoted := min(len(p), 40+int(binary.BigEndian.Uint16(p[4:])), maxError6-40-icmpErrorLen)
	n := 40 + icmpErrorLen + quoted
	m = m[:n]
	clear(m[:40+icmpErrorLen])
	m[0] = 0x60
	binary.BigEndian.PutUint16(m[4:], uint16(n-40))
	m[6], m[7] = frame.ProtoICMPv6, defaultTTL
	copy(m[8:], p[24:40])
	if from.Is6() {
		a := from.As16()
		copy(m[8:], a[:])
	}
	copy(m[24:], p[8:24])
	icmp := m[40:]
	icmp[0], icmp[1] = e.type6, e.code6
	binary.BigEndian.PutUint32(icmp[4:], uint32(rest))
	copy(icmp[icmpErrorLen:], p[:quoted])
	pseudo := frame.Sum(m[8:40], uint64(len(icmp))+frame.ProtoICMPv6)
	binary.BigEndian.PutUint16(icmp[2:], frame.Checksum(icmp, pseudo))
	return n
}
