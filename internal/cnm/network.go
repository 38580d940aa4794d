package cnm

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// OptSerial is the IPAM option that makes addresses be given in turn instead of
// lowest first, so that a released one rests before it is used again.
const OptSerial = "com.docker.network.ipam.serial"

// Serial reads [OptSerial]; the option without a value switches it on.
func (i IPAM) Serial() (bool, error) {
	v, given := i.Options[OptSerial]
	if v == "" {
		return given, nil
	}
	return boolOption(OptSerial, v)
}

// ValidateNetwork checks a network a user wants to create, config-from already
// merged, and returns it with names normalised and defaults filled in. ID and
// Created are left alone; subnets that were not given stay so. The zero
// EnableIPv4 means off: callers turn it on when the user did not say.
func ValidateNetwork(n Network) (Network, error) {
	n = n.normal()
	if err := ValidateNetworkName(n.Name); err != nil {
		return n, err
	}
	switch {
	case n.Scope != ScopeLocal && n.Scope != ScopeSwarm:
		return n, Errorf(Invalid, "invalid network scope %q (available: %s, %s)", n.Scope, ScopeLocal, ScopeSwarm)
	case n.Scope == ScopeSwarm && n.Driver != DriverOverlay:
		return n, Errorf(Unsupported, "network scope %q is not supported yet for driver %s", n.Scope, n.Driver)
	}
	if n.Ingress {
		return n, Errorf(Unsupported, "ingress networks are not supported yet: they need a swarm")
	}
	if n.Name == NetGwbridge {
		if err := validateGwbridge(n); err != nil {
			return n, err
		}
	}
	if n.ConfigOnly {
		return n, validateConfigOnly(n)
	}
	if err := validateDriver(n.Driver); err != nil {
		return n, err
	}
	if !n.EnableIPv4 && !n.EnableIPv6 {
		return n, Errorf(Invalid, "IPv4 or IPv6 must be enabled")
	}
	if err := validateLabels(n.Labels); err != nil {
		return n, err
	}
	if err := validateIPAM(n); err != nil {
		return n, err
	}
	if n.Driver == DriverOverlay {
		return n, validateOverlay(n)
	}
	return n, validateBridge(n)
}

// normal returns a copy with defaults filled in; the maps are the copy's own. A
// template has the null driver whatever was asked for, as in Docker, whose CLI
// always names one.
func (n Network) normal() Network {
	if n.ConfigOnly {
		n.Driver = "null"
	}
	n.Driver = NormalDriver(n.Driver)
	if n.Scope == "" {
		n.Scope = ScopeLocal
		// Who names no peers leaves them to a swarm, as with Docker.
		if n.Driver == DriverOverlay && !n.ConfigOnly && n.Options[OptPeers] == "" {
			n.Scope = ScopeSwarm
		}
	}
	if n.IPAM.Driver == "" {
		n.IPAM.Driver = IPAMDefault
	}
	n.Options, n.Labels = cloneMap(n.Options), cloneMap(n.Labels)
	n.IPAM.Options = maps.Clone(n.IPAM.Options)
	n.IPAM.Config = slices.Clone(n.IPAM.Config)
	for i, p := range n.IPAM.Config {
		n.IPAM.Config[i].Aux = maps.Clone(p.Aux)
	}
	return n
}

func cloneMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}

func validateLabels(labels map[string]string) error {
	if _, empty := labels[""]; empty {
		return Errorf(Invalid, "invalid label: the name is empty")
	}
	return nil
}

// validateConfigOnly checks a template network: it has no driver of its own to
// judge its options by, so those are read when a network is made from it.
func validateConfigOnly(n Network) error {
	if n.Internal || n.Attachable || n.Ingress {
		return Errorf(Forbidden, "configuration network can only contain network specific fields. "+
			"Network operator fields like [ ingress | internal | attachable | scope ] are not supported.")
	}
	if n.ConfigFrom != "" {
		return Errorf(Forbidden, "a configuration network cannot depend on another configuration network")
	}
	if err := validateLabels(n.Labels); err != nil {
		return err
	}
	return validateIPAM(n)
}

// MergeConfigFrom returns n with the settings of the config-only network it
// names. The user may not have given any of those settings besides.
func MergeConfigFrom(n, config Network) (Network, error) {
	if !config.ConfigOnly {
		return n, Errorf(Forbidden, "cannot use network %q as source of settings: it is not a configuration network (--config-only)", config.Name)
	}
	if n.ConfigOnly {
		return n, Errorf(Forbidden, "a configuration network cannot depend on another configuration network")
	}
	if n.IPAM.Driver != "" && n.IPAM.Driver != IPAMDefault || len(n.IPAM.Options) > 0 || len(n.IPAM.Config) > 0 || n.EnableIPv6 || len(n.Labels) > 0 {
		return n, Errorf(Forbidden, "user specified configurations are not supported if the network depends on a configuration network")
	}
	if len(n.Options) > 0 {
		return n, Errorf(Forbidden, "network driver options are not supported if the network depends on a configuration network")
	}
	c := config.normal()
	n.EnableIPv4, n.EnableIPv6 = c.EnableIPv4, c.EnableIPv6
	n.IPAM, n.Options, n.Labels = c.IPAM, c.Options, c.Labels
	n.ConfigFrom = config.Name
	return n, nil
}

// validateIPAM checks address management: each pool by itself, then all against
// each other.
func validateIPAM(n Network) error {
	if err := validateIPAMDriver(n.IPAM.Driver); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(n.IPAM.Options)) {
		if key != OptSerial {
			return Errorf(Invalid, "unknown ipam option %q for the %s ipam driver", key, n.IPAM.Driver)
		}
	}
	if _, err := n.IPAM.Serial(); err != nil {
		return err
	}
	if n.IPAM.Driver == IPAMNull && len(n.IPAM.Config) > 0 {
		return Errorf(Invalid, "null ipam driver does not handle specific address pool requests")
	}
	var bad problems
	for _, p := range n.IPAM.Config {
		p.check(&bad)
		if s := p.Subnet; s.IsValid() && s.Addr().Is4() && !n.EnableIPv4 {
			bad.add(fmt.Errorf("invalid subnet %s: IPv4 is not enabled on this network", s))
		} else if s.IsValid() && s.Addr().Is6() && !n.EnableIPv6 {
			bad.add(fmt.Errorf("invalid subnet %s: IPv6 is not enabled on this network (--ipv6)", s))
		}
	}
	if err := bad.join(Invalid, "invalid network config:"); err != nil {
		return err
	}
	return poolsApart(n.IPAM.Config)
}

// poolsApart refuses pools of one network that overlap each other.
func poolsApart(pools []Pool) error {
	for i, p := range pools {
		for _, q := range pools[:i] {
			if p.AnySubnet() || q.AnySubnet() || !p.Subnet.IsValid() || !q.Subnet.IsValid() {
				continue
			}
			if p.Subnet.Overlaps(q.Subnet) {
				return Errorf(Forbidden, "invalid pool request: Pool overlaps with other one on this address space: %s and %s", q.Subnet, p.Subnet)
			}
		}
	}
	return nil
}

// validateBridge checks what only the bridge driver demands: one subnet per
// family, and options that agree with each other.
func validateBridge(n Network) error {
	var v4, v6, unspecific int
	for _, p := range n.IPAM.Config {
		switch {
		case !p.Subnet.IsValid():
			unspecific++
		case p.Subnet.Addr().Is4():
			v4++
		default:
			v6++
		}
	}
	if v4 > 1 || v6 > 1 || unspecific > 1 {
		return Errorf(Forbidden, "bridge driver doesn't support multiple subnets")
	}
	o, err := ParseBridgeOptions(n.Options)
	if err != nil {
		return err
	}
	if o.DefaultBridge {
		return Errorf(Forbidden, "driver option %s is reserved for the predefined network bridge", optDefaultBridge)
	}
	if (o.Mode4 == ModeIsolated || o.Mode6 == ModeIsolated) && !n.Internal {
		return Errorf(Invalid, "gateway mode 'isolated' can only be used for an internal network")
	}
	if n.EnableIPv6 && o.MTU < minMTU6 {
		return Errorf(Invalid, "invalid MTU number: %d (IPv6 needs at least %d)", o.MTU, minMTU6)
	}
	return nil
}

// CheckConflict refuses a network that cannot live beside the others of its
// node: same name, same bridge name, same VNI, or overlapping subnets. Docker keeps
// the subnets of overlays in a space of their own; here one switch answers for both.
func CheckConflict(n Network, others []Network) error {
	bridgeName := func(n Network) string {
		if n.Driver != DriverBridge {
			return ""
		}
		o, _ := ParseBridgeOptions(n.Options)
		return o.Name
	}
	for _, o := range others {
		if o.Name == n.Name {
			return Errorf(Conflict, "network with name %s already exists", n.Name)
		}
		if !o.Switched() || !n.Switched() {
			continue
		}
		if name := bridgeName(n); name != "" && name == bridgeName(o) {
			return Errorf(Forbidden, "cannot create network %s: conflicts with network %s: both name their bridge %s", n.Name, o.Name, name)
		}
		if err := overlayConflict(n, o); err != nil {
			return err
		}
		if err := subnetConflict(n, o); err != nil {
			return err
		}
	}
	return nil
}

// subnetConflict refuses overlapping subnets, with the text of whoever refuses
// them in Docker: address management, or, for one subnet with two different
// ranges, the bridge driver.
func subnetConflict(n, o Network) error {
	for _, p := range n.IPAM.Config {
		for _, q := range o.IPAM.Config {
			switch {
			case !overlap(p.Subnet, q.Subnet):
			case p.Subnet == q.Subnet && p.IPRange != q.IPRange:
				return Errorf(Forbidden, "cannot create network %s: conflicts with network %s (%s): networks have overlapping %s",
					n.Name, o.Name, q.Subnet, family(p.Subnet.Addr()))
			default:
				return Errorf(Forbidden, "invalid pool request: Pool overlaps with other one on this address space: %s and %s of network %s",
					p.Subnet, q.Subnet, o.Name)
			}
		}
	}
	return nil
}

// overlap is netip's Overlaps for prefixes that may be missing or unspecific.
func overlap(p, q netip.Prefix) bool {
	return p.IsValid() && q.IsValid() && !p.Addr().IsUnspecified() && !q.Addr().IsUnspecified() && p.Overlaps(q)
}
