package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) topCmd() *cobra.Command {
	var f listFlags
	c := &cobra.Command{
		Use: "top [FLAGS] [SANDBOX...]", Short: "Show which ports are busy now",
		Long: "Show every port's rates, the busiest first, anew every second on a terminal until q is typed, and once\n" +
			"elsewhere. RX is what came from the sandbox, TX what went to it.",
	}
	f.bind(c, "Condition such as network=front, sandbox=rose")
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		last, err := takeSample(c.Context(), cl, args)
		if err != nil {
			return err
		}
		live := isTerminal(a.out)
		show := func(ctx context.Context) error {
			now, err := takeSample(ctx, cl, args)
			if err != nil {
				return err
			}
			rows := rateRecords(last, now)
			last = now
			height := 0
			if _, h, ok := terminalSize(a.out, a.in); ok && live {
				fmt.Fprintf(a.out, "weft top  %s  %d ports\n\n", now.at.Format(time.TimeOnly), len(rows))
				height = h - 4
			}
			if height > 0 && len(rows) > height {
				rows = rows[:height]
			}
			return a.printList(c, &f, rateListing(), rows)
		}
		time.Sleep(refresh / 2) // a rate needs two samples
		if !live {
			return show(c.Context())
		}
		return a.live(c.Context(), a.in, show)
	}
	return c
}

// A sample is every port's counters at one moment.
type sample struct {
	at    time.Time
	ports []api.PortStats
}

func takeSample(ctx context.Context, c *api.Client, names []string) (sample, error) {
	p, err := portStats(ctx, c, names)
	return sample{at: time.Now(), ports: p}, err
}

// A rate is one port's change between two samples.
type rate struct {
	p              api.PortStats
	rx, tx         float64 // bytes per second
	rxf, txf, drop float64 // frames per second
}

// rates compares samples; a port that the first one lacks begins at zero. The
// busiest port comes first.
func rates(from, to sample) []rate {
	before := make(map[string]api.PortStats, len(from.ports))
	for _, p := range from.ports {
		before[p.SandboxID+p.Port] = p
	}
	seconds := to.at.Sub(from.at).Seconds()
	per := func(now, then uint64) float64 {
		if now < then || seconds <= 0 {
			return 0
		}
		return float64(now-then) / seconds
	}
	out := make([]rate, 0, len(to.ports))
	for _, p := range to.ports {
		b := before[p.SandboxID+p.Port]
		now, _ := drops(bothWays(p))
		then, _ := drops(bothWays(b))
		out = append(out, rate{
			p: p, rx: per(p.RxBytes, b.RxBytes), tx: per(p.TxBytes, b.TxBytes),
			rxf: per(p.RxFrames, b.RxFrames), txf: per(p.TxFrames, b.TxFrames), drop: per(now, then),
		})
	}
	slices.SortStableFunc(out, func(x, y rate) int {
		switch a, b := x.rx+x.tx, y.rx+y.tx; {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return 0
	})
	return out
}

func rateRecords(from, to sample) []record {
	var rows []record
	for _, r := range rates(from, to) {
		rows = append(rows, record{
			"Port": r.p.Port, "Sandbox": r.p.Sandbox, "Network": r.p.Network, "Worker": r.p.Worker, "Offload": r.p.Rung,
			"RxRate": rateText(r.rx), "TxRate": rateText(r.tx), "RxBytes": whole(r.rx), "TxBytes": whole(r.tx),
			"RxFrames": whole(r.rxf), "TxFrames": whole(r.txf), "Drops": whole(r.drop),
		})
	}
	return rows
}

func whole(perSecond float64) uint64 { return uint64(math.Round(perSecond)) }

func rateListing() listing {
	return listing{
		headings: headings{
			"Port": "PORT", "Sandbox": "SANDBOX", "Network": "NETWORK", "Worker": "WORKER", "Offload": "OFFLOAD",
			"RxRate": "RX", "TxRate": "TX", "RxBytes": "RX BYTES/S", "TxBytes": "TX BYTES/S",
			"RxFrames": "RX FRAMES/S", "TxFrames": "TX FRAMES/S", "Drops": "DROPS/S",
		},
		table: `{{.Port}}\t{{.Network}}\t{{.RxRate}}\t{{.TxRate}}\t{{.RxFrames}}\t{{.TxFrames}}\t{{.Drops}}\t{{.Offload}}`,
		quiet: "{{.Port}}",
	}
}
