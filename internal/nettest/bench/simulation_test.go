package main

import (
	"strings"
	"testing"
)

func TestSimulationTable(t *testing.T) {
	var s simulation
	s.read(strings.NewReader("=== RUN\nBenchmarkScale/50x5 1 0.5 load-s 1234.6 quiet-B/s\nBenchmarkScale/500x5 1 2.25 load-s\nPASS\n"))
	text := s.markdown()
	for _, want := range []string{
		"| simulated cluster | 50 nodes, 5 networks each | 500 nodes, 5 networks each |\n|---|---:|---:|\n",
		"until all tables are complete, s | 0.50 | 2.25 |", "at rest: sent by a node, mean, B/s | 1,235 | – |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
