package cli
import "github.com/spf13/cobra"
func (a *app) traceLab(c *cobra.Command, f *traceFlags, what string) error { return nil }
