package keyring

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weft/ipsec"
)

// Theory of operation: a ring
//
// An epoch begins when the ring is told of it. Then the node has a key of it, which it
// announces beside the former epoch's: a peer that has not heard of the new one yet,
// or began with the former, finds the key it shares. The first epoch that a ring is
// told of brings a key of the one before as well, for peers that are behind. The one
// before the former is forgotten; what it led to lives on in the peers' pairs until
// they are retired (ipsec/peer.go).
//
// An announcement of a peer may come before the ring is told of its epoch: each peer's
// last two are kept, and tried again when an epoch begins. They are of one generation:
// with the first of a higher one nothing counts that was announced before. What is
// older is not looked at. A peer that is heard of no more is dropped, and with it
// everything it could send by.

// epochs is how many epochs a node has keys of, and announcements of each peer.
const epochs = 2

// Config is what a ring is made of.
type Config struct {
	// Own says who the node is, where, how it seals and with how many workers. Its
	// Epoch and Public are set by the ring. Its Generation must be higher than in all
	// former lives of the node.
	Own  ipsec.Announcement
	Sign ipsec.Signer
	AES  ipsec.AES // how the node computes AES-GCM
	// SendAfter and Grace are those of [ipsec.NewPeer].
	SendAfter, Grace time.Duration
}

// A Ring is a node's keys of one suite, and its peers.
type Ring struct {
	mu    sync.Mutex
	cfg   Config
	keys  []*key // the latest last
	peers map[string]*peer
}

// A key is one epoch of the node's.
type key struct {
	*ipsec.EpochKey
	encoded []byte
	since   time.Time
}

// A peer is another node that has announced itself.
type peer struct {
	*ipsec.Peer
	heard []ipsec.Announcement // of one generation, the latest epoch last
	// Probes go out seldomer and seldomer while nothing new is heard.
	next  time.Time
	pause time.Duration
}

// The time between two probes of a peer, and the head start that the announcement of
// a key has over the first: a probe that is faster cannot be opened, and is counted by
// the peer among what it drops.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
	headStart  = 200 * time.Millisecond
)

// New returns a ring without an epoch.
func New(c Config) *Ring { return &Ring{cfg: c, peers: make(map[string]*peer)} }

// Epoch returns the latest epoch the ring was told of, and when; 0 before the first.
func (r *Ring) Epoch() (epoch uint64, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) == 0 {
		return 0, since
	}
	k := r.keys[len(r.keys)-1]
	return k.Announcement().Epoch, k.since
}

// Begin makes the key of an epoch, if it is later than the last, and reports whether
// it was. Then Announcements has changed, and Inbound may have.
func (r *Ring) Begin(epoch uint64, now time.Time) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.keys); n > 0 && epoch <= r.keys[n-1].Announcement().Epoch {
		return false, nil
	}
	if len(r.keys) == 0 && epoch > 1 {
		if err := r.makeLocked(epoch-1, now); err != nil {
			return false, err
		}
	}
	if err := r.makeLocked(epoch, now); err != nil {
		return false, err
	}
	if len(r.keys) > epochs {
		r.keys[0].Forget()
		r.keys = slices.Delete(r.keys, 0, 1)
	}
	for _, p := range r.peers {
		r.pairLocked(p, now)
	}
	return true, nil
}

// Worn reports whether a key that the ring would go on with is past its soft limit.
func (r *Ring) Worn() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		if p.Worn() {
			return true
		}
	}
	return false
}

// Renew makes a new key of the latest epoch, of a generation that is higher than all
// before. The key from before goes on until the peers have this one. They take it for a
// start's, and send by it at once: what comes from one that has begun an epoch which this
// node has not heard of is lost for a moment. Then Announcements has changed, and Inbound
// may have.
func (r *Ring) Renew(generation uint64, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if generation <= r.cfg.Own.Generation {
		return fmt.Errorf("keyring: generation %d does not come after %d", generation, r.cfg.Own.Generation)
	}
	r.cfg.Own.Generation = generation
	if len(r.keys) == 0 {
		return nil
	}
	old := r.keys
	if err := r.makeLocked(old[len(old)-1].Announcement().Epoch, now); err != nil {
		return err
	}
	for _, k := range old {
		k.Forget()
	}
	r.keys = slices.Delete(r.keys, 0, len(old))
	for _, p := range r.peers {
		r.pairLocked(p, now)
	}
	return nil
}

// makeLocked makes the key of an epoch.
func (r *Ring) makeLocked(epoch uint64, now time.Time) error {
	own := r.cfg.Own
	own.Epoch = epoch
	k, err := ipsec.NewEpochKey(own, r.cfg.AES)
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	encoded, err := ipsec.Encode(k.Announcement(), r.cfg.Sign)
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	r.keys = append(r.keys, &key{k, encoded, now})
	return nil
}

// Announcements returns what the others are to be told: one encoding an epoch, the
// latest last. They are not to be changed.
func (r *Ring) Announcements() (out [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.keys {
		out = append(out, k.encoded)
	}
	return out
}

// Hear takes what one peer has announced, verified, and reports whether Inbound has
// changed. The error says of which announcement nothing came; the others count.
func (r *Ring) Hear(now time.Time, heard ...ipsec.Announcement) (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range heard {
		if a.Node == r.cfg.Own.Node {
			continue // what an earlier life of this node said
		}
		p := r.peers[a.Node]
		if p == nil {
			p = &peer{Peer: ipsec.NewPeer(r.cfg.SendAfter, r.cfg.Grace)}
			r.peers[a.Node] = p
		}
		fresh, e := p.note(a)
		if err = cmp.Or(err, e); !fresh {
			continue
		}
		did, e := r.pairLocked(p, now)
		changed, err = changed || did, cmp.Or(err, e)
	}
	return changed, err
}

// note keeps an announcement among the peer's last and reports whether it is one of
// them now and was not before.
func (p *peer) note(a ipsec.Announcement) (fresh bool, err error) {
	if n := len(p.heard); n > 0 && a.Generation != p.heard[0].Generation {
		if a.Generation < p.heard[0].Generation {
			return false, nil
		}
		p.heard = nil // it was started again
	}
	at, known := slices.BinarySearchFunc(p.heard, a.Epoch, func(b ipsec.Announcement, e uint64) int { return cmp.Compare(b.Epoch, e) })
	switch {
	case known && a != p.heard[at]:
		return false, fmt.Errorf("keyring: node %q, generation %d, epoch %d: %w", a.Node, a.Generation, a.Epoch, ipsec.ErrConflict)
	case known || at == 0 && len(p.heard) == epochs:
		return false, nil
	}
	p.heard = slices.Insert(p.heard, at, a)
	if len(p.heard) > epochs {
		p.heard = slices.Delete(p.heard, 0, 1)
	}
	return true, nil
}

// pairLocked makes the pairs that a peer's announcements and this node's keys allow.
func (r *Ring) pairLocked(p *peer, now time.Time) (changed bool, err error) {
	for _, a := range p.heard {
		for _, k := range r.keys {
			if k.Announcement().Epoch != a.Epoch {
				continue
			}
			pair, e := k.Pair(a)
			if e != nil {
				err = cmp.Or(err, e)
				continue
			}
			if p.Add(pair, now) {
				changed, p.next, p.pause = true, now, firstPause
				if heard := k.since.Add(headStart); heard.After(now) {
					p.next = heard
				}
			}
		}
	}
	return changed, err
}

// Peer returns the keys of a node and where it says that it receives; nil if it has
// announced nothing.
func (r *Ring) Peer(node string) (keys *ipsec.Peer, at ipsec.Announcement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.peers[node]
	if p == nil || len(p.heard) == 0 {
		return nil, at
	}
	return p.Peer, p.heard[len(p.heard)-1]
}

// Keep drops all peers but those for which keep is true, and reports whether Inbound
// has changed.
func (r *Ring) Keep(keep func(node string) bool) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for node := range r.peers {
		if !keep(node) {
			delete(r.peers, node)
			changed = true
		}
	}
	return changed
}

// Tick lets time pass and reports whether Inbound has changed.
func (r *Ring) Tick(now time.Time) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		changed = p.Tick(now) || changed
	}
	return changed
}

// A Probe is a dummy packet to be sent.
type Probe struct {
	To   netip.AddrPort
	InIP bool // whether it may be sent in IP
	By   *ipsec.Outbound
}

// Probes returns what is to be sent now, so that the others see that this node has
// their keys. unsettled says that it is to be asked for soon again.
func (r *Ring) Probes(now time.Time) (out []Probe, unsettled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		if now.Before(p.next) {
			unsettled = unsettled || p.pause < lastPause
			continue
		}
		sas := p.Probes(nil)
		for _, sa := range sas {
			last := &p.heard[len(p.heard)-1]
			out = append(out, Probe{last.VTEP, last.InIP, sa})
		}
		if len(sas) > 0 {
			unsettled = true
			p.next, p.pause = now.Add(p.pause), min(2*p.pause, lastPause)
		}
	}
	return out, unsettled
}

// VTEPs lists where the peers receive.
func (r *Ring) VTEPs() (out []netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		if n := len(p.heard); n > 0 {
			out = append(out, p.heard[n-1].VTEP)
		}
	}
	return out
}

// Inbound appends all that the peers may send by.
func (r *Ring) Inbound(sas []*ipsec.Inbound) []*ipsec.Inbound {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		sas = p.Inbound(sas)
	}
	return sas
}

// A Status is a peer's as shown to people.
type Status struct {
	Node  string
	VTEP  string
	Pairs []ipsec.PairStatus
}

// Status returns the peers, by name.
func (r *Ring) Status() (out []Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for node, p := range r.peers {
		s := Status{Node: node, Pairs: p.Status()}
		if n := len(p.heard); n > 0 {
			s.VTEP = p.heard[n-1].VTEP.String()
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

// Own returns who the node is in this ring.
func (r *Ring) Own() ipsec.Announcement {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cfg.Own
}
