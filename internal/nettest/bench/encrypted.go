package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// secretPath is where a node's user has the secret of its encrypted overlay.
func (w *weftNode) secretPath() string { return w.dir + "/secret" }

// writeSecret gives the node the secret that all nodes share.
func (w *weftNode) writeSecret() error {
	if err := os.WriteFile(w.secretPath(), []byte("a secret of the benchmark\n"), 0o600); err != nil {
		return err
	}
	return os.Chown(w.secretPath(), w.uid, w.gid)
}

// version returns what a program says of its version, for the head of its column.
func version(program string, args ...string) string {
	out, err := exec.Command(program, args...).CombinedOutput()
	found := regexp.MustCompile(`\d+(\.\d+)+`).Find(out)
	if err != nil || found == nil {
		return "of unknown version"
	}
	return string(found)
}

// tunnels are two namespaces that are host and node at the same time, joined by a
// veth pair of MTU 1500: for programs that carry IP and no frames.
type tunnels struct {
	spaces // the underlay
	inner  spaces
	dir    string
	run    [2]*exec.Cmd
}

func (t *tunnels) addr(host int) string { return t.inner.addr(host) }

// tunnelMTU is what WireGuard has over Ethernet, and nebula is given.
const tunnelMTU = 1420

// start runs a program on a host until down.
func (t *tunnels) start(host int, argv ...string) error {
	cmd := t.on(context.Background(), host, argv...)
	log, err := os.Create(filepath.Join(t.dir, fmt.Sprintf("log%d", host)))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	t.run[host] = cmd
	return nil
}

// appears waits for an interface of a host.
func (t *tunnels) appears(ctx context.Context, host int, dev string) error {
	return waitFor(func() bool { return do(ctx, "ip -n "+t.ns(host)+" link show "+dev) == nil })
}

func (t *tunnels) down() error {
	for _, cmd := range t.run {
		end(cmd)
	}
	return t.remove()
}

// wireguard is wireguard-go on each node.
type wireguard struct{ tunnels }

func (*wireguard) name() string  { return "wireguard-go" }
func (*wireguard) title() string { return "wireguard-go " + version("wireguard-go", "--version") }

func (w *wireguard) setUp(ctx context.Context) error {
	w.spaces, w.inner = spaces{prefix: "wxwg", subnet: "10.97.9"}, spaces{prefix: "wxwg", subnet: "10.98.9"}
	if err := errors.Join(w.wire(ctx), os.Mkdir(w.dir, 0o700)); err != nil {
		return err
	}
	var keys [2]string
	for i := range keys {
		key, err := exec.CommandContext(ctx, "wg", "genkey").Output()
		if err != nil {
			return fmt.Errorf("wg genkey: %w", err)
		}
		if err := os.WriteFile(w.keyPath(i), key, 0o600); err != nil {
			return err
		}
		public := exec.CommandContext(ctx, "wg", "pubkey")
		public.Stdin = strings.NewReader(string(key))
		out, err := public.Output()
		if err != nil {
			return fmt.Errorf("wg pubkey: %w", err)
		}
		keys[i] = strings.TrimSpace(string(out))
	}
	for i := range keys {
		dev := w.device(i)
		if err := w.start(i, "wireguard-go", "--foreground", dev); err != nil {
			return err
		}
		if err := w.appears(ctx, i, dev); err != nil {
			return err
		}
		in := "ip netns exec " + w.ns(i) + " "
		err := each(ctx,
			fmt.Sprintf("%swg set %s listen-port 51820 private-key %s peer %s allowed-ips %s/32 endpoint %s:51820",
				in, dev, w.keyPath(i), keys[1-i], w.addr(1-i), w.spaces.addr(1-i)),
			fmt.Sprintf("ip -n %s link set %s mtu %d", w.ns(i), dev, tunnelMTU))
		if err := errors.Join(err, w.inner.address(ctx, i, dev)); err != nil {
			return err
		}
	}
	return nil
}

// device names the interface, whose socket stands in one directory for all hosts.
func (w *wireguard) device(host int) string { return fmt.Sprintf("wxwg%d", host) }

func (w *wireguard) keyPath(host int) string { return filepath.Join(w.dir, fmt.Sprintf("key%d", host)) }

// nebula is nebula on each node, its cipher AES-GCM; the first is the lighthouse.
type nebula struct{ tunnels }

func (*nebula) name() string  { return "nebula" }
func (*nebula) title() string { return "nebula " + version("nebula", "-version") + " (AES)" }

func (n *nebula) setUp(ctx context.Context) error {
	n.spaces, n.inner = spaces{prefix: "wxnb", subnet: "10.97.10"}, spaces{prefix: "wxnb", subnet: "10.98.10"}
	if err := errors.Join(n.wire(ctx), os.Mkdir(n.dir, 0o700)); err != nil {
		return err
	}
	cert := func(args string) error {
		cmd := exec.CommandContext(ctx, "nebula-cert", strings.Fields(args)...)
		cmd.Dir = n.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("nebula-cert %s: %w: %s", args, err, out)
		}
		return nil
	}
	if err := cert("ca -name bench"); err != nil {
		return err
	}
	for i := range 2 {
		if err := cert(fmt.Sprintf("sign -name host%d -ip %s/24", i, n.addr(i))); err != nil {
			return err
		}
		file := filepath.Join(n.dir, fmt.Sprintf("host%d.yaml", i))
		if err := os.WriteFile(file, []byte(n.config(i)), 0o600); err != nil {
			return err
		}
		if err := n.start(i, "nebula", "-config", file); err != nil {
			return err
		}
		if err := n.appears(ctx, i, "nebula0"); err != nil {
			return err
		}
	}
	time.Sleep(time.Second) // until they know each other
	return nil
}

func (n *nebula) config(host int) string {
	lighthouses := fmt.Sprintf("\n    - %q", n.addr(0))
	if host == 0 {
		lighthouses = " []"
	}
	return fmt.Sprintf(`pki: {ca: %[1]s/ca.crt, cert: %[1]s/host%[2]d.crt, key: %[1]s/host%[2]d.key}
static_host_map: {%[3]q: ["%[4]s:4242"]}
lighthouse:
  am_lighthouse: %[5]v
  hosts:%[6]s
listen: {host: %[7]s, port: 4242}
cipher: aes
tun: {dev: nebula0, mtu: %[8]d}
firewall:
  outbound: [{port: any, proto: any, host: any}]
  inbound: [{port: any, proto: any, host: any}]
`, n.dir, host, n.addr(0), n.spaces.addr(0), host == 0, lighthouses, n.spaces.addr(host), tunnelMTU)
}

// encrypted are two nodes that are joined by an underlay of MTU 1500, and what
// protects what goes between them.
func (b *bench) encrypted() *suite {
	plain := &weftOverlay{nodes: [2]weftNode{b.node("clear0"), b.node("clear1")}, alias: "weft-clear"}
	sealed := &weftOverlay{nodes: [2]weftNode{b.node("sealed0"), b.node("sealed1")}, encrypted: true}
	return &suite{
		name: "encrypted", title: "encrypted, underlay of MTU 1500",
		contestants: []contestant{
			&wireguard{tunnels{dir: filepath.Join(b.dir, "wireguard")}}, &nebula{tunnels{dir: filepath.Join(b.dir, "nebula")}}, plain, sealed,
		},
		rows: rowsWith(1300, figure{"udp", "UDP 1300 B, received", "packets/s", 0, false}),
		own:  "weft-encrypted",
		against: []rival{
			{"wireguard-go", "wireguard-go"}, {"nebula", "nebula"}, {"weft-clear", "weft in clear"},
		},
	}
}
