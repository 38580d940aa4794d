package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// What may be wrong with a peer, a certificate or a token.
var (
	ErrToken   = errors.New("join token")
	ErrExpired = errors.New("certificate out of its time")
	ErrForeign = errors.New("certificate of another swarm")
	ErrRole    = errors.New("certificate of another role")
	ErrNode    = errors.New("certificate of another node")
)

// errNoIdentity is what a handshake ends with on a node that has left.
var errNoIdentity = errors.New("this node has no certificate: it is not part of a swarm")

// outOfTime returns nil when c is valid at the time now, else an ErrExpired that
// says which end was missed. Both ends belong to the time (RFC 5280, section
// 4.1.2.5).
func outOfTime(c *x509.Certificate, now time.Time) error {
	what := "the certificate of node " + c.Subject.CommonName
	remedy := "if it is, the node must leave the swarm and join again"
	if c.IsCA {
		what = "the swarm's root certificate"
		remedy = "if it is, replace the root with `weft swarm ca --rotate`"
	}
	here := now.UTC().Format(time.RFC3339)
	switch {
	case now.Before(c.NotBefore):
		return fmt.Errorf("%w: %s is not valid before %s and here it is %s: is this machine's clock right?",
			ErrExpired, what, c.NotBefore.Format(time.RFC3339), here)
	case now.After(c.NotAfter):
		return fmt.Errorf("%w: %s ended %s and here it is %s: is this machine's clock right? %s",
			ErrExpired, what, c.NotAfter.Format(time.RFC3339), here, remedy)
	}
	return nil
}
