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
