package cli

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) conntrackCmd() *cobra.Command {
	var f listFlags
	c := &cobra.Command{
		Use: "conntrack [ls]", Short: "List the connections between sandboxes and the world outside; end them; count what was refused",
		Long: "List the connections between sandboxes and the world outside, one row for each. ENDPOINT and REMOTE are its ends as the sandbox sees them,\n" +
			"PUBLISHED is the published port by which it came in (- if the sandbox began it), SENT and RECEIVED the payload from and to the sandbox.\n" +
			"Of echo requests the endpoint's port is their identifier. A packet uplink counts neither bytes nor ages: - stands for them.",
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		flows, err := cl.Flows(c.Context(), f.network)
		if err != nil {
			return err
		}
		return a.printList(c, &f, flowListing(), flowRecords(flows))
	}
	both := ls(c, &f, "Condition such as proto=tcp, state=established, sandbox=rose")
	for _, sub := range both.Commands() {
		sub.Short, sub.Long = "List the connections between sandboxes and the world outside", c.Long
	}
	both.AddCommand(a.conntrackFlushCmd(), a.conntrackStatsCmd())
	return both
}

func flowListing() listing {
	return listing{
		headings: headings{
			"Proto": "PROTO", "State": "STATE", "Sandbox": "SANDBOX", "Network": "NETWORK", "Endpoint": "ENDPOINT", "Remote": "REMOTE", "Published": "PUBLISHED",
			"Sent": "SENT", "Received": "RECEIVED", "SentBytes": "SENT BYTES", "ReceivedBytes": "RECEIVED BYTES", "Age": "AGE", "Idle": "IDLE",
		},
		table: `{{.Proto}}\t{{.State}}\t{{.Sandbox}}\t{{.Endpoint}}\t{{.Remote}}\t{{.Published}}\t{{.Sent}}\t{{.Received}}\t{{.Age}}\t{{.Idle}}`,
		quiet: "{{.Endpoint}}",
	}
}

func flowRecords(flows []api.Flow) []record {
	rows := make([]record, 0, len(flows))
	for _, f := range flows {
		sent, received, age := "-", "-", "-"
		if f.Age > 0 {
			sent, received, age = bytesText(f.TxBytes), bytesText(f.RxBytes), units.HumanDuration(f.Age)
		}
		rows = append(rows, record{
			"Proto": f.Proto, "State": f.State, "Sandbox": cmp.Or(f.Sandbox, "-"), "Network": f.Network, "Endpoint": f.Endpoint.String(), "Remote": f.Remote.String(),
			"Published": addrOrDash(f.Published), "Sent": sent, "Received": received, "SentBytes": f.TxBytes, "ReceivedBytes": f.RxBytes,
			"Age": age, "Idle": units.HumanDuration(f.Idle),
		})
	}
	return rows
}

func addrOrDash(a netip.AddrPort) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

func (a *app) conntrackFlushCmd() *cobra.Command {
	var network string
	c := &cobra.Command{
		Use: "flush [FLAGS] [SANDBOX...]", Short: "End connections: those of sandboxes, of a network, or all",
		Long: "End the connections that sandboxes have with the world outside. With the host uplink both ends of a TCP connection are told by a reset; a packet\n" +
			"uplink forgets them, and knows their packets no more.",
	}
	c.Flags().StringVar(&network, "network", "", "Only those by this network's way out")
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			args = []string{""}
		}
		total := 0
		for _, name := range args {
			n, err := cl.FlushFlows(c.Context(), network, name)
			if err != nil {
				return err
			}
			total += n
		}
		fmt.Fprintln(a.out, total)
		return nil
	}
	return c
}

func (a *app) conntrackStatsCmd() *cobra.Command {
	var f listFlags
	c := &cobra.Command{
		Use: "stats [FLAGS]", Short: "Show for each network what its way out carries, and what was refused there", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect(false)
			if err != nil {
				return err
			}
			stats, err := cl.UplinkStats(c.Context())
			if err != nil {
				return err
			}
			return a.printList(c, &f, uplinkListing(), uplinkRecords(stats))
		},
	}
	f.bind(c, "Condition such as network=bridge")
	return c
}

func uplinkListing() listing {
	return listing{
		headings: headings{
			"Network": "NETWORK", "TCP": "TCP", "UDP": "UDP", "ICMP": "ICMP", "Sent": "SENT", "Received": "RECEIVED",
			"SentBytes": "SENT BYTES", "ReceivedBytes": "RECEIVED BYTES", "Refused": "REFUSED", "Counts": "WHY",
		},
		table: `{{.Network}}\t{{.TCP}}\t{{.UDP}}\t{{.ICMP}}\t{{.Sent}}\t{{.Received}}\t{{.Refused}}\t{{.Counts}}`,
		quiet: "{{.Network}}",
	}
}

// uplinkRecords are the rows, by network.
func uplinkRecords(stats []api.UplinkStats) []record {
	slices.SortStableFunc(stats, func(x, y api.UplinkStats) int { return compareNatural(x.Network, y.Network) })
	rows := make([]record, 0, len(stats))
	for _, u := range stats {
		refused, why := drops(u.Counts)
		rows = append(rows, record{
			"Network": u.Network, "TCP": u.TCP, "UDP": u.UDP, "ICMP": u.ICMP, "Sent": bytesText(u.TxBytes), "Received": bytesText(u.RxBytes),
			"SentBytes": u.TxBytes, "ReceivedBytes": u.RxBytes, "Refused": refused, "Counts": why,
		})
	}
	return rows
}
