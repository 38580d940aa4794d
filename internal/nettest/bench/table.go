package main

import (
	"fmt"
	"os"
	"strings"
)

// marks stand around a part of docs/benchmarks.md; what is outside is kept.
type marks struct{ begin, end string }

var (
	switchMarks     = marks{"<!-- make bench writes from here -->", "<!-- to here -->"}
	simulationMarks = marks{"<!-- the simulation writes from here -->", "<!-- the simulation writes to here -->"}
)

// insert returns the page with the text between two markers replaced. A page that
// has neither gets both at its end.
func (m marks) insert(page, text string) (string, error) {
	switch has := strings.Contains(page, m.begin) || strings.Contains(page, m.end); {
	case strings.TrimSpace(page) == "":
		page = "# Benchmarks\n\n" + m.begin + "\n" + m.end + "\n"
	case !has:
		page += "\n" + m.begin + "\n" + m.end + "\n"
	}
	before, rest, ok := strings.Cut(page, m.begin)
	_, after, ok2 := strings.Cut(rest, m.end)
	if !ok || !ok2 {
		return "", fmt.Errorf("the markers %q and %q do not stand around anything; the page is left alone", m.begin, m.end)
	}
	return before + m.begin + "\n\n" + text + "\n" + m.end + after, nil
}

// replace puts a text between two markers of a file.
func replace(path string, m marks, text string) error {
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	page, err := m.insert(string(old), text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(page), 0o644)
}

// markdown returns everything that stands between the markers.
func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "`make bench` on %s: %d CPUs (%s), Linux %s, %s. %d rounds, %d seconds per transfer, contestants in turn within each round;\n"+
		"every figure is the median of the rounds, every ratio the median of the rounds' ratios. Hosts, switch and iperf3 share the CPUs.\n"+
		"Load average at the start: %s.\n\n",
		r.Date, r.CPUs, r.CPU, r.Kernel, r.Go, r.Rounds, r.Seconds, r.Load)
	for i, s := range r.suites {
		r.compared(&b, s)
		if i == 0 {
			r.alone(&b)
		}
	}
	r.stageTable(&b)
	return b.String()
}

// compared writes the table of a suite, nothing if none of it was measured.
func (r *results) compared(b *strings.Builder, s *suite) {
	lines := r.of(s.name)
	if len(lines) == 0 {
		return
	}
	b.WriteString("| " + s.title)
	for _, c := range s.contestants {
		b.WriteString(" | " + c.title())
	}
	for _, o := range s.against {
		b.WriteString(" | weft : " + o.title)
	}
	b.WriteString(" |\n|---|" + strings.Repeat("---:|", len(s.contestants)+len(s.against)) + "\n")
	for _, l := range lines {
		fmt.Fprintf(b, "| %s, %s", l.Title, l.Unit)
		if l.LowerIsBetter {
			b.WriteString(" (less is better)")
		}
		for _, c := range s.contestants {
			b.WriteString(" | " + l.cell(c.name()))
		}
		for _, o := range s.against {
			if ratio, ok := l.Ratio[o.name]; ok {
				fmt.Fprintf(b, " | %.2f", ratio)
			} else {
				b.WriteString(" | –")
			}
		}
		b.WriteString(" |\n")
	}
	b.WriteString("\n")
}

// of returns the lines of a table.
func (r *results) of(table string) (lines []*line) {
	for _, l := range r.Lines {
		if l.Table == table {
			lines = append(lines, l)
		}
	}
	return lines
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
	for _, l := range r.of("") {
		medians[l.Key] = l.Median["weft"]
		lines = append(lines, fmt.Sprintf("| %s, %s | %s |\n", l.Title, l.Unit, l.cell("weft")))
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
	r.spread(b)
}

// spread says what it costs that 1,000 remote addresses are behind 64 VTEPs.
func (r *results) spread(b *strings.Builder) {
	perFrame := map[string]float64{}
	for _, s := range r.Stages {
		perFrame[s.Name] = s.PerFrame
	}
	var parts []string
	for _, way := range []struct{ name, title string }{{"out", "towards them"}, {"in", "from them"}} {
		one, many := perFrame["RemoteMACs/"+way.name+"_1"], perFrame["RemoteMACs/"+way.name+"_64"]
		if one > 0 && many > 0 {
			parts = append(parts, fmt.Sprintf("%s %.2f × (%.1f against %.1f ns)", way.title, many/one, many, one))
		}
	}
	if len(parts) > 0 {
		b.WriteString("\n1,000 remote MACs on 64 VTEPs against 1, time of a frame: " + strings.Join(parts, ", ") + ".\n")
	}
}
