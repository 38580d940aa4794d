package pki

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// member returns a node's identity in the cluster of root, issued at now.
func member(t testing.TB, root *Root, s Subject, now time.Time) *Identity {
	t.Helper()
	return identity(t, root, s, now, nil, root.CertPEM())
}

// identity issues a certificate with others behind it, and trusts roots.
func identity(t testing.TB, root *Root, s Subject, now time.Time, behind, roots []byte) *Identity {
	t.Helper()
	key := newKey(t)
	text, err := root.Issue(request(t, key), s, now, 0)
	if err != nil {
		t.Fatal(err)
	}
	id, err := NewIdentity(key, append(text, behind...), roots)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestNewIdentity(t *testing.T) {
	root, other := newRoot(t, "c1", t0), newRoot(t, "c1", t0)
	key := newKey(t)
	leaf, err := root.Issue(request(t, key), Subject{"n1", "c1", Worker}, t0, 0)
	if err != nil {
		t.Fatal(err)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	cross := crossed(t, root, other)
	for _, c := range []struct {
		name         string
		chain, roots []byte
		want         string
	}{
		{"fine", leaf, root.CertPEM(), ""},
		{"one of two roots", leaf, join(other.CertPEM(), root.CertPEM()), ""},
		{"cross-signed", join(leaf, cross), other.CertPEM(), ""},
		{"other root", leaf, other.CertPEM(), ErrForeign.Error()},
		{"cross-signed the wrong way", join(leaf, crossed(t, other, root)), other.CertPEM(), ErrForeign.Error()},
		{"a root as node", root.CertPEM(), root.CertPEM(), "is not the certificate of a node"},
		{"a node as root", leaf, leaf, "is not a root"},
		{"cross-signed as root", leaf, cross, "is not a root"},
		{"no roots", leaf, nil, "root certificates: no certificate"},
		{"no certificate", nil, root.CertPEM(), "node certificate: no certificate"},
		{"too many", bytes.Repeat(leaf, maxChain+1), root.CertPEM(), "more than 8 certificates"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewIdentity(key, c.chain, c.roots)
			checkText(t, err, c.want)
		})
	}
	_, err = NewIdentity(newKey(t), leaf, root.CertPEM())
	checkText(t, err, "is not of this private key")
}

func TestIdentityTimes(t *testing.T) {
	root := newRoot(t, "c1", t0)
	for _, validity := range []time.Duration{time.Hour, DefaultValidity} {
		t.Run(validity.String(), func(t *testing.T) {
			key := newKey(t)
			leaf, err := root.Issue(request(t, key), Subject{"n1", "c1", Worker}, t0, validity)
			if err != nil {
				t.Fatal(err)
			}
			id, err := NewIdentity(key, leaf, root.CertPEM())
			if err != nil {
				t.Fatal(err)
			}
			if !id.Certificate().NotAfter.Equal(t0.Add(validity)) {
				t.Errorf("ends %v", id.Certificate().NotAfter)
			}
			if want := t0.Add(validity / 2); !id.RenewAt().Equal(want) {
				t.Errorf("renewed at %v, want %v", id.RenewAt(), want)
			}
			for _, c := range []struct {
				name string
				now  time.Time
				want string
			}{
				{"when issued", t0, ""},
				{"an hour behind", t0.Add(-time.Hour), ""},
				{"more than an hour behind", t0.Add(-time.Hour - time.Second), "is not valid before 2026-03-01T11:00:00Z and here it is 2026-03-01T10:59:59Z: is this machine's clock right?"},
				{"last second", t0.Add(validity), ""},
				{"ended", t0.Add(validity + time.Second), "the node must leave the swarm and join again"},
			} {
				err := id.Valid(c.now)
				if checkText(t, err, c.want); c.want != "" && !errors.Is(err, ErrExpired) {
					t.Errorf("%s: %v is not ErrExpired", c.name, err)
				}
			}
		})
	}
}

func TestIdentityFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadIdentity(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no file: %v", err)
	}
	root, next := newRoot(t, "c1", t0), newRoot(t, "c1", t0)
	first := member(t, root, Subject{"n1", "c1", Worker}, t0)
	// One in the middle of a rotation has the most to lose.
	second := identity(t, next, Subject{"n1", "c1", Manager}, t0, crossed(t, next, root), append(root.CertPEM(), next.CertPEM()...))
	path := filepath.Join(dir, identityName)
	// What a write that was cut short leaves, and anybody may read.
	if err := os.WriteFile(path+".new", []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, id := range []*Identity{first, second} {
		if err := id.Save(dir); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
		got, err := LoadIdentity(dir)
		if err != nil {
			t.Fatal(err)
		}
		if !got.key.Equal(id.key) || got.Subject() != id.Subject() || !bytes.Equal(got.RootsPEM(), id.RootsPEM()) ||
			!bytes.Equal(encodeCertificates(got.chain...), encodeCertificates(id.chain...)) {
			t.Errorf("read %+v, written %+v", got, id)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("files %v, %v", names, err)
	}
	for range 2 { // the second time there is none
		if err := RemoveIdentity(dir); err != nil {
			t.Error(err)
		}
	}
	if _, err := LoadIdentity(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
	if err := first.Save(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("saved into nothing: %v", err)
	}
}

// withSum puts the header of a good file before a body.
func withSum(body string) []byte {
	return append(fmt.Appendf(nil, identityHeader, checksum([]byte(body))), body...)
}

func TestIdentityFileRefused(t *testing.T) {
	root := newRoot(t, "c1", t0)
	text, err := member(t, root, Subject{"n1", "c1", Worker}, t0).encode()
	if err != nil {
		t.Fatal(err)
	}
	body := string(text[headerLen:])
	keyEnd := strings.Index(body, "-----BEGIN CERTIFICATE")
	lastCert := strings.LastIndex(body, "-----BEGIN CERTIFICATE")
	changed := bytes.Clone(text)
	changed[len(changed)-100] ^= 1
	for _, c := range []struct {
		name string
		text []byte
		want string
	}{
		{"empty", nil, "its beginning is lost"},
		{"something else", []byte("-----BEGIN PRIVATE KEY-----\n"), "not an identity of weft"},
		{"zeros, as after a crash", make([]byte, len(text)), "not an identity of weft"},
		{"header only", text[:headerLen], "torn or changed"},
		{"cut off between blocks", text[:headerLen+lastCert], "torn or changed"},
		{"a bit changed", changed, "torn or changed"},
		{"later version", bytes.Replace(text, []byte("identity 1"), []byte("identity 2"), 1), "written by a newer weft"},
		{"too large", append(bytes.Clone(text), make([]byte, maxIdentity)...), "more than 262144 bytes"},
		{"no key", withSum(body[keyEnd:]), "private key: PEM block"},
		{"no blocks", withSum("text"), "no private key"},
		{"no root", withSum(body[:lastCert]), "1 certificates of the node and 0 roots found"},
		{"no certificate of the node", withSum(body[:keyEnd] + body[lastCert:]), "0 certificates of the node and 1 roots found"},
		{"something behind", withSum(body + "text"), "something follows"},
		{"two keys", withSum(body + body[:keyEnd]), `PEM block "PRIVATE KEY" found`},
		{"key of another", withSum(string(keyOf(t, root)) + body[keyEnd:]), "is not of this private key"},
		{"roots of another", withSum(body[:lastCert] + string(newRoot(t, "c1", t0).CertPEM())), ErrForeign.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, identityName)
			if err := os.WriteFile(path, c.text, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := LoadIdentity(dir)
			checkText(t, err, c.want)
			checkText(t, err, path)
			checkText(t, err, "join the swarm again")
			if now, e := os.ReadFile(path); e != nil || !bytes.Equal(now, c.text) {
				t.Error("the refused file was touched")
			}
		})
	}
}

// Wherever a file is cut off, it is refused.
func TestIdentityFileTorn(t *testing.T) {
	text, err := member(t, newRoot(t, "c1", t0), Subject{"n1", "c1", Worker}, t0).encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := range text {
		if _, err := decodeIdentity(text[:n]); err == nil {
			t.Errorf("cut off after %d of %d bytes: accepted", n, len(text))
		}
	}
	if _, err := decodeIdentity(text); err != nil {
		t.Errorf("whole: %v", err)
	}
}

func TestIdentityFileMode(t *testing.T) {
	dir := t.TempDir()
	if err := member(t, newRoot(t, "c1", t0), Subject{"n1", "c1", Worker}, t0).Save(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, identityName)
	for mode, want := range map[fs.FileMode]string{0o600: "", 0o400: "", 0o640: "mode 0640, 0600 expected", 0o604: "`chmod 600 " + path + "`"} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadIdentity(dir)
		checkText(t, err, want)
	}
}

// The input is a change of a good file, some bytes cut out and some put in: whole
// files are so long that the fuzzer would spend its time on making them smaller.
func FuzzDecodeIdentity(f *testing.F) {
	root, next := newRoot(f, "c1", t0), newRoot(f, "c1", t0)
	text, err := identity(f, next, Subject{"n1", "c1", Manager}, t0, crossed(f, next, root), root.CertPEM()).encode()
	if err != nil {
		f.Fatal(err)
	}
	good := string(text[headerLen:])
	f.Add(uint16(0), uint16(0), "")
	f.Add(uint16(strings.Index(good, "-----BEGIN CERT")), uint16(0), "a: b\n")
	f.Add(uint16(strings.LastIndex(good, "-----BEGIN CERT")), uint16(len(good)), "")
	f.Add(uint16(300), uint16(4), "AAAA")
	f.Fuzz(func(t *testing.T, at, cut uint16, put string) {
		from := min(int(at), len(good))
		// The checksum is made right, so that what is behind it is reached.
		id, err := decodeIdentity(withSum(good[:from] + put + good[min(from+int(cut), len(good)):]))
		if err != nil {
			return
		}
		text, err := id.encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decodeIdentity(text); err != nil || again.Subject() != id.Subject() || !bytes.Equal(again.RootsPEM(), id.RootsPEM()) {
			t.Errorf("written and read again: %+v, %v", again, err)
		}
	})
}
