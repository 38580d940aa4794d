package cluster

import (
	"cmp"
	"maps"
	"slices"

	"weft/internal/cluster/store"
	"weft/internal/cnm"
)

// view makes the view of this manager's copy of the store, nil while it is empty.
func (g *manager) view() *View {
	s := g.store.State()
	if s.Cluster.ID == "" {
		return nil
	}
	servers, err := g.store.Servers()
	if err != nil {
		return nil // it is closing
	}
	var voters []string
	for _, v := range servers {
		if v.Voter {
			voters = append(voters, v.ID)
		}
	}
	return viewOf(s, voters)
}

// viewOf leaves out of a state what is the managers' alone.
func viewOf(s *store.State, voters []string) *View {
	c := &s.Cluster
	v := &View{
		Version: s.Version, Cluster: c.ID, Created: c.Created, Updated: c.Updated,
		GossipKeys: c.GossipKeys, DataPathPort: c.DataPathPort, Epoch: c.Epoch, EpochSince: c.EpochSince, KeyRotation: cmp.Or(c.Spec.KeyRotation, defaultKeyRotation),
	}
	for _, r := range c.Roots {
		v.Roots = append(v.Roots, r.Certificate...)
	}
	for _, n := range s.Nodes.All() {
		v.Nodes = append(v.Nodes, Node{
			ID: n.ID, Version: n.Version, Created: n.Created, Updated: n.Updated, Spec: n.Spec, Hostname: n.Name(),
			Control: n.Control, Gossip: n.Gossip, DataPath: n.DataPath, Voter: slices.Contains(voters, n.ID), Expires: n.Certificate.Expires,
			OldRoot: len(c.Roots) > 1 && n.Certificate.Root != digest(c.Roots[0].Certificate),
		})
	}
	v.Removed = slices.Sorted(maps.Keys(c.Removed))
	for _, nw := range s.Networks.All() {
		out := nw.Network
		out.Scope, out.Options = cnm.ScopeSwarm, maps.Clone(out.Options)
		out.Options[cnm.OptVNIList] = cnm.FormatVNIs(nw.VNIs)
		v.Networks = append(v.Networks, out)
	}
	return v
}
