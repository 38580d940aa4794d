// Command summary reads what `go test -json` writes and tells what matters: one
// line per package, the output of what failed, the reason of every skip, and a
// last line with the numbers. It exits 1 when anything failed or did not build,
// when nothing ran at all, and, with WEFT_NO_SKIP set, when anything was skipped.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

// An event is one line of test2json.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// A report is what has been seen so far.
type report struct {
	out                     io.Writer
	output                  map[string]*strings.Builder // by package and test, until it has ended
	tests                   map[string]int              // passed, by package
	passed, failed, skipped int
	packages                int
	broken                  bool
	skips                   []string
	slow                    []event
}

func main() {
	r := &report{out: os.Stdout, output: map[string]*strings.Builder{}, tests: map[string]int{}}
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
	if !r.finish(os.Getenv("WEFT_NO_SKIP") != "") {
		os.Exit(1)
	}
}

func (r *report) read(in io.Reader) error {
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			fmt.Fprintln(r.out, sc.Text())
			continue
		}
		r.event(e)
	}
	return sc.Err()
}

func (r *report) event(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "build-fail":
		r.broken = true
	case "output":
		if r.output[key] == nil {
			r.output[key] = &strings.Builder{}
		}
		r.output[key].WriteString(e.Output)
	case "pass", "fail", "skip":
		r.ended(e, key)
		delete(r.output, key)
	}
}

func (r *report) ended(e event, key string) {
	text := ""
	if b := r.output[key]; b != nil {
		text = b.String()
	}
	if e.Test == "" {
		r.packageEnded(e, text)
		return
	}
	switch e.Action {
	case "pass":
		r.passed++
		r.tests[e.Package]++
	case "fail":
		r.failed++
		fmt.Fprintf(r.out, "--- FAIL %s %s\n%s", e.Package, e.Test, text)
	case "skip":
		r.skipped++
		r.skips = append(r.skips, fmt.Sprintf("%s %s\n%s", e.Package, e.Test, text))
	}
	if !strings.Contains(e.Test, "/") {
		r.slow = append(r.slow, e)
	}
}

func (r *report) packageEnded(e event, text string) {
	switch e.Action {
	case "pass":
		r.packages++
		fmt.Fprintf(r.out, "ok    %-32s %4d tests %7.2fs\n", e.Package, r.tests[e.Package], e.Elapsed)
	case "fail":
		r.broken = true
		fmt.Fprintf(r.out, "FAIL  %-32s %4d passed %6.2fs\n%s", e.Package, r.tests[e.Package], e.Elapsed, text)
		r.unfinished(e.Package)
	}
}

// unfinished shows what tests that never ended said: after a panic, a time-out or
// a race.
func (r *report) unfinished(pkg string) {
	for key, b := range r.output {
		if p, test, _ := strings.Cut(key, " "); p == pkg && test != "" {
			fmt.Fprintf(r.out, "--- UNFINISHED %s\n%s", key, b)
			delete(r.output, key)
		}
	}
}

// finish prints the end and reports whether all is well.
func (r *report) finish(noSkip bool) bool {
	sort.Slice(r.slow, func(i, j int) bool { return r.slow[i].Elapsed > r.slow[j].Elapsed })
	for _, e := range r.slow[:min(5, len(r.slow))] {
		if e.Elapsed >= 2 {
			fmt.Fprintf(r.out, "slow  %s %s %.1fs\n", e.Package, e.Test, e.Elapsed)
		}
	}
	for _, s := range r.skips {
		fmt.Fprint(r.out, "skip  ", s)
	}
	well := !r.broken && r.failed == 0 && r.packages > 0 && (r.skipped == 0 || !noSkip)
	word := map[bool]string{true: "ok", false: "FAIL"}[well]
	if noSkip && r.skipped > 0 {
		word += " (no skips allowed)"
	}
	fmt.Fprintf(r.out, "tests: %d passed, %d failed, %d skipped in %d packages: %s\n", r.passed, r.failed, r.skipped, r.packages, word)
	return well
}
