package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/capture"
	"weft/internal/nettest"
)

// parse reads a lab that is sound.
func parse(t testing.TB, text string) *Lab {
	t.Helper()
	l, err := Parse("lab.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// write writes a file in the test's directory and returns its path.
func write(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReplayRefuses: each mistake is named and leaves nothing behind.
func TestReplayRefuses(t *testing.T) {
	dir := t.TempDir()
	good := pcapOf(t, []at{{0, udp(hostA, hostB)}, {1, udp(hostA, hostB)}})
	in := write(t, dir, "in.pcap", good)
	cut := write(t, dir, "cut.pcap", good[:len(good)-3])
	late := write(t, dir, "late.pcapng", lateCapture())
	wifi := bytes.Clone(good)
	wifi[20] = 105
	tests := []struct {
		name, lab string
		in        map[string]string
		want      string
	}{
		{"no such port", bare, map[string]string{"z": in}, `lab.yaml: no port "z"; there are: a, b, c`},
		{"no such file", bare, map[string]string{"a": dir + "/none"}, "none"},
		{"damaged at the end", bare, map[string]string{"a": in, "b": cut}, "cut.pcap: byte 86: record 2 says 46 bytes, the file ends after 43"},
		{"other link type", bare, map[string]string{"a": write(t, dir, "wifi.pcap", wifi)}, "wifi.pcap: byte 20: link type IEEE802_11 (105)"},
		{"after 2106", bare, map[string]string{"a": late}, "port a: record 1 has a time after 2106"},
		{"macvlan", strings.Replace(bare, "subnet", "driver: macvlan, subnet", 1), nil, "ports.a: network n has driver macvlan, which is not supported in a replay yet (available: bridge, overlay)"},
		{"impairment", bare + "links: {b: {loss: 1%}}\n", nil, "lab.yaml:7: links.b: impairments are not supported in a replay yet"},
		{"no ports", "networks: {n: {}}", nil, "lab.yaml: no ports"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			r, err := Replay(parse(t, tt.lab), tt.in, out, Options{})
			if err == nil || r != nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, expected %q", err, tt.want)
			}
			if left, _ := os.ReadDir(out); len(left) > 0 {
				t.Errorf("%s was left behind", left[0].Name())
			}
		})
	}
	if _, err := Replay(parse(t, bare), map[string]string{"a": in}, dir, Options{Expect: dir}); err == nil || !strings.Contains(err.Error(), "both the expected and the output") {
		t.Errorf("error %v", err)
	}
	own := write(t, dir, "b.pcap", good)
	if _, err := Replay(parse(t, bare), map[string]string{"a": own}, dir, Options{}); err == nil || !strings.Contains(err.Error(), "would be overwritten") {
		t.Errorf("error %v", err)
	}
}

// lateCapture is a pcapng file with a packet in the year 2200, which classic
// captures cannot hold.
func lateCapture() []byte {
	var b bytes.Buffer
	w := capture.NewNGWriter(&b, "test")
	w.AddInterface("x", 0)
	w.Write(0, &capture.Record{Time: 7258118400_000000000, Data: udp(hostA, hostB), OrigLen: 46})
	w.Flush()
	return b.Bytes()
}

// TestReplayIsDeterministic replays a lab of many ports, where ties and floods
// abound, twice with one seed.
func TestReplayIsDeterministic(t *testing.T) {
	dir := t.TempDir()
	lab := "networks: {n: {}, m: {}}\nnodes: {x: {}, y: {}}\nports:\n"
	inputs := map[string]string{}
	for i := range 12 {
		name := fmt.Sprintf("p%d", i)
		lab += fmt.Sprintf("  %s: {network: %c, node: %c}\n", name, "nm"[i%2], "xy"[i/6])
		var frames []at
		for k := range 50 {
			to := nettest.Station(fmt.Sprintf("10.9.0.%d", (i*k)%30+1))
			frames = append(frames, at{int64(k*i) % 40, udp(nettest.Station(fmt.Sprintf("10.9.0.%d", (i+k)%30+1)), to)})
		}
		inputs[name] = write(t, dir, name+".pcap", pcapOf(t, frames))
	}
	first, second := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	for _, out := range []string{first, second} {
		r, err := Replay(parse(t, lab), inputs, out, Options{Seed: 7})
		if err != nil {
			t.Fatal(err)
		}
		if r.Records != 600 || !strings.Contains(r.Table(), "600 frames, every one accounted for") {
			t.Errorf("table\n%s", r.Table())
		}
	}
	files := readDir(t, first, "")
	for name, b := range readDir(t, second, "") {
		if !bytes.Equal(files[name], b) {
			t.Errorf("%s differs between two runs", name)
		}
	}
	if len(files) != 13 {
		t.Errorf("%d files, expected one per port and the statistics", len(files))
	}
}

func TestClockNeverRunsBackwards(t *testing.T) {
	dir := t.TempDir()
	in := write(t, dir, "in.pcap", pcapOf(t, []at{{50, broadcast(hostA)}, {10, broadcast(hostA)}, {60, broadcast(hostA)}}))
	if _, err := Replay(parse(t, bare), map[string]string{"a": in}, filepath.Join(dir, "out"), Options{}); err != nil {
		t.Fatal(err)
	}
	r, err := capture.Open(filepath.Join(dir, "out", "b.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, ms := range []int64{50, 50, 60} {
		var p capture.Packet
		if err := r.Next(&p); err != nil || p.Time != epoch+ms*1_000_000 {
			t.Errorf("time %d, %v; expected %d ms", (p.Time-epoch)/1_000_000, err, ms)
		}
	}
}

func TestExpect(t *testing.T) {
	one, two := udp(hostA, hostB), udp(hostA, hostC)
	longer := append(bytes.Clone(two), 0)
	changed := bytes.Clone(two)
	changed[45] ^= 1
	tests := []struct {
		name   string
		expect []at // on port b; found are one at 0 and two at 1
		want   string
	}{
		{"byte", []at{{0, one}, {1, changed}}, `port b, frame 2, at 1767225600.001000000 s: byte 45 is 0x74, expected 0x75
  expected: 1767225600.001000000 s, 02:42:0a:00:00:02 > 02:42:0a:00:00:04, 10.0.0.2 > 10.0.0.4 UDP, 1000 > 2000, 46 B
  found:    1767225600.001000000 s, 02:42:0a:00:00:02 > 02:42:0a:00:00:04, 10.0.0.2 > 10.0.0.4 UDP, 1000 > 2000, 46 B`},
		{"length", []at{{0, one}, {1, longer}}, "46 bytes long, expected 47"},
		{"time", []at{{0, one}, {2, two}}, "time is 1767225600.001000000 s, expected 1767225600.002000000 s"},
		{"missing", []at{{0, one}, {1, two}, {2, one}}, "frame 3, at 1767225600.002000000 s: frame missing"},
		{"extra", []at{{0, one}}, "frame 2, at 1767225600.001000000 s: one frame more than expected\n  expected: nothing more\n  found:    1767225600.001000000 s, 02:42"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			in := write(t, dir, "in.pcap", pcapOf(t, []at{{0, one}, {1, two}}))
			expect := filepath.Join(dir, "expect")
			if _, err := Replay(parse(t, bare), map[string]string{"a": in}, expect, Options{}); err != nil {
				t.Fatal(err)
			}
			run := func() (*Result, error) {
				return Replay(parse(t, bare), map[string]string{"a": in}, filepath.Join(dir, "out"), Options{Expect: expect})
			}
			if _, err := run(); err != nil {
				t.Fatalf("the same again: %v", err)
			}
			write(t, expect, "b.pcap", pcapOf(t, tt.expect))
			r, err := run()
			var e *ExpectError
			if r == nil || !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, expected\n%s", err, tt.want)
			}
			if len(e.Differences) != 1 || e.Stats != "" {
				t.Errorf("differences %+v, statistics %q", e.Differences, e.Stats)
			}
		})
	}
}

func TestExpectMore(t *testing.T) {
	dir := t.TempDir()
	in := write(t, dir, "in.pcap", pcapOf(t, []at{{0, udp(hostA, hostB)}}))
	expect, out := filepath.Join(dir, "expect"), filepath.Join(dir, "out")
	inputs := map[string]string{"a": in}
	if _, err := Replay(parse(t, bare), inputs, expect, Options{}); err != nil {
		t.Fatal(err)
	}
	stats, _ := os.ReadFile(filepath.Join(expect, StatsFile))
	write(t, expect, StatsFile, bytes.Replace(stats, []byte(`"records": 1`), []byte(`"records": 2`), 1))
	os.Remove(filepath.Join(expect, "c.pcap"))
	write(t, expect, "b.pcap", pcapOf(t, nil))
	_, err := Replay(parse(t, bare), inputs, out, Options{Expect: expect})
	for _, want := range []string{"c.pcap does not exist", "also different: b", `statistics: line 3 is "\"records\": 1,", expected "\"records\": 2,"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
	nowhere := filepath.Join(dir, "nowhere")
	if r, err := Replay(parse(t, bare), inputs, out, Options{Expect: nowhere}); r != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("compared with a directory that does not exist: %v", err)
	}
	write(t, expect, "b.pcap", []byte("no capture"))
	if _, err := Replay(parse(t, bare), inputs, out, Options{Expect: expect}); err == nil || !strings.Contains(err.Error(), "neither pcap nor pcapng") {
		t.Errorf("error %v", err)
	}
}

func TestQueue(t *testing.T) {
	var q queue
	times := []int64{5, 3, 3, 9, 1, 7, 3, 0}
	for i, at := range times {
		q.push(entry{at, i, nil})
	}
	last := entry{-1, 0, nil}
	for len(q) > 0 {
		if q[0].before(&last) {
			t.Errorf("%v after %v", q[0], last)
		}
		last = q[0]
		if last.time == 3 && last.order == 1 {
			q[0].time = 6 // this port goes on
			q.sink()
			continue
		}
		q.pop()
		q.sink()
	}
}

// BenchmarkReplay replays 64-byte unicast between two ports, from file to file.
func BenchmarkReplay(b *testing.B) {
	dir := b.TempDir()
	const each = 200_000
	inputs := map[string]string{}
	for i, name := range []string{"a", "b"} {
		f, err := os.Create(filepath.Join(dir, name+".pcap"))
		if err != nil {
			b.Fatal(err)
		}
		inputs[name] = f.Name()
		w := capture.NewPcapWriter(f)
		data := make([]byte, 64)
		copy(data, []byte{2, 0, 0, 0, 0, byte(1 - i), 2, 0, 0, 0, 0, byte(i), 0x88, 0xb5})
		for k := range int64(each) {
			w.Write(epoch+k*1000, data, len(data))
		}
		if err := w.Flush(); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
	l := parse(b, "networks: {n: {}}\nports: {a: {network: n}, b: {network: n}}")
	b.SetBytes(2 * each * 64)
	b.ResetTimer()
	var speed float64
	for b.Loop() {
		r, err := Replay(l, inputs, filepath.Join(dir, "out"), Options{})
		if err != nil {
			b.Fatal(err)
		}
		speed = max(speed, r.Speed())
	}
	b.ReportMetric(float64(b.N)*2*each/b.Elapsed().Seconds(), "frames/s")
	b.ReportMetric(0, "ns/op")
}
