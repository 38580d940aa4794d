package ipsec

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// slowWindow is a replay window anybody can see is right.
type slowWindow struct {
	top  uint64
	seen map[uint64]bool
}

func (w *slowWindow) take(seq uint64) bool {
	if w.seen[seq] || seq+WindowSize <= w.top {
		return false
	}
	w.seen[seq] = true
	w.top = max(w.top, seq)
	return true
}

// advance brings a new window to where it would be if top had come and nothing else
// for a while.
func (w *window) advance(top uint64) {
	w.top.Store(top)
	for i := range w.words {
		w.words[i].Store((top/blockSize - 1) << 32)
	}
}

// slowNumber is RFC 4303, appendix A2.2, word for word; -1 for its Th-1 when Th is 0.
func slowNumber(top uint64, low uint32) (uint64, bool) {
	tl, th := uint32(top), int64(top>>32)
	var high int64
	if tl >= WindowSize-1 {
		high = th
		if low < tl-WindowSize+1 {
			high = th + 1
		}
	} else {
		high = th
		if low >= tl-WindowSize+1 {
			high = th - 1
		}
	}
	seq := uint64(high)<<32 | uint64(low)
	return seq, high >= 0 && high < 1<<32 && seq != 0
}

// TestWindowModel draws numbers around the window's end and its edges and compares
// with the slow window.
func TestWindowModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		w, slow := new(window), &slowWindow{seen: map[uint64]bool{}}
		base := uint64(1)
		if seed%2 == 1 {
			base = 1<<32 - 20000 // over the low half's wrap
			w.take(base)
			slow.take(base)
		}
		accepted := 0
		for i := range 40000 {
			var seq uint64
			switch d := uint64(r.IntN(3 * WindowSize)); r.IntN(10) {
			case 0: // anywhere around the window
				seq = slow.top + WindowSize - d
			case 1: // its lower edge
				seq = slow.top - WindowSize + uint64(r.IntN(5)) - 2
			case 2: // a jump
				seq = slow.top + uint64(r.IntN(WindowSize))
			case 3: // what has come
				seq = slow.top - uint64(r.IntN(10))
			default:
				seq = slow.top + 1 + uint64(r.IntN(3))
			}
			if seq == 0 || seq > 1<<40 {
				continue
			}
			if got, ok := w.number(uint32(seq), true); seq+WindowSize > slow.top && (!ok || got != seq) {
				t.Fatalf("seed %d, step %d: number %d behind top %d taken for %d, %v", seed, i, seq, slow.top, got, ok)
			}
			fresh := w.fresh(seq)
			if inside := seq+WindowSize > slow.top; fresh != (inside && !slow.seen[seq]) {
				t.Fatalf("seed %d, step %d: number %d, top %d, fresh %v", seed, i, seq, slow.top, fresh)
			}
			want := slow.take(seq)
			if got := fresh && w.take(seq); got != want {
				t.Fatalf("seed %d, step %d: number %d, top %d: %v, want %v", seed, i, seq, slow.top, got, want)
			}
			if w.top.Load() != slow.top {
				t.Fatalf("top %d, want %d", w.top.Load(), slow.top)
			}
			if want {
				accepted++
			}
		}
		if accepted < 10000 {
			t.Fatalf("seed %d: only %d accepted", seed, accepted)
		}
	}
}

// TestWindowEdge reorders across the lower edge: the last number inside is taken,
// the first outside is not, each once, wherever the edge lies in its block.
func TestWindowEdge(t *testing.T) {
	for top := uint64(WindowSize); top < WindowSize+3*blockSize; top++ {
		w := new(window)
		if !w.take(top) {
			t.Fatal("the first number")
		}
		if last := top - WindowSize; last > 0 && w.fresh(last) {
			t.Fatalf("top %d: %d is behind the window", top, last)
		}
		for seq := top - WindowSize + 1; seq < top; seq++ {
			if !w.fresh(seq) || !w.take(seq) || w.fresh(seq) || w.take(seq) {
				t.Fatalf("top %d: %d is not taken exactly once", top, seq)
			}
		}
	}
}

func TestNumber(t *testing.T) {
	tops := []uint64{0, 1, 8190, 8191, 8192, 1<<31 - 1, 1<<32 - 8193, 1<<32 - 8192, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<32 + 8190, 1<<32 + 8191, 1<<32 + 8192, 5 << 32, 1<<63 + 77,
		1<<64 - 8193, 1<<64 - 2, 1<<64 - 1}
	lows := []uint32{0, 1, 8191, 8192, 1 << 31, 1<<32 - 8193, 1<<32 - 8192, 1<<32 - 8191, 1<<32 - 2, 1<<32 - 1}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		tops, lows = append(tops, r.Uint64()>>r.IntN(50)), append(lows, r.Uint32())
	}
	for _, top := range tops {
		for _, low := range append(lows, uint32(top), uint32(top)-WindowSize, uint32(top)-WindowSize+1, uint32(top)+1) {
			w := new(window)
			w.top.Store(top)
			want, wantOK := slowNumber(top, low)
			got, ok := w.number(low, true)
			if ok != wantOK || ok && got != want {
				t.Fatalf("top %#x, low %#x: %#x, %v; want %#x, %v", top, low, got, ok, want, wantOK)
			}
		}
	}
	w := new(window)
	w.top.Store(1 << 33) // cannot be; but without ESN nothing is inferred
	if got, ok := w.number(7, false); got != 7 || !ok {
		t.Fatalf("without ESN: %d, %v", got, ok)
	}
	if _, ok := w.number(0, false); ok {
		t.Fatal("number 0 was taken for one")
	}
}

// TestWindowOvertaken has another worker go ahead between check and note.
func TestWindowOvertaken(t *testing.T) {
	w := new(window)
	w.take(100)
	if !w.fresh(90) || !w.take(90) || w.take(90) {
		t.Fatal("number 90 is not taken exactly once")
	}
	if !w.fresh(80) || !w.take(80+words*blockSize) || w.take(80) {
		t.Fatal("number 80 was taken though its word has gone on")
	}
	if v := w.words[80/blockSize].Load(); v>>32 != 80/blockSize+words {
		t.Fatalf("the word went back to block %d", v>>32)
	}
}

// TestWindowShared has two workers take the same number at the same time, again and
// again: one of them gets it, and no other bit of the word is lost.
func TestWindowShared(t *testing.T) {
	const count = 20000
	w := new(window)
	var arrived, got atomic.Uint64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for seq := uint64(1); seq <= count; seq++ {
				arrived.Add(1)
				for arrived.Load() < 2*seq {
					runtime.Gosched()
				}
				if w.take(seq) {
					got.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got.Load() != count {
		t.Fatalf("%d numbers were taken %d times", count, got.Load())
	}
	for seq := uint64(count - WindowSize + 1); seq <= count; seq++ {
		if w.fresh(seq) {
			t.Fatalf("number %d was forgotten", seq)
		}
	}
}

// mutexWindow is what the window would be with a lock, for BenchmarkWindow.
type mutexWindow struct {
	mu sync.Mutex
	window
}

func (w *mutexWindow) take(seq uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if top := w.top.Load(); seq > top {
		for n := top/64 + 1; n <= seq/64 && n <= top/64+words; n++ {
			w.words[n%words].Store(0)
		}
		w.top.Store(seq)
	}
	word, bit := &w.words[seq/64%words], uint64(1)<<(seq%64)
	if word.Load()&bit != 0 {
		return false
	}
	word.Store(word.Load() | bit)
	return true
}

func BenchmarkWindow(b *testing.B) {
	for _, kind := range []string{"atomic", "mutex"} {
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/%d", kind, workers), func(b *testing.B) {
				take := new(window).take
				if kind == "mutex" {
					take = new(mutexWindow).take
				}
				var wg sync.WaitGroup
				for worker := range workers {
					wg.Go(func() {
						for i := range b.N {
							take(uint64(i*workers + worker + 1))
						}
					})
				}
				wg.Wait()
			})
		}
	}
}
