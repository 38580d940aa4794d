package ipsec

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"weft/internal/frame"
)

// An ill GCM is AES-GCM that does one thing wrong with packets of 257 bytes and more.
type illGCM struct {
	cipher.AEAD
	how string
}

func (g illGCM) Seal(dst, nonce, plain, aad []byte) []byte {
	b := g.AEAD.Seal(dst, nonce, plain, aad)
	if g.how == "seals" && len(plain) > 256 {
		b[len(b)-1] ^= 1
	}
	return b
}

func (g illGCM) Open(dst, nonce, sealed, aad []byte) ([]byte, error) {
	n := len(sealed) - icvLen
	was := append([]byte(nil), sealed...)
	b, err := g.AEAD.Open(dst, nonce, sealed, aad)
	switch {
	case n <= 256:
	case g.how == "opens" && err == nil:
		b[n-1] ^= 1
	case g.how == "refuses" && err == nil:
		return nil, errors.New("refused")
	case g.how == "believes" && err != nil:
		return dst[:n], nil
	case g.how == "leaves" && err != nil:
		copy(dst[:n], was)
	}
	return b, err
}

// TestCompareAES: each way of being wrong is found before anything is sealed by it.
func TestCompareAES(t *testing.T) {
	for _, c := range []struct{ how, want string }{
		{"seals", "AES-128-GCM of 257 bytes: sealed otherwise than by the standard library"},
		{"opens", "AES-128-GCM of 257 bytes: opened otherwise than by the standard library"},
		{"refuses", "AES-128-GCM of 257 bytes: opened otherwise than by the standard library"},
		{"believes", "AES-128-GCM of 257 bytes: a forged packet was opened"},
		{"leaves", "AES-128-GCM of 257 bytes: a forged packet's bytes were left"},
		{"", ""},
	} {
		err := compareAES(func(key []byte) (cipher.AEAD, error) {
			g, err := newGCM(key, AES{})
			return illGCM{g, c.how}, err
		})
		if got := ""; (err == nil) != (c.want == got) || err != nil && err.Error() != c.want {
			t.Errorf("%q: %v, want %q", c.how, err, c.want)
		}
	}
}

// TestProbeAES: what the probe says is what derived SAs have, and one end does not see
// which the other has.
func TestProbeAES(t *testing.T) {
	best, err := ProbeAES()
	if (err == nil) != best.wide || err != nil && !errors.Is(err, ErrNoWideAES) {
		t.Fatalf("%v, %v", best, err)
	}
	standard, err := newGCM(make([]byte, 32), AES{})
	if err != nil {
		t.Fatal(err)
	}
	ways := [2]AES{{}, best}
	var keys [2]*EpochKey
	for i, node := range []string{"a", "b"} {
		if keys[i], err = NewEpochKey(announcementOf(node, 1, 1), ways[i]); err != nil {
			t.Fatal(err)
		}
	}
	ab, ba := pairs(t, keys[0], keys[1])
	for i, pair := range []*Pair{ab, ba} {
		for _, a := range []cipher.AEAD{pair.out[1].aead, pair.in[1].aead} {
			if wide := fmt.Sprintf("%T", a) != fmt.Sprintf("%T", standard); wide != ways[i].wide {
				t.Errorf("%v: a derived SA has %T", ways[i], a)
			}
		}
	}
	for _, d := range [][2]*Pair{{ab, ba}, {ba, ab}} {
		table, _ := NewTable(d[1].in)
		packet := sealed(t, d[0].out[1], NextUDP, []byte("payload"))
		got, r := NewOpener().Open(table, d[1].in[1].vtep.Addr(), packet)
		if r != frame.NotDropped || string(got.Payload) != "payload" {
			t.Errorf("%v: %q", r, got.Payload)
		}
	}
}

// TestFIPS starts this test anew in Go's FIPS 140 mode: validated code alone may be used.
func TestFIPS(t *testing.T) {
	if os.Getenv("GODEBUG") == "fips140=on" {
		way, err := ProbeAES()
		if way.wide || err == nil || lacksWide() == "" && !strings.Contains(err.Error(), "FIPS") {
			t.Errorf("%v, %v", way, err)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFIPS$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=on")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS: TestFIPS") {
		t.Errorf("%v\n%s", err, out)
	}
}
