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

// bothGCM returns AES-GCM with a key as packets are sealed by, which on some processors
// is cryptWide's, and the standard library's.
func bothGCM(t testing.TB, key []byte) (vector, standard cipher.AEAD) {
	t.Helper()
	vector, err := newGCM(key, testAES)
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
	return vector, standard
}

// sameGCM seals and opens a plaintext in place, in the middle of other bytes, which
// must stay as they are, and compares with the standard library. Then it breaks a bit.
func sameGCM(t *testing.T, r *rand.Rand, vector, standard cipher.AEAD, nonce, plain, aad []byte) {
	t.Helper()
	const around = 70
	want := standard.Seal(nil, nonce, plain, aad)
	mem := randomBytes(r, around+len(want)+around)
	before := slices.Clone(mem)
	outside := func(what string) {
		t.Helper()
		if end := around + len(want); !bytes.Equal(mem[:around], before[:around]) || !bytes.Equal(mem[end:], before[end:]) {
			t.Fatalf("%d bytes, %d of additional data: %s wrote outside", len(plain), len(aad), what)
		}
	}
	copy(mem[around:], plain)
	got := vector.Seal(mem[around:around], nonce, mem[around:around+len(plain)], aad)
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %d of additional data: sealed\n%x\nwant\n%x", len(plain), len(aad), got, want)
	}
	outside("Seal")
	sealed := mem[around : around+len(want)]
	got, err := vector.Open(sealed[:0], nonce, sealed, aad)
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%d bytes, %d of additional data: opened\n%x (%v)\nwant\n%x", len(plain), len(aad), got, err, plain)
	}
	copy(before[around+len(plain):], want[len(plain):])
	apart := make([]byte, 0, len(want))
	if apart = vector.Seal(apart, nonce, plain, aad); !bytes.Equal(apart, want) {
		t.Fatalf("%d bytes, %d of additional data: sealed elsewhere\n%x\nwant\n%x", len(plain), len(aad), apart, want)
	}
	outside("Open")
	copy(sealed, want)
	sealed[r.IntN(len(sealed))] ^= 1 << r.IntN(8)
	if got, err := vector.Open(sealed[:0], nonce, sealed, aad); err == nil || got != nil {
		t.Fatalf("%d bytes, %d of additional data: a broken one was opened", len(plain), len(aad))
	}
	if !bytes.Equal(sealed[:len(plain)], make([]byte, len(plain))) {
		t.Fatalf("%d bytes: something of a broken one is left", len(plain))
	}
}

// TestWideGCM compares with the standard library at all lengths of packets, with
// additional data as with ESN, without, and the most there may be.
func TestWideGCM(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, keyLen := range []int{16, 32} {
		for n := 1; n <= MaxPacket; n++ {
			if n > 1600 {
				n += r.IntN(5000)
			}
			vector, standard := bothGCM(t, randomBytes(r, keyLen))
			plain := randomBytes(r, min(n, MaxPacket-icvLen))
			for _, aad := range []int{8, 12, 1 + r.IntN(16)} {
				sameGCM(t, r, vector, standard, randomBytes(r, nonceLen), plain, randomBytes(r, aad))
			}
		}
	}
}

// TestWideGCMOtherwise: what the assembler is not for is done all the same.
func TestWideGCMOtherwise(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	vector, standard := bothGCM(t, randomBytes(r, 32))
	nonce := randomBytes(r, nonceLen)
	for _, c := range []struct{ plain, aad, room int }{{0, 12, 100}, {100, 0, 200}, {100, 17, 200}, {100, 12, 0}, {100, 12, 110}} {
		plain, aad := randomBytes(r, c.plain), randomBytes(r, c.aad)
		want := standard.Seal(nil, nonce, plain, aad)
		got := vector.Seal(make([]byte, 0, c.room), nonce, plain, aad)
		if !bytes.Equal(got, want) {
			t.Errorf("%+v: sealed\n%x\nwant\n%x", c, got, want)
		}
		if got, err := vector.Open(make([]byte, 0, c.room), nonce, got, aad); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%+v: opened\n%x (%v)\nwant\n%x", c, got, err, plain)
		}
		if _, err := vector.Open(nil, nonce, want[:min(c.plain, icvLen-1)], aad); err == nil {
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
			t.Skip()
		}
		vector, standard := bothGCM(t, key)
		sameGCM(t, rand.New(rand.NewPCG(uint64(len(plain)), 1)), vector, standard, nonce, plain, aad)
	})
}

// BenchmarkAEAD compares with the standard library.
func BenchmarkAEAD(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, keyLen := range []int{16, 32} {
		vector, standard := bothGCM(b, randomBytes(r, keyLen))
		for _, n := range []int{64, 1400, 8900} {
			buf, nonce, aad := make([]byte, n+icvLen), make([]byte, nonceLen), make([]byte, 12)
			for _, c := range []struct {
				name string
				aead cipher.AEAD
			}{{"vector", vector}, {"standard", standard}} {
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
