package node

import (
	"net/netip"
	"slices"
	"strconv"

	"weft/internal/uplink"
)

// openExit opens the exit of a network: a stack of its own, whose flows are sockets of
// this process.
func (n *Node) openExit(c exitConfig) (exit, error) {
	all, each := flowBounds(ownLimits())
	h, err := uplink.NewHost(uplink.HostConfig{
		Name: c.name, MAC: c.mac, Addrs: c.addrs, MTU: c.mtu, Neighbour: c.neighbour, Inside: n.isInside, Begins: n.mayBegin,
		HostLoopback: n.cfg.HostLoopback, MaxFlows: all, MaxFlowsPerEndpoint: each, Log: n.log,
	})
	if err != nil {
		return nil, err
	}
	return hostExit{h}, nil
}

// flowBounds are the most flows of a network, and of an endpoint of it. Each takes an open
// file of this process: where there are few, a network gets half of them and an endpoint an
// eighth, so that neither leaves the daemon without.
func flowBounds(limits string) (all, each int) {
	all, each = uplink.DefaultMaxFlows, uplink.DefaultMaxFlowsPerEndpoint
	if most, err := strconv.ParseUint(fileLimit(limits), 10, 31); err == nil {
		all, each = min(all, max(int(most)/2, 1)), min(each, max(int(most)/8, 1))
	}
	return all, each
}

// A hostExit is a host uplink, by which ports can be published.
type hostExit struct{ *uplink.Host }

func (h hostExit) publish(b uplink.Binding) (published, error) {
	p, err := h.Publish(b)
	if err != nil {
		return nil, err // not a *Published that is nil
	}
	return p, nil
}

// mayBegin reports whether an endpoint may begin flows: its place on weft_gwbridge is
// not for published ports alone.
func (n *Node) mayBegin(a netip.Addr) bool {
	return !slices.Contains(n.reachedNow(), a)
}

// reachedNow returns those that may not, as of the last plan.
func (n *Node) reachedNow() []netip.Addr {
	if reached := n.reached.Load(); reached != nil {
		return *reached
	}
	return nil
}
