package node

import (
	"context"
	"net/netip"
	"slices"

	"weft/internal/cluster"
	"weft/internal/cnm"
	"weft/internal/frame"
)

// A lease is what the managers gave an endpoint that is to be made.
type lease struct {
	id         string // the endpoint's
	ipv4, ipv6 netip.Prefix
}

// leases are those of the networks a sandbox is about to join, by network.
type leases map[string]lease

// lease asks for the addresses of the endpoints that a sandbox is about to have on
// networks of the swarm, and hears who is there already. done ends the use of the
// networks by the caller: from then on it is the endpoints that use them.
func (n *Node) lease(ctx context.Context, joins []cnm.NetworkJoin) (got leases, done func(), err error) {
	var used []string
	member, _ := n.swarmMember()
	done = func() {
		for _, id := range used {
			member.Unuse(id)
		}
	}
	got = make(leases)
	for _, j := range joins {
		n.mu.Lock()
		nw, ferr := n.findNetworkLocked(j.Network)
		n.mu.Unlock()
		if ferr != nil || nw.Scope != cnm.ScopeSwarm || member == nil {
			continue // joinLocked says what is wrong with it
		}
		if err = cnm.ValidateEndpoint(nw.Network, j.Config); err != nil {
			break
		}
		if err = n.checkVNI(nw); err != nil {
			break
		}
		if err = member.Use(ctx, nw.ID); err != nil {
			break
		}
		used = append(used, nw.ID)
		l := lease{id: cnm.NewID()}
		if l.ipv4, l.ipv6, err = member.Allocate(ctx, cluster.Want{Endpoint: l.id, Network: nw.ID, IPv4: j.Config.IPv4, IPv6: j.Config.IPv6}); err != nil {
			break
		}
		got[nw.ID] = l
	}
	if err != nil {
		n.mu.Lock()
		n.giveBackLocked(got)
		n.mu.Unlock()
		done()
		return nil, func() {}, err
	}
	return got, done, nil
}

// noLeaseLocked is why no addresses of a network of the swarm were asked for.
func (n *Node) noLeaseLocked(nw *network) error {
	if n.trouble != nil {
		return cnm.Errorf(cnm.Unavailable, "network %s gives no addresses now: %w", nw.Name, n.trouble)
	}
	return cnm.Errorf(cnm.Unavailable, "network %s belongs to a swarm that this node is not in", nw.Name)
}

// checkVNI refuses a network of the swarm whose VNI an overlay of this node alone has:
// the managers, who chose it, do not know of that one.
func (n *Node) checkVNI(nw *network) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.networks {
		if o.Driver != cnm.DriverOverlay || o.Scope == cnm.ScopeSwarm {
			continue
		}
		for _, vni := range o.overlay.VNIs {
			if slices.Contains(nw.overlay.VNIs, vni) {
				return cnm.Errorf(cnm.Conflict, "network %s of the swarm has VNI %d, and so has network %s of this node: remove that one, or make it with another VNI, below 4096", nw.Name, vni, o.Name)
			}
		}
	}
	return nil
}

// giveBackLocked releases the leases no endpoint was made of.
func (n *Node) giveBackLocked(ls leases) {
	for _, l := range ls {
		if n.member != nil {
			n.member.Release(l.id)
		}
	}
}

// reconcileLeases tells the managers what this node has after a start: all else
// that they believe it to have is released.
func (n *Node) reconcileLeases() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.member == nil {
		return
	}
	var ids []string
	for _, b := range n.boxes {
		for _, e := range b.sb.Endpoints {
			if nw := n.networks[e.NetworkID]; nw != nil && nw.Scope == cnm.ScopeSwarm {
				ids = append(ids, e.ID)
			}
		}
	}
	n.member.Keep(ids)
}

// announce tells the others what lives here now.
func (n *Node) announce() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.member != nil {
		n.member.SetShares(n.sharesLocked())
	}
}

// sharesLocked is what this node has of the swarm's networks, for the others.
func (n *Node) sharesLocked() map[string]cluster.Share {
	vteps := n.dataPath()
	out := make(map[string]cluster.Share)
	for _, b := range n.boxes {
		for i := range b.sb.Endpoints {
			e := &b.sb.Endpoints[i]
			nw := n.networks[e.NetworkID]
			if nw == nil || nw.Scope != cnm.ScopeSwarm {
				continue
			}
			// Also of who has no interface yet: the network is in use.
			share, ok := out[e.NetworkID]
			if !ok {
				share.MTU, share.Keys = n.tunnelsMTULocked(nw), n.announcedKeysLocked(nw)
			}
			if b.devices[e.IfName] != nil && len(vteps) > 0 {
				share.Endpoints = append(share.Endpoints, cluster.Endpoint{
					ID: e.ID, Sandbox: b.sb.Spec.Name, Names: e.DNSNames, MAC: e.MAC, Addrs: endpointAddrs(e), VTEP: vteps[0],
				})
			}
			out[e.NetworkID] = share
		}
	}
	return out
}

// announcedKeysLocked are the announcements that belong to a network.
func (n *Node) announcedKeysLocked(nw *network) (keys [][]byte) {
	if !nw.overlay.Encrypted {
		return nil
	}
	for _, six := range []bool{false, true} {
		if r := n.rings[ringKeyOf(&nw.overlay, six)]; r != nil {
			keys = append(keys, r.Announcements()...)
		}
	}
	return keys
}

// endpointAddrs lists the addresses that lead to an endpoint.
func endpointAddrs(e *cnm.Endpoint) []netip.Addr {
	var addrs []netip.Addr
	for _, p := range []netip.Prefix{e.IPv4, e.IPv6} {
		if p.IsValid() {
			addrs = append(addrs, p.Addr())
		}
	}
	addrs = append(addrs, e.Config.LinkLocal...)
	if e.IPv6.IsValid() {
		addrs = append(addrs, linkLocal(e.MAC))
	}
	return addrs
}

// fillingLocked is what the swarm knows of a network, for the plan. While a member
// that was opened again has yet to hear of the others, what was known last stands.
func (n *Node) fillingLocked(nw *network) filling {
	if last, ok := n.fillings[nw.ID]; ok && n.member != nil && !n.member.Settled() {
		return last
	}
	f := n.fillLocked(nw)
	n.fillings[nw.ID] = f
	return f
}

func (n *Node) fillLocked(nw *network) filling {
	f := filling{}
	if len(nw.overlay.VNIs) > 0 {
		f.vni = nw.overlay.VNIs[0]
	}
	if n.member == nil {
		return f
	}
	u := n.cfg.underlay()
	there := n.member.Neighbours(nw.ID)
	f.vteps = make([]netip.AddrPort, 0, len(there.Nodes))
	at := make(map[string]netip.AddrPort, len(there.Nodes)) // by node
	names := make(map[string]string, len(there.Nodes))
	for _, p := range there.Nodes {
		names[p.ID] = p.Name
		if vtep, ok := reachable(&u, p.DataPath); ok {
			f.vteps, at[p.ID] = append(f.vteps, vtep), vtep
			if nw.overlay.Encrypted {
				if f.seals == nil {
					f.seals = make(map[netip.AddrPort]sealing)
				}
				f.seals[vtep] = n.sealLocked(nw, p.ID, vtep)
			}
			if p.MTU != 0 && (f.mtu == 0 || p.MTU < f.mtu) {
				f.mtu = p.MTU
			}
		}
	}
	taken := make(map[frame.MAC]bool)
	for _, e := range there.Endpoints {
		// One address, one owner: the first, and rows come in the same order everywhere.
		if vtep, ok := at[e.Node]; ok && !taken[e.MAC] {
			taken[e.MAC] = true
			f.remotes = append(f.remotes, remoteHost{mac: e.MAC, addrs: e.Addrs, vtep: vtep, id: e.ID, node: names[e.Node], names: e.Names})
		}
	}
	return f
}

// nodesOfLocked lists the nodes that have a network of the swarm, this one first.
func (n *Node) nodesOfLocked(nw *network) (nodes []NetworkNode) {
	if nw.Scope != cnm.ScopeSwarm || n.member == nil {
		return nil
	}
	add := func(id, name string, addrs []netip.AddrPort) {
		if len(addrs) > 0 {
			nodes = append(nodes, NetworkNode{Name: name + "-" + id[:min(12, len(id))], Addr: addrs[0].Addr()})
		}
	}
	if len(n.endpointsLocked(nw.ID)) > 0 {
		add(n.member.ID(), n.clusterConfig().Name, n.dataPath())
	}
	for _, p := range n.member.Neighbours(nw.ID).Nodes {
		add(p.ID, p.Name, p.DataPath)
	}
	return nodes
}

// reachable returns the first of a node's VTEPs that this node has an address for.
func reachable(u *underlayConfig, vteps []netip.AddrPort) (netip.AddrPort, bool) {
	for _, v := range vteps {
		if _, err := u.local(v.Addr()); err == nil {
			return v, true
		}
	}
	return netip.AddrPort{}, false
}
