package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// results are all figures of a run; it is what benchmarks.json holds.
type results struct {
	Date    string  `json:"date"`
	Kernel  string  `json:"kernel"`
	CPU     string  `json:"cpu"`
	CPUs    int     `json:"cpus"`
	Go      string  `json:"go"`
	Load    string  `json:"loadAtStart"`
	Rounds  int     `json:"rounds"`
	Seconds int     `json:"secondsPerTransfer"`
	Took    string  `json:"took"`
	Lines   []*line `json:"figures"`
	Stages  []stage `json:"stages,omitempty"`
	suites  []*suite
}

// A line is one figure of all contestants of a table.
type line struct {
	figure
	Table string `json:"table"` // empty: measured of weft alone
	// Values holds each contestant's measurements in the order of the rounds.
	Values map[string][]float64 `json:"values"`
	Median map[string]float64   `json:"median"`
	// Ratio holds the median of weft's ratio to each other contestant, unless
	// the line was derived from another.
	Ratio map[string]float64 `json:"weftRatio,omitempty"`
}

func newResults(o options, suites []*suite) *results {
	now := time.Now().UTC()
	return &results{
		Date: now.Format("2006-01-02 15:04 MST"), Kernel: firstField("/proc/sys/kernel/osrelease", ""), CPU: firstField("/proc/cpuinfo", "model name"),
		CPUs: runtime.NumCPU(), Go: runtime.Version(), Rounds: o.rounds, Seconds: o.seconds, suites: suites,
		Load: strings.Join(strings.Fields(firstField("/proc/loadavg", ""))[:1], ""),
	}
}

// firstField returns the value of the first "key : value" line of a file, or
// its first line if no key is given.
func firstField(path, key string) string {
	data, _ := os.ReadFile(path)
	for _, l := range strings.Split(string(data), "\n") {
		if key == "" {
			return strings.TrimSpace(l)
		}
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// line returns the line of a figure, made if there is none; no suite stands for
// weft alone.
func (r *results) line(s *suite, f figure) *line {
	table := ""
	if s != nil {
		table = s.name
	}
	if l := r.find(table, f.Key); l != nil {
		return l
	}
	l := &line{figure: f, Table: table, Values: map[string][]float64{}, Median: map[string]float64{}}
	r.Lines = append(r.Lines, l)
	return l
}

// find returns a line of a table, nil if there is none.
func (r *results) find(table, key string) *line {
	for _, l := range r.Lines {
		if l.Table == table && l.Key == key {
			return l
		}
	}
	return nil
}

func (l *line) add(contestant string, value float64) {
	l.Values[contestant] = append(l.Values[contestant], value)
	l.Median[contestant] = median(l.Values[contestant])
}

// note adds one measurement and brings medians and ratios up to date.
func (r *results) note(s *suite, f figure, contestant string, value float64) {
	l := r.line(s, f)
	l.add(contestant, value)
	if s == nil {
		return
	}
	l.Ratio = map[string]float64{}
	for other, theirs := range l.Values {
		var ratios []float64
		for i, own := range l.Values[s.own] {
			if i < len(theirs) && theirs[i] != 0 {
				ratios = append(ratios, own/theirs[i])
			}
		}
		if other != s.own && len(ratios) > 0 {
			l.Ratio[other] = median(ratios)
		}
	}
}

// derive adds the lines that are differences of others, round by round.
func (r *results) derive(s *suite) {
	for _, d := range s.derived {
		of := r.find(s.name, d.of.Key)
		if of == nil || len(of.Values[d.over]) == 0 {
			continue
		}
		base := of.Values[d.over]
		l := r.line(s, d.figure)
		for name, values := range of.Values {
			for i := range min(len(values), len(base)) {
				if name != d.over {
					l.add(name, values[i]-base[i])
				}
			}
		}
	}
}

// median returns the middle value, of an even number the mean of the middle two.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// write puts the results into dir.
func (r *results) write(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "benchmarks.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return replace(filepath.Join(dir, "benchmarks.md"), switchMarks, r.markdown())
}
