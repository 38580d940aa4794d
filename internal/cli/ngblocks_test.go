package cli

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"weft/internal/capture"
	"weft/internal/frame"
)

// ping is an echo request from 10.0.0.2 to 10.0.0.3.
func ping(t testing.TB) []byte {
	t.Helper()
	d, err := parseDescription("dst=x,smac=02:42:0a:00:00:02,dmac=02:42:0a:00:00:03,len=10")
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.build(addr("10.0.0.2"), addr("10.0.0.3"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sampleCapture(t testing.TB) []byte {
	var b bytes.Buffer
	w := capture.NewNGWriter(&b, "test")
	id := w.AddInterface("rose:eth0", 0)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6789, time.UTC).UnixNano()
	in := capture.Record{Time: at, Dir: capture.In, Verdict: frame.Dropped, Reason: frame.SpoofedIP, OrigLen: 52, Data: ping(t)}
	out := capture.Record{Time: at + 1000, Dir: capture.Out, Verdict: frame.Forwarded, OrigLen: 2000, Data: ping(t)}
	for _, r := range []capture.Record{in, out} {
		if err := w.Write(id, &r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Stats(id, at, 2, 5, ""); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCaptureText(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &out}
	r := newNGReader(bytes.NewReader(sampleCapture(t)))
	n, err := new(captureFlags).copy(t.Context(), r, captureSink{put: a.printBlock})
	if err != nil || n != 2 {
		t.Fatalf("%d packets, %v", n, err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range [][]string{
		{"rose:eth0", " in ", "10.0.0.2 > 10.0.0.3", "spoofed-ip"},
		{"rose:eth0", " out ", "10.0.0.2 > 10.0.0.3", "of 2000"},
	} {
		for _, w := range want {
			if !strings.Contains(lines[i], w) {
				t.Errorf("line %d %q lacks %q", i, lines[i], w)
			}
		}
	}
	if r.losses != 5 {
		t.Errorf("%d frames lost, the statistics say 5", r.losses)
	}
}

// A capture that is ended by --count is a whole file: it ends between blocks.
func TestCaptureCount(t *testing.T) {
	var out bytes.Buffer
	f := captureFlags{count: 1}
	if n, err := f.copy(t.Context(), newNGReader(bytes.NewReader(sampleCapture(t))), rawSink(&out, nil)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	r, err := capture.NewReader("test", &out)
	if err != nil {
		t.Fatal(err)
	}
	var p capture.Packet
	if err := r.Next(&p); err != nil || !bytes.Equal(p.Data, ping(t)) {
		t.Errorf("first packet: %v", err)
	}
	if err := r.Next(&p); !errors.Is(err, io.EOF) {
		t.Errorf("after it: %v", err)
	}
}

func TestCaptureStreamBroken(t *testing.T) {
	whole := sampleCapture(t)
	r := newNGReader(bytes.NewReader(whole[:len(whole)-3]))
	var err error
	for err == nil {
		_, err = r.next()
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut in a block: %v", err)
	}
}

// Lengths that lie are errors, not panics.
func TestCaptureStreamLies(t *testing.T) {
	block := func(kind uint32, body ...byte) []byte {
		size := uint32(12 + len(body))
		b := binary.LittleEndian.AppendUint32(nil, kind)
		b = binary.LittleEndian.AppendUint32(b, size)
		return binary.LittleEndian.AppendUint32(append(b, body...), size)
	}
	long := make([]byte, 24)
	binary.LittleEndian.PutUint32(long[12:], 5) // 5 bytes need 8, there are 4
	for name, b := range map[string][]byte{
		"packet too short": block(ngPacket, 1, 2, 3, 4), "captured length": block(ngPacket, long...),
		"block length": {6, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0}, "huge block": {6, 0, 0, 0, 0, 0, 0, 0x7f},
	} {
		a := &app{out: io.Discard}
		if _, err := new(captureFlags).copy(t.Context(), newNGReader(bytes.NewReader(b)), captureSink{put: a.printBlock}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzNGReader(f *testing.F) {
	f.Add(sampleCapture(f))
	f.Add(foreignCapture(f))
	f.Add([]byte{6, 0, 0, 0, 12, 0, 0, 0, 12, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		agree(t, b)
		a := &app{out: io.Discard}
		n, _ := new(captureFlags).copy(t.Context(), newNGReader(bytes.NewReader(b)), captureSink{put: a.printBlock})
		if n > len(b)/12 {
			t.Errorf("%d packets in %d bytes", n, len(b))
		}
	})
}
