package ipsec

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// bothGCM returns AES-GCM with a key as it is under test, and the standard library's.
func bothGCM(t testing.TB, key []byte) (wide, standard cipher.AEAD) {
	t.Helper()
	wide, err := newGCM(key, testAES)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	if standard, err = cipher.NewGCM(block); err != nil {
		t.Fatal(err)
	}
	return wide, standard
}

// sameGCM seals and opens a plaintext in place, in the middle of other bytes, which
// must stay as they are, and compares with the standard library. Then it breaks a bit.
func sameGCM(t *testing.T, r *rand.Rand, wide, standard cipher.AEAD, nonce, plain, aad []byte) {
	t.Helper()
	const around = 70
	want := standard.Seal(nil, nonce, plain, aad)
	mem := bytes.Repeat([]byte{0xee}, around+len(want)+around)
	outside := func(what string) {
		t.Helper()
		for _, b := range [][]byte{mem[:around], mem[around+len(want):]} {
			if bytes.Count(b, []byte{0xee}) != around {
				t.Fatalf("%d bytes, %d of additional data: %s wrote outside", len(plain), len(aad), what)
			}
		}
	}
	copy(mem[around:], plain)
	got := wide.Seal(mem[around:around], nonce, mem[around:around+len(plain)], aad)
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %d of additional data: sealed\n%x\nwant\n%x", len(plain), len(aad), got, want)
	}
	outside("Seal")
	apart := append(make([]byte, 0, 3+len(want)), 1, 2, 3)
	if apart = wide.Seal(apart, nonce, plain, aad); !bytes.Equal(apart[:3], []byte{1, 2, 3}) || !bytes.Equal(apart[3:], want) {
		t.Fatalf("%d bytes, %d of additional data: sealed elsewhere\n%x\nwant\n%x", len(plain), len(aad), apart, want)
	}
	sealed := mem[around : around+len(want)]
	got, err := wide.Open(apart[:3], nonce, sealed, aad)
	if err != nil || !bytes.Equal(got[:3], []byte{1, 2, 3}) || !bytes.Equal(got[3:], plain) || !bytes.Equal(sealed, want) {
		t.Fatalf("%d bytes, %d of additional data: opened elsewhere\n%x (%v)\nwant\n%x", len(plain), len(aad), got, err, plain)
	}
	got, err = wide.Open(sealed[:0], nonce, sealed, aad)
	if err != nil || !bytes.Equal(got, plain) || !bytes.Equal(sealed[len(plain):], want[len(plain):]) {
		t.Fatalf("%d bytes, %d of additional data: opened\n%x (%v)\nwant\n%x", len(plain), len(aad), got, err, plain)
	}
	outside("Open")
	copy(sealed, want)
	sealed[r.IntN(len(sealed))] ^= 1 << r.IntN(8)
	if got, err := wide.Open(sealed[:0], nonce, sealed, aad); err == nil || got != nil {
		t.Fatalf("%d bytes, %d of additional data: a broken one was opened", len(plain), len(aad))
	}
	if !bytes.Equal(sealed[:len(plain)], make([]byte, len(plain))) {
		t.Fatalf("%d bytes: something of a broken one is left", len(plain))
	}
	outside("a refused Open")
}

// TestWideGCM compares with the standard library at all lengths up to a jumbo frame's and
// some up to the longest packet's, with additional data as with ESN, without, and the most
// there may be. No packet has a counter near 2^32: the first block's is 2 (SP 800-38D, 7.1:
// nonces of 12 bytes), and the longest packet has 4,096.
func TestWideGCM(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pool := randomBytes(r, 2*MaxPacket)
	some := func(n int) []byte { return pool[r.IntN(len(pool)-n):][:n] }
	for _, keyLen := range []int{16, 32} {
		for n := 0; n <= MaxPacket-icvLen; n++ {
			if n > 9216 {
				n = min(n+r.IntN(3000), MaxPacket-icvLen)
			}
			wide, standard := bothGCM(t, some(keyLen))
			plain := some(n)
			for _, aad := range []int{8, 12, 1 + r.IntN(16)} {
				sameGCM(t, r, wide, standard, some(nonceLen), plain, some(aad))
			}
		}
	}
}

// TestWideGCMForged breaks every bit of some packets, and of what goes with them.
func TestWideGCMForged(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	wide, standard := bothGCM(t, randomBytes(r, 32))
	for _, n := range []int{1, 16, 100, 300} {
		nonce, aad := randomBytes(r, nonceLen), randomBytes(r, 12)
		want := standard.Seal(nil, nonce, randomBytes(r, n), aad)
		for _, part := range [][]byte{nonce, aad, want} {
			for bit := range 8 * len(part) {
				part[bit/8] ^= 1 << (bit % 8)
				b := slices.Clone(want)
				if got, err := wide.Open(b[:0], nonce, b, aad); err == nil || got != nil || !bytes.Equal(b[:n], make([]byte, n)) {
					t.Fatalf("%d bytes, bit %d: opened %x, left %x", n, bit, got, b[:n])
				}
				part[bit/8] ^= 1 << (bit % 8)
			}
		}
		if _, err := wide.Open(nil, nonce, want, aad); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWideGCMOverlap: where bytes would be written over that are still to be read, the
// standard library panics, and so does the wide AES-GCM.
func TestWideGCMOverlap(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	wide, _ := bothGCM(t, randomBytes(r, 32))
	nonce, other := make([]byte, nonceLen), make([]byte, 12)
	const at, n = 400, 300
	for _, c := range []struct {
		name     string
		src, aad int // where they are, against what is written; aad 0: elsewhere
		panics   bool
	}{
		{"in place", 0, 0, false},
		{"one byte on", 1, 0, true},
		{"one byte back", -1, 0, true},
		{"the last byte", n - 1, 0, true},
		{"behind, and not", n + icvLen, 0, false},
		{"in front, and not", -n - icvLen, 0, false},
		{"additional data in it", 0, 100, true},
		{"the last byte of additional data", 0, -11, true},
		{"additional data in front", 0, -12, false},
		{"additional data behind", 0, n + icvLen, false},
	} {
		for name, do := range map[string]func(mem, aad []byte){
			"Seal": func(mem, aad []byte) { wide.Seal(mem[at:at], nonce, mem[at+c.src:][:n], aad) },
			"Open": func(mem, aad []byte) { wide.Open(mem[at:at], nonce, mem[at+c.src:][:n+icvLen], aad) },
		} {
			mem := make([]byte, 2048)
			aad := other
			if c.aad != 0 {
				aad = mem[at+c.aad:][:12]
			}
			if name == "Open" && c.aad == n+icvLen {
				aad = mem[at+n:][:12] // the tag is only read
			}
			func() {
				defer func() {
					if got := recover(); (got != nil) != c.panics {
						t.Errorf("%s, %s: %v", name, c.name, got)
					}
				}()
				do(mem, aad)
			}()
		}
	}
}

// TestWideGCMOtherwise: what the assembler is not for is done all the same.
func TestWideGCMOtherwise(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	wide, standard := bothGCM(t, randomBytes(r, 32))
	nonce := randomBytes(r, nonceLen)
	for _, c := range []struct{ plain, aad, room int }{{0, 12, 100}, {100, 0, 200}, {100, 17, 200}, {100, 12, 0}, {100, 12, 110}} {
		plain, aad := randomBytes(r, c.plain), randomBytes(r, c.aad)
		want := standard.Seal(nil, nonce, plain, aad)
		got := wide.Seal(make([]byte, 0, c.room), nonce, plain, aad)
		if !bytes.Equal(got, want) {
			t.Errorf("%+v: sealed\n%x\nwant\n%x", c, got, want)
		}
		if got, err := wide.Open(make([]byte, 0, c.room), nonce, got, aad); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%+v: opened\n%x (%v)\nwant\n%x", c, got, err, plain)
		}
		if _, err := wide.Open(nil, nonce, want[:min(c.plain, icvLen-1)], aad); err == nil {
			t.Errorf("%+v: less than a tag was opened", c)
		}
	}
}

// FuzzWideGCM compares with the standard library.
func FuzzWideGCM(f *testing.F) {
	f.Add(make([]byte, 32), make([]byte, nonceLen), []byte("of the packet"), []byte("SPI, sequence"))
	f.Add(make([]byte, 16), make([]byte, nonceLen), make([]byte, 300), make([]byte, 8))
	f.Fuzz(func(t *testing.T, key, nonce, plain, aad []byte) {
		if len(key) != 16 && len(key) != 32 || len(nonce) != nonceLen || len(plain) == 0 || len(plain) > MaxPacket-icvLen || len(aad) == 0 || len(aad) > aes.BlockSize {
			return // nothing of ESP's
		}
		wide, standard := bothGCM(t, key)
		sameGCM(t, rand.New(rand.NewPCG(uint64(len(plain)), 1)), wide, standard, nonce, plain, aad)
	})
}

// BenchmarkAEAD compares with the standard library.
func BenchmarkAEAD(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, keyLen := range []int{16, 32} {
		wide, standard := bothGCM(b, randomBytes(r, keyLen))
		for _, n := range []int{64, 1400, 8900} {
			buf, nonce, aad := make([]byte, n+icvLen), make([]byte, nonceLen), make([]byte, 12)
			for _, c := range []struct {
				name string
				aead cipher.AEAD
			}{{"wide", wide}, {"standard", standard}} {
				b.Run(fmt.Sprintf("AES-%d/%d bytes/%s", 8*keyLen, n, c.name), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						c.aead.Seal(buf[:0], nonce, buf[:n], aad)
					}
				})
			}
		}
	}
}
