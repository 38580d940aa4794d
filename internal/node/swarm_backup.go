package node

import (
	"context"
	"io"

	"weft/internal/cluster"
)

// SwarmBackup writes what the swarm has agreed on, as far as this node knows, which
// must be a manager. The swarm's secrets are in it.
func (n *Node) SwarmBackup(_ context.Context, w io.Writer) error {
	m, err := n.swarmMember()
	if err != nil {
		return err
	}
	return m.Backup(w)
}

// SwarmRestore makes this node, which is in no swarm, the only manager of the swarm
// that a backup is of, and returns the node's id. Nothing is changed before the
// backup has been read to its end.
func (n *Node) SwarmRestore(ctx context.Context, backup io.Reader) (string, error) {
	b, err := cluster.ReadBackup(backup)
	if err != nil {
		return "", err
	}
	id, err := n.enterSwarm(func(c cluster.Config) (*cluster.Member, error) { return cluster.Restore(ctx, c, b) }, false)
	if err != nil {
		return "", err
	}
	n.adoptNetworks()
	n.reconcileLeases() // of a node that was in that swarm
	return id, nil
}
