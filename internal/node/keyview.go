package node

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"weft/internal/cnm"
	"weft/ipsec"
)

// A KeyRing is what this node has keys for: the networks of one cipher, in a swarm or
// with one secret.
type KeyRing struct {
	Networks   []string // by name
	Cipher     string
	ESN        bool
	Secret     string // the file of a static overlay's secret; "": the swarm's certificates
	VTEP       netip.AddrPort
	Epoch      uint64
	Since      time.Time // when the epoch began here
	Next       time.Time // when the next begins, unless somebody asks for it before; zero: not known here
	Generation uint64    // of this node's keys
	Peers      []KeyPeer
}

// A KeyPeer is another node that this one shares keys with.
type KeyPeer struct {
	ID    string // in a swarm; else its VTEP
	Name  string // in a swarm
	VTEP  string // where it receives; empty: it has announced no key
	Ready bool   // it has shown that it can open what this node sends
	Pairs []ipsec.PairStatus
}

// Keys returns the key rings, by their first network.
func (n *Node) Keys() (out []KeyRing) {
	n.mu.Lock()
	defer n.mu.Unlock()
	names := make(map[string]string)
	if n.member != nil {
		for _, s := range n.member.View().Nodes {
			names[s.ID] = s.Hostname
		}
	}
	for key, r := range n.rings {
		own := r.Own()
		k := KeyRing{
			Networks: n.networksOfLocked(key), Cipher: key.algorithm.String(), ESN: key.esn, Secret: key.secret, VTEP: own.VTEP, Generation: own.Generation,
		}
		if k.Epoch, k.Since = r.Epoch(); key.secret != "" {
			k.Next = time.Unix(int64((k.Epoch+1)*uint64(staticEpoch/time.Second)), 0)
		} else if n.member != nil {
			k.Next = n.member.NextRotation()
		}
		for _, s := range r.Status() {
			peer, _ := r.Peer(s.Node)
			k.Peers = append(k.Peers, KeyPeer{ID: s.Node, Name: names[s.Node], VTEP: s.VTEP, Ready: peer != nil && peer.Proven(), Pairs: s.Pairs})
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b KeyRing) int {
		return cmp.Or(slices.Compare(a.Networks, b.Networks), a.VTEP.Compare(b.VTEP))
	})
	return out
}

// networksOfLocked names the networks in use here that need a ring.
func (n *Node) networksOfLocked(key ringKey) (names []string) {
	for _, nw := range n.networks {
		if nw.Driver == cnm.DriverOverlay && !nw.ConfigOnly && nw.overlay.Encrypted && ringKeyOf(&nw.overlay, key.six) == key &&
			(nw.Scope != cnm.ScopeSwarm || len(n.endpointsLocked(nw.ID)) > 0) {
			names = append(names, nw.Name)
		}
	}
	slices.Sort(names)
	return names
}

// ExportKeys returns all that can be opened with the keys this node has now of a
// network's peers, of all networks' if it names none. That they were given out is
// logged.
func (n *Node) ExportKeys(network string) ([]ipsec.ExportedSA, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if network != "" {
		nw, err := n.findNetworkLocked(network)
		if err != nil {
			return nil, err
		}
		if nw.Driver != cnm.DriverOverlay || !nw.overlay.Encrypted {
			return nil, cnm.Errorf(cnm.Invalid, "network %s is not encrypted", nw.Name)
		}
		network = nw.Name
	}
	var out []ipsec.ExportedSA
	for key, r := range n.rings {
		if network != "" && !slices.Contains(n.networksOfLocked(key), network) {
			continue
		}
		for _, s := range r.Status() {
			if peer, _ := r.Peer(s.Node); peer != nil {
				out = append(out, peer.Export(r.Own().VTEP.Addr())...)
			}
		}
	}
	n.log.Warn("keys of encrypted networks were given out: who has them reads what they seal", "network", network, "keys", len(out))
	return out, nil
}
