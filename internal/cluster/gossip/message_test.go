package gossip

import (
	"bytes"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// samples is a message of every kind, full and empty.
func samples() map[string]*message {
	long := strings.Repeat("i", MaxID)
	return map[string]*message{
		"no rows": {kind: kindRows, from: "a", network: "n"},
		"rows": {kind: kindRows, from: "a", network: "n", rows: []Row{
			row("a", "k", 1, "value"), row("b", "l", maxVersion, ""), {Network: "n", Owner: "c", Key: "empty", Version: 300, Value: []byte{}},
			{Network: "n", Owner: long, Key: strings.Repeat("k", MaxKey), Version: 7, Value: bytes.Repeat([]byte{0xff}, MaxValue)},
		}},
		"sum":      {kind: kindSum, from: "a", sum: math.MaxUint64 - 1},
		"digest":   {kind: kindDigest, from: "a", digests: []ownerDigest{{"a", 1}, {long, math.MaxUint64}}},
		"versions": {kind: kindVersions, from: "a", network: "n", versions: []ownerVersions{{owner: "a"}, {"b", []keyVersion{{"k", 1, false}, {"l", maxVersion, true}}}, {owner: "c"}}},
		"want":     {kind: kindWant, from: "a", network: "n", want: []rowKey{{"a", "k"}, {"b", "l"}}},
		"request":  {kind: kindRequest, from: "a", network: "n", id: math.MaxUint64, answerTo: netip.MustParseAddrPort("[fd00::1]:7946")},
		"reply":    {kind: kindReply, from: "a", network: "n", id: 9, index: 2, total: 3, rows: []Row{row("a", "k", 1, "v")}},
	}
}

func TestMessageRoundTrip(t *testing.T) {
	for name, m := range samples() {
		t.Run(name, func(t *testing.T) {
			b := m.encode()
			got, err := decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, m) {
				t.Errorf("%+v came back as %+v", m, got)
			}
			for i := range b[:min(len(b), 2000)] {
				if short, err := decode(b[:i]); err == nil && reflect.DeepEqual(short, m) {
					t.Errorf("%d of %d bytes gave the whole message", i, len(b))
				}
			}
		})
	}
}

// TestMessageBytes pins the wire format.
func TestMessageBytes(t *testing.T) {
	m := &message{kind: kindRows, from: "me", network: "net", rows: []Row{
		{Network: "net", Owner: "me", Key: "k", Version: 300, Value: []byte("v")}, {Network: "net", Owner: "x", Key: "d", Version: 1, Deleted: true}}}
	want := "\x01\x01\x02me\x03net" + "\x02me\x01k\xac\x02\x00\x01v" + "\x01x\x01d\x01\x01"
	if got := string(m.encode()); got != want {
		t.Errorf("%q, expected %q", got, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, bytes, want string }{
		{"empty", "", "ends early"},
		{"kind missing", "\x01", "ends early"},
		{"other version", "\x02\x01\x01a\x00", "another format version: expected 1, found 2"},
		{"unknown kind", "\x01\x09\x01a\x00", "unknown kind 9"},
		{"no sender", "\x01\x01\x00\x00", "sender of 0 bytes"},
		{"long sender", "\x01\x01\x81\x01" + strings.Repeat("a", 129), "sender of 129 bytes"},
		{"network cut", "\x01\x01\x01a\x05n", "ends early"},
		{"row without owner", "\x01\x01\x01a\x00\x00\x01k\x01\x01", "owner of 0 bytes"},
		{"row without key", "\x01\x01\x01a\x00\x01o\x00\x01\x01", "key of 0 bytes"},
		{"version zero", "\x01\x01\x01a\x00\x01o\x01k\x00\x01", "version 0"},
		{"version over the bound", "\x01\x01\x01a\x00\x01o\x01k\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01", "version 18446744073709551615"},
		{"flags", "\x01\x01\x01a\x00\x01o\x01k\x01\x02", "flags 0x2"},
		{"value over the bound", "\x01\x01\x01a\x00\x01o\x01k\x01\x00\x81\x80\x01", "value of 16385 bytes"},
		{"value cut", "\x01\x01\x01a\x00\x01o\x01k\x01\x00\x05ab", "ends early"},
		{"digest cut", "\x01\x02\x01a\x00\x01o1234567", "ends early"},
		{"list longer than message", "\x01\x03\x01a\x00\x01o\xff\xff\xff\xff\x0f\x01k\x02", "ends early"},
		{"request with more", "\x01\x05\x01a\x00\x01\x0a10.0.0.1:1x", "1 bytes after the end"},
		{"request to nowhere", "\x01\x05\x01a\x00\x01\x0810.0.0.1", "address"},
		{"request cut", "\x01\x05\x01a\x00\x01\x0a10.0.0.1:", "ends early"},
		{"part over total", "\x01\x06\x01a\x00\x01\x02\x02", "part 2 of 2"},
		{"varint of 11 bytes", "\x01\x05\x01a\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "ends early"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := decode([]byte(c.bytes))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, error %v, expected %q", m, err, c.want)
			}
		})
	}
	if _, err := decode([]byte("\x07\x01")); !errors.Is(err, errFormat) {
		t.Errorf("error %v is not errFormat", err)
	}
}

// TestSizes holds the sizes that packets are filled by against the encoder.
func TestSizes(t *testing.T) {
	for name, m := range samples() {
		for _, r := range m.rows {
			if n := len(putRow(nil, r)); n > rowSize(r) {
				t.Errorf("%s: a row takes %d bytes, %d were reckoned", name, n, rowSize(r))
			}
		}
		for _, v := range m.versions {
			if n := len(putVersions(nil, v)); n > versionsSize(v) {
				t.Errorf("%s: versions take %d bytes, %d were reckoned", name, n, versionsSize(v))
			}
		}
	}
}

func TestChunk(t *testing.T) {
	size := func(i int) int { return i }
	for _, c := range []struct {
		name  string
		items []int
		want  [][]int
	}{
		{"none", nil, nil},
		{"one", []int{3}, [][]int{{3}}},
		{"one too big", []int{30}, [][]int{{30}}},
		{"exact", []int{4, 6, 1}, [][]int{{4, 6}, {1}}},
		{"big in the middle", []int{1, 30, 1, 2}, [][]int{{1}, {30}, {1, 2}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := chunk(c.items, size, 10); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v, expected %v", got, c.want)
			}
		})
	}
}

// FuzzDecode gives the decoder anything: it returns an error, or a message within
// the bounds that survives another round.
func FuzzDecode(f *testing.F) {
	for _, m := range samples() {
		f.Add(m.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		for _, r := range m.rows {
			if err := checkRow(r.Key, r.Value); err != nil || checkID("owner", r.Owner) != nil || r.Version == 0 || r.Version > maxVersion {
				t.Fatalf("row %+v is over the bounds: %v", r, err)
			}
		}
		again, err := decode(m.encode())
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v became %+v, error %v", m, again, err)
		}
	})
}

// FuzzTable lets a message's rows change a table in any order: its count and its
// digests stay true.
func FuzzTable(f *testing.F) {
	f.Add([]byte("aaabbb\x00\x01\x02cccc\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tab := newTable(8)
		for len(b) >= 4 {
			owner, key, version := string('a'+b[0]%3), string('a'+b[1]%5), 1+uint64(b[2])
			switch b[3] % 8 {
			case 0:
				tab.raise(owner, version)
			case 1:
				tab.drop(owner)
			case 2, 3:
				tab.merge(Row{Owner: owner, Key: key, Version: version, Deleted: true}, at(b[3]))
			case 4:
				tab.reap(at(b[2]))
			default:
				tab.merge(Row{Owner: owner, Key: key, Version: version, Value: b[:1]}, at(b[3]))
			}
			b = b[4:]
			if tab.count > tab.limit {
				t.Fatalf("%d rows, the limit is %d", tab.count, tab.limit)
			}
		}
		check(t, tab)
	})
}
