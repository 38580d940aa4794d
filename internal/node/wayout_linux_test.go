package node

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/internal/nettest"
)

// The machine of these tests has one address that is not its loopback's, of each family,
// and one that is in a subnet of a network of weft's.
var (
	machine4, machine6 = netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:51::1")
	machineInside      = netip.MustParseAddr("10.67.55.77")
)

// onMachine runs body in a network namespace with these addresses.
func onMachine(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	nettest.Namespaced(t, func(t *testing.T) {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []netip.Addr{machine4, machine6, machineInside} {
			addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}, Flags: 0x02} // IFA_F_NODAD
			if err := netlink.AddrAdd(lo, addr); err != nil {
				t.Fatal(err)
			}
		}
		body(t)
	})
}

// A hostServer answers every line with its text and counts connections.
type hostServer struct {
	net.Listener
	addr netip.AddrPort
}

// serveHost serves in the test's own namespace, which is the host's.
func serveHost(t *testing.T, a netip.Addr, text string) *hostServer {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				if line, err := bufio.NewReader(c).ReadString('\n'); err == nil {
					fmt.Fprintf(c, "%s: %s", text, line)
				}
			}()
		}
	}()
	return &hostServer{l, l.Addr().(*net.TCPAddr).AddrPort()}
}

// fetch has a sandbox ask a server, and wants an answer that begins so; "" wants none.
func fetch(t *testing.T, n *Node, from string, to netip.AddrPort, want string) {
	t.Helper()
	out, code := execute(t, n, from, "ask", to.String(), "hello")
	if got := code == 0; got != (want != "") || got && !strings.HasPrefix(out, want) {
		t.Errorf("%s asks %s: exit %d, %q, want %q", from, to, code, out, want)
	}
}

// Sandboxes on a bridge, on weft_gwbridge and in namespaces of others reach the host's
// world; what is internal, not masqueraded, or without an uplink, does not.
func TestWayOut(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		server, six := serveHost(t, machine4, "host"), serveHost(t, machine6, "six")
		n := overlayNode(t, 1)
		type M = map[string]string
		mustNetwork(t, n, overlayAlone("front", 4101, false))
		mustNetwork(t, n, overlayAlone("secret", 4103, true))
		mustNetwork(t, n, cnm.Network{Name: "inner", IPAM: pool("10.67.51.0/24"), Internal: true})
		mustNetwork(t, n, cnm.Network{Name: "shut", IPAM: pool("10.67.52.0/24"), Options: M{"enable_ip_masquerade": "false"}})
		dual := cnm.Network{Name: "dual", EnableIPv4: true, EnableIPv6: true, IPAM: cnm.IPAM{Config: []cnm.Pool{
			{Subnet: netip.MustParsePrefix("10.67.53.0/24")}, {Subnet: netip.MustParsePrefix("fd67:53::/64")}}}}
		half := cnm.Network{Name: "half", EnableIPv4: true, EnableIPv6: true, Options: M{"gateway_mode_ipv6": "routed"}, IPAM: cnm.IPAM{Config: []cnm.Pool{
			{Subnet: netip.MustParsePrefix("10.67.54.0/24")}, {Subnet: netip.MustParsePrefix("fd67:54::/64")}}}}
		for _, nw := range []cnm.Network{dual, half} {
			if _, _, err := n.NetworkCreate(t.Context(), nw); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			network string
			v4, v6  string
		}{
			{"bridge", "host: hello", ""},
			{"front", "host: hello", ""},
			{"dual", "host: hello", "six: hello"},
			{"half", "host: hello", ""},
			{"inner", "", ""},
			{"secret", "", ""},
			{"shut", "", ""},
		} {
			mustRun(t, n, cnm.SandboxSpec{Name: "on-" + c.network, Networks: on(c.network)})
			fetch(t, n, "on-"+c.network, server.addr, c.v4)
			fetch(t, n, "on-"+c.network, six.addr, c.v6)
		}
		// What a sandbox sends out all the same is dropped, and named.
		if s := statsOf(t, n, "on-shut:eth0"); s.Drops["no-route"] == 0 {
			t.Errorf("drops of what is not masqueraded: %v", s.Drops)
		}
		if out, code := execute(t, n, "on-shut", "ping", machine4.String()); code == 0 {
			t.Errorf("ping: %s", out)
		}
		for _, name := range []string{"inner", "secret", "shut", "front"} {
			nw, _ := n.Network(name)
			if key := exitKey(nw.ID); n.path.ports[key] != nil {
				t.Errorf("%s has an exit", name)
			}
		}
		// An overlay's own gateway leads nowhere, whatever the sandbox sets up.
		before := statsOf(t, n, "on-secret:eth0").Drops["no-route"]
		execute(t, n, "on-secret", "route", "10.67.3.1", "eth0")
		fetch(t, n, "on-secret", server.addr, "")
		if after := statsOf(t, n, "on-secret:eth0").Drops["no-route"]; after == before {
			t.Error("what an internal overlay's gateway got was not dropped as no-route")
		}
	})
}

func statsOf(t *testing.T, n *Node, port string) PortStats {
	t.Helper()
	for _, s := range n.Stats() {
		if s.Port == port {
			return s
		}
	}
	t.Fatalf("no port %s", port)
	return PortStats{}
}

// The host's loopback is there only when asked for, by the gateway's address; what is
// weft's own never leaves.
func TestWayOutLoopback(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		lo, inside := serveHost(t, loopback(1), "loopback"), serveHost(t, machineInside, "inside")
		for _, allowed := range []bool{false, true} {
			c := overlayConfig(t, 1)
			c.HostLoopback = allowed
			n := openBeside(t, c)
			mustNetwork(t, n, cnm.Network{Name: "yard", IPAM: pool("10.67.50.0/24")})
			mustNetwork(t, n, cnm.Network{Name: "other", IPAM: pool("10.67.55.0/24")})
			mustNetwork(t, n, overlayAlone("front", 4101, false))
			mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("yard")})
			mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("front")})
			other := mustRun(t, n, cnm.SandboxSpec{Name: "aster", Cmd: program("serve", ":7000"), Networks: on("other")})
			want := ""
			if allowed {
				want = "loopback: hello"
			}
			gw, _ := n.Network(cnm.NetGwbridge)
			for _, at := range []struct {
				from string
				gw   netip.Addr
				want string
			}{
				{"rose", netip.MustParseAddr("10.67.50.1"), want},
				{"tulip", gw.IPAM.Config[0].Gateway, want},
				{"rose", netip.MustParseAddr("10.67.55.1"), ""}, // another network's gateway
			} {
				fetch(t, n, at.from, netip.AddrPortFrom(at.gw, lo.addr.Port()), at.want)
			}
			reach(t, n, "rose", addr4(other, "other"), false)
			fetch(t, n, "rose", inside.addr, "")
			if err := errors.Join(n.SandboxRemove(t.Context(), "aster", true), n.NetworkRemove(t.Context(), "other")); err != nil {
				t.Fatal(err)
			}
			fetch(t, n, "rose", inside.addr, "inside: hello") // nobody's any more
			for _, name := range []string{"rose", "tulip"} {
				if err := n.SandboxRemove(t.Context(), name, true); err != nil {
					t.Fatal(err)
				}
			}
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Exits come and go with endpoints, also of a network that is in use; flows of a
// sandbox that goes end, those of others do not.
func TestWayOutLife(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		server := serveHost(t, machine4, "host")
		c := overlayConfig(t, 1)
		n := openBeside(t, c)
		id := mustNetwork(t, n, cnm.Network{Name: "yard", IPAM: pool("10.67.50.0/24")})
		if got := exitCount(n); got != 0 {
			t.Errorf("%d exits of networks without endpoints", got)
		}
		mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("yard")})
		mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("yard")})
		if got := exitCount(n); got != 1 {
			t.Errorf("%d exits, want 1", got)
		}
		// A flow stands while other endpoints come and go.
		conn := holdOpen(t, n, "tulip", machine4)
		if err := n.SandboxRemove(t.Context(), "rose", true); err != nil {
			t.Fatal(err)
		}
		mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("yard")})
		if err := conn.echo("still there"); err != nil {
			t.Errorf("a flow beside endpoints that come and go: %v", err)
		}
		fetch(t, n, "rose", server.addr, "host: hello")
		// A flow ends when its address is nobody's any more, though its process says nothing.
		left := holdOpen(t, n, "rose", machine4)
		if err := left.echo("here"); err != nil { // both ends have it
			t.Fatal(err)
		}
		mustDisconnect(t, n, "yard", "rose")
		if err := left.gone(); err != nil {
			t.Errorf("a flow of who has left: %v", err)
		}
		mustConnect(t, n, "yard", "rose")
		fetch(t, n, "rose", server.addr, "host: hello")
		// The daemon restarts: flows end with it, new ones are carried.
		n = again(t, n, c)
		if err := conn.gone(); err != nil {
			t.Errorf("a flow of the daemon before: %v", err)
		}
		fetch(t, n, "rose", server.addr, "host: hello")
		for _, name := range []string{"rose", "tulip"} {
			if err := n.SandboxRemove(t.Context(), name, true); err != nil {
				t.Fatal(err)
			}
		}
		if got := exitCount(n); got != 0 {
			t.Errorf("%d exits after the last endpoint, want 0", got)
		}
		if err := n.NetworkRemove(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
}

// exitCount is how many networks have an exit now.
func exitCount(n *Node) (count int) {
	n.path.mu.Lock()
	defer n.path.mu.Unlock()
	for _, lp := range n.path.ports {
		if lp.exit != nil {
			count++
		}
	}
	return count
}

// A held is the host's end of a connection that a sandbox has made.
type held struct {
	net.Conn
	in *bufio.Reader
}

// holdOpen has a sandbox connect to the host and answer each line.
func holdOpen(t *testing.T, n *Node, name string, a netip.Addr) *held {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	id, err := n.ExecCreate(t.Context(), name, ExecSpec{Cmd: program("echoes", l.Addr().String())})
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.ExecStart(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &held{c, bufio.NewReader(c)}
}

func (h *held) echo(line string) error {
	h.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintln(h, line)
	got, err := h.in.ReadString('\n')
	if err == nil && got != line+"\n" {
		err = fmt.Errorf("%q came back", got)
	}
	return err
}

// gone wants the other end to be gone, sooner than the uplink looks for itself.
func (h *held) gone() error {
	h.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := h.in.ReadByte(); err == nil {
		return fmt.Errorf("a byte came")
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return err
	}
	return nil
}

// echoes connects and sends back what comes.
func echoes(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(c, c)
	return err
}

// defaultBy sets the default route by hand, from inside.
func defaultBy(gw, ifName string) error {
	link, err := netlink.LinkByName(ifName)
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gw)})
}

// A brokenExit is an exit whose queue has failed.
type brokenExit struct {
	exit
	event  *os.File // can always be read
	closed chan struct{}
}

func (b *brokenExit) FD() int                                { return int(b.event.Fd()) }
func (b *brokenExit) ReadBatch(*frame.Batch) (int, error)    { return 0, os.ErrClosed }
func (b *brokenExit) WriteBatch([]*frame.Frame) (int, error) { return 0, os.ErrClosed }
func (b *brokenExit) Close() error                           { close(b.closed); return b.event.Close() }

// An exit that cannot be opened, or fails, keeps nobody from starting, is told of by the
// doctor, and is tried again.
func TestExitFaults(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "yard", IPAM: pool("10.67.50.0/24")})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "x")
	defer w.Close()
	broken := &brokenExit{event: r, closed: make(chan struct{})}
	open := n.path.openExit
	n.path.mu.Lock()
	tries := 0
	n.path.openExit = func(c exitConfig) (exit, error) {
		switch tries++; {
		case tries <= 1:
			return nil, errors.New("too many open files")
		case tries == 2:
			return broken, nil
		}
		return open(c)
	}
	n.path.mu.Unlock()
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("yard")})
	said := func() bool {
		for _, c := range n.Doctor() {
			if c.Status == Fail && strings.Contains(c.Found, "the way out of network yard: too many open files") {
				return true
			}
		}
		return false
	}
	if !said() {
		t.Errorf("the doctor does not tell: %+v", n.Doctor())
	}
	select {
	case <-broken.closed:
	case <-time.After(10 * time.Second):
		t.Fatal("a queue that failed is kept")
	}
	inTime(t, "the exit works", func() bool {
		n.path.mu.Lock()
		defer n.path.mu.Unlock()
		return tries == 3 && len(n.path.faults) == 0 && len(n.path.ports) == 2
	})
	if said() {
		t.Errorf("the doctor tells of what was mended: %+v", n.Doctor())
	}
}
