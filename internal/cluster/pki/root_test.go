package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// t0 is when most roots of these tests are made.
var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newRoot(t testing.TB, cluster string, now time.Time) *Root {
	t.Helper()
	r, err := NewRoot(cluster, now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func request(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	csr, err := CSR(key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func issued(t testing.TB, r *Root, s Subject, now time.Time, validity time.Duration) *x509.Certificate {
	t.Helper()
	text, err := r.Issue(request(t, newKey(t)), s, now, validity)
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseOne(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIssue(t *testing.T) {
	root := newRoot(t, "c1", t0)
	// A request that asks for more than it is given.
	key := newKey(t)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "n9", OrganizationalUnit: []string{"swarm-manager"}, Organization: []string{"c9"}},
		DNSNames: []string{"example.org"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := root.Issue(csr, Subject{"n1", "c1", Worker}, t0, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseOne(text)
	if err != nil {
		t.Fatal(err)
	}
	// The names as Docker has them.
	if n := c.Subject; n.CommonName != "n1" || !slices.Equal(n.Organization, []string{"c1"}) || !slices.Equal(n.OrganizationalUnit, []string{"swarm-worker"}) {
		t.Errorf("subject %v", n)
	}
	if s, err := subjectOf(c); err != nil || s != (Subject{"n1", "c1", Worker}) {
		t.Errorf("subject %+v, %v", s, err)
	}
	if len(c.DNSNames) != 0 || c.IsCA || c.KeyUsage&x509.KeyUsageCertSign != 0 {
		t.Errorf("the request's wishes are in the certificate: names %v, authority %v, usage %b", c.DNSNames, c.IsCA, c.KeyUsage)
	}
	if !key.PublicKey.Equal(c.PublicKey) {
		t.Error("the certificate is of another key")
	}
	if !c.NotBefore.Equal(t0.Add(-time.Hour)) || !c.NotAfter.Equal(t0.Add(90*24*time.Hour)) {
		t.Errorf("valid from %v to %v", c.NotBefore, c.NotAfter)
	}
	if other := issued(t, root, Subject{"n1", "c1", Worker}, t0, 0); other.SerialNumber.Cmp(c.SerialNumber) == 0 || c.SerialNumber.BitLen() != 127 {
		t.Errorf("serial numbers %x, %x", c.SerialNumber, other.SerialNumber)
	}
}

func TestIssueNeverOutlivesTheRoot(t *testing.T) {
	root := newRoot(t, "c1", t0)
	late := t0.Add(rootValidity - 24*time.Hour)
	if c := issued(t, root, Subject{"n1", "c1", Worker}, late, 0); !c.NotAfter.Equal(t0.Add(rootValidity)) {
		t.Errorf("ends %v, the root %v", c.NotAfter, root.cert.NotAfter)
	}
	for now, want := range map[time.Time]string{
		t0.Add(20*365*24*time.Hour + time.Second): "root certificate ended 2046-02-24T12:00:00Z and here it is 2046-02-24T12:00:01Z: is this machine's clock right? if it is, replace the root with `weft swarm ca --rotate`",
		t0.Add(-time.Hour - time.Second):          "root certificate is not valid before",
	} {
		_, err := root.Issue(request(t, newKey(t)), Subject{"n1", "c1", Worker}, now, 0)
		if checkText(t, err, want); !errors.Is(err, ErrExpired) {
			t.Errorf("%v is not ErrExpired", err)
		}
	}
}

func TestIssueErrors(t *testing.T) {
	root := newRoot(t, "c1", t0)
	good := request(t, newKey(t))
	damaged := slices.Clone(good)
	damaged[len(damaged)-1] ^= 1
	of := func(key crypto.Signer) []byte {
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		return csr
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n1 := Subject{"n1", "c1", Worker}
	for _, c := range []struct {
		name     string
		csr      []byte
		subject  Subject
		validity time.Duration
		want     string
	}{
		{"fine", good, n1, time.Hour, ""},
		{"too short", good, n1, time.Hour - 1, "at least 1h0m0s expected"},
		{"negative", good, n1, -time.Hour, "at least 1h0m0s expected"},
		{"no request", nil, n1, 0, "certificate request of node n1"},
		{"signature of another", damaged, n1, 0, "certificate request of node n1"},
		{"P-384", of(p384), n1, 0, "ECDSA on P-256 expected"},
		{"Ed25519", of(ed), n1, 0, "ECDSA on P-256 expected"},
		{"no node", good, Subject{"", "c1", Worker}, 0, `node id ""`},
		{"no cluster", good, Subject{"n1", "", Worker}, 0, `cluster id ""`},
		{"no role", good, Subject{"n1", "c1", ""}, 0, `role ""`},
		{"a role of roots", good, Subject{"n1", "c1", "ca"}, 0, `role "ca"`},
		{"long name", good, Subject{strings.Repeat("n", 65), "c1", Worker}, 0, "1 to 64"},
		{"a name that is two", good, Subject{"n1,OU=swarm-manager", "c1", Worker}, 0, "letters, digits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := root.Issue(c.csr, c.subject, t0, c.validity)
			checkText(t, err, c.want)
		})
	}
	if _, err := NewRoot("", t0); err == nil {
		t.Error("a root of no cluster")
	}
}

// checkText fails unless err contains want, or is nil where want is empty.
func checkText(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestParseRoot(t *testing.T) {
	root, other := newRoot(t, "c1", t0), newRoot(t, "c1", t0)
	keyPEM := keyOf(t, root)
	sec1, err := x509.MarshalECPrivateKey(root.key)
	if err != nil {
		t.Fatal(err)
	}
	// A root that somebody made elsewhere, with a change.
	made := func(change func(*x509.Certificate)) []byte {
		c := authority(pkix.Name{CommonName: "theirs"}, t0, t0.Add(time.Hour))
		change(c)
		cert, err := sign(c, c, root.key.Public(), root.key)
		if err != nil {
			t.Fatal(err)
		}
		return encodeCertificates(cert)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384DER, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := root.Issue(request(t, root.key), Subject{"n1", "c1", Manager}, t0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		cert, key []byte
		want      string
	}{
		{"own", root.CertPEM(), keyPEM, ""},
		{"SEC 1 key", root.CertPEM(), pem.EncodeToMemory(&pem.Block{Type: sec1Block, Bytes: sec1}), ""},
		{"made elsewhere", made(func(*x509.Certificate) {}), keyPEM, ""},
		{"no authority", made(func(c *x509.Certificate) { c.IsCA = false }), keyPEM, "not a self-signed certificate of an authority"},
		{"may not sign", made(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), keyPEM, "not a self-signed certificate of an authority"},
		{"nothing between", made(func(c *x509.Certificate) { c.MaxPathLenZero = true }), keyPEM, "path length 0"},
		{"a node's certificate", leaf, keyPEM, "not a self-signed"},
		{"cross-signed", crossed(t, root, other), keyPEM, "not a self-signed"},
		{"key of another", root.CertPEM(), keyOf(t, other), "the key is of another certificate"},
		{"key on P-384", root.CertPEM(), pem.EncodeToMemory(&pem.Block{Type: pkcs8Block, Bytes: p384DER}), "on the curve P-384 found, P-256 expected"},
		{"two", append(root.CertPEM(), other.CertPEM()...), keyPEM, "2 certificates found"},
		{"key as certificate", keyPEM, keyPEM, `PEM block "PRIVATE KEY" found`},
		{"certificate as key", root.CertPEM(), root.CertPEM(), `PEM block "CERTIFICATE" found`},
		{"torn", root.CertPEM()[:200], keyPEM, "cut off"},
		{"torn key", root.CertPEM(), keyPEM[:100], "cut off"},
		{"nothing", nil, nil, "no certificate"},
		{"key and more", root.CertPEM(), append(keyOf(t, root), root.CertPEM()...), "something follows"},
		{"damaged key", root.CertPEM(), pem.EncodeToMemory(&pem.Block{Type: pkcs8Block, Bytes: sec1}), "key of the root certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ParseRoot(c.cert, c.key)
			checkText(t, err, c.want)
			if err != nil {
				return
			}
			if string(r.CertPEM()) != string(c.cert) || string(keyOf(t, r)) != string(keyPEM) {
				t.Error("it comes out otherwise than it went in")
			}
			if got := issued(t, r, Subject{"n1", "c1", Worker}, t0, 0); got.CheckSignatureFrom(r.cert) != nil {
				t.Error("what it issues is not signed by it")
			}
		})
	}
}

func keyOf(t testing.TB, r *Root) []byte {
	t.Helper()
	text, err := r.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// crossed returns the certificate of r signed by old.
func crossed(t testing.TB, r, old *Root) []byte {
	t.Helper()
	text, err := r.CrossSign(old)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestCrossSign(t *testing.T) {
	old := newRoot(t, "c1", t0)
	next := newRoot(t, "c1", t0.Add(1000*time.Hour))
	c, err := parseOne(crossed(t, next, old))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckSignatureFrom(old.cert); err != nil {
		t.Errorf("not signed by the old root: %v", err)
	}
	if !next.key.PublicKey.Equal(c.PublicKey) || string(c.RawSubject) != string(next.cert.RawSubject) || string(c.SubjectKeyId) != string(next.cert.SubjectKeyId) {
		t.Error("it is not of the new root")
	}
	if string(c.AuthorityKeyId) != string(old.cert.SubjectKeyId) {
		t.Error("it does not name the old root's key")
	}
	if !c.NotBefore.Equal(next.cert.NotBefore) || !c.NotAfter.Equal(old.cert.NotAfter) {
		t.Errorf("holds from %v to %v: not while both do", c.NotBefore, c.NotAfter)
	}
	if !c.MaxPathLenZero {
		t.Error("more authorities may follow")
	}
}

func TestSubjectOf(t *testing.T) {
	root := newRoot(t, "c1", t0)
	for _, c := range []struct {
		name string
		n    pkix.Name
		ca   bool
		ok   bool
	}{
		{"fine", pkix.Name{CommonName: "n1", Organization: []string{"c1"}, OrganizationalUnit: []string{"swarm-manager"}}, false, true},
		{"two roles", pkix.Name{CommonName: "n1", Organization: []string{"c1"}, OrganizationalUnit: []string{"swarm-worker", "swarm-manager"}}, false, false},
		{"two clusters", pkix.Name{CommonName: "n1", Organization: []string{"c1", "c2"}, OrganizationalUnit: []string{"swarm-worker"}}, false, false},
		{"no node", pkix.Name{Organization: []string{"c1"}, OrganizationalUnit: []string{"swarm-worker"}}, false, false},
		{"role without prefix", pkix.Name{CommonName: "n1", Organization: []string{"c1"}, OrganizationalUnit: []string{"worker"}}, false, false},
		{"other role", pkix.Name{CommonName: "n1", Organization: []string{"c1"}, OrganizationalUnit: []string{"swarm-ca"}}, false, false},
		{"authority", pkix.Name{CommonName: "n1", Organization: []string{"c1"}, OrganizationalUnit: []string{"swarm-worker"}}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tmpl := authority(c.n, t0, t0.Add(time.Hour))
			tmpl.IsCA = c.ca
			cert, err := sign(tmpl, root.cert, &newKey(t).PublicKey, root.key)
			if err != nil {
				t.Fatal(err)
			}
			s, err := subjectOf(cert)
			if c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrForeign) {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}
