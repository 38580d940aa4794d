package capture

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"weft/internal/frame"
)

// A protocol is what a protocol word stands for.
type protocol struct {
	etherType uint16 // frames of this kind, 0: see number
	family    uint8  // of an IP protocol; 0: both
	number    uint8  // IP protocol
}

var protocols = map[string]protocol{
	"ip": {etherType: frame.EtherIPv4}, "ip6": {etherType: frame.EtherIPv6},
	"arp": {etherType: frame.EtherARP}, "rarp": {etherType: etherRARP},
	"tcp": {number: frame.ProtoTCP}, "udp": {number: frame.ProtoUDP}, "sctp": {number: protoSCTP},
	"icmp": {number: frame.ProtoICMP, family: 4}, "icmp6": {number: frame.ProtoICMPv6, family: 6},
	"igmp": {number: protoIGMP, family: 4}, "esp": {number: protoESP}, "ah": {number: protoAH},
}

// protocol is a protocol word that stands alone.
func (p *filterParser) protocol(q qualifiers) (*filterNode, error) {
	if q.proto == "ether" {
		return nil, p.fail("expected host, src, dst, proto, broadcast or multicast after ether")
	}
	pr := protocols[q.proto]
	if pr.etherType != 0 {
		return leaf(test{kind: testEtherType, lo: pr.etherType}), nil
	}
	return leaf(test{kind: testProto, family: pr.family, lo: uint16(pr.number)}), nil
}

// value takes the address or number the qualifiers ask for.
func (p *filterParser) value(q qualifiers) (*filterNode, error) {
	switch q.kind {
	case "port", "portrange":
		return p.ports(q)
	case "proto":
		return p.protoNumber(q)
	case "net":
		return p.network(q)
	}
	if q.proto == "ether" {
		mac, err := net.ParseMAC(p.peek())
		if err != nil || len(mac) != 6 {
			return nil, p.fail("expected a MAC address such as 02:42:0a:00:00:02")
		}
		p.i++
		return leaf(test{kind: testMAC, side: q.side, mac: frame.MAC(mac)}), nil
	}
	a, err := netip.ParseAddr(p.peek())
	if err != nil || a.Zone() != "" {
		if _, err := net.ParseMAC(p.peek()); err == nil {
			return nil, p.fail("expected an IP address; for a MAC address write ether host")
		}
		return nil, p.fail("expected an IP address (names are not resolved)")
	}
	a = a.Unmap()
	return p.addresses(q, prefixTest(netip.PrefixFrom(a, a.BitLen())))
}

// addresses narrows an address test by its qualifiers.
func (p *filterParser) addresses(q qualifiers, t test) (*filterNode, error) {
	pr, ok := protocols[q.proto]
	if q.proto != "" && (!ok || pr.etherType == 0) {
		return nil, p.fail("expected ip, ip6 or arp before an address, not " + q.proto)
	}
	if (pr.etherType == frame.EtherIPv6) != (t.family == 6) && pr.etherType != 0 {
		return nil, p.fail("the address does not belong to " + q.proto)
	}
	p.i++
	t.side, t.etherType = q.side, pr.etherType
	return leaf(t), nil
}

// prefixTest compares addresses with a prefix.
func prefixTest(pfx netip.Prefix) test {
	b := pfx.Masked().Addr().AsSlice()
	mask := net.CIDRMask(pfx.Bits(), len(b)*8)
	if len(b) == 4 {
		return test{kind: testAddr, family: 4, want: addr4(b), mask: addr4(mask)}
	}
	return test{kind: testAddr, family: 6, want: addr6(b), mask: addr6(mask)}
}

// network = net ADDR/LEN | net ADDR mask MASK | net 10.1 (one to four octets).
func (p *filterParser) network(q qualifiers) (*filterNode, error) {
	w := p.peek()
	if pfx, err := netip.ParsePrefix(w); err == nil && pfx == pfx.Masked() {
		return p.addresses(q, prefixTest(pfx))
	} else if err == nil {
		return nil, p.fail("has bits set behind its length; expected " + pfx.Masked().String())
	}
	if a, err := netip.ParseAddr(w); err == nil && a.Is6() && a.Zone() == "" {
		return p.addresses(q, prefixTest(netip.PrefixFrom(a, 128)))
	}
	octets := strings.Count(w, ".") + 1
	a, err := netip.ParseAddr(w + strings.Repeat(".0", max(4-octets, 0)))
	if err != nil || !a.Is4() {
		return nil, p.fail("expected a network such as 10.0.0.0/24 or fd00::/64")
	}
	t := prefixTest(netip.PrefixFrom(a, octets*8))
	n, err := p.addresses(q, t)
	if err != nil || !p.accept("mask") {
		return n, err
	}
	m, err := netip.ParseAddr(p.peek())
	if err != nil || !m.Is4() || octets != 4 {
		return nil, p.fail("expected a mask such as 255.255.255.0 behind an address of four octets")
	}
	b := m.As4()
	if v := binary.BigEndian.Uint32(b[:]); ^v&(^v+1) != 0 {
		return nil, p.fail("not a contiguous mask")
	}
	p.i++
	n.test.mask = addr4(b[:])
	n.test.want = n.test.want.masked(n.test.mask)
	return n, nil
}

// ports = port N | portrange N-M | portrange N.
func (p *filterParser) ports(q qualifiers) (*filterNode, error) {
	pr := protocols[q.proto]
	switch q.proto {
	case "", "tcp", "udp", "sctp":
	default:
		return nil, p.fail("expected tcp, udp or sctp before " + q.kind + ", not " + q.proto)
	}
	first, second := p.peek(), p.peek()
	if q.kind == "portrange" {
		if a, b, found := strings.Cut(first, "-"); found {
			first, second = a, b
		}
	}
	lo, err := strconv.ParseUint(first, 10, 16)
	hi, err2 := strconv.ParseUint(second, 10, 16)
	if err != nil || err2 != nil || lo > hi {
		if q.kind == "port" {
			return nil, p.fail("expected a port from 0 to 65535 (names are not resolved)")
		}
		return nil, p.fail("expected ports such as 8000-8080")
	}
	p.i++
	return leaf(test{kind: testPorts, side: q.side, proto: pr.number, lo: uint16(lo), hi: uint16(hi)}), nil
}

// protoNumber = ether proto N | [ip|ip6] proto N, where N may be a name.
func (p *filterParser) protoNumber(q qualifiers) (*filterNode, error) {
	if q.side != either {
		return nil, p.fail("src and dst do not go with proto")
	}
	pr, named := protocols[strings.TrimPrefix(p.peek(), `\`)]
	t := test{kind: testProto, lo: uint16(pr.number)}
	limit, ok := 255, pr.etherType == 0
	switch q.proto {
	case "":
	case "ip":
		t.family = 4
	case "ip6":
		t.family = 6
	case "ether":
		t.kind, t.lo = testEtherType, pr.etherType
		limit, ok = 65535, pr.etherType != 0
	default:
		return nil, p.fail("expected ether, ip or ip6 before proto, not " + q.proto)
	}
	if named && ok {
		p.i++
		return leaf(t), nil
	}
	n, err := p.number(limit, "expected a protocol number up to "+strconv.Itoa(limit)+", or a name")
	t.lo = uint16(n)
	return leaf(t), err
}
