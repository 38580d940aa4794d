package ipsec

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"errors"
	"fmt"
)

// Theory of operation: the ladder of AES-GCM
//
// There are two ways to the same bytes: the standard library's, and on some processors
// one with wide registers (gcm_amd64.go), which is faster. A daemon probes once, when it
// starts. The wide way is taken if the processor has it, if Go is not in its FIPS 140
// mode, whose module is validated and ours is not, and if it computes on a few fixed
// packets what the standard library does. Which way an SA has is settled when it is
// derived, for good: the probe's result is handed down with the epoch's key.

// An AES is a way of computing AES-GCM. The zero AES is the standard library's; another
// comes from [ProbeAES] alone, so that no processor meets instructions it does not have.
type AES struct{ wide bool }

// String returns "wide" or "standard".
func (a AES) String() string {
	if a.wide {
		return "wide"
	}
	return "standard"
}

// ErrNoWideAES says that the wide way is not for this processor or this mode of Go.
var ErrNoWideAES = errors.New("no wide AES-GCM")

// ProbeAES returns the fastest AES there is here. Where that is the standard library's the
// error says why: it wraps ErrNoWideAES, or tells what the wide one computed wrong. The
// probe takes less than a millisecond.
func ProbeAES() (AES, error) {
	if lacks := lacksWide(); lacks != "" {
		return AES{}, fmt.Errorf("%w: %s", ErrNoWideAES, lacks)
	}
	if fips140.Enabled() {
		return AES{}, fmt.Errorf("%w: Go is in its FIPS 140 mode", ErrNoWideAES)
	}
	if err := compareAES(func(key []byte) (cipher.AEAD, error) { return newGCM(key, AES{wide: true}) }); err != nil {
		return AES{}, err
	}
	return AES{wide: true}, nil
}

// newGCM returns AES-GCM with a key of 16 or 32 bytes.
func newGCM(key []byte, a AES) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil || !a.wide || len(key) == 24 {
		return gcm, err
	}
	return newWide(key, block, gcm), nil
}

// probeLengths are of plaintexts: one block and less, a register's four and about, the
// sixteen of a turn and about, an Ethernet frame and a jumbo frame.
var probeLengths = [...]int{1, 16, 63, 64, 65, 255, 256, 257, 512, 767, 1418, 9000}

// compareAES returns what an AES-GCM does otherwise than the standard library, nil if
// nothing: sealing, opening, and refusing what is forged without leaving a byte of it.
func compareAES(of func(key []byte) (cipher.AEAD, error)) error {
	for _, keyLen := range []int{16, 32} {
		key := counting(keyLen, 0xa5)
		got, err := of(key)
		if err != nil {
			return err
		}
		want, err := newGCM(key, AES{})
		if err != nil {
			return err
		}
		for i, n := range probeLengths {
			aad := counting(8+4*(i%2), byte(i)) // without ESN and with
			if err := comparePacket(got, want, counting(nonceLen, byte(n)), counting(n, 7), aad); err != nil {
				return fmt.Errorf("AES-%d-GCM of %d bytes: %w", 8*keyLen, n, err)
			}
		}
	}
	return nil
}

func comparePacket(got, want cipher.AEAD, nonce, plain, aad []byte) error {
	right := want.Seal(nil, nonce, plain, aad)
	b := append(make([]byte, 0, len(right)), plain...)
	if b = got.Seal(b[:0], nonce, b, aad); string(b) != string(right) {
		return errors.New("sealed otherwise than by the standard library")
	}
	if b, err := got.Open(b[:0], nonce, b, aad); err != nil || string(b) != string(plain) {
		return errors.New("opened otherwise than by the standard library")
	}
	for _, at := range []int{0, len(plain) - 1, len(plain), len(right) - 1} {
		b = append(b[:0], right...)
		b[at] ^= 0x80
		if opened, err := got.Open(b[:0], nonce, b, aad); err == nil || opened != nil {
			return errors.New("a forged packet was opened")
		}
		if string(b[:len(plain)]) != string(make([]byte, len(plain))) {
			return errors.New("a forged packet's bytes were left")
		}
	}
	return nil
}

// counting returns n bytes that differ from one to the next.
func counting(n int, first byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i*29+i>>8)
	}
	return b
}
