package main

import (
	"reflect"
	"strings"
	"testing"
)

func TestInsert(t *testing.T) {
	beginMark, endMark := switchMarks.begin, switchMarks.end
	tests := []struct {
		name, page, want string // want "" for an error
	}{
		{"no page yet", "", "# Benchmarks\n\n" + beginMark + "\n\nT\n" + endMark + "\n"},
		{"prose is kept", "before\n" + beginMark + "old" + endMark + "\nafter", "before\n" + beginMark + "\n\nT\n" + endMark + "\nafter"},
		{"no markers", "prose\n", "prose\n\n" + beginMark + "\n\nT\n" + endMark + "\n"},
		{"only the first marker", "prose" + beginMark, ""},
		{"wrong order", endMark + beginMark, ""},
	}
	for _, tt := range tests {
		got, err := switchMarks.insert(tt.page, "T")
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

// suites returns both tables without anything set up.
func suites(t *testing.T) (*suite, *suite) {
	t.Helper()
	b := &bench{dir: t.TempDir()}
	return b.switches(), b.overlays()
}

func TestNote(t *testing.T) {
	switches, overlays := suites(t)
	r := newResults(options{}, []*suite{switches, overlays})
	// Round by round weft has 0.5, 0.8 and 0.6 of the kernel's speed, though the
	// machine was slow in the last: the ratio is not that of the medians.
	for _, v := range [][2]float64{{10, 5}, {10, 8}, {1, 0.6}} {
		r.note(switches, figTCP1, "kernel", v[0])
		r.note(switches, figTCP1, "weft", v[1])
	}
	l := r.Lines[0]
	if l.Median["kernel"] != 10 || l.Median["weft"] != 5 || l.Ratio["kernel"] != 0.6 {
		t.Errorf("medians %v, ratio %v", l.Median, l.Ratio)
	}
	r.derive(overlays)
	text := r.markdown()
	if want := "| TCP, 1 stream, Gbit/s | 10.00 | – | – | 5.00 | 0.60 | – |"; !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
	if strings.Contains(text, "weft alone") || strings.Contains(text, overlays.title) {
		t.Error("a table without lines")
	}
}

// One key in two tables is two lines, each with the ratios its table wants.
func TestTables(t *testing.T) {
	switches, overlays := suites(t)
	r := newResults(options{}, []*suite{switches, overlays})
	r.note(switches, figRTT, "weft", 40)
	for _, v := range [][3]float64{{50, 80, 200}, {90, 110, 200}} {
		r.note(overlays, figRTT, "kernel-vxlan", v[0])
		r.note(overlays, figRTT, "weft-overlay", v[1])
		r.note(overlays, figRTT, "ovs-vxlan", v[2])
	}
	r.derive(switches)
	r.derive(overlays)
	r.note(nil, figIdle, "weft", 20)
	text := r.markdown()
	for _, want := range []string{
		"| TCP ping-pong of 1 byte, median, µs (less is better) | – | – | – | 40.0 | – | – |",
		"| TCP ping-pong of 1 byte, median, µs (less is better) | 70.0 | – | 200.0 | 95.0 | 1.41 | – | 0.48 |",
		// The median of 30 and 20, of 150 and 110.
		"| added round trip over kernel vxlan, µs (less is better) | – | – | 130.0 | 25.0 | – | – | – |",
		"| weft : kernel, offloads on | weft : kernel, offloads off | weft : Open vSwitch |",
		"| daemon, idle, resident, MiB | 20.0 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestWanted(t *testing.T) {
	switches, overlays := suites(t)
	for _, tt := range []struct {
		only        string
		first, then int
	}{{"", 4, 4}, {"weft", 1, 0}, {"kernel, weft,weft-overlay", 2, 1}, {"kernel-vxlan-off", 0, 1}, {"hub", 0, 0}} {
		o := options{only: tt.only}
		if a, b := len(switches.wanted(o)), len(overlays.wanted(o)); a != tt.first || b != tt.then {
			t.Errorf("%q: %d and %d contestants, want %d and %d", tt.only, a, b, tt.first, tt.then)
		}
	}
}

func TestSpread(t *testing.T) {
	r := &results{Stages: []stage{
		{Name: "RemoteMACs/out_1", PerFrame: 40}, {Name: "RemoteMACs/out_64", PerFrame: 42}, {Name: "RemoteMACs/in_64", PerFrame: 7},
	}}
	var b strings.Builder
	r.spread(&b)
	if want := "1.05 × (42.0 against 40.0 ns).\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("%q", b.String())
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(tt.in); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestGrouped(t *testing.T) {
	for in, want := range map[string]string{"7": "7", "123": "123", "1234": "1,234", "1234567.25": "1,234,567.25"} {
		if got := grouped(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestParseStages(t *testing.T) {
	const out = `goos: linux
pkg: weft/vswitch
cpu: Some CPU
BenchmarkCore64-2   	  300	   3000 ns/op	  46.9 ns/frame	  12 B/op	  1 allocs/op
pkg: weft/internal/frame
BenchmarkSum/1500-2 	  300	   60.5 ns/op	24000 MB/s	  0 B/op	  0 allocs/op
BenchmarkSum/odd-name	  300	   61 ns/op
PASS
ok  	weft/internal/frame	1.2s
`
	want := []stage{
		{Package: "vswitch", Name: "Core64", PerOp: 3000, PerFrame: 46.9, Bytes: 12, Allocs: 1},
		{Package: "internal/frame", Name: "Sum/1500", PerOp: 60.5},
		{Package: "internal/frame", Name: "Sum/odd-name", PerOp: 61},
	}
	if got := parseStages(out); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestHeaderSum(t *testing.T) {
	// The example of https://en.wikipedia.org/wiki/Internet_checksum.
	b := []byte{0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7}
	if got := headerSum(b); got != 0xb861 {
		t.Errorf("%#x, want 0xb861", got)
	}
}
