package cluster

import (
	"context"
	"net/netip"
	"slices"

	"weft/internal/cnm"
)

// Theory of operation: leases
//
// Addresses on the swarm's networks are the managers' to give. A lease belongs to
// an endpoint, by its id, and a node: asking twice gives the same. Giving back must
// not fail, for the endpoint has gone whether a manager can be reached or not: the
// releaser keeps what is to be given back and tries until a manager has heard of
// it. What it had not said when the node ended is found by Keep at the next start;
// until that is heard nothing new is asked for, or it would be given back too.

// Allocate asks for an endpoint's addresses.
func (m *Member) Allocate(ctx context.Context, w Want) (v4, v6 netip.Prefix, err error) {
	m.mu.Lock()
	kept := m.kept
	m.mu.Unlock()
	if kept != nil {
		select {
		case <-kept:
		case <-ctx.Done():
			return netip.Prefix{}, netip.Prefix{}, cnm.Errorf(cnm.Unavailable, "no manager of the swarm has heard yet what this node has: %w", ctx.Err())
		case <-m.ctx.Done():
			return netip.Prefix{}, netip.Prefix{}, cnm.Errorf(cnm.Unavailable, "the daemon is stopping")
		}
	}
	r, err := ask(ctx, m, "Allocate", &w, (*manager).allocate)
	if err != nil {
		return netip.Prefix{}, netip.Prefix{}, err
	}
	return r.IPv4, r.IPv6, nil
}

// Release gives back what endpoints have. It does not wait.
func (m *Member) Release(endpoints ...string) {
	m.mu.Lock()
	if m.pending.Keep {
		m.pending.Endpoints = slices.DeleteFunc(m.pending.Endpoints, func(id string) bool { return slices.Contains(endpoints, id) })
	} else {
		m.pending.Endpoints = append(m.pending.Endpoints, endpoints...)
	}
	m.mu.Unlock()
	wake(m.toRelease)
}

// Keep gives back what this node has by the managers' word, but for the endpoints
// named. It is for a node's start, before anything is asked for, and does not wait.
func (m *Member) Keep(endpoints []string) {
	m.mu.Lock()
	m.pending = releaseRequest{Endpoints: slices.Clone(endpoints), Keep: true}
	m.kept = make(chan struct{})
	m.mu.Unlock()
	wake(m.toRelease)
}

// releaser is the goroutine that gives back.
func (m *Member) releaser() {
	failures := 0
	for {
		if failures == 0 {
			select {
			case <-m.ctx.Done():
				return
			case <-m.toRelease:
			}
		} else if !m.pause(retryTime(failures)) {
			return
		}
		m.mu.Lock()
		req := m.pending
		m.pending = releaseRequest{}
		m.mu.Unlock()
		if len(req.Endpoints) == 0 && !req.Keep {
			failures = 0
			continue
		}
		ctx, cancel := context.WithTimeout(m.ctx, tryTime*2)
		_, err := ask(ctx, m, "Release", &req, (*manager).release)
		cancel()
		if err == nil {
			failures = 0
			if req.Keep {
				m.mu.Lock()
				close(m.kept)
				m.kept = nil
				m.mu.Unlock()
			}
			continue
		}
		if failures++; failures == 3 {
			m.log.Warn("addresses cannot be given back yet", "error", err)
		}
		m.putBack(req)
	}
}

// putBack joins what could not be said with what is to be said now.
func (m *Member) putBack(req releaseRequest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !req.Keep {
		m.pending.Endpoints = append(req.Endpoints, m.pending.Endpoints...)
		return
	}
	gone := m.pending.Endpoints
	req.Endpoints = slices.DeleteFunc(req.Endpoints, func(id string) bool { return slices.Contains(gone, id) })
	m.pending = req
}

// CreateNetwork makes a network of the swarm: checked already, with its id. What it
// became comes back, and is in the view.
func (m *Member) CreateNetwork(ctx context.Context, nw cnm.Network) (cnm.Network, error) {
	r, err := ask(ctx, m, "CreateNetwork", &networkRequest{nw}, (*manager).createNetwork)
	if err != nil {
		return cnm.Network{}, err
	}
	return r.Network, m.await(ctx, func(v *View) bool { return v.network(nw.ID) != nil })
}

// RemoveNetwork removes one that nobody is on.
func (m *Member) RemoveNetwork(ctx context.Context, id string) error {
	if _, err := ask(ctx, m, "RemoveNetwork", &networkRequest{cnm.Network{ID: id}}, (*manager).removeNetwork); err != nil {
		return err
	}
	return m.await(ctx, func(v *View) bool { return v.network(id) == nil })
}
