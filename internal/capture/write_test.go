package capture

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket/pcapgo"

	"weft/internal/frame"
)

// udp is a whole Ethernet frame: 10.0.0.2:1000 to 10.0.0.3:53, 4 bytes.
var udp = []byte("\x02\x42\x0a\x00\x00\x03\x02\x42\x0a\x00\x00\x02\x08\x00" +
	"\x45\x00\x00\x20\x00\x00\x00\x00\x40\x11\x66\xc9\x0a\x00\x00\x02\x0a\x00\x00\x03" +
	"\x03\xe8\x00\x35\x00\x0c\x00\x00abcd")

func records() []Record {
	return []Record{
		{Time: 1600000000_123456789, Dir: In, Verdict: frame.Forwarded, OrigLen: len(udp), Data: udp},
		{Time: 1600000000_123456790, Dir: Out, Verdict: frame.Dropped, Reason: frame.SpoofedMAC, OrigLen: 9000, Data: udp[:41]},
		{Time: 1600000001_000000000, Dir: In, OrigLen: len(udp), Data: udp,
			Offload: frame.Offload{Flags: frame.NeedsCsum, GSO: frame.GSOUDP, Size: 1448}},
		{Time: 1600000001_000000001, Dir: Out, Verdict: frame.Consumed, OrigLen: len(udp), Data: udp,
			Offload: frame.Offload{Flags: frame.NeedsCsum}},
	}
}

// ngFile writes the records on two interfaces in turn, with statistics.
func ngFile(t testing.TB) []byte {
	var b bytes.Buffer
	w := NewNGWriter(&b, "weft test")
	w.AddInterface("rose/eth0", 0)
	w.AddInterface("lily", 96)
	for i, r := range records() {
		if err := w.Write(uint32(i%2), &r); err != nil {
			t.Fatal(err)
		}
	}
	w.Stats(0, 1600000002_000000000, 5, 3, "three lost")
	w.Stats(1, 1600000002_000000000, 2, 0, "")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestNGRoundTrip(t *testing.T) {
	b := ngFile(t)
	if !bytes.Equal(b, ngFile(t)) {
		t.Error("two runs wrote different bytes")
	}
	have, err := readAll(t, b)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range records() {
		if want := (got{r.Time, r.OrigLen, string(r.Data), 0}); have[i] != want {
			t.Errorf("record %d: %v, expected %v", i, have[i], want)
		}
	}
	if r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.DefaultNgReaderOptions); err != nil || r.NInterfaces() != 1 {
		t.Errorf("pcapgo: %v", err)
	}
}

func TestPcapRoundTrip(t *testing.T) {
	var b bytes.Buffer
	w := NewPcapWriter(&b)
	var want []got
	for i := range 40 { // more than one buffer full
		data := bytes.Repeat([]byte{byte(i)}, 16000+i)
		if err := w.Write(int64(i)*1_000_000_007, data, len(data)+i); err != nil {
			t.Fatal(err)
		}
		want = append(want, got{int64(i) * 1_000_000_007, len(data) + i, string(data), 0})
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	have, err := readAll(t, b.Bytes())
	if err != nil || len(have) != len(want) {
		t.Fatalf("%d records, %v", len(have), err)
	}
	for i := range want {
		if have[i] != want[i] {
			t.Errorf("record %d differs", i)
		}
	}
	if r, err := pcapgo.NewReader(bytes.NewReader(b.Bytes())); err != nil {
		t.Errorf("pcapgo: %v", err)
	} else if data, ci, err := r.ReadPacketData(); err != nil || len(data) != 16000 || ci.Timestamp.UnixNano() != 0 {
		t.Errorf("pcapgo: %d bytes, %v, %v", len(data), ci, err)
	}
}

func TestWriterErrorsStay(t *testing.T) {
	w := NewPcapWriter(&bytes.Buffer{})
	if err := w.Write(-1, nil, 0); err == nil || w.Flush() == nil {
		t.Error("a time before 1970 was written")
	}
	boom := errors.New("boom")
	p, n := NewPcapWriter(fails{boom}), NewNGWriter(fails{boom}, "x")
	if p.Flush() != boom || p.Write(0, udp, 1) != boom || n.Flush() != boom || n.Write(0, &Record{}) != boom {
		t.Error("the first error did not stay")
	}
}

type fails struct{ err error }

func (f fails) Write([]byte) (int, error) { return 0, f.err }

// TestTshark proves the blocks with a program that did not learn the format
// from us.
func TestTshark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.pcapng")
	if err := os.WriteFile(path, ngFile(t), 0o600); err != nil {
		t.Fatal(err)
	}
	out := tshark(t, "-r", path, "-T", "fields", "-E", "separator=|", "-E", "aggregator=;",
		"-e", "frame.time_epoch", "-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "frame.comment",
		"-e", "frame.len", "-e", "frame.cap_len", "-e", "udp.dstport")
	want := []string{
		"1600000000.123456789|rose/eth0|0x00000001|forwarded|46|46|53",
		"1600000000.123456790|lily|0x00000002|dropped: spoofed-mac|9000|41|53",
		"1600000001.000000000|rose/eth0|0x00000001|superframe: udp segments of 1448 B, checksums unfinished|46|46|53",
		"1600000001.000000001|lily|0x00000002|consumed;checksum unfinished|46|46|53",
	}
	if got := strings.Split(strings.TrimSpace(out), "\n"); !equalLines(got, want) {
		t.Errorf("tshark says\n%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	meta := tshark(t, "-r", path, "-X", "read_format:MIME Files Format", "-V")
	for _, want := range []string{"weft test", "three lost", "Number of Received Packets: 5", "Number of Dropped Packets: 3"} {
		if !strings.Contains(meta, want) {
			t.Errorf("tshark does not show %q in the file's blocks", want)
		}
	}
	if strings.Contains(meta, "Malformed") {
		t.Error("tshark calls a block malformed")
	}
}

func equalLines(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }

func tshark(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		t.Fatal("tshark is needed for this test: install the package tshark")
	}
	var stderr bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "TZ=UTC", "HOME="+t.TempDir())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, stderr.String())
	}
	return string(out)
}
