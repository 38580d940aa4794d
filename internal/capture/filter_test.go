package capture

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
)

func build(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// samples are the frames the filter table is about.
func samples(t testing.TB) map[string]*frame.Frame {
	mac := func(s string) net.HardwareAddr { m, _ := net.ParseMAC(s); return m }
	a, b := mac("02:42:0a:00:00:02"), mac("02:42:0a:00:00:03")
	ether := func(dst net.HardwareAddr, kind layers.EthernetType) *layers.Ethernet {
		return &layers.Ethernet{SrcMAC: a, DstMAC: dst, EthernetType: kind}
	}
	ip4 := func(dst string, proto layers.IPProtocol, frag uint16) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, SrcIP: net.ParseIP("10.0.0.2"), DstIP: net.ParseIP(dst), Protocol: proto, FragOffset: frag}
	}
	ip6 := func(dst string, next layers.IPProtocol) *layers.IPv6 {
		return &layers.IPv6{Version: 6, HopLimit: 255, SrcIP: net.ParseIP("fd00::2"), DstIP: net.ParseIP(dst), NextHeader: next}
	}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: 80}
	udp := &layers.UDP{SrcPort: 1000, DstPort: 53}
	arp := &layers.ARP{AddrType: 1, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
		SourceHwAddress: a, SourceProtAddress: []byte{10, 0, 0, 2}, DstHwAddress: make([]byte, 6), DstProtAddress: []byte{10, 0, 0, 9}}
	tag := func(id uint16, kind layers.EthernetType) *layers.Dot1Q {
		return &layers.Dot1Q{VLANIdentifier: id, Type: kind}
	}
	all := map[string][]byte{
		"tcp":   build(t, ether(b, layers.EthernetTypeIPv4), ip4("10.0.0.3", layers.IPProtocolTCP, 0), tcp, gopacket.Payload(make([]byte, 46))),
		"udp":   build(t, ether(b, layers.EthernetTypeIPv4), ip4("10.0.1.3", layers.IPProtocolUDP, 0), udp),
		"frag":  build(t, ether(b, layers.EthernetTypeIPv4), ip4("10.0.1.3", layers.IPProtocolUDP, 100), udp),
		"ping":  build(t, ether(b, layers.EthernetTypeIPv4), ip4("10.0.0.3", layers.IPProtocolICMPv4, 0), &layers.ICMPv4{TypeCode: 0x800}),
		"mcast": build(t, ether(mac("01:00:5e:00:00:01"), layers.EthernetTypeIPv4), ip4("224.0.0.1", layers.IPProtocolIGMP, 0)),
		"arp":   build(t, ether(mac("ff:ff:ff:ff:ff:ff"), layers.EthernetTypeARP), arp),
		"tcp6":  build(t, ether(b, layers.EthernetTypeIPv6), ip6("fd00::3", layers.IPProtocolTCP), tcp),
		"udp6x": build(t, ether(b, layers.EthernetTypeIPv6), ip6("fd00:1::3", layers.IPProtocolIPv6HopByHop),
			gopacket.Payload("\x3c\x00\x01\x04\x00\x00\x00\x00\x11\x00\x01\x04\x00\x00\x00\x00\x03\xe8\x00\x35\x00\x08\x00\x00")),
		"ns":    build(t, ether(mac("33:33:ff:00:00:03"), layers.EthernetTypeIPv6), ip6("ff02::1:ff00:3", layers.IPProtocolICMPv6), gopacket.Payload(make([]byte, 24))),
		"vlan":  build(t, ether(b, layers.EthernetTypeDot1Q), tag(5, layers.EthernetTypeIPv4), ip4("10.0.0.3", layers.IPProtocolTCP, 0), tcp),
		"qinq":  build(t, ether(b, layers.EthernetTypeQinQ), tag(7, layers.EthernetTypeDot1Q), tag(5, layers.EthernetTypeARP), arp),
		"spoof": build(t, ether(b, layers.EthernetTypeIPv4), ip4("192.168.1.1", layers.IPProtocolUDP, 0), udp),
		"lldp":  build(t, ether(mac("01:80:c2:00:00:0e"), 0x88cc), gopacket.Payload(make([]byte, 46))),
		"runt":  {1, 2, 3},
	}
	out := map[string]*frame.Frame{}
	for name, b := range all {
		out[name] = wrap(b)
	}
	out["spoof"].Drop(frame.SpoofedIP)
	out["runt"].Drop(frame.Runt)
	return out
}

func TestFilter(t *testing.T) {
	frames := samples(t)
	tests := []struct{ expr, want string }{
		{"", "arp frag lldp mcast ns ping qinq runt spoof tcp tcp6 udp udp6x vlan"},
		{"ip", "frag mcast ping spoof tcp udp vlan"},
		{"ip6", "ns tcp6 udp6x"},
		{"arp", "arp qinq"},
		{"rarp", ""},
		{"tcp", "tcp tcp6 vlan"},
		{"udp", "frag spoof udp udp6x"},
		{"icmp", "ping"},
		{"icmp6", "ns"},
		{"igmp", "mcast"},
		{"ip proto 17", "frag spoof udp"},
		{"ip6 proto udp", "udp6x"},
		{"ip6 proto 0", "udp6x"},
		{"proto 0x11", "frag spoof udp udp6x"},
		{"ether proto 0x88cc", "lldp"},
		{`ether proto \arp`, "arp qinq"},
		{"host 10.0.0.3", "ping tcp vlan"},
		{"10.0.0.3", "ping tcp vlan"},
		{"host 10.0.0.9", "arp qinq"},
		{"ip host 10.0.0.9", ""},
		{"arp host 10.0.0.9", "arp qinq"},
		{"src host 10.0.0.3", ""},
		{"dst 10.0.0.3", "ping tcp vlan"},
		{"src or dst host 10.0.0.3", "ping tcp vlan"},
		{"src and dst net 10.0.0.0/24", "arp ping qinq tcp vlan"},
		{"host fd00::3", "tcp6"},
		{"host ::ffff:10.0.0.3", "ping tcp vlan"},
		{"net 10.0.1.0/24", "frag udp"},
		{"net 10.0.1.0 mask 255.255.255.0", "frag udp"},
		{"net 10.0.1", "frag udp"},
		{"dst net 192.168", "spoof"},
		{"net fd00:1::/32", "udp6x"},
		{"net 0.0.0.0/0", "arp frag mcast ping qinq spoof tcp udp vlan"},
		{"port 53", "spoof udp udp6x"},
		{"udp port 53 or 54", "spoof udp udp6x"},
		{"tcp port 53", ""},
		{"src port 53", ""},
		{"tcp dst port 80", "tcp tcp6 vlan"},
		{"portrange 50-60", "spoof udp udp6x"},
		{"dst portrange 80", "tcp tcp6 vlan"},
		{"vlan", "qinq vlan"},
		{"vlan 5", "qinq vlan"},
		{"vlan 7", "qinq"},
		{"vlan and tcp", "vlan"},
		{"ether host 02:42:0a:00:00:03", "frag ping qinq spoof tcp tcp6 udp udp6x vlan"},
		{"ether dst 02:42:0a:00:00:02", ""},
		{"ether src 02:42:0a:00:00:02 and arp", "arp qinq"},
		{"broadcast", "arp"},
		{"ether broadcast", "arp"},
		{"multicast", "arp lldp mcast ns"},
		{"ip multicast", "mcast"},
		{"ip6 multicast", "ns"},
		{"greater 100", "tcp"},
		{"less 14", "runt"},
		{"dropped", "runt spoof"},
		{"dropped spoofed-ip", "spoof"},
		{"dropped and udp", "spoof"},
		{"not ip and not ip6", "arp lldp qinq runt"},
		{"!ip && !(ip6 || arp)", "lldp runt"},
		{"not not arp", "arp qinq"},
		{"tcp or udp and ip6", "tcp6 udp6x"}, // equal precedence, from the left
		{"tcp or (udp and ip6)", "tcp tcp6 udp6x vlan"},
		{"host 10.0.0.3 and tcp port 80 and not vlan", "tcp"},
		{"host 10.0.0.9 or 10.0.1.3", "arp frag qinq udp"},
		{"(host 10.0.0.9 or 10.0.1.3) and not udp", "arp qinq"},
	}
	for _, tt := range tests {
		t.Run(tt.expr, func(t *testing.T) {
			f, err := ParseFilter(tt.expr)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]bool{}
			for _, name := range strings.Fields(tt.want) {
				want[name] = true
			}
			for name, fr := range frames {
				if f.Match(fr) != want[name] {
					t.Errorf("frame %s: %v, expected %v", name, !want[name], want[name])
				}
			}
			if f.String() != tt.expr {
				t.Errorf("String is %q", f.String())
			}
		})
	}
	if !(*Filter)(nil).Match(frames["runt"]) {
		t.Error("a nil filter refused a frame")
	}
}

func TestFilterErrors(t *testing.T) {
	tests := []struct{ expr, want string }{
		{"hots 10.0.0.2", `column 1, at "hots": expected an address or one of`},
		{"host", "at the end: expected an IP address"},
		{"host rose", `column 6, at "rose": expected an IP address (names are not resolved)`},
		{"host 10.0.0.999", `column 6, at "10.0.0.999": expected an IP address`},
		{"host 02:42:0a:00:00:02", "for a MAC address write ether host"},
		{"ip6 host 10.0.0.2", `column 10, at "10.0.0.2": the address does not belong to ip6`},
		{"tcp host 10.0.0.2", "expected ip, ip6 or arp before an address, not tcp"},
		{"ether host 10.0.0.2", "expected a MAC address"},
		{"ether", "at the end: expected host, src, dst"},
		{"net 10.0.0.1/24", "has bits set behind its length; expected 10.0.0.0/24"},
		{"net 10.0.0.0 mask 255.0.255.0", `column 19, at "255.0.255.0": not a contiguous mask`},
		{"net 10.0 mask 255.0.0.0", "behind an address of four octets"},
		{"net x", "expected a network such as"},
		{"port http", `column 6, at "http": expected a port from 0 to 65535 (names are not resolved)`},
		{"port 65536", "expected a port"},
		{"icmp port 80", "expected tcp, udp or sctp before port, not icmp"},
		{"portrange 9-8", "expected ports such as"},
		{"tcp and", "at the end: expected an address or one of"},
		{"tcp or )", `column 8, at ")"`},
		{"(tcp", "at the end: expected )"},
		{"tcp)", `column 4, at ")": expected and, or, or the end`},
		{"tcp udp", `column 5, at "udp": expected and, or, or the end`},
		{"vlan 4096", "expected a VLAN identifier from 0 to 4095"},
		{"greater", "at the end: expected a number of bytes"},
		{"dropped spoofed", `column 9, at "spoofed": no such drop reason; there are runt oversized`},
		{"src broadcast", `column 5, at "broadcast": only ether`},
		{"tcp multicast", "only ether, ip or ip6"},
		{"src proto 6", "src and dst do not go with proto"},
		{"tcp proto 6", "expected ether, ip or ip6 before proto"},
		{"proto 256", "expected a protocol number up to 255"},
		{"ether proto tcp", "expected a protocol number up to 65535"},
		{strings.Repeat("(", 100) + "tcp", "nested too deeply"},
		{strings.Repeat("not ", 100) + "tcp", "nested too deeply"},
		{strings.Repeat("tcp or ", 1000) + "tcp", "at most 4096"},
	}
	for _, tt := range tests {
		t.Run(tt.expr[:min(len(tt.expr), 40)], func(t *testing.T) {
			_, err := ParseFilter(tt.expr)
			var fe *FilterError
			if !errors.As(err, &fe) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, expected %q", err, tt.want)
			}
		})
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"host 10.0.0.2 and tcp port 80", "not (vlan 5 or dropped runt)", "net 10.1 mask", "src or dst portrange 1-2 or 3", "!!!(", "ip6 multicast||greater 9"} {
		f.Add(s, []byte(udp))
	}
	f.Fuzz(func(t *testing.T, expr string, b []byte) {
		flt, err := ParseFilter(expr)
		if err != nil {
			return
		}
		fr := wrap(b)
		inverse, err := ParseFilter("not (" + expr + ")")
		if err != nil || strings.TrimSpace(expr) == "" {
			return
		}
		if flt.Match(fr) == inverse.Match(fr) {
			t.Errorf("%q and its inverse agree", expr)
		}
	})
}
