package node

import (
	"cmp"
	"slices"
)

// Peers lists the tunnels to remote VTEPs, by network and address, and the
// sockets they share.
func (n *Node) Peers() ([]PeerStats, []Underlay) {
	n.path.mu.Lock()
	defer n.path.mu.Unlock()
	var peers []PeerStats
	for _, lp := range n.path.ports {
		if lp.charge != nil {
			continue
		}
		c := lp.port.Stats()
		dom := n.path.current[lp.network]
		peers = append(peers, PeerStats{
			Network: dom.name, VNI: dom.vni, Peer: lp.plan.peer, MTU: lp.plan.mtu, Learned: lp.port.Learned(),
			RxFrames: c.InFrames, RxPackets: c.InPackets, RxBytes: c.InBytes,
			TxFrames: c.OutFrames, TxPackets: c.OutPackets, TxBytes: c.OutBytes,
			Drops: dropNames(&c.Dropped), TxDrops: dropNames(&c.OutDropped),
		})
	}
	slices.SortFunc(peers, func(a, b PeerStats) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), a.Peer.Compare(b.Peer))
	})
	var sockets []Underlay
	for _, us := range n.path.underlay.sockets() {
		sockets = append(sockets, us.view())
	}
	return peers, sockets
}
