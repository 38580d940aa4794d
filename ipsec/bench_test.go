package ipsec

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"weft/internal/frame"
)

// benchLen is a payload like those of an underlay of 1,500 bytes.
const benchLen = 1400

// TestAllocations: nothing is allocated per packet, in either direction, with one
// SA for an SPI and with several.
func TestAllocations(t *testing.T) {
	for _, a := range algorithms {
		o, in, table := testSAs(t, a, true)
		s, op, b := NewSealer(), NewOpener(), make([]byte, 2048)
		head, body := make([]byte, 30), make([]byte, benchLen-30)
		want := func(what string, f func()) {
			if n := testing.AllocsPerRun(100, f); n != 0 {
				t.Errorf("%v: %s allocates %v times", a, what, n)
			}
		}
		n := 0
		want("seal", func() { n, _ = s.Seal(o, b, NextUDP, head, body) })
		want("seal and open", func() {
			n, _ = s.Seal(o, b, NextUDP, head, body)
			if _, r := op.Open(table, vtepA.Addr(), b[:n]); r != frame.NotDropped {
				t.Fatal(r)
			}
		})
		want("a forged packet", func() {
			n, _ = s.Seal(o, b, NextUDP, head, body)
			b[20] ^= 1
			if _, r := op.Open(table, vtepA.Addr(), b[:n]); r != frame.BadICV {
				t.Fatal(r)
			}
		})
		other := testInbound(t, testMaterial(a, true, in.SPI(), 99))
		both, _ := NewTable([]*Inbound{other, in})
		want("one of two", func() {
			n, _ = s.Seal(o, b, NextUDP, head, body)
			if _, r := op.Open(both, vtepA.Addr(), b[:n]); r != frame.NotDropped {
				t.Fatal(r)
			}
		})
		want("a stranger's packet", func() {
			if _, r := op.Open(table, vtepB.Addr(), b[:n]); r != frame.UnknownSPI {
				t.Fatal(r)
			}
		})
	}
	peer := NewPeer(0, 0)
	if n := testing.AllocsPerRun(100, func() { peer.Outbound(0) }); n != 0 {
		t.Errorf("asking a peer allocates %v times", n)
	}
}

// bareAEAD is the bare cipher that an algorithm's is measured against: Go's own.
func bareAEAD(b *testing.B, a Algorithm, key []byte) cipher.AEAD {
	aead, err := a.aead(key, testAES)
	if err == nil && a != ChaCha20Poly1305 {
		var block cipher.Block
		if block, err = aes.NewCipher(key); err == nil {
			aead, err = cipher.NewGCM(block)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return aead
}

// BenchmarkSeal compares sealing 1,400 bytes with the bare cipher on the same bytes:
// in place, from another buffer, and from a frame's headers and its payload.
func BenchmarkSeal(b *testing.B) {
	for _, a := range algorithms {
		o, _, _ := testSAs(b, a, true)
		buf, src, s := make([]byte, 2048), make([]byte, 2048), NewSealer()
		nonce, aad, aead := make([]byte, 12), make([]byte, 12), bareAEAD(b, a, o.key)
		bare := func(src []byte) func(i int) {
			return func(i int) {
				binary.BigEndian.PutUint64(nonce[4:], uint64(i))
				aead.Seal(buf[16:16], nonce, src[16:16+benchLen+trailer+padding(benchLen)], aad)
			}
		}
		for _, c := range []struct {
			name string
			f    func(i int)
		}{
			{"in place", func(int) { s.SealInPlace(o, buf, NextUDP, benchLen) }},
			{"one piece", func(int) { s.Seal(o, buf, NextUDP, src[:benchLen]) }},
			{"from elsewhere", func(int) { s.SealFrom(o, buf, src, NextUDP, benchLen) }},
			{"two pieces", func(int) { s.Seal(o, buf, NextUDP, src[:82], src[100:100+benchLen-82]) }},
			{"bare from one buffer to another", bare(src)},
		} {
			b.Run(fmt.Sprintf("%v/%s", a, c.name), func(b *testing.B) { compare(b, bare(buf), c.f) })
		}
	}
}

// BenchmarkOpen compares opening 1,400 bytes with the bare cipher on the same
// bytes. Both copy the packet first, for opening destroys it.
func BenchmarkOpen(b *testing.B) {
	for _, a := range algorithms {
		o, in, table := testSAs(b, a, true)
		packets := make([][]byte, round)
		for i := range packets {
			packets[i] = sealed(b, o, NextUDP, make([]byte, benchLen))
		}
		buf, op := make([]byte, 2048), NewOpener()
		nonce, aad, aead := make([]byte, 12), make([]byte, 12), bareAEAD(b, a, o.key)
		copy(nonce, o.salt[:])
		binary.BigEndian.PutUint32(aad, o.spi)
		b.Run(a.String(), func(b *testing.B) {
			compare(b, func(i int) {
				p := buf[:copy(buf, packets[i])]
				copy(nonce[4:], p[8:16])
				copy(aad[4:], p[8:16])
				if _, err := aead.Open(p[16:16], nonce, p[16:], aad); err != nil {
					b.Fatal(err)
				}
			}, func(i int) {
				if i == 0 { // the same numbers again
					clear(in.window.words[:])
					in.window.top.Store(0)
				}
				p := buf[:copy(buf, packets[i])]
				if _, r := op.Open(table, vtepA.Addr(), p); r != frame.NotDropped {
					b.Fatal(r)
				}
			})
		})
	}
}

// round is how many packets are measured at a time.
const round = 256

// compare runs the bare cipher and f by turns, a round each, and reports the time
// of each in its fastest tenth of rounds, which other programs on the machine
// disturb least, and the one by the other.
func compare(b *testing.B, bare, f func(i int)) {
	b.ReportAllocs()
	var times [2][]float64
	for n := 0; n < b.N; n += round {
		for k, f := range []func(int){bare, f} {
			start := time.Now()
			for i := range round {
				f(i)
			}
			times[k] = append(times[k], float64(time.Since(start).Nanoseconds())/round)
		}
	}
	for k := range times {
		slices.Sort(times[k])
	}
	tenth := len(times[0]) / 10
	b.ReportMetric(times[0][tenth], "bare-ns")
	b.ReportMetric(times[1][tenth], "ns/packet")
	b.ReportMetric(times[1][tenth]/times[0][tenth], "ratio")
	b.ReportMetric(0, "ns/op") // of both together: says nothing
}

// BenchmarkPair derives all SAs of two nodes of eight workers each.
func BenchmarkPair(b *testing.B) {
	own, other := announcementOf("a", 1, 1), announcementOf("b", 1, 1)
	own.Workers, other.Workers = 8, 8
	peer := newKey(b, other).Announcement()
	for b.Loop() {
		if _, err := newKey(b, own).Pair(peer); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
}
