package node

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
	"weft/internal/nettest"
	"weft/ipsec"
)

// reaches reports whether a sandbox gets an answer of another's server.
func reaches(t *testing.T, n *Node, from string, to cnm.Sandbox) bool {
	t.Helper()
	_, code := execute(t, n, from, "ask", netip.AddrPortFrom(addr4(to, "over"), 7000).String(), "hello")
	return code == 0
}

// TestEncryptedSecrets: a secret that others may read, that is too short or none, is
// refused with what to do.
func TestEncryptedSecrets(t *testing.T) {
	watchLeaks(t)
	n := openBeside(t, encryptedConfig(t, 1))
	dir := t.TempDir()
	write := func(name, secret string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(secret), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct{ name, path, want string }{
		{"others may read it", write("open", "correct horse battery staple", 0o644), "chmod 600"},
		{"its group may", write("group", "correct horse battery staple", 0o640), "chmod 600"},
		{"missing", filepath.Join(dir, "none"), "no such file"},
		{"too short", write("short", "fifteen bytes..\n", 0o600), "want at least 16"},
		{"empty", write("empty", "", 0o600), "want at least 16"},
		{"too long", write("long", strings.Repeat("x", maxSecret+1), 0o600), "at most 4096"},
		{"a directory", dir, "expected a file"},
	} {
		nw := encryptedNetwork(c.path, 1, 2)
		nw.EnableIPv4 = true
		if _, _, err := n.NetworkCreate(t.Context(), nw); !errors.Is(err, cnm.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", c.name, err, c.want)
		}
		if _, err := n.Network("over"); !errors.Is(err, cnm.NotFound) {
			t.Fatalf("%s: there is a network: %v", c.name, err)
		}
	}
}

// TestEncryptedSecretMended: a daemon that starts without the secret sends nothing, says
// so once, and goes on by itself when the secret is back.
func TestEncryptedSecretMended(t *testing.T) {
	watchLeaks(t)
	secret := secretFile(t, "correct horse battery staple")
	nodes, boxes := staticPair(t, secret, secret)
	inTime(t, "they talk", func() bool { return reaches(t, nodes[1], "box", boxes[2]) })
	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := nodes[1].cfg
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	nodes[1].Close()
	n := openBeside(t, c)
	if reaches(t, n, "box", boxes[2]) || peerOf(t, n, 2).Drops["no-key"] == 0 {
		t.Errorf("without its secret: %+v", peerOf(t, n, 2))
	}
	time.Sleep(1500 * time.Millisecond)
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	inTime(t, "they talk again", func() bool { return reaches(t, n, "box", boxes[2]) })
	n.mu.Lock()
	said := strings.Count(log.String(), "chmod 600")
	n.mu.Unlock()
	if said != 1 {
		t.Errorf("said %d times:\n%s", said, &log)
	}
}

// TestEncryptedOtherSecret: nodes with different secrets send each other nothing, and
// say why.
func TestEncryptedOtherSecret(t *testing.T) {
	watchLeaks(t)
	nodes, boxes := staticPair(t, secretFile(t, "correct horse battery staple"), secretFile(t, "incorrect horse battery staple"))
	for last, n := range nodes {
		if reaches(t, n, "box", boxes[3-last]) {
			t.Errorf("node %d reaches the other", last)
		}
		p := peerOf(t, n, 3-last)
		if p.Drops["no-key"] == 0 || p.TxFrames != 0 || p.RxFrames != 0 {
			t.Errorf("node %d: %+v", last, p)
		}
		n.mu.Lock()
		if got := n.keyFaults["peer "+loopback(3-last).String()]; got != errStrange.Error() {
			t.Errorf("node %d says %q", last, got)
		}
		n.mu.Unlock()
		if k := n.Keys(); len(k) != 1 || len(k[0].Peers) != 1 || k[0].Peers[0].Ready || len(k[0].Peers[0].Pairs) != 0 {
			t.Errorf("node %d has keys: %+v", last, k)
		}
	}
}

// TestEncryptedAnnouncements: nothing comes of announcements that are not the peer's
// own, of now, from where it is.
func TestEncryptedAnnouncements(t *testing.T) {
	watchLeaks(t)
	secret := secretFile(t, "correct horse battery staple")
	nodes, boxes := staticPair(t, secret, secret)
	inTime(t, "they talk", func() bool { return reaches(t, nodes[1], "box", boxes[2]) })
	recorded := announced(nodes[2])
	restart := func() {
		c := nodes[2].cfg
		nodes[2].Close()
		nodes[2] = openBeside(t, c)
		inTime(t, "they talk after a restart", func() bool { return reaches(t, nodes[1], "box", boxes[2]) })
	}
	restart()
	psk, _ := ipsec.NewPSK([]byte("correct horse battery staple"))
	foreign, _ := ipsec.NewPSK([]byte("another secret that is long enough"))
	now := nodes[2].Keys()[0]
	make := func(by *ipsec.PSK, at string, change func(*ipsec.Announcement)) []byte {
		a := ipsec.Announcement{Node: at, VTEP: netip.MustParseAddrPort(at), Generation: now.Generation + 1, Epoch: now.Epoch, Algorithm: ipsec.AES256GCM, ESN: true, Workers: 3}
		change(&a)
		k, err := ipsec.NewEpochKey(a, ipsec.AES{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := ipsec.Encode(k.Announcement(), by.Sign)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	same := func(*ipsec.Announcement) {}
	peer, cut := "127.0.0.2:24500", make(psk, "127.0.0.2:24500", same)
	before := believed(nodes[1])
	for _, c := range []struct {
		name string
		from byte
		data [][]byte
	}{
		{"garbage", 2, [][]byte{nil, {1}, bytes.Repeat([]byte{0xff}, 300), bytes.Repeat([]byte{0}, ipsec.MaxAnnouncement+1)}},
		{"cut", 2, [][]byte{cut[:len(cut)-1], cut[:40]}},
		{"what it said before it was started again", 2, recorded},
		{"another secret", 2, [][]byte{make(foreign, peer, same)}},
		{"from another address", 9, [][]byte{make(psk, peer, same)}},
		{"of a stranger", 9, [][]byte{make(psk, "127.0.0.9:24500", same)}},
		{"of another port", 2, [][]byte{make(psk, "127.0.0.2:24501", same)}},
		{"another name", 2, [][]byte{make(psk, peer, func(a *ipsec.Announcement) { a.Node = "127.0.0.9:24500" })}},
		{"another cipher", 2, [][]byte{make(psk, peer, func(a *ipsec.Announcement) { a.Algorithm = ipsec.AES128GCM })}},
		{"without ESN", 2, [][]byte{make(psk, peer, func(a *ipsec.Announcement) { a.ESN = false })}},
		{"the generation before", 2, [][]byte{make(psk, peer, func(a *ipsec.Announcement) { a.Generation = now.Generation - 1 })}},
		{"this node's own", 2, announced(nodes[1])},
	} {
		for _, d := range c.data {
			datagram(t, c.from, netip.AddrPortFrom(loopback(1), testESPPort), slices.Concat([]byte{0, 0, 0, 0}, []byte(announceMagic), d))
		}
		time.Sleep(100 * time.Millisecond)
		if got := believed(nodes[1]); got != before {
			t.Errorf("%s: believed was %s, now %s", c.name, before, got)
		}
	}
	if !reaches(t, nodes[1], "box", boxes[2]) || !reaches(t, nodes[2], "box", boxes[1]) {
		t.Error("they talk no more")
	}
	// One that is right counts: the test would notice.
	datagram(t, 2, netip.AddrPortFrom(loopback(1), testESPPort), slices.Concat([]byte{0, 0, 0, 0}, []byte(announceMagic), cut))
	if !eventually(func() bool { return believed(nodes[1]) != before }) {
		t.Error("an announcement by who has the secret, of a higher generation, does not count")
	}
	restart() // and the node itself comes after it
}

// announced is what a node tells others in its only ring.
func announced(n *Node) [][]byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.rings {
		return r.Announcements()
	}
	return nil
}

// believed is what a node believes of the only peer it may have.
func believed(n *Node) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.rings {
		for _, s := range r.Status() {
			_, at := r.Peer(s.Node)
			return fmt.Sprintf("%d peers: %s %d.%d %x", len(r.Status()), at.VTEP, at.Generation, at.Epoch, at.Public)
		}
	}
	return ""
}

// TestEncryptedIPv6 has two nodes at one IPv6 address, told apart by their ports.
func TestEncryptedIPv6(t *testing.T) {
	watchLeaks(t)
	if l, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		nettest.Skip(t, "this host has no IPv6: %v", err)
	} else {
		l.Close()
	}
	secret := secretFile(t, "correct horse battery staple")
	boxes, nodes := map[byte]cnm.Sandbox{}, map[byte]*Node{}
	for last := byte(1); last <= 2; last++ {
		c := encryptedConfig(t, last)
		c.AdvertiseAddr = netip.IPv6Loopback()
		c.ESPPort += uint16(last)
		c.DataPathPort += uint16(last)
		nodes[last] = openBeside(t, c)
		nw := encryptedNetwork(secret, last)
		nw.Options["weft.peers"] = netip.AddrPortFrom(netip.IPv6Loopback(), testESPPort+3-uint16(last)).String()
		mustNetwork(t, nodes[last], nw)
		boxes[last] = mustRun(t, nodes[last], cnm.SandboxSpec{Name: "box", Cmd: program("serve", ":7000"), Networks: on("over")})
	}
	for last, n := range nodes {
		inTime(t, "the other is reached", func() bool { return reaches(t, n, "box", boxes[3-last]) })
		if u := &n.path.underlay; u.esp6 == nil || u.esp4 != nil || u.v6 != nil {
			t.Errorf("node %d: sockets %+v", last, u.sockets())
		}
		if at := n.Keys()[0].VTEP; at.Port() != testESPPort+uint16(last) {
			t.Errorf("node %d is at %v", last, at)
		}
	}
}
