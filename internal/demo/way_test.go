package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"weft/internal/api"
	"weft/internal/nettool"
)

// astrayWay is what is wrong with the way out and in.
type astrayWay struct {
	shut     bool // nothing is reached
	timid    bool // refused is told as unreachable, and the other way round
	leaking  bool // an internal network is none
	unlisted bool // no connection is listed
	foreign  bool // what is listed is by another address
	garbled  bool // what is fetched is not what was sent
	open     bool // published at every address
	swapped  bool // the ports of TCP and UDP are each other's
}

func (s *sabotage) inner(ctx context.Context, name string, subnet netip.Prefix) error {
	if s.way.leaking {
		return s.network(ctx, name, subnet)
	}
	return s.inProcess.inner(ctx, name, subnet)
}

func (s *sabotage) fetch(ctx context.Context, host, url string, timeout time.Duration) (string, error) {
	if s.way.shut {
		return "", nettool.ErrNoAnswer
	}
	text, err := s.inProcess.fetch(ctx, host, url, timeout)
	switch {
	case s.way.garbled:
		text += "!"
	case s.way.timid && errors.Is(err, nettool.ErrRefused):
		err = nettool.ErrUnreachable
	}
	return text, err
}

func (s *sabotage) flows(ctx context.Context, host string) ([]api.Flow, string, error) {
	flows, table, err := s.inProcess.flows(ctx, host)
	if s.way.unlisted {
		return nil, "", err
	}
	if s.way.foreign {
		flows = slices.Clone(flows)
		for i := range flows {
			flows[i].Remote = netip.AddrPortFrom(flows[i].Remote.Addr().Next(), flows[i].Remote.Port())
		}
	}
	return flows, table, err
}

func (s *sabotage) web(ctx context.Context, host, network string) (tcp, udp netip.AddrPort, err error) {
	tcp, udp, err = s.inProcess.web(ctx, host, network)
	if s.way.swapped {
		tcp, udp = udp, tcp
	}
	if s.way.open {
		ln, err := net.Listen("tcp4", netip.AddrPortFrom(underlay(1), tcp.Port()).String())
		if err != nil {
			return tcp, udp, fmt.Errorf("cannot sabotage: %w", err)
		}
		context.AfterFunc(ctx, func() { ln.Close() })
	}
	return tcp, udp, err
}

// TestWayNoticed breaks one thing of the way out at a time.
func TestWayNoticed(t *testing.T) {
	const out, apart, in, nowhere = "A way out", "Refused, or out of reach", "A published port", "An internal network"
	for _, c := range []struct {
		name string
		way  astrayWay
		fail []string
	}{
		{"as it should be", astrayWay{}, nil},
		{"shut", astrayWay{shut: true}, []string{out, apart, nowhere}},
		{"timid", astrayWay{timid: true}, []string{apart}},
		{"leaking", astrayWay{leaking: true}, []string{nowhere}},
		{"unlisted", astrayWay{unlisted: true}, []string{out, in}},
		{"foreign", astrayWay{foreign: true}, []string{out, in}},
		{"garbled", astrayWay{garbled: true}, []string{out}},
		{"open", astrayWay{open: true}, []string{in}},
		{"swapped", astrayWay{swapped: true}, []string{in}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			noticed(t, &sabotage{way: c.way}, slices.Concat(steps()[:2], waySteps()), c.fail)
		})
	}
}
