package ipsec

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"weft/internal/frame"
)

func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, a := range algorithms {
		for _, esn := range []bool{false, true} {
			o, in, table := testSAs(t, a, esn)
			var bytesIn uint64
			for n := range 200 {
				payload := randomBytes(r, n)
				cut := r.IntN(n + 1)
				packet := sealed(t, o, NextUDP, payload[:cut], payload[cut:])
				if bytes.Contains(packet, payload) && n > 4 {
					t.Fatalf("%v: %d bytes left in clear", a, n)
				}
				if spi, seq, iv := binary.BigEndian.Uint32(packet), binary.BigEndian.Uint32(packet[4:]), binary.BigEndian.Uint64(packet[8:]); spi != o.SPI() || seq != uint32(n+1) || iv != uint64(n+1) {
					t.Fatalf("SPI %#x, number %d, IV %d of packet %d", spi, seq, iv, n+1)
				}
				opens(t, table, packet, payload, NextUDP)
				refuses(t, table, packet, frame.Replayed)
				bytesIn += uint64(n)
			}
			if o.Packets() != 200 || in.Packets() != 200 || in.Replayed() != 200 || in.Forged() != 0 || o.Bytes() != bytesIn || in.Bytes() != bytesIn {
				t.Fatalf("%v: sent %d/%d, received %d/%d, replayed %d, forged %d", a, o.Packets(), o.Bytes(), in.Packets(), in.Bytes(), in.Replayed(), in.Forged())
			}
		}
	}
}

// TestInPlace seals what stands in a buffer already, and leaves alone what follows.
func TestInPlace(t *testing.T) {
	o, _, table := testSAs(t, AES256GCM, true)
	payload := []byte("an inner datagram")
	b := bytes.Repeat([]byte{0xee}, 200)
	copy(b[PayloadOffset:], payload)
	n, r := NewSealer().SealInPlace(o, b, NextUDP, len(payload))
	if r != frame.NotDropped || n != AES256GCM.PacketLen(len(payload)) {
		t.Fatal(n, r)
	}
	if !bytes.Equal(b[n:], bytes.Repeat([]byte{0xee}, 200-n)) {
		t.Fatal("wrote behind the packet")
	}
	got, r := NewOpener().Open(table, vtepA.Addr(), b[:n])
	if r != frame.NotDropped || &got.Payload[0] != &b[PayloadOffset] || string(got.Payload) != string(payload) || got.SA == nil {
		t.Fatalf("%q, %v: not opened in place", got.Payload, r)
	}
}

// TestSealReads seals one frame for two peers: its bytes stay.
func TestSealReads(t *testing.T) {
	o, _, table := testSAs(t, AES256GCM, true)
	head, body := []byte("head"), []byte("and a body")
	for range 2 {
		opens(t, table, sealed(t, o, NextUDP, head, body), []byte("headand a body"), NextUDP)
	}
	if string(head)+string(body) != "headand a body" {
		t.Fatal("the frame was written to")
	}
}

func TestSealRefuses(t *testing.T) {
	s := NewSealer()
	o, _, _ := testSAs(t, AES256GCM, true)
	if n, r := s.Seal(nil, make([]byte, 100), NextUDP, []byte("x")); n != 0 || r != frame.NoKey {
		t.Errorf("without an SA: %d, %v", n, r)
	}
	for _, size := range []int{0, 15, 16, 20, AES256GCM.PacketLen(10) - 1} {
		if n, r := s.Seal(o, make([]byte, size), NextUDP, make([]byte, 10)); n != 0 || r != frame.TooBig {
			t.Errorf("into %d bytes: %d, %v", size, n, r)
		}
	}
	if n, r := s.Seal(o, make([]byte, 70000), NextUDP, make([]byte, MaxPacket-36)); n != 0 || r != frame.TooBig {
		t.Errorf("more than an IP packet: %d, %v", n, r)
	}
	if n, r := s.SealInPlace(o, make([]byte, 100), NextUDP, -50); n != 0 || r != frame.TooBig {
		t.Errorf("a negative length: %d, %v", n, r)
	}
	if o.Packets() != 0 {
		t.Errorf("%d numbers were used up", o.Packets())
	}
}

// TestExhausted seals up to the hard limit and never behind it.
func TestExhausted(t *testing.T) {
	for _, c := range []struct {
		name       string
		esn        bool
		soft, hard uint64
	}{{"ESN", true, 1 << 36, 1 << 40}, {"32 bits", false, 1 << 31, 1<<32 - 1<<28}} {
		t.Run(c.name, func(t *testing.T) {
			o, _, _ := testSAs(t, AES256GCM, c.esn)
			s, b := NewSealer(), make([]byte, 100)
			seal := func() frame.Reason { _, r := s.Seal(o, b, NextUDP, []byte("x")); return r }
			o.seq.Store(c.soft - 2)
			if seal() != frame.NotDropped || o.Worn() {
				t.Error("worn in front of the soft limit")
			}
			if seal() != frame.NotDropped || !o.Worn() {
				t.Error("not worn at the soft limit")
			}
			o.seq.Store(c.hard - 1)
			if r := seal(); r != frame.NotDropped {
				t.Errorf("the last number: %v", r)
			}
			for range 3 {
				if r := seal(); r != frame.NoKey {
					t.Errorf("behind the last number: %v", r)
				}
			}
			if o.Packets() != c.hard {
				t.Errorf("%d packets", o.Packets())
			}
		})
	}
}

// TestSealShared breaks the rule that an SA is one worker's: even then no number
// comes twice.
func TestSealShared(t *testing.T) {
	o, _, _ := testSAs(t, AES128GCM, true)
	const workers, each = 2, 300000
	var ivs [workers][]uint64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			s, b := NewSealer(), make([]byte, 64)
			for range each {
				s.Seal(o, b, NextUDP, []byte("x"))
				ivs[w] = append(ivs[w], binary.BigEndian.Uint64(b[8:]))
			}
		})
	}
	wg.Wait()
	all := slices.Concat(ivs[:]...)
	slices.Sort(all)
	for i, iv := range all {
		if iv != uint64(i+1) {
			t.Fatalf("IV %d of the sorted ones is %d", i, iv)
		}
	}
}

// overtaking is a cipher during whose work another worker delivers the packet.
type overtaking struct {
	cipher.AEAD
	window *window
}

func (o overtaking) Open(dst, nonce, sealed, aad []byte) ([]byte, error) {
	b, err := o.AEAD.Open(dst, nonce, sealed, aad)
	o.window.take(binary.BigEndian.Uint64(aad[4:]))
	return b, err
}

// TestOpenOrder: what has come is refused without a look at its ICV, and what comes
// while it is looked at is not delivered a second time.
func TestOpenOrder(t *testing.T) {
	o, in, table := testSAs(t, AES256GCM, true)
	packet := sealed(t, o, NextUDP, []byte("first"))
	opens(t, table, packet, []byte("first"), NextUDP)
	packet[30] ^= 1
	refuses(t, table, packet, frame.Replayed)
	if in.Forged() != 0 {
		t.Error("decrypted, though the number has come already")
	}
	in.aead = overtaking{in.aead, &in.window}
	refuses(t, table, sealed(t, o, NextUDP, []byte("second")), frame.Replayed)
	if in.Packets() != 1 || in.Replayed() != 2 {
		t.Errorf("%d packets, %d replayed", in.Packets(), in.Replayed())
	}
}

func TestOpenRefuses(t *testing.T) {
	o, in, table := testSAs(t, AES256GCM, true)
	good := sealed(t, o, NextUDP, []byte("some payload"))
	change := func(at int, with byte) []byte {
		b := bytes.Clone(good)
		b[at] ^= with
		return b
	}
	for _, c := range []struct {
		name   string
		packet []byte
		want   frame.Reason
	}{
		{"nothing", nil, frame.BadESP},
		{"cut in the ICV", good[:35], frame.BadESP},
		{"not a multiple of 4", good[:len(good)-1], frame.BadESP},
		{"longer than an IP packet", make([]byte, 65536), frame.BadESP},
		{"another SPI", change(0, 1), frame.UnknownSPI},
		{"another number", change(7, 2), frame.BadICV},
		{"number 0", change(7, 1), frame.Replayed},
		{"another IV", change(15, 1), frame.BadICV},
		{"payload", change(16, 0x80), frame.BadICV},
		{"trailer", change(len(good)-17, 1), frame.BadICV},
		{"ICV", change(len(good)-1, 1), frame.BadICV},
		{"four bytes less", good[:len(good)-4], frame.BadICV},
	} {
		t.Run(c.name, func(t *testing.T) { refuses(t, table, c.packet, c.want) })
	}
	if in.Forged() != 6 || in.Replayed() != 1 || in.Packets() != 0 || in.window.top.Load() != 0 {
		t.Errorf("forged %d, replayed %d, packets %d, top %d: what is refused must change nothing", in.Forged(), in.Replayed(), in.Packets(), in.window.top.Load())
	}
	if _, r := NewOpener().Open(table, netip.MustParseAddr("192.0.2.99"), bytes.Clone(good)); r != frame.UnknownSPI {
		t.Errorf("from another address: %v", r)
	}
	if _, r := NewOpener().Open(nil, vtepA.Addr(), bytes.Clone(good)); r != frame.UnknownSPI {
		t.Errorf("without a table: %v", r)
	}
	opens(t, table, good, []byte("some payload"), NextUDP)
}

// TestOpenPadding opens authentic packets whose sender padded them otherwise.
func TestOpenPadding(t *testing.T) {
	for i, c := range []struct{ name, plain, want string }{
		{"as we do", "aa0102 0211", "aa"},
		{"more than needed", "aabb 010203040506 0611", "aabb"},
		{"nothing but padding", "0102 0211", ""},
		{"dummy", "0102 023b", ""},
		{"longer than the packet", "0102 0311", "bad"},
		{"255", "0102 ff11", "bad"},
		{"zeros", "aa0000 0211", "bad"},
		{"counts from 0", "aa0001 0211", "bad"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, in, table := testSAs(t, AES256GCM, false)
			plain := unhex(t, compact(c.plain))
			for len(plain)%4 != 0 { // the rows leave out leading payload
				plain = append([]byte{0xaa}, plain...)
			}
			var aad [12]byte
			head := append(associate(&aad, o.spi, uint64(i+1), false), make([]byte, 8)...)
			packet := o.aead.Seal(head, append(o.salt[:], make([]byte, 8)...), plain, head[:8])
			if c.want == "bad" {
				refuses(t, table, packet, frame.BadESP)
				refuses(t, table, packet, frame.Replayed) // it was authentic
				return
			}
			n := len(plain) - trailer - int(plain[len(plain)-2])
			opens(t, table, packet, plain[:n], plain[len(plain)-1])
			if in.Packets() != 1 {
				t.Error("not counted")
			}
		})
	}
}

// TestReorder opens packets in an order that goes back by up to the window, over
// the wrap of the number's low half.
func TestReorder(t *testing.T) {
	o, in, table := testSAs(t, AES128GCM, true)
	o.seq.Store(1<<32 - WindowSize)
	in.window.advance(1<<32 - WindowSize)
	packets := make([][]byte, 2*WindowSize)
	for i := range packets {
		packets[i] = sealed(t, o, NextUDP, []byte{byte(i), byte(i >> 8)})
	}
	op := NewOpener()
	open := func(i int) frame.Reason {
		_, r := op.Open(table, vtepA.Addr(), bytes.Clone(packets[i]))
		return r
	}
	// Blocks of a window's length, each from its last packet to its first.
	for block := 0; block < len(packets); block += WindowSize {
		for i := block + WindowSize - 1; i >= block; i-- {
			if r := open(i); r != frame.NotDropped {
				t.Fatalf("packet %d: %v", i, r)
			}
		}
	}
	for i := range packets {
		if r := open(i); r == frame.NotDropped {
			t.Fatalf("packet %d was opened twice", i)
		}
	}
}

// TestOpenShared has workers open the same packets: each is delivered once.
func TestOpenShared(t *testing.T) {
	o, in, table := testSAs(t, AES256GCM, true)
	const count = 4000
	packets := make([][]byte, count)
	for i := range packets {
		packets[i] = sealed(t, o, NextUDP, []byte("payload"))
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			op, b := NewOpener(), make([]byte, len(packets[0]))
			for _, p := range packets {
				copy(b, p)
				op.Open(table, vtepA.Addr(), b)
			}
		})
	}
	wg.Wait()
	if in.Packets() != count || in.Replayed() != 2*count || in.Forged() != 0 {
		t.Fatalf("delivered %d, replayed %d, forged %d", in.Packets(), in.Replayed(), in.Forged())
	}
}

// What is sealed from elsewhere is what is sealed in place, and only the trailer is
// written there.
func TestSealFrom(t *testing.T) {
	for _, a := range algorithms {
		for n := range 300 {
			o, _, table := testSAs(t, a, true)
			payload := randomBytes(rand.New(rand.NewPCG(uint64(n), 1)), n)
			src, trailing := append(bytes.Clone(payload), make([]byte, 20)...), TrailerLen(n)
			dst := make([]byte, a.PacketLen(n))
			got, r := NewSealer().SealFrom(o, dst, src, NextUDP, n)
			if r != frame.NotDropped || got != len(dst) {
				t.Fatalf("%v, %d bytes: %d, %v", a, n, got, r)
			}
			if !bytes.Equal(src[:n], payload) || !bytes.Equal(src[n+trailing:], make([]byte, 20-trailing)) {
				t.Fatalf("%v, %d bytes: the source is not as it was", a, n)
			}
			opens(t, table, dst, payload, NextUDP)
			if _, r := NewSealer().SealFrom(o, dst, src[:n+trailing-1], NextUDP, n); r != frame.TooBig {
				t.Fatalf("%v, %d bytes without room for the trailer: %v", a, n, r)
			}
		}
	}
}
