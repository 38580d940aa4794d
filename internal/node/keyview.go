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
		k.Peers = append(k.Peers, n.silentLocked(key, k.Peers)...)
		slices.SortFunc(k.Peers, func(a, b KeyPeer) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b KeyRing) int {
		return cmp.Or(slices.Compare(a.Networks, b.Networks), a.VTEP.Compare(b.VTEP))
	})
	return out
}

// silentLocked lists the nodes of a ring's networks that have announced no key: nothing
// goes to them.
func (n *Node) silentLocked(key ringKey, heard []KeyPeer) (silent []KeyPeer) {
	add := func(p KeyPeer) {
		same := func(o KeyPeer) bool { return o.ID == p.ID }
		if !slices.ContainsFunc(heard, same) && !slices.ContainsFunc(silent, same) {
			silent = append(silent, p)
		}
	}
	for _, nw := range n.usersLocked(key) {
		if nw.Scope == cnm.ScopeSwarm {
			if n.member == nil {
				continue
			}
			for _, p := range n.member.Neighbours(nw.ID).Nodes {
				if slices.ContainsFunc(p.DataPath, func(at netip.AddrPort) bool { return at.Addr().Is6() == key.six }) {
					add(KeyPeer{ID: p.ID, Name: p.Name})
				}
			}
			continue
		}
		for _, p := range n.remotesLocked(nw) {
			if p.Addr().Is6() == key.six {
				add(KeyPeer{ID: n.staticESP(nw, p).String()})
			}
		}
	}
	return silent
}

// usersLocked lists the networks in use here that need a ring.
func (n *Node) usersLocked(key ringKey) (users []*network) {
	for _, nw := range n.networks {
		if nw.Driver == cnm.DriverOverlay && !nw.ConfigOnly && nw.overlay.Encrypted && ringKeyOf(&nw.overlay, key.six) == key &&
			(nw.Scope != cnm.ScopeSwarm) == (key.secret != "") && (nw.Scope != cnm.ScopeSwarm || len(n.endpointsLocked(nw.ID)) > 0) {
			users = append(users, nw)
		}
	}
	return users
}

// networksOfLocked names them.
func (n *Node) networksOfLocked(key ringKey) (names []string) {
	for _, nw := range n.usersLocked(key) {
		names = append(names, nw.Name)
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
	slices.SortFunc(out, func(a, b ipsec.ExportedSA) int {
		return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To), cmp.Compare(a.SPI, b.SPI))
	})
	if len(out) > 0 {
		n.log.Warn("keys of encrypted networks were given out: who has them reads what they seal", "network", network, "keys", len(out))
	}
	return out, nil
}
