package node

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/vswitch"
)

// Peers lists the tunnels to remote VTEPs, by network and address, and the
// sockets they share.
func (n *Node) Peers() ([]PeerStats, []Underlay) {
	ciphers := n.ciphers()
	n.path.mu.Lock()
	defer n.path.mu.Unlock()
	peers := []PeerStats{}
	for _, lp := range n.path.ports {
		if !lp.tunnel() {
			continue
		}
		c := lp.port.Stats()
		dom := n.path.current[lp.network]
		peers = append(peers, PeerStats{
			Network: dom.name, VNI: dom.vni, Peer: lp.plan.peer, Cipher: ciphers[lp.network], MTU: lp.plan.mtu, Learned: lp.port.Learned() + dom.behind(lp.key),
			RxFrames: c.InFrames, RxPackets: c.InPackets, RxBytes: c.InBytes,
			TxFrames: c.OutFrames, TxPackets: c.OutPackets, TxBytes: c.OutBytes,
			Drops: bothWays(&c),
		})
	}
	peers = n.path.lackingLocked(peers, ciphers)
	slices.SortFunc(peers, func(a, b PeerStats) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), a.Peer.Compare(b.Peer))
	})
	sockets := []Underlay{}
	for _, us := range n.path.underlay.sockets() {
		sockets = append(sockets, us.view())
	}
	return peers, sockets
}

// ciphers are those of the encrypted networks, by ID.
func (n *Node) ciphers() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	by := make(map[string]string)
	for id, nw := range n.networks {
		if nw.Driver == cnm.DriverOverlay && nw.overlay.Encrypted {
			by[id] = nw.overlay.Cipher.String()
		}
	}
	return by
}

// behind counts the hosts that static entries of a domain lead to by a port.
func (dom domainPlan) behind(key portKey) (count int) {
	for _, at := range dom.remotes {
		if at == key {
			count++
		}
	}
	return count
}

// lackingLocked appends the peers to which there should be tunnels.
func (d *dataPath) lackingLocked(peers []PeerStats, ciphers map[string]string) []PeerStats {
	for key, err := range d.faults {
		text, ok := strings.CutPrefix(key.port.ifName, tunnelPrefix)
		if key.port.sandbox != key.network || !ok {
			continue // a sandbox's port
		}
		peer, parseErr := netip.ParseAddrPort(text)
		dom, made := d.current[key.network]
		if parseErr == nil && made {
			peers = append(peers, PeerStats{Network: dom.name, VNI: dom.vni, Peer: peer, Cipher: ciphers[key.network], Drops: map[string]uint64{}, Fault: err.Error()})
		}
	}
	return peers
}

// overlayAdvice is what the user of a new overlay should know, or "".
func (n *Node) overlayAdvice(nw *network) string {
	advice := cnm.OverlayAdvice(nw.Network)
	n.mu.Lock()
	alone := len(nw.overlay.Peers) > 0 && len(n.remotesLocked(nw)) == 0
	n.mu.Unlock()
	if alone {
		text := "weft.peers names this node alone: the network reaches no other"
		if advice != "" {
			text += "; "
		}
		advice = text + advice
	}
	return advice
}

// bothWays adds up what was dropped on the way from a peer and to it.
func bothWays(s *vswitch.Stats) map[string]uint64 {
	var sum [frame.Reasons]uint64
	for r := range sum {
		sum[r] = s.Dropped[r] + s.OutDropped[r]
	}
	return dropNames(&sum)
}

func (us *underlaySocket) view() Underlay {
	s := us.Stats()
	return Underlay{
		Addr: us.Addr(), ESP: us.esp, InIP: us.inIP, Control: s.Control, SendRung: s.SendRung.String(), ReceiveRung: s.ReceiveRung.String(),
		RxDatagrams: s.Datagrams, TxDatagrams: s.SentDatagrams, GROMessages: s.Merged, GSOMessages: s.SentMerged,
		KernelDrops: s.KernelDrops, Fault: s.SendFault, Drops: dropNames(&s.Drops),
	}
}
