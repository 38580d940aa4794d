//go:build linux

package sandbox

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The sockets at 127.0.0.11 are the same each time they are asked for, and what was sent
// while nobody had them is there.
func testNames(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	startIdle(t, a)
	pc, l, err := a.Names(ctx)
	if err != nil {
		t.Fatal(err)
	}
	pc.Close()
	l.Close()
	inside(t, a, "exec bash -c 'exec 3>/dev/udp/127.0.0.11/53; echo -n lost >&3; exec 4<>/dev/tcp/127.0.0.11/53; echo -n stream >&4'")
	b, err := Connect(ctx, a.path) // as another daemon does
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if pc, l, err = b.Names(ctx); err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	defer l.Close()
	buf := make([]byte, 100)
	pc.SetDeadline(time.Now().Add(5 * time.Second))
	n, from, err := pc.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "lost" || !strings.HasPrefix(from.String(), "127.0.0.1:") {
		t.Errorf("%q from %v: %v", buf[:n], from, err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := io.ReadAll(c); string(got) != "stream" {
		t.Errorf("%q, %v", got, err)
	}
}

// A server of the sandbox's own may have port 53 of all addresses; what is for 127.0.0.11
// comes here all the same.
func testNamesBeside(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	startIdle(t, a)
	pc, l, err := a.Names(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	defer l.Close()
	inside(t, a, `/usr/bin/python3 -c '
import socket
for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
    s = socket.socket(socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", 53))
    if kind == socket.SOCK_STREAM: s.listen()
    c = socket.socket(socket.AF_INET, kind)
    c.connect(("127.0.0.11", 53))
    c.send(b"ours")
    c.close()
'`)
	buf := make([]byte, 100)
	pc.SetDeadline(time.Now().Add(5 * time.Second))
	if n, _, err := pc.ReadFrom(buf); err != nil || string(buf[:n]) != "ours" {
		t.Errorf("%q: %v", buf[:n], err)
	}
	l.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// A connection that is dialled from inside is one of the sandbox's loopback, not of the
// host's. What cannot be reached is an error, and soon.
func testDial(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	startIdle(t, a)
	pc, l, err := a.Names(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	defer l.Close()
	for _, network := range []string{"udp", "tcp"} {
		c, err := a.Dial(ctx, network, "127.0.0.11:53")
		if err != nil {
			t.Fatalf("%s: %v", network, err)
		}
		io.WriteString(c, "hello")
		buf := make([]byte, 100)
		var n int
		if network == "udp" {
			pc.SetDeadline(time.Now().Add(5 * time.Second))
			n, _, err = pc.ReadFrom(buf)
		} else if s, aerr := l.Accept(); aerr == nil {
			n, err = s.Read(buf)
			s.Close()
		} else {
			err = aerr
		}
		if err != nil || string(buf[:n]) != "hello" {
			t.Errorf("%s: %q, %v", network, buf[:n], err)
		}
		c.Close()
	}
	for _, bad := range [][2]string{{"udp", "localhost:53"}, {"unix", "127.0.0.1:53"}, {"tcp", "192.0.2.1:53"}, {"udp", "192.0.2.1:53"}, {"tcp", "127.0.0.1:9"}} {
		if c, err := a.Dial(ctx, bad[0], bad[1]); err == nil {
			c.Close()
			t.Errorf("%v: no error", bad)
		}
	}
	// A peer that does not answer: the client's patience counts, then the agent's. The
	// agent goes on with others meanwhile.
	d, err := a.AddInterface(ctx, Interface{MAC: testMAC, MTU: 1500, Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24")}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if c, err := a.Dial(short, "tcp", "10.1.0.9:53"); err == nil || time.Since(begun) > 3*time.Second {
		t.Errorf("%v, %v after %v", c, err, time.Since(begun))
	}
	if _, err := a.State(ctx); err != nil {
		t.Error(err)
	}
}
