package capture

import (
	"fmt"
	"net"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
)

// Summary describes a frame in one line for people: addresses, protocol, ports,
// length. It decodes with gopacket and is not for the data path.
func Summary(data []byte) string {
	var (
		eth  layers.Ethernet
		tag  layers.Dot1Q
		arp  layers.ARP
		ip4  layers.IPv4
		ip6  layers.IPv6
		tcp  layers.TCP
		udp  layers.UDP
		ic4  layers.ICMPv4
		ic6  layers.ICMPv6
		rest gopacket.Payload
	)
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &tag, &arp, &ip4, &ip6, &tcp, &udp, &ic4, &ic6, &rest)
	parser.IgnoreUnsupported = true
	var found []gopacket.LayerType
	// An error means the frame ends early or is damaged; what was found before
	// is shown all the same.
	err := parser.DecodeLayers(data, &found)
	var fr frame.Frame
	fr.Wrap(data, 0)
	var x facts
	x.find(&fr)
	tags := 0
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	for _, layer := range found {
		switch layer {
		case layers.LayerTypeEthernet:
			add("%s > %s", eth.SrcMAC, eth.DstMAC)
			if len(found) == 1 {
				add("ethertype %#04x", uint16(eth.EthernetType))
			}
		case layers.LayerTypeDot1Q:
			add("VLAN %d", x.vids[min(tags, 1)]) // gopacket keeps the innermost only
			tags++
		case layers.LayerTypeARP:
			add("%s", arpSummary(&arp))
		case layers.LayerTypeIPv4:
			add("%s > %s %s", ip4.SrcIP, ip4.DstIP, ip4.Protocol)
		case layers.LayerTypeIPv6:
			add("%s > %s %s", ip6.SrcIP, ip6.DstIP, ip6.NextHeader)
		case layers.LayerTypeTCP:
			add("%d > %d seq %d ack %d", uint16(tcp.SrcPort), uint16(tcp.DstPort), tcp.Seq, tcp.Ack)
		case layers.LayerTypeUDP:
			add("%d > %d", uint16(udp.SrcPort), uint16(udp.DstPort))
		case layers.LayerTypeICMPv4:
			add("%s id %d seq %d", ic4.TypeCode, ic4.Id, ic4.Seq)
		case layers.LayerTypeICMPv6:
			add("%s", ic6.TypeCode)
		}
	}
	switch {
	case err != nil && len(found) == 0:
		add("undecodable")
	case err != nil:
		add("undecodable behind that")
	}
	add("%d B", len(data))
	return strings.Join(parts, ", ")
}

func arpSummary(a *layers.ARP) string {
	ip := func(b []byte) string {
		if len(b) != 4 {
			return fmt.Sprintf("% x", b)
		}
		return fmt.Sprintf("%d.%d.%d.%d", b[0], b[1], b[2], b[3])
	}
	switch a.Operation {
	case layers.ARPRequest:
		return fmt.Sprintf("ARP who has %s, tell %s", ip(a.DstProtAddress), ip(a.SourceProtAddress))
	case layers.ARPReply:
		return fmt.Sprintf("ARP %s is at %s", ip(a.SourceProtAddress), net.HardwareAddr(a.SourceHwAddress))
	}
	return fmt.Sprintf("ARP operation %d", a.Operation)
}
