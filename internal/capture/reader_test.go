package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"weft/internal/frame"
)

// file builds capture files field by field, in one byte order.
type file struct {
	binary.AppendByteOrder
	b []byte
}

func (f *file) u16(v ...uint16) *file {
	for _, x := range v {
		f.b = f.AppendUint16(f.b, x)
	}
	return f
}

func (f *file) u32(v ...uint32) *file {
	for _, x := range v {
		f.b = f.AppendUint32(f.b, x)
	}
	return f
}

func (f *file) raw(b ...byte) *file { f.b = append(f.b, b...); return f }

// classic begins a classic file.
func classic(o binary.AppendByteOrder, magic, network uint32) *file {
	return (&file{AppendByteOrder: o}).u32(magic).u16(2, 4).u32(0, 0, 65535, network)
}

func (f *file) record(sec, frac, captured, orig uint32, data ...byte) *file {
	return f.u32(sec, frac, captured, orig).raw(data...)
}

// block appends a pcapng block with correct lengths.
func (f *file) block(kind uint32, body ...byte) *file {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	n := uint32(len(body) + 12)
	return f.u32(kind, n).raw(body...).u32(n)
}

func (f *file) sub() *file { return &file{AppendByteOrder: f.AppendByteOrder} }

func section(o binary.AppendByteOrder) *file {
	f := &file{AppendByteOrder: o}
	return f.block(blockSection, f.sub().u32(ngByteOrder).u16(1, 0).u32(^uint32(0), ^uint32(0)).b...)
}

func (f *file) iface(link uint16, snaplen uint32, opts ...byte) *file {
	return f.block(blockInterface, f.sub().u16(link, 0).u32(snaplen).raw(opts...).b...)
}

func (f *file) enhanced(id uint32, ts uint64, captured, orig uint32, data ...byte) *file {
	return f.block(blockEnhanced, f.sub().u32(id, uint32(ts>>32), uint32(ts), captured, orig).raw(data...).b...)
}

// got is a record without its place in the file.
type got struct {
	time   int64
	orig   int
	data   string
	reason frame.Reason
}

func readAll(t testing.TB, b []byte) ([]got, error) {
	t.Helper()
	r, err := NewReader("f.pcap", iotestReader{bytes.NewReader(b)})
	if err != nil {
		return nil, err
	}
	var out []got
	for {
		var p Packet
		if err := r.Next(&p); err != nil {
			if again := r.Next(&p); again != err {
				t.Errorf("Next again returns %v, expected %v", again, err)
			}
			if err == io.EOF {
				err = nil
			}
			return out, err
		}
		out = append(out, got{p.Time, p.OrigLen, string(p.Data), p.Reason})
	}
}

// iotestReader hands out odd pieces, so that every peek has to gather.
type iotestReader struct{ io.Reader }

func (r iotestReader) Read(b []byte) (int, error) { return r.Reader.Read(b[:min(len(b), 7)]) }

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

func TestReadSound(t *testing.T) {
	big := make([]byte, MaxRecord+1)
	second := section(le).iface(1, 0).enhanced(0, 5, 1, 1, 9).b
	tests := []struct {
		name string
		file []byte
		want []got
	}{
		{"micros, little-endian", classic(le, magicMicros, 1).record(7, 5, 3, 3, 1, 2, 3).b, []got{{7000005000, 3, "\x01\x02\x03", 0}}},
		{"micros, big-endian", classic(be, magicMicros, 1).record(7, 5, 3, 3, 1, 2, 3).b, []got{{7000005000, 3, "\x01\x02\x03", 0}}},
		{"nanos, little-endian", classic(le, magicNanos, 1).record(7, 5, 1, 1, 1).b, []got{{7000000005, 1, "\x01", 0}}},
		{"nanos, big-endian", classic(be, magicNanos, 1).record(7, 5, 1, 1, 1).b, []got{{7000000005, 1, "\x01", 0}}},
		{"no records", classic(le, magicMicros, 1).b, nil},
		{"zero-length and snapped", classic(le, magicNanos, 1).record(1, 0, 0, 0).record(2, 0, 1, 60, 9).b,
			[]got{{1e9, 0, "", 0}, {2e9, 60, "\x09", 0}}},
		{"longest and one above", classic(le, magicNanos, 1).record(1, 0, MaxRecord, MaxRecord, big[1:]...).
			record(1, 0, MaxRecord+1, MaxRecord+1, big...).record(2, 0, 1, 1, 9).b,
			[]got{{1e9, MaxRecord, string(big[1:]), 0}, {1e9, MaxRecord + 1, "", frame.Oversized}, {2e9, 1, "\x09", 0}}},
		{"FCS of 4 bytes taken off", classic(le, magicNanos, 2<<28|1<<26|1).record(1, 0, 6, 6, 1, 2, 3, 4, 5, 6).b, []got{{1e9, 2, "\x01\x02", 0}}},

		{"ng, little-endian", section(le).iface(1, 0).enhanced(0, 1500000, 2, 2, 1, 2).b, []got{{1500000000, 2, "\x01\x02", 0}}},
		{"ng, big-endian", section(be).iface(1, 0).enhanced(0, 1500000, 2, 2, 1, 2).b, []got{{1500000000, 2, "\x01\x02", 0}}},
		{"ng, nanoseconds", section(le).iface(1, 0, 9, 0, 1, 0, 9, 0, 0, 0).enhanced(0, 77, 1, 1, 1).b, []got{{77, 1, "\x01", 0}}},
		{"ng, picoseconds", section(le).iface(1, 0, 9, 0, 1, 0, 12, 0, 0, 0).enhanced(0, 77999, 1, 1, 1).b, []got{{77, 1, "\x01", 0}}},
		{"ng, 2^-10 s", section(le).iface(1, 0, 9, 0, 1, 0, 0x8a, 0, 0, 0).enhanced(0, 1536, 1, 1, 1).b, []got{{1500000000, 1, "\x01", 0}}},
		{"ng, 2^-64 s", section(le).iface(1, 0, 9, 0, 1, 0, 0xc0, 0, 0, 0).enhanced(0, 1<<63, 1, 1, 1).b, []got{{500000000, 1, "\x01", 0}}},
		{"ng, time offset", section(le).iface(1, 0, 14, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0).enhanced(0, 1, 1, 1, 1).b, []got{{3000001000, 1, "\x01", 0}}},
		{"ng, FCS", section(le).iface(1, 0, 13, 0, 1, 0, 4, 0, 0, 0).enhanced(0, 0, 5, 5, 1, 2, 3, 4, 5).b, []got{{0, 1, "\x01", 0}}},
		{"ng, simple packet takes the time before", section(le).iface(1, 3).enhanced(0, 2, 1, 1, 1).block(blockSimple, 5, 0, 0, 0, 1, 2, 3).b,
			[]got{{2000, 1, "\x01", 0}, {2000, 5, "\x01\x02\x03", 0}}},
		{"ng, obsolete packet", section(le).iface(1, 0).block(blockPacket, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9).b, []got{{1000, 1, "\x09", 0}}},
		{"ng, oversized", section(le).iface(1, 0).enhanced(0, 1, MaxRecord+1, MaxRecord+1, big...).enhanced(0, 2, 1, 1, 7).b,
			[]got{{1000, MaxRecord + 1, "", frame.Oversized}, {2000, 1, "\x07", 0}}},
		{"ng, unknown blocks and other link types without packets", section(le).iface(1, 0).iface(113, 0).block(0xbad, 1, 2, 3).enhanced(0, 1, 1, 1, 7).b, []got{{1000, 1, "\x07", 0}}},
		{"ng, a second section forgets interfaces and byte order", append(section(be).iface(1, 0, 0, 9, 0, 1, 9, 0, 0, 0).b, second...), []got{{5000, 1, "\x09", 0}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			have, err := readAll(t, tt.file)
			if err != nil {
				t.Fatal(err)
			}
			if len(have) != len(tt.want) {
				t.Fatalf("%d records, expected %d", len(have), len(tt.want))
			}
			for i := range have {
				if have[i] != tt.want[i] {
					t.Errorf("record %d: %.80v, expected %.80v", i, have[i], tt.want[i])
				}
			}
		})
	}
}

func TestReadDamaged(t *testing.T) {
	one := classic(le, magicMicros, 1).record(7, 5, 3, 3, 1, 2, 3).b
	ng := section(le).iface(1, 0).enhanced(0, 1500000, 2, 2, 1, 2).b
	badTrailer := bytes.Clone(ng)
	badTrailer[len(badTrailer)-4] ^= 8
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "f.pcap: byte 0: too short for a capture file: 0 bytes"},
		{"text", []byte("hello, world, this is no capture"), "f.pcap: byte 0: neither pcap nor pcapng: it begins with 68 65 6c 6c"},
		{"gzip", []byte("\x1f\x8b\x08\x00 and so on"), "neither pcap nor pcapng but gzip data: decompress it first"},
		{"snoop", []byte("snoop\x00\x00\x00\x00\x00\x00\x02"), "Solaris snoop"},
		{"modified pcap", []byte("\x34\xcd\xb2\xa1\x02\x00\x04\x00"), "a modified pcap file"},
		{"file header", one[:20], "f.pcap: byte 0: file header cut short: 20 of 24 bytes"},
		{"version", append(append([]byte{}, one[:4]...), append([]byte{3, 0}, one[6:]...)...), "f.pcap: byte 4: pcap version 3.4, expected 2.x"},
		{"link type", classic(be, magicMicros, 105).b, "f.pcap: byte 20: link type IEEE802_11 (105), expected ETHERNET (1)"},
		{"unknown link type", classic(be, magicMicros, 4242).b, "link type unregistered (4242), expected ETHERNET (1)"},
		{"record header", one[:30], "f.pcap: byte 24: header of record 1 cut short: 6 of 16 bytes"},
		{"record", one[:42], "f.pcap: byte 24: record 1 says 3 bytes, the file ends after 2"},
		{"huge record", classic(le, magicMicros, 1).record(0, 0, ^uint32(0), 1, 1).b, "f.pcap: byte 24: record 1 says 4294967295 bytes, the file ends after 1"},

		{"ng byte order", []byte("\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x01\x02\x03\x04"), "f.pcap: byte 8: byte order mark is 01 02 03 04"},
		{"ng section cut", ng[:10], "f.pcap: byte 0: section header cut short: 10 of 28 bytes"},
		{"ng section cut later", ng[:20], "f.pcap: byte 0: block of 28 bytes cut short: the file ends after 20"},
		{"ng version", append(append([]byte{}, ng[:12]...), append([]byte{2, 0}, ng[14:]...)...), "f.pcap: byte 12: pcapng version 2.0, expected 1.x"},
		{"ng block header", ng[:32], "f.pcap: byte 28: block header cut short: 4 of 8 bytes"},
		{"ng block length 0", section(le).u32(99, 0).b, "f.pcap: byte 28: block length 0: expected a multiple of 4, at least 12"},
		{"ng block length odd", section(le).u32(99, 13).b, "block length 13"},
		{"ng block cut", section(le).u32(99, 1<<31).b, "f.pcap: byte 28: block of 2147483648 bytes cut short: the file ends after 8"},
		{"ng trailer", badTrailer, "f.pcap: byte 80: block says 36 bytes at its head and 44 at its end"},
		{"ng packet cut", ng[:len(ng)-5], "f.pcap: byte 48: block of 36 bytes cut short: the file ends after 31"},
		{"ng packet block too short", section(le).iface(1, 0).block(blockEnhanced, 1, 2, 3).b, "f.pcap: byte 48: enhanced packet block of 16 bytes, expected at least 32"},
		{"ng packet longer than block", section(le).iface(1, 0).enhanced(0, 0, 900, 900, 1).b, "packet says 900 bytes, its block has room for 4"},
		{"ng no such interface", section(le).iface(1, 0).enhanced(1, 0, 0, 0).b, "f.pcap: byte 48: packet of interface 1, the section describes 1"},
		{"ng simple without interface", section(le).block(blockSimple, 0, 0, 0, 0).b, "packet of interface 0, the section describes 0"},
		{"ng link type", section(le).iface(113, 0).enhanced(0, 0, 0, 0).b, "f.pcap: byte 48: link type LINUX_SLL (113), expected ETHERNET (1)"},
		{"ng time beyond 2262", section(le).iface(1, 0).enhanced(0, 1<<63, 0, 0).b, "lies outside 1970 to 2262"},
		{"ng time before 1970", section(le).iface(1, 0, 14, 0, 8, 0, 255, 255, 255, 255, 255, 255, 255, 255).enhanced(0, 0, 0, 0).b, "lies outside 1970 to 2262"},
		{"ng time offset absurd", section(le).iface(1, 0, 14, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 128).enhanced(0, 0, 0, 0).b, "lies outside 1970 to 2262"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readAll(t, tt.file)
			var fe *FormatError
			if !errors.As(err, &fe) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, expected %q", err, tt.want)
			}
			if strings.Contains(tt.want, "link type") != errors.Is(err, ErrLinkType) {
				t.Errorf("errors.Is(%v, ErrLinkType) is %v", err, errors.Is(err, ErrLinkType))
			}
		})
	}
}

func TestReadBrokenReader(t *testing.T) {
	boom := errors.New("boom")
	_, err := NewReader("f.pcap", io.MultiReader(bytes.NewReader([]byte{0xd4}), failing{boom}))
	if !errors.Is(err, boom) {
		t.Errorf("error %v, expected the reader's own", err)
	}
	if _, err := NewReader("f.pcap", failing{nil}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v, expected %v", err, io.ErrNoProgress)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestOpenMissing(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, expected %v", err, os.ErrNotExist)
	}
}

// TestReadPcapgo reads what gopacket's writers wrote.
func TestReadPcapgo(t *testing.T) {
	when := time.Unix(1600000000, 123456000)
	data := bytes.Repeat([]byte{0xab}, 61)
	ci := gopacket.CaptureInfo{Timestamp: when, CaptureLength: 61, Length: 61}
	var old, ng bytes.Buffer
	w := pcapgo.NewWriter(&old)
	w.WriteFileHeader(65535, layers.LinkTypeEthernet)
	w.WritePacket(ci, data)
	n, err := pcapgo.NewNgWriter(&ng, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	n.WritePacket(ci, data)
	n.Flush()
	for _, b := range [][]byte{old.Bytes(), ng.Bytes()} {
		have, err := readAll(t, b)
		if err != nil || len(have) != 1 || have[0] != (got{when.UnixNano(), 61, string(data), 0}) {
			t.Errorf("read %v, %v", have, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(classic(be, magicMicros, 1).record(7, 5, 3, 3, 1, 2, 3).b)
	f.Add(section(le).iface(1, 9, 9, 0, 1, 0, 0x8a, 0, 0, 0).enhanced(0, 1536, 1, 1, 1).block(blockSimple, 5, 0, 0, 0, 1, 2, 3, 4, 5).b)
	f.Add(section(be).iface(1, 0).block(blockPacket, make([]byte, 24)...).b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader("f", bytes.NewReader(b))
		if err != nil {
			return
		}
		var p Packet
		for n := 0; r.Next(&p) == nil; n++ {
			if n > len(b) {
				t.Fatal("more records than bytes")
			}
			if p.Time < 0 || len(p.Data) > MaxRecord || p.Reason != frame.NotDropped && p.Data != nil {
				t.Fatalf("bad packet %+v", p)
			}
		}
	})
}
