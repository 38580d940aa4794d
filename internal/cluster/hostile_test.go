package cluster

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"weft/internal/cluster/pki"
	"weft/internal/cnm"
)

// rawCodec sends bytes as they are.
type rawCodec struct{ jsonCodec }

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

// backTo waits until there are about as many goroutines as before.
func backTo(t *testing.T, before int) {
	t.Helper()
	eventually(t, "the goroutines have ended", func() bool { return runtime.NumGoroutine() <= before+10 })
}

// memberConn connects as a member does, with more allowed than it allows itself.
func memberConn(t *testing.T, h *host, at netip.AddrPort) *grpc.ClientConn {
	t.Helper()
	conn, err := dialRPC(sockets{}, at, protoRPC, h.clientTLS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestCallsRefused: calls of a member that are too big, unreadable or of a method that
// is none are answered as what they are, counted, logged once, and leave nothing.
func TestCallsRefused(t *testing.T) {
	hosts := testCluster(t, 1)
	at := hosts[0].self().Control
	nw := overlayNet(t, hosts[1].Member, "front")
	conn := memberConn(t, hosts[1], at)
	before := runtime.NumGoroutine()
	big := []byte(`{"Node":{"Hostname":"` + strings.Repeat("x", 2*maxMessage) + `"}}`)
	raw := func(method string, b []byte) error {
		return fromStatus(conn.Invoke(t.Context(), "/"+method, &b, new(none), grpc.ForceCodec(rawCodec{}), grpc.MaxCallSendMsgSize(1<<30)))
	}
	for range 5 {
		for _, tt := range []struct {
			method string
			body   []byte
			kind   cnm.Kind
			want   string
		}{
			{serviceName + "/Announce", big, cnm.Unavailable, "larger than max"},
			{serviceName + "/Announce", []byte("\x00garbage"), "", "failed to unmarshal"},
			{serviceName + "/Announce", []byte(`{"Node":`), "", "failed to unmarshal"},
			{serviceName + "/Announce", []byte(`{"Node":{"Gossip":7}}`), "", "failed to unmarshal"},
			{serviceName + "/Frobnicate", []byte(`{}`), cnm.Unsupported, "is not known to this manager"},
			{"other.Service/Join", []byte(`{}`), cnm.Unsupported, "is not known to this manager"},
			{serviceName + "/Allocate", []byte(`{"Endpoint":"x","Network":"y"}`), cnm.NotFound, "network y not found"},
		} {
			if err := raw(tt.method, tt.body); err == nil || tt.kind != "" && !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s %.20q: %v", tt.method, tt.body, err)
			}
		}
	}
	eventually(t, "they are counted", func() bool { return hosts[0].refused.counts()[refusedMessage] == 5*6 })
	// Streams that are opened and left, more than there may be.
	ctx, cancel := context.WithCancel(t.Context())
	streams := 0
	for range memberStreams {
		s, err := conn.NewStream(ctx, &grpc.StreamDesc{StreamName: "Watch", ServerStreams: true}, "/"+serviceName+"/Watch")
		if err == nil && s.SendMsg(&watchRequest{}) == nil {
			streams++
		}
	}
	short, give := context.WithTimeout(ctx, 300*time.Millisecond)
	if _, err := conn.NewStream(short, &grpc.StreamDesc{StreamName: "Watch", ServerStreams: true}, "/"+serviceName+"/Watch"); err == nil {
		t.Errorf("more than %d calls on one connection", streams)
	}
	give()
	if !asksAgain(t, hosts[1], nw.ID) {
		t.Error("a member gets no address meanwhile")
	}
	cancel()
	conn.Close()
	backTo(t, before)
}

// TestGarbageInProtocols: who has shaken hands and sends garbage is cut off, whichever
// protocol it is; the managers go on.
func TestGarbageInProtocols(t *testing.T) {
	hosts := testCluster(t, 1)
	at := hosts[0].self().Control
	nw := overlayNet(t, hosts[0].Member, "front")
	before := runtime.NumGoroutine()
	garbage := make([]byte, 200_000)
	rand.Read(garbage)
	stranger := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	for _, first := range []string{"", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x00", "\x01", "\x02", "\x03", "\xff"} { // raft's kinds of call, too
		for proto, config := range map[string]*tls.Config{protoJoin: stranger, protoRPC: hosts[1].clientTLS(), protoRaft: hosts[0].clientTLS()} {
			c, err := dialControl(t.Context(), sockets{}, at.String(), proto, config)
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(2 * time.Second))
			c.Write(append([]byte(first), garbage...))
			c.Read(make([]byte, 1000))
			c.Close()
		}
	}
	term := func() string { return hosts[0].manager.leader() }
	if term() != hosts[0].ID() || !asksAgain(t, hosts[1], nw.ID) {
		t.Errorf("leader %s after all that", term())
	}
	backTo(t, before)
}

// TestSilentClients: hundreds who connect and say nothing, or shake hands and say
// nothing, cost bounded goroutines and keep no member out for long.
func TestSilentClients(t *testing.T) {
	hosts := testCluster(t, 1)
	at := hosts[0].self().Control
	nw := overlayNet(t, hosts[0].Member, "front")
	before := runtime.NumGoroutine()
	var silent []net.Conn
	for i := range 300 {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			c.Write([]byte("\x16\x03\x01\x02\x00\x01")) // the beginning of a hello
		}
		silent = append(silent, c)
	}
	hosts[1].links.reset()
	began := time.Now()
	if !asksAgain(t, hosts[1], nw.ID) {
		t.Error("a member gets no address")
	}
	t.Logf("a member's new connection took %v behind 300 that say nothing", time.Since(began).Round(time.Millisecond))
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("a member waits %v", took)
	}
	if n := runtime.NumGoroutine(); n > before+3*maxHandshakes {
		t.Errorf("%d goroutines, %d before", n, before)
	}
	eventually(t, "they are counted", func() bool { return hosts[0].refused.counts()[refusedSlow] >= 200 })
	for _, c := range silent {
		c.Close()
	}
	// Strangers who have shaken hands.
	stranger := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	for range 3 * maxStrangers {
		c, err := dialControl(t.Context(), sockets{}, at.String(), protoJoin, stranger)
		if err == nil {
			defer c.Close()
		}
	}
	if n := runtime.NumGoroutine(); n > before+6*maxStrangers {
		t.Errorf("%d goroutines, %d before", n, before)
	}
	eventually(t, "the crowd is counted", func() bool { return hosts[0].refused.counts()[refusedCrowd] >= maxStrangers })
	if !asksAgain(t, hosts[1], nw.ID) {
		t.Error("a member gets no address")
	}
	worker, _ := tokens(t, hosts[0])
	eventually(t, "a node joins", func() bool {
		c := loopback(t, 3)
		m, err := Join(t.Context(), c, cnm.SwarmJoin{Token: worker, Remotes: []netip.AddrPort{at}})
		if err == nil {
			m.Close()
		}
		return err == nil
	})
	backTo(t, before)
}

// TestRefusalsSaidOnce: of each kind of refusal the log has one line a minute, the
// counter has all.
func TestRefusalsSaidOnce(t *testing.T) {
	hosts := testCluster(t, 0)
	out := new(lockedLog)
	hosts[0].refused.log = out.logger()
	for range 30 {
		for _, config := range []*tls.Config{{InsecureSkipVerify: true}, hosts[0].credentials().Client(pki.Peer{})} {
			config.NextProtos = []string{"h2"}
			if c, err := tls.Dial("tcp", hosts[0].self().Control.String(), config); err == nil {
				c.Read(make([]byte, 1))
				c.Close()
			}
		}
		if c, err := net.Dial("tcp", hosts[0].self().Control.String()); err == nil {
			c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			c.Read(make([]byte, 1))
			c.Close()
		}
	}
	eventually(t, "all are counted", func() bool {
		n := hosts[0].refused.counts()
		return n[refusedProtocol] == 60 && n[refusedGarbage] == 30
	})
	for _, reason := range []string{"reason=protocol", "reason=garbage"} {
		if n := strings.Count(out.String(), reason); n != 1 {
			t.Errorf("%s is said %d times:\n%s", reason, n, out.String())
		}
	}
}
