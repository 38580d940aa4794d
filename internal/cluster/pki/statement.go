package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A statement is what a node says in writing, to be believed by who was not there:
//
//	length of certificate (2, big endian), certificate (DER), signature (ECDSA, SHA-256, ASN.1)
//
// The certificate's chain is left out: all nodes know the roots, and while one is
// replaced both.

// Sign returns the statement of a message.
func (id *Identity) Sign(message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	signature, err := ecdsa.SignASN1(rand.Reader, id.key, sum[:])
	if err != nil {
		return nil, err
	}
	cert := id.chain[0].Raw
	if len(cert) > 1<<16-1 {
		return nil, errors.New("the node's certificate is too long to be shown with a signature")
	}
	return slices.Concat(binary.BigEndian.AppendUint16(nil, uint16(len(cert))), cert, signature), nil
}

// Trust is a set of roots, parsed once, to verify statements by.
type Trust struct{ roots []*x509.Certificate }

// NewTrust parses roots.
func NewTrust(rootsPEM []byte) (Trust, error) {
	roots, err := parseCertificates(rootsPEM)
	return Trust{roots}, err
}

// Verify returns who states a message. The error says why, at this time, no root vouches
// for whoever does.
func (t Trust) Verify(message, statement []byte, now time.Time) (Subject, error) {
	if len(statement) < 2 || len(statement)-2 < int(binary.BigEndian.Uint16(statement)) {
		return Subject{}, errors.New("the statement is cut short")
	}
	n := 2 + int(binary.BigEndian.Uint16(statement))
	cert, err := x509.ParseCertificate(statement[2:n])
	if err != nil {
		return Subject{}, fmt.Errorf("the statement's certificate: %w", err)
	}
	if err := verify([]*x509.Certificate{cert}, t.roots, x509.ExtKeyUsageAny, now); err != nil {
		return Subject{}, err
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	sum := sha256.Sum256(message)
	if !ok || !ecdsa.VerifyASN1(key, sum[:], statement[n:]) {
		return Subject{}, fmt.Errorf("the signature is not that of %q", cert.Subject)
	}
	return subjectOf(cert)
}
