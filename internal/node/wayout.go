package node

import (
	"fmt"
	"net/netip"
	"slices"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/nat"
	"weft/vswitch"
)

// Theory of operation: the way out
//
// A bridge network that leads out has an exit while somebody is on it: a port of its
// domain (vswitch/exit.go), whose queue is opened by what Config.Uplink names. It is
// in the plan like any port, so a failure to open one is a fault, and tried again. The
// order of removal is
//
//	workers drop the charge, sw.RemovePort, exit.Close
//
// When an address of a network is nobody's any more, its flows are ended there and then:
// the next sandbox may have it, and what comes from outside is not for that one.
//
// Overlays have no exit of their own: see gwbridge.go. What an uplink may never carry,
// the addresses of weft's own networks, it asks Node.inside for; that is a snapshot,
// made with each plan.

// An exit is the queue of one network's way out.
type exit interface {
	vswitch.Queue
	// FD is readable while frames wait to be read.
	FD() int
	// Flush ends what an endpoint has begun, and returns how many flows those were.
	Flush(netip.Addr) int
	// Close ends all that goes by it. Nobody may use the queue any more.
	Close() error
}

// An exitConfig is what opening an exit takes.
type exitConfig struct {
	name  string       // the network's
	mac   frame.MAC    // the gateway's
	addrs []netip.Addr // the gateways whose family leads out
	mtu   int
	// neighbour finds who has an address of the network.
	neighbour func(netip.Addr) (frame.MAC, bool)
}

// exitName names the port of a network's exit beside the tunnels, as NETWORK@uplink.
const exitName = "uplink"

func exitKey(network string) portKey { return portKey{network, exitName} }

// exitAddrs are the gateways of a network that lead out of it: the switch's own, of
// the families that are masqueraded. None: there is no way out.
func exitAddrs(nw *cnm.Network, o cnm.BridgeOptions) []netip.Addr {
	if nw.Driver != cnm.DriverBridge || nw.Internal {
		return nil
	}
	return slices.DeleteFunc(gatewayAddrs(nw, o), func(a netip.Addr) bool { return !o.Masquerades(a.Is4()) })
}

// exits adds exits to the networks that lead out and have somebody on them.
func (p plan) exits(networks []cnm.Network) {
	for i := range networks {
		nw := &networks[i]
		dom, ok := p[nw.ID]
		if !ok || len(dom.ports) == 0 {
			continue
		}
		o, _ := cnm.ParseBridgeOptions(nw.Options) // checked when the network was made; an overlay's say nothing here
		if addrs := exitAddrs(nw, o); len(addrs) > 0 {
			dom.ports[exitKey(nw.ID)] = portPlan{name: nw.Name + "@" + exitName, exit: true, mac: dom.gatewayMAC, addrs: addrs, mtu: o.MTU}
		}
	}
}

// addExit opens a network's way out.
func (d *dataPath) addExit(s step) error {
	dom := d.domains[s.network]
	if dom == nil {
		return nil // adding the domain failed and said so
	}
	x, err := d.openExit(exitConfig{
		name: dom.Name(), mac: s.port.mac, addrs: s.port.addrs, mtu: s.port.mtu, neighbour: dom.Neighbours().Lookup,
	})
	if err != nil {
		return fmt.Errorf("the way out of network %s: %w", dom.Name(), err)
	}
	p, err := d.sw.AddPort(vswitch.PortConfig{Name: s.port.name, Domain: dom, Exit: true, MTU: s.port.mtu}, x)
	if err != nil {
		x.Close()
		return fmt.Errorf("the way out of network %s: %w", dom.Name(), err)
	}
	lp := &livePort{key: s.key, network: s.network, plan: s.port, exit: x, port: p}
	lp.charges = []*charge{d.newCharge(x.FD(), func(w *vswitch.Worker) (int, error) { return w.TurnQueue(p, 0) }, func() uint64 {
		s := p.Stats()
		return s.InBytes + s.InFrames*frameCost
	})}
	d.enter(lp)
	if err := d.serve(lp); err != nil {
		d.sw.RemovePort(p)
		x.Close()
		delete(d.ports, s.key)
		delete(d.current[s.network].ports, s.key)
		return fmt.Errorf("the way out of network %s: %w", dom.Name(), err)
	}
	return nil
}

// flush ends what goes by a network's exit, if it has one, for an address that changes
// hands. The neighbour table does not have it any more: nothing new begins.
func (d *dataPath) flush(network string, a netip.Addr) {
	if d.packet != nil {
		d.packet.table.Flush(func(f nat.Flow) bool { return f.Source.Addr() == a || f.TranslatedDestination.Addr() == a })
	}
	if lp := d.ports[exitKey(network)]; lp != nil {
		lp.exit.Flush(a)
	}
}

// reopenExits takes away the exits whose queue has failed; the next publish opens them
// again. The caller holds d.mu.
func (d *dataPath) reopenExits() {
	for key, lp := range d.ports {
		if lp.exit == nil || !lp.dead() {
			continue
		}
		name := lp.port.Name()
		d.removePort(lp.network, key)
		if d.faults == nil {
			d.faults = make(map[faultKey]error)
		}
		d.faults[faultKey{lp.network, key}] = fmt.Errorf("port %s: its queue has failed", name)
	}
}

// insideLocked lists the subnets of all networks this node knows.
func (n *Node) insideLocked() (subnets []netip.Prefix) {
	for _, nw := range n.networks {
		subnets = append(subnets, nw.subnets()...)
	}
	return subnets
}

// subnets are those that nw has.
func (nw *network) subnets() (out []netip.Prefix) {
	for _, p := range nw.IPAM.Config {
		if p.Subnet.IsValid() && !p.AnySubnet() {
			out = append(out, p.Subnet.Masked())
		}
	}
	return out
}

// insideNow returns what the last plan had inside.
func (n *Node) insideNow() []netip.Prefix {
	if subnets := n.inside.Load(); subnets != nil {
		return *subnets
	}
	return nil
}

// isInside reports whether an address is one of weft's own: it never leaves by an
// uplink.
func (n *Node) isInside(a netip.Addr) bool {
	return slices.ContainsFunc(n.insideNow(), func(p netip.Prefix) bool { return p.Contains(a) })
}
