package cli

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"weft/internal/demo"
)

func (a *app) demoCmd() *cobra.Command {
	var o demo.Options
	c := &cobra.Command{
		Use: "demo [FLAGS]", Short: "Take a tour that checks itself",
		Long: "Build two networks with sandboxes on them, then one across three nodes, then a swarm, and show and check\n" +
			"what weft does, step by step. Exit code 0 only if every step held. Nothing is left behind, and a daemon that runs is not touched.",
		Args: noArgs,
	}
	c.Flags().BoolVar(&o.InProcess, "in-process", false, "Use in-process hosts even where sandboxes are allowed")
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if code := demo.Run(ctx, o, a.out); code != 0 {
			return &exitError{code: code}
		}
		return nil
	}
	return c
}
