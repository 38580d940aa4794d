package node

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"weft/internal/cnm"
)

// NetworkConnect puts a sandbox on a network. A running sandbox has the interface,
// and everybody else's way to it, when this returns; of a stopped one it is noted
// for its next start.
func (n *Node) NetworkConnect(ctx context.Context, netRef, ref string, c cnm.EndpointConfig) error {
	b, err := n.lockBox(ref)
	if err != nil {
		return err
	}
	defer b.op.Unlock()
	nw, running, err := n.connectable(b, netRef, c)
	if err != nil {
		return err
	}
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	if running {
		err := n.connectLive(ctx, b, nw.ID, c)
		if err == nil {
			if err = n.settle(ctx, b); err == nil {
				err = n.openPorts(b) // if it was on no network before
			}
			if err != nil {
				n.withdraw(ctx, b, nw.ID)
			}
		}
		if err != nil {
			n.settleAgain(b)
			return startError(&b.sb, err)
		}
	}
	n.mu.Lock()
	before := b.sb.Spec.Networks
	b.sb.Spec.Networks = append(slices.Clip(slices.Clone(before)), cnm.NetworkJoin{Network: nw.Name, Config: c})
	n.mu.Unlock()
	if err := n.save(b); err != nil {
		n.mu.Lock()
		b.sb.Spec.Networks = before
		n.mu.Unlock()
		if running {
			n.withdraw(ctx, b, nw.ID)
			n.settleAgain(b)
		}
		return err
	}
	if running {
		n.emitNetwork("connect", &nw.Network, b.sb.ID)
	}
	return nil
}

// connectable checks a connect against the desired state; it returns the network
// and whether the sandbox runs.
func (n *Node) connectable(b *box, netRef string, c cnm.EndpointConfig) (nw *network, running bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if nw, err = n.findNetworkLocked(netRef); err != nil {
		return nil, false, err
	}
	switch {
	case n.own.stopping():
		return nil, false, cnm.Errorf(cnm.Unavailable, "the daemon is stopping")
	case b.removing:
		return nil, false, cnm.Errorf(cnm.Conflict, "container %s is marked for removal and cannot be connected or disconnected to the network", b.sb.Spec.Name)
	case nw.Driver == cnm.DriverHost || b.sb.Spec.NetworkMode == cnm.NetHost:
		return nil, false, cnm.Errorf(cnm.Forbidden, "container cannot be disconnected from host network or connected to host network")
	case nw.Driver == cnm.DriverNone || b.sb.Spec.NetworkMode == cnm.NetNone:
		return nil, false, cnm.Errorf(cnm.Forbidden, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
	}
	if err := cnm.ValidateEndpoint(nw.Network, c); err != nil {
		return nil, false, err
	}
	if slices.ContainsFunc(b.sb.Spec.Networks, func(j cnm.NetworkJoin) bool { return j.Network == nw.Name }) || indexOf(b.sb.Joined(), nw.ID) >= 0 {
		return nil, false, cnm.Errorf(cnm.Forbidden, "endpoint with name %s already exists in network %s", b.sb.Spec.Name, nw.Name)
	}
	return nw, b.sb.State == cnm.Running, nil
}

// connectLive gives a running sandbox one more interface; what was made when it
// fails is undone.
func (n *Node) connectLive(ctx context.Context, b *box, network string, c cnm.EndpointConfig) error {
	join := cnm.NetworkJoin{Network: network, Config: c}
	if err := n.takeOver(ctx, b, network); err != nil {
		return err
	}
	ls, done, err := n.lease(ctx, []cnm.NetworkJoin{join})
	if err != nil {
		return err
	}
	defer done()
	n.mu.Lock()
	before := routesOf(b.sb.Endpoints)
	e, err := n.joinLocked(b, join, ls)
	p := b.pluggerLocked()
	n.giveBackLocked(ls)
	n.mu.Unlock()
	if err != nil {
		return err
	}
	// The journal knows before the interface exists: see restore.
	if err = n.save(b); err == nil {
		err = n.attachLive(ctx, b, p, &e, before)
	}
	if err != nil {
		n.withdraw(ctx, b, e.NetworkID)
		return err
	}
	n.awaitKeys(b)
	return nil
}

// withdraw takes back an endpoint whose connect failed, also when that took all
// the time ctx had. What cannot be undone is logged; the next daemon does it.
func (n *Node) withdraw(ctx context.Context, b *box, network string) {
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	n.mu.Lock()
	p, name := b.pluggerLocked(), b.sb.Spec.Name
	n.mu.Unlock()
	freed, err := n.unplug(ctx, b, p, network)
	if rerr := n.reroute(ctx, b, defaultRoutes{}); !gone(rerr) { // the old ones, if they were replaced
		err = errors.Join(err, rerr)
	}
	if err = errors.Join(err, n.save(b)); err != nil {
		n.log.Error("undo a connect", "sandbox", name, "error", err)
	}
	n.release(freed)
}

func (n *Node) attachLive(ctx context.Context, b *box, p plugger, e *cnm.Endpoint, before defaultRoutes) error {
	if p == nil {
		return errors.New("its agent is gone")
	}
	if err := n.plug(ctx, b, p, e.NetworkID, n.describe(e)); err != nil {
		return err
	}
	if err := n.publish(b.sb.ID); err != nil {
		return err
	}
	return n.reroute(ctx, b, before)
}

// unplug takes an endpoint away from a sandbox: off the switch, out of the
// namespace. It works on whatever part of it exists. What it returns is to be
// released once the journal no longer has it.
func (n *Node) unplug(ctx context.Context, b *box, p plugger, network string) (freed []cnm.Endpoint, err error) {
	n.mu.Lock()
	at := indexOf(b.sb.Endpoints, network)
	if at < 0 {
		n.mu.Unlock()
		return nil, nil
	}
	e := b.sb.Endpoints[at]
	dev := b.devices[e.IfName]
	delete(b.devices, e.IfName)
	n.mu.Unlock()
	var errs []error
	if dev != nil {
		if err := n.publish(b.sb.ID); err != nil && !errors.Is(err, errPathClosed) {
			errs = append(errs, err)
		}
		n.endFlows(true, e)
		dev.Close()
		if p != nil {
			if err := p.RemoveInterface(ctx, e.IfName); err != nil && !gone(err) {
				errs = append(errs, err)
			}
		}
	}
	n.mu.Lock()
	b.sb.Endpoints = slices.Delete(slices.Clone(b.sb.Endpoints), at, at+1)
	last := len(b.sb.Endpoints) == 0
	n.mu.Unlock()
	if last {
		n.closePorts(b)
	} else {
		n.tendPorts() // those that led to it lead to another now
	}
	return []cnm.Endpoint{e}, errors.Join(errs...)
}

// NetworkDisconnect takes a sandbox off a network, also while it runs.
func (n *Node) NetworkDisconnect(ctx context.Context, netRef, ref string, force bool) error {
	b, err := n.lockBox(ref)
	if err != nil {
		return err
	}
	defer b.op.Unlock()
	n.mu.Lock()
	nw, err := n.findNetworkLocked(netRef)
	if err != nil {
		n.mu.Unlock()
		return err
	}
	joined := slices.IndexFunc(b.sb.Spec.Networks, func(j cnm.NetworkJoin) bool { return j.Network == nw.Name })
	mode := b.sb.Spec.NetworkMode
	live := b.sb.State == cnm.Running && indexOf(b.sb.Joined(), nw.ID) >= 0
	before := routesOf(b.sb.Endpoints)
	p := b.pluggerLocked()
	n.mu.Unlock()
	switch {
	case nw.Driver == cnm.DriverHost && mode == cnm.NetHost:
		return cnm.Errorf(cnm.Forbidden, "container cannot be disconnected from host network or connected to host network")
	case nw.Driver == cnm.DriverNone && mode == cnm.NetNone:
		return n.leaveNone(b, nw)
	case joined < 0 && !live:
		return cnm.Errorf(cnm.Conflict, "container %s is not connected to network %s", b.sb.Spec.Name, nw.Name)
	}
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	var freed []cnm.Endpoint
	var failed error
	n.mu.Lock()
	b.unjoinLocked(nw.Name) // before settle, which writes it down
	n.mu.Unlock()
	if live {
		if freed, failed = n.unplug(ctx, b, p, nw.ID); failed == nil {
			failed = errors.Join(n.settle(ctx, b), n.reroute(ctx, b, before))
		}
	}
	err = n.save(b)
	n.release(freed)
	if err != nil {
		return err
	}
	n.emitNetwork("disconnect", &nw.Network, b.sb.ID)
	if force {
		return nil
	}
	return failed
}

// leaveNone takes a sandbox off the network none, which there is nothing of: from
// then on it is one without networks, and may join some.
func (n *Node) leaveNone(b *box, nw *network) error {
	n.mu.Lock()
	b.sb.Spec.NetworkMode = ""
	n.mu.Unlock()
	if err := n.save(b); err != nil {
		n.mu.Lock()
		b.sb.Spec.NetworkMode = cnm.NetNone
		n.mu.Unlock()
		return err
	}
	n.emitNetwork("disconnect", &nw.Network, b.sb.ID)
	return nil
}

// unjoinLocked takes a network, by name, off those that b joins when it starts.
func (b *box) unjoinLocked(network string) {
	b.sb.Spec.Networks = slices.DeleteFunc(slices.Clone(b.sb.Spec.Networks), func(j cnm.NetworkJoin) bool { return j.Network == network })
}

// defaultRoutes are the interfaces and gateways of a sandbox's default routes.
type defaultRoutes struct {
	if4, if6 string
	gw4, gw6 netip.Addr
}

func routesOf(eps []cnm.Endpoint) (r defaultRoutes) {
	gw4, gw6 := cnm.DefaultGateway(eps)
	if gw4 >= 0 {
		r.if4, r.gw4 = eps[gw4].IfName, eps[gw4].Gateway4
	}
	if gw6 >= 0 {
		r.if6, r.gw6 = eps[gw6].IfName, eps[gw6].Gateway6
	}
	return r
}

// reroute brings a running sandbox's default routes, if they are others than
// before, and its files in line with its endpoints.
func (n *Node) reroute(ctx context.Context, b *box, before defaultRoutes) error {
	n.mu.Lock()
	sb := copySandbox(&b.sb)
	a := b.agent
	p := b.pluggerLocked()
	n.mu.Unlock()
	if r := routesOf(sb.Endpoints); r != before && p != nil {
		if err := setRoutes(ctx, p, r); err != nil {
			return err
		}
	}
	if a == nil {
		return nil
	}
	n.serveNames(ctx, b)
	hosts, resolv := n.files(&sb)
	return a.WriteFiles(ctx, hosts, resolv)
}

// setRoutes sets the default routes there are. An interface that is gone has
// taken its own along.
func setRoutes(ctx context.Context, p plugger, r defaultRoutes) error {
	if r.if4 == r.if6 && r.if4 != "" {
		return p.SetDefaultRoute(ctx, r.if4, r.gw4, r.gw6)
	}
	if r.if4 != "" {
		if err := p.SetDefaultRoute(ctx, r.if4, r.gw4, netip.Addr{}); err != nil {
			return err
		}
	}
	if r.if6 != "" {
		return p.SetDefaultRoute(ctx, r.if6, netip.Addr{}, r.gw6)
	}
	return nil
}

// pluggerLocked returns where b's interfaces are made, nil if nowhere.
func (b *box) pluggerLocked() plugger {
	switch {
	case b.agent != nil:
		return b.agent
	case b.foreign != nil:
		return b.foreign
	}
	return nil
}
