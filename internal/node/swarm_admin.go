package node

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"weft/internal/cluster"
	"weft/internal/cnm"
)

// SwarmInfo is what the node says of itself in a swarm, whether it is in one or
// not.
func (n *Node) SwarmInfo() cnm.SwarmInfo {
	i := cnm.SwarmInfo{State: "inactive"}
	m, err := n.swarmMember()
	switch trouble := n.inTrouble(); {
	case errors.Is(trouble, errLocked):
		i.State, i.Error = "locked", trouble.Error()
	case trouble != nil:
		i.State, i.Error = "error", trouble.Error()
	case err == nil:
		i = m.Info()
	}
	i.Addr = n.advertised()
	i.Control, i.DataPath = netip.AddrPortFrom(i.Addr, n.cfg.ControlPort), n.dataPath()
	return i
}

// Swarm returns the swarm as the managers know it; only a manager is asked.
func (n *Node) Swarm(context.Context) (cnm.Swarm, error) {
	m, err := n.swarmMember()
	if err != nil {
		return cnm.Swarm{}, err
	}
	return m.Swarm()
}

// SwarmUpdate sets what a user may set of the swarm, if it is still at the version
// the user saw, and makes anew what rotate names.
func (n *Node) SwarmUpdate(ctx context.Context, version uint64, spec cnm.SwarmSpec, rotate cnm.SwarmRotate) error {
	m, err := n.swarmMember()
	if err != nil {
		return err
	}
	return m.UpdateSwarm(ctx, version, spec, rotate)
}

// SwarmUnlockKey returns the key that opens locked managers, "" when they are not
// locked.
func (n *Node) SwarmUnlockKey(context.Context) (string, error) {
	m, err := n.swarmMember()
	if err != nil {
		return "", err
	}
	return m.UnlockKey()
}

// SwarmUnlock opens this manager, which is locked. After an error it is locked as
// before: the next key is as welcome as the first.
func (n *Node) SwarmUnlock(ctx context.Context, key string) error {
	n.swarmOp.Lock()
	defer n.swarmOp.Unlock()
	if !errors.Is(n.inTrouble(), errLocked) {
		if _, err := n.swarmMember(); err != nil {
			return err
		}
		return cnm.Errorf(cnm.Conflict, "swarm is not locked")
	}
	if err := n.openMember(ctx, key); err != nil {
		n.mu.Lock()
		n.trouble = errLocked
		n.mu.Unlock()
		if errors.Is(err, cluster.ErrLocked) {
			return cnm.Errorf(cnm.Invalid, "swarm could not be unlocked: invalid key provided")
		}
		return err
	}
	n.reconcileLeases()
	n.wakeFollower()
	return nil
}

// SwarmNodes returns the members of the swarm, by name.
func (n *Node) SwarmNodes(context.Context) ([]cnm.SwarmNode, error) {
	m, err := n.swarmMember()
	if err != nil {
		return nil, err
	}
	return m.Nodes(), nil
}

// SwarmNode returns one member by its id, a prefix of it that no other has, its
// name, or "self".
func (n *Node) SwarmNode(ctx context.Context, ref string) (cnm.SwarmNode, error) {
	nodes, err := n.SwarmNodes(ctx)
	if err != nil {
		return cnm.SwarmNode{}, err
	}
	var named, prefixed []cnm.SwarmNode
	for _, s := range nodes {
		switch {
		case s.ID == ref, ref == "self" && s.Self:
			return s, nil
		case s.Hostname == ref || s.Spec.Name == ref:
			named = append(named, s)
		case ref != "" && strings.HasPrefix(s.ID, ref):
			prefixed = append(prefixed, s)
		}
	}
	for _, found := range [][]cnm.SwarmNode{named, prefixed} {
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return cnm.SwarmNode{}, cnm.Errorf(cnm.Invalid, "node %s is ambiguous (%d matches found): use an ID", ref, len(found))
		}
	}
	return cnm.SwarmNode{}, cnm.Errorf(cnm.NotFound, "node %s not found", ref)
}

// SwarmNodeUpdate sets what a user may set of a node.
func (n *Node) SwarmNodeUpdate(ctx context.Context, id string, version uint64, spec cnm.NodeSpec) error {
	m, err := n.swarmMember()
	if err != nil {
		return err
	}
	return m.UpdateNode(ctx, id, version, spec)
}

// SwarmNodeRemove takes a node out of the swarm.
func (n *Node) SwarmNodeRemove(ctx context.Context, ref string, force bool) error {
	s, err := n.SwarmNode(ctx, ref)
	if err != nil {
		return err
	}
	m, err := n.swarmMember()
	if err != nil {
		return err
	}
	return m.RemoveNode(ctx, s.ID, force)
}
