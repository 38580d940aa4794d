package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) statsCmd() *cobra.Command {
	var f listFlags
	var noStream bool
	c := &cobra.Command{
		Use: "stats [FLAGS] [SANDBOX...]", Short: "Show every port's counters: frames, bytes, drops and why",
		Long: "Show every port's counters. RX is what came from the sandbox, TX what went to it; a superframe counts once.\n" +
			"DROPPED counts both ways; WHY marks with tx: what was to go to the sandbox.\n" +
			"On a terminal they are shown anew every second; elsewhere, and with --no-stream, once.",
	}
	f.bind(c, "Condition such as network=front, port=rose:eth0")
	c.Flags().BoolVar(&noStream, "no-stream", false, "Show them once")
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		show := func(ctx context.Context) error {
			ports, err := portStats(ctx, cl, args)
			if err != nil {
				return err
			}
			rows := make([]record, 0, len(ports))
			for _, p := range ports {
				rows = append(rows, statsRecord(p))
			}
			return a.printList(c, &f, statsListing(), rows)
		}
		if noStream || !isTerminal(a.out) {
			return show(c.Context())
		}
		if _, err := portStats(c.Context(), cl, args); err != nil {
			return err // before the screen is cleared
		}
		return a.live(c.Context(), nil, show)
	}
	return c
}

// portStats asks for the counters of the sandboxes named, of all without names.
// A name that has no port is an error.
func portStats(ctx context.Context, c *api.Client, names []string) ([]api.PortStats, error) {
	ports, err := c.Stats(ctx)
	if err != nil {
		return nil, err
	}
	of := func(p api.PortStats, name string) bool {
		return p.Sandbox == name || p.Port == name || (len(name) >= 4 && strings.HasPrefix(p.SandboxID, name))
	}
	for _, n := range names {
		if !slices.ContainsFunc(ports, func(p api.PortStats) bool { return of(p, n) }) {
			return nil, noPort(n, ports)
		}
	}
	if len(names) > 0 {
		ports = slices.DeleteFunc(ports, func(p api.PortStats) bool {
			return !slices.ContainsFunc(names, func(n string) bool { return of(p, n) })
		})
	}
	slices.SortFunc(ports, func(x, y api.PortStats) int { return compareNatural(x.Port, y.Port) })
	return ports, nil
}

// noPort says of a name what it may have been meant as.
func noPort(name string, ports []api.PortStats) error {
	switch {
	case strings.Contains(name, "@"):
		return fmt.Errorf("%s is no sandbox's port: `weft peers ls` has the counters of tunnels", name)
	case slices.ContainsFunc(ports, func(p api.PortStats) bool { return p.Network == name }):
		return fmt.Errorf("no sandbox is named %q: for all of the network, --filter network=%s", name, name)
	}
	return fmt.Errorf("no port belongs to %q: is it running, and in a network?", name)
}

func statsListing() listing {
	return listing{
		headings: headings{
			"Port": "PORT", "Sandbox": "SANDBOX", "SandboxID": "SANDBOX ID", "Network": "NETWORK", "Interface": "INTERFACE",
			"MAC": "MAC ADDRESS", "Offload": "OFFLOAD", "Worker": "WORKER", "RxFrames": "RX FRAMES", "RxBytes": "RX BYTES",
			"TxFrames": "TX FRAMES", "TxBytes": "TX BYTES", "RxSize": "RX BYTES", "TxSize": "TX BYTES",
			"RxPackets": "RX PACKETS", "TxPackets": "TX PACKETS", "Dropped": "DROPPED", "Drops": "WHY",
		},
		table: `{{.Port}}\t{{.Network}}\t{{.RxFrames}}\t{{.RxSize}}\t{{.TxFrames}}\t{{.TxSize}}\t{{.Dropped}}\t{{.Drops}}`,
		quiet: "{{.Port}}",
	}
}

func statsRecord(p api.PortStats) record {
	total, why := drops(bothWays(p))
	return record{
		"Port": p.Port, "Sandbox": p.Sandbox, "SandboxID": p.SandboxID, "Network": p.Network, "Interface": p.IfName,
		"MAC": p.MAC.String(), "Offload": p.Rung, "Worker": p.Worker, "RxFrames": p.RxFrames, "RxBytes": p.RxBytes, "RxSize": bytesText(p.RxBytes),
		"TxFrames": p.TxFrames, "TxBytes": p.TxBytes, "TxSize": bytesText(p.TxBytes),
		"RxPackets": p.RxPackets, "TxPackets": p.TxPackets, "Dropped": total, "Drops": why,
	}
}

// bothWays are the drops of both directions in one map.
func bothWays(p api.PortStats) map[string]uint64 {
	all := maps.Clone(p.Drops)
	if all == nil {
		all = make(map[string]uint64, len(p.TxDrops))
	}
	for r, n := range p.TxDrops {
		all["tx:"+r] = n
	}
	return all
}

// drops sums drops and names the reasons, the most frequent first.
func drops(by map[string]uint64) (total uint64, why string) {
	var reasons []string
	for r, n := range by {
		if n > 0 {
			reasons = append(reasons, r)
			total += n
		}
	}
	slices.SortFunc(reasons, func(x, y string) int {
		if by[x] != by[y] {
			if by[x] > by[y] {
				return -1
			}
			return 1
		}
		return strings.Compare(x, y)
	})
	for i, r := range reasons {
		reasons[i] = fmt.Sprintf("%s=%d", r, by[r])
	}
	return total, strings.Join(reasons, " ")
}
