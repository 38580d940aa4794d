//go:build !amd64

package ipsec

import (
	"crypto/cipher"
	"runtime"
)

// lacksWide says why there is no wide AES-GCM.
func lacksWide() string { return "it is not written for " + runtime.GOARCH }

// newWide is never reached, for ProbeAES asks lacksWide.
func newWide(_ []byte, _ cipher.Block, gcm cipher.AEAD) cipher.AEAD { return gcm }
