package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Theory of operation: an identity's life
//
// A node makes a key and a request, a manager issues, NewIdentity puts both together
// with the roots to trust. The identity serves until RenewAt, when the node asks
// again with a fresh key; the new identity takes its place in one atomic write and,
// through Credentials, at the next handshake. Connections that stand are not
// ended. One that missed its renewal (see Valid) can only join again.

// An Identity is a node's key, its certificate chain and the roots it trusts. It
// does not change.
type Identity struct {
	key     *ecdsa.PrivateKey
	chain   []*x509.Certificate // the node's own first, then at most what a rotation needs
	roots   []*x509.Certificate
	subject Subject
}

// NewIdentity joins a key, the certificate a manager issued for it (the cross-signed
// root behind it, during a rotation) and the roots to trust. They must belong
// together, else the error is ErrForeign or tells what does not. Time is not looked
// at: see Valid.
func NewIdentity(key *ecdsa.PrivateKey, chainPEM, rootsPEM []byte) (*Identity, error) {
	chain, err := parseCertificates(chainPEM)
	if err != nil {
		return nil, fmt.Errorf("node certificate: %w", err)
	}
	roots, err := parseCertificates(rootsPEM)
	if err != nil {
		return nil, fmt.Errorf("root certificates: %w", err)
	}
	return newIdentity(key, chain, roots)
}

func newIdentity(key *ecdsa.PrivateKey, chain, roots []*x509.Certificate) (*Identity, error) {
	s, err := subjectOf(chain[0])
	if err != nil {
		return nil, err
	}
	for _, r := range roots {
		if !selfSigned(r) {
			return nil, fmt.Errorf("root certificates: %q, issued by %q, is not a root", r.Subject, r.Issuer)
		}
	}
	if !key.PublicKey.Equal(chain[0].PublicKey) {
		return nil, fmt.Errorf("the certificate of node %s is not of this private key", s.Node)
	}
	if !anchored(chain, roots) {
		return nil, fmt.Errorf("%w: no root that is trusted signed the certificate of node %s", ErrForeign, s.Node)
	}
	return &Identity{key: key, chain: chain, roots: roots, subject: s}, nil
}

// Subject returns who the node is.
func (id *Identity) Subject() Subject { return id.subject }

// Certificate returns the node's own certificate, for its serial number and dates.
// It must not be changed.
func (id *Identity) Certificate() *x509.Certificate { return id.chain[0] }

// RootsPEM returns the roots the node trusts.
func (id *Identity) RootsPEM() []byte { return encodeCertificates(id.roots...) }

// RenewAt returns when half of the time the certificate was issued for is over. The
// backdated hour does not count: else a short one would be renewed at once.
func (id *Identity) RenewAt() time.Time {
	issued := id.chain[0].NotBefore.Add(backdate)
	return issued.Add(id.chain[0].NotAfter.Sub(issued) / 2)
}

// Valid returns nil while the certificate is valid, before and after an ErrExpired
// that tells what to do.
func (id *Identity) Valid(now time.Time) error { return outOfTime(id.chain[0], now) }

// WithRoots returns the identity with other roots to trust. What was in its chain
// for the sake of roots that are gone, goes too. The error is ErrForeign when no new
// root signed the certificate: the node must renew it first.
func (id *Identity) WithRoots(rootsPEM []byte) (*Identity, error) {
	roots, err := parseCertificates(rootsPEM)
	if err != nil {
		return nil, fmt.Errorf("root certificates: %w", err)
	}
	chain := id.chain[:1:1]
	for _, c := range id.chain[1:] {
		if signedBy(c, roots) {
			chain = append(chain, c)
		}
	}
	n, err := newIdentity(id.key, chain, roots)
	if errors.Is(err, ErrForeign) {
		return nil, fmt.Errorf("%w: none of the new roots signed the certificate of node %s: it must be renewed first", ErrForeign, id.subject.Node)
	}
	return n, err
}

// present returns what the node shows in a handshake, with extra certificates
// behind its chain. A node whose own certificate is out of time hears so itself: all
// it would learn from the peer is that it was refused.
func (id *Identity) present(now time.Time, extra []*x509.Certificate) (*tls.Certificate, error) {
	if err := id.Valid(now); err != nil {
		return nil, err
	}
	c := &tls.Certificate{PrivateKey: id.key, Leaf: id.chain[0]}
	for _, x := range id.chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	for _, x := range extra {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c, nil
}
