package ipsec

import (
	"bytes"
	"crypto/aes"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"unsafe"
)

// guarded returns two pages that nothing lies before or behind.
func guarded(t *testing.T) []byte {
	t.Helper()
	page := os.Getpagesize()
	mem, err := syscall.Mmap(-1, 0, 4*page, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(mem) })
	if err := syscall.Mprotect(mem[page:3*page], syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	return mem[page : 3*page : 3*page]
}

// hasWide reports whether this processor has what the assembler takes. One that lacks it
// must not be given it.
func hasWide(t *testing.T) bool {
	t.Helper()
	lacks := lacksWide()
	if lacks == "" {
		return true
	}
	if _, err := ProbeAES(); err == nil {
		t.Errorf("it is taken, though %s", lacks)
	}
	return false
}

// TestWideGCMGuarded has all that is read and written begin where memory begins, and end
// where it ends. One byte beyond either is a fault.
func TestWideGCMGuarded(t *testing.T) {
	if !hasWide(t) {
		return
	}
	r := rand.New(rand.NewPCG(11, 12))
	var mem [6][]byte
	for i := range mem {
		mem[i] = guarded(t)
	}
	at := func(i, n int, end bool) []byte {
		if b := mem[i]; end {
			return b[len(b)-n:]
		}
		return mem[i][:n:n]
	}
	for _, keyLen := range []int{16, 32} {
		key := randomBytes(r, keyLen)
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		standard, err := newGCM(key, AES{})
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= 1100; n++ {
			for _, end := range []bool{false, true} {
				k := (*wideKey)(unsafe.Pointer(&at(0, int(unsafe.Sizeof(wideKey{})), end)[0]))
				*k = wideKey{}
				k.expand(key)
				k.multiply(block)
				nonce, aad, plain := at(1, nonceLen, end), at(2, 1+n%16, end), at(3, n, end)
				dst, tag := at(4, n, end), at(5, icvLen, end)
				copy(nonce, randomBytes(r, nonceLen))
				copy(aad, randomBytes(r, len(aad)))
				copy(plain, randomBytes(r, n))
				want := standard.Seal(nil, nonce, plain, aad)
				cryptWide(k, &nonce[0], aad, &dst[0], &plain[0], n, false, &tag[0])
				if !bytes.Equal(dst, want[:n]) || !bytes.Equal(tag, want[n:]) {
					t.Fatalf("%d bytes: sealed %x %x, want %x", n, dst, tag, want)
				}
				clear(tag)
				clear(plain)
				was := bytes.Clone(want[:n])
				cryptWide(k, &nonce[0], aad, &plain[0], &dst[0], n, true, &tag[0])
				again := standard.Seal(nil, nonce, plain, aad)
				if !bytes.Equal(again, want) || !bytes.Equal(tag, want[n:]) || !bytes.Equal(dst, was) {
					t.Fatalf("%d bytes: opened %x %x", n, plain, tag)
				}
			}
		}
	}
}

// TestWideKey compares the round keys with FIPS 197, appendix A.
func TestWideKey(t *testing.T) {
	if !hasWide(t) {
		return
	}
	for _, c := range []struct {
		name, key, last string
		rounds          int
	}{
		{"A.1", "2b7e151628aed2a6abf7158809cf4f3c", "d014f9a8c9ee2589e13f0cc8b6630ca6", 10},
		{"A.3", "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "fe4890d1e6188d0b046df344706c631e", 14},
	} {
		var k wideKey
		k.expand(unhex(t, c.key))
		if k.rounds != c.rounds || !bytes.Equal(k.round[14][:], unhex(t, c.last)) {
			t.Errorf("%s: %d rounds, the last key %x, want %d and %s", c.name, k.rounds, k.round[14], c.rounds, c.last)
		}
	}
}
