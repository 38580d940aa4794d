package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
)

func checkKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("expected at least one key, found none")
	}
	for i, k := range keys {
		if err := memberlist.ValidateKey(k); err != nil {
			return fmt.Errorf("key %d of %d bytes: %w", i, len(k), err)
		}
	}
	return nil
}

func newRing(keys [][]byte) (*memberlist.Keyring, error) {
	own := make([][]byte, len(keys))
	for i, k := range keys {
		own[i] = bytes.Clone(k)
	}
	return memberlist.NewKeyring(own, own[0])
}

// SetKeys replaces the ring while messages come and go: the first seals, all open.
// A key reaches every node as a later one of the ring before any node makes it the
// first.
func (g *Gossip) SetKeys(keys [][]byte) error {
	if err := checkKeys(keys); err != nil {
		return err
	}
	g.ringMu.Lock()
	defer g.ringMu.Unlock()
	for _, k := range keys {
		if err := g.ring.AddKey(bytes.Clone(k)); err != nil {
			return err
		}
	}
	if err := g.ring.UseKey(keys[0]); err != nil {
		return err
	}
	wanted := func(k []byte) bool {
		return slices.ContainsFunc(keys, func(w []byte) bool { return bytes.Equal(w, k) })
	}
	if !slices.ContainsFunc(g.ring.GetKeys(), func(k []byte) bool { return !wanted(k) }) {
		return nil
	}
	// Keyring.RemoveKey shifts what follows the key in a slice that readers may
	// hold: it is safe for the last key alone. Each UseKey makes a new slice with
	// its key in front, so the unwanted ones end up behind.
	for _, k := range slices.Backward(keys) {
		if err := g.ring.UseKey(k); err != nil {
			return err
		}
	}
	for _, k := range slices.Backward(g.ring.GetKeys()) {
		if wanted(k) {
			break
		}
		if err := g.ring.RemoveKey(k); err != nil {
			return err
		}
	}
	return nil
}
