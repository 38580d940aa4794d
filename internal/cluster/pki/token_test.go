package pki

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// dockerToken stands in Docker's documentation of `docker swarm join-token`.
const dockerToken = "SWMTKN-1-49nj1cmql0jkz5s954yi3oex3nedyz0fb0xx14ie39trti4wxv-8vxv8rssmk743ojnwacrr2e7c"

func TestTokenText(t *testing.T) {
	all := Token{}
	for i := range all.Digest {
		all.Digest[i] = 0xff
	}
	for i := range all.Secret {
		all.Secret[i] = 0xff
	}
	small := Token{}
	small.Digest[31], small.Secret[15] = 35, 36
	for _, c := range []struct {
		name  string
		token Token
		want  string
	}{
		{"zero", Token{}, "SWMTKN-1-" + strings.Repeat("0", 50) + "-" + strings.Repeat("0", 25)},
		{"small numbers", small, "SWMTKN-1-" + strings.Repeat("0", 49) + "z-" + strings.Repeat("0", 23) + "10"},
		// 2^256-1 and 2^128-1, computed apart from this code.
		{"largest", all, "SWMTKN-1-6dp5qcb22im238nr3wvp0ic7q99w035jmy2iw7i6n43d37jtof-f5lxx1zz5pnorynqglhzmsp33"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.token.String(); got != c.want {
				t.Errorf("text %s, want %s", got, c.want)
			}
			if got, err := ParseToken(c.want); err != nil || got != c.token {
				t.Errorf("parsed %x, %v; want %x", got, err, c.token)
			}
		})
	}
	if got, err := ParseToken("  " + dockerToken + "\n"); err != nil || got.String() != dockerToken {
		t.Errorf("Docker's token: %s, %v", got, err)
	}
}

func TestParseTokenErrors(t *testing.T) {
	d, s := dockerToken[9:59], dockerToken[60:]
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "does not begin with SWMTKN-1-"},
		{"unlock key", "SWMKEY-1-" + d, "does not begin with SWMTKN-1-"},
		{"later version", "SWMTKN-2-" + d + "-" + s, "does not begin with SWMTKN-1-"},
		{"no secret", "SWMTKN-1-" + d, "1 parts after SWMTKN-1-, 2 expected"},
		{"something behind", dockerToken + "-1", "3 parts"},
		{"short digest", "SWMTKN-1-" + d[1:] + "-" + s, "digest has 49 characters, 50 expected"},
		{"short secret", "SWMTKN-1-" + d + "-" + s[1:], "secret has 24 characters, 25 expected"},
		{"long secret", dockerToken + "0", "secret has 26 characters, 25 expected"},
		{"capital", "SWMTKN-1-" + strings.ToUpper(d[:1]) + "N" + d[2:] + "-" + s, "character 2 of its digest is damaged"},
		{"sign", "SWMTKN-1-+" + d[1:] + "-" + s, "character 1 of its digest is damaged"},
		{"underscore", "SWMTKN-1-" + d + "-" + s[:3] + "_" + s[4:], "character 4 of its secret is damaged"},
		{"digest too large", "SWMTKN-1-" + strings.Repeat("z", 50) + "-" + s, "larger than any of 256 bits"},
		{"one more than the largest digest", "SWMTKN-1-6dp5qcb22im238nr3wvp0ic7q99w035jmy2iw7i6n43d37jtog-" + s, "larger than any of 256 bits"},
		{"one more than the largest secret", "SWMTKN-1-" + d + "-f5lxx1zz5pnorynqglhzmsp34", "larger than any of 128 bits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseToken(c.text)
			if !errors.Is(err, ErrToken) || !strings.Contains(err.Error(), c.want) || got != (Token{}) {
				t.Errorf("%x, error %v, want %q", got, err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), d[5:15]) || strings.Contains(err.Error(), s[5:15])) {
				t.Errorf("the error quotes the token: %v", err)
			}
		})
	}
}

// A token with one digit changed is refused, or is another: its digest no longer
// names the root, or its secret is not the cluster's.
func TestTokenOneDigitChanged(t *testing.T) {
	root := newRoot(t, "c1", t0)
	token, err := NewToken(root.CertPEM(), NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	text := token.String()
	for i := len(tokenPrefix); i < len(text); i++ {
		for _, digit := range "0z7" {
			if text[i] == byte(digit) || text[i] == '-' {
				continue
			}
			got, err := ParseToken(text[:i] + string(digit) + text[i+1:])
			switch inDigest := i < len(tokenPrefix)+digestDigits; {
			case errors.Is(err, ErrToken):
			case err != nil:
				t.Errorf("digit %d: %v", i, err)
			case inDigest && got.Matches(root.CertPEM()):
				t.Errorf("digit %d changed to %c: the digest still matches", i, digit)
			case !inDigest && got.Secret.Equal(token.Secret):
				t.Errorf("digit %d changed to %c: the secret is still the same", i, digit)
			}
		}
	}
}

func TestTokenMatches(t *testing.T) {
	a, b := newRoot(t, "c1", t0), newRoot(t, "c1", t0)
	token, err := NewToken(a.CertPEM(), Secret{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		pem  []byte
		want bool
	}{
		{"its root", a.CertPEM(), true},
		{"another of the same name", b.CertPEM(), false},
		{"a bundle with it", append(b.CertPEM(), a.CertPEM()...), true},
		{"nothing", nil, false},
		{"torn", a.CertPEM()[:100], false},
	} {
		if got := token.Matches(c.pem); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if _, err := NewToken(append(b.CertPEM(), a.CertPEM()...), Secret{}); err == nil {
		t.Error("a token of two roots")
	}
}

func TestSecrets(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	if bytes.Equal(a[:], b[:]) || a.Equal(b) {
		t.Error("two secrets are the same")
	}
	if c := a; !a.Equal(c) {
		t.Error("a secret is not equal to its copy")
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(dockerToken)
	f.Add("SWMTKN-1-" + strings.Repeat("z", 50) + "-" + strings.Repeat("z", 25))
	f.Add("SWMTKN-1--")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err != nil {
			if !errors.Is(err, ErrToken) {
				t.Errorf("%q: %v is not ErrToken", text, err)
			}
			return
		}
		if token.String() != strings.TrimSpace(text) {
			t.Errorf("%q is read as %s", text, token)
		}
	})
}
