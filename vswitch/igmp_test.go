package vswitch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/capture"
	"weft/internal/frame"
)

// groupMAC returns the Ethernet address of a group (RFC 1112, 6.4; RFC 2464, 7).
func groupMAC(a netip.Addr) frame.MAC {
	b := a.AsSlice()
	if a.Is4() {
		return frame.MAC{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	return frame.MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// igmp4 returns an IGMP message with a router alert and checksums.
func igmp4(src frame.MAC, from, to netip.Addr, body []byte) []byte {
	m := groupMAC(to)
	b := slices.Concat(m[:], src[:], []byte{8, 0, 0x46, 0xc0, 0, byte(24 + len(body)), 0, 0, 0x40, 0, 1, 2, 0, 0},
		from.AsSlice(), to.AsSlice(), []byte{0x94, 4, 0, 0}, body)
	binary.BigEndian.PutUint16(b[16:], uint16(24+len(body)))
	frame.SetIPv4Checksum(b[14:])
	if len(body) >= 4 {
		p := b[38:]
		p[2], p[3] = 0, 0
		binary.BigEndian.PutUint16(p[2:], frame.Checksum(p, 0))
	}
	return b
}

// mld6 returns an MLD message with a router alert and checksum.
func mld6(src frame.MAC, from, to netip.Addr, body []byte) []byte {
	m := groupMAC(to)
	b := slices.Concat(m[:], src[:], []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 0, 1}, from.AsSlice(), to.AsSlice(),
		[]byte{58, 0, 5, 2, 0, 0, 1, 0}, body)
	binary.BigEndian.PutUint16(b[18:], uint16(8+len(body)))
	if len(body) >= 4 {
		p := b[62:]
		p[2], p[3] = 0, 0
		binary.BigEndian.PutUint16(p[2:], frame.Checksum(p, frame.Sum(b[22:54], uint64(len(p))+58)))
	}
	return b
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// record returns a record of a v3 or v2 report.
func record(kind byte, group string, sources ...string) []byte {
	b := slices.Concat([]byte{kind, 0, byte(len(sources) >> 8), byte(len(sources))}, addr(group).AsSlice())
	for _, s := range sources {
		b = append(b, addr(s).AsSlice()...)
	}
	return b
}

func report3(records ...[]byte) []byte {
	return slices.Concat([]byte{0x22, 0, 0, 0, 0, 0, byte(len(records) >> 8), byte(len(records))}, slices.Concat(records...))
}

func report6(records ...[]byte) []byte {
	return slices.Concat([]byte{143, 0, 0, 0, 0, 0, byte(len(records) >> 8), byte(len(records))}, slices.Concat(records...))
}

func plain4(kind, resp byte, group string) []byte {
	return append([]byte{kind, resp, 0, 0}, addr(group).AsSlice()...)
}

func plain6(kind byte, ms uint16, group string) []byte {
	return append([]byte{kind, 0, 0, 0, byte(ms >> 8), byte(ms), 0, 0}, addr(group).AsSlice()...)
}

// say writes down what read found.
func say(t testing.TB, data []byte) string {
	f := frame.NewBatch().Append(data)
	if f == nil {
		t.Fatal("too long")
	}
	if r := f.Parse(); r != frame.NotDropped {
		return r.String()
	}
	var m groupMessage
	m.read(f)
	verbs := [...]string{"nothing", "join", "leave", "report", "query", "malformed"}
	switch {
	case m.verb == saysJoin || m.verb == saysLeave:
		return fmt.Sprintf("%s %v", verbs[m.verb], m.group.addr())
	case m.verb == asks && m.general:
		return fmt.Sprintf("query all in %ds", m.respond)
	case m.verb == asks:
		return fmt.Sprintf("query %v in %ds", m.group.addr(), m.respond)
	case m.verb == saysMany:
		out := []string{"report"}
		for r := m.records; r.left > 0; {
			k, v, ok := r.next()
			if !ok {
				t.Fatal("a record of a checked report does not fit")
			}
			out = append(out, verbs[v], k.addr().String())
		}
		return strings.Join(out, " ")
	}
	return verbs[m.verb]
}

// TestGroupMessagesOfLinux reads what the kernel's own stack and bridge sent; see
// testdata/SOURCES.md.
func TestGroupMessagesOfLinux(t *testing.T) {
	want := []string{
		"query all in 10s",
		"report join ff02::1:ff00:2",
		"query all in 10s",
		"report join 239.1.2.3",
		"report join ff05::1:3",
		"report join 232.1.1.1",
		"report nothing 232.1.1.1", // one source blocked
		"query 232.1.1.1 in 1s",
		"report leave 239.1.2.3",
		"query 239.1.2.3 in 1s",
		"report leave ff05::1:3",
		"query ff05::1:3 in 1s",
		"query all in 10s", // version 2
		"query all in 10s", // version 1 of MLD
		"join 239.1.2.3",
		"join ff05::1:3",
		"leave 239.1.2.3",
		"leave ff05::1:3",
		"join ff02::1:ff00:2",
		"join 239.1.2.3", // version 1
	}
	r, err := capture.Open("../testdata/vswitch/group-messages.pcap")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var p capture.Packet
	for i, w := range want {
		if err := r.Next(&p); err != nil {
			t.Fatal(err)
		}
		if got := say(t, p.Data); got != w {
			t.Errorf("message %d says %q, want %q", i+1, got, w)
		}
		// Every byte that a checksum covers counts.
		bad := bytes.Clone(p.Data)
		bad[len(bad)-1] ^= 0x10
		if got := say(t, bad); got != "malformed" {
			t.Errorf("message %d with a bit flipped says %q", i+1, got)
		}
	}
	if err := r.Next(&p); err != io.EOF {
		t.Errorf("after the last: %v", err)
	}
}

func TestGroupMessages(t *testing.T) {
	h, me, ll := mac(2), ip(2), netip.AddrFrom16(linkLocal(mac(2)))
	all3, all4, all6 := addr("224.0.0.22"), addr("224.0.0.1"), addr("ff02::16")
	g4, g6 := addr("239.1.2.3"), addr("ff05::1:3")
	v4 := func(to netip.Addr, body []byte) []byte { return igmp4(h, me, to, body) }
	v6 := func(body []byte) []byte { return mld6(h, ll, all6, body) }
	edit := func(b []byte, at int, v byte) []byte { b = bytes.Clone(b); b[at] = v; return b }
	cut := func(b []byte, n int) []byte { return b[:len(b)-n] }
	query3 := func(resp byte, n int, extra int) []byte {
		return slices.Concat(plain4(0x11, resp, "0.0.0.0"), []byte{2, 125, byte(n >> 8), byte(n)}, make([]byte, extra))
	}
	query6 := func(ms uint16, n int, extra int) []byte {
		return slices.Concat(plain6(130, ms, "::"), []byte{2, 125, byte(n >> 8), byte(n)}, make([]byte, extra))
	}
	aux := []byte{4, 1, 0, 0, 239, 1, 2, 3, 9, 9, 9, 9}
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"several records", v4(all3, report3(record(2, "239.1.2.3"), record(3, "239.1.2.4"), record(1, "239.1.2.5", "10.0.0.1", "10.0.0.2"), record(3, "239.1.2.6", "10.0.0.1"))),
			"report join 239.1.2.3 leave 239.1.2.4 join 239.1.2.5 join 239.1.2.6"},
		{"auxiliary data is skipped", v4(all3, report3(aux, record(4, "239.1.2.4"))), "report join 239.1.2.3 join 239.1.2.4"},
		{"nothing included says nothing", v4(all3, report3(record(1, "239.1.2.3"), record(5, "239.1.2.3"))), "report nothing 239.1.2.3 nothing 239.1.2.3"},
		{"record type unknown", v4(all3, report3(record(7, "239.1.2.3"))), "report nothing 239.1.2.3"},
		{"a record of a host's address says nothing", v4(all3, report3(record(4, "10.0.0.3"))), "report nothing 10.0.0.3"},
		{"data behind the last record", v4(all3, append(report3(record(4, "239.1.2.3")), 1, 2, 3)), "report join 239.1.2.3"},
		{"more records claimed", v4(all3, edit(report3(record(4, "239.1.2.3")), 7, 2)), "malformed"},
		{"65,535 records claimed", v4(all3, edit(edit(report3(record(4, "239.1.2.3")), 7, 255), 6, 255)), "malformed"},
		{"65,535 sources claimed", v4(all3, edit(edit(report3(record(4, "239.1.2.3", "10.0.0.1")), 10, 255), 11, 255)), "malformed"},
		{"auxiliary data claimed", v4(all3, edit(report3(record(4, "239.1.2.3")), 9, 255)), "malformed"},
		{"no records", v4(all3, report3()), "report"},
		{"report too short", v4(all3, cut(report3(), 1)), "malformed"},
		{"empty", v4(all3, nil), "malformed"},
		{"report of a host's address", v4(g4, plain4(0x16, 0, "10.0.0.3")), "malformed"},
		{"unknown type, whatever its checksum", edit(v4(g4, plain4(0x13, 0, "239.1.2.3")), 40, 9), "nothing"},
		{"wrong IP checksum", edit(v4(g4, plain4(0x16, 0, "239.1.2.3")), 24, 9), "malformed"},
		{"first fragment", edit(v4(g4, plain4(0x16, 0, "239.1.2.3")), 20, 0x20), "nothing"},
		{"padded as on a wire", append(v4(g4, plain4(0x16, 0, "239.1.2.3")), make([]byte, 14)...), "join 239.1.2.3"},

		{"version 1 query", v4(all4, plain4(0x11, 0, "0.0.0.0")), "query all in 10s"},
		{"version 2 query, long", v4(all4, plain4(0x11, 255, "0.0.0.0")), "query all in 26s"},
		{"version 3 query, exponent", v4(all4, query3(0x80|3<<4|5, 0, 0)), "query all in 135s"}, // (16+5) << 6 tenths
		{"version 3 query at once", v4(all4, query3(0, 0, 0)), "query all in 0s"},
		{"query of 10 bytes", v4(all4, query3(100, 0, 0)[:10]), "malformed"},
		{"query with sources claimed", v4(all4, query3(100, 2, 4)), "malformed"},
		{"query with sources", v4(all4, query3(100, 2, 8)), "query all in 10s"},
		{"query for a host", v4(all4, plain4(0x11, 100, "10.0.0.3")), "malformed"},

		{"MLD", v6(report6(record(4, "ff05::1:3"), record(3, "ff05::1:4"), record(5, "ff05::5", "fd00::1"))), "report join ff05::1:3 leave ff05::1:4 join ff05::5"},
		{"MLD from nobody", mld6(h, netip.IPv6Unspecified(), all6, report6(record(4, "ff05::1:3"))), "report join ff05::1:3"},
		{"MLD from a global address", mld6(h, ip6(2), all6, report6(record(4, "ff05::1:3"))), "malformed"},
		{"MLD query from nobody", mld6(h, netip.IPv6Unspecified(), addr("ff02::1"), query6(10000, 0, 0)), "malformed"},
		{"MLD from afar", edit(v6(report6(record(4, "ff05::1:3"))), 21, 64), "malformed"},
		{"MLD without router alert", edit(v6(report6(record(4, "ff05::1:3"))), 56, 1), "malformed"},
		{"MLD with an alert for others", edit(v6(report6(record(4, "ff05::1:3"))), 59, 1), "malformed"},
		{"MLD with an option beyond the header", edit(edit(v6(report6(record(4, "ff05::1:3"))), 56, 1), 57, 200), "malformed"},
		{"MLD with padding before the alert", edit(edit(edit(edit(edit(edit(v6(report6(record(4, "ff05::1:3"))), 56, 0), 57, 0), 58, 5), 59, 2), 60, 0), 61, 0), "report join ff05::1:3"},
		{"MLD without options", icmp6(t, h, groupMAC(all6), ll, all6, 143, report6(record(4, "ff05::1:3"))[4:]), "malformed"},
		{"MLD report cut", v6(cut(report6(record(4, "ff05::1:3")), 1)), "malformed"},
		{"MLDv1 too short", v6(cut(plain6(131, 0, "ff05::1:3"), 1)), "malformed"},
		{"MLDv1 report of a host's address", v6(plain6(131, 0, "fd00::3")), "malformed"},
		{"MLDv2 query, exponent", v6(query6(0x8000|1<<12|3, 0, 0)), "query all in 66s"}, // (4096+3) << 4 ms
		{"MLD query of 26 bytes", v6(query6(10000, 0, 0)[:26]), "malformed"},
		{"MLD query with sources claimed", v6(query6(10000, 1, 15)), "malformed"},
		{"ping is none", icmp6(t, h, groupMAC(g6), ll, g6, 128, make([]byte, 4)), "nothing"},
		{"data is none", udp4(t, h, groupMAC(g4), me, g4, 1, 2, 3), "nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := say(t, tt.data); got != tt.want {
				t.Errorf("says %q, want %q", got, tt.want)
			}
		})
	}
}

// TestUnfinishedChecksum: a kernel may leave an ICMPv6 checksum to the switch.
func TestUnfinishedChecksum(t *testing.T) {
	data := mld6(mac(2), netip.IPv6Unspecified(), addr("ff02::16"), report6(record(4, "ff05::1:3")))
	data[64] ^= 1
	for offset, want := range map[uint16]groupVerb{2: saysMany, 6: malformed} {
		f := frame.NewBatch().Append(data)
		f.Offload = frame.Offload{Flags: frame.NeedsCsum, CsumStart: 62, CsumOffset: offset}
		_ = f.Parse()
		var m groupMessage
		if m.read(f); m.verb != want {
			t.Errorf("checksum at +%d: verb %d, want %d", offset, m.verb, want)
		}
	}
}

// FuzzGroupMessage reads what has sound checksums and any body.
func FuzzGroupMessage(f *testing.F) {
	f.Add(report3(record(4, "239.1.2.3", "10.0.0.1")), false)
	f.Add(plain4(0x11, 200, "0.0.0.0"), false)
	f.Add(report6(record(4, "ff05::1:3", "fd00::1")), true)
	f.Add(plain6(130, 10000, "::"), true)
	batch := frame.NewBatch()
	f.Fuzz(func(t *testing.T, body []byte, six bool) {
		if len(body) > 60000 {
			return
		}
		batch.Reset()
		data := igmp4(mac(2), ip(2), addr("239.1.2.3"), body)
		if six {
			data = mld6(mac(2), addr("fe80::1"), addr("ff05::3"), body)
		}
		b := batch.Append(data)
		if b.Parse() != frame.NotDropped {
			return
		}
		var m groupMessage
		m.read(b)
		switch m.verb {
		case saysJoin, saysLeave:
			if !m.group.multicast() {
				t.Fatalf("%v is no group", m.group.addr())
			}
		case saysMany:
			if m.records.left > len(body)/8 {
				t.Fatalf("%d records in %d bytes", m.records.left, len(body))
			}
			for r := m.records; r.left > 0; {
				if _, _, ok := r.next(); !ok {
					t.Fatal("a record of a checked report does not fit")
				}
			}
		}
	})
}
