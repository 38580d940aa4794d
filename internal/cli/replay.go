package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/lab"
)

// replayFlags are the flags of `weft replay`.
type replayFlags struct {
	in     mapFlag
	out    string
	expect string
	seed   uint64
	json   bool
}

// stdinPath is this process's stdin where a file's name is expected.
const stdinPath = "/dev/stdin"

func (a *app) replayCmd() *cobra.Command {
	var f replayFlags
	c := &cobra.Command{
		Use: "replay [FLAGS] LAB.yaml", Short: "Run captures through a switch described by a file, under a virtual clock",
		Long: "Run captures through the switches that a lab file describes, under a virtual clock. What leaves each port is\n" +
			"written to DIR/PORT.pcap, the statistics to DIR/stats.json: byte for byte the same for the same input and seed,\n" +
			"on every machine, without privileges and without a daemon. With --expect they are compared with those of an\n" +
			"earlier run, and the first difference is explained (exit code 1).",
		Example: "  weft replay lab.yaml --in a=a.pcap --in b=b.pcapng --out new --expect testdata/good",
		Args:    exactArgs(1, "LAB.yaml"),
	}
	f.in.need, f.in.once = true, true
	c.Flags().Var(&f.in, "in", "Capture to feed into a port, as PORT=FILE, - for stdin; repeatable")
	c.Flags().StringVar(&f.out, "out", "", "Directory to write to (default none: statistics alone)")
	c.Flags().StringVar(&f.expect, "expect", "", "Directory of an earlier run to compare with")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "Varies what a switch is free to choose")
	c.Flags().BoolVar(&f.json, "json", false, "Print the statistics as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		stdin := "" // the port that gets it
		for port, file := range f.in.m {
			if file == "" {
				return usagef(c, "--in %s=: a file is missing", port)
			}
			if file != "-" {
				continue
			}
			if stdin != "" {
				return usagef(c, "--in %s=- and --in %s=-: stdin can be read once", min(stdin, port), max(stdin, port))
			}
			stdin, f.in.m[port] = port, stdinPath
		}
		return a.replay(args[0], &f)
	}
	return c
}

func (a *app) replay(file string, f *replayFlags) error {
	l, err := lab.Load(file)
	if err != nil {
		return err
	}
	out := f.out
	if out == "" {
		if out, err = os.MkdirTemp("", "weft-replay-"); err != nil {
			return err
		}
		defer os.RemoveAll(out)
	}
	done := a.progress("replaying %s", filepath.Base(file))
	r, err := lab.Replay(l, f.in.m, out, lab.Options{Seed: f.seed, Expect: f.expect})
	done()
	var differs *lab.ExpectError
	if err != nil && !errors.As(err, &differs) {
		return err
	}
	text := string(r.JSON())
	if !f.json {
		text = r.Table()
	}
	fmt.Fprintln(a.out, strings.TrimRight(text, "\n"))
	if err == nil && f.expect != "" {
		fmt.Fprintf(a.out, "as expected in %s\n", f.expect)
	}
	return err
}
