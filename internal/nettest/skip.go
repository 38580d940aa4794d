package nettest

import (
	"os"
	"testing"
)

// NoSkip names the environment variable that turns every skip into a failure, as
// CI wants it.
const NoSkip = "WEFT_NO_SKIP"

// Skip skips the test for a right this host does not grant, with the reason; or
// fails it where no skips are allowed.
func Skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(NoSkip) != "" {
		t.Fatalf("must not be skipped here ("+NoSkip+" is set): "+format, args...)
	}
	t.Skipf(format, args...)
}
