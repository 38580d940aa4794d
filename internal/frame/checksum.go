package frame

import (
	"encoding/binary"
	"math/bits"
)

// Sum adds b to a one's complement sum as RFC 1071 defines it and returns the
// sum unfolded: pass it on as initial, or to [Fold]. Only the last piece of a
// sum may have an odd length.
func Sum(b []byte, initial uint64) uint64 {
	for len(b) >= minVector && hasVector() {
		n := min(len(b), maxVector) &^ (vectorSize - 1)
		initial = join(initial, sumVector(b[:n]))
		b = b[n:]
	}
	return sumWords(b, initial)
}

// CopySum copies src to dst, which must be at least as long and not overlap it,
// and returns Sum(src, initial): one pass over the bytes instead of two.
func CopySum(dst, src []byte, initial uint64) uint64 {
	dst = dst[:len(src)]
	for len(src) >= minVector && hasVector() {
		n := min(len(src), maxVector) &^ (vectorSize - 1)
		initial = join(initial, copySumVector(dst[:n], src[:n]))
		dst, src = dst[n:], src[n:]
	}
	copy(dst, src)
	return sumWords(src, initial)
}

// The assembler twins of sumWords work on multiples of vectorSize bytes, pay from
// minVector on, and count in lanes of 32 bits, which maxVector cannot overflow.
// They return the sum of the 16-bit words in little-endian order.
const (
	vectorSize = 32
	minVector  = 128
	maxVector  = 512 << 10
)

// join adds a sum of little-endian words to a big-endian one: their sums are
// each other's, bytes swapped (RFC 1071, 2B).
func join(initial, little uint64) uint64 {
	sum, carry := bits.Add64(initial, uint64(bits.ReverseBytes16(Fold(little))), 0)
	return sum + carry
}

// sumWords is Sum in Go.
func sumWords(b []byte, initial uint64) uint64 {
	// One's complement addition is byte-order independent up to a final swap
	// (RFC 1071, 2B); eight bytes at a time with the carry kept is the same sum
	// as two at a time.
	acc, carry := initial, uint64(0)
	for len(b) >= 32 {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	var tail uint64
	if len(b) >= 4 {
		tail += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		tail += uint64(be16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		tail += uint64(b[0]) << 8
	}
	acc, carry = bits.Add64(acc, tail, carry)
	acc, carry = bits.Add64(acc, 0, carry)
	return acc + carry
}

// Fold folds a sum to 16 bits, not complemented.
func Fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum)
}

// Checksum returns the Internet checksum (RFC 1071) of b on top of initial, in
// the form that goes into a header.
func Checksum(b []byte, initial uint64) uint16 { return ^Fold(Sum(b, initial)) }

// Adjust updates a checksum in a header for a 16-bit field that went from old to new
// (RFC 1624, equation 3).
func Adjust(sum, old, new uint16) uint16 {
	return ^Fold(uint64(^sum) + uint64(^old) + uint64(new))
}

// PseudoSum returns the sum of the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1)
// for the IP packet at the frame's L3, whose transport part is n bytes long.
func (f *Frame) PseudoSum(n int) uint64 {
	p := f.Bytes()[f.View.L3:]
	initial := uint64(f.View.Proto) + uint64(n)
	if f.View.EtherType == EtherIPv6 {
		return Sum(p[8:40], initial)
	}
	return Sum(p[12:20], initial)
}

// L4Len returns the length of the transport header and payload in bytes, by the
// IP header's account. The frame must have been parsed and have an L4.
func (f *Frame) L4Len() int {
	b, v := f.Bytes(), &f.View
	p := b[v.L3:]
	end := int(v.L3)
	if v.EtherType == EtherIPv6 {
		end += 40 + int(be16(p[4:]))
	} else {
		end += int(be16(p[2:]))
	}
	return end - int(v.L4)
}

// SetIPv4Checksum recomputes the checksum of the 20 to 60 byte IPv4 header h.
func SetIPv4Checksum(h []byte) {
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:], Checksum(h[:int(h[0]&15)*4], 0))
}
