package ipsec

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// testAES is how AES-GCM is computed by what is tested.
var testAES AES

// TestMain runs all tests by each AES that there is here; benchmarks and fuzzing have the
// fastest.
func TestMain(m *testing.M) {
	flag.Parse()
	best, err := ProbeAES()
	set := func(name string) bool { return flag.Lookup("test."+name).Value.String() != "" }
	if best != (AES{}) && !set("bench") && !set("fuzz") && !set("list") {
		if code := m.Run(); code != 0 {
			fmt.Fprintln(os.Stderr, "that was the standard library's AES-GCM")
			os.Exit(code)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the wide AES-GCM is not tested:", err)
	}
	testAES = best
	os.Exit(m.Run())
}
