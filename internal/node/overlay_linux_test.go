package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
	"weft/internal/frame"
)

// overlayPort is where the nodes of these tests listen: not 4789, which other
// packages' tests use at the same time.
const overlayPort = 24789

// overlayNode opens a node whose VTEP is at 127.0.0.LAST.
func overlayNode(t *testing.T, last byte) *Node {
	t.Helper()
	return openBeside(t, overlayConfig(t, last))
}

func overlayConfig(t *testing.T, last byte) Config {
	t.Helper()
	c := testConfig(t)
	c.AdvertiseAddr, c.DataPathPort = loopback(last), overlayPort
	return c
}

func loopback(last byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, last}) }

// overlayNetwork describes the overlay that these tests share, as node LAST has
// it: a part of the addresses each, the other nodes as peers.
func overlayNetwork(last byte, peers ...byte) cnm.Network {
	var list []string
	for _, p := range peers {
		list = append(list, loopback(p).String())
	}
	nw := cnm.Network{Name: "over", Driver: cnm.DriverOverlay, Options: map[string]string{"weft.vni": "4097", "weft.peers": strings.Join(list, ",")}}
	nw.IPAM = pool("10.66.20.0/24")
	nw.IPAM.Config[0].IPRange = netip.MustParsePrefix(fmt.Sprintf("10.66.20.%d/28", 16*last))
	return nw
}

// peerOf returns what a node's counters say of its only peer, or of the one named.
func peerOf(t *testing.T, n *Node, last byte) PeerStats {
	t.Helper()
	peers, _ := n.Peers()
	for _, p := range peers {
		if p.Peer.Addr() == loopback(last) {
			return p
		}
	}
	t.Fatalf("no peer %s among %+v", loopback(last), peers)
	return PeerStats{}
}

// Three nodes share a LAN; broadcasts reach each once, and what was heard once is
// asked for no more.
func TestOverlayTriangle(t *testing.T) {
	watchLeaks(t)
	nodes := map[byte]*Node{}
	boxes := map[byte]cnm.Sandbox{}
	for _, last := range []byte{1, 2, 3} {
		nodes[last] = overlayNode(t, last)
		others := slices.DeleteFunc([]byte{1, 2, 3}, func(b byte) bool { return b == last })
		mustNetwork(t, nodes[last], overlayNetwork(last, others...))
		boxes[last] = mustRun(t, nodes[last], cnm.SandboxSpec{Name: "box", Cmd: program("serve", ":7000"), Networks: on("over")})
	}
	for from, n := range nodes {
		for to, sb := range boxes {
			if from != to {
				reach(t, n, "box", addr4(sb, "over"), true)
			}
		}
	}
	if mtu := boxes[1].Endpoints[0].MTU; mtu != 65485 {
		t.Errorf("MTU %d over a loopback of 65536, want 65485", mtu)
	}
	if gw := boxes[1].Endpoints[0].Gateway4; gw.IsValid() {
		t.Errorf("the overlay gave a default gateway, %s", gw)
	}
	rows, err := nodes[1].FDB("over")
	if err != nil {
		t.Fatal(err)
	}
	where := slices.IndexFunc(rows, func(e FDBEntry) bool { return e.MAC == boxes[2].Endpoints[0].MAC })
	if where < 0 || !strings.Contains(rows[where].Port, "127.0.0.2:24789") {
		t.Errorf("the neighbour's MAC is not on its VTEP: %+v", rows)
	}
	known := peerOf(t, nodes[1], 2)
	if known.Learned != 1 || known.VNI != 4097 || known.RxFrames == 0 || known.TxFrames == 0 {
		t.Errorf("peer: %+v", known)
	}
	// What is for one VTEP goes to no other.
	before, silent := known.TxFrames, peerOf(t, nodes[1], 3).TxFrames
	for range 20 {
		if out, code := execute(t, nodes[1], "box", "ping", addr4(boxes[2], "over").String()); code != 0 {
			t.Error(out)
		}
	}
	const queries = 8 // of the switch itself: IGMP and MLD, when a port is new and again later
	if now := peerOf(t, nodes[1], 2).TxFrames - before; now < 20 || now > 22+queries {
		t.Errorf("%d frames for 20 pings", now)
	}
	if now := peerOf(t, nodes[1], 3).TxFrames - silent; now > queries {
		t.Errorf("%d frames of 20 pings went to the third node", now)
	}
	captureTunnel(t, nodes[1], addr4(boxes[3], "over").String())
}

// What is not for this node ends by name, before anything learns from it.
// captureTunnel pings through one tunnel and captures what another carries, and
// then that one.
func captureTunnel(t *testing.T, n *Node, third string) {
	t.Helper()
	if _, err := n.Capture(t.Context(), CaptureOptions{Port: "over@127.0.0.9:24789"}); !errors.Is(err, cnm.NotFound) ||
		!strings.Contains(err.Error(), "there are over@127.0.0.2:24789, over@127.0.0.3:24789") {
		t.Errorf("capture of no tunnel: %v", err)
	}
	for peer, want := range map[byte]int{2: 0, 3: 2} {
		r, err := n.Capture(t.Context(), CaptureOptions{Port: fmt.Sprintf("over@127.0.0.%d:24789", peer), Filter: "icmp"})
		if err != nil {
			t.Fatal(err)
		}
		file := make(chan []byte, 1)
		go func() {
			b, _ := io.ReadAll(r)
			file <- b
		}()
		if out, code := execute(t, n, "box", "ping", third); code != 0 {
			t.Error(out)
		}
		time.Sleep(50 * time.Millisecond)
		r.Close()
		if b := <-file; bytes.Count(b, []byte("forwarded")) != want {
			t.Errorf("over@127.0.0.%d: expected %d frames in %q", peer, want, b)
		}
	}
}

func TestOverlayStrangers(t *testing.T) {
	watchLeaks(t)
	n := overlayNode(t, 1)
	mustNetwork(t, n, overlayNetwork(1, 2))
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("over")})
	ether := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 9, 9, 9, 9, 9, 0x08, 0x06}, make([]byte, 46)...)
	vxlan := func(flags byte, vni uint32) []byte {
		return append([]byte{flags, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0}, ether...)
	}
	for _, c := range []struct {
		name string
		from byte
		data []byte
		want frame.Reason
	}{
		{"unknown VTEP", 3, vxlan(8, 4097), frame.UnknownVTEP},
		{"unknown VNI", 2, vxlan(8, 4098), frame.UnknownVNI},
		{"no VNI flag", 2, vxlan(0, 4097), frame.BadVXLAN},
		{"half a header", 2, []byte{8, 0, 0}, frame.Runt},
	} {
		count := func() uint64 {
			_, sockets := n.Peers()
			return sockets[0].Drops[c.want.String()]
		}
		before := count()
		conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: loopback(c.from).AsSlice()}, &net.UDPAddr{IP: loopback(1).AsSlice(), Port: overlayPort})
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(c.data)
		conn.Close()
		if !eventually(func() bool { return count() == before+1 }) {
			_, sockets := n.Peers()
			t.Errorf("%s: not counted as %s: %+v", c.name, c.want, sockets)
		}
	}
	row := func() Check {
		checks := n.tunnelChecks()
		if len(checks) != 1 {
			t.Fatalf("doctor's rows: %+v", checks)
		}
		return checks[0]
	}
	if c := row(); c.Status != Warn || !strings.Contains(c.Found, "unknown-vni=1 unknown-vtep=1") || !strings.Contains(c.Advice, "weft peers ls --underlay") {
		t.Errorf("doctor: %+v", c)
	}
	n.path.mu.Lock()
	n.path.underlay.v4.strangeAt = time.Now().Add(-strangeFor)
	n.path.mu.Unlock()
	if c := row(); c.Status != OK {
		t.Errorf("doctor, after no more came for a while: %+v", c)
	}
	rows, _ := n.FDB("over")
	if slices.ContainsFunc(rows, func(e FDBEntry) bool { return e.MAC == frame.MAC{0x02, 9, 9, 9, 9, 9} }) {
		t.Error("a stranger's address was learned")
	}
}

// eventually waits up to two seconds.
func eventually(what func() bool) bool {
	for range 100 {
		if what() {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// A port that is taken is an error that leaves nothing; at a restart it costs the
// overlay alone, until it is free.
func TestOverlayPortTaken(t *testing.T) {
	taken, err := net.ListenPacket("udp4", netip.AddrPortFrom(loopback(1), overlayPort).String())
	if err != nil {
		t.Fatal(err)
	}
	c := overlayConfig(t, 1)
	var log strings.Builder
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	n := openNode(t, c)
	if s := log.String(); strings.Count(s, "overlay networks cannot be carried") != 1 || !strings.Contains(s, "--data-path-port") {
		t.Errorf("logged at the start:\n%s", s)
	}
	if rows := n.tunnelChecks(); len(rows) != 1 || rows[0].Status != Warn || !strings.Contains(rows[0].Found, "--data-path-port") {
		t.Errorf("doctor, without an overlay yet: %+v", rows)
	}
	c.Log = nil
	nw := overlayNetwork(1, 2, 3)
	nw.EnableIPv4 = true
	if _, _, err := n.NetworkCreate(t.Context(), nw); err == nil || !strings.Contains(err.Error(), "127.0.0.1:24789") || strings.Count(err.Error(), "network over: ") != 1 {
		t.Fatalf("with the port taken: %v", err)
	}
	if _, err := n.Network("over"); !errors.Is(err, cnm.NotFound) {
		t.Errorf("half a network is left: %v", err)
	}
	taken.Close()
	mustNetwork(t, n, nw)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if taken, err = net.ListenPacket("udp4", netip.AddrPortFrom(loopback(1), overlayPort).String()); err != nil {
		t.Fatal(err)
	}
	again := openNode(t, c)
	mustNetwork(t, again, cnm.Network{Name: "front", IPAM: pool("10.66.21.0/24")})
	rose := mustRun(t, again, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":7000"), Networks: on("front")})
	mustRun(t, again, cnm.SandboxSpec{Name: "tulip", Networks: on("front", "over")})
	reach(t, again, "tulip", addr4(rose, "front"), true)
	if peers, _ := again.Peers(); len(peers) != 2 || peers[0].Peer.Addr() != loopback(2) || peers[0].VNI != 4097 || !strings.Contains(peers[0].Fault, "--data-path-port") {
		t.Errorf("peers without a socket: %+v", peers)
	}
	if rows := again.tunnelChecks(); len(rows) != 1 || rows[0].Name != "network over" || rows[0].Status != Fail {
		t.Errorf("doctor, with the port taken: %+v", rows)
	}
	taken.Close()
	if !eventually(func() bool { peers, _ := again.Peers(); return len(peers) == 2 && peers[0].Fault == "" }) {
		t.Error("the tunnel was not made when the port was free")
	}
}

// A node goes and comes back; its peer's traffic resumes by itself.
func TestOverlayPeerReturns(t *testing.T) {
	watchLeaks(t)
	a := overlayNode(t, 1)
	mustNetwork(t, a, overlayNetwork(1, 2))
	mustRun(t, a, cnm.SandboxSpec{Name: "rose", Networks: on("over")})
	c := overlayConfig(t, 2)
	b, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	mustNetwork(t, b, overlayNetwork(2, 1))
	iris := mustRun(t, b, cnm.SandboxSpec{Name: "iris", Cmd: program("serve", ":7000"), Networks: on("over")})
	reach(t, a, "rose", addr4(iris, "over"), true)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	reach(t, a, "rose", addr4(iris, "over"), false)
	openBeside(t, c)
	reach(t, a, "rose", addr4(iris, "over"), true)
}

// Peers that cannot be are refused with the reason.
func TestOverlayPeersRefused(t *testing.T) {
	watchLeaks(t)
	n := overlayNode(t, 1)
	for _, c := range []struct{ name, peers, want string }{
		{"other family", "::1", "no IPv6 address"},
	} {
		nw := overlayNetwork(1)
		nw.EnableIPv4 = true
		nw.Options["weft.peers"] = c.peers
		if _, _, err := n.NetworkCreate(t.Context(), nw); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// Itself is left out, so that all nodes may be given one list; the same
	// address with another port is another node.
	nw := overlayNetwork(1)
	nw.Options["weft.peers"] = "127.0.0.1,127.0.0.1:24790"
	mustNetwork(t, n, nw)
	if peers, _ := n.Peers(); len(peers) != 1 || peers[0].Peer.Port() != 24790 {
		t.Errorf("peers: %+v", peers)
	}
}
