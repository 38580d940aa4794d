package ipsec

import (
	"crypto/cipher"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// An Algorithm encrypts and authenticates in one (AEAD). All have a salt of 4
// bytes, an explicit IV of 8 and an ICV of 16.
type Algorithm uint8

// The algorithms. Their numbers are sent in announcements.
const (
	AES256GCM        Algorithm = 1 + iota // RFC 4106, 8.1
	AES128GCM                             // RFC 4106, 8.1
	ChaCha20Poly1305                      // RFC 7634, 2
)

const (
	saltLen  = 4
	nonceLen = saltLen + 8
	icvLen   = 16
)

var algorithmNames = [...]string{AES256GCM: "aes-256-gcm", AES128GCM: "aes-128-gcm", ChaCha20Poly1305: "chacha20-poly1305"}

// Valid reports whether a is one of the algorithms.
func (a Algorithm) Valid() bool { return a >= AES256GCM && a <= ChaCha20Poly1305 }

// String returns the name as it is configured.
func (a Algorithm) String() string {
	if !a.Valid() {
		return fmt.Sprintf("algorithm %d", uint8(a))
	}
	return algorithmNames[a]
}

// ParseAlgorithm returns the algorithm of a name.
func ParseAlgorithm(name string) (Algorithm, error) {
	for a := AES256GCM; a.Valid(); a++ {
		if algorithmNames[a] == name {
			return a, nil
		}
	}
	return 0, fmt.Errorf("algorithm %q: want %v, %v or %v", name, AES256GCM, AES128GCM, ChaCha20Poly1305)
}

// keyLen returns the key's length in bytes, the salt not counted.
func (a Algorithm) keyLen() int {
	if a == AES128GCM {
		return 16
	}
	return 32
}

// icv returns the length of the ICV in bytes.
func (a Algorithm) icv() int { return icvLen }

// aead returns the algorithm with a key of keyLen bytes; way is that of AES-GCM.
func (a Algorithm) aead(key []byte, way AES) (cipher.AEAD, error) {
	if !a.Valid() || len(key) != a.keyLen() {
		return nil, fmt.Errorf("%v: key of %d bytes", a, len(key))
	}
	if a == ChaCha20Poly1305 {
		return chacha20poly1305.New(key)
	}
	return newGCM(key, way)
}
