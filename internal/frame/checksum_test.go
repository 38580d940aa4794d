package frame

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

// slowSum is RFC 1071's own definition, 16 bits at a time.
func slowSum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		s += w
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func TestChecksumVectors(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want uint16
	}{
		{"RFC 1071 section 3", []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, 0xddf2},
		{"empty", nil, 0},
		{"odd", []byte{0x12, 0x34, 0x56}, 0x6834},
		{"all ones", bytes.Repeat([]byte{0xff}, 67), 0xff00},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Fold(Sum(tt.in, 0)); got != tt.want {
				t.Errorf("sum = %#04x, want %#04x", got, tt.want)
			}
		})
	}
}

// checkSum holds every form of the sum against RFC 1071's own.
func checkSum(t *testing.T, b []byte, initial uint16) {
	t.Helper()
	want := slowSum(append([]byte{byte(initial >> 8), byte(initial)}, b...))
	dst := make([]byte, len(b)+1)
	dst[len(b)] = 0x5c
	for form, sum := range map[string]uint64{
		"Sum": Sum(b, uint64(initial)), "sumWords": sumWords(b, uint64(initial)), "CopySum": CopySum(dst, b, uint64(initial)),
	} {
		// 0 and 0xffff are the same number in one's complement.
		if got := Fold(sum); got != want && got%0xffff != want%0xffff {
			t.Fatalf("%s of %d bytes %x = %#04x, want %#04x", form, len(b), b[:min(len(b), 80)], got, want)
		}
	}
	if !bytes.Equal(dst[:len(b)], b) || dst[len(b)] != 0x5c {
		t.Fatalf("%d bytes copied wrongly", len(b))
	}
}

// TestSumLengths goes through every length around the vectors', at every
// alignment, and through the ones that could overflow a lane.
func TestSumLengths(t *testing.T) {
	noise := make([]byte, 3*maxVector)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	ones := bytes.Repeat([]byte{0xff}, len(noise))
	for n := range 700 {
		checkSum(t, noise[n%33:][:n], uint16(n*77))
		checkSum(t, ones[:n], 0xffff)
		checkSum(t, make([]byte, n), uint16(n))
	}
	for _, n := range []int{65535, maxVector - 1, maxVector, maxVector + 31, len(noise)} {
		checkSum(t, noise[:n], 1)
		checkSum(t, ones[:n], 0xfffe)
		checkSum(t, bytes.Repeat([]byte{0x80, 0x00}, n/2), 0)
		checkSum(t, bytes.Repeat([]byte{0x7f, 0xff}, n/2), 0)
	}
	if got, want := Sum(ones[:1000], math.MaxUint64), sumWords(ones[:1000], math.MaxUint64); Fold(got) != Fold(want) {
		t.Errorf("on a full sum: %#x, want %#x", got, want)
	}
}

func FuzzSum(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint16(7))
	f.Add(bytes.Repeat([]byte{0xff}, 1500), uint16(0xffff))
	f.Fuzz(func(t *testing.T, b []byte, initial uint16) { checkSum(t, b, initial) })
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{20, 64, 96, 128, 1448, 1500, 65000} {
		buf := bytes.Repeat([]byte{0xa5}, n)
		dst := make([]byte, n)
		for _, form := range []struct {
			name string
			sum  func() uint64
		}{
			{"Sum", func() uint64 { return Sum(buf, 0) }},
			{"CopySum", func() uint64 { return CopySum(dst, buf, 0) }},
			{"Go", func() uint64 { return sumWords(buf, 0) }},
		} {
			b.Run(form.name+" "+strconv.Itoa(n), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					form.sum()
				}
			})
		}
	}
}
