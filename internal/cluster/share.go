package cluster

import (
	"encoding/json"
	"fmt"
)

// nodeKey is the key of the row that a node writes about itself on a network. No
// endpoint has it.
const nodeKey = "node"

// leastMTU is the smallest that a node is believed: what an underlay of 576 bytes,
// which every host must take (RFC 791, 3.1), leaves within VXLAN over IPv6.
const (
	leastMTU = 576 - 70
	mostMTU  = 65535
)

// maxAnnouncements is how many epoch keys a node's row may hold.
const maxAnnouncements = 4

// wireNode is that row as it travels.
type wireNode struct {
	MTU  int      `json:"mtu,omitempty"` // bytes of the largest IP packet the node can send to all others
	Keys [][]byte `json:"k,omitempty"`   // announcements, on an encrypted network
}

// encodeNode returns the row of a share; none for one that has nothing to say.
func encodeNode(s *Share) ([]byte, error) {
	if s.MTU == 0 && len(s.Keys) == 0 {
		return nil, nil
	}
	return json.Marshal(wireNode{s.MTU, s.Keys})
}

// decodeNode reads a row that another node wrote. Its announcements are not verified
// yet.
func decodeNode(value []byte) (wireNode, error) {
	var w wireNode
	if len(value) > maxEndpoint {
		return w, fmt.Errorf("row of %d bytes, at most %d are possible", len(value), maxEndpoint)
	}
	if err := json.Unmarshal(value, &w); err != nil {
		return w, err
	}
	if w.MTU != 0 && (w.MTU < leastMTU || w.MTU > mostMTU) {
		return w, fmt.Errorf("MTU %d, expected %d to %d", w.MTU, leastMTU, mostMTU)
	}
	if len(w.Keys) > maxAnnouncements {
		return w, fmt.Errorf("%d keys are announced, at most %d are possible", len(w.Keys), maxAnnouncements)
	}
	return w, nil
}
