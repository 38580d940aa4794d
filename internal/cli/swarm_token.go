package cli

import (
	"errors"
	"fmt"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

func (a *app) swarmTokenCmd() *cobra.Command {
	var rotate, quiet bool
	c := &cobra.Command{Use: "join-token [FLAGS] worker|manager", Short: "Show what a node joins by, or make it anew", Args: exactArgs(1, "worker|manager")}
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return []string{"worker", "manager"}, cobra.ShellCompDirectiveNoFileComp
	}
	c.Flags().BoolVar(&rotate, "rotate", false, "Make a new one: the old one ends")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "The token alone")
	c.RunE = func(c *cobra.Command, args []string) error {
		role := args[0]
		if role != "worker" && role != "manager" {
			return usagef(c, "unknown role %q: expected worker or manager", role)
		}
		if rotate {
			err := a.updateSwarm(c, func(o *client.SwarmUpdateOptions) {
				o.RotateWorkerToken, o.RotateManagerToken = role == "worker", role == "manager"
			})
			if err != nil {
				return err
			}
			if !quiet {
				fmt.Fprintf(a.out, "Successfully rotated %s join token.\n\n", role)
			}
		}
		return a.showToken(c, role, quiet)
	}
	return c
}

// showToken prints a join token, and how to use it.
func (a *app) showToken(c *cobra.Command, role string, quiet bool) error {
	cl, err := a.connect(false)
	if err != nil {
		return err
	}
	s, err := cl.SwarmInspect(c.Context(), client.SwarmInspectOptions{})
	if err != nil {
		return err
	}
	token := s.Swarm.JoinTokens.Worker
	if role == "manager" {
		token = s.Swarm.JoinTokens.Manager
	}
	if quiet {
		fmt.Fprintln(a.out, token)
		return nil
	}
	self, err := cl.NodeInspect(c.Context(), "self", client.NodeInspectOptions{})
	if err != nil {
		return err
	}
	if self.Node.ManagerStatus == nil {
		return errors.New("this node's control address is not known yet: try again")
	}
	fmt.Fprintf(a.out, "To add a %s to this swarm, run the following command:\n\n    weft swarm join --token %s %s\n\n", role, token, self.Node.ManagerStatus.Addr)
	return nil
}
