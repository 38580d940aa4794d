package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const (
		pass   = `{"Action":"pass","Package":"p","Test":"TestA","Elapsed":3}` + "\n"
		passed = `{"Action":"pass","Package":"p","Elapsed":3}` + "\n"
		fail   = `{"Action":"output","Package":"p","Test":"TestB","Output":"why\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestB"}` + "\n"
		failed = `{"Action":"fail","Package":"p"}` + "\n"
		skip   = `{"Action":"output","Package":"p","Test":"TestC","Output":"no right\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"TestC"}` + "\n"
		hang   = `{"Action":"output","Package":"p","Test":"TestD","Output":"hanging\n"}` + "\n"
		build  = `{"Action":"build-output","ImportPath":"p","Output":"x.go:1: bad\n"}` + "\n" + `{"Action":"build-fail","ImportPath":"p"}` + "\n"
		noTest = `{"Action":"skip","Package":"q"}` + "\n"
	)
	for _, c := range []struct {
		name, in string
		noSkip   bool
		well     bool
		want     string
	}{
		{"fine", pass + passed + noTest, true, true, "tests: 1 passed, 0 failed, 0 skipped in 1 packages: ok"},
		{"slow", pass + passed, false, true, "slow  p TestA 3.0s"},
		{"failed", pass + fail + failed, false, false, "--- FAIL p TestB\nwhy\n"},
		{"skip allowed", skip + passed, false, true, "skip  p TestC\nno right\n"},
		{"skip forbidden", skip + passed, true, false, "1 skipped in 1 packages: FAIL (no skips allowed)"},
		{"timed out", hang + failed, false, false, "--- UNFINISHED p TestD\nhanging\n"},
		{"does not build", build + passed, false, false, "x.go:1: bad"},
		{"nothing", "", false, false, "0 packages: FAIL"},
		{"not json", "go: no module\n", false, false, "go: no module\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			r := &report{out: &out, output: map[string]*strings.Builder{}, tests: map[string]int{}}
			if err := r.read(strings.NewReader(c.in)); err != nil {
				t.Fatal(err)
			}
			if well := r.finish(c.noSkip); well != c.well || !strings.Contains(out.String(), c.want) {
				t.Fatalf("well %v, want %v, in\n%s", well, c.well, out.String())
			}
		})
	}
}
