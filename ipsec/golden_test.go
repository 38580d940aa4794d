package ipsec

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"weft/internal/frame"
)

var update = flag.Bool("update", false, "write the captures anew")

const goldens = "../testdata/ipsec"

// TestGolden seals the cases' packets again and compares them with the captures, and
// opens what the captures hold.
func TestGolden(t *testing.T) {
	for _, c := range oracleCases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(goldens, c.name+".pcap")
			packets, datagrams := c.packets(t)
			if *update {
				writePcap(t, path, packets)
			}
			in := testInbound(t, c.material())
			src, _ := c.addrs()
			in.vtep = netip.AddrPortFrom(src, 4500)
			in.window.advance(c.before())
			table, _ := NewTable([]*Inbound{in})
			got := readPcap(t, path)
			if len(got) != len(packets) {
				t.Fatalf("%d packets, want %d", len(got), len(packets))
			}
			for i, p := range got {
				if !bytes.Equal(p, packets[i]) {
					t.Errorf("packet %d is sealed to %x, captured %x", i, packets[i], p)
				}
				o, r := NewOpener().Open(table, src, c.uncarried(p))
				if r != frame.NotDropped || !bytes.Equal(o.Payload, datagrams[i]) || o.Next != NextUDP {
					t.Errorf("packet %d is opened to %x, %v", i, o.Payload, r)
				}
			}
		})
	}
}

func writePcap(t testing.TB, path string, packets [][]byte) {
	t.Helper()
	var buf bytes.Buffer
	w := pcapgo.NewWriter(&buf)
	if err := w.WriteFileHeader(65535, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		if err := w.WritePacket(gopacket.CaptureInfo{CaptureLength: len(p), Length: len(p)}, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readPcap(t testing.TB, path string) (packets [][]byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, _, err := r.ReadPacketData()
		if err != nil {
			return packets
		}
		packets = append(packets, p)
	}
}
