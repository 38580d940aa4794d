package ipsec

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
)

// A PSK authenticates announcements where there are no certificates: on static
// overlays, whose nodes share one secret. By it anybody who has the secret may
// speak for any node; what was sealed before it leaked stays sealed, for keys do
// not come from it.
//
// A node is called by its VTEP there, and its generation must rise with each
// start, which is its owner's to see to. A receiver that has just started knows no
// generations, and so takes an old announcement that somebody replays; it then
// seals what nobody can open, until it hears the node itself, whose generation is
// higher.
type PSK struct{ key []byte }

// MinSecret is how many bytes a secret must have.
const MinSecret = 16

// NewPSK returns the PSK of a secret of 16 bytes or more.
func NewPSK(secret []byte) (*PSK, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("pre-shared key has %d bytes, want at least %d", len(secret), MinSecret)
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "weft static overlay announcement", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("pre-shared key: %w", err)
	}
	return &PSK{key}, nil
}

// Sign is the [Signer] that MACs messages under the PSK (HMAC-SHA-256).
func (p *PSK) Sign(message []byte) ([]byte, error) {
	h := hmac.New(sha256.New, p.key)
	h.Write(message)
	return h.Sum(nil), nil
}

// Verify is the [Verifier] to it. A node must be called by its VTEP; that the VTEP
// is a peer, and the sender of the datagram, is left to the caller.
func (p *PSK) Verify(a *Announcement, message, mac []byte) error {
	want, err := p.Sign(message)
	if err != nil {
		return err
	}
	if !hmac.Equal(mac, want) {
		return errors.New("not made with this overlay's pre-shared key")
	}
	if a.Node != a.VTEP.String() {
		return fmt.Errorf("node %q is at %v: nodes of a static overlay are called by their VTEP", a.Node, a.VTEP)
	}
	return nil
}
