package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/internal/capture"
)

// An ear listens where a node did that is dead.
type ear struct {
	conn *net.UDPConn
	at   netip.AddrPort
}

func listen(at netip.AddrPort) (*ear, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, fmt.Errorf("listen where a dead node did: %w", err)
	}
	return &ear{conn, at}, nil
}

// heard returns the datagrams that came.
func (e *ear) heard() (all [][]byte, err error) {
	b := make([]byte, 1<<16)
	if err := e.conn.SetReadDeadline(time.Now().Add(settle)); err != nil {
		return nil, err
	}
	for {
		n, err := e.conn.Read(b)
		switch {
		case err == nil:
			all = append(all, bytes.Clone(b[:n]))
		case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
			return all, nil
		default:
			return all, err
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// eavesdrop kills node 3, listens where it listened, and has node 1 talk to it on both
// networks.
func eavesdrop(ctx context.Context, t *tour) (string, error) {
	_, last, err := t.inSwarm(swarmNodes - 1)
	if err != nil {
		return "", err
	}
	dead := swarmNodes - 1
	talks := []talk{{mesh, swarmHost(0), swarmHost(dead), netip.AddrPortFrom(underlay(dead), t.swarm.ports.dataPath), nil},
		{vault, safe(0), safe(dead), netip.AddrPortFrom(underlay(dead), t.swarm.ports.esp), nil}}
	for i := range talks {
		if err := talks[i].find(ctx, t); err != nil {
			return "", err
		}
	}
	if err := last.kill(ctx); err != nil {
		return "", err
	}
	proof, err := t.overheard(ctx, talks)
	if err := errors.Join(err, last.resume(ctx)); err != nil {
		return strings.Join(proof, "\n"), err
	}
	first, _, err := t.inSwarm(0)
	if err != nil {
		return strings.Join(proof, "\n"), err
	}
	var back string
	err = eventually(ctx, func() (err error) { back, err = first.reach(ctx, safe(0), talks[1].to(), 2); return err })
	return strings.Join(append(proof, "node 3 starts, with new keys", back), "\n"), err
}

// A talk is what a host on node 1 says to one on the dead node, and where it is heard.
type talk struct {
	network, from, dead string
	at                  netip.AddrPort
	inner               []byte // in the packets of both: source and destination
}

// find finds the addresses, while both nodes live.
func (c *talk) find(ctx context.Context, t *tour) error {
	src, err := t.overlayAddr(ctx, 0, c.from)
	if err != nil {
		return err
	}
	dst, err := t.overlayAddr(ctx, swarmNodes-1, c.dead)
	c.inner = slices.Concat(src.Addr().AsSlice(), dst.Addr().AsSlice())
	return err
}

// to is the address that is talked to.
func (c *talk) to() netip.Addr {
	a, _ := netip.AddrFromSlice(c.inner[len(c.inner)/2:])
	return a
}

// hear returns the datagrams that come while the host pings.
func (c *talk) hear(ctx context.Context, t *tour) ([][]byte, error) {
	first, _, err := t.inSwarm(0)
	if err != nil {
		return nil, err
	}
	e, err := listen(c.at)
	if err != nil {
		return nil, err
	}
	defer e.conn.Close()
	if _, err := first.refused(ctx, c.from, c.to()); err != nil {
		return nil, err
	}
	return e.heard()
}

// overheard listens at both ports of the dead node, and opens what must not be
// readable without the keys.
func (t *tour) overheard(ctx context.Context, talks []talk) (proof []string, err error) {
	for _, c := range talks {
		got, err := c.hear(ctx, t)
		if err != nil {
			return proof, err
		}
		readable := 0
		for _, b := range got {
			if bytes.Contains(b, c.inner) {
				readable++
			}
		}
		proof = append(proof, fmt.Sprintf("%s → %s: %d datagrams came to %s, %d with the hosts' addresses in them", c.from, c.dead, len(got), c.at, readable))
		switch {
		case c.network == mesh && readable == 0:
			return proof, errors.New("what is in clear was not heard: the eavesdropper is deaf")
		case c.network == mesh:
			continue
		case len(got) == 0:
			return proof, errors.New("nothing was heard of the encrypted network")
		case readable > 0:
			return proof, errors.New("everybody can read what is on the encrypted network")
		}
		line, err := t.opened(ctx, got, c.inner)
		return append(proof, fmt.Sprintf("as it came: % x…", got[0][:min(len(got[0]), 24)]), line), err
	}
	return proof, nil
}

// opened opens datagrams with the keys that node 1 gives out, and wants the addresses
// in what comes out.
func (t *tour) opened(ctx context.Context, got [][]byte, inner []byte) (string, error) {
	_, one, err := t.inSwarm(0)
	if err != nil {
		return "", err
	}
	lines, err := one.export(ctx, vault)
	if err != nil {
		return "", err
	}
	keys, err := readKeys(lines)
	if err != nil {
		return "", err
	}
	var frame []byte
	count := 0
	for _, b := range got {
		payload, next, err := openESP(keys, b)
		if err != nil {
			return "", err
		}
		if next == nextUDP && len(payload) > udpLen+vxlanLen && bytes.Contains(payload, inner) {
			frame, count = payload[udpLen+vxlanLen:], count+1
		}
	}
	if count == 0 {
		return "", fmt.Errorf("%d datagrams were opened, and none has the hosts' addresses", len(got))
	}
	return fmt.Sprintf("with the %d exported keys: %s", len(keys), capture.Summary(frame)), nil
}
