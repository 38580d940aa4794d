package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// Theory of operation: handshakes
//
// The configurations here turn off what crypto/tls verifies by itself, host names
// included, and do all of it in VerifyConnection, which runs in every handshake, on
// both sides. Tickets are off: each connection proves itself anew, so that a change
// of roots or of identity needs no restart.
//
// In TLS 1.3 a client has finished before the server looks at its certificate (RFC
// 8446, section 4.4.2): a client that is refused gets an alert at its first read,
// "bad certificate"; why, stands in the server's error.
//
// Joining: the server sends its roots behind its chain and asks for no certificate.
// The client looks for the root its token names, and for a manager's certificate
// under it, before it sends anything.
//
// Callers add their protocols (NextProtos) to a configuration.

// Credentials are what a node's configurations ask for at each handshake.
type Credentials struct {
	Identity func() *Identity // nil from it: the node is in no cluster, handshakes fail
	Now      func() time.Time
}

// Server returns a configuration that accepts members of the given roles; of every
// role when there is none.
func (c Credentials) Server(allow ...Role) *tls.Config {
	conf := newConfig()
	conf.ClientAuth = tls.RequireAnyClientCert
	conf.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.present(false) }
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		return c.verify(cs, x509.ExtKeyUsageClientAuth, Peer{Roles: allow})
	}
	return conf
}

// Client returns a configuration that accepts servers that are what want says.
func (c Credentials) Client(want Peer) *tls.Config {
	conf := newConfig()
	conf.InsecureSkipVerify = true // VerifyConnection does more
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.present(false) }
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		return c.verify(cs, x509.ExtKeyUsageServerAuth, want)
	}
	return conf
}

// JoinServer returns a manager's configuration for those who have no certificate
// yet. Nothing is known of who comes in: it must show a secret.
func (c Credentials) JoinServer() *tls.Config {
	conf := newConfig()
	conf.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.present(true) }
	return conf
}

// JoinClient returns a configuration that accepts a manager of the cluster whose
// root the token names; the secret may be sent after the handshake. Its errors are
// ErrForeign, ErrExpired or ErrRole.
func JoinClient(t Token, now func() time.Time) *tls.Config {
	conf := newConfig()
	conf.InsecureSkipVerify = true // VerifyConnection does more
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		root := t.root(cs.PeerCertificates)
		if root == nil {
			return fmt.Errorf("%w: the token is not of the swarm at this address: was it copied right, and has the swarm's root been replaced since? `weft swarm join-token` on a manager prints the present one", ErrForeign)
		}
		if err := verify(cs.PeerCertificates, []*x509.Certificate{root}, x509.ExtKeyUsageServerAuth, now()); err != nil {
			return err
		}
		s, err := PeerSubject(cs)
		if err != nil {
			return err
		}
		return Peer{Roles: []Role{Manager}}.check(s)
	}
	return conf
}

// newConfig returns what all have in common.
func newConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
}

// present returns the node's certificate of the moment, its roots behind it or not.
func (c Credentials) present(withRoots bool) (*tls.Certificate, error) {
	id := c.Identity()
	switch {
	case id == nil:
		return nil, errNoIdentity
	case withRoots:
		return id.present(c.Now(), id.roots)
	}
	return id.present(c.Now(), nil)
}

// verify checks that the peer is a member, and what it must be.
func (c Credentials) verify(cs tls.ConnectionState, side x509.ExtKeyUsage, want Peer) error {
	id := c.Identity()
	if id == nil {
		return errNoIdentity
	}
	if err := verify(cs.PeerCertificates, id.roots, side, c.Now()); err != nil {
		return err
	}
	s, err := PeerSubject(cs)
	if err != nil {
		return err
	}
	if s.Cluster != id.subject.Cluster {
		return fmt.Errorf("%w: node %s is of swarm %s, this node is of %s", ErrForeign, s.Node, s.Cluster, id.subject.Cluster)
	}
	return want.check(s)
}
