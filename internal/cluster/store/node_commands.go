package store

import (
	"net/netip"
	"slices"
	"time"

	"weft/internal/cnm"
)

// PutNode takes a node into the cluster, or renews what it says of itself: where
// it is, and its certificate. Spec is for a node that is new; of a known one, it
// is the user's, and without a Certificate the last one stays.
type PutNode struct {
	ID          string
	Spec        cnm.NodeSpec
	Hostname    string
	Addr        netip.Addr
	Control     netip.AddrPort
	Gossip      netip.AddrPort
	DataPath    []netip.AddrPort
	Certificate Certificate
	Unique      bool // no other node may have the host name
	Now         time.Time
}

// PutCertificate notes the certificate that a node was given.
type PutCertificate struct {
	ID          string
	Certificate Certificate
	Now         time.Time
}

// UpdateNode sets what a user may set of a node; promoting and demoting it is
// among that. Version is that of the node the user saw; 0 means any.
type UpdateNode struct {
	ID      string
	Version uint64
	Spec    cnm.NodeSpec
	Now     time.Time
}

// RemoveNode forgets a worker. One that still has endpoints is kept unless Force
// is set; then they are released. A node that is not there is no error.
type RemoveNode struct {
	ID    string
	Force bool
	Now   time.Time
}

func (PutNode) kind() string        { return "node put" }
func (PutCertificate) kind() string { return "node certificate" }
func (UpdateNode) kind() string     { return "node update" }
func (RemoveNode) kind() string     { return "node remove" }

func (p PutNode) apply(c *change) error {
	if p.ID == "" || p.Hostname == "" {
		return cnm.Errorf(cnm.Invalid, "a node needs an identifier and a host name")
	}
	n, known := c.Nodes.Get(p.ID)
	if !known {
		if _, gone := c.Cluster.Removed[p.ID]; gone {
			return cnm.Errorf(cnm.Conflict, "node %s was removed from the swarm: it must leave and join again", p.ID)
		}
		if c.Nodes.Len() == MaxNodes {
			return cnm.Errorf(cnm.Unavailable, "the swarm has %d nodes, the most there can be: remove those that are gone", MaxNodes)
		}
		if p.Spec.Availability == "" {
			p.Spec.Availability = cnm.Active
		}
		if err := c.checkNodeSpec(p.ID, p.Spec); err != nil {
			return err
		}
		n = Node{ID: p.ID, Version: c.index, Created: p.Now, Spec: p.Spec}
	}
	if err := c.checkHostname(&p); err != nil {
		return err
	}
	n.Updated = p.Now
	n.Hostname, n.Addr, n.Control, n.Gossip, n.DataPath = p.Hostname, p.Addr, p.Control, p.Gossip, p.DataPath
	if !known || p.Certificate != (Certificate{}) {
		n.noteCertificate(p.Certificate)
	}
	c.putNode(n)
	return nil
}

// checkHostname refuses a name by which people would not know whom they mean.
func (c *change) checkHostname(p *PutNode) error {
	if !p.Unique {
		return nil
	}
	for _, n := range c.Nodes.All() {
		if n.ID != p.ID && (n.Hostname == p.Hostname || n.Name() == p.Hostname) {
			return cnm.Errorf(cnm.Conflict, "the name %s is taken by node %s: start this daemon with another --node-name, or take that node out with \"weft node rm %s\" if it is gone", p.Hostname, n.ID, n.ID)
		}
	}
	return nil
}

func (p PutCertificate) apply(c *change) error {
	n, known := c.Nodes.Get(p.ID)
	if !known {
		return cnm.Errorf(cnm.NotFound, "node %s not found", p.ID)
	}
	n.Updated = p.Now
	n.noteCertificate(p.Certificate)
	c.putNode(n)
	return nil
}

func (c *change) putNode(n Node) {
	c.Nodes = c.Nodes.with(n.ID, n)
	c.result.Node = &n
	c.touch()
}

// checkNodeSpec checks a spec for a node. Names that users gave are unique; host
// names need not be, several nodes may run on one host.
func (c *change) checkNodeSpec(id string, s cnm.NodeSpec) error {
	if s.Role != cnm.Manager && s.Role != cnm.Worker {
		return cnm.Errorf(cnm.Invalid, "invalid role %q of a node, expected %s or %s", s.Role, cnm.Manager, cnm.Worker)
	}
	if !slices.Contains([]cnm.Availability{cnm.Active, cnm.Pause, cnm.Drain}, s.Availability) {
		return cnm.Errorf(cnm.Invalid, "invalid availability %q of a node, expected %s, %s or %s", s.Availability, cnm.Active, cnm.Pause, cnm.Drain)
	}
	if s.Name == "" {
		return nil
	}
	for other, n := range c.Nodes.All() {
		if other != id && n.Spec.Name == s.Name {
			return cnm.Errorf(cnm.Conflict, "node name %s is already in use by node %s", s.Name, other)
		}
	}
	return nil
}

func (u UpdateNode) apply(c *change) error {
	n, known := c.Nodes.Get(u.ID)
	if !known {
		return cnm.Errorf(cnm.NotFound, "node %s not found", u.ID)
	}
	if err := outOfSequence(u.Version, n.Version); err != nil {
		return err
	}
	if err := c.checkNodeSpec(u.ID, u.Spec); err != nil {
		return err
	}
	if n.Spec.Role == cnm.Manager && u.Spec.Role == cnm.Worker && c.managers() == 1 {
		return cnm.Errorf(cnm.Forbidden, "can't demote the last manager of the swarm")
	}
	n.Spec, n.Version, n.Updated = u.Spec, c.index, u.Now
	c.putNode(n)
	return nil
}

// managers counts them.
func (c *change) managers() (count int) {
	for _, n := range c.Nodes.All() {
		if n.Spec.Role == cnm.Manager {
			count++
		}
	}
	return count
}

func (r RemoveNode) apply(c *change) error {
	n, known := c.Nodes.Get(r.ID)
	if !known {
		return nil
	}
	if n.Spec.Role == cnm.Manager {
		return cnm.Errorf(cnm.Forbidden, "node %s (%s) is a manager: demote it to a worker before it is removed", r.ID, n.Name())
	}
	gone := c.endpointsOf(func(e Endpoint) bool { return e.Node == r.ID })
	if len(gone) > 0 && !r.Force {
		return cnm.Errorf(cnm.Conflict, "node %s (%s) still has %d endpoints: stop its sandboxes, or use force if it is gone", r.ID, n.Name(), len(gone))
	}
	c.release(gone)
	c.noteRemoval(n, r.Now)
	c.Nodes = c.Nodes.without(r.ID)
	c.Cluster.EpochSince = time.Time{} // it has keys that are to be replaced
	c.touch()
	return nil
}
