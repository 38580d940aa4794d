package node

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"weft/internal/cnm"
	"weft/tap"
)

// plan snapshots the desired state and derives the plan from it.
func (n *Node) plan() plan {
	n.mu.Lock()
	d := desired{guard: !n.cfg.NoGuard, exits: n.cfg.Uplink.Kind == UplinkHost, routed: n.cfg.Uplink.Kind == UplinkPacket, port: n.cfg.DataPathPort, own: n.path.underlay.own(), pathMTU: maps.Clone(n.pathMTU)}
	inUse := n.sharesLocked()
	for id, nw := range n.networks {
		if nw.Scope == cnm.ScopeSwarm {
			if _, used := inUse[id]; !used {
				continue
			}
			if d.filled == nil {
				d.filled = make(map[string]filling)
			}
			d.filled[id] = n.fillingLocked(nw)
		} else if seals := n.staticSealsLocked(nw); seals != nil {
			if d.seals == nil {
				d.seals = make(map[string]map[netip.AddrPort]sealing)
			}
			d.seals[id] = seals
		}
		d.networks = append(d.networks, nw.Network)
	}
	var reached []netip.Addr
	for _, b := range n.boxes {
		for _, e := range b.sb.Endpoints {
			if e.WayOut && gatewayNeed(&e) == cnm.NeedsWayIn {
				reached = append(reached, e.IPv4.Addr(), e.IPv6.Addr())
			}
			if b.devices[e.IfName] != nil {
				d.endpoints = append(d.endpoints, desiredEndpoint{Endpoint: e, sandbox: b.sb.Spec.Name})
			}
		}
	}
	inside := n.insideLocked()
	n.mu.Unlock()
	n.inside.Store(&inside)
	n.reached.Store(&reached)
	// Maps have no order; two endpoints that claim one address must have the
	// same winner every time.
	slices.SortFunc(d.endpoints, func(a, b desiredEndpoint) int { return cmp.Compare(a.ID, b.ID) })
	return makePlan(d)
}

// device returns the device behind a port, nil when it is gone.
func (n *Node) device(k portKey) *tap.Device {
	n.mu.Lock()
	defer n.mu.Unlock()
	if b := n.boxes[k.sandbox]; b != nil {
		return b.devices[k.ifName]
	}
	return nil
}
