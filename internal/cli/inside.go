package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/api"
)

// listFlags are the flags of every listing of weft's own.
type listFlags struct {
	quiet, noTrunc bool
	format         string
	filters        mapFlag
	network        string
}

func (f *listFlags) bind(c *cobra.Command, filterHelp string) {
	f.filters.need = true
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "Only the first column")
	c.Flags().BoolVar(&f.noTrunc, "no-trunc", false, "Do not shorten anything")
	c.Flags().StringVar(&f.format, "format", "", formatHelp)
	c.Flags().VarP(&f.filters, "filter", "f", filterHelp)
}

// keep drops the rows that a filter excludes; a filter's key is a field's name,
// in any case.
func (f *listFlags) keep(c *cobra.Command, l listing, rows []record) ([]record, error) {
	for key, want := range f.filters.m {
		field := ""
		for name := range l.headings {
			if strings.EqualFold(name, key) {
				field = name
			}
		}
		if field == "" {
			return nil, usagef(c, "filter %q: not a field of this listing, expected one of %s", key,
				strings.ToLower(strings.Join(slices.Sorted(maps.Keys(l.headings)), ", ")))
		}
		rows = slices.DeleteFunc(rows, func(r record) bool { return !strings.EqualFold(fmt.Sprint(r[field]), want) })
	}
	return rows, nil
}

// ls wraps a listing as `weft NAME ls`; `weft NAME` alone does the same.
func ls(c *cobra.Command, f *listFlags, filterHelp string) *cobra.Command {
	sub := &cobra.Command{Use: "ls [FLAGS]", Aliases: []string{"list"}, Short: c.Short, Args: noArgs, RunE: c.RunE}
	for _, cmd := range []*cobra.Command{c, sub} {
		f.bind(cmd, filterHelp)
		cmd.Flags().StringVar(&f.network, "network", "", "Only this network")
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return group(c, args)
		}
		return nil
	}
	c.AddCommand(sub)
	return c
}

func (a *app) fdbCmd() *cobra.Command {
	var f listFlags
	c := &cobra.Command{Use: "fdb [ls]", Short: "List the switch's MAC addresses: which port each is behind"}
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		entries, err := cl.FDB(c.Context(), f.network)
		if err != nil {
			return err
		}
		slices.SortFunc(entries, func(x, y api.FDBEntry) int {
			if d := compareNatural(x.Network, y.Network); d != 0 {
				return d
			}
			return strings.Compare(x.MAC.String(), y.MAC.String())
		})
		rows := make([]record, 0, len(entries))
		for _, e := range entries {
			rows = append(rows, record{
				"Network": e.Network, "MAC": e.MAC.String(), "Port": e.Port, "Sandbox": e.Sandbox,
				"Type": entryType(e.Static), "Age": entryAge(e.Static, e.Age),
			})
		}
		return a.printList(c, &f, fdbListing(), rows)
	}
	return ls(c, &f, "Condition such as mac=02:42:0a:00:00:02, port=rose:eth0, sandbox=rose, type=static")
}

func fdbListing() listing {
	return listing{
		headings: headings{"Network": "NETWORK", "MAC": "MAC ADDRESS", "Port": "PORT", "Sandbox": "SANDBOX", "Type": "TYPE", "Age": "AGE"},
		table:    `{{.Network}}\t{{.MAC}}\t{{.Port}}\t{{.Type}}\t{{.Age}}`,
		quiet:    "{{.MAC}}",
	}
}

func (a *app) arpCmd() *cobra.Command {
	var f listFlags
	c := &cobra.Command{Use: "arp [ls]", Short: "List the neighbours that the switch answers ARP and ND for"}
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		entries, err := cl.ARP(c.Context(), f.network)
		if err != nil {
			return err
		}
		slices.SortFunc(entries, func(x, y api.Neighbour) int {
			if d := compareNatural(x.Network, y.Network); d != 0 {
				return d
			}
			return x.Addr.Compare(y.Addr)
		})
		rows := make([]record, 0, len(entries))
		for _, e := range entries {
			rows = append(rows, record{
				"Network": e.Network, "Address": e.Addr.String(), "MAC": e.MAC.String(), "Sandbox": e.Sandbox,
				"Type": entryType(e.Static), "Age": entryAge(e.Static, e.Age),
			})
		}
		return a.printList(c, &f, arpListing(), rows)
	}
	return ls(c, &f, "Condition such as address=10.0.0.2, mac=02:42:0a:00:00:02, sandbox=rose, type=static")
}

func arpListing() listing {
	return listing{
		headings: headings{"Network": "NETWORK", "Address": "ADDRESS", "MAC": "MAC ADDRESS", "Sandbox": "SANDBOX", "Type": "TYPE", "Age": "AGE"},
		table:    `{{.Network}}\t{{.Address}}\t{{.MAC}}\t{{.Sandbox}}\t{{.Type}}\t{{.Age}}`,
		quiet:    "{{.Address}}",
	}
}

// printList filters and prints.
func (a *app) printList(c *cobra.Command, f *listFlags, l listing, rows []record) error {
	rows, err := f.keep(c, l, rows)
	if err != nil {
		return err
	}
	return l.print(a.out, f.format, f.quiet, rows)
}

func entryType(static bool) string {
	if static {
		return "static"
	}
	return "learned"
}

func entryAge(static bool, age time.Duration) string {
	if static {
		return "-"
	}
	return age.Truncate(time.Second).String()
}
