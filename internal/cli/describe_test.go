package cli

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"

	"weft/internal/api"
	"weft/internal/capture"
	"weft/internal/frame"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// Every described frame is well-formed: it parses, and its checksums are right.
func TestDescribedFrames(t *testing.T) {
	for _, tt := range []struct {
		name, what, src, dst string
		ether                uint16
		proto                byte
		vlan                 uint16
	}{
		{"icmp", "dst=x", "10.0.0.2", "10.0.0.3", frame.EtherIPv4, frame.ProtoICMP, 0},
		{"tcp", "dst=x,proto=tcp,dport=443,sport=5", "10.0.0.2", "10.0.0.3", frame.EtherIPv4, frame.ProtoTCP, 0},
		{"udp odd", "dst=x,proto=udp,len=3", "10.0.0.2", "10.0.0.3", frame.EtherIPv4, frame.ProtoUDP, 0},
		{"vlan", "dst=x,proto=udp,vlan=5", "10.0.0.2", "10.0.0.3", frame.EtherIPv4, frame.ProtoUDP, 5},
		{"icmp6", "dst=x", "fd00::2", "fd00::3", frame.EtherIPv6, frame.ProtoICMPv6, 0},
		{"tcp6", "dst=x,proto=tcp", "fd00::2", "fd00::3", frame.EtherIPv6, frame.ProtoTCP, 0},
		{"nd", "dst=x,proto=nd", "fd00::2", "fd00::3", frame.EtherIPv6, frame.ProtoICMPv6, 0},
		{"arp", "dst=x,proto=arp", "10.0.0.2", "10.0.0.3", frame.EtherARP, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := parseDescription(tt.what + ",smac=02:42:0a:00:00:02,dmac=02:42:0a:00:00:03")
			if err != nil {
				t.Fatal(err)
			}
			b, err := d.build(addr(tt.src), addr(tt.dst))
			if err != nil {
				t.Fatal(err)
			}
			var f frame.Frame
			f.Wrap(b, 0)
			if r := f.Parse(); r != frame.NotDropped {
				t.Fatalf("%s", r)
			}
			if f.View.EtherType != tt.ether || f.View.Proto != tt.proto || f.View.VLAN != tt.vlan {
				t.Errorf("view %+v", f.View)
			}
			if tt.proto == 0 {
				return
			}
			sum := f.PseudoSum(f.L4Len())
			if tt.proto == frame.ProtoICMP {
				sum = 0
			}
			if c := frame.Checksum(b[f.View.L4:], sum); c != 0 {
				t.Errorf("transport checksum is off by %#04x", c)
			}
			if tt.ether == frame.EtherIPv4 {
				if c := frame.Checksum(b[f.View.L3:f.View.L4], 0); c != 0 {
					t.Errorf("IP checksum is off by %#04x", c)
				}
			}
		})
	}
}

func TestDescriptionRefusals(t *testing.T) {
	for _, tt := range []struct{ in, err string }{
		{"src=10.0.0.2", "dst= is missing"}, {"dst", "not KEY=VALUE"}, {"dst=", "not KEY=VALUE"}, {"dst=a,proto=sctp", "expected tcp"},
		{"dst=a,dport=65536", "up to 65535"}, {"dst=a,vlan=4095", "1 to 4094"}, {"dst=a,len=9000", "at most"},
		{"dst=a,smac=1", "MAC"}, {"dst=a,foo=1", "unknown key"}, {"dst=a,ttl=300", "up to 255"},
	} {
		if _, err := parseDescription(tt.in); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v, expected %q", tt.in, err, tt.err)
		}
	}
	d, _ := parseDescription("dst=x")
	if _, err := d.build(addr("10.0.0.2"), addr("fd00::1")); err == nil {
		t.Error("two families in one frame are no error")
	}
}

func TestResolve(t *testing.T) {
	mac := func(n byte) network.HardwareAddr { return network.HardwareAddr{2, 0x42, 10, 0, 0, n} }
	neighbours := []api.Neighbour{
		{Network: "front", Addr: addr("10.0.0.1"), MAC: mac(1), Static: true},
		{Network: "front", Addr: addr("10.0.0.2"), MAC: mac(2), Sandbox: "rose", Static: true},
		{Network: "front", Addr: addr("10.0.0.3"), MAC: mac(3), Sandbox: "iris", Static: true},
		{Network: "back", Addr: addr("10.1.0.3"), MAC: mac(9), Sandbox: "iris", Static: true},
		{Network: "attic", Addr: addr("10.2.0.2"), MAC: mac(12), Sandbox: "rose", Static: true},
		{Network: "attic", Addr: addr("10.2.0.1"), MAC: mac(11), Static: true},
		{Network: "six", Addr: addr("fd00::4"), MAC: mac(14), Sandbox: "lilac", Static: true},
	}
	slices.SortStableFunc(neighbours, func(x, y api.Neighbour) int { return strings.Compare(x.Network, y.Network) }) // as a daemon lists them
	ports := []api.PortStats{
		{Port: "lilac:eth0", Sandbox: "lilac", Network: "six", MAC: mac(14)},
		{Port: "rose:eth0", Sandbox: "rose", Network: "front", MAC: mac(2)},
		{Port: "rose:eth1", Sandbox: "rose", Network: "attic", MAC: mac(12)},
		{Port: "iris:eth0", Sandbox: "iris", Network: "back", MAC: mac(9)},
		{Port: "iris:eth1", Sandbox: "iris", Network: "front", MAC: mac(3)},
	}
	around := &surroundings{neighbours: neighbours, ports: ports, nobody: "no running sandbox has that name", subnets: []subnet{
		{"front", netip.MustParsePrefix("10.0.0.0/24"), addr("10.0.0.1")}, {"back", netip.MustParsePrefix("10.1.0.0/24"), netip.Addr{}},
		{"attic", netip.MustParsePrefix("10.2.0.0/24"), addr("10.2.0.1")}, {"six", netip.MustParsePrefix("fd00::/64"), netip.Addr{}},
	}}
	for _, tt := range []struct{ name, what, port, wantPort, wantDst, note, err string }{
		{name: "names", what: "src=rose,dst=iris", wantPort: "rose:eth0", wantDst: "02:42:0a:00:00:03"},
		{name: "addresses", what: "src=10.0.0.2,dst=10.0.0.3", wantPort: "rose:eth0", wantDst: "02:42:0a:00:00:03"},
		{name: "other way", what: "src=10.0.0.3,dst=rose", wantPort: "iris:eth1", wantDst: "02:42:0a:00:00:02"},
		{name: "outside by the gateway", what: "src=rose,dst=192.0.2.1", wantPort: "rose:eth1", wantDst: "02:42:0a:00:00:0b"},
		{name: "outside by the gateway of the port", what: "src=rose,dst=192.0.2.1", port: "rose:eth0", wantPort: "rose:eth0", wantDst: "02:42:0a:00:00:01"},
		{name: "by the port whose subnet it is in", what: "src=rose,dst=10.0.0.3", wantPort: "rose:eth0", wantDst: "02:42:0a:00:00:03"},
		{name: "unknown on the first network", what: "src=rose,dst=10.2.0.9", wantPort: "rose:eth1", wantDst: "ff:ff:ff:ff:ff:ff",
			note: "nobody on attic is known to have 10.2.0.9: an ARP request"},
		{name: "unknown on the other", what: "src=rose,dst=10.0.0.9,proto=tcp", wantPort: "rose:eth0", wantDst: "ff:ff:ff:ff:ff:ff", note: "nobody on front"},
		{name: "unknown but addressed", what: "src=rose,dst=10.0.0.9,dmac=02:00:00:00:00:01", wantPort: "rose:eth0", wantDst: "02:00:00:00:00:01"},
		{name: "unknown by IPv6", what: "src=lilac,dst=fd00::12:3456", wantPort: "lilac:eth0", wantDst: "33:33:ff:12:34:56", note: "a neighbour solicitation"},
		{name: "everybody", what: "src=rose,dst=10.0.0.255", wantPort: "rose:eth0", wantDst: "ff:ff:ff:ff:ff:ff"},
		{name: "another network's by the gateway", what: "src=rose,dst=10.1.0.3", wantPort: "rose:eth1", wantDst: "02:42:0a:00:00:0b"},
		{name: "spoofed", what: "src=192.0.2.1,dst=iris", port: "rose:eth0", wantPort: "rose:eth0", wantDst: "02:42:0a:00:00:03"},
		{name: "port gives src", what: "dst=iris", port: "rose", wantPort: "rose:eth0", wantDst: "02:42:0a:00:00:03"},
		{name: "broadcast", what: "src=rose,dst=255.255.255.255", wantPort: "rose:eth1", wantDst: "ff:ff:ff:ff:ff:ff"},
		{name: "multicast", what: "src=rose,dst=224.1.2.3", wantPort: "rose:eth1", wantDst: "01:00:5e:01:02:03"},
		{name: "unknown name", what: "src=rose,dst=lily", err: "no running sandbox"},
		{name: "no src", what: "dst=iris", err: "src= is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, note, err := around.resolve(tt.what, tt.port)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, expected %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := frame.MAC(r.Frame[:6]).String(); r.Port != tt.wantPort || got != tt.wantDst {
				t.Errorf("port %s, destination %s, expected %s and %s", r.Port, got, tt.wantPort, tt.wantDst)
			}
			if !strings.Contains(note, tt.note) || (tt.note == "") != (note == "") {
				t.Errorf("note %q, expected %q", note, tt.note)
			}
		})
	}
}

func TestReadFrame(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.pcap")
	var b bytes.Buffer
	w := capture.NewPcapWriter(&b)
	if err := w.Write(0, ping(t), len(ping(t))); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	digits := hex.EncodeToString(ping(t))
	for _, in := range []string{digits, digits[:2] + " " + digits[2:], "0x" + digits, file + ":1"} {
		if got, err := readFrame(in); err != nil || !bytes.Equal(got, ping(t)) {
			t.Errorf("%s: %x, %v", ellipsis(in, 30), got, err)
		}
	}
	for _, tt := range []struct{ in, err string }{
		{file + ":2", "it has 1 record"}, {file + ":0", "counted from 1"}, {"xyz", "expected hex"}, {"", "0 bytes"}, {"/none.pcap:1", "expected hex"},
	} {
		if _, err := readFrame(tt.in); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v, expected %q", tt.in, err, tt.err)
		}
	}
}

func FuzzDescription(f *testing.F) {
	f.Add("src=10.0.0.2,dst=10.0.0.3,proto=tcp,dport=80,vlan=5,len=9")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseDescription(s)
		if err != nil {
			return
		}
		d.smac = frame.MAC{2, 0, 0, 0, 0, 1}
		for _, pair := range [][2]string{{"10.0.0.2", "10.0.0.3"}, {"fd00::2", "fd00::3"}} {
			b, err := d.build(addr(pair[0]), addr(pair[1]))
			if err != nil {
				continue
			}
			var fr frame.Frame
			fr.Wrap(b, 0)
			if r := fr.Parse(); r != frame.NotDropped {
				t.Errorf("%q makes a frame that is %s", s, r)
			}
		}
	})
}
