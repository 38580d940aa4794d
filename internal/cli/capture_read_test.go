package cli

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/capture"
	"weft/internal/frame"
)

// A file keeps what the live output shows: port, direction, verdict; and the
// filter knows the verdict.
func TestReadCapture(t *testing.T) {
	dir := t.TempDir()
	ng, classic := filepath.Join(dir, "a.pcapng"), filepath.Join(dir, "a.pcap")
	var pcap bytes.Buffer
	w := capture.NewPcapWriter(&pcap)
	if err := w.Write(1e18, ping(t), 0); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string][]byte{ng: sampleCapture(t), classic: pcap.Bytes()} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range [][]byte{pcap.Bytes(), sampleCapture(t)} {
		var out, errs bytes.Buffer
		if code := Main([]string{"capture", "-r", "-", "-c", "1"}, bytes.NewReader(b), &out, &errs); code != 0 || strings.Count(out.String(), "02:42") < 1 || errs.Len() > 0 {
			t.Errorf("stdin: exit code %d, %s%s", code, &out, &errs)
		}
	}
	for _, tt := range []struct {
		name, line string
		code       int
		want       []string // one per line of output; of the error where there is one
	}{
		{"all", ng, 0, []string{"rose:eth0            in  02:42", "rose:eth0            out 02:42"}},
		{"dropped", ng + " dropped", 0, []string{"[dropped: spoofed-ip]"}},
		{"reason", ng + " dropped spoofed-ip", 0, []string{"[dropped: spoofed-ip]"}},
		{"other reason", ng + " dropped spoofed-mac", 0, nil},
		{"not dropped", ng + " icmp and not dropped", 0, []string{"[forwarded]"}},
		{"before", ng + " --before", 0, []string{" in "}},
		{"after", ng + " --after", 0, []string{" out "}},
		{"count", ng + " -c 1", 0, []string{" in "}},
		{"pcap", classic + " icmp", 0, []string{"10.0.0.2 > 10.0.0.3"}},
		{"pcap dropped", classic + " dropped", 0, nil},
		{"pcap before", classic + " --before", 1, []string{"does not tell directions"}},
		{"writing", ng + " -w x", 2, []string{"--read and --write exclude each other"}},
		{"no file", filepath.Join(dir, "none"), 1, []string{"no such file"}},
	} {
		code, stdout, stderr := weft(t, append([]string{"capture", "-r"}, strings.Fields(tt.line)...)...)
		lines := strings.Split(strings.TrimSpace(stdout+stderr), "\n")
		if code != tt.code || (len(tt.want) == 0) != (stdout+stderr == "") || (code == 0 && len(tt.want) > 0 && len(lines) != len(tt.want)) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", tt.name, code, stdout, stderr)
			continue
		}
		for i, w := range tt.want {
			if !strings.Contains(lines[i], w) {
				t.Errorf("%s: line %q lacks %q", tt.name, lines[i], w)
			}
		}
	}
}

// A frame that was cut short is as long as it was for greater and less.
func TestMatchesWholeLength(t *testing.T) {
	for _, tt := range []struct {
		expr string
		want bool
	}{{"greater 9000", true}, {"less 2048", false}, {"icmp and host 10.0.0.3 and greater 9000", true}, {"tcp", false}} {
		filter, err := capture.ParseFilter(tt.expr)
		if err != nil {
			t.Fatal(err)
		}
		data := append(ping(t), make([]byte, 2000)...)
		if got := matches(filter, data, 20_000, frame.Forwarded, frame.NotDropped); got != tt.want {
			t.Errorf("%s: %v", tt.expr, got)
		}
	}
}

// foreignCapture is a big-endian section with a simple and an obsolete packet,
// microseconds and a frame check sequence, as other programs write.
func foreignCapture(t testing.TB) []byte {
	be := binary.BigEndian
	var out []byte
	block := func(kind uint32, body []byte) {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		size := uint32(12 + len(body))
		out = be.AppendUint32(be.AppendUint32(out, kind), size)
		out = be.AppendUint32(append(out, body...), size)
	}
	words := func(w ...uint32) (b []byte) {
		for _, v := range w {
			b = be.AppendUint32(b, v)
		}
		return b
	}
	f := append(ping(t), 1, 2, 3, 4)
	n := uint32(len(f))
	block(ngSection, words(ngByteOrder, 1<<16, ^uint32(0), ^uint32(0)))
	block(ngInterface, append(words(1<<16, 0), 0, ngIfName, 0, 4, 'e', 't', 'h', '9', 0, ngIfFCS, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0))
	block(ngOldPacket, append(words(7, 0x60000, 0x12345678, n, n), f...))
	block(ngSimple, append(words(n), f...))
	block(ngPacket, append(words(0, 0x60000, 0x22345678, n, n), f...))
	return out
}

// The reader agrees with the one that replay uses, packet by packet, wherever
// that one finds nothing wrong.
func agree(t *testing.T, b []byte) (packets int) {
	ng := newNGReader(bytes.NewReader(b))
	r, err := capture.NewReader("test", bytes.NewReader(b))
	if err != nil {
		return 0
	}
	var p capture.Packet
	for {
		want := r.Next(&p)
		var got ngPacketView
		var err error
		for {
			var block ngBlock
			if block, err = ng.next(); err != nil || block.isPacket() {
				if err == nil {
					got, err = ng.packet(block)
				}
				break
			}
		}
		switch {
		case errors.Is(want, io.EOF):
			if !errors.Is(err, io.EOF) {
				t.Errorf("after packet %d: %v, expected the end", packets, err)
			}
			return packets
		case want != nil:
			return packets
		case err != nil && ng.off < p.Offset+ngMaxBlock:
			// This one wants the whole block before it hands out the packet.
			if again := r.Next(&p); again != nil && !errors.Is(again, io.EOF) {
				return packets
			}
			t.Fatalf("packet %d: %v", packets, err)
		}
		if p.Reason == frame.NotDropped && (!bytes.Equal(got.data, p.Data) || got.nanos != p.Time || got.origLen != p.OrigLen) {
			t.Fatalf("packet %d at byte %d: %d bytes of %d at %d, expected %d of %d at %d",
				packets, p.Offset, len(got.data), got.origLen, got.nanos, len(p.Data), p.OrigLen, p.Time)
		}
		packets++
	}
}

func TestReadersAgree(t *testing.T) {
	foreign := foreignCapture(t)
	for name, tt := range map[string]struct {
		file    []byte
		packets int
	}{
		"weft's own": {sampleCapture(t), 2}, "foreign": {foreign, 3}, "two sections": {append(sampleCapture(t), foreign...), 5},
	} {
		if n := agree(t, tt.file); n != tt.packets {
			t.Errorf("%s: %d packets, expected %d", name, n, tt.packets)
		}
	}
	r := newNGReader(bytes.NewReader(foreign))
	if _, err := r.next(); err != nil || r.order != binary.BigEndian {
		t.Errorf("byte order %v, %v", r.order, err)
	}
	if _, err := r.next(); err != nil || r.name(0) != "eth9" {
		t.Errorf("interface %q, %v", r.name(0), err)
	}
}
