package node

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/cnm"
	"weft/internal/nettest"
)

// A neighbourhood is a network beyond the machine's interface u: a namespace with one
// host, 192.0.2.254, which has addresses beyond it too. The machine's kernel is
// 192.0.2.5 there.
type neighbourhood struct {
	t   *testing.T
	pid int
}

func newNeighbourhood(t *testing.T) *neighbourhood {
	t.Helper()
	cmd := exec.Command("unshare", "-n", "sleep", "120") // should nobody end it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	b := &neighbourhood{t, cmd.Process.Pid}
	own, _ := os.Readlink("/proc/self/ns/net")
	within10s(t, "a namespace", func() bool {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", b.pid))
		return err == nil && ns != own
	})
	b.plug()
	b.run("ip link set lo up", "ip addr add 198.51.100.9/32 dev lo", "ip addr add 2001:db8:ffff::9/128 dev lo nodad")
	return b
}

// plug puts the cable in.
func (b *neighbourhood) plug() {
	b.t.Helper()
	ipCommand(b.t, "ip link add u type veth peer name k netns "+fmt.Sprint(b.pid))
	ipCommand(b.t, "ip addr add 192.0.2.5/24 dev u")
	ipCommand(b.t, "ip link set u up")
	// Its link-local address is to be of use at once: without one it looks for nobody.
	b.run("sh -c 'echo 0 > /proc/sys/net/ipv6/conf/k/accept_dad'", "ip link set k up", "ip addr add 192.0.2.254/24 dev k", "ip addr add 2001:db8::fe/64 dev k nodad")
	ipCommand(b.t, "ip route add default via 192.0.2.254")
}

func ipCommand(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// run runs commands out there.
func (b *neighbourhood) run(commands ...string) {
	b.t.Helper()
	for _, c := range commands {
		ipCommand(b.t, fmt.Sprintf("nsenter -n -t %d %s", b.pid, c))
	}
}

// serve answers there as serveHost does.
func (b *neighbourhood) serve(a netip.Addr, text string) (s *hostServer) {
	b.there(func() { s = serveHost(b.t, a, text) })
	return s
}

// called is what its host gets who calls a port, as the function of the same name.
func (b *neighbourhood) called(to, client string) {
	b.t.Helper()
	b.there(func() { called(b.t, netip.Addr{}, netip.MustParseAddrPort(to), client) })
}

// refused wants the host to be refused at once.
func (b *neighbourhood) refused(to string) {
	b.t.Helper()
	b.there(func() {
		if _, err := call(netip.Addr{}, netip.MustParseAddrPort(to)); !errors.Is(err, unix.ECONNREFUSED) {
			b.t.Errorf("%s: %v", to, err)
		}
	})
}

// there runs f on a thread out there: sockets that it opens belong there.
func (b *neighbourhood) there(f func()) {
	b.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", b.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err != nil {
			b.t.Errorf("entering the neighbourhood: %v", err)
			return
		}
		f()
	}()
	<-done
}

// within10s waits until something is so.
func within10s(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}

// packetConfig is a node's, whose way out is u.
func packetConfig(t *testing.T, addrs ...string) Config {
	t.Helper()
	c := overlayConfig(t, 1)
	if len(addrs) == 0 {
		addrs = []string{"192.0.2.7", "2001:db8::7/64"}
	}
	packet("u", addrs, "2001:db8::fe")(&c)
	return c
}

// Sandboxes on a bridge and on weft_gwbridge reach the neighbourhood under the uplink's
// address, by the kernel's routes where no gateway is given; networks that do not lead out
// do not, and the uplink comes back after its interface was away.
func TestPacketUplink(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		b := newNeighbourhood(t)
		watchLeaks(t)
		server, six := b.serve(machineOut4, "four"), b.serve(machineOut6, "six")
		log := new(lockedBuffer)
		c := packetConfig(t)
		c.Log = slog.New(slog.NewTextHandler(log, nil))
		n := openBeside(t, c)
		mustNetwork(t, n, overlayAlone("front", 4101, false))
		mustNetwork(t, n, cnm.Network{Name: "inner", IPAM: pool("10.67.51.0/24"), Internal: true})
		dual := cnm.Network{Name: "dual", EnableIPv4: true, EnableIPv6: true, IPAM: cnm.IPAM{Config: []cnm.Pool{
			{Subnet: netip.MustParsePrefix("10.67.53.0/24")}, {Subnet: netip.MustParsePrefix("fd67:53::/64")}}}}
		if _, _, err := n.NetworkCreate(t.Context(), dual); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ network, v4, v6 string }{
			{"bridge", "four: hello", ""}, {"front", "four: hello", ""}, {"dual", "four: hello", "six: hello"}, {"inner", "", ""},
		} {
			mustRun(t, n, cnm.SandboxSpec{Name: "on-" + c.network, Networks: on(c.network)})
			fetch(t, n, "on-"+c.network, server.addr, c.v4)
			fetch(t, n, "on-"+c.network, six.addr, c.v6)
		}
		if out, code := execute(t, n, "on-dual", "ping", machineOut4.String()); code != 0 {
			t.Errorf("ping: %s", out)
		}
		// Another network of weft's is not reached by the way out.
		fetch(t, n, "on-bridge", netip.AddrPortFrom(addressOn(t, n, "on-dual", "dual"), 1), "")
		if s := statsOf(t, n, "on-bridge:eth0"); s.Drops["stays-inside"] == 0 {
			t.Errorf("drops of what was for another network: %v", s.Drops)
		}
		ipCommand(t, "ip link del u")
		within10s(t, "that the loss is told", func() bool { return strings.Contains(log.String(), "there is no such interface") })
		b.plug()
		within10s(t, "the uplink again", func() bool {
			out, code := execute(t, n, "on-bridge", "ask", server.addr.String(), "hello")
			return code == 0 && strings.HasPrefix(out, "four: hello")
		})
	})
}

var machineOut4, machineOut6 = netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("2001:db8:ffff::9")

// addressOn returns the IPv4 address of a sandbox on a network.
func addressOn(t *testing.T, n *Node, sandbox, network string) netip.Addr {
	t.Helper()
	nw, err := n.Network(network)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range nw.Endpoints {
		if e.Sandbox == sandbox {
			return e.IPv4.Addr()
		}
	}
	t.Fatalf("%s is not on %s", sandbox, network)
	return netip.Addr{}
}

// A lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Published ports are the uplink's own, by which clients come in with their addresses; from
// sandboxes they are reached too. They end with the sandbox, and are there again with a new
// daemon.
func TestPacketPorts(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		b := newNeighbourhood(t)
		watchLeaks(t)
		c := packetConfig(t)
		n := openBeside(t, c)
		mustNetwork(t, n, cnm.Network{Name: "cell", IPAM: pool("10.67.51.0/24"), Internal: true})
		dual := cnm.Network{Name: "dual", EnableIPv4: true, EnableIPv6: true, IPAM: cnm.IPAM{Config: []cnm.Pool{
			{Subnet: netip.MustParsePrefix("10.67.53.0/24")}, {Subnet: netip.MustParsePrefix("fd67:53::/64")}}}}
		if _, _, err := n.NetworkCreate(t.Context(), dual); err != nil {
			t.Fatal(err)
		}
		server := func(name, network string, at uint16, on1 string) error {
			m := cnm.PortMapping{Proto: "tcp", Port: 80, HostPort: at}
			if on1 != "" {
				m.HostIP = netip.MustParseAddr(on1)
			}
			id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: name, Cmd: program("serve", ":80"), Networks: on(network), Ports: []cnm.PortMapping{m}})
			if err != nil {
				return err
			}
			return n.SandboxStart(t.Context(), id)
		}
		for _, s := range []struct {
			name, network string
			at            uint16
			on, ports     string
		}{
			{"rose", "bridge", 8080, "", "0.0.0.0:8080>80/tcp"},
			{"tulip", "dual", 8081, "", "0.0.0.0:8081>80/tcp [::]:8081>80/tcp"},
			{"daisy", "bridge", 8082, "192.0.2.7", "192.0.2.7:8082>80/tcp"},
		} {
			if err := server(s.name, s.network, s.at, s.on); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			if got := strings.Join(portsOf(t, n, s.name), " "); got != s.ports {
				t.Errorf("%s: %s, want %s", s.name, got, s.ports)
			}
			b.called(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), s.at).String(), "192.0.2.254")
		}
		b.called("[2001:db8::7]:8081", "2001:db8::fe")
		b.refused("192.0.2.7:8084")
		b.refused("[2001:db8::7]:8080")
		fetch(t, n, "tulip", netip.MustParseAddrPort("192.0.2.7:8080"), "hello from 192.0.2.7")
		fetch(t, n, "rose", netip.MustParseAddrPort("192.0.2.7:8080"), "hello from 192.0.2.7")
		n.checkFlows(t)
		if err := server("clover", "bridge", 8080, ""); err == nil || !strings.Contains(err.Error(), "by container rose") {
			t.Errorf("a port that rose has: %v", err)
		}
		if err := server("thistle", "bridge", 8085, "192.0.2.5"); err == nil || !strings.Contains(err.Error(), "uplink packet:u has the addresses [192.0.2.7 2001:db8::7]") {
			t.Errorf("the kernel's address: %v", err)
		}
		if err := server("lily", "cell", 8083, ""); err == nil || !strings.Contains(err.Error(), "lily has no default route to answer them by") {
			t.Errorf("who has no default route: %v", err)
		}
		n.tendPorts() // daisy's address is not the kernel's, and not missed
		if faults := n.portChecks(); faults != nil {
			t.Errorf("doctor: %+v", faults)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		n = openBeside(t, c)
		b.called("192.0.2.7:8080", "192.0.2.254")
		if err := n.SandboxRemove(t.Context(), "rose", true); err != nil {
			t.Fatal(err)
		}
		b.refused("192.0.2.7:8080")
	})
}

// checkFlows looks for what TestPacketPorts has made, and ends it.
func (n *Node) checkFlows(t *testing.T) {
	t.Helper()
	flows, err := n.Flows("bridge")
	if err != nil {
		t.Fatal(err)
	}
	in, out := 0, 0
	for _, f := range flows {
		switch {
		case f.Sandbox == "rose" && f.Proto == "tcp" && f.Endpoint.Port() == 80 && f.Published.String() == "192.0.2.7:8080":
			in++
		case f.Sandbox == "rose" && f.Proto == "tcp" && f.Remote.String() == "192.0.2.7:8080":
			out++
		}
	}
	if in == 0 || out == 0 {
		t.Errorf("%d flows into rose and %d out of it: %+v", in, out, flows)
	}
	if s := n.UplinkStats(); len(s) == 0 || s[0].Network != "bridge" || s[0].TCP != len(flows) || len(s[0].Counts) == 0 {
		t.Errorf("%+v", s)
	}
	if count, err := n.FlushFlows("bridge", "rose"); err != nil || count < in+out {
		t.Errorf("%d of %d flows were ended: %v", count, in+out, err)
	}
}

// A node does not start where the kernel would meddle, and says what to do.
func TestPacketUplinkRefused(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		newNeighbourhood(t)
		watchLeaks(t)
		for _, tt := range []struct {
			name   string
			change func(*Config)
			want   string
		}{
			{"the kernel's address", packet("u", []string{"192.0.2.5/24"}), "the kernel has 192.0.2.5 itself on u"},
			{"no such interface", packet("nowhere", []string{"192.0.2.7/24"}), "uplink packet:nowhere: there is no such interface"},
		} {
			c := overlayConfig(t, 1)
			tt.change(&c)
			n, err := Open(t.Context(), c)
			if err == nil {
				n.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			}
			if checks := uplinkChecks(c.Uplink); len(checks) != 1 || checks[0].Status != Fail || !strings.Contains(checks[0].Found, tt.want) {
				t.Errorf("%s: the doctor says %+v", tt.name, checks)
			}
		}
		c := packetConfig(t)
		if checks := uplinkChecks(c.Uplink); len(checks) != 1 || checks[0].Status != OK || !strings.Contains(checks[0].Found, "packets leave under [192.0.2.7 2001:db8::7] from 02:42:c0:00:02:07, frames vnet") {
			t.Errorf("the doctor says %+v", checks)
		}
	})
}

// A TAP that nobody else has open is an uplink too: at its other end is the kernel, which
// routes and masquerades, or whatever has the TAP.
func TestTAPUplink(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		if _, err := os.Stat("/dev/net/tun"); errors.Is(err, os.ErrNotExist) {
			nettest.Skip(t, "no /dev/net/tun")
		}
		watchLeaks(t)
		ipCommand(t, "ip tuntap add dev u mode tap vnet_hdr && ip addr add 192.0.2.254/24 dev u && ip link set u up")
		server := serveHost(t, netip.MustParseAddr("192.0.2.254"), "kernel")
		c := packetConfig(t, "192.0.2.7/24")
		c.Uplink.Gateways = []netip.Addr{netip.MustParseAddr("192.0.2.254")}
		n := openBeside(t, c)
		mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("bridge")})
		fetch(t, n, "rose", server.addr, "kernel: hello")
		if _, err := net.Dial("tcp", "192.0.2.7:9"); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("the kernel dials a port where nobody is: %v", err)
		}
		if _, err := net.InterfaceByName("u"); err != nil {
			t.Errorf("the TAP: %v", err)
		}
	})
}
