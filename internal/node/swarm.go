package node

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"weft/internal/cluster"
	"weft/internal/cluster/gossip"
	"weft/internal/cnm"
)

// Theory of operation: the node in a swarm
//
// A node is in no swarm or in one; then it has a cluster.Member, which says what
// the swarm has agreed on and who lives on the other nodes. The desired state has a
// network of the swarm as it has the node's own, but for its addresses, which the
// managers give: a lease is asked for before an endpoint is made, and given back by
// the member, which tries until a manager has heard of it.
//
// A network of the swarm is on the switch only while something here is on it. What
// the others have on it comes into the plan as a filling (overlay.go).
//
// swarmOp is held while a swarm is made, joined or left, and is the first of the
// node's locks. The follower is the goroutine that makes the node follow: the
// member wakes it after each change.

// errNoSwarm is the answer of a node that is in none to who asks for one.
var errNoSwarm = cnm.Errorf(cnm.Unavailable, "This node is not a swarm manager. Use \"weft swarm init\" or \"weft swarm join\" to connect this node to swarm and try again.")

// swarmDir is where the member keeps its own.
func (n *Node) swarmDir() string { return filepath.Join(n.cfg.DataDir, "swarm") }

// clusterConfig is what the member is told of this node.
func (n *Node) clusterConfig() cluster.Config {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	if n.cfg.NodeName != "" {
		name = n.cfg.NodeName
	}
	g := n.cfg.Gossip
	return cluster.Config{
		Far: g.Far, Timings: gossip.Timings{Tick: g.Round, Probe: g.Probe, ProbeTimeout: g.ProbeTimeout, Sync: g.Sync},
		Dir: n.swarmDir(), Name: name, Bind: n.cfg.AdvertiseAddr, Advertise: n.advertised(),
		ControlPort: n.cfg.ControlPort, GossipPort: n.cfg.GossipPort, DataPath: n.dataPath(),
		Log: n.log, Changed: n.wakeFollower, Restart: func() { n.own.spawn(n.reopenSwarm) },
	}
}

// advertised is the address other nodes know this one by: the configured one, else
// the first of the host's that is not on its loopback.
func (n *Node) advertised() netip.Addr {
	if n.cfg.AdvertiseAddr.IsValid() {
		return n.cfg.AdvertiseAddr
	}
	u := n.cfg.underlay()
	own := u.own()
	for _, a := range own {
		if a.Is4() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsUnspecified() {
			return a
		}
	}
	for _, a := range own {
		if a.Is6() && a.IsGlobalUnicast() {
			return a
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// dataPath lists where the others find this node's VTEP, one address per family.
func (n *Node) dataPath() (out []netip.AddrPort) {
	u := n.cfg.underlay()
	addrs := u.addrs
	if !u.bound {
		addrs = []netip.Addr{n.advertised()}
	}
	for _, a := range addrs {
		out = append(out, netip.AddrPortFrom(a, n.cfg.DataPathPort))
	}
	return out
}

// openSwarm takes up the membership the node had. What stands in the way is not in
// the way of the daemon: what lives here goes on with what was known last.
func (n *Node) openSwarm(ctx context.Context) {
	err := n.openMember(ctx, "")
	switch {
	case err == nil, errors.Is(err, cluster.ErrNone):
		return
	case errors.Is(err, cluster.ErrLocked):
		n.log.Warn("this manager is locked: nothing of other nodes is known until \"weft swarm unlock\"")
	default:
		n.log.Error("the membership in a swarm cannot be taken up: this node goes on without the others", "error", err)
	}
	v, err := cluster.LastView(n.swarmDir())
	if err != nil {
		n.log.Error("the swarm's networks are not known", "error", err)
		return
	}
	n.netOp.Lock()
	n.adoptView(v)
	n.netOp.Unlock()
}

// openMember takes up the membership, with the key of a manager that is locked.
func (n *Node) openMember(ctx context.Context, unlockKey string) error {
	c := n.clusterConfig()
	c.UnlockKey = unlockKey
	m, err := cluster.Open(ctx, c)
	n.mu.Lock()
	n.member, n.trouble = m, nil
	switch {
	case errors.Is(err, cluster.ErrLocked):
		n.trouble = errLocked
	case err != nil && !errors.Is(err, cluster.ErrNone):
		n.trouble = cnm.Errorf(cnm.Unavailable, "the membership of this node in a swarm cannot be taken up (%w): mend that and restart the daemon, or use \"weft swarm leave --force\"", err)
	}
	n.mu.Unlock()
	if err == nil {
		n.adoptNetworks()
	}
	return err
}

// reopenSwarm closes the member and opens it again, in its new role.
func (n *Node) reopenSwarm() {
	n.swarmOp.Lock()
	defer n.swarmOp.Unlock()
	m, err := n.swarmMember()
	if err != nil || n.own.stopping() {
		return
	}
	m.Close()
	n.takeUpAgain("") // a new manager's store has no lock yet
}

// errLocked is the answer of a manager that is locked.
var errLocked = cnm.Errorf(cnm.Unavailable, "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"weft swarm unlock\" to unlock it.")

// inTrouble is why the node's membership cannot be taken up: errLocked or what is
// broken. It is nil where there is none, or nothing is wrong with it.
func (n *Node) inTrouble() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.trouble
}

// swarmMember returns the node's part in a swarm, or errNoSwarm.
func (n *Node) swarmMember() (*cluster.Member, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.trouble != nil:
		return nil, n.trouble
	case n.member == nil:
		return nil, errNoSwarm
	}
	return n.member, nil
}

// SwarmInit makes a swarm with this node as its first manager and returns the
// node's id.
func (n *Node) SwarmInit(ctx context.Context, o cnm.SwarmInit) (string, error) {
	return n.enterSwarm(func(c cluster.Config) (*cluster.Member, error) { return cluster.Init(ctx, c, o) }, o.ForceNewCluster)
}

// SwarmJoin makes this node a member of a swarm.
func (n *Node) SwarmJoin(ctx context.Context, o cnm.SwarmJoin) error {
	_, err := n.enterSwarm(func(c cluster.Config) (*cluster.Member, error) { return cluster.Join(ctx, c, o) }, false)
	return err
}

// enterSwarm makes the node a member by what enter does. again lets one that is a
// member already begin anew with what it has.
func (n *Node) enterSwarm(enter func(cluster.Config) (*cluster.Member, error), again bool) (string, error) {
	n.swarmOp.Lock()
	defer n.swarmOp.Unlock()
	n.mu.Lock()
	before, trouble := n.member, n.trouble
	n.mu.Unlock()
	switch {
	case n.own.stopping():
		return "", cnm.Errorf(cnm.Unavailable, "the daemon is stopping")
	case trouble != nil:
		return "", trouble
	case before != nil && !again:
		return "", cnm.Errorf(cnm.Unavailable, "This node is already part of a swarm. Use \"weft swarm leave\" to leave this swarm and join another one.")
	case before != nil && !before.Manager():
		return "", cnm.Errorf(cnm.Invalid, "--force-new-cluster is for managers: this node has no copy of the swarm's state")
	}
	c := n.clusterConfig()
	if before != nil {
		var err error
		if c.UnlockKey, err = before.UnlockKey(); err != nil {
			return "", err
		}
		before.Close()
	}
	m, err := enter(c)
	if err != nil {
		if before != nil {
			n.takeUpAgain(c.UnlockKey)
		}
		return "", err
	}
	n.mu.Lock()
	n.member = m
	n.mu.Unlock()
	n.wakeFollower()
	return m.ID(), nil
}

// takeUpAgain opens a member that was closed for what then failed or is done.
func (n *Node) takeUpAgain(unlockKey string) {
	if err := n.openMember(n.ctx, unlockKey); err != nil {
		n.log.Error("take up the membership in the swarm again: restart the daemon", "error", err)
		return
	}
	n.reconcileLeases()
	n.wakeFollower()
}

// SwarmLeave takes the node out of its swarm. A manager, and a membership that cannot
// be taken up, is given up only by force; a node with endpoints on the swarm's
// networks stays.
func (n *Node) SwarmLeave(ctx context.Context, force bool) error {
	n.swarmOp.Lock()
	defer n.swarmOp.Unlock()
	m, err := n.swarmMember()
	trouble := n.inTrouble()
	switch on := n.onSwarm(); {
	case err != nil && trouble == nil:
		return cnm.Errorf(cnm.Unavailable, "This node is not part of a swarm")
	case len(on) > 0:
		return cnm.Errorf(cnm.Unavailable, "sandboxes are on networks of the swarm (%s): stop or disconnect them first", on[0])
	case trouble == nil:
		err = m.Leave(ctx, force)
	case errors.Is(trouble, errLocked) && !force:
		err = cnm.Errorf(cnm.Unavailable, "this manager is locked: unlock it before it leaves, or use \"--force\", and what it keeps of the swarm is lost without a word to the others")
	case !force:
		err = trouble
	default:
		err = os.RemoveAll(n.swarmDir())
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.member, n.trouble = nil, nil
	for id, nw := range n.networks {
		if nw.Scope == cnm.ScopeSwarm {
			delete(n.networks, id)
		}
	}
	clear(n.fillings)
	n.mu.Unlock()
	return n.publish("")
}

// onSwarm names the endpoints on networks of the swarm, as SANDBOX on NETWORK.
func (n *Node) onSwarm() (on []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range n.boxes {
		for _, e := range b.sb.Endpoints {
			if nw := n.networks[e.NetworkID]; nw != nil && nw.Scope == cnm.ScopeSwarm {
				on = append(on, b.sb.Spec.Name+" on "+nw.Name)
			}
		}
	}
	slices.Sort(on)
	return on
}

// createInSwarm makes a network of the swarm. The caller holds netOp.
func (n *Node) createInSwarm(ctx context.Context, want cnm.Network) (string, error) {
	m, err := n.swarmMember()
	if errors.Is(err, errNoSwarm) {
		return "", cnm.Errorf(cnm.Unavailable, "an overlay network without peers needs a swarm, and this node is in none: make one with \"weft swarm init\", "+
			"or name the other nodes with -o %s=ADDRESS,ADDRESS:PORT,... and the network with -o %s=NUMBER", cnm.OptPeers, cnm.OptVNI)
	}
	if err != nil {
		return "", err
	}
	want.ID, want.Created = cnm.NewID(), n.now()
	made, err := m.CreateNetwork(ctx, want)
	if err != nil {
		return "", err
	}
	n.adoptNetworksLocked()
	return made.ID, nil
}

// removeFromSwarm removes a network of the swarm. The caller holds netOp.
func (n *Node) removeFromSwarm(ctx context.Context, id string) error {
	m, err := n.swarmMember()
	if err != nil {
		return err
	}
	if err := m.RemoveNetwork(ctx, id); err != nil {
		return err
	}
	n.adoptNetworksLocked()
	return nil
}

// wakeFollower tells the follower that there is something new. It never waits.
func (n *Node) wakeFollower() {
	select {
	case n.swarmNews <- struct{}{}:
	default: // it has yet to look
	}
}

// follow is the follower's goroutine.
func (n *Node) follow() {
	for {
		select {
		case <-n.swarmNews:
			n.adoptNetworks()
			n.publish("")
			n.lookAtPaths() // of tunnels that are new
		case <-n.own.stop:
			return
		}
	}
}

// adoptNetworks makes the desired state have the networks the swarm has.
func (n *Node) adoptNetworks() {
	n.netOp.Lock()
	defer n.netOp.Unlock()
	n.adoptNetworksLocked()
}

// adoptNetworksLocked is adoptNetworks for who holds netOp.
func (n *Node) adoptNetworksLocked() {
	if m, err := n.swarmMember(); err == nil {
		n.adoptView(m.View())
	}
}

// adoptView is adoptNetworks of a view. The caller holds netOp.
func (n *Node) adoptView(view *cluster.View) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := make(map[string]bool, len(view.Networks))
	for _, nw := range view.Networks {
		known[nw.ID] = true
		if n.networks[nw.ID] == nil {
			n.networks[nw.ID] = n.newNetwork(nw)
			n.emitNetwork("create", &nw, "")
		}
	}
	for id, nw := range n.networks {
		if nw.Scope == cnm.ScopeSwarm && !known[id] && len(n.endpointsLocked(id)) == 0 {
			delete(n.networks, id)
			delete(n.fillings, id)
			n.emitNetwork("destroy", &nw.Network, "")
		}
	}
}
