package node

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"weft/internal/cnm"
)

// NetworkCreate makes a network: options checked, pools and gateway reserved,
// written to the journal, published to the switch. warning is for the user.
func (n *Node) NetworkCreate(ctx context.Context, want cnm.Network) (id, warning string, err error) {
	n.netOp.Lock()
	defer n.netOp.Unlock()
	nw, err := n.draft(want)
	if err != nil {
		return "", "", err
	}
	if nw.Scope == cnm.ScopeSwarm {
		id, err = n.createInSwarm(ctx, nw.Network)
		return id, "", err
	}
	if err := n.admit(nw); err != nil {
		return "", "", err
	}
	n.emitNetwork("create", &nw.Network, "")
	if nw.Driver == cnm.DriverOverlay {
		return nw.ID, n.overlayAdvice(nw), nil
	}
	if !nw.ConfigOnly { // of those, whoever makes a network from it is told
		warning = nw.options.Warning()
	}
	return nw.ID, warning, nil
}

// draft checks what a user wants and returns the network it would become, with
// nothing reserved yet.
func (n *Node) draft(want cnm.Network) (*network, error) {
	others := n.networkList()
	if want.ConfigFrom != "" {
		i := slices.IndexFunc(others, func(o cnm.Network) bool { return o.Name == want.ConfigFrom })
		if i < 0 {
			return nil, cnm.Errorf(cnm.NotFound, "configuration network %q does not exist", want.ConfigFrom)
		}
		var err error
		if want, err = cnm.MergeConfigFrom(want, others[i]); err != nil {
			return nil, err
		}
	}
	ready, err := cnm.ValidateNetwork(want)
	if err != nil {
		return nil, err
	}
	if err := cnm.CheckConflict(ready, others); err != nil {
		return nil, err
	}
	nw := n.newNetwork(ready)
	if file := nw.overlay.PSKFile; file != "" {
		if _, err := readSecret(file); err != nil {
			return nil, cnm.Errorf(cnm.Invalid, "driver option %s: %w", cnm.OptPSKFile, err)
		}
	}
	return nw, n.path.underlay.cfg.checkPeers(nw.overlay.Peers)
}

func (n *Node) newNetwork(nw cnm.Network) *network {
	if nw.ID == "" {
		nw.ID, nw.Created = cnm.NewID(), n.now()
	}
	if nw.Driver != cnm.DriverOverlay || nw.ConfigOnly {
		o, _ := cnm.ParseBridgeOptions(nw.Options)
		return &network{Network: nw, options: o}
	}
	options, _ := cnm.ParseBridgeOptions(nil)
	overlay, _ := cnm.ParseOverlayOptions(nw.Options)
	options.MTU = cmp.Or(overlay.MTU, cnm.DefaultOverlayMTU)
	return &network{Network: nw, options: options, overlay: overlay}
}

// admit reserves nw's addresses and makes it part of the desired state, on disk
// and on the switch; on an error nothing of it is left.
func (n *Node) admit(nw *network) error {
	avoid := n.hostPrefixes()
	n.path.underlay.look(net.InterfaceAddrs) // who is a peer and who this node
	n.mu.Lock()
	for _, o := range n.networks {
		if o.Scope == cnm.ScopeSwarm { // the managers' subnets, which this node's pools do not know
			avoid = append(avoid, o.subnets()...)
		}
	}
	err := n.reserveLocked(nw, avoid)
	n.mu.Unlock()
	if err != nil {
		return err
	}
	if err := n.journal.putNetwork(networkRecord{Network: nw.Network}); err != nil {
		n.expel(nw)
		return err
	}
	n.mu.Lock()
	n.networks[nw.ID] = nw
	n.mu.Unlock()
	if err := n.publish(nw.ID); err != nil {
		n.expel(nw)
		n.journal.dropNetwork(nw.ID)
		return err // it names the network
	}
	if nw.Driver == cnm.DriverOverlay {
		n.lookAtPaths() // the first interface has the right MTU
	}
	return nil
}

// expel is the reverse of admit, the journal aside.
func (n *Node) expel(nw *network) {
	n.mu.Lock()
	delete(n.networks, nw.ID)
	n.unreserveLocked(nw)
	n.mu.Unlock()
	n.publish("")
}

// networkList returns all networks, by name.
func (n *Node) networkList() []cnm.Network {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]cnm.Network, 0, len(n.networks))
	for _, nw := range n.networks {
		out = append(out, nw.Network)
	}
	slices.SortFunc(out, func(a, b cnm.Network) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// NetworkRemove removes a network that nobody is on.
func (n *Node) NetworkRemove(ctx context.Context, ref string) error {
	n.netOp.Lock()
	defer n.netOp.Unlock()
	return n.removeNetwork(ctx, ref)
}

func (n *Node) removeNetwork(ctx context.Context, ref string) error {
	n.mu.Lock()
	nw, err := n.findNetworkLocked(ref)
	if err == nil {
		err = n.removableLocked(nw)
	}
	if err != nil {
		n.mu.Unlock()
		return err
	}
	if nw.Scope == cnm.ScopeSwarm {
		n.mu.Unlock()
		return n.removeFromSwarm(ctx, nw.ID)
	}
	// From here on nobody can join.
	nw.going = true
	n.mu.Unlock()
	if err := n.journal.dropNetwork(nw.ID); err != nil {
		n.mu.Lock()
		nw.going = false
		n.mu.Unlock()
		return err
	}
	n.expel(nw)
	n.forgetStatics(nw.ID)
	n.emitNetwork("destroy", &nw.Network, "")
	return nil
}

func (n *Node) removableLocked(nw *network) error {
	if cnm.IsPredefined(nw.Name) {
		return cnm.Errorf(cnm.Forbidden, "%s is a pre-defined network and cannot be removed", nw.Name)
	}
	if nw.ConfigOnly {
		for _, o := range n.networks {
			if o.ConfigFrom == nw.Name {
				return cnm.Errorf(cnm.Forbidden, "configuration network %q is in use by network %q", nw.Name, o.Name)
			}
		}
	}
	var on []string
	for _, e := range n.endpointsLocked(nw.ID) {
		on = append(on, fmt.Sprintf("name:%q id:%q", e.Name, cnm.ShortID(e.ID)))
	}
	if len(on) > 0 {
		return cnm.Errorf(cnm.Forbidden, "error while removing network: network %s has active endpoints (%s)", nw.Name, strings.Join(on, ", "))
	}
	return nil
}

// NetworkPrune removes the networks nobody is on, except predefined ones and
// those that keep holds back, and returns the names of the removed.
func (n *Node) NetworkPrune(ctx context.Context, keep func(cnm.Network) bool) ([]string, error) {
	n.netOp.Lock()
	defer n.netOp.Unlock()
	var removed []string
	for _, nw := range n.networkList() {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		if cnm.IsPredefined(nw.Name) || keep != nil && keep(nw) {
			continue
		}
		// In use is the usual reason not to remove one, and no error here.
		if n.removeNetwork(ctx, nw.ID) == nil {
			removed = append(removed, nw.Name)
		}
	}
	return removed, nil
}

// endpointsLocked returns who is on a network, by sandbox name. An empty id
// means all networks.
func (n *Node) endpointsLocked(network string) []EndpointView {
	var out []EndpointView
	for _, b := range n.boxes {
		for _, e := range b.sb.Endpoints {
			if network == "" || e.NetworkID == network {
				v := EndpointView{Endpoint: e, Sandbox: b.sb.Spec.Name, Name: b.sb.Spec.Name}
				if e.WayOut {
					v.Name = cnm.GatewayName(b.sb.ID)
				}
				out = append(out, v)
			}
		}
		if e, ok := n.modeEndpointLocked(&b.sb); ok && (network == "" || e.NetworkID == network) {
			out = append(out, EndpointView{Endpoint: e, Sandbox: b.sb.Spec.Name, Name: b.sb.Spec.Name})
		}
	}
	slices.SortFunc(out, func(a, b EndpointView) int {
		return cmp.Or(cmp.Compare(a.Sandbox, b.Sandbox), cmp.Compare(a.IfName, b.IfName))
	})
	return out
}

// Networks returns every network with what is on it, by name.
func (n *Node) Networks() []NetworkView {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]NetworkView, 0, len(n.networks))
	for _, nw := range n.networks {
		out = append(out, n.viewLocked(nw))
	}
	slices.SortFunc(out, func(a, b NetworkView) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Network returns one network by id, unique id prefix or name.
func (n *Node) Network(ref string) (NetworkView, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	nw, err := n.findNetworkLocked(ref)
	if err != nil {
		return NetworkView{}, err
	}
	return n.viewLocked(nw), nil
}

func (n *Node) viewLocked(nw *network) NetworkView {
	v := NetworkView{Network: nw.Network, Endpoints: n.endpointsLocked(nw.ID), Subnets: n.subnetsLocked(nw)}
	if nw.Driver == cnm.DriverOverlay {
		v.Peers, v.MTU, v.Nodes = n.remotesLocked(nw), n.mtuLocked(nw), n.nodesOfLocked(nw)
	}
	return v
}

// predefine makes the networks every node has, at its first start.
func (n *Node) predefine() error {
	for _, p := range cnm.Predefined() {
		n.mu.Lock()
		_, err := n.findNetworkLocked(p.Name)
		n.mu.Unlock()
		if err == nil {
			continue
		}
		if err := n.admit(n.newNetwork(p)); err != nil {
			return fmt.Errorf("predefined network %s: %w", p.Name, err)
		}
	}
	return nil
}

// restoreNetworks makes the journal's networks the desired state again.
func (n *Node) restoreNetworks(records []networkRecord) error {
	n.mu.Lock()
	for _, r := range records {
		nw := n.newNetwork(r.Network)
		if err := n.reserveLocked(nw, nil); err != nil {
			n.mu.Unlock()
			return fmt.Errorf("network %s of the journal: %w", nw.Name, err)
		}
		n.networks[nw.ID] = nw
	}
	n.mu.Unlock()
	err := n.publish("")
	n.lookAtPaths() // nobody is told of a smaller MTU than there is
	return err
}
