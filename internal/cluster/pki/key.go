package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	pkcs8Block = "PRIVATE KEY"
	sec1Block  = "EC PRIVATE KEY"
)

// NewKey makes a private key.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return key, nil
}

// CSR returns a request (DER, PKCS #10, RFC 2986) for a certificate of key. It
// names nobody: see Root.Issue.
func CSR(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	return der, nil
}

// parseKey reads one private key on P-256, in PKCS #8 (RFC 5958) or SEC 1 (RFC
// 5915) form.
func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("not PEM, or cut off")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("something follows the private key")
	}
	var key any
	var err error
	switch block.Type {
	case pkcs8Block:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case sec1Block:
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("PEM block %q found, %s expected", block.Type, pkcs8Block)
	}
	if err != nil {
		return nil, err
	}
	k, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("private key of type %T found, ECDSA on P-256 expected", key)
	}
	if k.Curve != elliptic.P256() {
		return nil, fmt.Errorf("private key on the curve %s found, P-256 expected", k.Curve.Params().Name)
	}
	return k, nil
}

// encodeKey is the inverse of parseKey, in PKCS #8.
func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pkcs8Block, Bytes: der}), nil
}
