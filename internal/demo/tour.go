package demo

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"time"
)

// A step is one stop of the tour.
type step struct {
	title string
	shows string
	// check does it and returns the proof, in one line or more.
	check func(ctx context.Context, t *tour) (proof string, err error)
}

// A tour is one run through the steps.
type tour struct {
	stage
	dir   string // for files; removed by whoever made it
	out   io.Writer
	limit time.Duration // per step
	// Bytes of the verified and of the timed transfer.
	hashed, timed uint64
	outside       *hostWeb // nil: not there
	chapter                // of the nodes
	swarm         swarmChapter
}

// limit is how long one step of a user's tour may take.
const limit = 20 * time.Second

// The networks of the tour.
const (
	front, back = "front", "back"
	inner       = "inner" // has no way out
)

func subnet(network string) netip.Prefix {
	third := map[string]byte{front: 1, back: 2, wide: 3, inner: 4}[network]
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, third, 0}), 24)
}

// run goes through the steps, prints, and returns how many held. A step that
// fails does not end the tour; the end of ctx does.
func (t *tour) run(ctx context.Context, steps []step) (held int) {
	for i, s := range steps {
		if ctx.Err() != nil {
			fmt.Fprintln(t.out, "\ninterrupted")
			break
		}
		fmt.Fprintf(t.out, "\n%2d. %s\n    %s\n", i+1, s.title, s.shows)
		start := time.Now()
		stepCtx, cancel := context.WithTimeout(ctx, t.limit)
		proof, err := s.check(stepCtx, t)
		cancel()
		took := time.Since(start).Round(time.Millisecond)
		for line := range lines(proof) {
			fmt.Fprintf(t.out, "      %s\n", line)
		}
		if err != nil {
			fmt.Fprintf(t.out, "    FAILED (%v): %v\n", took, err)
			continue
		}
		fmt.Fprintf(t.out, "    ok (%v)\n", took)
		held++
	}
	return held
}

// addr returns the address that a host has on a network, as the host sees it.
func (t *tour) addr(ctx context.Context, host, network string) (netip.Addr, error) {
	ls, err := t.links(ctx, host)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, l := range ls {
		for _, a := range l.addrs {
			if subnet(network).Contains(a.Addr()) {
				return a.Addr(), nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no address in %s (%s): it has %v", host, subnet(network), network, ls)
}

// reach pings once from a host to another on a network and returns the answers'
// round trips.
func (t *tour) reach(ctx context.Context, host string, to netip.Addr, count int) (string, error) {
	r, err := t.ping(ctx, host, to, count)
	if err != nil {
		return "", err
	}
	if r.Received != r.Sent || r.Sent != count {
		return "", fmt.Errorf("%s got %d of %d answers from %s", host, r.Received, count, to)
	}
	return fmt.Sprintf("%s → %s: %d of %d answers, last after %v", host, to, r.Received, count, r.RTTs[len(r.RTTs)-1].Round(time.Microsecond)), nil
}

// refused pings and wants no answer.
func (t *tour) refused(ctx context.Context, host string, to netip.Addr) (string, error) {
	r, err := t.ping(ctx, host, to, 2)
	if err == nil && r.Received > 0 {
		return "", fmt.Errorf("%s got %d answers from %s, which it must not reach", host, r.Received, to)
	}
	if err == nil && r.Sent == 0 {
		err = fmt.Errorf("%s sent nothing to %s", host, to)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s → %s: %d sent, no answer", host, to, r.Sent), nil
}

func (t *tour) path(name string) string { return filepath.Join(t.dir, name) }
