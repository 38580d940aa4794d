package node

import (
	"cmp"
	"net/netip"
	"slices"

	"weft/internal/cnm"
	"weft/internal/uplink"
)

// A Flow is a connection of an endpoint with the world outside, or what stands for one
// where there are no connections.
type Flow struct {
	uplink.FlowInfo
	Network string
	Sandbox string // empty: it has gone
}

// UplinkStats are the counters of a network's way out.
type UplinkStats struct {
	uplink.Stats
	Network string
}

// A tracker is an exit that knows its flows.
type tracker interface {
	Flows() []uplink.FlowInfo
	// Flush ends the flows of an endpoint, of all for the zero Addr, and returns how
	// many that were.
	Flush(endpoint netip.Addr) int
	Stats() uplink.Stats
}

// trackers maps networks, by name, to their exits: one by name or id, or all.
func (n *Node) trackers(ref string) (map[string]tracker, error) {
	n.mu.Lock()
	names := make(map[string]string)
	if ref != "" {
		nw, err := n.findNetworkLocked(ref)
		if err != nil {
			n.mu.Unlock()
			return nil, err
		}
		names[nw.ID] = nw.Name
	} else {
		for id, nw := range n.networks {
			names[id] = nw.Name
		}
	}
	n.mu.Unlock()
	out := make(map[string]tracker)
	for id, name := range names {
		if t := n.path.tracker(id); t != nil {
			out[name] = t
		}
	}
	return out, nil
}

// Flows lists what goes by the ways out of a network, or of all, by endpoint.
func (n *Node) Flows(network string) ([]Flow, error) {
	trackers, err := n.trackers(network)
	if err != nil {
		return nil, err
	}
	who := n.holders()
	var all []Flow
	for name, t := range trackers {
		for _, f := range t.Flows() {
			all = append(all, Flow{f, name, who[f.Endpoint.Addr()]})
		}
	}
	slices.SortFunc(all, func(a, b Flow) int {
		return cmp.Or(a.Endpoint.Addr().Compare(b.Endpoint.Addr()), cmp.Compare(a.Proto, b.Proto), a.Endpoint.Compare(b.Endpoint), a.Remote.Compare(b.Remote))
	})
	return all, nil
}

// holders names the sandboxes that have addresses.
func (n *Node) holders() map[netip.Addr]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	who := make(map[netip.Addr]string)
	for _, b := range n.boxes {
		for i := range b.sb.Endpoints {
			for _, a := range endpointAddrs(&b.sb.Endpoints[i]) {
				who[a] = b.sb.Spec.Name
			}
		}
	}
	return who
}

// FlushFlows ends the flows of a sandbox, or of all, on a network, or on all, and
// returns how many that were.
func (n *Node) FlushFlows(network, ref string) (count int, err error) {
	trackers, err := n.trackers(network)
	if err != nil {
		return 0, err
	}
	of := []netip.Addr{{}}
	if ref != "" {
		sb, err := n.Sandbox(ref)
		if err != nil {
			return 0, err
		}
		of = nil
		for i := range sb.Endpoints {
			of = append(of, endpointAddrs(&sb.Endpoints[i])...)
		}
	}
	for _, t := range trackers {
		for _, a := range of {
			count += t.Flush(a)
		}
	}
	return count, nil
}

// A forgetter is an exit that can be told of an endpoint that has gone.
type forgetter interface {
	// Forget is Flush of datagram flows alone.
	Forget(endpoint netip.Addr)
}

// endFlows ends the flows of endpoints that are off the switch, before others get their
// addresses. Connections of a sandbox that runs are reset, for nothing of them comes any
// more; one that has exited has closed them, and what it sent last is on its way.
func (n *Node) endFlows(runs bool, eps ...cnm.Endpoint) {
	for i := range eps {
		x := n.path.tracker(eps[i].NetworkID)
		for _, a := range endpointAddrs(&eps[i]) {
			if x != nil && runs {
				x.Flush(a)
			} else if f, ok := x.(forgetter); ok {
				f.Forget(a)
			}
		}
	}
}

// tracker returns what knows the flows of a network, by id, nil if it has no way out.
func (d *dataPath) tracker(network string) tracker {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.packet != nil {
		if t, ok := d.packet.tracker(network); ok {
			return t
		}
		return nil
	}
	if lp := d.ports[exitKey(network)]; lp != nil {
		t, _ := lp.exit.(tracker)
		return t
	}
	return nil
}

// UplinkStats returns the counters of the ways out, by network.
func (n *Node) UplinkStats() []UplinkStats {
	trackers, _ := n.trackers("")
	all := make([]UplinkStats, 0, len(trackers))
	for name, t := range trackers {
		all = append(all, UplinkStats{t.Stats(), name})
	}
	slices.SortFunc(all, func(a, b UplinkStats) int { return cmp.Compare(a.Network, b.Network) })
	return all
}
