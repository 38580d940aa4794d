package store

import (
	"maps"
	"time"
)

// Theory of operation: who was a manager
//
// A certificate cannot be called back: that of a manager who was removed would open
// the managers' replication until it ends. So the state remembers, until then, the
// nodes that were removed and have had a certificate of a manager. Their ids are
// given to nobody again.

// maxRemoved bounds the memory: those whose certificates end first go first.
const maxRemoved = 4096

// noteCertificate remembers how long a node can show that it is a manager.
func (n *Node) noteCertificate(c Certificate) {
	if c.Manager && c.Expires.After(n.ManagerUntil) {
		n.ManagerUntil = c.Expires
	}
	n.Certificate = c
}

// noteRemoval remembers a node that is removed, and forgets those whose certificates
// have ended.
func (c *change) noteRemoval(n Node, now time.Time) {
	removed := maps.Clone(c.Cluster.Removed)
	maps.DeleteFunc(removed, func(_ string, until time.Time) bool { return until.Before(now) })
	if n.ManagerUntil.After(now) {
		if removed == nil {
			removed = make(map[string]time.Time)
		}
		removed[n.ID] = n.ManagerUntil
	}
	for len(removed) > maxRemoved {
		delete(removed, firstToEnd(removed))
	}
	c.Cluster.Removed = removed
}

// firstToEnd returns the node whose certificate ends first; of several, the one of
// the lowest id.
func firstToEnd(removed map[string]time.Time) (first string) {
	for id, until := range removed {
		if d := until.Compare(removed[first]); first == "" || d < 0 || d == 0 && id < first {
			first = id
		}
	}
	return first
}
