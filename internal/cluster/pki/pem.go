package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	certBlock = "CERTIFICATE"

	// maxChain bounds the certificates of a chain, of a bundle of roots and of what a
	// peer may present: a node's own, those between, roots of a rotation under way.
	maxChain = 8
)

// parseCertificates reads one to maxChain certificates and nothing else.
func parseCertificates(text []byte) (certs []*x509.Certificate, err error) {
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("not PEM, or cut off")
		}
		if block.Type != certBlock {
			return nil, fmt.Errorf("PEM block %q found, %s expected", block.Type, certBlock)
		}
		if len(certs) == maxChain {
			return nil, fmt.Errorf("more than %d certificates", maxChain)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if certs == nil {
		return nil, errors.New("no certificate")
	}
	return certs, nil
}

// parseOne reads exactly one certificate.
func parseOne(text []byte) (*x509.Certificate, error) {
	certs, err := parseCertificates(text)
	if err != nil {
		return nil, err
	}
	if len(certs) != 1 {
		return nil, fmt.Errorf("%d certificates found, 1 expected", len(certs))
	}
	return certs[0], nil
}

// encodeCertificates is the inverse of parseCertificates.
func encodeCertificates(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		pem.Encode(&b, &pem.Block{Type: certBlock, Bytes: c.Raw}) // a Buffer takes all
	}
	return b.Bytes()
}

// selfSigned reports whether c is signed by its own key, which a cross-signed root,
// of the same name, is not.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(c) == nil
}
