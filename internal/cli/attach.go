package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"weft/internal/api"
)

// foreignFlags are the flags of `weft attach` for somebody else's namespace.
type foreignFlags struct {
	pid      int
	netns    string
	name     string
	networks netFlag
	labels   mapFlag
}

func (a *app) attachCmd() *cobra.Command {
	var f foreignFlags
	var noStdin, sigProxy bool
	var detachKeys string
	c := &cobra.Command{
		Use:   "attach --pid PID|--netns PATH --network NET [FLAGS] | attach [FLAGS] SANDBOX",
		Short: "Join somebody else's network namespace to networks, or this terminal to a sandbox",
		Long: "With --pid or --netns, weft makes interfaces in a network namespace that somebody else made (rootless Podman,\n" +
			"ip netns, unshare) and joins them to networks; `weft detach` takes them away. With a sandbox's name, the\n" +
			"terminal is joined to its command, as docker attach does.",
		Example: "  weft attach --pid $(podman inspect -f '{{.State.Pid}}' c1) --name c1 --network front\n" +
			"  weft attach --netns /run/netns/blue --network front,ip=10.0.0.9",
		Args: maxArgs(1, "SANDBOX"),
	}
	fl := c.Flags()
	fl.IntVar(&f.pid, "pid", 0, "Process whose network namespace is joined")
	fl.StringVar(&f.netns, "netns", "", "Path of the network namespace, such as /run/netns/blue, or blue for that")
	fl.StringVar(&f.name, "name", "", "Name for it (default one that weft chooses)")
	fl.Var(&f.networks, "network", "Network to join: NET[,ip=…,ip6=…,alias=…,mac=…]; repeatable")
	fl.VarP(&f.labels, "label", "l", "Label, as KEY[=VALUE]")
	fl.BoolVar(&noStdin, "no-stdin", false, "Do not attach stdin")
	fl.BoolVar(&sigProxy, "sig-proxy", true, "Pass signals on to the command")
	fl.StringVar(&detachKeys, "detach-keys", "", "Keys that detach (default "+defaultDetachKeys+")")
	c.RunE = func(c *cobra.Command, args []string) error {
		foreign := fl.Changed("pid") || fl.Changed("netns")
		switch {
		case foreign && len(args) > 0:
			return usagef(c, "a sandbox (%s) and --pid or --netns exclude each other", args[0])
		case foreign:
			return a.attachForeign(c, &f)
		case len(args) == 0:
			return usagef(c, "expected --pid PID or --netns PATH with --network NET, or a sandbox's name")
		}
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		return a.attachTo(c.Context(), cl, args[0], attachFlags{stdin: !noStdin, sigProxy: sigProxy, detachKeys: detachKeys})
	}
	return c
}

// check completes and refuses.
func (f *foreignFlags) check(c *cobra.Command) error {
	switch {
	case f.pid != 0 && f.netns != "":
		return usagef(c, "--pid and --netns exclude each other")
	case f.netns == "" && f.pid <= 0:
		return usagef(c, "--pid %d: expected the number of a running process", f.pid)
	case len(f.networks.list) == 0:
		return usagef(c, "--network is missing: a network to join")
	}
	for _, n := range f.networks.list {
		if n.name == "none" || n.name == "host" {
			return usagef(c, "--network %s: a namespace cannot be attached to it", n.name)
		}
	}
	if f.netns != "" && !filepath.IsAbs(f.netns) {
		if filepath.Base(f.netns) != f.netns {
			return usagef(c, "--netns %s: expected an absolute path, or a name in /run/netns", f.netns)
		}
		f.netns = filepath.Join("/run/netns", f.netns)
	}
	return nil
}

func (a *app) attachForeign(c *cobra.Command, f *foreignFlags) error {
	if err := f.check(c); err != nil {
		return err
	}
	cl, err := a.connect(true)
	if err != nil {
		return err
	}
	id, err := cl.AttachForeign(c.Context(), f.request())
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out, id)
	return nil
}

// request is the attachment in the API's words.
func (f *foreignFlags) request() api.AttachRequest {
	r := api.AttachRequest{Name: f.name, PID: f.pid, NetNS: f.netns, Labels: f.labels.m}
	for _, n := range f.networks.list {
		r.Networks = append(r.Networks, api.AttachNetwork{Network: n.name, EndpointConfig: n.settings()})
	}
	return r
}

func (a *app) detachCmd() *cobra.Command {
	return a.onSandboxes("detach NAME...", "Take weft's interfaces out of namespaces that were attached", "",
		func(ctx context.Context, c *api.Client, ref string) error { return c.DetachForeign(ctx, ref) })
}
