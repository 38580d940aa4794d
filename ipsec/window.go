package ipsec

import "sync/atomic"

// Theory of operation: the replay window
//
// As in RFC 6479 the bits of the last WindowSize numbers lie in a ring of words
// and are never shifted. A word holds the bits of 32 neighbouring numbers, a
// block, in its low half, and in its high half which block that is. So a word
// needs no clearing: the first number of a later block replaces it whole. The
// ring has one word more than the window has blocks, so that the block the window
// begins in and the one it ends in have a word each.
//
// All is done by compare-and-swap on one word, so any number of workers may use a
// window: a word only ever goes forward to a later block, and within a block bits
// are only added. Whoever sets the bit of a number is the one that may deliver it.
// That holds whatever top says, which is only where the window ends, and what
// the high half of a number is inferred from.
//
// A mutex in its place costs a little more, with one worker and with two
// (BenchmarkWindow), and a worker that loses its CPU while it holds the lock makes
// the others wait.
//
// Blocks are told apart by the low 32 bits of their number. A word left alone for
// 2^36 numbers would be read as later than it is: its numbers would be refused,
// never accepted twice.

// WindowSize is how many numbers behind the highest one may still come.
const WindowSize = 8192

const (
	blockSize = 32
	words     = WindowSize/blockSize + 1
)

// A window knows which sequence numbers of an SA have come. Its zero value has
// seen none.
type window struct {
	top   atomic.Uint64 // the highest number taken
	words [words]atomic.Uint64
}

// number returns the sequence number whose low 32 bits are sent: the one that is
// not behind the window and less than 2^32 ahead of its lower end (RFC 4303,
// appendix A2.2). It is not ok for the number 0 and those outside of 64 bits, which
// no sender uses.
func (w *window) number(low uint32, esn bool) (seq uint64, ok bool) {
	if !esn {
		return uint64(low), low != 0
	}
	top := w.top.Load()
	bottom := top - (WindowSize - 1) // wraps below 0 while top is small
	seq = bottom + uint64(low-uint32(bottom))
	return seq, seq != 0 && (seq < bottom) == (top < WindowSize-1)
}

// fresh reports whether a number is neither behind the window nor taken.
func (w *window) fresh(seq uint64) bool {
	if top := w.top.Load(); top >= WindowSize && seq <= top-WindowSize {
		return false
	}
	word, block, bit := w.place(seq)
	v := word.Load()
	age := later(block, v)
	return age > 0 || age == 0 && v&bit == 0
}

// take notes a number and reports whether it was fresh.
func (w *window) take(seq uint64) bool {
	word, block, bit := w.place(seq)
	for {
		v := word.Load()
		next := v | bit
		switch age := later(block, v); {
		case age < 0 || age == 0 && v&bit != 0:
			return false
		case age > 0:
			next = uint64(block)<<32 | bit
		}
		if word.CompareAndSwap(v, next) {
			break
		}
	}
	for {
		top := w.top.Load()
		if seq <= top || w.top.CompareAndSwap(top, seq) {
			return true
		}
	}
}

func (w *window) place(seq uint64) (word *atomic.Uint64, block uint32, bit uint64) {
	n := seq / blockSize
	return &w.words[n%words], uint32(n), 1 << (seq % blockSize)
}

// later returns how much later a block is than the one a word holds.
func later(block uint32, word uint64) int32 { return int32(block - uint32(word>>32)) }
