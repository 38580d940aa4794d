package node

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/internal/cnm"
)

// What is exposed is published with -P, each on a port of its own, of both protocols.
func TestPortsPublishAll(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		n := openBeside(t, testConfig(t))
		mustNetwork(t, n, cnm.Network{Name: "cell", IPAM: pool("10.67.51.0/24"), Internal: true})
		sb := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":80"), Networks: on("cell"), PublishAll: true, Expose: []string{"80/tcp", "53/udp"},
			Ports: []cnm.PortMapping{{Proto: "tcp", Port: 443, HostPort: 8443, HostIP: home4}}})
		got := map[string]uint16{}
		for _, p := range sb.Ports {
			got[fmt.Sprintf("%d/%s at %s", p.Port, p.Proto, p.Host.Addr())] = p.Host.Port()
		}
		if len(got) != 5 || got["443/tcp at 127.0.0.1"] != 8443 || got["80/tcp at ::"] != got["80/tcp at 0.0.0.0"] || got["53/udp at ::"] != got["53/udp at 0.0.0.0"] {
			t.Errorf("%v", got)
		}
		called(t, machine4, netip.AddrPortFrom(machine4, got["80/tcp at 0.0.0.0"]), "172.18.0.1") // on an internal network clients are the gateway
	})
}

// A sandbox on an overlay is reached by its way out, and sees who calls; on an internal
// one it is reached, too.
func TestPortsOverlay(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		n := overlayNode(t, 1)
		mustNetwork(t, n, overlayAlone("front", 4101, false))
		mustNetwork(t, n, overlayAlone("secret", 4103, true))
		for i, c := range []struct{ network, places, seen string }{
			{"front", "eth0=front eth1=weft_gwbridge! by eth1", machine4.String()},
			{"secret", "eth0=secret eth1=weft_gwbridge!", "172.18.0.1"},
		} {
			port := cnm.PortMapping{Proto: "tcp", Port: 80, HostIP: machine4, HostPort: 8080 + uint16(i)}
			mustRun(t, n, cnm.SandboxSpec{Name: c.network, Cmd: program("serve", ":80"), Networks: on(c.network), Ports: []cnm.PortMapping{port}})
			wantPlaces(t, n, c.network, "at the start", c.places)
			called(t, machine4, netip.AddrPortFrom(machine4, port.HostPort), c.seen)
		}
	})
}

// On no network at all a sandbox has no ports; a connect that cannot give it all of them
// fails.
func TestPortsNoNetwork(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		c := testConfig(t)
		n := openBeside(t, c)
		spec := cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":80"), Networks: on("bridge"), Ports: []cnm.PortMapping{{Proto: "tcp", Port: 80, HostPort: 8080, HostIP: machine4}}}
		id, _, err := n.SandboxCreate(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		at := netip.AddrPortFrom(machine4, 8080)
		none := func(when string) {
			t.Helper()
			notCalled(t, at)
			if sb := mustFind(t, n, id); sb.State != cnm.Running || len(sb.Ports) != 0 || len(sb.Endpoints) != 0 {
				t.Errorf("%s: %s with %v on %v", when, sb.State, sb.Ports, sb.Endpoints)
			}
		}
		mustDisconnect(t, n, "bridge", id)
		if err := n.SandboxStart(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		none("at the start")
		taken, err := net.Listen("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		if err := n.NetworkConnect(t.Context(), "bridge", id, cnm.EndpointConfig{}); err == nil || !strings.Contains(err.Error(), "something else on this host has tcp port 198.51.100.1:8080") {
			t.Errorf("connect: %v", err)
		}
		taken.Close()
		none("after a connect that failed")
		mustConnect(t, n, "bridge", id)
		called(t, machine4, at, machine4.String())
		n = again(t, n, c)
		called(t, machine4, at, machine4.String())
		mustDisconnect(t, n, "bridge", id)
		none("disconnected")
		n = again(t, n, c)
		none("after a restart")
		mustConnect(t, n, "bridge", id)
		called(t, machine4, at, machine4.String())
	})
}

// A network that is not masqueraded leads nobody out, and published ports in by
// weft_gwbridge all the same.
func TestPortsNotMasqueraded(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		n := openBeside(t, testConfig(t))
		mustNetwork(t, n, cnm.Network{Name: "shut", IPAM: pool("10.67.52.0/24"), Options: map[string]string{"enable_ip_masquerade": "false"}})
		port := cnm.PortMapping{Proto: "tcp", Port: 80, HostPort: 8080}
		mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":80"), Networks: on("shut"), Ports: []cnm.PortMapping{port}})
		wantPlaces(t, n, "rose", "at the start", "eth0=shut eth1=weft_gwbridge! by eth0")
		at := netip.AddrPortFrom(machine4, 8080)
		called(t, machine4, at, "172.18.0.1")
		fetch(t, n, "rose", serveHost(t, machine4, "host").addr, "")
		// A network that leads out takes its place, and gives it back.
		mustConnect(t, n, "bridge", "rose")
		wantPlaces(t, n, "rose", "connected", "eth0=shut eth2=bridge by eth2")
		called(t, machine4, at, machine4.String())
		mustDisconnect(t, n, "bridge", "rose")
		wantPlaces(t, n, "rose", "disconnected", "eth0=shut eth1=weft_gwbridge! by eth0")
		called(t, machine4, at, "172.18.0.1")
	})
}

// An address that a port listens on goes away and comes back: doctor tells of it
// meanwhile, and the port is there again with it.
func TestPortsAddressLost(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		c := testConfig(t)
		n := openBeside(t, c)
		port := cnm.PortMapping{Proto: "tcp", Port: 80, HostPort: 8080, HostIP: machine4}
		mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":80"), Networks: on("bridge"), Ports: []cnm.PortMapping{port}})
		at := netip.AddrPortFrom(machine4, 8080)
		called(t, machine4, at, machine4.String())
		told := func() (out string) {
			for _, c := range n.Doctor() {
				if strings.HasPrefix(c.Name, "published port ") {
					out += c.Name + ": " + c.Found
				}
			}
			return out
		}
		if got := told(); got != "" {
			t.Errorf("doctor: %s", got)
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: machine4.AsSlice(), Mask: net.CIDRMask(32, 32)}}
		if err := netlink.AddrDel(lo, addr); err != nil {
			t.Fatal(err)
		}
		inTime(t, "doctor tells of it", func() bool {
			return told() == "published port 198.51.100.1:8080/tcp: no interface of this host has address 198.51.100.1 any more"
		})
		n = again(t, n, c) // which cannot listen at all
		inTime(t, "doctor tells of it again", func() bool { return strings.Contains(told(), "no interface of this host has address 198.51.100.1") })
		if err := netlink.AddrAdd(lo, addr); err != nil {
			t.Fatal(err)
		}
		inTime(t, "it is reached again", func() bool { _, err := call(machine4, at); return err == nil && told() == "" })
	})
}

// What a sandbox got is written down before it runs: a daemon that dies in between
// leaves it to the next one.
func TestPortsWrittenDown(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		c := testConfig(t)
		n := openBeside(t, c)
		mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":80"), Networks: on("bridge")})
		b, _ := n.findBox("rose")
		b.op.Lock()
		n.mu.Lock()
		b.sb.Spec.Ports = []cnm.PortMapping{{Proto: "tcp", Port: 80, HostIP: home4}}
		n.mu.Unlock()
		err := n.openPorts(b)
		b.op.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		before := portsOf(t, n, "rose")
		n = again(t, n, c)
		if got := portsOf(t, n, "rose"); len(got) != 1 || !slices.Equal(got, before) {
			t.Errorf("%v, had %v", got, before)
		}
		called(t, home4, mustFind(t, n, "rose").Ports[0].Host, "172.17.0.1")
	})
}

// Published ports leave descriptors to all else.
func TestPortsTooMany(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		n := openBeside(t, testConfig(t))
		if n.maxListeners == 0 {
			t.Error("no bound of this host's")
		}
		n.maxListeners = 5
		mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("sleep"), Networks: on("bridge"), Ports: []cnm.PortMapping{{Proto: "tcp", Port: 80}}})
		id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: "tulip", Cmd: program("sleep"), Networks: on("bridge"), PublishAll: true, Expose: []string{"80/tcp", "81/tcp"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.SandboxStart(t.Context(), id); err == nil || !strings.Contains(err.Error(), "tulip publishes 2 ports, which takes 4 listeners; 2 are open, and the daemon has 5 at most") {
			t.Errorf("start: %v", err)
		}
		n.maxListeners = 6
		if err := n.SandboxStart(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
}

// Many start at once: each port of a range goes to one of them, random ones are all
// different, and who finds no port left is refused and leaves nothing.
func TestPortsAtOnce(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		n := openBeside(t, testConfig(t))
		const many, room = 8, 5
		var mu sync.Mutex
		var failed []string
		var wg sync.WaitGroup
		for i := range many {
			wg.Go(func() {
				id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: fmt.Sprintf("box%d", i), Cmd: program("sleep"), Networks: on("bridge"), Ports: []cnm.PortMapping{
					{Proto: "udp", Port: 53}, {Proto: "tcp", Port: 80, HostPort: 8000, HostPortEnd: 8000 + room - 1}}})
				if err != nil {
					t.Error(err)
					return
				}
				if err := n.SandboxStart(t.Context(), id); err != nil {
					mu.Lock()
					failed = append(failed, err.Error())
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(failed) != many-room {
			t.Errorf("%d failed: %v", len(failed), failed)
		}
		for _, f := range failed {
			if !strings.Contains(f, "already allocated, by container box") {
				t.Errorf("refused: %s", f)
			}
		}
		seen := map[string]bool{}
		for _, sb := range n.Sandboxes() {
			for _, p := range sb.Ports {
				key := p.Proto + p.Host.String()
				if seen[key] || p.Proto == "tcp" && (p.Host.Port() < 8000 || p.Host.Port() >= 8000+room) {
					t.Errorf("%s has %s", sb.Spec.Name, key)
				}
				seen[key] = true
			}
			if want := 4; (sb.State == cnm.Running) != (len(sb.Ports) == want) {
				t.Errorf("%s is %s with %v", sb.Spec.Name, sb.State, sb.Ports)
			}
		}
		n.portOp.Lock()
		if len(n.listeners) != 4*room || len(seen) != 4*room {
			t.Errorf("%d listeners, %d ports", len(n.listeners), len(seen))
		}
		n.portOp.Unlock()
		if err := n.SandboxStop(t.Context(), "box0", "", new(time.Duration)); err != nil && !strings.Contains(err.Error(), "not running") {
			t.Error(err)
		}
	})
}

// Who is off a network is forgotten by its way out at once: what was sent to him does not
// reach who has his address next, and clients of his do not wait.
func TestPortsForgotten(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		n := openBeside(t, testConfig(t))
		mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("bridge")}) // the exit stays open with her
		mustNetwork(t, n, cnm.Network{Name: "z", IPAM: pool("10.67.51.0/24")})
		server := cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":80"), Networks: on("bridge", "z"), Ports: []cnm.PortMapping{{Proto: "tcp", Port: 80, HostPort: 8080, HostIP: home4}}}
		mustRun(t, n, server)
		at := netip.AddrPortFrom(home4, 8080)
		called(t, home4, at, "172.17.0.1")
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintln(c, "hello")
		c.SetDeadline(time.Now().Add(3 * time.Second))
		b := make([]byte, 100)
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
		mustDisconnect(t, n, "bridge", "rose")
		if _, err := c.Read(b); err == nil || !strings.Contains(err.Error(), "reset") {
			t.Errorf("a client of the network she left: %v", err)
		}
		called(t, home4, at, "10.67.51.1")

		to, err := net.ListenPacket("udp", netip.AddrPortFrom(machine4, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		daisy := mustRun(t, n, cnm.SandboxSpec{Name: "daisy", Networks: on("bridge"), Cmd: program("sendone", to.LocalAddr().String())})
		to.SetDeadline(time.Now().Add(5 * time.Second))
		if _, _, err := to.ReadFrom(b); err != nil {
			t.Fatal(err)
		}
		flows := func() (out []string) {
			all, err := n.Flows("bridge")
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range all {
				if f.Endpoint.Addr() == addr4(daisy, "bridge") {
					out = append(out, f.Proto)
				}
			}
			return out
		}
		if got := flows(); !slices.Equal(got, []string{"udp"}) {
			t.Errorf("flows: %v", got)
		}
		if err := n.SandboxRemove(t.Context(), "daisy", true); err != nil {
			t.Fatal(err)
		}
		if got := flows(); got != nil {
			t.Errorf("flows of one that has gone: %v", got)
		}
	})
}

// sendOne sends a datagram, and waits.
func sendOne(to string) error {
	c, err := net.Dial("udp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintln(c, "hello")
	time.Sleep(time.Minute)
	return nil
}
