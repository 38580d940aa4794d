package node

import (
	"cmp"
	"errors"
	"slices"

	"weft/internal/frame"
)

// Theory of operation: faults
//
// A step of a plan may fail for a reason that has nothing to do with who
// published: the underlay's port is taken, another sandbox's device has gone. So
// a fault belongs to its network and port. Who publishes for a network or a
// sandbox is told of its own; the others are logged, once, and the keeper
// publishes again every second until they are gone.

// A faultKey names what a failed step was about: a port, or a whole network.
type faultKey struct {
	network string
	port    portKey // zero: the network
}

// A fault is a step that failed, or one that failed the last time and no more.
type fault struct {
	faultKey
	err   error // nil: gone
	fresh bool  // not the same as the last time
}

// concerns reports whether the fault is that of a sandbox or of a network.
func (f *fault) concerns(who string) bool {
	return who != "" && (f.port.sandbox == who || f.network == who && (f.port.sandbox == "" || f.port.sandbox == f.network))
}

// owner finds the sandbox's port whose address a neighbour is, none if the address
// is the gateway's or somebody's on another node.
func (dom domainPlan) owner(m frame.MAC) portKey {
	for key, p := range dom.ports {
		if p.mac == m && !p.peer.IsValid() && !p.exit {
			return key
		}
	}
	return portKey{}
}

// compareFaults lists the faults there are now, in order, and those that are gone.
func compareFaults(before, now map[faultKey]error) (out []fault) {
	for key, err := range now {
		was := before[key]
		out = append(out, fault{key, err, was == nil || was.Error() != err.Error()})
	}
	for key := range before {
		if now[key] == nil {
			out = append(out, fault{key, nil, true})
		}
	}
	slices.SortFunc(out, func(a, b fault) int {
		return cmp.Or(cmp.Compare(a.network, b.network), cmp.Compare(a.port.sandbox, b.port.sandbox), cmp.Compare(a.port.ifName, b.port.ifName))
	})
	return out
}

// publish makes the switch equal to the desired state, on behalf of a sandbox or a
// network, by id, or of nobody. The error is what failed of theirs.
func (n *Node) publish(who string) error {
	n.tendKeys()
	faults, err := n.path.publish(n.plan, n.device)
	if err != nil {
		return err
	}
	n.announce()
	n.tendNames()
	n.tendPorts()
	var errs []error
	said := make(map[string]bool) // the tunnels of a network lack one socket: that is said once
	for i := range faults {
		switch f := &faults[i]; {
		case f.err == nil:
			n.log.Info("the switch has what it lacked", "network", f.network, "port", f.port.ifName)
		case said[f.err.Error()]:
		case f.concerns(who):
			said[f.err.Error()] = true
			errs = append(errs, f.err)
		case f.fresh:
			said[f.err.Error()] = true
			n.log.Error("the switch lacks something, and is tried again every second", "error", f.err)
		}
	}
	return errors.Join(errs...)
}

// mend publishes again while something is lacking. The keeper's.
func (n *Node) mend() {
	n.path.mu.Lock()
	faulty := len(n.path.faults) > 0
	n.path.mu.Unlock()
	if faulty {
		n.publish("")
	}
}
