package node

import (
	"strings"

	"weft/internal/cnm"
)

// findNetworkLocked finds the network a user means: by id, by name, by unique
// prefix of an id.
func (n *Node) findNetworkLocked(ref string) (*network, error) {
	if nw := n.networks[ref]; nw != nil {
		return nw, nil
	}
	name := ref
	switch ref {
	case "default":
		name = cnm.NetBridge
	case "null":
		name = cnm.NetNone
	}
	var found *network
	matches := 0
	for id, nw := range n.networks {
		if nw.Name == name {
			return nw, nil
		}
		if ref != "" && strings.HasPrefix(id, ref) {
			found = nw
			matches++
		}
	}
	switch matches {
	case 0:
		return nil, cnm.Errorf(cnm.NotFound, "network %s not found", ref)
	case 1:
		return found, nil
	}
	return nil, cnm.Errorf(cnm.Invalid, "network %s is ambiguous (%d matches found on ID prefix)", ref, matches)
}

// findBoxLocked does the same for a sandbox.
func (n *Node) findBoxLocked(ref string) (*box, error) {
	if b := n.boxes[ref]; b != nil {
		return b, nil
	}
	name := strings.TrimPrefix(ref, "/")
	var found *box
	matches := 0
	for id, b := range n.boxes {
		if b.sb.Spec.Name == name {
			return b, nil
		}
		if ref != "" && strings.HasPrefix(id, ref) {
			found = b
			matches++
		}
	}
	switch matches {
	case 0:
		return nil, cnm.Errorf(cnm.NotFound, "No such container: %s", ref)
	case 1:
		return found, nil
	}
	return nil, cnm.Errorf(cnm.Invalid, "Multiple IDs found with provided prefix: %s", ref)
}

// findBox is findBoxLocked for callers without the lock.
func (n *Node) findBox(ref string) (*box, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.findBoxLocked(ref)
}

// lockBox finds a sandbox and takes its op lock. One that was removed while the
// lock was waited for is not found: nothing may write its record again.
func (n *Node) lockBox(ref string) (*box, error) {
	b, err := n.findBox(ref)
	if err != nil {
		return nil, err
	}
	b.op.Lock()
	n.mu.Lock()
	removed := n.boxes[b.sb.ID] != b
	n.mu.Unlock()
	if removed {
		b.op.Unlock()
		return nil, cnm.Errorf(cnm.NotFound, "No such container: %s", ref)
	}
	return b, nil
}

// boxNamedLocked returns the sandbox with exactly this name, or nil.
func (n *Node) boxNamedLocked(name string) *box {
	for _, b := range n.boxes {
		if b.sb.Spec.Name == name {
			return b
		}
	}
	return nil
}
