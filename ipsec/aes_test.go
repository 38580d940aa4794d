package ipsec

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
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

// TestProbeAES: what the probe says is what SAs have.
func TestProbeAES(t *testing.T) {
	best, err := ProbeAES()
	if (err == nil) != best.wide || err != nil && !errors.Is(err, ErrNoWideAES) {
		t.Fatalf("%v, %v", best, err)
	}
	for _, way := range []AES{{}, best} {
		m := testMaterial(AES256GCM, true, 0x01020304, 1)
		m.aes = way
		o, err := newOutbound(m)
		if err != nil {
			t.Fatal(err)
		}
		standard, err := newGCM(m.key, AES{})
		if err != nil {
			t.Fatal(err)
		}
		if same := typeName(o.aead) == typeName(standard); same == way.wide {
			t.Errorf("%v: %s", way, typeName(o.aead))
		}
	}
	key, err := NewEpochKey(announcementOf("a", 1, 1), best)
	if err != nil || key.aes != best {
		t.Errorf("an epoch's key has %v (%v), want %v", key.aes, err, best)
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

// typeName tells implementations apart.
func typeName(a cipher.AEAD) string { return fmt.Sprintf("%T", a) }
