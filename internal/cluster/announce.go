package cluster

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weft/internal/cluster/pki"
	"weft/ipsec"
)

// Theory of operation: keys of encrypted networks
//
// A node tells the others of its epoch keys (package ipsec) in the row that it writes
// about itself on a network: so they come with the network, and only to nodes that have
// it. The gossip proves nothing of who wrote a row; an announcement is signed with the
// node's certificate, and believed if the managers know the node, and that it is at the
// address which the announcement names.
//
// Signatures are verified once: what was found to be true is kept by its bytes, until
// the roots change.

// Sign signs an announcement with this node's certificate. It is an [ipsec.Signer].
func (m *Member) Sign(message []byte) ([]byte, error) { return m.identity.Load().Sign(message) }

// NextRotation returns when the next epoch begins, unless somebody asks for it before;
// the zero time if it is being done.
func (m *Member) NextRotation() time.Time {
	v := m.View()
	if v.EpochSince.IsZero() {
		return time.Time{}
	}
	return v.EpochSince.Add(v.KeyRotation)
}

// maxVerified bounds the announcements that are remembered.
const maxVerified = 8192

// verified remembers announcements whose signatures were right. Its zero value is
// empty.
type verified struct {
	mu    sync.Mutex
	roots []byte
	trust pki.Trust
	known map[string]ipsec.Announcement
}

// announcements returns those of a node's that can be believed.
func (m *Member) announcements(n *Node, encoded [][]byte) (out []ipsec.Announcement, err error) {
	for _, b := range encoded {
		a, e := m.verified.decode(m.View(), b, m.cfg.now())
		switch {
		case e != nil:
		case a.Node != n.ID:
			e = fmt.Errorf("node %s has announced a key of node %s", n.ID, a.Node)
		case !slices.ContainsFunc(n.DataPath, func(p netip.AddrPort) bool { return p.Addr() == a.VTEP.Addr() }):
			e = fmt.Errorf("it has announced a key at %s, where it has no data path", a.VTEP)
		default:
			out = append(out, a)
		}
		if err == nil {
			err = e
		}
	}
	return out, err
}

func (v *verified) decode(view *View, encoded []byte, now time.Time) (ipsec.Announcement, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil || !bytes.Equal(v.roots, view.Roots) {
		trust, err := pki.NewTrust(view.Roots)
		if err != nil {
			return ipsec.Announcement{}, err
		}
		v.roots, v.trust, v.known = view.Roots, trust, make(map[string]ipsec.Announcement)
	}
	if a, ok := v.known[string(encoded)]; ok {
		return a, nil
	}
	a, err := ipsec.Decode(encoded, func(a *ipsec.Announcement, message, signature []byte) error {
		s, err := v.trust.Verify(message, signature, now)
		switch {
		case err != nil:
			return err
		case s.Cluster != view.Cluster || s.Node != a.Node:
			return fmt.Errorf("node %s speaks for node %s", s.Node, a.Node)
		}
		return nil
	})
	if err != nil {
		return a, err
	}
	if len(v.known) >= maxVerified {
		for k := range maps.Keys(v.known) { // any half
			if len(v.known) <= maxVerified/2 {
				break
			}
			delete(v.known, k)
		}
	}
	v.known[string(encoded)] = a
	return a, nil
}
