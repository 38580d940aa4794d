package node

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weft/internal/cluster"
)

// swarmChecks tell what this node's part in a swarm has turned away, and what it
// cannot do.
func (n *Node) swarmChecks() []Check {
	m, err := n.swarmMember()
	switch trouble := n.inTrouble(); {
	case errors.Is(trouble, errLocked):
		return []Check{good("swarm", "this manager is locked").warn("weft swarm unlock, with the key: until then no other node is known here")}
	case trouble != nil:
		return []Check{good("swarm", "%v", trouble).fail("as the error says")}
	case err != nil:
		return nil
	}
	return []Check{swarmCheck(m.Stats())}
}

func swarmCheck(s cluster.Stats) Check {
	const name = "swarm"
	if s.Disk != nil {
		return good(name, "%v", s.Disk).fail("nothing new is decided here until there is space")
	}
	var refused []string
	for _, reason := range slices.Sorted(maps.Keys(s.Refused)) {
		refused = append(refused, fmt.Sprintf("%s %d", reason, s.Refused[reason]))
	}
	if g := s.Gossip; g.Refused+g.Malformed+g.OtherFormat > 0 {
		refused = append(refused, fmt.Sprintf("gossip %d", g.Refused+g.Malformed+g.OtherFormat))
	}
	if refused == nil {
		return good(name, "a member; nothing was refused")
	}
	return good(name, "a member; refused since its start: %s", strings.Join(refused, ", "))
}
