package node

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
)

// servePackets answers every datagram with the client's address.
func servePackets(addr string) error {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	b := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		fmt.Println(from)
		c.WriteTo(fmt.Appendf(nil, "%s from %s", b[:n], from), from)
	}
}

// A caller is a client's socket, which is the same for all it sends.
type caller struct{ net.Conn }

func callBy(t *testing.T, from netip.Addr, to netip.AddrPort) *caller {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: from.AsSlice()}}
	c, err := d.Dial("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &caller{c}
}

// answer sends and returns what is answered, by the address that was called: the socket
// takes nothing else.
func (c *caller) answer(wait time.Duration) string {
	b := make([]byte, 1500)
	for until := time.Now().Add(wait); time.Now().Before(until); {
		c.SetDeadline(time.Now().Add(100 * time.Millisecond))
		c.Write([]byte("hello")) // a refusal of the last one is no news
		if n, err := c.Read(b); err == nil {
			return string(b[:n])
		}
	}
	return ""
}

// called wants an answer that says who called.
func (c *caller) called(t *testing.T, by netip.AddrPort) {
	t.Helper()
	if got, want := c.answer(3*time.Second), "hello from "+by.String(); got != want {
		t.Errorf("%s calls %s: %q, want %q", c.LocalAddr(), c.RemoteAddr(), got, want)
	}
}

// at is an address with the port of the client.
func (c *caller) at(a netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(a, c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
}

// dual is a bridge network of both families.
func dual(name string, third byte) cnm.Network {
	return cnm.Network{Name: name, EnableIPv4: true, EnableIPv6: true, IPAM: cnm.IPAM{Config: []cnm.Pool{
		{Subnet: netip.MustParsePrefix(fmt.Sprintf("10.67.%d.0/24", third))}, {Subnet: netip.MustParsePrefix(fmt.Sprintf("fd67:%d::/64", third))}}}}
}

// Published datagram ports are reached on every address of the host's, in both families;
// the sandbox sees who calls, and the answer comes from where he called.
func TestPortsUDP(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		c := testConfig(t)
		n := openBeside(t, c)
		mustNetwork(t, n, dual("dual", 52))
		mustNetwork(t, n, cnm.Network{Name: "a", IPAM: pool("10.67.50.0/24")})
		server := func(name, network string, m cnm.PortMapping) {
			m.Proto, m.Port = "udp", 53
			mustRun(t, n, cnm.SandboxSpec{Name: name, Cmd: program("packets", ":53"), Networks: on(network), Ports: []cnm.PortMapping{m}})
		}
		server("rose", "dual", cnm.PortMapping{HostPort: 5353})
		server("tulip", "bridge", cnm.PortMapping{HostPort: 5354, HostIP: home4})
		if got := portsOf(t, n, "rose"); !slices.Equal(got, []string{"0.0.0.0:5353>53/udp", "[::]:5353>53/udp"}) {
			t.Errorf("rose: %v", got)
		}
		gw4, gw6, other := netip.MustParseAddr("10.67.52.1"), netip.MustParseAddr("fd67:52::1"), netip.MustParseAddr("127.0.0.9")
		far4, far6 := callBy(t, machine4, netip.AddrPortFrom(machine4, 5353)), callBy(t, machine6, netip.AddrPortFrom(machine6, 5353))
		near, near6 := callBy(t, other, netip.AddrPortFrom(other, 5353)), callBy(t, home6, netip.AddrPortFrom(home6, 5353))
		own := callBy(t, home4, netip.AddrPortFrom(home4, 5354))
		far4.called(t, far4.at(machine4))
		far6.called(t, far6.at(machine6))
		near.called(t, near.at(gw4))
		near6.called(t, near6.at(gw6))
		own.called(t, own.at(netip.MustParseAddr("172.17.0.1")))

		// The way in moves: the same socket of the client's leads to it at once.
		mustConnect(t, n, "a", "tulip")
		own.called(t, own.at(netip.MustParseAddr("10.67.50.1")))
		mustDisconnect(t, n, "bridge", "tulip")
		own.called(t, own.at(netip.MustParseAddr("10.67.50.1")))
		// A new daemon has the same ports.
		n = again(t, n, c)
		far4.called(t, far4.at(machine4))
		near6.called(t, near6.at(gw6))
		own.called(t, own.at(netip.MustParseAddr("10.67.50.1")))
		// A sandbox that stops gives its port away, to whoever starts next.
		if err := n.SandboxStop(t.Context(), "tulip", "", new(time.Duration)); err != nil {
			t.Fatal(err)
		}
		if got := own.answer(300 * time.Millisecond); got != "" {
			t.Errorf("a stopped one answers %q", got)
		}
		server("daisy", "a", cnm.PortMapping{HostPort: 5354})
		own.called(t, own.at(netip.MustParseAddr("10.67.50.1")))
		if err := n.SandboxStart(t.Context(), "tulip"); err == nil || !strings.Contains(err.Error(), "by container daisy") {
			t.Errorf("a second start: %v", err)
		}
	})
}

// A namespace made by somebody else publishes as well, and gives up its ports when it is
// detached or vanishes.
func TestPortsForeign(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		c := testConfig(t)
		n := openBeside(t, c)
		port := netip.AddrPortFrom(machine4, 8080)
		attach := func() {
			p := strange(t, "serve", ":80")
			spec := cnm.SandboxSpec{Name: "stranger", Networks: on("bridge"), Foreign: &cnm.Foreign{PID: p.Process.Pid}, Ports: []cnm.PortMapping{{Proto: "tcp", Port: 80, HostPort: 8080}}}
			if _, err := n.AttachForeign(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			called(t, machine4, port, machine4.String())
		}
		attach()
		n = again(t, n, c)
		called(t, machine4, port, machine4.String())
		if err := n.Detach(t.Context(), "stranger"); err != nil {
			t.Fatal(err)
		}
		notCalled(t, port)
		attach()
	})
}
