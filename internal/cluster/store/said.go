package store

import (
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Theory of operation: what the managers' log says
//
// raft logs every attempt, several a second while a manager is away. What matters to
// a user are states, each said once, when it begins and when it ends: whether there
// is a leader, and, on the leader, which managers do not answer. raft's lines about
// the same are details (raftlog.go).

// leaderlessTime is how long there may be no leader before it is said: an election
// takes less.
const leaderlessTime = 5 * time.Second

// managersSaid is what has been said.
type managersSaid struct {
	log *slog.Logger

	mu   sync.Mutex
	away map[raft.ServerID]bool

	leader string    // the last there was
	since  time.Time // without one; zero: there is one
	told   bool      // that there is none
}

// heard takes an observation of raft's, from raft's own goroutines.
func (m *managersSaid) heard(o any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch o := o.(type) {
	case raft.FailedHeartbeatObservation:
		if !m.away[o.PeerID] {
			if m.away == nil {
				m.away = make(map[raft.ServerID]bool)
			}
			m.away[o.PeerID] = true
			m.log.Warn("a manager does not answer", "node", o.PeerID, "last heard", o.LastContact)
		}
	case raft.ResumedHeartbeatObservation:
		if m.away[o.PeerID] {
			delete(m.away, o.PeerID)
			m.log.Info("a manager answers again", "node", o.PeerID)
		}
	case raft.PeerObservation:
		if o.Removed {
			delete(m.away, o.Peer.ID)
		}
	case raft.RaftState: // who does not lead calls nobody
		clear(m.away)
	}
}

// leads takes the leader of the moment, "" if there is none.
func (m *managersSaid) leads(id string, now time.Time) {
	switch {
	case id == "" && m.since.IsZero():
		m.since = now
	case id == "" && !m.told && now.Sub(m.since) >= leaderlessTime:
		m.told = true
		m.log.Warn("the managers have no leader: nothing new is decided until more than half of those who vote are there", "last leader", m.leader)
	case id != "":
		if id != m.leader || m.told {
			m.log.Info("a manager leads", "node", id)
		}
		m.leader, m.since, m.told = id, time.Time{}, false
	}
}
