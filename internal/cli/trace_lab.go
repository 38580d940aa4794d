package cli

import (
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/cnm"
	"weft/internal/lab"
)

// traceLab asks a switch made from a lab file.
func (a *app) traceLab(c *cobra.Command, f *traceFlags, what string) error {
	l, err := lab.Load(f.lab)
	if err != nil {
		return err
	}
	r, note := api.TraceRequest{Port: f.port}, ""
	if isDescription(what) {
		if r, note, err = labSurroundings(l).resolve(what, f.port); err != nil {
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
	rows := make([]record, 0, len(t.Steps)+1)
	for _, s := range t.Steps {
		rows = append(rows, record{"Step": s.Name, "Result": s.Result})
	}
	verdict := t.Verdict.String()
	if t.Reason != 0 {
		verdict += ": " + t.Reason.String()
	}
	rows = append(rows, record{"Step": "verdict", "Result": verdict})
	return a.printTrace(r, note, f.format, rows)
}

// labSurroundings are a lab's neighbours, ports and subnets as a daemon would
// list them.
func labSurroundings(l *lab.Lab) *surroundings {
	s := surroundings{nobody: l.Path + " has no port of that name"}
	for _, n := range l.Networks {
		i := slices.IndexFunc(n.Resolved, func(p cnm.Pool) bool { return p.Gateway.Is4() })
		for _, p := range n.Resolved {
			s.subnets = append(s.subnets, subnet{network: n.Name, prefix: p.Subnet, gateway: p.Gateway})
			if i >= 0 && p.Gateway.IsValid() {
				mac := cnm.MACFromIPv4(n.Resolved[i].Gateway) // it has one for both families
				s.neighbours = append(s.neighbours, api.Neighbour{Network: n.Name, Addr: p.Gateway, MAC: network.HardwareAddr(mac[:]), Static: true})
			}
		}
	}
	var names []string
	for _, p := range l.Ports {
		if p.Underlay {
			continue
		}
		if p.Outside {
			p.Network = p.Name
			s.outside(l, p)
		}
		names = append(names, p.Name)
		s.ports = append(s.ports, api.PortStats{Port: p.Name, Sandbox: p.Name, Network: p.Network, MAC: network.HardwareAddr(p.MAC[:])})
		for _, addr := range p.Addrs {
			s.neighbours = append(s.neighbours, api.Neighbour{
				Network: p.Network, Addr: addr, MAC: network.HardwareAddr(p.MAC[:]), Sandbox: p.Name, Static: true,
			})
		}
	}
	if len(names) > 0 {
		s.nobody += ", it has " + strings.Join(names, ", ")
	}
	return &s
}

// outside adds what whoever is outside knows of it: a network by the name of the port, on
// which the node has its addresses.
func (s *surroundings) outside(l *lab.Lab, p lab.Port) {
	for i := range l.Nodes {
		n := &l.Nodes[i]
		if n.Name != p.Node && len(l.Nodes) > 1 {
			continue
		}
		mac := n.UplinkMAC()
		for _, a := range n.UplinkAddrs {
			s.subnets = append(s.subnets, subnet{network: p.Network, prefix: a.Masked()})
			s.neighbours = append(s.neighbours, api.Neighbour{Network: p.Network, Addr: a.Addr(), MAC: network.HardwareAddr(mac[:]), Static: true})
		}
	}
}
