package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"weft/internal/api"
	"weft/internal/nettool"
)

func (s *sandboxes) inner(ctx context.Context, name string, subnet netip.Prefix) error {
	_, err := s.weft(ctx, "network", "create", "--internal", "--subnet", subnet.String(), name)
	if err == nil {
		s.nets = append(s.nets, name)
	}
	return err
}

func (s *sandboxes) web(ctx context.Context, host, network string) (tcp, udp netip.AddrPort, err error) {
	s.names = append(s.names, host)
	_, err = s.weft(ctx, "run", "-d", "--name", host, "--network", network, "-p", fmt.Sprintf("127.0.0.1::%d", webPort), "-p", fmt.Sprintf("127.0.0.1::%d/udp", webPort),
		"--", s.exe, "tool", "web", fmt.Sprintf(":%d", webPort), host)
	if err != nil {
		return tcp, udp, err
	}
	text, err := s.weft(ctx, "port", host)
	if err != nil {
		return tcp, udp, err
	}
	for line := range lines(text) {
		fmt.Fprintf(s.out, "      %s\n", line)
		port, at, _ := strings.Cut(line, " -> ")
		addr, err := netip.ParseAddrPort(at)
		switch {
		case err != nil:
			return tcp, udp, fmt.Errorf("weft port says %q: %w", line, err)
		case port == fmt.Sprintf("%d/tcp", webPort):
			tcp = addr
		case port == fmt.Sprintf("%d/udp", webPort):
			udp = addr
		}
	}
	if !tcp.IsValid() || !udp.IsValid() {
		return tcp, udp, fmt.Errorf("weft port says %q, want port %d of TCP and of UDP", text, webPort)
	}
	return tcp, udp, nil
}

// fetch takes the exit code of `weft tool fetch` for what became of it.
func (s *sandboxes) fetch(ctx context.Context, host, url string, timeout time.Duration) (string, error) {
	text, err := s.tool(ctx, host, "fetch", "-W", timeout.String(), url)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = errors.Join(err, nettool.ExitError(exit.ExitCode()))
	}
	return text, err
}

func (s *sandboxes) flows(ctx context.Context, host string) ([]api.Flow, string, error) {
	all, err := s.client.Flows(ctx, "")
	if err != nil {
		return nil, "", err
	}
	table, err := s.weft(ctx, "conntrack", "ls", "--filter", "sandbox="+host)
	return slices.DeleteFunc(all, func(f api.Flow) bool { return f.Sandbox != host }), table, err
}
