package cli

import (
	"fmt"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

func (a *app) swarmCmd() *cobra.Command {
	c := &cobra.Command{Use: "swarm COMMAND", Short: "Make nodes one: init, join, tokens, keys", Args: cobra.ArbitraryArgs, RunE: group}
	c.AddCommand(a.swarmInitCmd(), a.swarmJoinCmd(), a.swarmLeaveCmd(), a.swarmTokenCmd(), a.swarmUpdateCmd(), a.swarmCACmd(),
		a.swarmRotateKeysCmd(), a.swarmUnlockCmd(), a.swarmUnlockKeyCmd(), a.swarmBackupCmd(), a.swarmRestoreCmd())
	return c
}

func (a *app) swarmLeaveCmd() *cobra.Command {
	var force bool
	c := &cobra.Command{Use: "leave [FLAGS]", Short: "Take this node out of its swarm", Args: noArgs}
	c.Flags().BoolVarP(&force, "force", "f", false, "A manager, too")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		if _, err := cl.SwarmLeave(c.Context(), client.SwarmLeaveOptions{Force: force}); err != nil {
			return err
		}
		fmt.Fprintln(a.out, "Node left the swarm.")
		return nil
	}
	return c
}

func (a *app) swarmRotateKeysCmd() *cobra.Command {
	c := &cobra.Command{Use: "rotate-keys", Short: "Make new keys now: the gossip's, and those of encrypted networks", Args: noArgs,
		Long: "Make new keys now: the one of the gossip, and on every node those of encrypted networks, which begin a new epoch. Nothing is lost on the way:\n" +
			"nodes send by a new key when they know that the other has it. weft keys ls shows how far they are. Static overlays change keys by the clock.",
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		if err := cl.RotateKeys(c.Context(), 0); err != nil {
			return err
		}
		fmt.Fprintln(a.out, "Keys rotated.")
		return nil
	}
	return c
}
