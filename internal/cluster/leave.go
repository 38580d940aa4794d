package cluster

import (
	"context"
	"os"
	"time"

	"weft/internal/cnm"
)

// Leave makes this node a stranger again. A manager goes only by force.
func (m *Member) Leave(ctx context.Context, force bool) error {
	if m.manager != nil && !force {
		return cnm.Errorf(cnm.Unavailable, "You are attempting to leave the swarm on a node that is participating as a manager. Its loss %s. "+
			"Use \"--force\" to suppress this message.", m.lossHere())
	}
	if _, managers := m.View().voters(); m.manager != nil && managers == 1 {
		// Nobody is left to be told.
	} else if err := m.remove(ctx, m.id, true); err != nil {
		m.log.Warn("the swarm was left without telling a manager", "error", err)
	}
	if err := m.gossip.Leave(time.Second); err != nil {
		m.log.Warn("the swarm was left without telling the other nodes", "error", err)
	}
	m.Close()
	return os.RemoveAll(m.cfg.Dir)
}

func (m *Member) lossHere() string {
	v := m.View()
	if n := v.node(m.id); n != nil {
		voters, managers := v.voters()
		return lossOf(n, voters, managers)
	}
	return "is not known to matter"
}
