package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// member starts a further daemon in a directory of its own.
func (s *sandboxes) member(ctx context.Context, i int, at netip.AddrPort) (member, error) {
	dir := filepath.Join(s.dir, fmt.Sprintf("node%d", i+1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	n, err := newSandboxes(s.exe, dir, s.out)
	if err != nil {
		return nil, err
	}
	n.prompt = fmt.Sprintf("node%d$", i+1)
	n.flags = []string{"--data-path-addr", at.Addr().String(), "--data-path-port", fmt.Sprint(at.Port())}
	fmt.Fprintf(s.out, "    %s weft daemon %s\n", n.prompt, strings.Join(n.flags, " "))
	if _, err := n.launch(ctx); err != nil {
		return nil, errors.Join(err, n.close(ctx))
	}
	return n, nil
}

func (s *sandboxes) overlay(ctx context.Context, o overlayNet) error {
	var peers []string
	for _, p := range o.peers {
		peers = append(peers, p.Addr().String()) // all have one port
	}
	_, err := s.weft(ctx, "network", "create", "-d", "overlay", "--subnet", o.subnet.String(), "--ip-range", o.own.String(),
		"-o", fmt.Sprint("weft.vni=", o.vni), "-o", "weft.peers="+strings.Join(peers, ","), o.name)
	if err == nil {
		s.nets = append(s.nets, o.name)
	}
	return err
}

func (s *sandboxes) learned(ctx context.Context) (map[string]string, error) {
	entries, err := s.client.FDB(ctx, wide)
	if err != nil {
		return nil, err
	}
	table := map[string]string{}
	for _, e := range entries {
		table[e.MAC.String()] = e.Port
	}
	return table, nil
}

func (s *sandboxes) unclaimed(ctx context.Context) (map[string]uint64, error) {
	p, err := s.client.Peers(ctx, wide)
	if err != nil {
		return nil, err
	}
	sum := map[string]uint64{}
	for _, u := range p.Underlays {
		for r, n := range u.Drops {
			sum[r] += n
		}
	}
	return sum, nil
}

// halt interrupts the daemon, as ctrl-C does.
func (s *sandboxes) halt(context.Context) error {
	fmt.Fprintf(s.out, "    %s ^C\n", s.prompt)
	if err := s.daemon.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	if !s.ended(limit / 2) {
		return errors.New("the daemon does not stop")
	}
	return nil
}

func (s *sandboxes) resume(ctx context.Context) error {
	fmt.Fprintf(s.out, "    %s weft daemon %s\n", s.prompt, strings.Join(s.flags, " "))
	_, err := s.launch(ctx)
	return err
}
