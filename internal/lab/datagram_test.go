package lab

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"weft/vxlan"
)

var (
	local4 = netip.MustParseAddrPort("192.0.2.1:4789")
	local6 = netip.MustParseAddrPort("[2001:db8::1]:4789")
)

// Both ways, and what is written is accepted with every length of the inner frame
// that an IP packet holds: odd ones, and the largest.
func TestDatagramBothWays(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to netip.AddrPort
		largest  int
	}{
		{"IPv4", netip.MustParseAddrPort("192.0.2.2:50000"), local4, 65535 - 36},
		{"IPv6", netip.MustParseAddrPort("[2001:db8::2]:50000"), local6, 65535 - 56},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, n := range []int{14, 15, 60, 1451, c.largest} {
				inner := bytes.Repeat([]byte{0xfe}, n)
				b := appendDatagram([]byte("before"), c.from, c.to, 77, inner)[6:]
				d, why := parseDatagram(b, []netip.AddrPort{local4, local6})
				if why != "" || d.from != c.from || d.to != c.to || !bytes.Equal(d.payload[vxlan.HeaderLen:], inner) {
					t.Errorf("%d bytes: %q, %s to %s, %d bytes", n, why, d.from, d.to, len(d.payload))
				}
			}
		})
	}
}

// A sum of zero is sent as all ones: zero would mean none.
func TestDatagramSumIsNeverZero(t *testing.T) {
	from, to := netip.MustParseAddrPort("192.0.2.2:0"), local4
	inner := make([]byte, 16)
	for port := range 65536 { // one of them makes the sum zero
		b := appendDatagram(nil, netip.AddrPortFrom(from.Addr(), uint16(port)), to, 1, inner)
		if sum := b[14+20+6 : 14+20+8]; sum[0]|sum[1] == 0 {
			t.Fatalf("checksum 0 from port %d", port)
		} else if sum[0]&sum[1] == 0xff {
			return
		}
	}
	t.Error("no port made the sum all ones")
}

func FuzzDatagram(f *testing.F) {
	for _, c := range overlays() {
		for _, frames := range c.in {
			for _, a := range frames {
				f.Add(a.data[:min(len(a.data), 200)])
			}
		}
	}
	f.Add(appendDatagram(nil, netip.MustParseAddrPort("[2001:db8::2]:1"), local6, 5, make([]byte, 14)))
	local := []netip.AddrPort{local4, local6}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 65535 { // the reader of captures lets no longer one through
			return
		}
		before := bytes.Clone(b)
		d, why := parseDatagram(b, local)
		if !bytes.Equal(b, before) {
			t.Fatal("the frame was written to")
		}
		if why != "" {
			if !slices.Contains(reasons(), why) || d.payload != nil {
				t.Fatalf("dropped as %q, which no list has, with %d bytes", why, len(d.payload))
			}
			return
		}
		if !slices.Contains(local, d.to) || d.from.Addr().Is4() != d.to.Addr().Is4() || len(d.payload) > len(b)-42 {
			t.Fatalf("from %s to %s, %d bytes of %d", d.from, d.to, len(d.payload), len(b))
		}
		if len(d.payload) < vxlan.HeaderLen {
			return
		}
		inner := d.payload[vxlan.HeaderLen:]
		if outerLen(d.to.Addr().Is6(), len(inner)) > 65535 {
			return
		}
		again, why := parseDatagram(appendDatagram(nil, d.from, d.to, 1, inner), local)
		if why != "" || again.from != d.from || again.to != d.to || !bytes.Equal(again.payload[vxlan.HeaderLen:], inner) {
			t.Fatalf("made again: %q", why)
		}
	})
}
