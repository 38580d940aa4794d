package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"weft/internal/cnm"
)

// Theory of operation: weft_gwbridge
//
// An overlay has no way out of its own. A sandbox that is on one, and that no other of
// its networks gives a default route (cnm.NeedsGateway), has one more interface, on the
// network weft_gwbridge, which is made when it is first needed. It is an endpoint like
// others but for its mark, WayOut: it is not among the networks the sandbox was asked
// to be on, so nobody disconnects it by hand, and it has no names. A sandbox that
// publishes ports and has no other way in has one without a default route, and may
// begin nothing by it (uplink.HostConfig.Begins).
//
// It is joined last when a sandbox starts. settle brings a running sandbox in line
// after its networks have changed: after a connect the new default route is set before
// the old interface goes, after a disconnect the interface comes and then the route.
// The journal knows an endpoint before its interface exists and until it is gone, as of
// any other, and says besides that the route is yet to be set (box.changed). settle is
// what a new daemon does first for its sandboxes.
//
// With the uplink none nothing leads out, and nobody gets one.

// needsGatewayLocked says what b is to have an endpoint on weft_gwbridge for.
func (n *Node) needsGatewayLocked(b *box) cnm.GatewayNeed {
	if n.cfg.Uplink.Kind == UplinkNone {
		return cnm.NeedsNone
	}
	networks := make([]cnm.Network, len(b.sb.Endpoints))
	for i, e := range b.sb.Endpoints {
		if nw := n.networks[e.NetworkID]; nw != nil {
			networks[i] = nw.Network
		}
	}
	return cnm.NeedsGateway(&b.sb.Spec, b.sb.Endpoints, networks)
}

// takeOver closes b's way out, if it is on the network that b is to join now by hand,
// with the settings that are wanted.
func (n *Node) takeOver(ctx context.Context, b *box, network string) error {
	n.mu.Lock()
	e := wayOut(b.sb.Endpoints)
	there := e != nil && e.NetworkID == network
	n.mu.Unlock()
	if !there {
		return nil
	}
	return n.closeGateway(ctx, b)
}

// gatewayNeed is what need e serves, which may be nil.
func gatewayNeed(e *cnm.Endpoint) cnm.GatewayNeed {
	switch {
	case e == nil:
		return cnm.NeedsNone
	case e.Gateway4.IsValid():
		return cnm.NeedsWayOut
	}
	return cnm.NeedsWayIn
}

// wayOut returns the endpoint that is marked so, or nil.
func wayOut(eps []cnm.Endpoint) *cnm.Endpoint {
	for i := range eps {
		if eps[i].WayOut {
			return &eps[i]
		}
	}
	return nil
}

// joinGateway gives b an endpoint on weft_gwbridge, and makes that if it is not there.
func (n *Node) joinGateway(b *box, need cnm.GatewayNeed) (cnm.Endpoint, error) {
	if e, err := n.joinGwbridge(b, need); !errors.Is(err, cnm.NotFound) {
		return e, err
	}
	n.netOp.Lock()
	defer n.netOp.Unlock()
	if err := n.makeGwbridge(); err != nil {
		return cnm.Endpoint{}, err
	}
	return n.joinGwbridge(b, need) // who removes networks waits for netOp
}

// joinGwbridge is joinGateway where the network exists.
func (n *Node) joinGwbridge(b *box, need cnm.GatewayNeed) (cnm.Endpoint, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	nw := n.gwbridgeLocked()
	if nw == nil {
		return cnm.Endpoint{}, cnm.Errorf(cnm.NotFound, "network %s not found", cnm.NetGwbridge)
	}
	if _, err := n.joinLocked(b, cnm.NetworkJoin{Network: nw.ID}, nil); err != nil {
		return cnm.Endpoint{}, err
	}
	e := &b.sb.Endpoints[len(b.sb.Endpoints)-1]
	e.WayOut, e.DNSNames = true, nil
	if need == cnm.NeedsWayIn {
		e.Gateway4, e.Gateway6 = netip.Addr{}, netip.Addr{}
	}
	return *e, nil
}

// gwbridgeLocked returns the network of that name, or nil.
func (n *Node) gwbridgeLocked() *network {
	for _, nw := range n.networks {
		if nw.Name == cnm.NetGwbridge {
			return nw
		}
	}
	return nil
}

// makeGwbridge makes the network, unless somebody else just has. The caller holds netOp.
func (n *Node) makeGwbridge() error {
	n.mu.Lock()
	there := n.gwbridgeLocked()
	n.mu.Unlock()
	if there != nil {
		return nil
	}
	nw, err := n.draft(cnm.Gwbridge())
	if err == nil {
		err = n.admit(nw)
	}
	if err != nil {
		return fmt.Errorf("network %s, the way out of overlays, cannot be made: %w", cnm.NetGwbridge, err)
	}
	n.emitNetwork("create", &nw.Network, "")
	return nil
}

// settle gives a running sandbox its interface on weft_gwbridge, or takes it away, as
// its other networks have it. The caller holds b.op.
func (n *Node) settle(ctx context.Context, b *box) error {
	n.mu.Lock()
	needs, has := n.needsGatewayLocked(b), gatewayNeed(wayOut(b.sb.Endpoints))
	p, before := b.pluggerLocked(), routesOf(b.sb.Endpoints)
	n.mu.Unlock()
	if needs == has || p == nil {
		return nil
	}
	if has != cnm.NeedsNone {
		if err := n.closeGateway(ctx, b); err != nil || needs == cnm.NeedsNone {
			return err
		}
	}
	e, err := n.joinGateway(b, needs)
	if err != nil {
		return err
	}
	n.setChanged(b, true) // until the route is set
	if err = n.save(b); err == nil {
		err = n.attachLive(ctx, b, p, &e, before)
	}
	n.setChanged(b, false)
	if err != nil {
		return errors.Join(err, n.closeGateway(ctx, b))
	}
	n.emitGateway("connect", b, &e)
	return n.save(b)
}

func (n *Node) setChanged(b *box, changed bool) {
	n.mu.Lock()
	b.changed = changed
	n.mu.Unlock()
}

// closeGateway takes away b's interface on weft_gwbridge, or what there is of it. The
// caller holds b.op.
func (n *Node) closeGateway(ctx context.Context, b *box) error {
	n.mu.Lock()
	p, e := b.pluggerLocked(), wayOut(b.sb.Endpoints)
	if e == nil {
		n.mu.Unlock()
		return nil
	}
	network, made := e.NetworkID, b.devices[e.IfName] != nil
	n.mu.Unlock()
	freed, err := n.unplug(ctx, b, p, network)
	err = errors.Join(err, n.save(b))
	n.release(freed)
	if made {
		n.emitGateway("disconnect", b, &freed[0])
	}
	return err
}

// settleAgain is settle after a change to b's networks that failed, and may have left it
// without a way out. What cannot be mended is logged; the next change tries again.
func (n *Node) settleAgain(b *box) {
	ctx, cancel := n.bounded(n.ctx)
	defer cancel()
	if err := n.settle(ctx, b); err != nil && !gone(err) {
		n.log.Error("the way out of a sandbox", "sandbox", b.sb.Spec.Name, "error", err)
	}
}

// settleRestored is settle for a sandbox that was just restored. Its default routes and
// its files are set again if it has other interfaces now: they may have gone with one.
func (n *Node) settleRestored(b *box) {
	b.op.Lock()
	defer b.op.Unlock()
	n.mu.Lock()
	runs, changed, before := b.pluggerLocked() != nil, b.changed, len(b.sb.Endpoints)
	n.mu.Unlock()
	if !runs {
		return
	}
	n.settleAgain(b)
	n.nameRestored(b)
	n.mu.Lock()
	changed = changed || len(b.sb.Endpoints) != before
	b.changed = false
	n.mu.Unlock()
	if !changed {
		return
	}
	ctx, cancel := n.bounded(n.ctx)
	defer cancel()
	if err := n.reroute(ctx, b, defaultRoutes{}); err != nil && !gone(err) {
		n.log.Error("the default routes of a sandbox", "sandbox", b.sb.Spec.Name, "error", err)
	}
	if err := n.save(b); err != nil {
		n.log.Error("journal", "sandbox", b.sb.Spec.Name, "error", err)
	}
}

func (n *Node) emitGateway(action string, b *box, e *cnm.Endpoint) {
	n.mu.Lock()
	nw := n.networks[e.NetworkID]
	n.mu.Unlock()
	if nw != nil {
		n.emitNetwork(action, &nw.Network, b.sb.ID)
	}
}
