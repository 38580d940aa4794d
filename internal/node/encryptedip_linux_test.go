package node

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"weft/internal/cnm"
	"weft/internal/nettest"
)

// The MTUs of tunnels on loopback: 65,535 less 20, 16 and 16 for ESP in IP, and 8 less
// in UDP, cut to a multiple of 4; less 2, 8, 8 and 14.
const (
	loopbackInIP  = 65448
	loopbackInUDP = 65440
)

// espSockets are the sockets that a node has for ESP.
func espSockets(n *Node) (udp, ip *Underlay) {
	_, all := n.Peers()
	for i := range all {
		switch u := &all[i]; {
		case u.InIP:
			ip = u
		case u.ESP:
			udp = u
		}
	}
	return udp, ip
}

// TestEncryptedInIP has two nodes that carry ESP in IP, and one that does not: each two
// of them talk by what both have,
// and go on when one of them is started again without.
func TestEncryptedInIP(t *testing.T) {
	watchLeaks(t)
	if err := (&underlayConfig{inIP: true}).mayCarryInIP(); errors.Is(err, fs.ErrPermission) {
		nettest.Skip(t, "%v", err)
	}
	secret := secretFile(t, "correct horse battery staple")
	nodes, boxes := map[byte]*Node{}, map[byte]cnm.Sandbox{}
	for last := byte(1); last <= 3; last++ {
		c := encryptedConfig(t, last)
		c.ESPInIP = last != 3
		nodes[last] = openBeside(t, c)
		mustNetwork(t, nodes[last], encryptedNetwork(secret, last, 1, 2, 3))
	}
	inTime(t, "all have shown each other that they have the keys", func() bool {
		ready := 0
		for _, n := range nodes {
			for _, p := range n.Keys()[0].Peers {
				if p.Ready {
					ready++
				}
			}
		}
		return ready == 6
	})
	for last := byte(1); last <= 3; last++ {
		if _, ip := espSockets(nodes[last]); last != 3 && (ip == nil || ip.Control == 0) {
			t.Errorf("node %d: not by IP: %+v", last, ip)
		}
		boxes[last] = mustRun(t, nodes[last], cnm.SandboxSpec{Name: "box", Cmd: program("serve", ":7000"), Networks: on("over")})
	}
	everybody := func() {
		t.Helper()
		for from, n := range nodes {
			for to, sb := range boxes {
				if from != to {
					inTime(t, "a sandbox of another node is reached", func() bool { return reaches(t, n, "box", sb) })
				}
			}
		}
	}
	mtus := func(from byte, want map[byte]int) {
		t.Helper()
		for to, mtu := range want {
			inTime(t, "the tunnel's MTU", func() bool { return peerOf(t, nodes[from], to).MTU == mtu })
		}
	}
	everybody()
	mtus(1, map[byte]int{2: loopbackInIP, 3: loopbackInUDP})
	mtus(2, map[byte]int{1: loopbackInIP, 3: loopbackInUDP})
	mtus(3, map[byte]int{1: loopbackInUDP, 2: loopbackInUDP})
	for last, n := range nodes {
		udp, ip := espSockets(n)
		if udp == nil || udp.Control == 0 || udp.RxDatagrams <= udp.Control || udp.TxDatagrams == 0 {
			t.Errorf("node %d: in UDP %+v", last, udp)
		}
		switch {
		case last == 3 && ip != nil:
			t.Errorf("node 3 has a socket of protocol 50: %+v", ip)
		case last != 3 && (ip == nil || ip.Control == 0 || ip.RxDatagrams <= ip.Control || ip.TxDatagrams == 0 || ip.Addr.Addr() != loopback(last) || ip.Addr.Port() != 0):
			t.Errorf("node %d: in IP %+v", last, ip)
		}
	}
	u := &nodes[1].path.underlay
	nodes[1].path.mu.Lock()
	if len(u.esp4.routes) != 2 || len(u.raw4.routes) != 2 {
		t.Errorf("%d routes in UDP and %d in IP, want both peers in both", len(u.esp4.routes), len(u.raw4.routes))
	}
	nodes[1].path.mu.Unlock()
	said := false
	for _, c := range nodes[1].Doctor() {
		said = said || c.Name == "encrypted overlay at 127.0.0.1, IP protocol 50" && c.Status == OK
	}
	if !said {
		t.Errorf("doctor does not name it: %+v", nodes[1].Doctor())
	}

	c := nodes[2].cfg
	c.ESPInIP = false
	nodes[2].Close()
	nodes[2] = openBeside(t, c)
	mtus(1, map[byte]int{2: loopbackInUDP, 3: loopbackInUDP})
	_, before := espSockets(nodes[1])
	everybody()
	if _, after := espSockets(nodes[1]); after.TxDatagrams != before.TxDatagrams || after.RxDatagrams != before.RxDatagrams {
		t.Errorf("something goes by IP to a node that does not receive it: %+v, then %+v", before, after)
	}
	if err := errors.Join(nodes[1].SandboxRemove(t.Context(), boxes[1].ID, true), nodes[1].NetworkRemove(t.Context(), "over")); err != nil {
		t.Fatal(err)
	}
	if udp, ip := espSockets(nodes[1]); udp != nil || ip != nil {
		t.Errorf("sockets of no network: %+v, %+v", udp, ip)
	}
}

// TestEncryptedInIPRight: a daemon without the right does not start, and says why.
func TestEncryptedInIPRight(t *testing.T) {
	nettest.Unprivileged(t, func(t *testing.T) {
		n, err := Open(t.Context(), Config{DataDir: t.TempDir(), RunDir: t.TempDir(), ESPInIP: true})
		if err == nil {
			n.Close()
			t.Fatal("it started")
		}
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_RAW") || !strings.Contains(err.Error(), "--esp-encapsulation udp") {
			t.Error(err)
		}
	})
}
