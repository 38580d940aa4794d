package frame

import (
	"bytes"
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

func FuzzSum(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint16(7))
	f.Add(bytes.Repeat([]byte{0xff}, 1500), uint16(0xffff))
	f.Fuzz(func(t *testing.T, b []byte, initial uint16) {
		want := slowSum(append([]byte{byte(initial >> 8), byte(initial)}, b...))
		got := Fold(Sum(b, uint64(initial)))
		// 0 and 0xffff are the same number in one's complement.
		if got != want && got%0xffff != want%0xffff {
			t.Fatalf("sum of %x = %#04x, want %#04x", b, got, want)
		}
	})
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{64, 1500, 65000} {
		buf := bytes.Repeat([]byte{0xa5}, n)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				Fold(Sum(buf, 0))
			}
		})
	}
}
