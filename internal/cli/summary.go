package cli

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"weft/internal/frame"
)

// summary describes a frame in one line, in the manner of tcpdump. origLen is
// its length on the wire.
func summary(data []byte, origLen int) string {
	var f frame.Frame
	f.Wrap(data, 0)
	if len(data) < frame.EtherLen {
		return fmt.Sprintf("runt of %d bytes", len(data))
	}
	r := f.Parse()
	var b strings.Builder
	fmt.Fprintf(&b, "%s > %s ", f.SrcMAC(), f.DstMAC())
	if f.View.VLAN != 0 {
		fmt.Fprintf(&b, "vlan %d ", f.View.VLAN)
	}
	switch {
	case r != frame.NotDropped && len(data) < origLen:
		fmt.Fprintf(&b, "%s, cut short", etherName(f.View.EtherType))
	case r != frame.NotDropped:
		fmt.Fprintf(&b, "%s, %s", etherName(f.View.EtherType), r)
	case f.View.EtherType == frame.EtherARP:
		b.WriteString(arpSummary(data[f.View.L3:]))
	case f.View.EtherType == frame.EtherIPv4 || f.View.EtherType == frame.EtherIPv6:
		b.WriteString(ipSummary(&f))
	default:
		b.WriteString(etherName(f.View.EtherType))
	}
	fmt.Fprintf(&b, ", length %d", origLen)
	return b.String()
}

func etherName(t uint16) string {
	switch t {
	case frame.EtherIPv4:
		return "IPv4"
	case frame.EtherIPv6:
		return "IPv6"
	case frame.EtherARP:
		return "ARP"
	case 0x88cc:
		return "LLDP"
	}
	return fmt.Sprintf("ethertype 0x%04x", t)
}

// arpSummary reads an Ethernet/IPv4 ARP packet (RFC 826).
func arpSummary(p []byte) string {
	if len(p) < 28 {
		return "ARP, too short"
	}
	spa, tpa := netip.AddrFrom4([4]byte(p[14:18])), netip.AddrFrom4([4]byte(p[24:28]))
	switch op := binary.BigEndian.Uint16(p[6:]); op {
	case 1:
		return fmt.Sprintf("ARP who-has %s tell %s", tpa, spa)
	case 2:
		return fmt.Sprintf("ARP %s is-at %s", spa, frame.MAC(p[8:14]))
	default:
		return fmt.Sprintf("ARP operation %d", op)
	}
}

func ipSummary(f *frame.Frame) string {
	src, dst := addresses(f)
	b, v := f.Bytes(), f.View
	name := etherName(v.EtherType)
	if v.L4 == 0 {
		if v.Fragment {
			return fmt.Sprintf("%s %s > %s fragment", name, src, dst)
		}
		return fmt.Sprintf("%s %s > %s protocol %d", name, src, dst, v.Proto)
	}
	l4 := b[v.L4:]
	switch {
	case v.Proto == frame.ProtoTCP && len(l4) >= 16:
		return fmt.Sprintf("%s %s > %s TCP %s seq %d ack %d win %d", name, withPort(src, l4[0:]), withPort(dst, l4[2:]),
			tcpFlags(l4[13]), binary.BigEndian.Uint32(l4[4:]), binary.BigEndian.Uint32(l4[8:]), binary.BigEndian.Uint16(l4[14:]))
	case v.Proto == frame.ProtoUDP && len(l4) >= 8:
		return fmt.Sprintf("%s %s > %s UDP", name, withPort(src, l4[0:]), withPort(dst, l4[2:]))
	case v.Proto == frame.ProtoICMP && len(l4) >= 4:
		return fmt.Sprintf("%s %s > %s ICMP %s", name, src, dst, icmpName(l4, icmp4Names))
	case v.Proto == frame.ProtoICMPv6 && len(l4) >= 4:
		return fmt.Sprintf("%s %s > %s ICMPv6 %s", name, src, dst, icmpName(l4, icmp6Names))
	}
	return fmt.Sprintf("%s %s > %s protocol %d", name, src, dst, v.Proto)
}

// addresses returns the IP addresses of a parsed IP frame.
func addresses(f *frame.Frame) (src, dst netip.Addr) {
	p := f.Bytes()[f.View.L3:]
	if f.View.EtherType == frame.EtherIPv4 {
		return netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
	}
	return netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
}

func withPort(a netip.Addr, port []byte) netip.AddrPort {
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

// tcpFlags writes flags as tcpdump does: [S.] is SYN and ACK.
func tcpFlags(b byte) string {
	s := ""
	for _, f := range []struct {
		bit  byte
		name string
	}{{0x02, "S"}, {0x01, "F"}, {0x04, "R"}, {0x08, "P"}, {0x20, "U"}, {0x10, "."}} {
		if b&f.bit != 0 {
			s += f.name
		}
	}
	if s == "" {
		s = "none"
	}
	return "[" + s + "]"
}

func icmpName(p []byte, names func(byte) string) string {
	if n := names(p[0]); n != "" {
		if strings.HasPrefix(n, "echo") && len(p) >= 8 {
			return fmt.Sprintf("%s id %d seq %d", n, binary.BigEndian.Uint16(p[4:]), binary.BigEndian.Uint16(p[6:]))
		}
		return n
	}
	return fmt.Sprintf("type %d code %d", p[0], p[1])
}

func icmp4Names(t byte) string {
	switch t {
	case 0:
		return "echo reply"
	case 3:
		return "destination unreachable"
	case 8:
		return "echo request"
	case 11:
		return "time exceeded"
	}
	return ""
}

func icmp6Names(t byte) string {
	switch t {
	case 1:
		return "destination unreachable"
	case 2:
		return "packet too big"
	case 3:
		return "time exceeded"
	case 128:
		return "echo request"
	case 129:
		return "echo reply"
	case 133:
		return "router solicitation"
	case 134:
		return "router advertisement"
	case 135:
		return "neighbor solicitation"
	case 136:
		return "neighbor advertisement"
	case 143:
		return "multicast listener report"
	}
	return ""
}
