package cli

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) portCmd() *cobra.Command {
	return &cobra.Command{
		Use: "port SANDBOX [PORT[/PROTO]]", Short: "List where a sandbox's published ports are reached, or one of them",
		Args: func(c *cobra.Command, args []string) error {
			if err := minArgs(1, "SANDBOX")(c, args); err != nil {
				return err
			}
			return maxArgs(2, "SANDBOX PORT")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect(false)
			if err != nil {
				return err
			}
			lines, err := publishedAt(c.Context(), cl, args[0], args[1:]...)
			for _, l := range lines {
				fmt.Fprintln(a.out, l)
			}
			return err
		},
	}
}

// publishedAt is where the host listens for a sandbox's ports, or for one port of it,
// which then must be published: ADDRESS:PORT, for all of them after PORT/PROTO.
func publishedAt(ctx context.Context, c *api.Client, sandbox string, port ...string) (lines []string, err error) {
	r, err := c.ContainerInspect(ctx, sandbox, client.ContainerInspectOptions{})
	if err != nil {
		return nil, err
	}
	var open network.PortMap
	if r.Container.NetworkSettings != nil {
		open = r.Container.NetworkSettings.Ports
	}
	if len(port) > 0 {
		p, err := network.ParsePort(port[0])
		if err != nil {
			return nil, fmt.Errorf("%w: expected a number from 1 to 65535, and tcp or udp after a slash", err)
		}
		if len(open[p]) == 0 {
			return nil, fmt.Errorf("no public port '%s' published for %s", p, sandbox)
		}
		for _, b := range open[p] {
			lines = append(lines, hostPort(b))
		}
	} else {
		for p, bindings := range open {
			for _, b := range bindings {
				lines = append(lines, p.String()+" -> "+hostPort(b))
			}
		}
	}
	slices.SortFunc(lines, compareNatural)
	return lines, nil
}

func hostPort(b network.PortBinding) string {
	ip := ""
	if b.HostIP.IsValid() {
		ip = b.HostIP.String()
	}
	return net.JoinHostPort(ip, b.HostPort)
}

// portsOf lists a running sandbox's published ports.
func portsOf(sandbox string) namer {
	return func(ctx context.Context, c *api.Client) (names []string, err error) {
		r, err := c.ContainerInspect(ctx, sandbox, client.ContainerInspectOptions{})
		if err != nil || r.Container.NetworkSettings == nil {
			return nil, err
		}
		for p, at := range r.Container.NetworkSettings.Ports {
			if len(at) > 0 {
				names = append(names, p.String())
			}
		}
		slices.SortFunc(names, compareNatural)
		return names, nil
	}
}
