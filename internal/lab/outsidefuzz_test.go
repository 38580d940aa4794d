package lab

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"weft/internal/capture"
	"weft/internal/frame"
)

// script writes frames as FuzzOutside reads them: for each the milliseconds since the one
// before in 16 bits, of which the lowest is set for the outside, and its length in 16.
func script(frames map[string][]at) (b []byte) {
	for side, name := range []string{"a", "world"} {
		for _, f := range frames[name] {
			data := f.data
			b = binary.BigEndian.AppendUint16(b, uint16(2+side))
			b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
			b = append(b, data...)
		}
	}
	return b
}

// FuzzOutside has both sides of a way out send whatever they like, as it is and turned
// towards the router: every frame is accounted for, and what leaves outside is the uplink's.
func FuzzOutside(f *testing.F) {
	for _, c := range outsideCases() {
		f.Add(script(c.in), false)
		f.Add(script(c.in), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, turn bool) {
		l := parse(t, aimedLab)
		bench, err := build(l, 1)
		if err != nil {
			t.Fatal(err)
		}
		var left bytes.Buffer
		ports := map[string]*vport{}
		for _, v := range bench.ports {
			v.cable.out = capture.NewPcapWriter(&left)
			if v.Name != "world" {
				v.cable.out = capture.NewPcapWriter(&bytes.Buffer{})
			}
			ports[v.Name] = v
		}
		bench.now = epoch
		last := int64(-1)
		for n := 0; len(b) >= 4 && n < 200; n++ {
			delta, size := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
			data := b[4:][:min(size, len(b)-4)]
			b = b[4+len(data):]
			v := ports["inner"]
			if delta&1 == 1 {
				v = ports["world"]
			}
			if turn {
				data = aim(data, v.Name == "inner")
			}
			bench.now += int64(delta>>1) * 1_000_000
			if s := bench.now / 1e9; s != last {
				bench.tick(last, s)
				last = s
			}
			v.head = capture.Packet{Time: bench.now, Data: data, OrigLen: len(data)}
			v.records++
			if err := v.feed(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := bench.result(1); err != nil {
			t.Fatal(err)
		}
		outsideOnly(t, ports["world"].cable.out, &left)
	})
}

// outsideOnly looks at what left outside.
func outsideOnly(t *testing.T, w *capture.PcapWriter, left *bytes.Buffer) {
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	inside := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}
	r, err := capture.NewReader("world", left)
	if err != nil {
		t.Fatal(err)
	}
	var p capture.Packet
	for r.Next(&p) == nil {
		var f frame.Frame
		f.Wrap(p.Data, 0)
		if f.Parse() != frame.NotDropped || f.SrcMAC() != uplinkMAC {
			t.Fatalf("left outside, from %s: %x", f.SrcMAC(), p.Data)
		}
		var src netip.Addr
		switch l3 := p.Data[f.View.L3:]; f.View.EtherType {
		case frame.EtherIPv4:
			src = netip.AddrFrom4([4]byte(l3[12:]))
		case frame.EtherIPv6:
			src = netip.AddrFrom16([16]byte(l3[8:]))
		}
		for _, in := range inside {
			if src.IsValid() && in.Contains(src) {
				t.Fatalf("left outside with the address %s: %x", src, p.Data)
			}
		}
	}
}
