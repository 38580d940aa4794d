package ipsec

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

var errSignature = errors.New("wrong signature")

// TestAnnouncement encodes, signs, verifies and decodes with both kinds of key that
// node certificates have, and with a PSK.
func TestAnnouncement(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	psk, err := NewPSK([]byte("a secret of the whole overlay"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		sign   Signer
		verify Verifier
	}{
		{"Ed25519", func(m []byte) ([]byte, error) { return ed25519.Sign(private, m), nil },
			func(_ *Announcement, m, s []byte) error { return wrongUnless(ed25519.Verify(public, m, s)) }},
		{"ECDSA", func(m []byte) ([]byte, error) { h := sha256.Sum256(m); return ecdsa.SignASN1(rand.Reader, key, h[:]) },
			func(_ *Announcement, m, s []byte) error {
				h := sha256.Sum256(m)
				return wrongUnless(ecdsa.VerifyASN1(&key.PublicKey, h[:], s))
			}},
		{"PSK", psk.Sign, psk.Verify},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := announcementOf("192.0.2.1:4500", 1<<63, 9)
			want.Public[5], want.InIP = 5, true
			b, err := Encode(want, c.sign)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Decode(b, c.verify); err != nil || got != want {
				t.Fatalf("%+v, %v", got, err)
			}
			for i := range b {
				forged := bytes.Clone(b)
				forged[i] ^= 1
				if got, err := Decode(forged, c.verify); err == nil {
					t.Fatalf("byte %d changed: %+v", i, got)
				}
			}
			for n := range b {
				if _, err := Decode(b[:n], c.verify); err == nil {
					t.Fatalf("cut to %d bytes", n)
				}
			}
			if _, err := Decode(append(b, 0), c.verify); err == nil {
				t.Fatal("a byte too many")
			}
		})
	}
}

func wrongUnless(ok bool) error {
	if !ok {
		return errSignature
	}
	return nil
}

func TestPSK(t *testing.T) {
	if _, err := NewPSK([]byte("fifteen bytes..")); err == nil {
		t.Error("a short secret was taken")
	}
	one, _ := NewPSK([]byte("the secret of one overlay"))
	two, _ := NewPSK([]byte("the secret of another one"))
	a := announcementOf(vtepA.String(), 1, 1)
	b, err := Encode(a, one.Sign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(b, two.Verify); err == nil || !strings.Contains(err.Error(), "pre-shared key") {
		t.Errorf("another overlay's: %v", err)
	}
	a.VTEP = vtepB
	if b, err = Encode(a, one.Sign); err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(b, one.Verify); err == nil || !strings.Contains(err.Error(), "called by their VTEP") {
		t.Errorf("a node that names itself after another: %v", err)
	}
}

func TestAnnouncementBounds(t *testing.T) {
	sign := func([]byte) ([]byte, error) { return []byte("s"), nil }
	for _, c := range []struct {
		name   string
		change func(a *Announcement)
		want   string
	}{
		{"fine", func(a *Announcement) {}, ""},
		{"IPv6", func(a *Announcement) { a.VTEP = netip.MustParseAddrPort("[2001:db8::1]:4500") }, ""},
		{"64 workers, long name", func(a *Announcement) { a.Workers, a.Node = 64, strings.Repeat("n", 255) }, ""},
		{"no name", func(a *Announcement) { a.Node = "" }, "node name of 0 bytes"},
		{"a longer name", func(a *Announcement) { a.Node = strings.Repeat("n", 256) }, "node name of 256 bytes"},
		{"no address", func(a *Announcement) { a.VTEP = netip.AddrPort{} }, "VTEP"},
		{"no port", func(a *Announcement) { a.VTEP = netip.MustParseAddrPort("192.0.2.1:0") }, "VTEP"},
		{"zone", func(a *Announcement) { a.VTEP = netip.MustParseAddrPort("[fe80::1%eth0]:4500") }, "VTEP"},
		{"IPv4-mapped", func(a *Announcement) { a.VTEP = netip.MustParseAddrPort("[::ffff:192.0.2.1]:4500") }, "VTEP"},
		{"multicast", func(a *Announcement) { a.VTEP = netip.MustParseAddrPort("224.0.0.1:4500") }, "VTEP"},
		{"algorithm 0", func(a *Announcement) { a.Algorithm = 0 }, "algorithm 0"},
		{"no workers", func(a *Announcement) { a.Workers = 0 }, "0 workers"},
		{"65 workers", func(a *Announcement) { a.Workers = 65 }, "65 workers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := announcementOf("a", 1, 1)
			c.change(&a)
			_, err := Encode(a, sign)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if _, err := NewEpochKey(a, testAES); (err == nil) != (c.want == "") {
				t.Fatalf("a key for it: %v", err)
			}
		})
	}
	b, err := Encode(announcementOf("a", 1, 1), sign)
	if err != nil {
		t.Fatal(err)
	}
	anybody := func(*Announcement, []byte, []byte) error { return nil }
	flags := len(b) - len("s") - 2 - publicLen - 2
	b[flags] |= 4
	if _, err := Decode(b, anybody); err == nil || !strings.Contains(err.Error(), "flags 0x5") {
		t.Errorf("a flag from the future: %v", err)
	}
	b[flags] = flagESN | flagIP
	if a, err := Decode(b, anybody); err != nil || !a.ESN || !a.InIP {
		t.Errorf("both flags: %+v, %v", a, err)
	}
	b[flags], b[0] = flagESN, 2
	if _, err := Decode(b, anybody); err == nil || !strings.Contains(err.Error(), "version 2, want 1") {
		t.Errorf("version 2: %v", err)
	}
	if _, err := Decode(make([]byte, MaxAnnouncement+1), anybody); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too long: %v", err)
	}
	if _, err := Encode(announcementOf("a", 1, 1), func([]byte) ([]byte, error) { return nil, errSignature }); !errors.Is(err, errSignature) {
		t.Errorf("signing failed: %v", err)
	}
	if _, err := Encode(announcementOf("a", 1, 1), func([]byte) ([]byte, error) { return make([]byte, 1000), nil }); err == nil {
		t.Error("a signature of 1,000 bytes was taken")
	}
}
