package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/client"

	"weft/internal/api"
)

// swarmNode starts a further daemon in a directory of its own.
func (s *sandboxes) swarmNode(ctx context.Context, i int, p swarmPorts) (swarmNode, error) {
	dir := filepath.Join(s.dir, fmt.Sprintf("swarm%d", i+1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	n, err := newSandboxes(s.exe, dir, s.out)
	if err != nil {
		return nil, err
	}
	n.prompt = fmt.Sprintf("node%d$", i+1)
	n.flags = []string{
		"--node-name", fmt.Sprintf("node%d", i+1), "--advertise-addr", underlay(i).String(), "--control-port", fmt.Sprint(p.control),
		"--gossip-port", fmt.Sprint(p.gossip), "--data-path-port", fmt.Sprint(p.dataPath), "--esp-port", fmt.Sprint(p.esp),
	}
	if err := n.resume(ctx); err != nil {
		return nil, errors.Join(err, n.close(ctx))
	}
	return n, nil
}

func (s *sandboxes) found(ctx context.Context) (token string, err error) {
	if _, err := s.weft(ctx, "swarm", "init"); err != nil {
		return "", err
	}
	token, err = s.weft(ctx, "swarm", "join-token", "-q", "worker")
	return strings.TrimSpace(token), err
}

func (s *sandboxes) join(ctx context.Context, token string, manager netip.AddrPort) error {
	_, err := s.weft(ctx, "swarm", "join", "--token", token, manager.String())
	return err
}

// roster is asked for until all are there: it is not printed.
func (s *sandboxes) roster(ctx context.Context) (string, error) { return s.quiet(ctx, "node", "ls") }

func (s *sandboxes) mesh(ctx context.Context, network string) error {
	// It goes with the swarm, whose nodes' directories the tour removes.
	_, err := s.weft(ctx, "network", "create", "-d", "overlay", network)
	return err
}

func (s *sandboxes) vault(ctx context.Context, network string) error {
	_, err := s.weft(ctx, "network", "create", "-d", "overlay", "--opt", "encrypted", network)
	return err
}

func (s *sandboxes) keys(ctx context.Context) ([]api.KeyRing, string, error) {
	rings, err := s.client.Keys(ctx)
	if err != nil {
		return nil, "", err
	}
	table, err := s.quiet(ctx, "keys", "ls")
	return rings, table, err
}

func (s *sandboxes) rotate(ctx context.Context) error {
	_, err := s.weft(ctx, "swarm", "rotate-keys")
	return err
}

func (s *sandboxes) export(ctx context.Context, network string) (string, error) {
	return s.weft(ctx, "keys", "export", "--wireshark", "-y", "--network", network)
}

func (s *sandboxes) carried(ctx context.Context, network string) (by map[netip.AddrPort]packetCounts, kernel uint64, err error) {
	p, err := s.client.Peers(ctx, network)
	if err != nil {
		return nil, 0, err
	}
	by = map[netip.AddrPort]packetCounts{}
	for _, x := range p.Peers {
		by[x.Peer] = packetCounts{x.TxPackets, x.RxPackets}
	}
	for _, u := range p.Underlays {
		if u.ESP {
			kernel += u.KernelDrops
		}
	}
	return by, kernel, nil
}

func (s *sandboxes) knows(ctx context.Context, network string) bool {
	_, err := s.client.NetworkInspect(ctx, network, client.NetworkInspectOptions{})
	return err == nil
}

func (s *sandboxes) located(ctx context.Context, network string) (map[netip.Addr]string, error) {
	neighbours, err := s.client.ARP(ctx, network)
	if err != nil {
		return nil, err
	}
	entries, err := s.client.FDB(ctx, network)
	if err != nil {
		return nil, err
	}
	port := map[string]string{}
	for _, e := range entries {
		if e.Static {
			port[e.MAC.String()] = e.Port
		}
	}
	table := map[netip.Addr]string{}
	for _, n := range neighbours {
		if p := port[n.MAC.String()]; n.Static && p != "" {
			table[n.Addr] = p
		}
	}
	return table, nil
}

func (s *sandboxes) tunnels(ctx context.Context, network string) (map[netip.AddrPort]map[string]uint64, error) {
	p, err := s.client.Peers(ctx, network)
	if err != nil {
		return nil, err
	}
	dropped := map[netip.AddrPort]map[string]uint64{}
	for _, x := range p.Peers {
		dropped[x.Peer] = x.Drops
	}
	return dropped, nil
}

func (s *sandboxes) end(ctx context.Context, host string) error {
	_, err := s.weft(ctx, "rm", "-f", host)
	if err == nil {
		s.names = slices.DeleteFunc(s.names, func(n string) bool { return n == host })
	}
	return err
}

func (s *sandboxes) kill(context.Context) error {
	fmt.Fprintf(s.out, "    %s kill -9 %d\n", s.prompt, s.daemon.Process.Pid)
	if err := s.daemon.Process.Kill(); err != nil {
		return err
	}
	<-s.exited
	return nil
}
