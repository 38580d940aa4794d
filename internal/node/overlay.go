package node

import (
	"maps"
	"net/netip"
	"slices"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/ipsec"
	"weft/vxlan"
)

// Theory of operation: the MTU of an overlay
//
// The kernel knows the underlay's MTU towards each peer (of the route's
// interface, or less where a router said so). The keeper asks once a second. The
// tunnel to a peer carries what fits into that; the network's MTU, which its
// endpoints' interfaces have, is the smallest of its tunnels', unless the user
// set one; in a swarm each node tells the others the smallest of its own, and the
// network's is the smallest of all. When the underlay changes, tunnels follow at once, so that what no
// longer fits is answered with "too big" or clamped; then the interfaces of
// running sandboxes are set.

// defaultPathMTU is taken for the underlay's towards a peer that cannot be
// asked about: Ethernet's.
const defaultPathMTU = 1500

// minMTU6 is the least that IPv6 needs of a link (RFC 8200, 5).
const minMTU6 = 1280

// maxPathMTU is the largest IP packet there is: what more an interface claims,
// such as the loopback's 65,536, carries nothing larger.
const maxPathMTU = 65535

// tunnels adds what makes dom an overlay: its VNI and a port per peer.
func (dom *domainPlan) tunnels(network string, o cnm.OverlayOptions, d desired) {
	dom.vni, dom.quiet = o.VNIs[0], !o.Multicast
	for _, peer := range o.Remotes(d.port, d.own) {
		seal := d.seals[network][peer]
		if o.Encrypted && seal.keys == nil {
			continue // nothing without a key: this cannot be
		}
		dom.ports[tunnelKey(network, peer)] = portPlan{
			name: dom.name + "@" + peer.String(), peer: peer, seal: seal, mtu: innerMTU(d.pathMTU, peer.Addr(), seal),
		}
	}
}

// fill is tunnels for a network that a cluster fills: a tunnel to every node that
// has it, and the way to everybody who lives there. What stands for nobody any more
// is in the way of nothing: a host behind a VTEP that has left is left out.
func (dom *domainPlan) fill(network string, fill filling, o cnm.OverlayOptions, d desired) {
	dom.vni, dom.quiet, dom.filled = fill.vni, !o.Multicast, true
	for _, peer := range fill.vteps {
		seal := fill.seals[peer]
		if o.Encrypted && seal.keys == nil {
			continue // as above
		}
		dom.ports[tunnelKey(network, peer)] = portPlan{
			name: dom.name + "@" + peer.String(), peer: peer, seal: seal, mtu: innerMTU(d.pathMTU, peer.Addr(), seal), maxMACs: -1,
		}
	}
	dom.remotes = make(map[frame.MAC]portKey, len(fill.remotes))
	for _, r := range fill.remotes {
		key := tunnelKey(network, r.vtep)
		if _, ok := dom.ports[key]; !ok {
			continue
		}
		dom.remotes[r.mac] = key
		for _, a := range r.addrs {
			if _, taken := dom.neighbours[a]; !taken {
				dom.neighbours[a] = r.mac
			}
		}
	}
}

const tunnelPrefix = "vtep "

// tunnelKey names the port that leads to a VTEP.
func tunnelKey(network string, peer netip.AddrPort) portKey {
	return portKey{network, tunnelPrefix + peer.String()}
}

// innerMTU is the largest IP packet that fits into one datagram to a peer.
func innerMTU(paths map[netip.Addr]int, peer netip.Addr, s sealing) int {
	mtu := paths[peer]
	if mtu == 0 {
		mtu = defaultPathMTU
	}
	if s.keys == nil {
		return vxlan.InnerMTU(mtu, peer.Is6())
	}
	return vxlan.SealedMTU(mtu, peer.Is6(), s.esp, s.in)
}

// mtuLocked is the MTU of a network's interfaces.
func (n *Node) mtuLocked(nw *network) int {
	if nw.Driver != cnm.DriverOverlay {
		return nw.options.MTU
	}
	if nw.overlay.MTU != 0 {
		return nw.overlay.MTU
	}
	mtu := n.tunnelsMTULocked(nw)
	if nw.Scope == cnm.ScopeSwarm {
		if mtu == 0 { // what the nodes to come most likely allow
			if nw.overlay.Encrypted {
				return vxlan.SealedMTU(cnm.DefaultMTU, false, nw.overlay.Cipher, ipsec.InUDP)
			}
			return cnm.DefaultOverlayMTU
		}
		if theirs := n.fillingLocked(nw).mtu; theirs != 0 {
			mtu = min(mtu, theirs)
		}
	}
	if mtu == 0 {
		mtu = vxlan.InnerMTU(maxPathMTU, false)
	}
	if nw.EnableIPv6 {
		// With less an interface loses its IPv6 addresses: the tunnel says too big.
		mtu = max(mtu, minMTU6)
	}
	return mtu
}

// tunnelsMTULocked is the smallest MTU of an overlay's tunnels, 0 where it has none.
func (n *Node) tunnelsMTULocked(nw *network) (mtu int) {
	seals := n.sealsLocked(nw)
	for _, p := range n.remotesLocked(nw) {
		if m := innerMTU(n.pathMTU, p.Addr(), seals[p]); mtu == 0 || m < mtu {
			mtu = m
		}
	}
	return mtu
}

// sealsLocked is what a network's tunnels are sealed by.
func (n *Node) sealsLocked(nw *network) map[netip.AddrPort]sealing {
	if nw.Scope == cnm.ScopeSwarm {
		return n.fillingLocked(nw).seals
	}
	return n.staticSealsLocked(nw)
}

// maxSuperframe bounds the superframes of an interface with an MTU on a network; 0
// where nothing does.
func (n *Node) maxSuperframe(network string, mtu int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if nw := n.networks[network]; nw != nil && nw.Driver == cnm.DriverOverlay {
		return nw.maxSuperframe(mtu)
	}
	return 0
}

// maxSuperframe is Node.maxSuperframe of an overlay.
func (nw *network) maxSuperframe(mtu int) int {
	if nw.overlay.Encrypted {
		return vxlan.MaxSealedSuperframe(mtu, nw.overlay.Cipher)
	}
	return vxlan.MaxSuperframe(mtu)
}

// remotesLocked lists the VTEPs of an overlay but this node's own.
func (n *Node) remotesLocked(nw *network) []netip.AddrPort {
	if nw.Scope == cnm.ScopeSwarm {
		return n.fillingLocked(nw).vteps
	}
	return nw.overlay.Remotes(n.cfg.DataPathPort, n.path.underlay.own())
}

// lookAtPaths notes what the kernel says about the underlay's MTU now, and makes
// everything follow when it has changed.
func (n *Node) lookAtPaths() {
	n.mu.Lock()
	last := n.pathMTU
	n.mu.Unlock()
	found := n.path.pathMTUs(last)
	n.mu.Lock()
	same := maps.Equal(found, n.pathMTU)
	n.pathMTU = found
	n.mu.Unlock()
	if !same {
		n.publish("")
	}
	// Later than that for a sandbox that was busy then.
	if len(n.stale()) > 0 && n.following.CompareAndSwap(false, true) {
		n.own.spawn(func() {
			defer n.following.Store(false)
			for _, ref := range n.stale() {
				n.followMTU(ref)
			}
		})
	}
}

// stale lists the running sandboxes that have an interface with another MTU than
// its overlay's.
func (n *Node) stale() (ids []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, b := range n.boxes {
		if len(n.staleLocked(b)) > 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// A linkSize is what an overlay lets an interface send.
type linkSize struct{ mtu, superframe int }

// staleLocked maps interfaces of b to the sizes they should have.
func (n *Node) staleLocked(b *box) map[string]linkSize {
	var out map[string]linkSize
	for _, e := range b.sb.Endpoints {
		nw := n.networks[e.NetworkID]
		if nw == nil || nw.Driver != cnm.DriverOverlay || b.devices[e.IfName] == nil {
			continue
		}
		if mtu := n.mtuLocked(nw); mtu != e.MTU && mtu != b.refusedMTU[e.IfName] {
			if out == nil {
				out = make(map[string]linkSize)
			}
			out[e.IfName] = linkSize{mtu, nw.maxSuperframe(mtu)}
		}
	}
	return out
}

// followMTU gives a sandbox's interfaces their overlays' MTU.
func (n *Node) followMTU(id string) {
	b, err := n.lockBox(id)
	if err != nil {
		return // gone meanwhile
	}
	defer b.op.Unlock()
	ctx, cancel := n.bounded(n.ctx)
	defer cancel()
	n.mu.Lock()
	stale, p, name := n.staleLocked(b), b.pluggerLocked(), b.sb.Spec.Name
	n.mu.Unlock()
	if p == nil {
		return
	}
	set := false
	for ifName, size := range stale {
		mtu := size.mtu
		if err := p.SetMTU(ctx, ifName, mtu, size.superframe); err != nil {
			n.log.Error("set the MTU of an overlay's interface", "sandbox", name, "interface", ifName, "mtu", mtu, "error", err)
			n.mu.Lock()
			if b.refusedMTU == nil {
				b.refusedMTU = make(map[string]int)
			}
			b.refusedMTU[ifName] = mtu // once is enough
			n.mu.Unlock()
			continue
		}
		set = true
		n.mu.Lock()
		delete(b.refusedMTU, ifName)
		b.sb.Endpoints = slices.Clone(b.sb.Endpoints)
		for i := range b.sb.Endpoints {
			if e := &b.sb.Endpoints[i]; e.IfName == ifName {
				e.MTU = mtu
			}
		}
		n.mu.Unlock()
	}
	if !set {
		return
	}
	// The ports take, and the tunnels answer, what the interfaces do now.
	if err := n.publish(id); err != nil {
		n.log.Error("set the MTU of a sandbox's ports", "sandbox", name, "error", err)
	}
	if err := n.save(b); err != nil {
		n.log.Error("journal a sandbox's MTU", "sandbox", name, "error", err)
	}
}
