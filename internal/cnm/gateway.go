package cnm

import (
	"cmp"
	"slices"
)

// Switched reports whether the node's switch has the network: host and none are
// the machine's own and nothing, a config-only network is a template.
func (n *Network) Switched() bool {
	return (n.Driver == DriverBridge || n.Driver == DriverOverlay) && !n.ConfigOnly
}

// GivesRoutes reports whether endpoints get default routes by the network's
// gateways: not those of an internal network, nor of an overlay, out of which only
// weft_gwbridge leads. The gateways' addresses are taken and answered all the same.
func (n *Network) GivesRoutes() bool { return !n.Internal && n.Driver != DriverOverlay }

// DefaultGateway chooses which endpoints give a sandbox its default routes, one
// for each family: the highest gw-priority wins, then one with gateways for
// both families, then the first network name; the one on weft_gwbridge comes last.
// Endpoints of networks that give no routes have no gateway and so never win. The
// results index eps; -1 means none.
func DefaultGateway(eps []Endpoint) (v4, v6 int) {
	order := make([]int, len(eps))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return compareGateway(&eps[a], &eps[b]) })
	v4, v6 = -1, -1
	for _, i := range order {
		if v4 < 0 && eps[i].Gateway4.IsValid() {
			v4 = i
		}
		if v6 < 0 && eps[i].Gateway6.IsValid() {
			v6 = i
		}
	}
	return v4, v6
}

// compareGateway is negative when a is the better gateway.
func compareGateway(a, b *Endpoint) int {
	if a.WayOut != b.WayOut {
		if a.WayOut {
			return 1
		}
		return -1
	}
	if c := cmp.Compare(b.Config.GwPriority, a.Config.GwPriority); c != 0 {
		return c
	}
	both := func(e *Endpoint) bool { return e.Gateway4.IsValid() && e.Gateway6.IsValid() }
	switch {
	case both(a) && !both(b):
		return -1
	case both(b) && !both(a):
		return 1
	}
	return cmp.Compare(a.Network, b.Network)
}
