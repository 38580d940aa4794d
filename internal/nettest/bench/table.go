package main

import (
	"fmt"
	"strings"
)

// The markers in docs/benchmarks.md; what stands outside them is kept.
const (
	beginMark = "<!-- make bench writes from here -->"
	endMark   = "<!-- to here -->"
)

const newPage = "# Benchmarks\n\n" + beginMark + "\n" + endMark + "\n"

// insert returns the page with the text between its markers replaced.
func insert(page, text string) (string, error) {
	if strings.TrimSpace(page) == "" {
		page = newPage
	}
	before, rest, ok := strings.Cut(page, beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return "", fmt.Errorf("the markers %q and %q are missing; the page is left alone", beginMark, endMark)
	}
	return before + beginMark + "\n\n" + text + "\n" + endMark + after, nil
}

// columns are the contestants in the order of the table.
var columns = []struct{ name, title string }{
	{"kernel", "kernel bridge + veth"}, {"ovs", "Open vSwitch netdev"}, {"vde", "vde_switch"}, {"weft", "weft"},
}

// markdown returns everything that stands between the markers.
func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "`make bench` on %s: %d CPUs (%s), Linux %s, %s. %d rounds, %d seconds per transfer, contestants in turn within each round;\n"+
		"every figure is the median of the rounds, every ratio the median of the rounds' ratios. Hosts, switch and iperf3 share the CPUs.\n"+
		"Load average at the start: %s.\n\n",
		r.Date, r.CPUs, r.CPU, r.Kernel, r.Go, r.Rounds, r.Seconds, r.Load)
	r.compared(&b)
	r.alone(&b)
	r.stageTable(&b)
	return b.String()
}

func (r *results) compared(b *strings.Builder) {
	b.WriteString("|")
	for _, c := range columns {
		b.WriteString(" | " + c.title)
	}
	b.WriteString(" | weft : kernel | weft : Open vSwitch |\n|---|" + strings.Repeat("---:|", len(columns)+2) + "\n")
	for _, l := range r.Lines {
		if !l.shared() {
			continue
		}
		fmt.Fprintf(b, "| %s, %s", l.Title, l.Unit)
		if l.LowerIsBetter {
			b.WriteString(" (less is better)")
		}
		for _, c := range columns {
			b.WriteString(" | " + l.cell(c.name))
		}
		for _, other := range []string{"kernel", "ovs"} {
			if ratio, ok := l.Ratio[other]; ok {
				fmt.Fprintf(b, " | %.2f", ratio)
			} else {
				b.WriteString(" | –")
			}
		}
		b.WriteString(" |\n")
	}
	b.WriteString("\n")
}

// shared reports whether a line is one of the rows that all are measured by.
func (l *line) shared() bool {
	for _, row := range rows {
		for _, f := range row.figures {
			if f.Key == l.Key {
				return true
			}
		}
	}
	return false
}

func (l *line) cell(contestant string) string {
	if len(l.Values[contestant]) == 0 {
		return "–"
	}
	return grouped(fmt.Sprintf("%.*f", l.Digits, l.Median[contestant]))
}

// grouped puts commas between thousands.
func grouped(s string) string {
	whole, rest, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest == "" {
		return whole
	}
	return whole + "." + rest
}

func (r *results) alone(b *strings.Builder) {
	var lines []string
	medians := map[string]float64{}
	for _, l := range r.Lines {
		if !l.shared() {
			medians[l.Key] = l.Median["weft"]
			lines = append(lines, fmt.Sprintf("| %s, %s | %s |\n", l.Title, l.Unit, l.cell("weft")))
		}
	}
	if len(lines) == 0 {
		return
	}
	b.WriteString("| weft alone | |\n|---|---:|\n" + strings.Join(lines, ""))
	if off := medians[figPlain.Key]; off > 0 {
		fmt.Fprintf(b, "| throughput left while capturing 128 bytes of each frame | %.0f %% |\n", 100*medians[figHeaders.Key]/off)
		fmt.Fprintf(b, "| throughput left while capturing whole frames | %.0f %% |\n", 100*medians[figCapture.Key]/off)
	}
	b.WriteString("\n")
}

func (r *results) stageTable(b *strings.Builder) {
	if len(r.Stages) == 0 {
		return
	}
	b.WriteString("| stage (Go benchmark) | ns/op | ns/frame | B/op | allocs/op |\n|---|---:|---:|---:|---:|\n")
	for _, s := range r.Stages {
		frame := "–"
		if s.PerFrame > 0 {
			frame = fmt.Sprintf("%.1f", s.PerFrame)
		}
		fmt.Fprintf(b, "| %s `%s` | %s | %s | %.0f | %.0f |\n", s.Package, s.Name, grouped(fmt.Sprintf("%.1f", s.PerOp)), frame, s.Bytes, s.Allocs)
	}
}
