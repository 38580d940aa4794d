package cluster

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"weft/internal/cluster/gossip"
	"weft/internal/cnm"
)

// Nodes returns the members of the swarm, by name: what the managers have agreed on
// and what the gossip knows of each.
func (m *Member) Nodes() []cnm.SwarmNode {
	v := m.View()
	alive := make(map[string]gossip.State)
	for _, g := range m.gossip.Members() {
		alive[g.ID] = g.State
	}
	leader := ""
	if m.manager != nil {
		leader = m.manager.leader()
	}
	voters, managers := v.voters()
	out := make([]cnm.SwarmNode, 0, len(v.Nodes))
	for i := range v.Nodes {
		n := &v.Nodes[i]
		s := cnm.SwarmNode{
			ID: n.ID, Version: n.Version, Created: n.Created, Updated: n.Updated, Spec: n.Spec, Hostname: n.Hostname,
			Addr: n.Gossip.Addr(), Control: n.Control, DataPath: n.DataPath, Expires: n.Expires, OldRoot: n.OldRoot,
			Self: n.ID == m.id, Leader: n.ID == leader, Voter: n.Voter,
			State: stateOf(alive, n, m.began, time.Now()), Message: lossOf(n, voters, managers),
		}
		s.Reaches = n.Spec.Role == cnm.Manager && s.State == cnm.NodeReady
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b cnm.SwarmNode) int {
		return cmp.Or(cmp.Compare(a.Hostname, b.Hostname), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// unknownTime is how long a node that the gossip has not met may be anything: after
// that it is down.
const unknownTime = 10 * time.Second

// stateOf returns a node's state by what the gossip knows of each, since a member
// began.
func stateOf(states map[string]gossip.State, n *Node, began, now time.Time) cnm.NodeState {
	switch s, known := states[n.ID]; {
	case !known && now.Sub(began) < unknownTime, !known && now.Sub(n.Created) < unknownTime:
		return cnm.NodeUnknown
	case !known:
		return cnm.NodeDown
	case s == gossip.Alive:
		return cnm.NodeReady
	}
	return cnm.NodeDown
}

// voters counts the managers whose vote counts, and all managers.
func (v *View) voters() (voters, managers int) {
	for i := range v.Nodes {
		if v.Nodes[i].Voter {
			voters++
		}
		if v.Nodes[i].Spec.Role == cnm.Manager {
			managers++
		}
	}
	return voters, managers
}

// lossOf says what the loss of a node would mean for the swarm.
func lossOf(n *Node, voters, managers int) string {
	switch {
	case n.Spec.Role != cnm.Manager:
		return "stops nothing elsewhere"
	case !n.Voter:
		return "stops nothing: the voters go on"
	case managers == 1:
		return "stops new networks and addresses for good: no other node has a copy"
	case voters == 1:
		return "stops new networks and addresses, until a standby takes over (swarm init --force-new-cluster)"
	case voters%2 == 0:
		return "leaves too few voters to agree"
	}
	return fmt.Sprintf("stops nothing, as long as %d of %d voters are there", voters/2+1, voters)
}

// Info is what the node says of itself; where it listens is known to who started it.
func (m *Member) Info() cnm.SwarmInfo {
	v := m.View()
	i := cnm.SwarmInfo{State: "active", NodeID: m.id, Cluster: v.Cluster, Manager: m.manager != nil, Nodes: len(v.Nodes)}
	for k := range v.Nodes {
		if n := &v.Nodes[k]; n.Spec.Role == cnm.Manager {
			i.Managers++
			if n.Control.IsValid() {
				i.Remotes = append(i.Remotes, n.Control)
			}
		}
	}
	slices.SortFunc(i.Remotes, func(a, b netip.AddrPort) int { return a.Compare(b) })
	return i
}
