package pki

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A stage is a node at one point of a rotation.
type stage struct {
	name string
	id   *Identity
}

// meet makes every two nodes shake hands, in both directions, and wants all to
// accept or all to refuse.
func meet(t *testing.T, a, b []stage, now time.Time, accept bool) {
	t.Helper()
	for _, x := range a {
		for _, y := range b {
			for _, d := range [][2]stage{{x, y}, {y, x}} {
				c, s := shake(t, creds(d[0].id, now).Client(Peer{}), creds(d[1].id, now).Server())
				if ok := c.err == nil && s.err == nil; ok != accept {
					t.Errorf("%s to %s: client %v, server %v", d[0].name, d[1].name, c.err, s.err)
				}
				if !accept && !errors.Is(c.err, ErrForeign) && !errors.Is(s.err, ErrForeign) {
					t.Errorf("%s to %s: client %v, server %v; want ErrForeign on a side", d[0].name, d[1].name, c.err, s.err)
				}
			}
		}
	}
}

func withRoots(t *testing.T, id *Identity, roots ...*Root) *Identity {
	t.Helper()
	n, err := id.WithRoots(bundle(roots...))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func bundle(roots ...*Root) (text []byte) {
	for _, r := range roots {
		text = append(text, r.CertPEM()...)
	}
	return text
}

func TestRotation(t *testing.T) {
	now := t0.Add(1000 * time.Hour)
	a, b := newRoot(t, "c1", t0), newRoot(t, "c1", now)
	cross := crossed(t, b, a)
	w, m := Subject{"w1", "c1", Worker}, Subject{"m1", "c1", Manager}

	old := stage{"old", member(t, a, w, t0)}
	told := stage{"old, trusts both", withRoots(t, old.id, a, b)}
	renewed := stage{"renewed", identity(t, b, m, now, cross, bundle(a, b))}
	joined := stage{"joined during it", identity(t, b, w, now, cross, bundle(a, b))}
	during := []stage{old, told, renewed, joined}
	meet(t, during, during, now, true)

	// All have renewed; nodes give up the old root one after another.
	after := stage{"after", withRoots(t, renewed.id, b)}
	fresh := stage{"joined after it", member(t, b, w, now)}
	done := []stage{after, fresh}
	meet(t, done, []stage{after, fresh, renewed, joined}, now, true)
	meet(t, done, []stage{old, told}, now, false)

	if _, err := old.id.WithRoots(bundle(b)); !errors.Is(err, ErrForeign) {
		t.Errorf("an old certificate under the new root: %v", err)
	}
	_, err := old.id.WithRoots(cross)
	checkText(t, err, "is not a root")
	_, err = old.id.WithRoots(nil)
	checkText(t, err, "root certificates: no certificate")
	if n := len(renewed.id.chain); n != 2 {
		t.Errorf("%d certificates in the chain during the rotation, want 2", n)
	}
	if n := len(after.id.chain); n != 1 {
		t.Errorf("%d certificates in the chain after the rotation, want 1: the cross-signed one would be accepted by old nodes", n)
	}
}

// A token of either root lets a node in while both are trusted.
func TestJoinDuringRotation(t *testing.T) {
	a, b := newRoot(t, "c1", t0), newRoot(t, "c1", t0)
	m := Subject{"m1", "c1", Manager}
	oldManager := member(t, a, m, t0)
	newManager := identity(t, b, m, t0, crossed(t, b, a), bundle(a, b))
	after := withRoots(t, newManager, b)
	for _, c := range []struct {
		name    string
		root    *Root
		manager *Identity
		want    error
	}{
		{"old token, old manager", a, oldManager, nil},
		{"old token, renewed manager", a, newManager, nil},
		{"new token, renewed manager", b, newManager, nil},
		{"new token, old manager", b, oldManager, ErrForeign},
		{"new token, old manager that trusts both", b, withRoots(t, oldManager, a, b), ErrForeign},
		{"old token, after", a, after, ErrForeign},
		{"new token, after", b, after, nil},
	} {
		token, err := NewToken(c.root.CertPEM(), NewSecret())
		if err != nil {
			t.Fatal(err)
		}
		client, _ := shake(t, JoinClient(token, func() time.Time { return t0 }), creds(c.manager, t0).JoinServer())
		client.check(t, c.name, c.want)
	}
}

// Handshakes go on while a rotation replaces the identities they ask for.
func TestRotationUnderHandshakes(t *testing.T) {
	a, b := newRoot(t, "c1", t0), newRoot(t, "c1", t0)
	m := Subject{"m1", "c1", Manager}
	steps := []*Identity{member(t, a, m, t0), identity(t, b, m, t0, crossed(t, b, a), bundle(a, b))}
	var present atomic.Pointer[Identity]
	present.Store(steps[0])
	c := Credentials{Identity: present.Load, Now: func() time.Time { return t0 }}
	client, server := c.Client(Peer{Node: "m1"}), c.Server(Manager)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				present.Store(steps[i%2])
			}
		}
	}()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				a, b := shake(t, client, server)
				a.check(t, "client", nil)
				b.check(t, "server", nil)
			}
		})
	}
	wg.Wait()
	close(stop)
	<-stopped
}
