package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// A simulation is what TestScale of internal/cluster measured: clusters of several
// sizes in a time of their own.
type simulation struct {
	Date  string     `json:"date"`
	CPU   string     `json:"cpu"`
	CPUs  int        `json:"cpus"`
	Go    string     `json:"go"`
	Took  string     `json:"took"`
	Sizes []scaleRun `json:"sizes"`
}

// A scaleRun is one cluster: nodes x networks of each, and its figures by unit.
type scaleRun struct {
	Spec    string             `json:"spec"`
	Figures map[string]float64 `json:"figures"`
}

// scaleRows are the lines of the table: a figure's unit there, and its title here.
var scaleRows = []struct {
	unit, title string
	digits      int
}{
	{"members-s", "cold start of all at once: until everybody knows everybody, s", 2},
	{"members-kB/node", "the same, sent by a node, kB", 0},
	{"load-s", "then all endpoints are made at once: until all tables are complete, s", 2},
	{"load-kB/node", "the same, sent by a node, kB", 0},
	{"MiB/node", "heap and stacks of a node, MiB", 2},
	{"quiet-B/s", "at rest: sent by a node, mean, B/s", 0},
	{"quiet-most-B/s", "the same, by the node that sent most, B/s", 0},
	{"quiet-tables-B/s", "of it messages about tables, without headers and seals, B/s", 0},
	{"quiet-datagrams/s", "datagrams, by a node and second", 2},
	{"quiet-streams/s", "streams opened, by a node and second", 3},
	{"quiet-CPU-ms/s", "processor time of a node, ms/s", 2},
	{"one-p50-ms", "one endpoint is made: until another node knows it, median, ms", 0},
	{"one-p99-ms", "the same, 99th percentile, ms", 0},
	{"one-max-ms", "the same, the last, ms", 0},
	{"churn-B/s", "20 endpoints a second come or go: sent by a node, mean, B/s", 0},
	{"churn-most-B/s", "the same, by the node that sent most, B/s", 0},
	{"churn-datagrams/s", "datagrams, by a node and second", 1},
	{"churn-CPU-ms/s", "processor time of a node, ms/s", 2},
	{"churn-p50-ms", "until another node knows a new endpoint, median, ms", 0},
	{"churn-p99-ms", "the same, 99th percentile, ms", 0},
	{"churn-max-ms", "the same, the last, ms", 0},
	{"arrival-p50-ms", "the first endpoint of a network on a node, attaching included, median, ms", 0},
	{"arrival-p99-ms", "the same, 99th percentile, ms", 0},
	{"arrival-max-ms", "the same, the last, ms", 0},
}

// runSimulation simulates clusters, such as "150x5,500x5".
func runSimulation(ctx context.Context, sizes string) (*simulation, error) {
	begin := time.Now()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-run", "^TestScale$", "-v", "-timeout", "3h", "./internal/cluster")
	cmd.Env = append(os.Environ(), "WEFT_SIMULATION="+sizes)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &simulation{
		Date: begin.UTC().Format("2006-01-02 15:04 MST"), CPU: firstField("/proc/cpuinfo", "model name"), CPUs: runtime.NumCPU(), Go: runtime.Version(),
	}
	var said strings.Builder
	s.read(io.TeeReader(out, io.MultiWriter(&said, os.Stderr))) // it takes long: what has been measured is shown
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("go test: %w: %s", err, said.String())
	}
	s.Took = time.Since(begin).Round(time.Second).String()
	return s, nil
}

// read takes lines of the format of Go benchmarks from a test's output.
func (s *simulation) read(out io.Reader) {
	for scan := bufio.NewScanner(out); scan.Scan(); {
		fields := strings.Fields(scan.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "BenchmarkScale/") {
			continue
		}
		run := scaleRun{strings.TrimPrefix(fields[0], "BenchmarkScale/"), map[string]float64{}}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				run.Figures[fields[i+1]] = v
			}
		}
		s.Sizes = append(s.Sizes, run)
	}
}

// markdown returns the table.
func (s *simulation) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "`go run ./internal/nettest/bench -only simulation` on %s: %d CPUs (%s), %s; it took %s.\n\n| simulated cluster", s.Date, s.CPUs, s.CPU, s.Go, s.Took)
	for _, run := range s.Sizes {
		nodes, each, _ := strings.Cut(run.Spec, "x")
		fmt.Fprintf(&b, " | %s nodes, %s networks each", nodes, each)
	}
	b.WriteString(" |\n|---|" + strings.Repeat("---:|", len(s.Sizes)) + "\n")
	for _, row := range scaleRows {
		b.WriteString("| " + row.title)
		for _, run := range s.Sizes {
			cell := "–"
			if v, ok := run.Figures[row.unit]; ok {
				cell = grouped(strconv.FormatFloat(v, 'f', row.digits, 64))
			}
			b.WriteString(" | " + cell)
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

// write puts the results into dir.
func (s *simulation) write(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "simulation.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return replace(filepath.Join(dir, "benchmarks.md"), simulationMarks, s.markdown())
}
