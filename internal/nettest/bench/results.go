package main

import (
	"encoding/json"
	"fmt"
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
}

// A line is one figure of all contestants.
type line struct {
	figure
	// Values holds each contestant's measurements in the order of the rounds.
	Values map[string][]float64 `json:"values"`
	Median map[string]float64   `json:"median"`
	// Ratio holds the median of weft's ratio to each other contestant.
	Ratio map[string]float64 `json:"weftRatio,omitempty"`
}

func newResults(o options) *results {
	now := time.Now().UTC()
	return &results{
		Date: now.Format("2006-01-02 15:04 MST"), Kernel: firstField("/proc/sys/kernel/osrelease", ""), CPU: firstField("/proc/cpuinfo", "model name"),
		CPUs: runtime.NumCPU(), Go: runtime.Version(), Rounds: o.rounds, Seconds: o.seconds,
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

// note adds one measurement and brings medians and ratios up to date.
func (r *results) note(f figure, contestant string, value float64) {
	i := slices.IndexFunc(r.Lines, func(l *line) bool { return l.Key == f.Key })
	if i < 0 {
		i = len(r.Lines)
		r.Lines = append(r.Lines, &line{figure: f, Values: map[string][]float64{}, Median: map[string]float64{}})
	}
	l := r.Lines[i]
	l.Values[contestant] = append(l.Values[contestant], value)
	l.Median[contestant] = median(l.Values[contestant])
	l.Ratio = map[string]float64{}
	for other, theirs := range l.Values {
		var ratios []float64
		for i, own := range l.Values["weft"] {
			if i < len(theirs) && theirs[i] != 0 {
				ratios = append(ratios, own/theirs[i])
			}
		}
		if other != "weft" && len(ratios) > 0 {
			l.Ratio[other] = median(ratios)
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
	path := filepath.Join(dir, "benchmarks.md")
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	page, err := insert(string(old), r.markdown())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(page), 0o644)
}
