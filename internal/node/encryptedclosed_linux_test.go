package node

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"weft/internal/cnm"
	"weft/internal/frame"
)

// secretFile returns the path of a new file with a secret.
func secretFile(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// encryptedNetwork is overlayNetwork, encrypted.
func encryptedNetwork(secret string, last byte, peers ...byte) cnm.Network {
	nw := overlayNetwork(last, peers...)
	nw.Options["encrypted"], nw.Options["weft.psk-file"] = "", secret
	return nw
}

// staticPair is two nodes with a sandbox each on an encrypted static overlay, with the
// secrets that are given.
func staticPair(t *testing.T, secrets ...string) (nodes map[byte]*Node, boxes map[byte]cnm.Sandbox) {
	t.Helper()
	nodes, boxes = map[byte]*Node{}, map[byte]cnm.Sandbox{}
	for last := byte(1); last <= 2; last++ {
		nodes[last] = openBeside(t, encryptedConfig(t, last))
		mustNetwork(t, nodes[last], encryptedNetwork(secrets[last-1], last, 1, 2))
		boxes[last] = mustRun(t, nodes[last], cnm.SandboxSpec{Name: "box", Cmd: program("serve", ":7000"), Networks: on("over")})
	}
	return nodes, boxes
}

// strangersMAC is the source of what inject sends.
var strangersMAC = frame.MAC{0x02, 9, 9, 9, 9, 9}

// inject sends a broadcast frame in VXLAN, in clear, from an address of the loopback.
func inject(t *testing.T, from byte, to netip.AddrPort, vni uint32) {
	t.Helper()
	ether := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, strangersMAC[:], []byte{0x08, 0x06}, make([]byte, 46))
	datagram(t, from, to, append([]byte{8, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0}, ether...))
}

// datagram sends one from an address of the loopback.
func datagram(t *testing.T, from byte, to netip.AddrPort, data []byte) {
	t.Helper()
	c, err := net.DialUDP("udp4", &net.UDPAddr{IP: loopback(from).AsSlice()}, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
}

// dropped is what a node's socket on a port has dropped by a name.
func dropped(n *Node, port uint16, reason string) uint64 {
	_, sockets := n.Peers()
	for _, s := range sockets {
		if s.Addr.Port() == port {
			return s.Drops[reason]
		}
	}
	return 0
}

// learnedStranger reports whether a network's table has what inject sends.
func learnedStranger(n *Node, network string) bool {
	rows, _ := n.FDB(network)
	return slices.ContainsFunc(rows, func(e FDBEntry) bool { return e.MAC == strangersMAC })
}

// TestEncryptedFailsClosed: what comes in clear for an encrypted network is dropped by
// name before anything learns from it, whoever it is from, on either side; a network
// in clear beside it goes on.
func TestEncryptedFailsClosed(t *testing.T) {
	watchLeaks(t)
	secret := secretFile(t, "correct horse battery staple\n")
	nodes, boxes := staticPair(t, secret, secret)
	for last, n := range nodes {
		// No network in clear: nobody listens.
		if n.path.underlay.v4 != nil {
			t.Errorf("node %d: a socket in clear", last)
		}
		plain := overlayNetwork(last, 1, 2)
		plain.Name, plain.Options["weft.vni"] = "plain", "4098"
		plain.IPAM.Config[0].Subnet, plain.IPAM.Config[0].IPRange = netip.MustParsePrefix("10.66.21.0/24"), netip.Prefix{}
		mustNetwork(t, n, plain)
	}
	for last, n := range nodes {
		other := 3 - last
		clear, esp := netip.AddrPortFrom(loopback(last), swarmDataPathPort), netip.AddrPortFrom(loopback(last), testESPPort)
		for _, c := range []struct {
			name   string
			from   byte
			to     netip.AddrPort
			vni    uint32
			reason string
		}{
			{"a peer, in clear", other, clear, 4097, "cleartext"},
			{"a stranger, in clear", 9, clear, 4097, "unknown-vtep"},
			{"a peer, to the port of ESP", other, esp, 4097, "unknown-spi"},
			{"a stranger, to the port of ESP", 9, esp, 4097, "unknown-spi"},
			{"a peer, for the plain network to the port of ESP", other, esp, 4098, "unknown-spi"},
		} {
			before := dropped(n, c.to.Port(), c.reason)
			inject(t, c.from, c.to, c.vni)
			if !eventually(func() bool { return dropped(n, c.to.Port(), c.reason) == before+1 }) {
				_, sockets := n.Peers()
				t.Errorf("node %d, %s: not dropped as %s: %+v", last, c.name, c.reason, sockets)
			}
		}
		if learnedStranger(n, "over") || learnedStranger(n, "plain") {
			t.Errorf("node %d learned from what was dropped", last)
		}
		inject(t, other, clear, 4098)
		if !eventually(func() bool { return learnedStranger(n, "plain") }) {
			t.Errorf("node %d: the network in clear does not hear its peer", last)
		}
	}
	reach(t, nodes[1], "box", addr4(boxes[2], "over"), true)
	reach(t, nodes[2], "box", addr4(boxes[1], "over"), true)
}

// TestEncryptedBeforeKeys: from the moment an encrypted network exists nothing leaves
// for a peer that has announced no key, and it is counted as that.
func TestEncryptedBeforeKeys(t *testing.T) {
	watchLeaks(t)
	n := openBeside(t, encryptedConfig(t, 1))
	// The peer's ports, where nobody is: whatever comes is seen.
	var heard []*net.UDPConn
	for _, port := range []uint16{overlayPort, swarmDataPathPort, testESPPort} {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback(2), port)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		heard = append(heard, c)
	}
	mustNetwork(t, n, encryptedNetwork(secretFile(t, "correct horse battery staple"), 1, 2))
	mustRun(t, n, cnm.SandboxSpec{Name: "box", Networks: on("over")})
	execute(t, n, "box", "ask", "10.66.20.40:7000", "hello")
	p := peerOf(t, n, 2)
	if p.Drops["no-key"] == 0 || p.TxFrames != 0 {
		t.Errorf("peer: %+v", p)
	}
	for i, c := range heard {
		b := make([]byte, 2048)
		for c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); ; {
			size, _, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				break
			}
			if i < 2 || size < 12 || string(b[:4]) != "\x00\x00\x00\x00" || string(b[4:12]) != announceMagic {
				t.Errorf("%v got %x", c.LocalAddr(), b[:size])
			}
		}
	}
}

// TestEncryptedSharing: nodes of a swarm have keys of those alone with whom they share
// an encrypted network.
func TestEncryptedSharing(t *testing.T) {
	watchLeaks(t)
	nodes := encryptedSwarm(t, 3)
	mustNetwork(t, nodes[1], cnm.Network{Name: "over", Driver: cnm.DriverOverlay, Options: map[string]string{"encrypted": ""}})
	mustNetwork(t, nodes[1], cnm.Network{Name: "plain", Driver: cnm.DriverOverlay})
	var plain, over cnm.Sandbox
	for last, networks := range map[byte][]string{1: {"over", "plain"}, 2: {"over"}, 3: {"plain"}} {
		inTime(t, "the networks are known", func() bool {
			_, one := nodes[last].Network("over")
			_, two := nodes[last].Network("plain")
			return one == nil && two == nil
		})
		sb := mustRun(t, nodes[last], cnm.SandboxSpec{Name: "box", Cmd: program("serve", ":7000"), Networks: on(networks...)})
		if last == 3 {
			plain = sb
		}
		if last == 2 {
			over = sb
		}
	}
	inTime(t, "the network in clear works", func() bool {
		_, code := execute(t, nodes[1], "box", "ask", netip.AddrPortFrom(addr4(plain, "plain"), 7000).String(), "hello")
		return code == 0
	})
	reachInTime(t, nodes[1], "box", over)
	for last, want := range map[byte]int{1: 1, 2: 1, 3: 0} {
		keys, peers := nodes[last].Keys(), 0
		for _, k := range keys {
			peers += len(k.Peers)
		}
		if peers != want || len(keys) != want || (nodes[last].path.underlay.esp4 != nil) != (want > 0) {
			t.Errorf("node %d: %+v", last, keys)
		}
	}
	// In a swarm too what is in clear for the encrypted network is nobody's.
	vni := peerOf(t, nodes[1], 2).VNI
	for from, reason := range map[byte]string{2: "cleartext", 3: "unknown-vni", 9: "unknown-vtep"} {
		before := dropped(nodes[1], swarmDataPathPort, reason)
		inject(t, from, netip.AddrPortFrom(loopback(1), swarmDataPathPort), vni)
		if !eventually(func() bool { return dropped(nodes[1], swarmDataPathPort, reason) == before+1 }) {
			_, sockets := nodes[1].Peers()
			t.Errorf("from 127.0.0.%d: not dropped as %s: %+v", from, reason, sockets)
		}
	}
	if learnedStranger(nodes[1], "over") {
		t.Error("learned from what was dropped")
	}
}
