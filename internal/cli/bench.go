package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// benchCmd says where the benchmarks are: they need other switches to compare
// with, which the source tree's Makefile brings.
func (a *app) benchCmd() *cobra.Command {
	return &cobra.Command{
		Use: "bench", Short: "How to measure weft beside other switches", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(a.out, "Run `make bench` in weft's source tree: it measures weft beside the kernel's bridge and vxlan,\n"+
				"Open vSwitch and vde_switch in one run, and writes docs/benchmarks.md. `weft demo` has short measurements of its own.")
			return nil
		},
	}
}
