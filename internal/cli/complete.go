package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weft/internal/api"
)

// What the shell offers at the tab key. A daemon that runs is asked for names;
// without one there are none, and none is started.

// A namer lists the names that an argument may be.
type namer func(context.Context, *api.Client) ([]string, error)

// completions are what a command's arguments are names of, in order; the last
// one goes for all that follow where more are taken.
type completions struct {
	path  string // without the binary's name
	names []namer
	more  bool
}

func completionTable() []completions {
	live, any, nets, both := sandboxNames(false), sandboxNames(true), networkNames, namesOf(sandboxNames(true), networkNames)
	return []completions{
		{"exec", []namer{live}, false}, {"stop", []namer{live}, true}, {"kill", []namer{live}, true}, {"restart", []namer{any}, true},
		{"start", []namer{any}, true}, {"rm", []namer{any}, true}, {"wait", []namer{any}, true}, {"logs", []namer{any}, false},
		{"rename", []namer{any}, false}, {"inspect", []namer{both}, true}, {"port", []namer{live}, false}, {"attach", []namer{live}, false}, {"detach", []namer{any}, true},
		{"stats", []namer{live}, true}, {"top", []namer{live}, true}, {"capture", []namer{both}, false}, {"conntrack flush", []namer{live}, true},
		{"network inspect", []namer{nets}, true}, {"network rm", []namer{nets}, true},
		{"network connect", []namer{nets, any}, false}, {"network disconnect", []namer{nets, any}, false},
		{"node inspect", []namer{namesOf(words("self"), nodeNames)}, true}, {"node update", []namer{nodeNames}, false},
		{"node promote", []namer{nodeNames}, true}, {"node demote", []namer{nodeNames}, true}, {"node rm", []namer{nodeNames}, true},
	}
}

// complete gives the commands of the table, and every --network, what to offer.
func (a *app) complete(root *cobra.Command) {
	for _, t := range completionTable() {
		c, _, err := root.Find(strings.Fields(t.path))
		if err != nil || c == root {
			continue
		}
		c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			i := len(args)
			if t.more {
				i = min(i, len(t.names)-1)
			}
			switch {
			case i < len(t.names):
				return a.offer(c.Context(), t.names[i], args)
			case c.Name() == "port" && i == 1:
				return a.offer(c.Context(), portsOf(args[0]), nil)
			case c.Name() == "exec":
				return nil, cobra.ShellCompDirectiveDefault // a command and its files
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
	}
	a.completeFlags(root)
}

// flagWords are the words of flags that are no [choice].
var flagWords = map[string][]string{
	"driver": {"bridge", "overlay"}, "ipam-driver": {"default", "null"}, "scope": {"local", "swarm"}, "type": {"container", "network"},
	"log-level": {"debug", "info", "warn", "error"}, "log-format": {"text", "json"}, "tap-offload": {"uso", "tso", "plain", "water"}, "esp-encapsulation": {"udp", "ip"}, "aes": {"wide", "standard"},
	"gossip-profile": {"lan", "wan"},
}

// completeFlags has every --network offer networks, and flags of fixed words those.
func (a *app) completeFlags(c *cobra.Command) {
	for _, sub := range c.Commands() {
		a.completeFlags(sub)
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		list := flagWords[f.Name]
		if v, ok := f.Value.(*choice); ok {
			list = v.words
		}
		if list != nil && f.Value.Type() != "bool" {
			_ = c.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp))
		}
	})
	if c.Flags().Lookup("network") == nil {
		return
	}
	// The error is that of a flag which is not there, or has a function already.
	_ = c.RegisterFlagCompletionFunc("network", func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.offer(c.Context(), networkNames, nil)
	})
}

// offer asks for names, without those that stand there already.
func (a *app) offer(ctx context.Context, names namer, given []string) ([]string, cobra.ShellCompDirective) {
	if ctx == nil {
		ctx = context.Background()
	}
	cl, err := a.connect(false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer cl.Close()
	all, err := names(ctx, cl)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all = slices.DeleteFunc(all, func(s string) bool { return slices.Contains(given, s) })
	return all, cobra.ShellCompDirectiveNoFileComp
}

func sandboxNames(all bool) namer {
	return func(ctx context.Context, c *api.Client) ([]string, error) {
		r, err := c.ContainerList(ctx, client.ContainerListOptions{All: all})
		if err != nil {
			return nil, err
		}
		var names []string
		for _, s := range r.Items {
			for _, n := range s.Names {
				names = append(names, strings.TrimPrefix(n, "/"))
			}
		}
		return names, nil
	}
}

func networkNames(ctx context.Context, c *api.Client) ([]string, error) {
	r, err := c.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, nw := range r.Items {
		names = append(names, nw.Name)
	}
	return names, nil
}

func nodeNames(ctx context.Context, c *api.Client) ([]string, error) {
	r, err := c.NodeList(ctx, client.NodeListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range r.Items {
		names = append(names, n.Description.Hostname)
	}
	return names, nil
}

// words are names that nobody has to be asked for.
func words(list ...string) namer {
	return func(context.Context, *api.Client) ([]string, error) { return slices.Clone(list), nil }
}

// namesOf lists those of several.
func namesOf(each ...namer) namer {
	return func(ctx context.Context, c *api.Client) (all []string, err error) {
		for _, f := range each {
			names, err := f(ctx, c)
			if err != nil {
				return nil, err
			}
			all = append(all, names...)
		}
		return all, nil
	}
}
