package node

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/vswitch"
)

// gatewayPort is what the switch's own presence on a network is called where
// ports are listed.
const gatewayPort = "gateway"

// portNames maps the ports of the switch to the names users know, which follow
// renames.
func (n *Node) portNames() map[portKey]PortStats {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make(map[portKey]PortStats)
	for _, b := range n.boxes {
		for _, e := range b.sb.Endpoints {
			out[portKey{b.sb.ID, e.IfName}] = PortStats{
				Port: b.sb.Spec.Name + ":" + e.IfName, Sandbox: b.sb.Spec.Name, SandboxID: b.sb.ID,
				Network: e.Network, IfName: e.IfName, MAC: e.MAC,
			}
		}
	}
	return out
}

// Stats returns the counters of every port, by port name.
func (n *Node) Stats() []PortStats {
	names := n.portNames()
	n.path.mu.Lock()
	defer n.path.mu.Unlock()
	out := make([]PortStats, 0, len(n.path.ports))
	for key, lp := range n.path.ports {
		s, ok := names[key]
		if !ok {
			continue // going away, or a tunnel: those are listed as peers
		}
		c := lp.port.Stats()
		s.Rung, s.Worker = lp.device.Rung().String(), lp.charges[0].worker.id
		s.RxFrames, s.RxPackets, s.RxBytes = c.InFrames, c.InPackets, c.InBytes
		s.TxFrames, s.TxPackets, s.TxBytes = c.OutFrames, c.OutPackets, c.OutBytes
		s.Drops, s.TxDrops = dropNames(&c.Dropped), dropNames(&c.OutDropped)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b PortStats) int { return cmp.Compare(a.Port, b.Port) })
	return out
}

func dropNames(drops *[frame.Reasons]uint64) map[string]uint64 {
	out := make(map[string]uint64)
	for r, count := range drops {
		if count > 0 {
			out[frame.Reason(r).String()] = count
		}
	}
	return out
}

// domainsOf returns the ids and names of the networks meant by ref that have a
// domain, by name; an empty ref means all.
func (n *Node) domainsOf(ref string) ([]cnm.Network, error) {
	if ref == "" {
		return slices.DeleteFunc(n.networkList(), func(nw cnm.Network) bool { return !hasDomain(&nw) }), nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	nw, err := n.findNetworkLocked(ref)
	if err != nil {
		return nil, err
	}
	if !hasDomain(&nw.Network) {
		return nil, cnm.Errorf(cnm.Invalid, "network %s has no switch: its driver is %s", nw.Name, cnm.APIDriver(nw.Driver))
	}
	return []cnm.Network{nw.Network}, nil
}

// FDB returns the forwarding tables of one network, or of all when ref is empty.
func (n *Node) FDB(ref string) ([]FDBEntry, error) {
	networks, err := n.domainsOf(ref)
	if err != nil {
		return nil, err
	}
	names := n.portNames()
	n.path.mu.Lock()
	defer n.path.mu.Unlock()
	keys := make(map[*vswitch.Port]portKey, len(n.path.ports))
	for key, lp := range n.path.ports {
		keys[lp.port] = key
	}
	var out []FDBEntry
	for i := range networks {
		nw := &networks[i]
		d := n.path.domains[nw.ID]
		if d == nil {
			continue
		}
		if m := gatewayMAC(nw); !m.IsZero() {
			out = append(out, FDBEntry{Network: nw.Name, MAC: m, Port: gatewayPort, Static: true})
		}
		first := len(out)
		for _, e := range n.path.sw.FDB(d) {
			name := names[keys[e.Port]]
			if name.Port == "" {
				name.Port = e.Port.Name() // a tunnel
			}
			out = append(out, FDBEntry{Network: nw.Name, MAC: e.MAC, VLAN: e.VLAN, Port: name.Port, Sandbox: name.Sandbox,
				Static: e.Static, Age: time.Duration(e.Age) * time.Second})
		}
		slices.SortFunc(out[first:], func(a, b FDBEntry) int {
			return cmp.Or(slices.Compare(a.MAC[:], b.MAC[:]), cmp.Compare(a.VLAN, b.VLAN))
		})
	}
	return out, nil
}

// Neighbours returns the ARP and ND tables of one network, or of all when ref is
// empty.
func (n *Node) Neighbours(ref string) ([]Neighbour, error) {
	networks, err := n.domainsOf(ref)
	if err != nil {
		return nil, err
	}
	owners := n.owners()
	now := coarse(n.now())
	n.path.mu.Lock()
	defer n.path.mu.Unlock()
	var out []Neighbour
	for _, nw := range networks {
		d := n.path.domains[nw.ID]
		if d == nil {
			continue
		}
		first := len(out)
		for _, e := range d.Neighbours().Entries() {
			row := Neighbour{Network: nw.Name, Addr: e.Addr, MAC: e.MAC, Static: e.Static, Sandbox: owners[ownerKey{nw.ID, e.MAC}]}
			if !e.Static && now > e.Seen {
				row.Age = time.Duration(now-e.Seen) * time.Second
			}
			out = append(out, row)
		}
		slices.SortFunc(out[first:], func(a, b Neighbour) int { return a.Addr.Compare(b.Addr) })
	}
	return out, nil
}

type ownerKey struct {
	network string
	mac     frame.MAC
}

// owners maps the MACs of every network to the sandboxes that have them.
func (n *Node) owners() map[ownerKey]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make(map[ownerKey]string)
	for _, b := range n.boxes {
		for _, e := range b.sb.Endpoints {
			out[ownerKey{e.NetworkID, e.MAC}] = b.sb.Spec.Name
		}
	}
	return out
}

// Trace explains what the switch would do with a frame from a port. The last step
// is the verdict.
func (n *Node) Trace(_ context.Context, o TraceOptions) ([]TraceStep, error) {
	n.mu.Lock()
	b, ifName, err := n.findPortLocked(o.Port)
	if err != nil {
		n.mu.Unlock()
		return nil, err
	}
	name := b.sb.Spec.Name
	if ifName == "" && len(b.sb.Endpoints) > 0 {
		ifName = b.sb.Endpoints[0].IfName
	}
	key := portKey{b.sb.ID, ifName}
	var has []string
	for _, e := range b.sb.Endpoints {
		has = append(has, e.IfName)
	}
	n.mu.Unlock()
	n.path.mu.Lock()
	defer n.path.mu.Unlock()
	lp := n.path.ports[key]
	if lp == nil {
		if len(has) > 0 && !slices.Contains(has, ifName) {
			return nil, cnm.Errorf(cnm.NotFound, "%s has no port %q, it has %s", name, ifName, strings.Join(has, ", "))
		}
		return nil, cnm.Errorf(cnm.Conflict, "%s has no port on the switch now: it runs on no network, or not at all", name)
	}
	t := n.path.sw.Trace(lp.port, o.Frame, frame.Offload{})
	var out []TraceStep
	for _, s := range t.Steps {
		out = append(out, TraceStep{Step: s.Name, Result: s.Result})
	}
	verdict := t.Verdict.String()
	if t.Verdict == frame.Dropped {
		verdict += ": " + t.Reason.String()
	}
	return append(out, TraceStep{Step: "verdict", Result: verdict}), nil
}
