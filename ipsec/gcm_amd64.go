package ipsec

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// Theory of operation: AES-GCM with wide registers
//
// Go's own AES-GCM works on one block an instruction. Processors with VAES and
// VPCLMULQDQ (Intel since Ice Lake, AMD since Zen 4) do four, and seal or open a
// packet in less than half the time (BenchmarkAEAD). Where they are at hand, and
// what is to be done looks as it does in ESP, cryptWide does it; all else is left
// to the standard library, which is also what the tests compare with.
//
// Nothing here branches or looks anything up by a key or by what is encrypted.

// A wideKey is a key as the assembler knows it.
type wideKey struct {
	round [15][16]byte // AES-128 has 11, the last of them at the end as well
	// H^18 to H, each divided by x and with its bytes reversed, and zeros, for
	// four are read at a time.
	powers [maxPower + 3][16]byte
	rounds int
}

const maxPower = 18

// A wideGCM is AES-GCM.
type wideGCM struct {
	cipher.AEAD // the standard library's
	key         wideKey
}

var errOpen = errors.New("ipsec: the ICV is wrong")

// lacksWide says what the processor, or the system's handling of its registers, lacks for
// cryptWide; "" if nothing.
func lacksWide() string {
	x := &cpu.X86
	switch {
	case !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512VL:
		return "the processor has no AVX-512 (F, BW, VL)"
	case !x.HasAVX512VAES || !x.HasAVX512VPCLMULQDQ || !x.HasAES || !x.HasBMI2:
		return "the processor has no VAES, VPCLMULQDQ or BMI2"
	}
	return ""
}

// newWide returns AES-GCM with a key of 16 or 32 bytes. gcm does what cryptWide does not.
func newWide(key []byte, block cipher.Block, gcm cipher.AEAD) cipher.AEAD {
	g := &wideGCM{AEAD: gcm}
	g.key.expand(key)
	g.key.multiply(block)
	return g
}

// Seal is cipher.AEAD's.
func (g *wideGCM) Seal(dst, nonce, plain, aad []byte) []byte {
	out := within(dst, nonce, plain, aad, len(plain)+icvLen)
	if out == nil {
		return g.AEAD.Seal(dst, nonce, plain, aad)
	}
	n := len(plain)
	cryptWide(&g.key, &nonce[0], aad, &out[0], &plain[0], n, false, &out[n])
	return dst[:len(dst)+n+icvLen]
}

// Open is cipher.AEAD's.
func (g *wideGCM) Open(dst, nonce, sealed, aad []byte) ([]byte, error) {
	n := len(sealed) - icvLen
	out := within(dst, nonce, sealed, aad, n)
	if out == nil {
		return g.AEAD.Open(dst, nonce, sealed, aad)
	}
	var tag [icvLen]byte
	cryptWide(&g.key, &nonce[0], aad, &out[0], &sealed[0], n, true, &tag[0])
	if differ(&tag, (*[icvLen]byte)(sealed[n:])) {
		clear(out)
		return nil, errOpen
	}
	return dst[:len(dst)+n], nil
}

// differ compares two tags, in the same time whatever they are.
func differ(a, b *[icvLen]byte) bool {
	first := binary.NativeEndian.Uint64(a[:]) ^ binary.NativeEndian.Uint64(b[:])
	second := binary.NativeEndian.Uint64(a[8:]) ^ binary.NativeEndian.Uint64(b[8:])
	return first|second != 0
}

// within returns the n bytes that are to be written, nil if what is to be done is not
// the assembler's to do. The standard library panics where they overlap src otherwise than
// from the same byte on, or aad at all, so that is left to it, too.
func within(dst, nonce, src, aad []byte, n int) []byte {
	at := len(dst)
	if len(nonce) != nonceLen || len(aad) == 0 || len(aad) > aes.BlockSize || len(src) == 0 || n <= 0 || n > MaxPacket || cap(dst)-at < n {
		return nil
	}
	out := dst[at : at+n]
	if overlap(out, aad) || &out[0] != &src[0] && overlap(out, src) {
		return nil
	}
	return out
}

// overlap reports whether two ranges of at least a byte have one in common.
func overlap(a, b []byte) bool {
	firstA, firstB := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return firstA < firstB+uintptr(len(b)) && firstB < firstA+uintptr(len(a))
}

// expand makes the round keys (FIPS 197, 5.2), where they stay and nowhere else.
func (k *wideKey) expand(key []byte) {
	words := len(key) / 4
	k.rounds = words + 6
	word := func(i int) []byte { return k.round[i/4][4*(i%4):][:4] }
	for i := range words {
		copy(word(i), key[4*i:])
	}
	constant := uint32(1)
	for i := words; i < 4*(k.rounds+1); i++ {
		t := binary.BigEndian.Uint32(word(i - 1))
		switch {
		case i%words == 0:
			t = subWord(bits.RotateLeft32(t, 8)) ^ constant<<24
			constant <<= 1
			constant ^= constant >> 8 * 0x11b // AES's polynomial
		case words == 8 && i%words == 4:
			t = subWord(t)
		}
		binary.BigEndian.PutUint32(word(i), binary.BigEndian.Uint32(word(i-words))^t)
	}
	k.round[len(k.round)-1] = k.round[k.rounds]
}

// multiply makes the powers of H, which is the block of zeros, encrypted.
func (k *wideKey) multiply(block cipher.Block) {
	var h [aes.BlockSize]byte
	block.Encrypt(h[:], h[:])
	one := element{binary.BigEndian.Uint64(h[:]), binary.BigEndian.Uint64(h[8:])}
	clear(h[:])
	e := one
	for i := range maxPower {
		d := e.divide()
		p := &k.powers[maxPower-1-i]
		binary.LittleEndian.PutUint64(p[:], d.lo)
		binary.LittleEndian.PutUint64(p[8:], d.hi)
		e = e.times(one)
	}
}

// An element of GHASH's field: the highest bit of hi is the coefficient of x^0, the
// lowest of lo that of x^127 (SP 800-38D, 6.3).
type element struct{ hi, lo uint64 }

// polynomial is 1 + x + x^2 + x^7, which x^128 is.
const polynomial = 0xe1 << 56

// times is the product.
func (a element) times(b element) (p element) {
	for i := range 128 {
		word := b.hi
		if i >= 64 {
			word = b.lo
		}
		mask := -(word >> (63 - i%64) & 1)
		p.hi, p.lo = p.hi^a.hi&mask, p.lo^a.lo&mask
		a = element{a.hi>>1 ^ -(a.lo&1)&polynomial, a.lo>>1 | a.hi<<63} // by x
	}
	return p
}

// divide is the quotient by x: 1/x is x^127 + x^6 + x + 1.
func (a element) divide() element {
	top := -(a.hi >> 63)
	return element{(a.hi<<1 | a.lo>>63) ^ top&(0xc2<<56), a.lo<<1 ^ top&1}
}

// cryptWide seals, or opens, n bytes and writes the tag that they have.
//
//go:noescape
func cryptWide(k *wideKey, nonce *byte, aad []byte, dst, src *byte, n int, open bool, tag *byte)

// subWord puts each byte of a word through AES's S-box.
func subWord(w uint32) uint32
