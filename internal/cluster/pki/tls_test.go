package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// errAlert stands for what one hears when the other side refuses.
var errAlert = errors.New("remote error: tls")

// queued is a connection whose writes do not wait for the reader, as a socket's: two
// sides that refuse each other at once do not wait for each other.
type queued struct {
	net.Conn
	out  chan []byte
	once sync.Once
}

func newQueued(t *testing.T, c net.Conn) *queued {
	q := &queued{Conn: c, out: make(chan []byte, 64)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := range q.out {
			if _, err := c.Write(b); err != nil {
				continue // the reader is gone
			}
		}
		c.Close()
	}()
	t.Cleanup(func() {
		q.Close()
		c.Close()
		<-done
	})
	return q
}

func (q *queued) Write(b []byte) (int, error) {
	q.out <- append([]byte(nil), b...)
	return len(b), nil
}

func (q *queued) Close() error {
	q.once.Do(func() { close(q.out) })
	return nil
}

// A side is what one end of a handshake made of it.
type side struct {
	peer Subject
	cs   tls.ConnectionState
	err  error
}

// shake runs a handshake and one byte from the server: a client of TLS 1.3 hears
// only then whether it was accepted.
func shake(t *testing.T, client, server *tls.Config) (c, s side) {
	t.Helper()
	a, b := net.Pipe()
	deadline := time.Now().Add(10 * time.Second)
	a.SetDeadline(deadline)
	b.SetDeadline(deadline)
	ac, bc := newQueued(t, a), newQueued(t, b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn := tls.Server(bc, server)
		if s.err = conn.Handshake(); s.err == nil {
			_, s.err = conn.Write([]byte{1})
		}
		if s.cs = conn.ConnectionState(); s.err != nil {
			bc.Close()
		}
	}()
	conn := tls.Client(ac, client)
	if c.err = conn.Handshake(); c.err == nil {
		_, c.err = conn.Read(make([]byte, 1))
	}
	if c.cs = conn.ConnectionState(); c.err != nil {
		ac.Close()
	}
	<-done
	if c.err == nil {
		c.peer, c.err = PeerSubject(c.cs)
	}
	if s.err == nil && server.ClientAuth != tls.NoClientCert {
		s.peer, s.err = PeerSubject(s.cs)
	}
	return c, s
}

// check fails unless err is want, which may be nil or errAlert.
func (s side) check(t *testing.T, name string, want error) {
	t.Helper()
	if s.err == want || want != nil && errors.Is(s.err, want) || want == errAlert && s.err != nil && strings.Contains(s.err.Error(), errAlert.Error()) {
		return
	}
	t.Errorf("%s: %v, want %v", name, s.err, want)
}

// creds are the credentials of an identity whose node's clock shows now.
func creds(id *Identity, now time.Time) Credentials {
	return Credentials{Identity: func() *Identity { return id }, Now: func() time.Time { return now }}
}

func TestHandshake(t *testing.T) {
	root := newRoot(t, "c1", t0)
	worker := member(t, root, Subject{"w1", "c1", Worker}, t0)
	manager := member(t, root, Subject{"m1", "c1", Manager}, t0)
	foreign := newRoot(t, "c1", t0) // the same name, another key
	stranger := member(t, foreign, Subject{"m1", "c1", Manager}, t0)
	// Signed by our root, but for another cluster: a root that two of them share.
	shared := member(t, root, Subject{"m1", "c2", Manager}, t0)
	later := t0.Add(DefaultValidity + 30*time.Minute)
	late := member(t, root, Subject{"m1", "c1", Manager}, t0.Add(DefaultValidity))
	ahead := member(t, root, Subject{"m1", "c1", Manager}, t0.Add(2*time.Hour))
	anyone, managers := Peer{}, Peer{Roles: []Role{Manager}}
	all := []Role(nil)
	for _, c := range []struct {
		name           string
		client, server Credentials
		want           Peer
		allow          []Role
		clientErr      error
		serverErr      error
	}{
		{"members", creds(worker, t0), creds(manager, t0), anyone, all, nil, nil},
		{"worker to manager", creds(worker, t0), creds(manager, t0), managers, []Role{Worker, Manager}, nil, nil},
		{"manager to manager", creds(manager, t0), creds(manager, t0), managers, []Role{Manager}, nil, nil},
		{"that node", creds(worker, t0), creds(manager, t0), Peer{Node: "m1"}, all, nil, nil},
		{"manager to worker", creds(manager, t0), creds(worker, t0), Peer{Roles: []Role{Worker}}, all, nil, nil},

		{"worker where managers are", creds(worker, t0), creds(manager, t0), managers, []Role{Manager}, errAlert, ErrRole},
		{"server not a manager", creds(manager, t0), creds(worker, t0), managers, all, ErrRole, errAlert},
		{"another node", creds(worker, t0), creds(manager, t0), Peer{Node: "m2"}, all, ErrNode, errAlert},

		{"foreign client", creds(stranger, t0), creds(manager, t0), anyone, all, ErrForeign, errAlert},
		{"foreign server", creds(worker, t0), creds(stranger, t0), anyone, all, ErrForeign, errAlert},
		{"shared root, client", creds(shared, t0), creds(manager, t0), anyone, all, ErrForeign, errAlert},
		{"shared root, server", creds(worker, t0), creds(shared, t0), anyone, all, ErrForeign, errAlert},

		{"both ended", creds(worker, later), creds(manager, later), anyone, all, errAlert, ErrExpired},
		{"client's ended by its own clock", creds(worker, later), creds(late, later), anyone, all, ErrExpired, io.EOF},
		{"client's ended by the server's clock", creds(worker, t0.Add(DefaultValidity)), creds(late, later), anyone, all, errAlert, ErrExpired},
		{"server's ended by its own clock", creds(late, later), creds(worker, later), anyone, all, errAlert, ErrExpired},
		{"server's ended by the client's clock", creds(late, later), creds(worker, t0.Add(DefaultValidity)), anyone, all, ErrExpired, errAlert},
		{"not yet valid, client", creds(ahead, t0.Add(2*time.Hour)), creds(manager, t0), anyone, all, errAlert, ErrExpired},
		{"not yet valid, server", creds(worker, t0), creds(ahead, t0.Add(2*time.Hour)), anyone, all, ErrExpired, errAlert},

		{"client an hour behind", creds(worker, t0.Add(-time.Hour)), creds(manager, t0), anyone, all, nil, nil},
		{"server an hour behind", creds(worker, t0), creds(manager, t0.Add(-time.Hour)), anyone, all, nil, nil},
		{"client an hour ahead", creds(worker, t0.Add(time.Hour)), creds(manager, t0), anyone, all, nil, nil},
		{"server an hour ahead", creds(worker, t0), creds(manager, t0.Add(time.Hour)), anyone, all, nil, nil},
		{"client behind by more", creds(worker, t0.Add(-61*time.Minute)), creds(manager, t0), anyone, all, ErrExpired, errAlert},
		{"server behind by more", creds(worker, t0), creds(manager, t0.Add(-61*time.Minute)), anyone, all, errAlert, ErrExpired},

		{"client left", creds(nil, t0), creds(manager, t0), anyone, all, errNoIdentity, errAlert},
		{"server left", creds(worker, t0), creds(nil, t0), anyone, all, errAlert, errNoIdentity},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := shake(t, c.client.Client(c.want), c.server.Server(c.allow...))
			client.check(t, "client", c.clientErr)
			server.check(t, "server", c.serverErr)
			if c.clientErr != nil {
				return
			}
			if client.peer != c.server.Identity().Subject() || server.peer != c.client.Identity().Subject() {
				t.Errorf("the client sees %+v, the server %+v", client.peer, server.peer)
			}
			if client.cs.Version != tls.VersionTLS13 {
				t.Errorf("version %x", client.cs.Version)
			}
		})
	}
}

// What is not a member of anything.
func TestHandshakeStrangers(t *testing.T) {
	root := newRoot(t, "c1", t0)
	manager, worker := creds(member(t, root, Subject{"m1", "c1", Manager}, t0), t0), creds(member(t, root, Subject{"w1", "c1", Worker}, t0), t0)
	// A key of one's own behind somebody else's certificate.
	thief := *manager.Identity()
	thief.key = newKey(t)
	// A client's certificate only, of a root that signs other things too.
	tmpl := &x509.Certificate{Subject: Subject{"m1", "c1", Manager}.name(), NotBefore: t0, NotAfter: t0.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	key := newKey(t)
	cert, err := sign(tmpl, root.cert, &key.PublicKey, root.key)
	if err != nil {
		t.Fatal(err)
	}
	clientOnly := &Identity{key: key, chain: []*x509.Certificate{cert}, roots: []*x509.Certificate{root.cert}, subject: Subject{"m1", "c1", Manager}}
	many := *worker.Identity()
	for len(many.chain) <= maxChain {
		many.chain = append(many.chain, root.cert)
	}
	bare := &tls.Config{InsecureSkipVerify: true}
	old := worker.Client(Peer{})
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for _, c := range []struct {
		name           string
		client, server *tls.Config
		clientErr      string
		serverErr      string
	}{
		{"no certificate", bare, manager.Server(), "remote error", "client didn't provide a certificate"},
		{"TLS 1.2", old, manager.Server(), "protocol version", "unsupported versions"},
		{"server with a stolen certificate", worker.Client(Peer{}), creds(&thief, t0).Server(), "invalid signature", "remote error"},
		{"client with a stolen certificate", creds(&thief, t0).Client(Peer{}), manager.Server(), "remote error", "invalid signature"},
		{"for clients only", worker.Client(Peer{}), creds(clientOnly, t0).Server(), "incompatible key usage", "remote error"},
		{"for clients only, as client", creds(clientOnly, t0).Client(Peer{}), manager.Server(), "", ""},
		{"too many certificates", creds(&many, t0).Client(Peer{}), manager.Server(), "remote error", "shown 9 certificates"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := shake(t, c.client, c.server)
			checkText(t, client.err, c.clientErr)
			checkText(t, server.err, c.serverErr)
		})
	}
}

// A connection after a renewal uses what is new; the configuration stays.
func TestHandshakeAfterRenewal(t *testing.T) {
	root := newRoot(t, "c1", t0)
	now := t0
	id := member(t, root, Subject{"m1", "c1", Worker}, t0)
	c := Credentials{Identity: func() *Identity { return id }, Now: func() time.Time { return now }}
	client, server := c.Client(Peer{Roles: []Role{Manager}}), c.Server()
	client.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	a, _ := shake(t, client, server)
	a.check(t, "as worker", ErrRole)
	id = member(t, root, Subject{"m1", "c1", Manager}, t0.Add(DefaultValidity/2))
	now = t0.Add(DefaultValidity + time.Hour) // the first one's end is over
	for range 2 {
		a, b := shake(t, client, server)
		a.check(t, "promoted", nil)
		b.check(t, "promoted", nil)
		if a.cs.DidResume {
			t.Error("the second connection rests on the proof of the first")
		}
	}
	id = nil
	a, _ = shake(t, client, server)
	a.check(t, "left", errAlert)
}

func TestJoin(t *testing.T) {
	root := newRoot(t, "c1", t0)
	manager := member(t, root, Subject{"m1", "c1", Manager}, t0)
	worker := member(t, root, Subject{"w1", "c1", Worker}, t0)
	foreign := newRoot(t, "c1", t0)
	token := func(r *Root) Token {
		token, err := NewToken(r.CertPEM(), NewSecret())
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	changed := token(root)
	changed.Digest[31] ^= 1
	// One who shows our root behind a certificate of its own.
	pretender := *member(t, foreign, Subject{"m1", "c1", Manager}, t0)
	pretender.roots = append(pretender.roots, root.cert)
	for _, c := range []struct {
		name      string
		token     Token
		server    *tls.Config
		now       time.Time
		clientErr error
	}{
		{"manager", token(root), creds(manager, t0).JoinServer(), t0, nil},
		{"an hour behind", token(root), creds(manager, t0).JoinServer(), t0.Add(-time.Hour), nil},
		{"two hours behind", token(root), creds(manager, t0).JoinServer(), t0.Add(-2 * time.Hour), ErrExpired},
		{"a hundred days ahead", token(root), creds(manager, t0).JoinServer(), t0.Add(100 * 24 * time.Hour), ErrExpired},
		{"worker", token(root), creds(worker, t0).JoinServer(), t0, ErrRole},
		{"token of another swarm", token(foreign), creds(manager, t0).JoinServer(), t0, ErrForeign},
		{"one digit changed", changed, creds(manager, t0).JoinServer(), t0, ErrForeign},
		{"pretender", token(root), creds(&pretender, t0).JoinServer(), t0, ErrForeign},
		{"no root shown", token(root), creds(manager, t0).Server(), t0, ErrForeign},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := error(nil)
			if c.clientErr != nil {
				want = errAlert
			}
			client, server := shake(t, JoinClient(c.token, func() time.Time { return c.now }), c.server)
			client.check(t, "client", c.clientErr)
			server.check(t, "server", want)
			if c.clientErr == nil && client.peer != manager.Subject() {
				t.Errorf("the client sees %+v", client.peer)
			}
		})
	}
}

func TestPeerSubjectOfNobody(t *testing.T) {
	if s, err := PeerSubject(tls.ConnectionState{}); err == nil {
		t.Errorf("%+v", s)
	}
}
