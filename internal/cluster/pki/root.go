package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Theory of operation: the root, and how it is replaced
//
// A root is a key and a certificate signed by it. All managers hold it; any of them
// may issue. Certificates begin an hour (backdate) before they are made, so that
// a node whose clock is up to an hour behind accepts them; no end is moved.
//
// Replacing root A by root B, without a moment in which members refuse each other:
//
//	1. a manager makes B and B.CrossSign(A): B's key and name, signed by A.
//	2. nodes renew. Chains are now [leaf signed by B, B signed by A], and those who
//	   have one trust A and B: they accept old nodes and each other, and nodes that
//	   trust A alone accept them.
//	3. when all have renewed, nodes trust B alone (Identity.WithRoots), one after
//	   another. Old certificates end here, and the cross-signed one falls out of
//	   the chains.
//
// Trust in A alone must be gone before step 3. A join token names a root by its
// digest: that of A is good until step 3, that of B at managers that have renewed.

const (
	// DefaultValidity is how long a node's certificate holds, Docker's 90 days.
	DefaultValidity = 90 * 24 * time.Hour
	// MinValidity is the shortest time one may ask for, Docker's too.
	MinValidity = time.Hour

	rootValidity = 20 * 365 * 24 * time.Hour
	backdate     = time.Hour
	rootName     = "swarm-ca"
)

// A Root signs the certificates of a cluster's nodes.
type Root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewRoot makes a root with a fresh key, valid for 20 years.
func NewRoot(cluster string, now time.Time) (*Root, error) {
	if err := (Subject{Node: rootName, Cluster: cluster, Role: Manager}).check(); err != nil {
		return nil, fmt.Errorf("root certificate: %w", err)
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	t := authority(pkix.Name{CommonName: rootName, Organization: []string{cluster}}, now.Add(-backdate), now.Add(rootValidity))
	t.MaxPathLen = 1 // a successor, cross-signed
	cert, err := sign(t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("root certificate: %w", err)
	}
	return &Root{cert: cert, key: key}, nil
}

// ParseRoot reads a root from PEM: one self-signed certificate that may sign others
// and have one between, and its key. Its time is not looked at.
func ParseRoot(certPEM, keyPEM []byte) (*Root, error) {
	c, err := parseOne(certPEM)
	if err != nil {
		return nil, fmt.Errorf("root certificate: %w", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("key of the root certificate: %w", err)
	}
	switch {
	case !selfSigned(c): // of an authority, with the right to sign: CheckSignatureFrom
		return nil, fmt.Errorf("root certificate: %q, issued by %q, is not a self-signed certificate of an authority", c.Subject, c.Issuer)
	case c.MaxPathLenZero:
		return nil, errors.New("root certificate: it permits none between it and a node's (path length 0): replacing it needs one")
	case !key.PublicKey.Equal(c.PublicKey):
		return nil, errors.New("root certificate: the key is of another certificate")
	}
	return &Root{cert: c, key: key}, nil
}

// CertPEM returns the certificate.
func (r *Root) CertPEM() []byte { return encodeCertificates(r.cert) }

// KeyPEM returns the private key, in the clear.
func (r *Root) KeyPEM() ([]byte, error) { return encodeKey(r.key) }

// Issue makes a certificate for the key of a request. Everything else the request
// says is ignored; names come from s, which the caller has authenticated. validity 0
// means DefaultValidity; none outlives the root.
func (r *Root) Issue(csrDER []byte, s Subject, now time.Time, validity time.Duration) (certPEM []byte, err error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if validity == 0 {
		validity = DefaultValidity
	}
	if validity < MinValidity {
		return nil, fmt.Errorf("certificate of node %s: %v asked for, at least %v expected", s.Node, validity, MinValidity)
	}
	if err := outOfTime(r.cert, now); err != nil {
		return nil, err
	}
	req, err := x509.ParseCertificateRequest(csrDER)
	if err == nil {
		err = req.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("certificate request of node %s: %w", s.Node, err)
	}
	pub, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, fmt.Errorf("certificate request of node %s: key of type %T found, ECDSA on P-256 expected", s.Node, req.PublicKey)
	}
	c, err := sign(&x509.Certificate{
		Subject: s.name(), NotBefore: now.Add(-backdate), NotAfter: earlier(now.Add(validity), r.cert.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}, r.cert, pub, r.key)
	if err != nil {
		return nil, fmt.Errorf("certificate of node %s: %w", s.Node, err)
	}
	return encodeCertificates(c), nil
}

// CrossSign returns a certificate for r's name and key signed by old. Behind a
// certificate that r issued it makes a chain which those who trust old accept. It
// holds while both roots do.
func (r *Root) CrossSign(old *Root) (certPEM []byte, err error) {
	t := authority(r.cert.Subject, later(r.cert.NotBefore, old.cert.NotBefore), earlier(r.cert.NotAfter, old.cert.NotAfter))
	t.MaxPathLenZero = true
	t.RawSubject = r.cert.RawSubject
	// Both roots may have the same name: the key identifiers tell them apart.
	t.SubjectKeyId, t.AuthorityKeyId = r.cert.SubjectKeyId, old.cert.SubjectKeyId
	c, err := sign(t, old.cert, r.cert.PublicKey, old.key)
	if err != nil {
		return nil, fmt.Errorf("cross-signing the new root certificate: %w", err)
	}
	return encodeCertificates(c), nil
}

// authority returns the template of a certificate that may sign others.
func authority(name pkix.Name, from, to time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject: name, NotBefore: from, NotAfter: to,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, IsCA: true,
	}
}

// sign gives a template a random serial number and a signature.
func sign(t, parent *x509.Certificate, pub any, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	var serial [16]byte
	rand.Read(serial[:])
	serial[0] = serial[0]&0x7f | 0x40 // positive, never zero (RFC 5280, section 4.1.2.2)
	t.SerialNumber = new(big.Int).SetBytes(serial[:])
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
