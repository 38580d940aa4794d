package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Peer is what the other side of a connection must be, besides a member of the
// cluster. The zero Peer is any member.
type Peer struct {
	Roles []Role // any of them; none: every role
	Node  string // empty: every node
}

// check compares a member with what it must be.
func (p Peer) check(s Subject) error {
	if len(p.Roles) > 0 && !slices.Contains(p.Roles, s.Role) {
		return fmt.Errorf("%w: node %s is a %s, %v expected: was its role changed, or the wrong address used?", ErrRole, s.Node, s.Role, p.Roles)
	}
	if p.Node != "" && p.Node != s.Node {
		return fmt.Errorf("%w: node %s found, %s expected: has its address been given to another machine?", ErrNode, s.Node, p.Node)
	}
	return nil
}

// PeerSubject returns who is at the other end of a connection that one of this
// package's configurations made: it has been verified in the handshake.
func PeerSubject(cs tls.ConnectionState) (Subject, error) {
	if len(cs.PeerCertificates) == 0 {
		return Subject{}, errors.New("the peer has shown no certificate")
	}
	return subjectOf(cs.PeerCertificates[0])
}

// verify checks that chain, the peer's own certificate first, leads to one of the
// roots now, and that it is for the given side of a connection.
func verify(chain, roots []*x509.Certificate, side x509.ExtKeyUsage, now time.Time) error {
	if len(chain) == 0 || len(chain) > maxChain {
		return fmt.Errorf("the peer has shown %d certificates, 1 to %d expected", len(chain), maxChain)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: pool(roots), Intermediates: pool(chain[1:]), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{side},
	})
	if err == nil {
		return nil
	}
	// Refused. The rest finds the best words.
	if !anchored(chain, roots) {
		return fmt.Errorf("%w: no root that this node trusts signed the certificate of %q: the peer is of another swarm, or missed the replacing of this one's root and must leave and join again", ErrForeign, chain[0].Subject)
	}
	for _, c := range slices.Concat(chain, roots) {
		if err := outOfTime(c, now); err != nil {
			return err
		}
	}
	return fmt.Errorf("the certificate of %q: %w", chain[0].Subject, err)
}

// anchored reports whether signatures lead from a chain to a root, over one
// certificate at most, whatever the time.
func anchored(chain, roots []*x509.Certificate) bool {
	if signedBy(chain[0], roots) {
		return true
	}
	return slices.ContainsFunc(chain[1:], func(c *x509.Certificate) bool {
		return chain[0].CheckSignatureFrom(c) == nil && signedBy(c, roots)
	})
}

// signedBy reports whether one of the authorities signed c.
func signedBy(c *x509.Certificate, authorities []*x509.Certificate) bool {
	return slices.ContainsFunc(authorities, func(a *x509.Certificate) bool { return c.CheckSignatureFrom(a) == nil })
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}
