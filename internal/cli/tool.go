package cli

import (
	"github.com/spf13/cobra"

	"weft/internal/nettool"
)

// toolCmd is weft's own ping, transfer and web, for the tour and for tests: a sandbox
// may have no other.
func (a *app) toolCmd() *cobra.Command {
	return &cobra.Command{
		Use: "tool NAME [ARG...]", Short: "Small network programs: ping, serve, send, blast, web, fetch, forge, links",
		Hidden: true, DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			if code := nettool.Main(c.Context(), args, a.out, a.err); code != 0 {
				return &exitError{code: code}
			}
			return nil
		},
	}
}
