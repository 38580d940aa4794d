package cli

import (
	"fmt"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/capture"
	"weft/internal/cnm"
	"weft/internal/lab"
)

// traceLab asks a switch made from a lab file.
func (a *app) traceLab(c *cobra.Command, f *traceFlags, what string) error {
	l, err := lab.Load(f.lab)
	if err != nil {
		return err
	}
	r := api.TraceRequest{Port: f.port}
	if isDescription(what) {
		neighbours, stats := labTables(l)
		if r, err = resolve(what, f.port, neighbours, stats); err != nil {
			return err
		}
	} else if r.Frame, err = readFrame(what); err != nil {
		return err
	}
	if r.Port == "" {
		return usagef(c, "--port is missing: a port of %s that the frame comes from", f.lab)
	}
	t, err := lab.Trace(l, r.Port, r.Frame)
	if err != nil {
		return err
	}
	if f.format == "" {
		fmt.Fprintf(a.out, "from %s: %s\n\n", r.Port, capture.Summary(r.Frame))
	}
	rows := make([]record, 0, len(t.Steps)+1)
	for _, s := range t.Steps {
		rows = append(rows, record{"Step": s.Name, "Result": s.Result})
	}
	verdict := t.Verdict.String()
	if t.Reason != 0 {
		verdict += ": " + t.Reason.String()
	}
	rows = append(rows, record{"Step": "verdict", "Result": verdict})
	return traceListing().print(a.out, f.format, false, rows)
}

// labTables are a lab's neighbours and ports as a daemon would list them.
func labTables(l *lab.Lab) ([]api.Neighbour, []api.PortStats) {
	var neighbours []api.Neighbour
	var stats []api.PortStats
	for _, n := range l.Networks {
		for _, p := range n.Resolved {
			if p.Gateway.Is4() {
				mac := cnm.MACFromIPv4(p.Gateway)
				neighbours = append(neighbours, api.Neighbour{Network: n.Name, Addr: p.Gateway, MAC: network.HardwareAddr(mac[:]), Static: true})
			}
		}
	}
	for _, p := range l.Ports {
		if p.Underlay {
			continue
		}
		stats = append(stats, api.PortStats{Port: p.Name, Sandbox: p.Name, Network: p.Network, MAC: network.HardwareAddr(p.MAC[:])})
		for _, addr := range p.Addrs {
			neighbours = append(neighbours, api.Neighbour{
				Network: p.Network, Addr: addr, MAC: network.HardwareAddr(p.MAC[:]), Sandbox: p.Name, Static: true,
			})
		}
	}
	return neighbours, stats
}
