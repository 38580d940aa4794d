package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) inspectCmd() *cobra.Command {
	var format, kind string
	var size bool
	c := &cobra.Command{
		Use: "inspect [FLAGS] NAME|ID...", Short: "Show everything about sandboxes and networks, as JSON",
		Args: minArgs(1, "NAME|ID"),
	}
	c.Flags().StringVarP(&format, "format", "f", "", "json, or a Go TEMPLATE")
	c.Flags().StringVar(&kind, "type", "", "Only objects of this type: container or network")
	c.Flags().BoolVarP(&size, "size", "s", false, "Accepted for Docker's sake")
	hide(c, "size")
	c.RunE = func(c *cobra.Command, args []string) error {
		switch kind {
		case "", "container", "sandbox", "network":
		default:
			return usagef(c, "--type %s: expected container or network", kind)
		}
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		return a.inspectEach(args, format, func(ref string) (inspected, error) {
			return inspectAny(c.Context(), cl, ref, kind)
		})
	}
	return c
}

// inspectEach prints what was found and then reports what was not, as Docker
// does.
func (a *app) inspectEach(args []string, format string, get func(ref string) (inspected, error)) error {
	if _, err := parseTemplate(format, rowFuncs()); err != nil {
		return err
	}
	var found []inspected
	var failed []error
	for _, ref := range args {
		o, err := get(ref)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		found = append(found, o)
	}
	if err := printInspected(a.out, format, found); err != nil {
		return err
	}
	for _, err := range failed {
		report(a.err, err)
	}
	if len(failed) > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

// inspectAny finds a sandbox or, failing that, a network.
func inspectAny(ctx context.Context, c *api.Client, ref, kind string) (inspected, error) {
	if kind != "network" {
		r, err := c.ContainerInspect(ctx, ref, client.ContainerInspectOptions{})
		if err == nil {
			return inspected{typed: r.Container, raw: r.Raw}, nil
		}
		if kind != "" || !errdefs.IsNotFound(err) {
			return inspected{}, err
		}
	}
	o, err := inspectNetwork(ctx, c, ref, false)
	if err != nil && kind == "" && errdefs.IsNotFound(err) {
		return o, fmt.Errorf("no such object: %s", ref)
	}
	return o, err
}

func inspectNetwork(ctx context.Context, c *api.Client, ref string, verbose bool) (inspected, error) {
	if ref == "" {
		return inspected{}, errors.New("a network's name is empty")
	}
	r, err := c.NetworkInspect(ctx, ref, client.NetworkInspectOptions{Verbose: verbose})
	return inspected{typed: r.Network, raw: r.Raw}, err
}
