package frame

func hasVector() bool { return true } // NEON is part of arm64

// sumVector returns the sum of the little-endian 16-bit words of b.
//
//go:noescape
func sumVector(b []byte) uint64

// copySumVector copies src to dst as well.
//
//go:noescape
func copySumVector(dst, src []byte) uint64
