package cluster

import (
	"context"
	"errors"
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
//
// What is asked for takes back what is to be given back, and waits for it where a
// manager is being told already. What was asked for and not answered may have been
// given: it is given back.

// A releasing is what the releaser has to say, and what it is saying.
type releasing struct {
	next releaseRequest
	now  []string      // endpoints being given back
	said chan struct{} // closed when that has been tried
	kept chan struct{} // closed when Keep was heard; nil: it was not called
}

// Allocate asks for an endpoint's addresses. After an error it has none.
func (m *Member) Allocate(ctx context.Context, w Want) (v4, v6 netip.Prefix, err error) {
	for {
		wait := m.reclaim(w.Endpoint)
		if wait == nil {
			break
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return netip.Prefix{}, netip.Prefix{}, cnm.Errorf(cnm.Unavailable, "no manager of the swarm has heard yet what this node has: %w", ctx.Err())
		case <-m.ctx.Done():
			return netip.Prefix{}, netip.Prefix{}, cnm.Errorf(cnm.Unavailable, "the daemon is stopping")
		}
	}
	r, err := ask(ctx, m, "Allocate", &w, (*manager).allocate)
	if err != nil {
		if !refusal(err) {
			m.Release(w.Endpoint)
		}
		return netip.Prefix{}, netip.Prefix{}, err
	}
	return r.IPv4, r.IPv6, nil
}

// refusal reports whether an error is a manager's word that nothing was done.
func refusal(err error) bool {
	for _, k := range []cnm.Kind{cnm.Invalid, cnm.NotFound, cnm.Conflict, cnm.Forbidden, cnm.Unsupported} {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// reclaim takes an endpoint from what is to be given back. It returns what to wait
// for before anything is asked for the endpoint, or nil.
func (m *Member) reclaim(endpoint string) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch r := &m.release; {
	case r.kept != nil:
		return r.kept
	case slices.Contains(r.now, endpoint):
		return r.said
	default:
		r.next.Endpoints = without(r.next.Endpoints, []string{endpoint})
		return nil
	}
}

// Release gives back what endpoints have. It does not wait.
func (m *Member) Release(endpoints ...string) {
	m.mu.Lock()
	m.release.add(endpoints)
	m.mu.Unlock()
	wake(m.toRelease)
}

// add adds what is to be given back.
func (r *releasing) add(endpoints []string) {
	if r.next.Keep {
		r.next.Endpoints = without(r.next.Endpoints, endpoints)
	} else {
		r.next.Endpoints = append(r.next.Endpoints, endpoints...)
	}
}

func without(ids, gone []string) []string {
	return slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(gone, id) })
}

// Keep gives back what this node has by the managers' word, but for the endpoints
// named. It is for a node's start, before anything is asked for, and does not wait.
func (m *Member) Keep(endpoints []string) {
	m.mu.Lock()
	m.release.next = releaseRequest{Endpoints: slices.Clone(endpoints), Keep: true}
	if m.release.kept == nil {
		m.release.kept = make(chan struct{})
	}
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
		req := m.release.take()
		m.mu.Unlock()
		if len(req.Endpoints) == 0 && !req.Keep {
			failures = 0
			continue
		}
		err := m.giveBack(req)
		m.mu.Lock()
		m.release.tried(req, err == nil)
		m.mu.Unlock()
		if err == nil {
			failures = 0
			continue
		}
		if failures++; failures == 3 {
			m.log.Warn("addresses cannot be given back yet", "error", err)
		}
	}
}

// giveBack asks the managers once. Of all but what is kept it names the version that
// they have come to: a request that was taken for lost, and comes when it has long
// been repeated, does not take what was given since.
func (m *Member) giveBack(req releaseRequest) error {
	ctx, cancel := context.WithTimeout(m.ctx, tryTime*2)
	defer cancel()
	r, err := ask(ctx, m, "Release", &req, (*manager).release)
	if err == nil && req.Keep {
		req.Before = r.Version
		_, err = ask(ctx, m, "Release", &req, (*manager).release)
	}
	return err
}

// take begins to say what there is to say.
func (r *releasing) take() releaseRequest {
	req := r.next
	r.next = releaseRequest{}
	if r.said = make(chan struct{}); !req.Keep {
		r.now = slices.Clone(req.Endpoints)
	}
	return req
}

// tried ends it. What could not be said is joined with what is to be said now.
func (r *releasing) tried(req releaseRequest, heard bool) {
	close(r.said)
	r.now = nil
	switch {
	case !heard && !req.Keep:
		r.add(req.Endpoints)
	case !heard && !r.next.Keep: // else the later word counts
		req.Endpoints = without(req.Endpoints, r.next.Endpoints)
		r.next = req
	case heard && req.Keep && !r.next.Keep:
		close(r.kept)
		r.kept = nil
	}
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
