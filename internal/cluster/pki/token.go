package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"math/big"
	"strings"
)

// The form of a join token, Docker's: SWMTKN-1-<digest>-<secret>, both numbers big
// endian in base 36 with leading zeros.
const (
	tokenPrefix  = "SWMTKN-1-"
	digestDigits = 50 // of 256 bits
	secretDigits = 25 // of 128 bits
	base36       = "0123456789abcdefghijklmnopqrstuvwxyz"
)

// A Secret lets a node in; a cluster has one per role. It is 16 random bytes.
type Secret [16]byte

// NewSecret returns a fresh secret.
func NewSecret() (s Secret) {
	rand.Read(s[:]) // never fails
	return s
}

// Equal compares in constant time.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare(s[:], other[:]) == 1
}

// String returns the secret as it stands in a token.
func (s Secret) String() string { return digits(s[:], secretDigits) }

// ParseSecret reads a secret as it stands in a token. Its errors are ErrToken.
func ParseSecret(text string) (s Secret, err error) {
	err = number(s[:], "secret", text, secretDigits)
	return s, err
}

// A Token is what a new node is given by hand: the root it may trust, and the secret
// by which the managers trust it.
type Token struct {
	Digest [sha256.Size]byte // SHA-256 of the root certificate (DER)
	Secret Secret
}

// NewToken returns the token of a cluster whose root certificate is rootPEM.
func NewToken(rootPEM []byte, s Secret) (Token, error) {
	c, err := parseOne(rootPEM)
	if err != nil {
		return Token{}, fmt.Errorf("root certificate: %w", err)
	}
	return Token{Digest: sha256.Sum256(c.Raw), Secret: s}, nil
}

// String returns the token as ParseToken reads it: it contains the secret.
func (t Token) String() string {
	return tokenPrefix + digits(t.Digest[:], digestDigits) + "-" + digits(t.Secret[:], secretDigits)
}

// ParseToken reads a token, with space around it. Its errors are ErrToken. A token
// has no checksum: one with a digit changed is found out when its digest matches no
// root, or its secret no cluster's.
func ParseToken(text string) (t Token, err error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(text), tokenPrefix)
	if !ok {
		return Token{}, fmt.Errorf("%w: it does not begin with %s: `weft swarm join-token worker` on a manager prints one", ErrToken, tokenPrefix)
	}
	parts := strings.Split(body, "-")
	if len(parts) != 2 {
		return Token{}, fmt.Errorf("%w: %d parts after %s, 2 expected (digest and secret): was all of it copied?", ErrToken, len(parts), tokenPrefix)
	}
	if err := number(t.Digest[:], "digest", parts[0], digestDigits); err != nil {
		return Token{}, err
	}
	if err := number(t.Secret[:], "secret", parts[1], secretDigits); err != nil {
		return Token{}, err
	}
	return t, nil
}

// Matches reports whether the token's digest is that of one of the certificates in
// rootsPEM.
func (t Token) Matches(rootsPEM []byte) bool {
	roots, err := parseCertificates(rootsPEM)
	return err == nil && t.root(roots) != nil
}

// root returns the certificate of a chain that the token names, or nil. A digest is
// no secret.
func (t Token) root(chain []*x509.Certificate) *x509.Certificate {
	for _, c := range chain {
		if sum := sha256.Sum256(c.Raw); bytes.Equal(sum[:], t.Digest[:]) {
			return c
		}
	}
	return nil
}

// digits returns b as a number of n digits.
func digits(b []byte, n int) string {
	return fmt.Sprintf("%0*s", n, new(big.Int).SetBytes(b).Text(36))
}

// number reads n digits into b. A digest or secret may not be quoted in an error:
// errors are logged.
func number(b []byte, what, text string, n int) error {
	if len(text) != n {
		return fmt.Errorf("%w: its %s has %d characters, %d expected: was all of it copied?", ErrToken, what, len(text), n)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return !strings.ContainsRune(base36, r) }); i >= 0 {
		return fmt.Errorf("%w: character %d of its %s is damaged: digits and small letters expected", ErrToken, i+1, what)
	}
	v, ok := new(big.Int).SetString(text, 36)
	if !ok || v.BitLen() > 8*len(b) {
		return fmt.Errorf("%w: its %s is damaged: larger than any of %d bits", ErrToken, what, 8*len(b))
	}
	v.FillBytes(b)
	return nil
}
