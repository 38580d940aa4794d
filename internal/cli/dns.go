package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) dnsCmd() *cobra.Command {
	var f listFlags
	c := &cobra.Command{
		Use: "dns [ls]", Short: "List the names that sandboxes find each other by; ask for one; write some down",
		Long: "List every record of this node's name service: of sandboxes here and, on networks of the swarm, on other nodes, and those written down with\n" +
			"\"weft dns add\". A sandbox is answered with those of its own networks, and with those of no network (-). ANSWERED is no where an owner that serves goes first.",
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		records, err := cl.DNSRecords(c.Context(), f.network)
		if err != nil {
			return err
		}
		return a.printList(c, &f, dnsListing(), dnsRecords(records))
	}
	both := ls(c, &f, "Condition such as type=A, origin=static, owner=rose")
	for _, sub := range both.Commands() {
		sub.Short, sub.Long = "List the names that sandboxes find each other by", c.Long
	}
	both.AddCommand(a.dnsQueryCmd(), a.dnsAddCmd(), a.dnsRmCmd(), a.dnsStatsCmd())
	return both
}

func dnsListing() listing {
	return listing{
		headings: headings{
			"Name": "NAME", "Type": "TYPE", "TTL": "TTL", "Value": "VALUE", "Network": "NETWORK", "Origin": "ORIGIN", "Owner": "OWNER", "OwnerID": "OWNER ID",
			"Node": "NODE", "State": "STATE", "Answered": "ANSWERED",
		},
		table: `{{.Network}}\t{{.Name}}\t{{.Type}}\t{{.TTL}}\t{{.Value}}\t{{.Origin}}\t{{.Owner}}\t{{.Node}}\t{{.Answered}}`,
		quiet: "{{.Name}}",
	}
}

func dnsRecords(records []api.DNSRecord) []record {
	rows := make([]record, 0, len(records))
	for _, r := range records {
		rows = append(rows, record{
			"Name": r.Name, "Type": r.Type, "TTL": r.TTL, "Value": r.Value, "Network": cmp.Or(r.Network, "-"), "Origin": r.Origin, "Owner": r.Owner, "OwnerID": r.OwnerID,
			"Node": cmp.Or(r.Node, "-"), "State": r.State, "Answered": map[bool]string{true: "yes", false: "no"}[r.Answered],
		})
	}
	return rows
}

func (a *app) dnsQueryCmd() *cobra.Command {
	var from string
	c := &cobra.Command{
		Use: "query [FLAGS] NAME [TYPE]", Short: "Ask for a name as a sandbox does", Args: rangeArgs(1, 2, "NAME, TYPE"),
		Long: "Ask for a name as a sandbox does, its networks, links and servers counting; without --from all networks of this node are looked through, and no other\n" +
			"server is asked. Exits with 1 where there is no answer.",
	}
	c.Flags().StringVar(&from, "from", "", "Sandbox that asks")
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		kind := "A"
		if len(args) > 1 {
			kind = args[1]
		}
		answer, err := cl.DNSQuery(c.Context(), from, args[0], kind)
		if err != nil {
			return err
		}
		for _, r := range answer.Records {
			fmt.Fprintln(a.out, r)
		}
		if len(answer.Records) == 0 {
			return fmt.Errorf("%s %s: no records (%s)", args[0], kind, answer.Status)
		}
		return nil
	}
	return c
}

func (a *app) dnsAddCmd() *cobra.Command {
	s := api.DNSStatic{}
	ttl := ""
	c := &cobra.Command{
		Use: "add [FLAGS] NAME TYPE VALUE...", Short: "Write down records: A, AAAA, CNAME, TXT, SRV, PTR", Args: minArgs(3, "NAME TYPE VALUE"),
		Long: "Write down records for the sandboxes of this node: those on one network or, without --network, all that have a name server of their own. They replace\n" +
			"what was written down for the same name and type, and outlive the daemon. A sandbox's name goes before one of no network. \"*.NAME\" stands for all below NAME that\n" +
			"there is nothing else of; a PTR record's name may be an address, an SRV record's value is PRIORITY WEIGHT PORT TARGET.\n" +
			"Other nodes of a swarm have records of their own.",
	}
	c.Flags().StringVar(&s.Network, "network", "", "Only for sandboxes on this network")
	c.Flags().StringVar(&ttl, "ttl", "", "Seconds that an answer may be kept (default 5)")
	c.RunE = func(c *cobra.Command, args []string) error {
		if ttl != "" {
			n, err := strconv.ParseUint(ttl, 10, 31)
			if err != nil {
				return usagef(c, "--ttl %s: expected seconds, 0 to %d", ttl, 1<<31-1)
			}
			seconds := uint32(n)
			s.TTL = &seconds
		}
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		s.Name, s.Type, s.Values = args[0], args[1], args[2:]
		warnings, err := cl.DNSAdd(c.Context(), s)
		for _, w := range warnings {
			fmt.Fprintln(a.err, "WARNING: "+w)
		}
		return err
	}
	return c
}

func (a *app) dnsRmCmd() *cobra.Command {
	var network string
	c := &cobra.Command{Use: "rm [FLAGS] NAME [TYPE]", Aliases: []string{"remove"}, Short: "Take back records that were written down", Args: rangeArgs(1, 2, "NAME, TYPE")}
	c.Flags().StringVar(&network, "network", "", "Network that they were written down for")
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		kind := ""
		if len(args) > 1 {
			kind = args[1]
		}
		if err := cl.DNSRemove(c.Context(), network, args[0], kind); err != nil {
			return err
		}
		fmt.Fprintln(a.out, args[0])
		return nil
	}
	return c
}

func (a *app) dnsStatsCmd() *cobra.Command {
	var f listFlags
	c := &cobra.Command{
		Use: "stats [FLAGS]", Short: "Count what the name service has answered, forwarded and refused; say which names several answer to", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect(false)
			if err != nil {
				return err
			}
			stats, err := cl.DNSStats(c.Context())
			if err != nil {
				return err
			}
			rows := make([]record, 0, len(stats.Counts))
			for _, name := range slices.Sorted(maps.Keys(stats.Counts)) {
				rows = append(rows, record{"Counter": name, "Count": stats.Counts[name]})
			}
			for _, w := range stats.Conflicts {
				fmt.Fprintln(a.err, "WARNING: "+w)
			}
			return a.printList(c, &f, listing{
				headings: headings{"Counter": "COUNTER", "Count": "COUNT"}, table: `{{.Counter}}\t{{.Count}}`, quiet: "{{.Counter}}",
			}, rows)
		},
	}
	f.bind(c, "Condition such as counter=queries-udp")
	return c
}
