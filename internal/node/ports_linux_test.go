package node

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
)

// call asks a published port, from an address of the host's, and returns the answer.
func call(from netip.Addr, to netip.AddrPort) (string, error) {
	d := net.Dialer{Timeout: 2 * time.Second}
	if from.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
	}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(3 * time.Second))
	fmt.Fprintln(c, "hello")
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// called wants a published port to be answered by somebody who sees this client.
func called(t *testing.T, from netip.Addr, to netip.AddrPort, client string) {
	t.Helper()
	var got string
	var err error
	for range 50 { // the server may have yet to listen
		if got, err = call(from, to); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if want := "hello from " + client; err != nil || got != want {
		t.Errorf("%s calls %s: %q, %v, want %q", from, to, got, err, want)
	}
}

func notCalled(t *testing.T, to netip.AddrPort) {
	t.Helper()
	if got, err := call(netip.Addr{}, to); err == nil {
		t.Errorf("%s answers %q", to, got)
	}
}

func portsOf(t *testing.T, n *Node, ref string) (out []string) {
	t.Helper()
	for _, p := range mustFind(t, n, ref).Ports {
		out = append(out, fmt.Sprintf("%s>%d/%s", p.Host, p.Port, p.Proto))
	}
	return out
}

var home4, home6 = netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()

// Published ports are reached from the host, where they were asked for; who calls is
// seen by the address he has, or as the gateway.
func TestPorts(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		c := testConfig(t)
		n := openBeside(t, c)
		mustNetwork(t, n, cnm.Network{Name: "yard", IPAM: pool("10.67.50.0/24"), Options: map[string]string{"host_binding_ipv4": "127.0.0.3"}})
		mustNetwork(t, n, cnm.Network{Name: "cell", IPAM: pool("10.67.51.0/24"), Internal: true})
		server := func(name, network string, ports ...cnm.PortMapping) cnm.Sandbox {
			return mustRun(t, n, cnm.SandboxSpec{Name: name, Cmd: program("serve", ":80"), Networks: on(network), Ports: ports})
		}
		port := cnm.PortMapping{Proto: "tcp", Port: 80}
		open, fixed, ranged, narrow := port, port, port, port
		fixed.HostPort, narrow.HostPort, narrow.HostIP = 8080, 8081, home4
		ranged.HostPort, ranged.HostPortEnd = 8080, 8083
		gw := netip.MustParseAddr("172.17.0.1")

		server("rose", "bridge", fixed, narrow)
		if got := portsOf(t, n, "rose"); !slices.Equal(got, []string{"0.0.0.0:8080>80/tcp", "127.0.0.1:8081>80/tcp", "[::]:8080>80/tcp"}) {
			t.Errorf("rose: %v", got)
		}
		called(t, machine4, netip.AddrPortFrom(machine4, 8080), machine4.String())
		called(t, home4, netip.AddrPortFrom(home4, 8080), gw.String())
		called(t, machine6, netip.AddrPortFrom(machine6, 8080), gw.String()) // its network has no IPv6
		called(t, home4, netip.AddrPortFrom(home4, 8081), gw.String())
		notCalled(t, netip.AddrPortFrom(machine4, 8081))

		// The first of a range that nobody has on any of the addresses.
		server("tulip", "bridge", ranged, open)
		got := portsOf(t, n, "tulip")
		if len(got) != 4 || !slices.Contains(got, "0.0.0.0:8082>80/tcp") || !slices.Contains(got, "[::]:8082>80/tcp") {
			t.Errorf("tulip: %v", got)
		}
		for _, p := range mustFind(t, n, "tulip").Ports {
			to := home4
			if p.Host.Addr().Is6() {
				to = home6
			}
			called(t, netip.Addr{}, netip.AddrPortFrom(to, p.Host.Port()), gw.String())
		}
		// Where the network says.
		server("daisy", "yard", open)
		at := mustFind(t, n, "daisy").Ports[0].Host
		if at.Addr() != netip.MustParseAddr("127.0.0.3") || at.Port() < 1024 {
			t.Errorf("daisy: %s", at)
		}
		called(t, home4, at, "10.67.50.1")
		// A sandbox that has internal networks alone is reached, and reaches nobody.
		fixed.HostPort = 8090
		lily := server("lily", "cell", fixed)
		called(t, machine4, netip.AddrPortFrom(machine4, 8090), wayOut(lily.Endpoints).IPv4.Masked().Addr().Next().String())
		host := serveHost(t, machine4, "host")
		fetch(t, n, "lily", host.addr, "")
		execute(t, n, "lily", "route", wayOut(lily.Endpoints).IPv4.Masked().Addr().Next().String(), "eth1")
		fetch(t, n, "lily", host.addr, "")

		checkFlows(t, n)
		for _, name := range []string{"rose", "tulip", "daisy", "lily"} {
			if err := n.SandboxRemove(t.Context(), name, true); err != nil {
				t.Fatal(err)
			}
		}
		notCalled(t, netip.AddrPortFrom(home4, 8080))
	})
}

// A port that somebody has is refused, with his name; and then none is taken.
func TestPortConflicts(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		n := openBeside(t, testConfig(t))
		taken, err := net.Listen("tcp", "127.0.0.1:8085")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		port := func(ip string, number uint16) cnm.PortMapping {
			m := cnm.PortMapping{Proto: "tcp", Port: 80, HostPort: number}
			m.HostIP, _ = netip.ParseAddr(ip)
			return m
		}
		mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("bridge"), Ports: []cnm.PortMapping{port("", 8080)}})
		for _, c := range []struct {
			name string
			last cnm.PortMapping
			want string
		}{
			{"another sandbox", port("", 8080), "Bind for 0.0.0.0:8080 failed: port is already allocated, by container rose"},
			{"another sandbox, at one address", port("127.0.0.2", 8080), "Bind for 127.0.0.2:8080 failed: port is already allocated, by container rose"},
			{"another program", port("127.0.0.1", 8085), "something else on this host has tcp port 127.0.0.1:8085"},
			{"another program, at all addresses", port("", 8085), "something else on this host has tcp port 0.0.0.0:8085"},
			{"an address nobody has", port("192.0.2.9", 8086), "no interface of this host has address 192.0.2.9"},
			{"twice", port("127.0.0.1", 8081), "port is already allocated, by container tulip"},
		} {
			id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "tulip", Networks: on("bridge"), Cmd: program("sleep"), Ports: []cnm.PortMapping{port("", 8081), c.last}})
			if err != nil {
				t.Fatal(err)
			}
			err = n.SandboxStart(t.Context(), id)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
			if sb := mustFind(t, n, id); sb.State == cnm.Running || sb.Ports != nil {
				t.Errorf("%s: %s, %v", c.name, sb.State, sb.Ports)
			}
			notCalled(t, netip.AddrPortFrom(home4, 8081))
			if err := n.SandboxRemove(t.Context(), id, true); err != nil {
				t.Fatal(err)
			}
		}
		n.portOp.Lock()
		if len(n.listeners) != 2 {
			t.Errorf("%d listeners, want rose's two", len(n.listeners))
		}
		n.portOp.Unlock()
	})
}

// Published ports outlive the daemon, the network they lead by, and a listener's end.
func TestPortsLife(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		c := testConfig(t)
		n := openBeside(t, c)
		mustNetwork(t, n, cnm.Network{Name: "a", IPAM: pool("10.67.50.0/24")})
		mustNetwork(t, n, cnm.Network{Name: "z", IPAM: pool("10.67.51.0/24")})
		mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":80"), Networks: on("z"), Ports: []cnm.PortMapping{{Proto: "tcp", Port: 80, HostIP: home4}}})
		at := mustFind(t, n, "rose").Ports[0].Host
		called(t, home4, at, "10.67.51.1")
		// Its default route, and with it its way in, is by another network now, and back.
		if err := n.NetworkConnect(t.Context(), "a", "rose", cnm.EndpointConfig{}); err != nil {
			t.Fatal(err)
		}
		called(t, home4, at, "10.67.50.1")
		if err := n.NetworkDisconnect(t.Context(), "a", "rose", false); err != nil {
			t.Fatal(err)
		}
		called(t, home4, at, "10.67.51.1")
		// What a new daemon finds in the journal.
		n = again(t, n, c)
		if got := mustFind(t, n, "rose").Ports; len(got) != 1 || got[0].Host != at {
			t.Errorf("after a restart: %v, want %s", got, at)
		}
		called(t, home4, at, "10.67.51.1")
		// An exit that was opened anew has no listeners yet.
		nw, _ := n.Network("z")
		n.path.mu.Lock()
		n.path.removePort(nw.ID, exitKey(nw.ID))
		n.path.mu.Unlock()
		n.publish("")
		called(t, home4, at, "10.67.51.1")
		// A listener whose address somebody else has meanwhile comes when it can.
		n.portOp.Lock()
		for _, l := range n.listeners {
			l.Close()
		}
		clear(n.listeners)
		taken, err := net.Listen("tcp", at.String())
		n.portOp.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		n.portOp.Lock()
		n.tendPortsLocked()
		if len(n.portFaults) != 1 {
			t.Errorf("faults: %v", n.portFaults)
		}
		n.portOp.Unlock()
		taken.Close()
		inTime(t, "it listens again", func() bool { _, err := call(home4, at); return err == nil })
		if err := n.SandboxStop(t.Context(), "rose", "", new(time.Duration)); err != nil {
			t.Fatal(err)
		}
		notCalled(t, at)
		if got := mustFind(t, n, "rose").Ports; got != nil {
			t.Errorf("of a stopped one: %v", got)
		}
	})
}
