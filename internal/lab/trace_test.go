package lab

import (
	"strings"
	"testing"

	"weft/internal/frame"
)

func TestTrace(t *testing.T) {
	l, err := Parse("lab.yaml", []byte(`
networks:
  front: {subnet: 10.0.0.0/24}
ports:
  a: {network: front, ip: 10.0.0.2}
  b: {network: front, ip: 10.0.0.3}
`))
	if err != nil {
		t.Fatal(err)
	}
	a, b := l.Ports[0].MAC, l.Ports[1].MAC
	for _, tt := range []struct {
		name     string
		dst, src frame.MAC
		verdict  frame.Verdict
		reason   frame.Reason
	}{
		{"flooded", frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, a, frame.Forwarded, frame.NotDropped},
		{"spoofed", b, frame.MAC{2, 0, 0, 0, 0, 9}, frame.Dropped, frame.SpoofedMAC},
	} {
		data := append(append(append([]byte{}, tt.dst[:]...), tt.src[:]...), 0x88, 0xb5, 0, 0)
		got, err := Trace(l, "a", data)
		if err != nil {
			t.Fatal(err)
		}
		if got.Verdict != tt.verdict || got.Reason != tt.reason || len(got.Steps) == 0 {
			t.Errorf("%s: %v, %v, %v", tt.name, got.Verdict, got.Reason, got.Steps)
		}
	}
	if _, err := Trace(l, "c", nil); err == nil || !strings.Contains(err.Error(), "there are: a, b") {
		t.Errorf("a port that is not there: %v", err)
	}
}
