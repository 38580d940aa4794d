package cluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"weft/internal/cluster/gossip"
	"weft/internal/cluster/pki"
	"weft/internal/cluster/store"
	"weft/internal/cnm"
)

// What only managers may ask for: the swarm as a whole and its nodes.

// Swarm returns the swarm as this manager knows it, tokens included.
func (m *Member) Swarm() (cnm.Swarm, error) {
	if m.manager == nil {
		return cnm.Swarm{}, forManagers(caller{m.id, m.role})
	}
	c := m.manager.cluster()
	s := cnm.Swarm{
		ID: c.ID, Version: c.Version, Created: c.Created, Updated: c.Updated, Spec: c.Spec, Pools: c.Pools, SubnetSize: c.SubnetSize,
		DataPathPort: c.DataPathPort, RootRotation: len(c.Roots) > 1,
	}
	if len(c.Roots) == 0 {
		return s, nil
	}
	s.RootPEM = c.Roots[0].Certificate
	// While a root is replaced, all managers still show the old one.
	named := c.Roots[len(c.Roots)-1].Certificate
	if s.RootRotation {
		s.OldRootPEM = named
	}
	var err error
	for text, secret := range map[*string]string{&s.WorkerToken: c.Secrets.Worker, &s.ManagerToken: c.Secrets.Manager} {
		if *text, err = tokenOf(named, secret); err != nil {
			return s, err
		}
	}
	return s, nil
}

func tokenOf(root []byte, secret string) (string, error) {
	s, err := pki.ParseSecret(secret)
	if err != nil {
		return "", err
	}
	t, err := pki.NewToken(root, s)
	if err != nil {
		return "", err
	}
	return t.String(), nil
}

// UnlockKey returns the key that opens locked managers, "" when they are not locked.
func (m *Member) UnlockKey() (string, error) {
	if m.manager == nil {
		return "", forManagers(caller{m.id, m.role})
	}
	return m.manager.cluster().UnlockKey, nil
}

// UpdateSwarm sets what the user may set, and makes anew what rotate names. Version
// is that of the swarm the user saw.
func (m *Member) UpdateSwarm(ctx context.Context, version uint64, spec cnm.SwarmSpec, rotate cnm.SwarmRotate) error {
	if m.manager == nil {
		return forManagers(caller{m.id, m.role})
	}
	return change(ctx, m, "UpdateSwarm", &swarmRequest{version, spec, rotate}, (*manager).updateSwarm)
}

// UpdateNode sets what is said of a node; its role, too.
func (m *Member) UpdateNode(ctx context.Context, id string, version uint64, spec cnm.NodeSpec) error {
	if m.manager == nil {
		return forManagers(caller{m.id, m.role})
	}
	return change(ctx, m, "UpdateNode", &specRequest{id, version, spec}, (*manager).updateNode)
}

// RemoveNode takes a node out of the swarm. One that is up, a manager and one that
// has endpoints go only by force.
func (m *Member) RemoveNode(ctx context.Context, id string, force bool) error {
	if m.manager == nil {
		return forManagers(caller{m.id, m.role})
	}
	if err := m.remove(ctx, id, force); err != nil || id == m.id { // nothing comes to it afterwards
		return err
	}
	return m.seen(ctx, func(v *View) bool { return v.node(id) == nil })
}

// remove asks for a node's removal, for voteTime at most: a leader that is to go hands
// over first, and the next one does the rest.
func (m *Member) remove(ctx context.Context, id string, force bool) error {
	ctx, cancel := context.WithTimeout(ctx, voteTime)
	defer cancel()
	for {
		_, err := ask(ctx, m, "RemoveNode", &removeRequest{id, force}, (*manager).removeNode)
		if !errors.Is(err, cnm.Unavailable) || ctx.Err() != nil || !m.pause(removeRetry) {
			return err
		}
	}
}

// change has the leader change something, and returns when this manager knows of
// it: who looks next, for a key that was made anew, sees the new one and not what
// this copy had before.
func change[Req any](ctx context.Context, m *Member, method string, req *Req, local func(*manager, context.Context, caller, *Req) (*changed, error)) error {
	r, err := ask(ctx, m, method, req, local)
	if err != nil {
		return err
	}
	return m.seen(ctx, func(v *View) bool { return v.Version >= r.Version })
}

// seen waits until what the leader has changed is in this manager's view.
func (m *Member) seen(ctx context.Context, done func(*View) bool) error {
	bounded, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	err := m.await(bounded, done)
	switch {
	case err == nil, m.ctx.Err() != nil: // it was this member that the change ended
		return nil
	case ctx.Err() == nil:
		return cnm.Errorf(cnm.Unavailable, "the managers have made the change, but it has not come to this one within %v: what is shown here is from before", changeTime)
	}
	return err
}

// changeTime is how long a manager waits for what the leader has decided already.
const changeTime = 10 * time.Second

// changedNow answers with what this leader, which has just applied it, knows.
func (g *manager) changedNow() *changed { return &changed{g.store.State().Version} }

func (g *manager) updateSwarm(ctx context.Context, who caller, req *swarmRequest) (*changed, error) {
	if err := forManagers(who); err != nil {
		return nil, err
	}
	now := g.m.cfg.now()
	if err := g.setSpec(ctx, req, now); err != nil {
		return nil, err
	}
	if err := g.rotateTokens(ctx, req.Rotate, now); err != nil {
		return nil, err
	}
	if req.Rotate.Keys {
		if err := g.rotateKeys(ctx); err != nil {
			return nil, err
		}
	}
	if req.Rotate.Root {
		if err := g.replaceRoot(ctx, now); err != nil {
			return nil, err
		}
	}
	return g.changedNow(), nil
}

// setSpec sets what the user may set; locking makes a key, and so does its rotation.
func (g *manager) setSpec(ctx context.Context, req *swarmRequest, now time.Time) error {
	if err := checkExpiry(req.Spec.CertExpiry); err != nil {
		return err
	}
	if r := req.Spec.KeyRotation; r != 0 && r < minKeyRotation {
		return cnm.Errorf(cnm.Invalid, "keys that last %v: at least %v expected", r, minKeyRotation)
	}
	c := store.SetSpec{Version: req.Version, Spec: req.Spec, Now: now}
	if req.Spec.AutoLock && (req.Rotate.UnlockKey || g.cluster().UnlockKey == "") {
		c.UnlockKey = store.NewUnlockKey()
	}
	_, err := g.apply(ctx, c)
	return err
}

// checkExpiry refuses certificates that end too soon; 0 leaves it open.
func checkExpiry(e time.Duration) error {
	if e != 0 && e < pki.MinValidity {
		return cnm.Errorf(cnm.Invalid, "certificates that hold %v: at least %v expected", e, pki.MinValidity)
	}
	return nil
}

func (g *manager) rotateTokens(ctx context.Context, rotate cnm.SwarmRotate, now time.Time) error {
	var fresh store.Secrets
	if rotate.WorkerToken {
		fresh.Worker = pki.NewSecret().String()
	}
	if rotate.ManagerToken {
		fresh.Manager = pki.NewSecret().String()
	}
	if fresh == (store.Secrets{}) {
		return nil
	}
	_, err := g.apply(ctx, store.RotateToken{Secrets: fresh, Now: now})
	return err
}

func (g *manager) updateNode(ctx context.Context, who caller, req *specRequest) (*changed, error) {
	if err := forManagers(who); err != nil {
		return nil, err
	}
	// Of a changed role the node hears by its view: see roles.go.
	_, err := g.apply(ctx, store.UpdateNode{ID: req.ID, Version: req.Version, Spec: req.Spec, Now: g.m.cfg.now()})
	return g.changedNow(), err
}

func (g *manager) removeNode(ctx context.Context, who caller, req *removeRequest) (*none, error) {
	if who.Node != req.ID {
		if err := forManagers(who); err != nil {
			return nil, err
		}
	}
	n, ok := g.node(req.ID)
	switch {
	case !ok:
		return nil, cnm.Errorf(cnm.NotFound, "node %s not found", req.ID)
	case n.Spec.Role == cnm.Manager && !req.Force:
		return nil, cnm.Errorf(cnm.Conflict, "node %s is a manager: demote it first, or use --force", n.Name())
	case g.m.nodeState(n.ID) == cnm.NodeReady && !req.Force:
		return nil, cnm.Errorf(cnm.Conflict, "node %s is not down and can't be removed: let it leave first, or use --force", n.Name())
	}
	if n.Spec.Role == cnm.Manager {
		n.Spec.Role = cnm.Worker // its vote goes first
		if _, err := g.apply(ctx, store.UpdateNode{ID: n.ID, Spec: n.Spec, Now: g.m.cfg.now()}); err != nil {
			return nil, err
		}
	}
	if err := g.awaitNoVote(ctx, &n); err != nil {
		return nil, err
	}
	_, err := g.apply(ctx, store.RemoveNode{ID: req.ID, Force: req.Force, Now: g.m.cfg.now()})
	return &none{}, err
}

// voteTime is how long the removal of a node takes at most, and voteLook how often is
// looked whether its vote is gone.
const (
	voteTime    = 2 * tryTime
	voteLook    = 10 * time.Millisecond
	removeRetry = 100 * time.Millisecond
)

// awaitNoVote waits until a node that is no manager any more is none of raft's servers.
// The other managers believe one that is removed nothing: a leader could not give its
// vote to them.
func (g *manager) awaitNoVote(ctx context.Context, n *store.Node) error {
	ctx, cancel := context.WithTimeout(ctx, voteTime)
	defer cancel()
	t := time.NewTicker(voteLook)
	defer t.Stop()
	for {
		servers, err := g.store.Servers()
		switch {
		case err != nil:
			return err
		case !g.leads():
			return errNoLeader
		case !slices.ContainsFunc(servers, func(s store.Server) bool { return s.ID == n.ID }):
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return cnm.Errorf(cnm.Unavailable, "node %s is no manager any more, but the managers have not agreed yet to take its vote: try again when more than half of them are there", n.Name())
		}
	}
}

func (m *Member) nodeState(id string) cnm.NodeState {
	for _, g := range m.gossip.Members() {
		if g.ID == id && g.State == gossip.Alive {
			return cnm.NodeReady
		}
	}
	return cnm.NodeDown
}
