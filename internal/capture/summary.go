package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"weft/internal/frame"
)

// Summary describes a frame in one line for people: addresses, protocol, ports,
// length. It is not for the data path. Every length is checked: damaged frames
// are described as far as they go.
func Summary(data []byte) string {
	var f frame.Frame
	f.Wrap(data, 0)
	var x facts
	x.find(&f)
	if !x.ether {
		return fmt.Sprintf("undecodable, %d B", len(data))
	}
	parts := []string{fmt.Sprintf("%s > %s", x.src, x.dst)}
	for _, vid := range x.vids[:x.tags] {
		parts = append(parts, fmt.Sprintf("VLAN %d", vid))
	}
	parts = append(parts, x.network(data[frame.EtherLen+4*x.tags:])...)
	return strings.Join(append(parts, fmt.Sprintf("%d B", len(data))), ", ")
}

// network describes what is behind the Ethernet header and its tags.
func (x *facts) network(b []byte) []string {
	switch {
	case x.etherType == frame.EtherARP && x.family == 4:
		return []string{arpSummary(b)}
	case x.family == 4 || x.family == 6:
		return append([]string{fmt.Sprintf("%s > %s %s", x.ip(x.from), x.ip(x.to), protocolName(x.proto))}, x.transportSummary()...)
	case x.etherType == frame.EtherARP || x.etherType == frame.EtherIPv4 || x.etherType == frame.EtherIPv6:
		return []string{fmt.Sprintf("ethertype %#04x", x.etherType), "undecodable behind that"}
	}
	return []string{fmt.Sprintf("ethertype %#04x", x.etherType)}
}

func (x *facts) ip(a addr) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	if x.family == 4 {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.AddrFrom16(b)
}

func (x *facts) transportSummary() []string {
	b := x.l4
	switch {
	case x.ports && x.proto == frame.ProtoTCP && len(b) >= 12:
		return []string{fmt.Sprintf("%d > %d seq %d ack %d", x.sport, x.dport, binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]))}
	case x.ports:
		return []string{fmt.Sprintf("%d > %d", x.sport, x.dport)}
	case x.proto == frame.ProtoICMP && x.family == 4 && len(b) >= 8:
		if b[0] == 0 || b[0] == 8 { // echo (RFC 792)
			return []string{fmt.Sprintf("%s id %d seq %d", typeName(icmp4Names, b), binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]))}
		}
		return []string{typeName(icmp4Names, b)}
	case x.proto == frame.ProtoICMPv6 && x.family == 6 && len(b) >= 4:
		return []string{typeName(icmp6Names, b)}
	}
	return nil
}

func protocolName(n uint8) string {
	if name, ok := protocolNames[n]; ok {
		return name
	}
	return fmt.Sprintf("protocol %d", n)
}

// typeName names an ICMP message by its type, and by its code if that is not 0.
func typeName(names map[uint8]string, b []byte) string {
	name, ok := names[b[0]]
	if !ok {
		name = fmt.Sprintf("type %d", b[0])
	}
	if b[1] != 0 {
		name += fmt.Sprintf(" code %d", b[1])
	}
	return name
}

var (
	protocolNames = map[uint8]string{
		frame.ProtoICMP: "ICMPv4", protoIGMP: "IGMP", frame.ProtoTCP: "TCP", frame.ProtoUDP: "UDP", protoESP: "ESP", protoAH: "AH",
		frame.ProtoICMPv6: "ICMPv6", protoSCTP: "SCTP",
	}
	// RFC 792.
	icmp4Names = map[uint8]string{
		0: "EchoReply", 3: "DestinationUnreachable", 5: "Redirect", 8: "EchoRequest", 11: "TimeExceeded", 12: "ParameterProblem",
	}
	// RFC 4443, RFC 2710, RFC 4861, RFC 3810.
	icmp6Names = map[uint8]string{
		1: "DestinationUnreachable", 2: "PacketTooBig", 3: "TimeExceeded", 4: "ParameterProblem", 128: "EchoRequest", 129: "EchoReply",
		130: "ListenerQuery", 131: "ListenerReport", 132: "ListenerDone", 133: "RouterSolicitation", 134: "RouterAdvertisement",
		135: "NeighborSolicitation", 136: "NeighborAdvertisement", 137: "Redirect", 143: "ListenerReportV2",
	}
)

// arpSummary describes an ARP message for IPv4 over Ethernet (RFC 826), whose
// length is known to suffice.
func arpSummary(b []byte) string {
	sender, target := netip.AddrFrom4([4]byte(b[14:])), netip.AddrFrom4([4]byte(b[24:]))
	switch op := binary.BigEndian.Uint16(b[6:]); op {
	case 1:
		return fmt.Sprintf("ARP who has %s, tell %s", target, sender)
	case 2:
		return fmt.Sprintf("ARP %s is at %s", sender, frame.MAC(b[8:14]))
	default:
		return fmt.Sprintf("ARP operation %d", op)
	}
}
