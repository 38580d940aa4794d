package interop

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/nettest"
	"weft/internal/node"
)

// kernelPair is a node with a box here and the kernel's VTEP at the far end, over
// IPv4, the one learning from the other.
func kernelPair(t *testing.T, options ...string) *testNode {
	t.Helper()
	cable(t)
	n := openNode(t, near4)
	n.overlay(t, there4, options...)
	n.serve(t)
	kernelDevice(t, "local 10.9.0.2 remote 10.9.0.1")
	start(t, in("far", weft(), "tool", "serve")...)
	n.mustBox(t, "ping", "-c", "1", "-W", "5", far4)
	return n
}

// TestKernelDetails looks closer at what passes between weft and the kernel.
func TestKernelDetails(t *testing.T) {
	isolated(t, func(t *testing.T) {
		n := kernelPair(t)
		t.Run("ARP is suppressed", func(t *testing.T) { suppressed(t, n) })
		t.Run("VLAN", func(t *testing.T) { vlan(t, n) })
		t.Run("nested", func(t *testing.T) { nested(t, n) })
	})
}

// suppressed has the box ask again for whom its switch knows: no question leaves.
func suppressed(t *testing.T, n *testNode) {
	n.mustBox(t, "ping", "-c", "1", "-W", "2", far6)
	fd := packetSocket(t, "far", "vx0")
	n.mustBox(t, "ip", "neigh", "flush", "dev", "eth0")
	n.mustBox(t, "ping", "-c", "1", "-W", "2", far4)
	n.mustBox(t, "ping", "-c", "1", "-W", "2", far6)
	box, seen := n.endpoint(t).MAC, 0
	for {
		f, err := readFrame(fd)
		if err != nil {
			t.Fatal(err)
		}
		if f == nil {
			break
		}
		if !bytes.Equal(f[6:12], box[:]) {
			continue
		}
		seen++
		isARP := f[12] == 8 && f[13] == 6
		isSolicit := f[12] == 0x86 && f[13] == 0xdd && len(f) > 54 && f[20] == frame.ProtoICMPv6 && f[54] == 135
		if isARP || isSolicit && f[0] == 0x33 { // asking the station itself whether it still lives is another matter
			t.Errorf("a question went out: %x", f)
		}
	}
	if seen < 2 {
		t.Errorf("%d frames of the box seen, expected its echo requests", seen)
	}
}

// vlan sends a tagged frame to the box and has it sent back: tags are neither
// taken off nor mixed up, and the address is learned in its VLAN.
func vlan(t *testing.T, n *testNode) {
	const id = 5
	reflector, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	exec, err := n.ExecCreate(t.Context(), "box", node.ExecSpec{Cmd: []string{reflector, reflectArg, "eth0"}, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.ExecStart(t.Context(), exec)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, out, err := s.Next(); err != nil || string(out) != "ready\n" {
		t.Fatalf("reflector: %q, %v", out, err)
	}
	box := n.endpoint(t)
	from := nettest.Host{MAC: frame.MAC(mac(t, farInner)), IP: netip.MustParseAddr(far4)}
	to := nettest.Host{MAC: box.MAC, IP: box.IPv4.Addr()}
	sent := nettest.Tag(nettest.UDP(from, to, 1000, 2000, bytes.Repeat([]byte("tagged "), 100)), id)
	fd := packetSocket(t, "far", "vx0")
	if _, err := unix.Write(fd, sent); err != nil {
		t.Fatal(err)
	}
	want := reversed(sent)
	for end := time.Now().Add(5 * time.Second); ; {
		f, err := readFrame(fd)
		if err != nil || time.Now().After(end) {
			t.Fatalf("the tagged frame did not come back: %v; peer %+v, ports %+v", err, n.peer(t), n.Stats())
		}
		if bytes.Equal(f, want) {
			break
		}
	}
	rows, err := n.FDB("over")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(rows, func(r node.FDBEntry) bool {
		return r.MAC == from.MAC && r.VLAN == id && strings.Contains(r.Port, there4)
	}) {
		t.Errorf("the far station is not known in VLAN %d: %+v", id, rows)
	}
}

func mac(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// nested has the box itself be a VTEP of the kernel's kind: its datagrams are as
// good as any, and are not looked into.
func nested(t *testing.T, n *testNode) {
	box := n.endpoint(t)
	ip(t, `-n far link add vxn type vxlan id 5 local `+far4+` remote `+box.IPv4.Addr().String()+` dstport 4790
		-n far addr add 10.77.0.2/24 dev vxn
		-n far link set vxn up`)
	n.mustBox(t, "ip", "link", "add", "vxn", "type", "vxlan", "id", "5", "remote", far4, "dstport", "4790")
	n.mustBox(t, "ip", "addr", "add", "10.77.0.1/24", "dev", "vxn")
	n.mustBox(t, "ip", "link", "set", "vxn", "up")
	n.mustBox(t, "ping", "-c", "2", "-i", "0.1", "-W", "2", "10.77.0.2")
	n.mustBox(t, weft(), "tool", "send", "-m", "5", "10.77.0.2")
}

// A network whose MTU is larger than what fits into a datagram of the underlay:
// weft says so, with the size that fits, and TCP adapts from the start.
func TestTooBig(t *testing.T) {
	isolated(t, func(t *testing.T) {
		n := kernelPair(t, "com.docker.network.driver.mtu", "1500")
		if box := n.endpoint(t); box.MTU != 1500 {
			t.Fatalf("MTU %d, expected 1500 as asked for", box.MTU)
		}
		for _, c := range []struct{ to, fits, large, want string }{
			{far4, "1422", "1423", "Frag needed and DF set (mtu = 1450)"},
			{far6, "1402", "1403", "Packet too big: mtu=1450"},
		} {
			n.mustBox(t, "ping", "-c", "1", "-W", "2", "-M", "do", "-s", c.fits, c.to)
			out, ok := n.box(t, "ping", "-c", "1", "-W", "2", "-M", "do", "-s", c.large, c.to)
			if ok || !strings.Contains(out, c.want) {
				t.Errorf("%s bytes for %s: %v, expected %q, got\n%s", c.large, c.to, ok, c.want, out)
			}
		}
		n.mustBox(t, weft(), "tool", "send", "-m", "5", far4)
		must(t, in("far", weft(), "tool", "send", "-m", "5", n.endpoint(t).IPv4.Addr().String())...)
		n.mustBox(t, weft(), "tool", "send", "-m", "5", far6)
	})
}
