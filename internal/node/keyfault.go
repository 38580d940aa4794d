package node

import (
	"maps"

	"weft/internal/cnm"
)

// keyFaultLocked logs what is wrong with keys, once until it is something else, and
// reports whether anything is.
func (n *Node) keyFaultLocked(what string, err error) bool {
	if err == nil {
		delete(n.keyFaults, what)
		return false
	}
	if n.keyFaults[what] != err.Error() {
		n.keyFaults[what] = err.Error()
		n.log.Error("keys of an encrypted network", "network", what, "error", err)
	}
	return true
}

// sweepKeyFaultsLocked forgets what was wrong with a network that is not in use any more,
// with a peer that is none, or with the secret of none.
func (n *Node) sweepKeyFaultsLocked() {
	about := make(map[string]bool)
	for _, nw := range n.networks {
		if nw.Driver != cnm.DriverOverlay || nw.ConfigOnly || !nw.overlay.Encrypted {
			continue
		}
		if nw.Scope != cnm.ScopeSwarm {
			about[nw.Name] = true
		} else if n.member != nil && len(n.endpointsLocked(nw.ID)) > 0 {
			about[nw.Name] = true
			for _, p := range n.member.Neighbours(nw.ID).Nodes {
				about[nw.Name+" "+p.ID] = true
			}
		}
	}
	for key, r := range n.rings {
		about[key.secret], about[renewing(key)] = true, true
		for at := range r.toTell {
			about[at.String()], about["peer "+at.Addr().String()] = true, true
		}
	}
	maps.DeleteFunc(n.keyFaults, func(what, _ string) bool { return !about[what] })
}

// renewing is under what the renewal of a ring's keys is at fault.
func renewing(key ringKey) string { return "renewing " + key.algorithm.String() }
