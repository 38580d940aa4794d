package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/cnm"
)

func (a *app) networkCmd() *cobra.Command {
	c := &cobra.Command{Use: "network COMMAND", Short: "Make, look at and join networks", Args: cobra.ArbitraryArgs, RunE: group}
	c.AddCommand(a.networkCreateCmd(), a.networkLsCmd(), a.networkInspectCmd(), a.networkRmCmd(),
		a.networkConnectCmd(), a.networkDisconnectCmd(), a.networkPruneCmd())
	return c
}

func (a *app) networkLsCmd() *cobra.Command {
	var quiet, noTrunc bool
	var format string
	var filter filterFlag
	c := &cobra.Command{Use: "ls [FLAGS]", Aliases: []string{"list"}, Short: "List networks", Args: noArgs}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "IDs only")
	c.Flags().BoolVar(&noTrunc, "no-trunc", false, "Do not shorten IDs")
	c.Flags().StringVar(&format, "format", "", formatHelp)
	c.Flags().VarP(&filter, "filter", "f", "Condition such as name=front, driver=bridge, type=custom, scope=local, label=k=v, id=, dangling=true")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(true)
		if err != nil {
			return err
		}
		r, err := cl.NetworkList(c.Context(), client.NetworkListOptions{Filters: filter.f})
		if err != nil {
			return err
		}
		slices.SortFunc(r.Items, func(x, y network.Summary) int { return compareNatural(x.Name, y.Name) })
		rows := make([]record, 0, len(r.Items))
		for _, n := range r.Items {
			rows = append(rows, networkRecord(n, noTrunc))
		}
		return networkListing().print(a.out, format, quiet, rows)
	}
	return c
}

// networkListing has the columns of docker network ls, its fields, and Encrypted.
func networkListing() listing {
	return listing{
		headings: headings{
			"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
			"Internal": "INTERNAL", "Encrypted": "ENCRYPTED", "Labels": "LABELS", "CreatedAt": "CREATED AT",
		},
		table: `{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}`,
		quiet: "{{.ID}}",
	}
}

func networkRecord(n network.Summary, noTrunc bool) record {
	_, encrypted := n.Options[cnm.OptEncrypted]
	encrypted = encrypted && n.Driver == cnm.DriverOverlay
	return record{
		"ID": shortID(n.ID, noTrunc), "Name": n.Name, "Driver": n.Driver, "Scope": n.Scope,
		"IPv4": fmt.Sprint(n.EnableIPv4), "IPv6": fmt.Sprint(n.EnableIPv6), "Internal": fmt.Sprint(n.Internal), "Encrypted": fmt.Sprint(encrypted),
		"Labels": labelSet(n.Labels), "CreatedAt": n.Created.String(),
	}
}

func (a *app) networkInspectCmd() *cobra.Command {
	var format string
	var verbose bool
	c := &cobra.Command{Use: "inspect [FLAGS] NETWORK...", Short: "Show everything about networks, as JSON", Args: minArgs(1, "NETWORK")}
	c.Flags().StringVarP(&format, "format", "f", "", "json, or a Go TEMPLATE")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "Services and tasks too")
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := a.connect(true)
		if err != nil {
			return err
		}
		return a.inspectEach(args, format, func(ref string) (inspected, error) {
			return inspectNetwork(c.Context(), cl, ref, verbose)
		})
	}
	return c
}

func (a *app) networkRmCmd() *cobra.Command {
	var force bool
	c := &cobra.Command{Use: "rm [FLAGS] NETWORK...", Aliases: []string{"remove"}, Short: "Remove networks", Args: minArgs(1, "NETWORK")}
	c.Flags().BoolVarP(&force, "force", "f", false, "No error for a network that does not exist")
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := a.connect(true)
		if err != nil {
			return err
		}
		return a.each(args, func(ref string) error {
			_, err := cl.NetworkRemove(c.Context(), ref, client.NetworkRemoveOptions{})
			if force && errdefs.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	return c
}

func (a *app) networkPruneCmd() *cobra.Command {
	var force bool
	var filter filterFlag
	c := &cobra.Command{Use: "prune [FLAGS]", Short: "Remove all networks that nothing uses", Args: noArgs}
	c.Flags().BoolVarP(&force, "force", "f", false, "Do not ask")
	c.Flags().Var(&filter, "filter", "Only those where until=TIME, label=k=v or label!=k=v holds")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(true)
		if err != nil {
			return err
		}
		if !force && !a.confirm("WARNING! This will remove all custom networks not used by at least one sandbox.") {
			return errAborted
		}
		r, err := cl.NetworkPrune(c.Context(), client.NetworkPruneOptions{Filters: filter.f})
		if err != nil {
			return err
		}
		if len(r.Report.NetworksDeleted) > 0 {
			fmt.Fprintf(a.out, "Deleted Networks:\n%s\n\n", strings.Join(r.Report.NetworksDeleted, "\n"))
		}
		return nil
	}
	return c
}

// errAborted: the user said no.
var errAborted = errors.New("nothing was done")

// confirm asks a question that only "y" answers with yes.
func (a *app) confirm(what string) bool { return a.confirmOn(a.out, what) }

// confirmOn asks on a stream of the caller's.
func (a *app) confirmOn(w io.Writer, what string) bool {
	fmt.Fprintf(w, "%s\nAre you sure you want to continue? [y/N] ", what)
	line, _ := bufio.NewReader(a.in).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(line), "y")
}
