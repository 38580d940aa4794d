package ipsec

import (
	"bytes"
	"testing"

	"weft/internal/frame"
)

// FuzzOpen opens anything: as it is, and as the plaintext of an authentic packet, so
// that what is behind the ICV is reached too. Nothing panics, an authentic packet
// is never opened twice, and what is opened seals to the same packet.
func FuzzOpen(f *testing.F) {
	o, _, _ := testSAs(f, AES256GCM, true)
	f.Add(sealed(f, o, NextUDP, []byte("some payload")))
	f.Add([]byte{1, 2, 3, 4, 0, 0, 0, 0})
	f.Add([]byte{1, 2, 2, 17})
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, in, table := testSAs(t, AES256GCM, true)
		if got, r := NewOpener().Open(table, vtepA.Addr(), bytes.Clone(data)); r == frame.NotDropped && got.SA != in {
			t.Fatal("opened by another SA")
		}
		if len(data) == 0 || len(data) > MaxPacket-40 {
			return
		}
		o, _, table := testSAs(t, AES256GCM, true)
		plain := append(bytes.Clone(data), make([]byte, -len(data)&3)...)
		nonce := append(o.salt[:], 0, 0, 0, 0, 0, 0, 0, 1)
		var aad [12]byte
		head := []byte{1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}
		packet := o.aead.Seal(head, nonce, plain, associate(&aad, o.spi, 1, true))
		got, r := NewOpener().Open(table, vtepA.Addr(), bytes.Clone(packet))
		switch {
		case r == frame.BadESP:
		case r != frame.NotDropped:
			t.Fatalf("authentic: %v", r)
		case len(got.Payload)+padding(len(got.Payload))+trailer == len(plain): // no more padding than needed
			if again := sealed(t, o, got.Next, got.Payload); !bytes.Equal(again, packet) {
				t.Fatalf("sealed again to %x, was %x", again, packet)
			}
		}
		refuses(t, table, packet, frame.Replayed)
	})
}

// FuzzClassify: whatever comes by the port is one of the kinds, and ESP has a header.
func FuzzClassify(f *testing.F) {
	f.Add([]byte{0xff})
	f.Add(make([]byte, 8))
	f.Add([]byte{0, 0, 1, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if k := Classify(b); k > KindShort || k == KindESP && (len(b) < 8 || bytes.HasPrefix(b, make([]byte, 4))) {
			t.Fatalf("%v", k)
		}
	})
}

// FuzzDecode: what decodes is within its bounds and has one encoding.
func FuzzDecode(f *testing.F) {
	psk, err := NewPSK([]byte("a secret of the whole overlay"))
	if err != nil {
		f.Fatal(err)
	}
	for _, a := range []Announcement{announcementOf("192.0.2.1:4500", 1, 2), announcementOf("b", 1<<63, 0)} {
		b, err := Encode(a, psk.Sign)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-40])
	}
	var signature []byte
	anybody := func(_ *Announcement, _, s []byte) error { signature = s; return nil }
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Decode(b, anybody)
		if err != nil {
			return
		}
		if err := a.check(); err != nil {
			t.Fatal(err)
		}
		again, err := Encode(a, func([]byte) ([]byte, error) { return signature, nil })
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("encoded again to %x, %v; was %x", again, err, b)
		}
	})
}

// FuzzWindow drives the window by bytes beside the slow one.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200, 4, 255, 0, 0, 129})
	f.Add(bytes.Repeat([]byte{254, 3}, 100))
	f.Fuzz(func(t *testing.T, steps []byte) {
		w, slow := new(window), &slowWindow{seen: map[uint64]bool{}}
		for _, s := range steps {
			seq := slow.top
			switch d := uint64(s & 63); s >> 6 {
			case 0:
				seq += d
			case 1:
				seq += d * 300
			case 2:
				seq -= d * 131
			case 3:
				seq -= WindowSize - 30 + d
			}
			if seq == 0 || seq > 1<<40 {
				continue
			}
			if got, want := w.fresh(seq) && w.take(seq), slow.take(seq); got != want {
				t.Fatalf("number %d, top %d: %v, want %v", seq, slow.top, got, want)
			}
		}
	})
}
