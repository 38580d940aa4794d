package lab

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"weft/internal/capture"
)

// A Difference is where the outcome of one port first is not as expected.
type Difference struct {
	Port  string
	Frame int   // from 1
	Time  int64 // of the earlier of the two, nanoseconds since 1970 UTC
	What  string
	// Want and Have describe the two frames; empty where there is none.
	Want, Have string
}

// String explains the difference in a few lines.
func (d Difference) String() string {
	var b strings.Builder
	if d.Frame == 0 {
		fmt.Fprintf(&b, "port %s: %s", d.Port, d.What)
		return b.String()
	}
	fmt.Fprintf(&b, "port %s, frame %d, at %s: %s", d.Port, d.Frame, seconds(d.Time), d.What)
	fmt.Fprintf(&b, "\n  expected: %s\n  found:    %s", cmp.Or(d.Want, "nothing more"), cmp.Or(d.Have, "nothing more"))
	return b.String()
}

func seconds(ns int64) string { return fmt.Sprintf("%d.%09d s", ns/1e9, ns%1e9) }

// An ExpectError says that the outcome of a replay is not the expected one.
type ExpectError struct {
	Dir         string
	Differences []Difference // the first of each port, earliest first
	Stats       string       // first line in which the statistics differ
}

// Error explains the earliest difference and names the other ports.
func (e *ExpectError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "not as expected in %s", e.Dir)
	if len(e.Differences) > 0 {
		fmt.Fprintf(&b, ": %s", e.Differences[0])
	}
	if len(e.Differences) > 1 {
		var names []string
		for _, d := range e.Differences[1:] {
			names = append(names, d.Port)
		}
		fmt.Fprintf(&b, "\nalso different: %s", strings.Join(names, ", "))
	}
	if e.Stats != "" {
		fmt.Fprintf(&b, "\nstatistics: %s", e.Stats)
	}
	return b.String()
}

// compare holds the captures and the statistics of two directories against each
// other. Statistics are compared where the expected directory has them.
func compare(l *Lab, wantDir, haveDir string) error {
	e := &ExpectError{Dir: wantDir}
	for _, p := range l.Ports {
		d, err := comparePort(p.Name, outPath(wantDir, p.Name), outPath(haveDir, p.Name))
		if err != nil {
			return err
		}
		if d != nil {
			e.Differences = append(e.Differences, *d)
		}
	}
	slices.SortStableFunc(e.Differences, func(a, b Difference) int { return cmp.Compare(a.Time, b.Time) })
	want, err := os.ReadFile(filepath.Join(wantDir, StatsFile))
	if err == nil {
		have, err := os.ReadFile(filepath.Join(haveDir, StatsFile))
		if err != nil {
			return err
		}
		e.Stats = differentLine(want, have)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(e.Differences) > 0 || e.Stats != "" {
		return e
	}
	return nil
}

// comparePort returns the first difference between two captures, nil when there
// is none.
func comparePort(port, wantPath, havePath string) (*Difference, error) {
	want, err := capture.Open(wantPath)
	if errors.Is(err, os.ErrNotExist) {
		return &Difference{Port: port, What: wantPath + " does not exist"}, nil
	}
	if err != nil {
		return nil, err
	}
	defer want.Close()
	have, err := capture.Open(havePath)
	if err != nil {
		return nil, err
	}
	defer have.Close()
	for n := 1; ; n++ {
		var w, h capture.Packet
		wErr, hErr := want.Next(&w), have.Next(&h)
		for _, err := range []error{wErr, hErr} {
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
		}
		d := &Difference{Port: port, Frame: n}
		switch {
		case wErr != nil && hErr != nil:
			return nil, nil
		case wErr != nil:
			d.Time, d.What, d.Have = h.Time, "one frame more than expected", describe(&h)
		case hErr != nil:
			d.Time, d.What, d.Want = w.Time, "frame missing", describe(&w)
		default:
			d.Time, d.Want, d.Have = min(w.Time, h.Time), describe(&w), describe(&h)
			if d.What = differ(&w, &h); d.What == "" {
				continue
			}
		}
		return d, nil
	}
}

// differ says how two records differ; empty when they do not.
func differ(w, h *capture.Packet) string {
	n := min(len(w.Data), len(h.Data))
	for i := range n {
		if w.Data[i] != h.Data[i] {
			return fmt.Sprintf("byte %d is %#02x, expected %#02x", i, h.Data[i], w.Data[i])
		}
	}
	switch {
	case len(w.Data) != len(h.Data):
		return fmt.Sprintf("%d bytes long, expected %d", len(h.Data), len(w.Data))
	case w.Time != h.Time:
		return fmt.Sprintf("time is %s, expected %s", seconds(h.Time), seconds(w.Time))
	case w.OrigLen != h.OrigLen:
		return fmt.Sprintf("length on the wire is %d, expected %d", h.OrigLen, w.OrigLen)
	}
	return ""
}

func describe(p *capture.Packet) string { return seconds(p.Time) + ", " + capture.Summary(p.Data) }

// differentLine names the first line in which two texts differ.
func differentLine(want, have []byte) string {
	w, h := bytes.Split(want, []byte("\n")), bytes.Split(have, []byte("\n"))
	for i := range max(len(w), len(h)) {
		var x, y []byte
		if i < len(w) {
			x = w[i]
		}
		if i < len(h) {
			y = h[i]
		}
		if !bytes.Equal(x, y) {
			return fmt.Sprintf("line %d is %q, expected %q", i+1, bytes.TrimSpace(y), bytes.TrimSpace(x))
		}
	}
	return ""
}
