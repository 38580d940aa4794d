package main

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// stagePackages hold a stage of the data path each.
var stagePackages = []string{"./internal/frame", "./internal/offload", "./arp", "./tap", "./vxlan", "./vswitch", "./internal/capture", "./internal/lab"}

// A stage is one line of `go test -bench`.
type stage struct {
	Package string  `json:"package"`
	Name    string  `json:"name"`
	PerOp   float64 `json:"nsPerOp"`
	// PerFrame is what the benchmark reports as ns/frame or ns/segment, 0 if it
	// does not.
	PerFrame float64 `json:"nsPerFrame,omitempty"`
	Bytes    float64 `json:"bytesPerOp"`
	Allocs   float64 `json:"allocsPerOp"`
}

// runStages runs the Go benchmarks of every stage.
func (r *results) runStages(ctx context.Context) error {
	args := append([]string{"test", "-run", "^$", "-bench", ".", "-benchmem", "-benchtime", "300ms"}, stagePackages...)
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test -bench: %w: %s", err, out)
	}
	r.Stages = parseStages(string(out))
	return nil
}

// parseStages reads the format of golang.org/design/14313-benchmark-format.
func parseStages(out string) (stages []stage) {
	pkg := ""
	for scan := bufio.NewScanner(strings.NewReader(out)); scan.Scan(); {
		fields := strings.Fields(scan.Text())
		if len(fields) == 2 && fields[0] == "pkg:" {
			pkg = strings.TrimPrefix(fields[1], "weft/")
		}
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		s := stage{Package: pkg, Name: benchName(fields[0])}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				continue
			}
			switch fields[i+1] {
			case "ns/op":
				s.PerOp = v
			case "ns/frame", "ns/segment":
				s.PerFrame = v
			case "B/op":
				s.Bytes = v
			case "allocs/op":
				s.Allocs = v
			}
		}
		stages = append(stages, s)
	}
	return stages
}

// benchName drops the prefix and the number of processors at the end.
func benchName(s string) string {
	s = strings.TrimPrefix(s, "Benchmark")
	if i := strings.LastIndexByte(s, '-'); i > 0 {
		if _, err := strconv.Atoi(s[i+1:]); err == nil {
			return s[:i]
		}
	}
	return s
}
