package ipsec

import (
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
)

// Theory of operation: keys
//
// An epoch is a number that all nodes agree on: the managers count them, on a
// static overlay the clock does. For each epoch a node makes one X25519 key and
// announces its public half, signed, together with all that a receiver must know
// of it: who it is and where, its generation, by which algorithm it sends, with
// how many workers. When a node has its own key of an epoch and another's
// announcement for it, it has all the SAs of the two, in both directions: key, salt
// and SPI of each come from the Diffie-Hellman secret by HKDF (derive.go).
// Nothing is exchanged, and the first packet can be opened.
//
// A generation numbers the starts of a node's daemon. The private key lives in
// memory alone, so a restart makes another, and announces it with a higher
// generation; others then drop what they had of the former.
//
// What must never happen is that one key counts from 1 twice, or that its replay
// window begins anew. An EpochKey therefore keeps the Pair of each peer and gives
// out the same one when it is asked again. A peer's higher generation replaces the
// pair for good: a lower one, or another key under the same generation, is
// refused. And the node's own part is fixed when the key is made: another
// algorithm or number of workers takes another EpochKey, with a higher generation
// or another epoch.
//
// Forget ends it: pairs go on, new ones cannot be made, and with the last pair
// nothing is left by which the epoch's traffic could be read. Go's garbage
// collector may leave copies in freed memory.

// Why a pair was refused.
var (
	ErrStale     = errors.New("announcement is older than what is known of the node")
	ErrConflict  = errors.New("announcement contradicts an earlier one of the same generation and epoch")
	ErrForgotten = errors.New("epoch key was forgotten")
	ErrFull      = errors.New("epoch key has as many peers as it may")
)

// maxPeers bounds the pairs of an EpochKey.
const maxPeers = 4096

// An EpochKey is what a node needs to derive the SAs of one epoch.
type EpochKey struct {
	own Announcement
	aes AES

	mu      sync.Mutex
	private *ecdh.PrivateKey // nil when forgotten
	pairs   map[string]*Pair // by the peer's node
}

// NewEpochKey makes a key for the node, generation and epoch that own names, and
// all else it says; its Public is set by this. way is how the node computes AES-GCM.
func NewEpochKey(own Announcement, way AES) (*EpochKey, error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("epoch %d: %w", own.Epoch, err)
	}
	return newEpochKey(own, private, way)
}

func newEpochKey(own Announcement, private *ecdh.PrivateKey, way AES) (*EpochKey, error) {
	own.Public = [publicLen]byte(private.PublicKey().Bytes())
	if err := own.check(); err != nil {
		return nil, err
	}
	return &EpochKey{own: own, aes: way, private: private, pairs: make(map[string]*Pair)}, nil
}

// Announcement returns what the other nodes must be told.
func (k *EpochKey) Announcement() Announcement { return k.own }

// Pair returns the SAs shared with the node that announced peer, the same ones each
// time. The announcement must have been verified ([Decode]). The error wraps
// ErrStale, ErrConflict, ErrForgotten or ErrFull, or says what is wrong with the
// announcement.
func (k *EpochKey) Pair(peer Announcement) (*Pair, error) {
	pair, err := k.pair(peer)
	if err != nil {
		return nil, fmt.Errorf("node %q, generation %d, epoch %d: %w", peer.Node, peer.Generation, peer.Epoch, err)
	}
	return pair, nil
}

func (k *EpochKey) pair(peer Announcement) (*Pair, error) {
	if err := peer.check(); err != nil {
		return nil, err
	}
	switch {
	case peer.Epoch != k.own.Epoch:
		return nil, fmt.Errorf("this key is for epoch %d", k.own.Epoch)
	case peer.Node == k.own.Node || peer.Public == k.own.Public:
		return nil, errors.New("announced by this node itself")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if old := k.pairs[peer.Node]; old != nil {
		switch {
		case peer == old.peer:
			return old, nil
		case peer.Generation < old.peer.Generation:
			return nil, ErrStale
		case peer.Generation == old.peer.Generation:
			return nil, ErrConflict
		}
	} else if len(k.pairs) >= maxPeers {
		return nil, ErrFull
	}
	if k.private == nil {
		return nil, ErrForgotten
	}
	pair, err := derivePair(k.private, &k.own, &peer, k.aes)
	if err != nil {
		return nil, err
	}
	k.pairs[peer.Node] = pair
	return pair, nil
}

// Forget drops the private key: no further pair can be made.
func (k *EpochKey) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.private = nil
}

// A Pair is all SAs of two nodes in one epoch: one for each worker of either that
// sends. It is immutable, but for what its SAs count.
type Pair struct {
	peer Announcement
	out  []*Outbound // by worker of this node
	in   []*Inbound  // by worker of the peer
}

// Peer returns what the other node announced.
func (p *Pair) Peer() Announcement { return p.peer }

// Outbound returns the SA by which a worker of this node sends, nil if there is
// none for it.
func (p *Pair) Outbound(worker int) *Outbound {
	if p == nil || uint(worker) >= uint(len(p.out)) {
		return nil
	}
	return p.out[worker]
}

// Inbound returns the SAs by which the peer sends.
//
// borrowed: the slice is the pair's, to be read only.
func (p *Pair) Inbound() []*Inbound { return p.in }

// Heard reports whether an authentic packet has come by the pair. Then the peer has
// it as well.
func (p *Pair) Heard() bool {
	if p == nil {
		return false
	}
	for _, sa := range p.in {
		if sa.Packets() > 0 {
			return true
		}
	}
	return false
}

// Worn reports whether an SA of this node is past its soft limit.
func (p *Pair) Worn() bool {
	for _, sa := range p.out {
		if sa.Worn() {
			return true
		}
	}
	return false
}
