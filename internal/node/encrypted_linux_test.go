package node

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
)

// The port of ESP in these tests.
const testESPPort = 24500

func encryptedConfig(t *testing.T, last byte) Config {
	c := swarmConfig(t, last)
	c.ESPPort, c.ESPKeepalive = testESPPort, time.Second
	return c
}

// encryptedSwarm is swarm, with a port of ESP of its own.
func encryptedSwarm(t *testing.T, count byte) map[byte]*Node {
	t.Helper()
	return swarmOf(t, count, encryptedConfig)
}

// TestEncryptedSwarm: sandboxes of an encrypted network reach each other, over nothing
// but ESP, beside a network in clear.
func TestEncryptedSwarm(t *testing.T) {
	watchLeaks(t)
	nodes := encryptedSwarm(t, 3)
	mustNetwork(t, nodes[1], cnm.Network{Name: "over", Driver: cnm.DriverOverlay, Options: map[string]string{"encrypted": ""}})
	boxes := map[byte]cnm.Sandbox{}
	for last := byte(1); last <= 3; last++ {
		inTime(t, "the network is known", func() bool { _, err := nodes[last].Network("over"); return err == nil })
		boxes[last] = mustRun(t, nodes[last], cnm.SandboxSpec{Name: fmt.Sprintf("demo%d", last), Cmd: program("serve", ":7000"), Networks: on("over")})
	}
	for from := range boxes {
		for to, sb := range boxes {
			if from == to {
				continue
			}
			inTime(t, fmt.Sprintf("demo%d is known on node %d", to, from), func() bool { return knowsMAC(nodes[from], "over", sb) })
			reach(t, nodes[from], fmt.Sprintf("demo%d", from), addr4(sb, "over"), true)
		}
	}
	for last, n := range nodes {
		u := &n.path.underlay
		if u.v4 != nil || u.esp4 == nil {
			t.Errorf("node %d: a socket in clear %v, for ESP %v", last, u.v4 != nil, u.esp4 != nil)
		}
		nw, err := n.Network("over")
		if err != nil || nw.MTU != 65440 { // 65,535 less 20, 8, 16 and 16 is cut to 65,472; less 2, 8, 8 and 14
			t.Errorf("node %d: MTU %d, %v", last, nw.MTU, err)
		}
	}
	// An idle network keeps the mappings of NATs alive.
	control := func() uint64 { return nodes[2].path.underlay.esp4.Stats().Control }
	settled := control()
	inTime(t, "keepalives come", func() bool { return control() >= settled+6 })
}

// TestEncryptedStatic: two nodes that share a secret.
func TestEncryptedStatic(t *testing.T) {
	watchLeaks(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nodes := map[byte]*Node{}
	for last := byte(1); last <= 2; last++ {
		nodes[last] = openBeside(t, encryptedConfig(t, last))
		nw := overlayNetwork(last, 1, 2)
		nw.Options["encrypted"], nw.Options["weft.psk-file"] = "", secret
		mustNetwork(t, nodes[last], nw)
		mustRun(t, nodes[last], cnm.SandboxSpec{Name: fmt.Sprintf("demo%d", last), Cmd: program("serve", ":7000"), Networks: on("over")})
	}
	one, err := nodes[1].Sandbox("demo1")
	if err != nil {
		t.Fatal(err)
	}
	inTime(t, "demo2 reaches demo1", func() bool {
		_, code := execute(t, nodes[2], "demo2", "ask", netip.AddrPortFrom(addr4(one, "over"), 7000).String(), "hello")
		return code == 0
	})
	if nodes[1].path.underlay.v4 != nil {
		t.Error("a socket in clear is open")
	}
}

// TestEncryptedWaiting: whom a node waits for is listed, and doctor says what is wrong.
func TestEncryptedWaiting(t *testing.T) {
	watchLeaks(t)
	config := encryptedConfig(t, 1)
	n := openBeside(t, config)
	dir := t.TempDir()
	create := func(name, vni, secret string, mode os.FileMode) error {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(secret), mode); err != nil {
			t.Fatal(err)
		}
		nw := static(name, vni)
		nw.Options["encrypted"], nw.Options["weft.psk-file"] = "", file
		_, _, err := n.NetworkCreate(t.Context(), nw)
		return err
	}
	const secret = "correct horse battery staple"
	for _, c := range []struct {
		name, secret, want string
		mode               os.FileMode
	}{
		{"wide", secret, "", 0o600},
		{"later", secret, "", 0o600},
		{"open", secret, "others than its owner may read it (mode 0644)", 0o644},
		{"short", "horse", "has 5 bytes, want at least 16", 0o600},
	} {
		if err := create(c.name, fmt.Sprint(4097+len(n.Networks())), c.secret, c.mode); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("create %s: %v, want %q", c.name, err, c.want)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(dir, "later"), 0o644), n.Close()); err != nil {
		t.Fatal(err)
	}
	n = openBeside(t, config)

	var rings []KeyRing
	inTime(t, "there is a ring", func() bool { rings = n.Keys(); return len(rings) > 0 })
	if len(rings) != 1 || len(rings[0].Networks) != 1 || rings[0].Networks[0] != "wide" || rings[0].Next.IsZero() || rings[0].Epoch == 0 {
		t.Fatalf("rings %+v", rings)
	}
	if p := rings[0].Peers; len(p) != 1 || p[0].ID != fmt.Sprint("127.0.0.2:", testESPPort) || p[0].VTEP != "" || p[0].Ready {
		t.Errorf("peers %+v", p)
	}
	if keys, err := n.ExportKeys("wide"); err != nil || len(keys) != 0 {
		t.Errorf("keys with nobody: %v, %v", keys, err)
	}
	if _, err := n.ExportKeys("bridge"); !errors.Is(err, cnm.Invalid) {
		t.Errorf("keys of a network in clear: %v", err)
	}
	if _, err := n.ExportKeys("nowhere"); !errors.Is(err, cnm.NotFound) {
		t.Errorf("keys of no network: %v", err)
	}
	found := map[string]Check{}
	for _, c := range n.Doctor() {
		found[c.Name] = c
	}
	for _, c := range []struct {
		name, found string
		status      Status
	}{
		{fmt.Sprint("keys with 127.0.0.2:", testESPPort), "network wide: it has announced no key", Warn},
		{"keys of later", "others than its owner may read it (mode 0644)", Fail},
	} {
		if got := found[c.name]; got.Status != c.status || !strings.Contains(got.Found, c.found) || got.Advice == "" {
			t.Errorf("doctor says of %s: %+v", c.name, got)
		}
	}
	peers, sockets := n.Peers()
	if len(peers) != 2 || len(sockets) != 1 || !sockets[0].ESP || sockets[0].Addr.Port() != testESPPort {
		t.Errorf("peers %+v, sockets %+v", peers, sockets)
	}
	for _, p := range peers {
		if p.Cipher != "aes-256-gcm" {
			t.Errorf("%s has cipher %q", p.Network, p.Cipher)
		}
	}
}
