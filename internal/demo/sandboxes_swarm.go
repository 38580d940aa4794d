package demo

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/moby/moby/client"
)

func (s *sandboxes) swarmInit(ctx context.Context) (string, error) {
	if _, err := s.weft(ctx, "swarm", "init"); err != nil {
		return "", err
	}
	token, err := s.weft(ctx, "swarm", "join-token", "-q", "worker")
	return strings.TrimSpace(token), err
}

func (s *sandboxes) swarmJoin(ctx context.Context, token string, manager netip.AddrPort) error {
	fmt.Fprintf(s.out, "    %s weft swarm join --token SWMTKN-1-… %s\n", s.prompt, manager)
	_, err := s.quiet(ctx, "swarm", "join", "--token", token, manager.String())
	return err
}

func (s *sandboxes) agree(ctx context.Context, name string, subnet netip.Prefix) error {
	_, err := s.weft(ctx, "network", "create", "-d", "overlay", "--subnet", subnet.String(), name)
	return err
}

func (s *sandboxes) knows(ctx context.Context, name string) error {
	return eventually(ctx, func() error {
		_, err := s.client.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
		return err
	})
}

func (s *sandboxes) states(ctx context.Context) (map[string]string, error) {
	r, err := s.client.NodeList(ctx, client.NodeListOptions{})
	if err != nil {
		return nil, err
	}
	states := map[string]string{}
	for _, n := range r.Items {
		states[n.Description.Hostname] = string(n.Status.State)
	}
	return states, nil
}

func (s *sandboxes) static(ctx context.Context, network string) (map[string]string, error) {
	entries, err := s.client.FDB(ctx, network)
	if err != nil {
		return nil, err
	}
	table := map[string]string{}
	for _, e := range entries {
		if e.Static {
			table[e.MAC.String()] = e.Port
		}
	}
	return table, nil
}

func (s *sandboxes) kill() error {
	fmt.Fprintf(s.out, "    %s kill -9 %d\n", s.prompt, s.daemon.Process.Pid)
	if err := s.daemon.Process.Kill(); err != nil {
		return err
	}
	<-s.exited
	return nil
}
