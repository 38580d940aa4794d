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

// wireNode is that row as it travels.
type wireNode struct {
	MTU int `json:"mtu"` // bytes of the largest IP packet the node can send to all others
}

func encodeMTU(mtu int) []byte { return fmt.Appendf(nil, `{"mtu":%d}`, mtu) }

func decodeMTU(value []byte) (int, error) {
	var w wireNode
	if err := json.Unmarshal(value, &w); err != nil {
		return 0, err
	}
	if w.MTU < leastMTU || w.MTU > mostMTU {
		return 0, fmt.Errorf("MTU %d, expected %d to %d", w.MTU, leastMTU, mostMTU)
	}
	return w.MTU, nil
}
