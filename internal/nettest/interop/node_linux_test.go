package interop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"weft/internal/cnm"
	"weft/internal/nettest"
	"weft/internal/node"
)

// buffer is one that a process may write to while the test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// weft is the path of the binary.
func weft() string { return os.Getenv(weftEnv) }

// A testNode is a node in this process, under the race detector if the test is.
type testNode struct {
	*node.Node
	t *testing.T
}

// openNode opens a node whose VTEP has these addresses. When the test ends it is
// closed with everything on it, and nothing may be left of it.
func openNode(t *testing.T, addrs ...string) *testNode {
	t.Helper()
	nettest.CheckLeaks(t)
	dir, err := os.MkdirTemp("", "node") // shorter than t.TempDir, for sockets' sake
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := node.Config{
		DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), Exe: weft(), Version: "test", Workers: 2,
		Log: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, a := range addrs {
		c.DataPathAddrs = append(c.DataPathAddrs, netip.MustParseAddr(a))
	}
	n, err := node.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range n.Sandboxes() {
			if err := n.SandboxRemove(context.Background(), s.ID, true); err != nil && !errors.Is(err, cnm.NotFound) {
				t.Errorf("remove %s: %v", s.Spec.Name, err)
			}
		}
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &testNode{n, t}
}

type testLog struct{ t *testing.T }

func (w testLog) Write(p []byte) (int, error) {
	w.t.Logf("log: %s", bytes.TrimSpace(p))
	return len(p), nil
}

// The network that the tests share: VNI 4097, and the stations at its far end.
const (
	vni      = 4097
	far4     = "10.66.20.200"
	far6     = "fd66:20::c8"
	farInner = "02:fa:00:00:00:c8"
)

// overlay makes the network "over" towards some peers. Options come in pairs.
func (n *testNode) overlay(t *testing.T, peers string, options ...string) {
	t.Helper()
	nw := cnm.Network{Name: "over", Driver: cnm.DriverOverlay, EnableIPv4: true, EnableIPv6: true,
		Options: map[string]string{"weft.vni": "4097", "weft.peers": peers}}
	for i := 0; i < len(options); i += 2 {
		nw.Options[options[i]] = options[i+1]
	}
	nw.IPAM.Config = []cnm.Pool{
		{Subnet: netip.MustParsePrefix("10.66.20.0/24"), IPRange: netip.MustParsePrefix("10.66.20.16/28")},
		{Subnet: netip.MustParsePrefix("fd66:20::/64")},
	}
	if _, _, err := n.NetworkCreate(t.Context(), nw); err != nil {
		t.Fatal(err)
	}
}

// serve starts the sandbox "box" on the overlay, where transfers are served.
func (n *testNode) serve(t *testing.T) cnm.Endpoint {
	t.Helper()
	spec := cnm.SandboxSpec{Name: "box", Cmd: []string{weft(), "tool", "serve"}, Env: []string{"PATH=" + os.Getenv("PATH")}, Networks: []cnm.NetworkJoin{{Network: "over"}}}
	id, _, err := n.SandboxCreate(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.SandboxStart(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return n.endpoint(t)
}

// endpoint is the box's on the overlay, as it is now.
func (n *testNode) endpoint(t *testing.T) cnm.Endpoint {
	t.Helper()
	sb, err := n.Sandbox("box")
	if err != nil {
		t.Fatal(err)
	}
	return sb.Endpoints[0]
}

// box runs a command in the sandbox and returns its output and whether it
// succeeded.
func (n *testNode) box(t *testing.T, args ...string) (string, bool) {
	t.Helper()
	id, err := n.ExecCreate(t.Context(), "box", node.ExecSpec{Cmd: args, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.ExecStart(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out strings.Builder
	for {
		_, data, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
	}
	info, err := n.ExecInspect(id)
	if err != nil || info.ExitCode == nil {
		t.Fatalf("exec %v: %+v, %v", args, info, err)
	}
	return out.String(), *info.ExitCode == 0
}

// mustBox runs a command in the sandbox that has to succeed.
func (n *testNode) mustBox(t *testing.T, args ...string) string {
	t.Helper()
	out, ok := n.box(t, args...)
	if !ok {
		t.Errorf("%v in the sandbox failed:\n%s", args, out)
	}
	return out
}

// peer is what the node's counters say of its only peer.
func (n *testNode) peer(t *testing.T) node.PeerStats {
	t.Helper()
	peers, _ := n.Peers()
	if len(peers) != 1 {
		t.Fatalf("%d peers, expected 1: %+v", len(peers), peers)
	}
	return peers[0]
}

// socketDrops is how many datagrams the node's socket has dropped for a reason.
func (n *testNode) socketDrops(reason string) (sum uint64) {
	_, sockets := n.Peers()
	for _, s := range sockets {
		sum += s.Drops[reason]
	}
	return sum
}
