package vswitch

import (
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/frame"
	"weft/internal/nettest"
	"weft/nat"
)

// A labNAT is package nat with the rules of a lab.
type labNAT struct {
	*nat.Table
	published []nat.Published
}

func newLabNAT() *labNAT {
	n := &labNAT{Table: nat.New(nat.Config{MaxFlows: 4096, Seed: 1})}
	n.set()
	return n
}

func (n *labNAT) set() {
	n.SetRules(&nat.Rules{
		Inside:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("10.7.0.0/16")},
		Outside: []netip.Addr{outer(1), outer6(1)}, Published: n.published,
	})
}

// publish makes an endpoint's port reachable on all addresses outside.
func (n *labNAT) publish(port uint16, to netip.AddrPort) {
	any := netip.IPv4Unspecified()
	if to.Addr().Is6() {
		any = netip.IPv6Unspecified()
	}
	for _, proto := range []uint8{frame.ProtoTCP, frame.ProtoUDP} {
		n.published = append(n.published, nat.Published{Proto: proto, Outside: netip.AddrPortFrom(any, port), Inside: to})
	}
	n.set()
}

// transfer sends n bytes from one end of a connection and checks that they come at the
// other.
func transfer(t testing.TB, from, to net.Conn, n int) time.Duration {
	t.Helper()
	seed := [32]byte{1}
	start := time.Now()
	go func() {
		_, _ = io.CopyN(from, rand.NewChaCha8(seed), int64(n))
		_ = from.(*net.TCPConn).CloseWrite()
	}()
	want, got := sha256.New(), sha256.New()
	_, _ = io.CopyN(want, rand.NewChaCha8(seed), int64(n))
	_ = to.SetDeadline(time.Now().Add(60 * time.Second))
	came, err := io.Copy(got, to)
	if err != nil || came != int64(n) || string(want.Sum(nil)) != string(got.Sum(nil)) {
		t.Errorf("%d of %d bytes came, %v, or not the same", came, n, err)
	}
	return time.Since(start)
}

// connect returns both ends of a connection, and who the server takes the client for.
func (l *lab) connect(from, network, to string, ln net.Listener) (client, server net.Conn, peer netip.Addr) {
	l.t.Helper()
	client, err := l.dial(from, network, to)
	if err != nil {
		l.t.Fatalf("%s to %s: %v", from, to, err)
	}
	l.t.Cleanup(func() { _ = client.Close() })
	if server, err = ln.Accept(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = server.Close() })
	return client, server, server.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
}

const transferred = 64 << 20

// TestLab has kernels talk across the router, both ways, in both families.
func TestLab(t *testing.T) {
	nettest.Unprivileged(t, func(t *testing.T) {
		nettest.Namespaced(t, func(t *testing.T) {
			table := newLabNAT()
			l := newLab(t, labConfig{translator: table})
			w := l.watch()
			l.trials(table.publish)
			if said := w.said(); len(said) > 0 {
				t.Errorf("the kernel meddled: %q", said)
			}
			l.in("outside", "ping -c 1 -W 2 192.0.2.5")
			if said := w.said(); len(said) != 1 || !strings.Contains(said[0], "EchoReply") {
				t.Errorf("pinged, the kernel said %q", said) // else the witness is deaf
			}
		})
	})
}

// trials are what every router has to stand.
func (l *lab) trials(publish func(port uint16, to netip.AddrPort)) {
	t := l.t
	for _, f := range []struct {
		name, beyond, own, server string
		sandbox                   netip.Addr
	}{
		{"IPv4", "198.51.100.9", "192.0.2.1", "10.0.0.3:80", ip(3)},
		{"IPv6", "[2001:db8:ffff::9]", "[2001:db8::1]", "[fd00::3]:80", ip6(3)},
	} {
		own := netip.MustParseAddr(strings.Trim(f.own, "[]"))
		out := l.listen("outside", f.beyond+":7000")
		client, server, peer := l.connect("a", "tcp", f.beyond+":7000", out)
		if peer != own {
			t.Errorf("%s: outside sees %v, want %v", f.name, peer, own)
		}
		before := l.outPort.Stats()
		took := transfer(t, client, server, transferred)
		after := l.outPort.Stats()
		t.Logf("%s out: %.2f Gbit/s, %d frames for %d packets", f.name, transferred*8/took.Seconds()/1e9, after.OutFrames-before.OutFrames, after.OutPackets-before.OutPackets)
		took = transfer(t, server, client, transferred)
		last := l.outPort.Stats()
		t.Logf("%s back: %.2f Gbit/s, %d frames for %d packets", f.name, transferred*8/took.Seconds()/1e9, last.InFrames-after.InFrames, last.InPackets-after.InPackets)

		in := l.listen("b", f.server)
		publish(8080, netip.AddrPortFrom(f.sandbox, 80))
		client, server, peer = l.connect("outside", "tcp", f.own+":8080", in)
		if like := client.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); peer != like {
			t.Errorf("%s: the sandbox sees %v, not the client's own %v", f.name, peer, like)
		}
		took = transfer(t, client, server, transferred)
		t.Logf("%s in: %.2f Gbit/s", f.name, transferred*8/took.Seconds()/1e9)
		transfer(t, server, client, 1<<20)
		for _, from := range []string{"a", "b"} { // by way of the address outside
			client, server, _ = l.connect(from, "tcp", f.own+":8080", in)
			transfer(t, client, server, 8<<20)
			transfer(t, server, client, 8<<20)
		}
		for _, to := range []struct{ from, addr string }{
			{"a", f.beyond + ":7001"}, {"outside", f.own + ":7001"}, {"a", f.own + ":7001"}, {"a", strings.Replace(f.own, "192.0.2", "10.0.0", 1) + ":7001"},
		} {
			if _, err := l.dial(to.from, "tcp", to.addr); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: %s to %s, where nobody listens: %v", f.name, to.from, to.addr, err)
			}
		}
		plain := strings.Trim(f.beyond, "[]")
		if out, err := l.try("a", "ping -c 2 -i 0.2 -W 2 "+plain); err != nil {
			t.Errorf("%s: ping: %v: %s", f.name, err, out)
		}
		// In fragments, which the endpoint's kernel makes, and the one outside.
		if out, err := l.try("a", "ping -c 2 -i 0.2 -W 2 -M dont -s 4000 "+plain); err != nil {
			t.Errorf("%s: fragments: %v: %s", f.name, err, out)
		}
		l.datagrams(f.beyond+":7000", f.own+":8080", f.server)
		if out, err := l.try("outside", "ping -c 1 -W 2 "+own.String()); err != nil {
			t.Errorf("%s: ping the router: %v: %s", f.name, err, out)
		}
	}
	l.unreachable()
}

// datagrams go out and come back, go in by a published port and come back, and are refused
// where nobody is; large ones in fragments.
func (l *lab) datagrams(beyond, own, server string) {
	for _, tt := range []struct{ from, to, addr, at string }{
		{"a", "outside", beyond, beyond}, {"outside", "b", own, server}, {"a", "b", own, server},
	} {
		var pc net.PacketConn
		var err error
		l.thread(tt.to, func() { pc, err = net.ListenPacket("udp", tt.at) })
		if err != nil {
			l.t.Fatal(err)
		}
		go echo(pc)
		c, err := l.dial(tt.from, "udp", tt.addr)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, n := range []int{1, 1400, 9000} {
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			b := make([]byte, 65536)
			if _, err := c.Write(b[:n]); err != nil {
				l.t.Errorf("%s to %s: %v", tt.from, tt.addr, err)
			}
			if got, err := c.Read(b); got != n || err != nil {
				l.t.Errorf("%s to %s: %d bytes came back of %d: %v", tt.from, tt.addr, got, n, err)
			}
		}
		_ = pc.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Write([]byte{1})
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			l.t.Errorf("%s to %s, where nobody listens any more: %v", tt.from, tt.addr, err)
		}
		_ = c.Close()
	}
}

func echo(pc net.PacketConn) {
	b := make([]byte, 65536)
	for {
		n, from, err := pc.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = pc.WriteTo(b[:n], from)
	}
}

// unreachable: a program learns at once that it gets nowhere, and why.
func (l *lab) unreachable() {
	for _, tt := range []struct{ command, want string }{
		{"ping -c 1 -W 2 -t 1 198.51.100.9", "From 10.0.0.1 icmp_seq=1 Time to live exceeded"},
		{"ping -c 1 -W 2 -t 1 2001:db8:ffff::9", "From fd00::1 icmp_seq=1 Time exceeded: Hop limit"},
		{"ping -c 1 -W 2 10.7.0.1", "From 10.0.0.1 icmp_seq=1 Packet filtered"},
		{"ping -c 1 -W 5 192.0.2.77", "Destination Host Unreachable"},
		{"ping -c 1 -W 5 2001:db8::77", "Destination unreachable: Address unreachable"},
	} {
		if out, err := l.try("a", tt.command); err == nil || !strings.Contains(out, tt.want) {
			l.t.Errorf("%s: %v: %s, want %q", tt.command, err, out, tt.want)
		}
	}
}

// TestHandedOver has the uplink use the interface's own MAC and the address that the
// kernel had: it leaves connections alone that it does not know, for it owns nothing.
func TestHandedOver(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		table := newLabNAT()
		l := newLab(t, labConfig{translator: table, handedOver: true})
		w := l.watch()
		table.publish(8080, netip.AddrPortFrom(ip(3), 80))
		client, server, _ := l.connect("a", "tcp", "198.51.100.9:7000", l.listen("outside", "198.51.100.9:7000"))
		transfer(t, client, server, 1<<20)
		client, server, _ = l.connect("outside", "tcp", "192.0.2.1:8080", l.listen("b", "10.0.0.3:80"))
		transfer(t, client, server, 1<<20)
		said := w.said()
		if len(said) == 0 {
			t.Error("nothing was heard")
		}
		for _, s := range said {
			if strings.HasSuffix(s, "rst") || !strings.Contains(s, "tcp") {
				t.Errorf("the kernel meddled: %s", s)
			}
		}
	})
}

// TestLabPlain is a lab whose packet uplink has no offloads.
func TestLabPlain(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		l := newLab(t, labConfig{translator: newLabNAT(), noOffload: true})
		for _, beyond := range []string{"198.51.100.9:7000", "[2001:db8:ffff::9]:7000"} {
			client, server, _ := l.connect("a", "tcp", beyond, l.listen("outside", beyond))
			transfer(t, client, server, 8<<20)
			transfer(t, server, client, 8<<20)
		}
	})
}

// TestLabNarrow: the outside takes less than endpoints think. TCP finds out by the segment
// size, all else by a message.
func TestLabNarrow(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		l := newLab(t, labConfig{translator: newLabNAT(), mtu: 1400})
		for _, beyond := range []string{"198.51.100.9:7000", "[2001:db8:ffff::9]:7000"} {
			client, server, _ := l.connect("a", "tcp", beyond, l.listen("outside", beyond))
			before := l.ports["a"].Stats().Dropped[frame.TooBig]
			transfer(t, client, server, 4<<20)
			transfer(t, server, client, 4<<20)
			if n := l.ports["a"].Stats().Dropped[frame.TooBig] - before; n != 0 {
				t.Errorf("%s: %d segments were too big", beyond, n)
			}
		}
		for _, tt := range []struct{ command, want string }{
			{"ping -c 2 -i 0.2 -W 2 -M do -s 1400 198.51.100.9", "mtu = 1400"},
			{"ping -c 2 -i 0.2 -W 2 -M do -s 1400 2001:db8:ffff::9", "Packet too big: mtu=1400"},
		} {
			if out, err := l.try("a", tt.command); err == nil || !strings.Contains(out, tt.want) {
				t.Errorf("%s: %v: %s", tt.command, err, out)
			}
		}
		if out, err := l.try("a", "ping -c 1 -W 2 -M do -s 1372 198.51.100.9"); err != nil {
			t.Errorf("what fits: %v: %s", err, out)
		}
	})
}
