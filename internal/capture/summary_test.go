package capture

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestSummary(t *testing.T) {
	frames := samples(t)
	tests := []struct{ name, want string }{
		{"tcp", "02:42:0a:00:00:02 > 02:42:0a:00:00:03, 10.0.0.2 > 10.0.0.3 TCP, 40000 > 80 seq 0 ack 0, 100 B"},
		{"arp", "02:42:0a:00:00:02 > ff:ff:ff:ff:ff:ff, ARP who has 10.0.0.9, tell 10.0.0.2, 60 B"},
		{"vlan", "02:42:0a:00:00:02 > 02:42:0a:00:00:03, VLAN 5, 10.0.0.2 > 10.0.0.3 TCP, 40000 > 80 seq 0 ack 0, 60 B"},
		{"qinq", "02:42:0a:00:00:02 > 02:42:0a:00:00:03, VLAN 7, VLAN 5, ARP who has 10.0.0.9, tell 10.0.0.2, 60 B"},
		{"lldp", "02:42:0a:00:00:02 > 01:80:c2:00:00:0e, ethertype 0x88cc, 60 B"},
		{"ping", "02:42:0a:00:00:02 > 02:42:0a:00:00:03, 10.0.0.2 > 10.0.0.3 ICMPv4, EchoRequest id 0 seq 0, 60 B"},
		{"runt", "undecodable, 3 B"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Summary(frames[tt.name].Bytes()); got != tt.want {
				t.Errorf("%q, expected %q", got, tt.want)
			}
		})
	}
}

func TestSummaryMore(t *testing.T) {
	const macs = "\x02\x42\x0a\x00\x00\x03\x02\x42\x0a\x00\x00\x02"
	tests := []struct{ name, frame, want string }{
		{"arp reply", macs + "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02\x02\x42\x0a\x00\x00\x02\x0a\x00\x00\x02\x02\x42\x0a\x00\x00\x03\x0a\x00\x00\x03",
			"02:42:0a:00:00:02 > 02:42:0a:00:00:03, ARP 10.0.0.2 is at 02:42:0a:00:00:02, 42 B"},
		{"ip cut short", macs + "\x08\x00\x45", "02:42:0a:00:00:02 > 02:42:0a:00:00:03, ethertype 0x0800, undecodable behind that, 15 B"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Summary([]byte(tt.frame)); got != tt.want {
				t.Errorf("%q, expected %q", got, tt.want)
			}
		})
	}
}

// What gopacket finds in a frame stands in its summary.
func TestSummaryBesideGopacket(t *testing.T) {
	for name, f := range samples(t) {
		p := gopacket.NewPacket(f.Bytes(), layers.LayerTypeEthernet, gopacket.Default)
		got := Summary(f.Bytes())
		var want []string
		for _, l := range p.Layers() {
			switch l := l.(type) {
			case *layers.Ethernet:
				want = append(want, l.SrcMAC.String()+" > "+l.DstMAC.String())
			case *layers.Dot1Q:
				want = append(want, fmt.Sprintf("VLAN %d", l.VLANIdentifier))
			case *layers.IPv4:
				want = append(want, l.SrcIP.String()+" > "+l.DstIP.String())
			case *layers.IPv6:
				want = append(want, l.SrcIP.String()+" > "+l.DstIP.String())
			case *layers.TCP:
				want = append(want, fmt.Sprintf("TCP, %d > %d seq %d ack %d", l.SrcPort, l.DstPort, l.Seq, l.Ack))
			case *layers.UDP:
				want = append(want, fmt.Sprintf("UDP, %d > %d", l.SrcPort, l.DstPort))
			case *layers.ICMPv4:
				want = append(want, "ICMPv4, "+l.TypeCode.String())
			case *layers.ICMPv6:
				want = append(want, "ICMPv6, "+l.TypeCode.String())
			}
		}
		for _, w := range want {
			if strings.Contains(w, "(") {
				continue // codes and unnamed types are worded otherwise
			}
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q lacks %q", name, got, w)
			}
		}
	}
}

func FuzzSummary(f *testing.F) {
	for _, fr := range samples(f) {
		f.Add(fr.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if Summary(b) == "" {
			t.Error("no summary")
		}
	})
}
