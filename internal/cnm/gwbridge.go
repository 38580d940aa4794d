package cnm

import "strings"

// NetGwbridge is the name of a node's network for the way out of overlays, what
// docker_gwbridge is to Docker. It is a bridge network of the node's own, made when a
// sandbox first needs it; whoever wants other options makes it before.
const NetGwbridge = "weft_gwbridge"

// gatewayPrefix begins the names of endpoints that sandboxes have on [NetGwbridge]
// without having asked, as in Docker.
const gatewayPrefix = "gateway_"

// GatewayName is what a sandbox's endpoint with WayOut is called.
func GatewayName(sandbox string) string { return gatewayPrefix + ShortID(sandbox) }

// Gwbridge returns the network of that name as it is when nobody made another: IPv4
// only, its endpoints apart from each other, its subnet left to be chosen.
func Gwbridge() Network {
	return Network{
		Name: NetGwbridge, Scope: ScopeLocal, Driver: DriverBridge, EnableIPv4: true, IPAM: IPAM{Driver: IPAMDefault},
		Options: map[string]string{optName: NetGwbridge, optICC: "false", optMasquerade: "true"},
		Labels:  map[string]string{},
	}
}

// A GatewayNeed is what a sandbox needs an endpoint on [NetGwbridge] for.
type GatewayNeed uint8

// The needs.
const (
	NeedsNone   GatewayNeed = iota
	NeedsWayIn              // published ports lead to it; it has no default route
	NeedsWayOut             // both
)

// NeedsGateway says whether a sandbox with the endpoints eps is to have one more, on
// [NetGwbridge]. None of the others gives it an IPv4 default route (Docker,
// sandbox.needDefaultGW), and an overlay that is not internal is among its networks: it
// needs a way out. Or it publishes ports, and none of its default routes leads out, so
// that nothing comes in there: it needs a way in. networks[i] is the network of eps[i].
// What it has there already does not count.
func NeedsGateway(spec *SandboxSpec, eps []Endpoint, networks []Network) GatewayNeed {
	if spec.NetworkMode != "" { // host or none
		return NeedsNone
	}
	var others []Endpoint
	var on []Network
	needs := NeedsNone
	for i := range eps {
		if eps[i].WayOut {
			continue
		}
		others, on = append(others, eps[i]), append(on, networks[i])
		if networks[i].Driver == DriverOverlay && !networks[i].Internal {
			needs = NeedsWayOut
		}
	}
	gw4, gw6 := DefaultGateway(others)
	switch {
	case gw4 < 0 && needs == NeedsWayOut:
		return NeedsWayOut
	case len(others) == 0 || len(spec.Mappings()) == 0,
		gw4 >= 0 && on[gw4].LeadsOut(true), gw6 >= 0 && on[gw6].LeadsOut(false):
		return NeedsNone
	}
	return NeedsWayIn
}

// LeadsOut reports whether a network's own gateway, of IPv4 or of IPv6, is a way out and
// in: that of a bridge network is, which is not internal, masquerades, and has a gateway
// that is the switch itself.
func (n *Network) LeadsOut(v4 bool) bool {
	if n.Driver != DriverBridge || n.Internal {
		return false
	}
	o, err := ParseBridgeOptions(n.Options)
	return err == nil && o.leadOut(v4)
}

// validateGwbridge checks a network by the name of [NetGwbridge] that a user makes: it
// has to be one that leads out.
func validateGwbridge(n Network) error {
	var wrong []string
	if n.Driver != DriverBridge || n.ConfigOnly {
		wrong = append(wrong, "its driver is not "+DriverBridge)
	}
	if n.Internal {
		wrong = append(wrong, "it is internal")
	}
	if !n.EnableIPv4 {
		wrong = append(wrong, "it has no IPv4")
	}
	if n.IPAM.Driver == IPAMNull {
		wrong = append(wrong, "it gives no addresses")
	}
	if o, err := ParseBridgeOptions(n.Options); n.Driver == DriverBridge && err == nil && !o.leadOut(true) {
		wrong = append(wrong, "its options let no IPv4 leave")
	}
	if len(wrong) == 0 {
		return nil
	}
	return Errorf(Invalid, "network %s is this node's way out of overlays, which this one could not be: %s", NetGwbridge, strings.Join(wrong, ", "))
}
