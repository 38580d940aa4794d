package cnm

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/ipsec"
)

// OverlayIngress is kept free when an overlay's subnet is chosen: a swarm's
// routing mesh takes it, as in Docker.
func OverlayIngress() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, 0}), 24)
}

// validateOverlay checks what only the overlay driver demands.
func validateOverlay(n Network) error {
	o, err := ParseOverlayOptions(n.Options)
	switch {
	case err != nil:
		return err
	case len(o.Peers) == 0 && n.Scope != ScopeSwarm:
		return Errorf(Invalid, "an overlay network of scope %s needs peers: "+
			"name the other nodes with -o %s=ADDRESS,ADDRESS:PORT,... and the network with -o %s=NUMBER", ScopeLocal, OptPeers, OptVNI)
	case len(o.Peers) > 0 && n.Scope == ScopeSwarm:
		return Errorf(Invalid, "driver option %s is for overlays of scope %s: a swarm knows the peers itself", OptPeers, ScopeLocal)
	case len(o.VNIs) == 0 && n.Scope != ScopeSwarm:
		return Errorf(Invalid, "driver option %s is missing: without a swarm nobody else chooses the VNI, and every node of the network must name the same one (1 to %d)", OptVNI, maxVNI)
	case o.Encrypted && o.PSKFile == "" && n.Scope != ScopeSwarm:
		return Errorf(Invalid, "an encrypted overlay of scope %s needs a secret that its nodes share: name the file it is in with -o %s=/PATH, at least %d bytes, the same on every node", ScopeLocal, OptPSKFile, ipsec.MinSecret)
	case o.PSKFile != "" && n.Scope == ScopeSwarm:
		return Errorf(Invalid, "driver option %s is for overlays of scope %s: a swarm's nodes know each other by their certificates", OptPSKFile, ScopeLocal)
	case !n.EnableIPv4 || n.IPAM.Driver == IPAMNull:
		return Errorf(Invalid, "ipv4 pool is empty: an overlay network needs IPv4 addresses")
	}
	if err := overlaySubnets(n); err != nil {
		return err
	}
	if len(o.VNIs) != 1 && (n.Scope != ScopeSwarm || len(o.VNIs) > 0) {
		return Errorf(Invalid, "driver option %s names %d VNIs for 1 IPv4 subnet: expected one for each", OptVNI, len(o.VNIs))
	}
	if n.EnableIPv6 && o.MTU != 0 && o.MTU < minMTU6 {
		return Errorf(Invalid, "invalid MTU number: %d (IPv6 needs at least %d)", o.MTU, minMTU6)
	}
	return nil
}

// overlaySubnets refuses more subnets than one of each family, and an IPv6 subnet
// that is left to the node to choose: it derives one from its own identity, so each
// would have another.
func overlaySubnets(n Network) error {
	var v4, v6 int
	for _, p := range n.IPAM.Config {
		switch {
		case !p.Subnet.IsValid():
		case p.Subnet.Addr().Is4():
			v4++
		case !p.AnySubnet():
			v6++
		}
	}
	switch {
	case v4 > 1:
		return Errorf(Unsupported, "overlay networks with several IPv4 subnets are not supported yet")
	case v6 > 1:
		return Errorf(Unsupported, "overlay networks with several IPv6 subnets are not supported yet")
	case n.EnableIPv6 && v6 == 0:
		return Errorf(Invalid, "an overlay network with IPv6 needs an IPv6 --subnet: each node would choose another one by itself")
	}
	return nil
}

// OverlayAdvice returns what the user of a new overlay should know, or "": each
// node gives addresses by itself.
func OverlayAdvice(n Network) string {
	if n.Driver != DriverOverlay || n.ConfigOnly || n.Scope == ScopeSwarm {
		return ""
	}
	var advice []string
	for _, p := range n.IPAM.Config {
		if p.Auto {
			advice = append(advice, fmt.Sprintf("subnet %s was chosen by this node alone: give the others --subnet %s", p.Subnet, p.Subnet))
		}
	}
	ranged := func(p Pool) bool { return p.IPRange.IsValid() }
	if !slices.ContainsFunc(n.IPAM.Config, ranged) {
		advice = append(advice, "each node gives addresses from all of the subnet: give each an --ip-range of its own, or choose addresses with --ip")
	}
	return strings.Join(advice, "; ")
}

// overlayConflict refuses two overlays of one node that have a VNI in common.
func overlayConflict(n, o Network) error {
	if n.Driver != DriverOverlay || o.Driver != DriverOverlay {
		return nil
	}
	a, _ := ParseOverlayOptions(n.Options)
	b, _ := ParseOverlayOptions(o.Options)
	for _, v := range a.VNIs {
		if slices.Contains(b.VNIs, v) {
			return Errorf(Conflict, "cannot create network %s: conflicts with network %s: both have VNI %d", n.Name, o.Name, v)
		}
	}
	return nil
}
