package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"weft/internal/cluster/pki"
	"weft/internal/cnm"
)

// knock opens a TLS connection to a manager with a configuration and protocols, and
// returns what the first read says.
func knock(t *testing.T, at netip.AddrPort, config *tls.Config, protos ...string) error {
	t.Helper()
	config = config.Clone()
	config.NextProtos = protos
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: config}
	c, err := d.DialContext(t.Context(), "tcp", at.String())
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	// Who is let in is answered to by the protocol, or not at all: no alert comes.
	c.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	_, err = c.Read(make([]byte, 1))
	return err
}

// TestControlPortRefuses: whoever is not what a protocol asks for is turned away,
// and those who are go on undisturbed.
func TestControlPortRefuses(t *testing.T) {
	hosts := testCluster(t, 1)
	foreign := testCluster(t, 1)
	at := hosts[0].self().Control
	nobody := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	as := func(h *host) *tls.Config {
		// The server's certificate does not matter here: ours does.
		c := h.credentials().Client(pki.Peer{})
		c.VerifyConnection = nil
		return c
	}
	for _, tt := range []struct {
		name   string
		config *tls.Config
		protos []string
		let    bool
	}{
		{"a member asks", as(hosts[1]), []string{protoRPC}, true},
		{"a manager replicates", as(hosts[0]), []string{protoRaft}, true},
		{"a stranger joins", nobody, []string{protoJoin}, true},
		{"no protocol", nobody, nil, false},
		{"another protocol", nobody, []string{"h2"}, false},
		{"two protocols", as(hosts[1]), []string{protoJoin, protoRaft}, false},
		{"a stranger asks", nobody, []string{protoRPC}, false},
		{"a stranger replicates", nobody, []string{protoRaft}, false},
		{"a worker replicates", as(hosts[1]), []string{protoRaft}, false},
		{"a foreign worker asks", as(foreign[1]), []string{protoRPC}, false},
		{"a foreign manager replicates", as(foreign[0]), []string{protoRaft}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := knock(t, at, tt.config, tt.protos...)
			var alert *net.OpError
			refused := errors.As(err, &alert) && strings.Contains(err.Error(), "tls: ") || err != nil && strings.Contains(err.Error(), "remote error")
			if refused == tt.let {
				t.Errorf("let in: %v expected, answered %v", tt.let, err)
			}
		})
	}
	for _, b := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff", strings.Repeat("x", 100_000)} {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(2 * handshakeTime))
		io.WriteString(c, b)
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%.10q is not turned away", b)
		}
		c.Close()
	}
	nw := overlayNet(t, hosts[1].Member, "front")
	if !asksAgain(t, hosts[1], nw.ID) {
		t.Error("a member gets no address after all that")
	}
}

// TestJoinRefused: what is wrong with a token is said, and nothing is left behind.
func TestJoinRefused(t *testing.T) {
	hosts := testCluster(t, 0)
	foreign := testCluster(t, 0)
	s, err := hosts[0].Swarm()
	if err != nil {
		t.Fatal(err)
	}
	f, err := foreign[0].Swarm()
	if err != nil {
		t.Fatal(err)
	}
	if err := hosts[0].UpdateSwarm(t.Context(), 0, s.Spec, cnm.SwarmRotate{WorkerToken: true}); err != nil {
		t.Fatal(err)
	}
	manager := hosts[0].self().Control
	dead := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 77}), 1)
	for _, tt := range []struct {
		name, token string
		remotes     []netip.AddrPort
		want        string
	}{
		{"no token", "", []netip.AddrPort{manager}, "join token"},
		{"a damaged one", s.ManagerToken[:40], []netip.AddrPort{manager}, "was all of it copied"},
		{"one of another swarm", f.WorkerToken, []netip.AddrPort{manager}, "not of the swarm at this address"},
		{"an old one", s.WorkerToken, []netip.AddrPort{manager}, "may have been replaced"},
		{"nobody there", s.ManagerToken, []netip.AddrPort{dead}, "connection refused"},
		{"nobody named", s.ManagerToken, nil, "no manager's address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := loopback(t, 9)
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			m, err := Join(ctx, c, cnm.SwarmJoin{Token: tt.token, Remotes: tt.remotes})
			if err == nil {
				m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, expected %q", err, tt.want)
			}
			if _, err := os.Stat(c.Dir); !os.IsNotExist(err) {
				t.Errorf("%s is left: %v", c.Dir, err)
			}
		})
	}
	if got := len(hosts[0].View().Nodes); got != 1 {
		t.Errorf("%d nodes after all that", got)
	}
	// Of several managers the one that answers is enough.
	now, err := hosts[0].Swarm()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Join(t.Context(), loopback(t, 9), cnm.SwarmJoin{Token: now.WorkerToken, Remotes: []netip.AddrPort{dead, manager}})
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}
