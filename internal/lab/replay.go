package lab

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weft/internal/capture"
	"weft/internal/frame"
)

// Theory of operation: a replay
//
// Every input is a queue of records. The queue whose next record has the least
// time is served next; among equals the port whose name comes first. One frame
// is taken all the way through its switch before the next, so the order of
// everything is that of the inputs alone. The virtual clock is the time of that
// record, except that it never runs backwards: a record older than the one
// before it keeps its place in its file and gets the clock's time. Ageing
// follows the clock in whole seconds. No real clock is read but to measure how
// fast it went, and that is not part of what is written.
//
// Captures are written as NAME.pcap.partial and renamed when all went well, so
// that a damaged input leaves nothing that looks like a result.

// Options of a replay.
type Options struct {
	// Seed varies what a switch is free to choose.
	Seed uint64
	// Expect is a directory with the captures an earlier replay wrote; empty
	// for no comparison.
	Expect string
}

// StatsFile is the name of the statistics beside the captures.
const StatsFile = "stats.json"

// Replay runs captures through the lab: inputs maps ports to capture files.
// What left each port is written to outDir/NAME.pcap, the statistics to
// outDir/stats.json. When the outcome is not that of opts.Expect, the error is
// an *ExpectError and the result is returned all the same.
func Replay(l *Lab, inputs map[string]string, outDir string, opts Options) (*Result, error) {
	began := time.Now()
	b, err := build(l, opts.Seed)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if err := b.open(l, inputs, outDir, opts); err != nil {
		return nil, err
	}
	if err := b.run(); err != nil {
		return nil, err
	}
	if err := b.flush(); err != nil {
		return nil, err
	}
	res, err := b.result(opts.Seed)
	if err != nil {
		return nil, err
	}
	if err := b.publish(outDir, res); err != nil {
		return nil, err
	}
	res.Elapsed = time.Since(began)
	if opts.Expect != "" {
		return res, compare(l, opts.Expect, outDir)
	}
	return res, nil
}

// open opens the inputs and makes the outputs.
func (b *bench) open(l *Lab, inputs map[string]string, outDir string, opts Options) error {
	if opts.Expect != "" {
		if _, err := os.Stat(opts.Expect); err != nil {
			return fmt.Errorf("directory to compare with: %w", err)
		}
	}
	if err := os.MkdirAll(outDir, 0o755); err != nil {
		return err
	}
	if opts.Expect != "" && sameFile(opts.Expect, outDir) {
		return fmt.Errorf("%s is both the expected and the output directory: the replay would overwrite what it is compared with", outDir)
	}
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		i := slices.IndexFunc(b.ports, func(v *vport) bool { return v.Name == name })
		if i < 0 {
			return fmt.Errorf("%s: no port %q; there are: %s", l.Path, name, strings.Join(b.names(), ", "))
		}
		for _, v := range b.ports {
			if sameFile(inputs[name], outPath(outDir, v.Name)) {
				return fmt.Errorf("%s is an input and would be overwritten: choose another output directory", inputs[name])
			}
		}
		in, err := capture.Open(inputs[name])
		if err != nil {
			return err
		}
		b.ports[i].input = in
	}
	for _, v := range b.ports {
		f, err := os.Create(outPath(outDir, v.Name) + partial)
		if err != nil {
			return err
		}
		v.file, v.cable.out = f, capture.NewPcapWriter(f)
	}
	return nil
}

const partial = ".partial"

func outPath(dir, port string) string { return filepath.Join(dir, port+".pcap") }

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}

func (b *bench) names() []string {
	var names []string
	for _, v := range b.ports {
		names = append(names, v.Name)
	}
	return names
}

// run feeds every record in, in the order of time.
func (b *bench) run() error {
	var q queue
	for i, v := range b.ports {
		if err := v.advance(); err != nil {
			return err
		}
		if v.ready {
			q.push(entry{v.head.Time, i, v})
		}
	}
	second := int64(-1)
	for len(q) > 0 {
		v := q[0].port
		if v.head.Time > maxTime {
			return fmt.Errorf("port %s: record %d has a time after 2106, which captures cannot hold", v.Name, v.records)
		}
		b.now = max(b.now, v.head.Time)
		if s := b.now / 1e9; s != second {
			b.tick(second, s)
			second = s
		}
		if err := v.feed(); err != nil {
			return err
		}
		if err := b.deliver(); err != nil {
			return err
		}
		if err := v.advance(); err != nil {
			return err
		}
		if v.ready {
			q[0].time = v.head.Time
		} else {
			q.pop()
		}
		q.sink()
	}
	return nil
}

// maxTime is the last nanosecond a classic capture can name.
const maxTime = math.MaxUint32*1e9 + 999_999_999

// advance reads the port's next record.
func (v *vport) advance() error {
	if v.ready = false; v.input == nil {
		return nil
	}
	switch err := v.input.Next(&v.head); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	v.ready = true
	v.records++
	return nil
}

// feed takes the record through the switch, or from a wire to the node's VTEP.
func (v *vport) feed() error {
	if v.head.Reason != frame.NotDropped {
		v.oversized++
		return nil
	}
	if v.head.Snapped() {
		v.snapped++
	}
	if v.Underlay {
		return v.node.underlay.receive(v.head.Data, &v.wired)
	}
	v.cable.pending, v.cable.full = v.head.Data, true
	if _, err := v.node.worker.Turn(v.port); err != nil {
		return fmt.Errorf("port %s: record %d: %w", v.Name, v.records, err)
	}
	return nil
}

// flush ends the captures and returns the first error of any.
func (b *bench) flush() error {
	for _, v := range b.ports {
		if err := v.cable.out.Flush(); err != nil {
			return fmt.Errorf("port %s: %w", v.Name, err)
		}
		if err := v.file.Close(); err != nil {
			return fmt.Errorf("port %s: %w", v.Name, err)
		}
	}
	return nil
}

// publish gives the captures their names and writes the statistics.
func (b *bench) publish(outDir string, res *Result) error {
	for _, v := range b.ports {
		if err := os.Rename(v.file.Name(), strings.TrimSuffix(v.file.Name(), partial)); err != nil {
			return err
		}
	}
	path := filepath.Join(outDir, StatsFile)
	if err := os.WriteFile(path+partial, res.JSON(), 0o644); err != nil {
		return err
	}
	return os.Rename(path+partial, path)
}

// close closes what is still open and removes what was not published.
func (b *bench) close() {
	for _, v := range b.ports {
		if v.input != nil {
			v.input.Close()
		}
		if v.file != nil {
			v.file.Close()
			os.Remove(v.file.Name())
		}
	}
}
