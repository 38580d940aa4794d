package cluster

import "weft/internal/cluster/gossip"

// Stats tell what a member has turned away since it began, and what it cannot do.
type Stats struct {
	Refused map[string]uint64 // on the control port, by reason
	Gossip  gossip.Stats
	Disk    error // a manager's store cannot be written
}

// Stats returns the counters.
func (m *Member) Stats() Stats {
	s := Stats{Refused: m.refused.counts(), Gossip: m.gossip.Stats()}
	if m.manager != nil {
		s.Disk = m.manager.store.Trouble()
	}
	return s
}
