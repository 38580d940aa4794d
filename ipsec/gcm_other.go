//go:build !amd64

package ipsec

import (
	"crypto/aes"
	"crypto/cipher"
)

// newGCM returns AES-GCM with a key of 16 or 32 bytes.
func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
