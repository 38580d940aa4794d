package cli

import (
	"context"
	"errors"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) startCmd() *cobra.Command {
	var attach, interactive bool
	var detachKeys string
	c := &cobra.Command{
		Use: "start [FLAGS] SANDBOX...", Short: "Start stopped sandboxes", Args: minArgs(1, "SANDBOX"),
	}
	c.Flags().BoolVarP(&attach, "attach", "a", false, "Attach stdout and stderr, and pass signals on")
	c.Flags().BoolVarP(&interactive, "interactive", "i", false, "Attach stdin")
	c.Flags().StringVar(&detachKeys, "detach-keys", "", "Keys that detach (default "+defaultDetachKeys+")")
	c.RunE = func(c *cobra.Command, args []string) error {
		if (attach || interactive) && len(args) > 1 {
			return usagef(c, "only one sandbox can be attached to, got %d", len(args))
		}
		cl, err := a.connect(true)
		if err != nil {
			return err
		}
		if attach || interactive {
			return a.attachTo(c.Context(), cl, args[0], attachFlags{stdin: interactive, sigProxy: true, detachKeys: detachKeys, start: true})
		}
		return a.each(args, func(ref string) error { return a.startSandbox(c.Context(), cl, ref) })
	}
	return c
}

// attachFlags say how this process joins a sandbox that exists.
type attachFlags struct {
	stdin, sigProxy, start bool
	detachKeys             string
}

// attachTo joins a sandbox's streams and ends with its exit code.
func (a *app) attachTo(ctx context.Context, c *api.Client, ref string, f attachFlags) error {
	r, err := c.ContainerInspect(ctx, ref, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	id, config := r.Container.ID, r.Container.Config
	tty := config != nil && config.Tty
	stdin := f.stdin && config != nil && config.OpenStdin
	if err := a.checkInput(stdin, tty); err != nil {
		return err
	}
	signals := a.catchSignals(f.sigProxy && !tty)
	defer signals.stop()
	att, err := c.ContainerAttach(ctx, id, client.ContainerAttachOptions{
		Stream: true, Stdin: stdin, Stdout: true, Stderr: true, DetachKeys: f.detachKeys,
	})
	if err != nil {
		return err
	}
	defer att.Close()
	condition := container.WaitConditionNotRunning
	if f.start {
		condition = container.WaitConditionNextExit
	}
	exited := c.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: condition})
	if f.start {
		if err := a.startSandbox(ctx, c, id); err != nil {
			return err
		}
	}
	signals.forward(func(sig string) error {
		_, err := c.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: sig})
		return err
	})
	err = a.stream(session{
		stdin: stdin, tty: tty, detachKeys: f.detachKeys,
		resize: func(w, h uint) error {
			_, err := c.ContainerResize(ctx, id, client.ContainerResizeOptions{Width: w, Height: h})
			return err
		},
	}, att.HijackedResponse)
	if errors.Is(err, errDetached) {
		return nil
	}
	if err != nil && !unreachable(err) {
		return err
	}
	return waitExit(exited, id)
}
