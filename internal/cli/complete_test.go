//go:build linux

package cli

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// offered are the names that the shell would offer for the next argument.
func (e *trial) offered(t *testing.T, args ...string) string {
	t.Helper()
	r := finish(t, e.command(append(append([]string{"__complete"}, args...), "")...))
	names, _, _ := strings.Cut(r.out, "\n:")
	return strings.ReplaceAll(names, "\n", " ")
}

func tryComplete(t *testing.T, e *trial) {
	e.pair(t, "xa", "xb")
	e.must(t, "stop", "-t", "0", "xb")
	for _, c := range []struct{ line, want string }{
		{"exec", "xa"}, {"rm", "xb xa"}, {"rm xb", "xa"}, {"network rm", "bridge host none"}, {"network connect bridge", "xb xa"},
		{"network connect bridge xa", ":4"}, {"capture", "xb xa bridge host none"}, {"run --network", "bridge host none"}, {"fdb --network", "bridge host none"},
	} {
		got := strings.Fields(e.offered(t, strings.Fields(c.line)...))
		want := strings.Fields(c.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("weft %s: %q is offered, expected %q", c.line, got, want)
		}
	}
}

// Every command of the table is there.
func TestCompletionTable(t *testing.T) {
	root := (&app{getenv: os.Getenv}).root()
	for _, row := range completionTable() {
		if c, rest, err := root.Find(strings.Fields(row.path)); err != nil || len(rest) > 0 || c.ValidArgsFunction == nil {
			t.Errorf("%s: %v, arguments %q left", row.path, err, rest)
		}
	}
}
