package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"weft/internal/api"
	"weft/internal/capture"
)

// captureTarget says which port or network a name means: SANDBOX:IFNAME, then a
// sandbox, then a network. A sandbox that does not run has no ports yet: the
// capture begins with it.
func (a *app) captureTarget(ctx context.Context, c *api.Client, name string) (port, net string, err error) {
	if name == "" {
		return "", "", nil
	}
	if strings.Contains(name, "@") {
		return name, "", nil // a tunnel, NETWORK@PEER, or a way out, NETWORK@uplink
	}
	sandbox, ifName, onePort := strings.Cut(name, ":")
	s, err := c.ContainerInspect(ctx, sandbox, client.ContainerInspectOptions{})
	switch {
	case err == nil:
		sandbox = strings.TrimPrefix(s.Container.Name, "/")
		running := s.Container.State != nil && s.Container.State.Running
		if !running {
			fmt.Fprintf(a.err, "weft: %s is not running: there is nothing to capture until it starts\n", sandbox)
		}
		if !onePort {
			return sandbox, "", nil
		}
		if running {
			err = hasInterface(ctx, c, sandbox, ifName)
		}
		return sandbox + ":" + ifName, "", err
	case !errdefs.IsNotFound(err):
		return "", "", err
	case onePort:
		return "", "", fmt.Errorf("no sandbox is named %q: `weft ps` lists them", sandbox)
	}
	if _, err := c.NetworkInspect(ctx, name, client.NetworkInspectOptions{}); err != nil {
		if errdefs.IsNotFound(err) {
			return "", "", noTarget(name)
		}
		return "", "", err
	}
	return "", name, nil
}

// noTarget says that a name is nobody's, and what was meant if it is an expression.
func noTarget(name string) error {
	hint := ""
	if _, err := capture.ParseFilter(name); err == nil {
		hint = fmt.Sprintf("; as an expression for every port, give it with -f, as in `weft capture -f %s`", name)
	}
	return fmt.Errorf("no sandbox or network is named %q: `weft ps` and `weft network ls` list them%s", name, hint)
}

// hasInterface refuses an interface that a running sandbox does not have.
func hasInterface(ctx context.Context, c *api.Client, sandbox, ifName string) error {
	stats, err := c.Stats(ctx)
	if err != nil {
		return err
	}
	return findInterface(stats, sandbox, ifName)
}

func findInterface(stats []api.PortStats, sandbox, ifName string) error {
	var has []string
	for _, p := range stats {
		if p.Sandbox == sandbox {
			has = append(has, p.IfName)
		}
	}
	if slices.Contains(has, ifName) {
		return nil
	}
	slices.SortFunc(has, compareNatural)
	if len(has) == 0 {
		return fmt.Errorf("sandbox %s has no interface %q: it is in no network of the switch", sandbox, ifName)
	}
	return fmt.Errorf("sandbox %s has no interface %q, it has %s", sandbox, ifName, strings.Join(has, ", "))
}
