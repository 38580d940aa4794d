package node

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
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
	nodes := map[byte]*Node{1: openBeside(t, encryptedConfig(t, 1))}
	if _, err := nodes[1].SwarmInit(t.Context(), cnm.SwarmInit{}); err != nil {
		t.Fatal(err)
	}
	for last := byte(2); last <= count; last++ {
		nodes[last] = openBeside(t, encryptedConfig(t, last))
		joinSwarm(t, nodes[last], nodes[1])
	}
	return nodes
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
