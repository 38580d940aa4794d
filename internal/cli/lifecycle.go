package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

// onSandboxes makes a command that does one thing to every sandbox named.
func (a *app) onSandboxes(use, short, waiting string, f func(ctx context.Context, c *api.Client, ref string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: minArgs(1, "SANDBOX"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect(false)
			if err != nil {
				return err
			}
			return a.each(args, func(ref string) error {
				if waiting != "" {
					defer a.progress("%s %s", waiting, ref)()
				}
				return f(c.Context(), cl, ref)
			})
		},
	}
}

func (a *app) stopCmd() *cobra.Command {
	var sig string
	var timeout int
	var c *cobra.Command
	c = a.onSandboxes("stop [FLAGS] SANDBOX...", "Stop sandboxes: their stop signal, then SIGKILL", "stopping",
		func(ctx context.Context, cl *api.Client, ref string) error {
			_, err := cl.ContainerStop(ctx, ref, client.ContainerStopOptions{Signal: sig, Timeout: given(c, "timeout", &timeout)})
			return err
		})
	stopFlags(c, &sig, &timeout)
	return c
}

func (a *app) restartCmd() *cobra.Command {
	var sig string
	var timeout int
	var c *cobra.Command
	c = a.onSandboxes("restart [FLAGS] SANDBOX...", "Stop sandboxes and start them again", "restarting",
		func(ctx context.Context, cl *api.Client, ref string) error {
			_, err := cl.ContainerRestart(ctx, ref, client.ContainerRestartOptions{Signal: sig, Timeout: given(c, "timeout", &timeout)})
			return err
		})
	stopFlags(c, &sig, &timeout)
	return c
}

func stopFlags(c *cobra.Command, sig *string, timeout *int) {
	c.Flags().StringVarP(sig, "signal", "s", "", "Signal to send (default the sandbox's stop signal)")
	c.Flags().IntVarP(timeout, "timeout", "t", 10, "Seconds to wait before killing, -1 for no limit (default the sandbox's)")
	c.Flags().IntVar(timeout, "time", 10, "Seconds to wait before killing")
	hide(c, "time")
	checkTimeout(c, timeout)
}

// given is a number if its flag (or its old name) was on the command line, else
// nil: the daemon's default.
func given(c *cobra.Command, flag string, n *int) *int {
	if c.Flags().Changed(flag) || c.Flags().Changed("time") {
		return n
	}
	return nil
}

// checkTimeout refuses waits that mean nothing.
func checkTimeout(c *cobra.Command, seconds *int) {
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		if *seconds < -1 {
			return usagef(c, "--timeout %d: expected seconds, or -1 for no limit", *seconds)
		}
		return nil
	}
}

func (a *app) killCmd() *cobra.Command {
	var sig string
	c := a.onSandboxes("kill [FLAGS] SANDBOX...", "Send a signal to sandboxes' commands", "",
		func(ctx context.Context, cl *api.Client, ref string) error {
			_, err := cl.ContainerKill(ctx, ref, client.ContainerKillOptions{Signal: sig})
			return err
		})
	c.Flags().StringVarP(&sig, "signal", "s", "KILL", "Signal to send")
	return c
}

func (a *app) rmCmd() *cobra.Command {
	var force, volumes bool
	c := a.onSandboxes("rm [FLAGS] SANDBOX...", "Remove sandboxes", "removing",
		func(ctx context.Context, cl *api.Client, ref string) error {
			_, err := cl.ContainerRemove(ctx, ref, client.ContainerRemoveOptions{Force: force})
			if force && errdefs.IsNotFound(err) {
				return nil
			}
			return err
		})
	c.Aliases = []string{"remove"}
	c.Flags().BoolVarP(&force, "force", "f", false, "Kill running ones first; no error for one that does not exist")
	c.Flags().BoolVarP(&volumes, "volumes", "v", false, "Accepted for Docker's sake: sandboxes have no volumes")
	hide(c, "volumes")
	return c
}

func (a *app) waitCmd() *cobra.Command {
	return &cobra.Command{
		Use: "wait SANDBOX...", Short: "Wait until sandboxes stop, then print their exit codes", Args: minArgs(1, "SANDBOX"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect(false)
			if err != nil {
				return err
			}
			failed := false
			for _, ref := range args {
				code, err := a.waitOne(c.Context(), cl, ref)
				if err != nil {
					report(a.err, err)
					failed = true
					continue
				}
				fmt.Fprintln(a.out, code)
			}
			if failed {
				return &exitError{code: exitFailed}
			}
			return nil
		},
	}
}

func (a *app) waitOne(ctx context.Context, c *api.Client, ref string) (int64, error) {
	defer a.progress("waiting for %s", ref)()
	w := c.ContainerWait(ctx, ref, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case r := <-w.Result:
		if r.Error != nil && stopping(r.Error.Message) {
			return 0, goneError("%s too; start a daemon again, then wait once more", ref)
		}
		if r.Error != nil && r.Error.Message != "" {
			return 0, errors.New(r.Error.Message)
		}
		return r.StatusCode, nil
	case err := <-w.Error:
		return 0, orGone(err, "%s too; start a daemon again, then wait once more", ref)
	}
}

func (a *app) renameCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rename SANDBOX NEW_NAME", Short: "Rename a sandbox", Args: exactArgs(2, "SANDBOX NEW_NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect(false)
			if err != nil {
				return err
			}
			_, err = cl.ContainerRename(c.Context(), args[0], client.ContainerRenameOptions{NewName: args[1]})
			return err
		},
	}
}
