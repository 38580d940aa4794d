package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// ways is the way out of a host that is inside (host 0) through a node, which is a
// namespace with a veth of MTU 1500 to the world (host 1). What stands for the host
// inside to the world is the node's address.
type ways struct {
	nodes  spaces // the node, and the world
	inside string // namespace of the host, of contestants that have no sandbox
}

// published are the ports of the host inside that the node publishes.
var published = []string{"5201/tcp", "5201/udp", "9797/tcp", "9798/tcp"}

func (w *ways) addr(host int) string { return w.nodes.addr(host) }

func (w *ways) on(ctx context.Context, host int, argv ...string) *exec.Cmd {
	if host == 1 {
		return w.nodes.on(ctx, 1, argv...)
	}
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", w.inside}, argv...)...)
}

// wire makes the namespaces. The node's groups may ping, as those of distributions may.
func (w *ways) wire(ctx context.Context) error {
	if err := w.nodes.wire(ctx); err != nil {
		return err
	}
	knob := exec.CommandContext(ctx, "ip", "netns", "exec", w.nodes.ns(0), "sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
	if out, err := knob.CombinedOutput(); err != nil {
		return fmt.Errorf("ping_group_range: %w: %s", err, out)
	}
	if w.inside == "" {
		return nil
	}
	return each(ctx, "ip netns add "+w.inside, "ip -n "+w.inside+" link set lo up")
}

func (w *ways) remove() error {
	err := w.nodes.remove()
	if w.inside != "" {
		if _, e := os.Stat("/run/netns/" + w.inside); e == nil {
			err = errors.Join(err, do(context.Background(), "ip netns del "+w.inside))
		}
	}
	return err
}

// start starts a program on the node until it is ended.
func (w *ways) start(log string, argv ...string) (*exec.Cmd, error) {
	cmd := w.nodes.on(context.Background(), 0, argv...)
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	return cmd, cmd.Start()
}

// routed waits until the host inside has a way out.
func (w *ways) routed(ctx context.Context) error {
	return waitFor(func() bool {
		out, err := w.on(ctx, 0, "ip", "route", "show", "default").Output()
		return err == nil && len(out) > 0
	})
}

// slirp is slirp4netns.
type slirp struct {
	ways
	dir string
	mtu int
	run *exec.Cmd
}

func (s *slirp) name() string  { return fmt.Sprintf("slirp4netns-%d", s.mtu) }
func (s *slirp) title() string { return fmt.Sprintf("slirp4netns, MTU %d", s.mtu) }

func (s *slirp) setUp(ctx context.Context) error {
	s.inside = fmt.Sprintf("wus%d", s.mtu)
	s.nodes = spaces{prefix: s.inside + "n", subnet: map[int]string{1500: "10.97.12", 65520: "10.97.13"}[s.mtu]}
	if err := errors.Join(s.wire(ctx), os.Mkdir(s.dir, 0o700)); err != nil {
		return err
	}
	api := filepath.Join(s.dir, "api")
	var err error
	s.run, err = s.start(filepath.Join(s.dir, "log"), "slirp4netns", "--netns-type=path", "--configure", fmt.Sprintf("--mtu=%d", s.mtu),
		"--disable-dns", "--api-socket", api, "/run/netns/"+s.inside, "tap0")
	if err != nil {
		return err
	}
	if err := s.routed(ctx); err != nil {
		return fmt.Errorf("slirp4netns: %w", err)
	}
	for _, p := range published {
		port, proto := cutPort(p)
		if err := s.ask(api, proto, port); err != nil {
			return fmt.Errorf("slirp4netns: publish %s: %w", p, err)
		}
	}
	return nil
}

// ask publishes a port: one request a connection, ended by half a close.
func (s *slirp) ask(api, proto string, port int) error {
	c, err := net.DialTimeout("unix", api, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	args := map[string]any{"proto": proto, "host_addr": "0.0.0.0", "host_port": port, "guest_addr": "10.0.2.100", "guest_port": port}
	if err := json.NewEncoder(c).Encode(map[string]any{"execute": "add_hostfwd", "arguments": args}); err != nil {
		return err
	}
	c.(*net.UnixConn).CloseWrite()
	var answer struct{ Error *struct{ Desc string } }
	if err := json.NewDecoder(c).Decode(&answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return errors.New(answer.Error.Desc)
	}
	return nil
}

func (s *slirp) down() error { end(s.run); return s.remove() }

// pasta is pasta, of passt, with its own MTU of 65520.
type pasta struct {
	ways
	dir string
	run *exec.Cmd
}

func (*pasta) name() string  { return "pasta" }
func (*pasta) title() string { return "pasta, MTU 65520" }

func (p *pasta) setUp(ctx context.Context) error {
	p.inside, p.nodes = "wup", spaces{prefix: "wupn", subnet: "10.97.14"}
	if err := errors.Join(p.wire(ctx), os.Mkdir(p.dir, 0o700)); err != nil {
		return err
	}
	// It takes addresses and routes from the node's default route.
	if err := do(ctx, fmt.Sprintf("ip -n %s route add default via %s", p.nodes.ns(0), p.addr(1))); err != nil {
		return err
	}
	argv := []string{"pasta", "--foreground", "--config-net", "--no-ndp", "--no-dhcpv6", "--no-map-gw", "--runas", "0:0"}
	for _, port := range published {
		number, proto := cutPort(port)
		argv = append(argv, map[string]string{"tcp": "-t", "udp": "-u"}[proto], fmt.Sprint(number))
	}
	var err error
	if p.run, err = p.start(filepath.Join(p.dir, "log"), append(argv, "--netns", "/run/netns/"+p.inside)...); err != nil {
		return err
	}
	if err := p.routed(ctx); err != nil {
		return fmt.Errorf("pasta: %w", err)
	}
	return nil
}

func (p *pasta) down() error { end(p.run); return p.remove() }

// masquerade is the kernel's own: a veth, forwarding and nftables.
type masquerade struct{ ways }

func (*masquerade) name() string  { return "kernel-masquerade" }
func (*masquerade) title() string { return "kernel masquerade" }

func (m *masquerade) setUp(ctx context.Context) error {
	m.inside, m.nodes = "wuk", spaces{prefix: "wukn", subnet: "10.97.15"}
	if err := m.wire(ctx); err != nil {
		return err
	}
	node := m.nodes.ns(0)
	err := each(ctx,
		fmt.Sprintf("ip -n %s link add inner0 type veth peer name eth0 netns %s", node, m.inside),
		"ip -n "+node+" addr add 10.98.12.1/24 dev inner0", "ip -n "+node+" link set inner0 up",
		"ip -n "+m.inside+" addr add 10.98.12.2/24 dev eth0", "ip -n "+m.inside+" link set eth0 up",
		"ip -n "+m.inside+" route add default via 10.98.12.1",
		"ip netns exec "+node+" sysctl -qw net.ipv4.ip_forward=1")
	if err != nil {
		return err
	}
	rules := "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }; add rule ip nat out oifname under0 masquerade;" +
		"add chain ip nat in { type nat hook prerouting priority -100; };"
	for _, p := range published {
		port, proto := cutPort(p)
		rules += fmt.Sprintf("add rule ip nat in iifname under0 %s dport %d dnat to 10.98.12.2;", proto, port)
	}
	if out, err := m.nodes.on(ctx, 0, "nft", rules).CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

func (m *masquerade) down() error { return m.remove() }

// cutPort splits 80/tcp.
func cutPort(s string) (port int, proto string) {
	fmt.Sscanf(s, "%d/%s", &port, &proto)
	return port, proto
}

// flipped is a contestant with its hosts exchanged: what is measured from host 0 to
// host 1 goes from the world to the host inside, by a published port.
type flipped struct{ contestant }

func (f flipped) on(ctx context.Context, host int, argv ...string) *exec.Cmd {
	return f.contestant.on(ctx, 1-host, argv...)
}

func (f flipped) addr(host int) string { return f.contestant.addr(1 - host) }

// wayRows are what all ways out and in are measured by.
func wayRows() []row {
	in := func(run func(context.Context, *bench, contestant) ([]float64, error)) func(context.Context, *bench, contestant) ([]float64, error) {
		return func(ctx context.Context, b *bench, c contestant) ([]float64, error) { return run(ctx, b, flipped{c}) }
	}
	return []row{
		{"TCP out", []figure{{"out", "TCP out, 1 stream", "Gbit/s", 2, false}, {"out-cpu", "CPU of the whole machine, TCP out", "s/GB", 2, true}}, runTCP(1)},
		{"TCP download", []figure{{"download", "TCP, fetched from outside, 1 stream", "Gbit/s", 2, false}, {"download-cpu", "CPU of the whole machine, TCP fetched", "s/GB", 2, true}}, runTCP(1, "-R")},
		{"TCP in, published port", []figure{{"in", "TCP in by a published port, 1 stream", "Gbit/s", 2, false}, {"in-cpu", "CPU of the whole machine, TCP in", "s/GB", 2, true}}, in(runTCP(1))},
		{"UDP out", []figure{{"udp-out", "UDP 1400 B out, received", "packets/s", 0, false}}, runUDP(1400)},
		{"connections out", []figure{{"connections", "new TCP connections out", "1/s", 0, false}}, runConnections},
		{"ping-pong", []figure{figRTT}, runPingPong},
	}
}

// waysOut are ways that need no root.
func (b *bench) waysOut() *suite {
	return &suite{
		name: "ways-out", title: "the way out and in, without root",
		contestants: []contestant{
			&slirp{dir: filepath.Join(b.dir, "slirp1500"), mtu: 1500}, &slirp{dir: filepath.Join(b.dir, "slirp65520"), mtu: 65520},
			&pasta{dir: filepath.Join(b.dir, "pasta")}, &weftOut{weftNode: b.node("way-out")},
		},
		rows: wayRows(), own: "weft-out",
		against: []rival{{"slirp4netns-1500", "slirp4netns 1500"}, {"slirp4netns-65520", "slirp4netns 65520"}, {"pasta", "pasta"}},
	}
}

// packetUplinks are ways whose packets leave by the node's own interface.
func (b *bench) packetUplinks() *suite {
	return &suite{
		name: "packet-uplinks", title: "masquerade on the node's interface, MTU 1500",
		contestants: []contestant{&masquerade{}, &weftOut{weftNode: b.node("way-packet"), packet: true}},
		rows:        wayRows(), own: "weft-packet",
		against: []rival{{"kernel-masquerade", "kernel"}},
	}
}
