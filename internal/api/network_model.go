package api

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/network"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/internal/node"
)

// apiDriver returns a driver's name on the wire: "none" is called "null" there.
func apiDriver(d string) string {
	if d == "none" {
		return "null"
	}
	return d
}

// networkModel reads a request to create a network. What is missing or wrong
// is the model's to say.
func networkModel(r network.CreateRequest) cnm.Network {
	n := cnm.Network{
		Name:       r.Name,
		Driver:     r.Driver,
		Scope:      r.Scope,
		EnableIPv4: r.EnableIPv4 == nil || *r.EnableIPv4,
		EnableIPv6: r.EnableIPv6 != nil && *r.EnableIPv6,
		Internal:   r.Internal,
		Attachable: r.Attachable,
		Ingress:    r.Ingress,
		ConfigOnly: r.ConfigOnly,
		Options:    r.Options,
		Labels:     r.Labels,
	}
	if n.Driver == "null" {
		n.Driver = "none"
	}
	if r.ConfigFrom != nil {
		n.ConfigFrom = r.ConfigFrom.Network
	}
	if r.IPAM == nil {
		return n
	}
	n.IPAM = cnm.IPAM{Driver: r.IPAM.Driver, Options: r.IPAM.Options}
	for _, c := range r.IPAM.Config {
		n.IPAM.Config = append(n.IPAM.Config, cnm.Pool{Subnet: c.Subnet, IPRange: c.IPRange, Gateway: c.Gateway, Aux: c.AuxAddress})
	}
	return n
}

// networkObject is a network on the wire. Maps and lists are empty, not null,
// where Docker's are.
func networkObject(n node.NetworkView) network.Network {
	o := network.Network{
		Name:       n.Name,
		ID:         n.ID,
		Created:    n.Created,
		Scope:      n.Scope,
		Driver:     apiDriver(n.Driver),
		EnableIPv4: n.EnableIPv4,
		EnableIPv6: n.EnableIPv6,
		IPAM:       network.IPAM{Driver: n.IPAM.Driver, Options: n.IPAM.Options, Config: []network.IPAMConfig{}},
		Internal:   n.Internal,
		Attachable: n.Attachable,
		Ingress:    n.Ingress,
		ConfigFrom: network.ConfigReference{Network: n.ConfigFrom},
		ConfigOnly: n.ConfigOnly,
		Options:    notNil(n.Shown(n.MTU)),
		Labels:     notNil(n.Labels),
	}
	for _, p := range n.IPAM.Config {
		o.IPAM.Config = append(o.IPAM.Config, network.IPAMConfig{Subnet: p.Subnet, IPRange: p.IPRange, Gateway: p.Gateway, AuxAddress: p.Aux})
	}
	return o
}

// networkView is a network on the wire with who is on it, and since API 1.52
// with how many addresses are taken.
func networkView(v version, n node.NetworkView) network.Inspect {
	o := network.Inspect{Network: networkObject(n), Containers: map[string]network.EndpointResource{}}
	for _, p := range n.Nodes {
		o.Peers = append(o.Peers, network.PeerInfo{Name: p.Name, IP: p.Addr})
	}
	if n.Scope != cnm.ScopeSwarm {
		for _, p := range n.Peers { // the API has no place for a port but the name
			o.Peers = append(o.Peers, network.PeerInfo{Name: p.String(), IP: p.Addr()})
		}
	}
	for _, e := range n.Endpoints {
		o.Containers[e.SandboxID] = network.EndpointResource{
			Name:        e.Name,
			EndpointID:  e.ID,
			MacAddress:  wireMAC(e.MAC),
			IPv4Address: e.IPv4,
			IPv6Address: e.IPv6,
		}
	}
	if len(n.Subnets) > 0 && v >= slimNetwork {
		o.Status = &network.Status{IPAM: network.IPAMStatus{Subnets: network.SubnetStatuses{}}}
		for _, s := range n.Subnets {
			o.Status.IPAM.Subnets[s.Subnet] = network.SubnetStatus{IPsInUse: s.InUse, DynamicIPsAvailable: s.Available}
		}
	}
	return o
}

// endpointModel reads what a client wants of an endpoint; nil wants nothing.
func endpointModel(s *network.EndpointSettings) (cnm.EndpointConfig, error) {
	var c cnm.EndpointConfig
	if s == nil {
		return c, nil
	}
	if i := s.IPAMConfig; i != nil {
		c.IPv4, c.IPv6, c.LinkLocal = i.IPv4Address, i.IPv6Address, i.LinkLocalIPs
	}
	switch len(s.MacAddress) {
	case 0:
	case len(c.MAC):
		c.MAC = frame.MAC(s.MacAddress)
	default:
		return c, cnm.Errorf(cnm.Invalid, "invalid MAC address %s: expected 48 bits", s.MacAddress)
	}
	c.Aliases, c.Links, c.DriverOpts, c.GwPriority = s.Aliases, s.Links, s.DriverOpts, s.GwPriority
	return c, nil
}

// endpointSettings is an endpoint on the wire, as it is in a sandbox.
func endpointSettings(e cnm.Endpoint) *network.EndpointSettings {
	s := wantedSettings(e.Config)
	s.NetworkID, s.EndpointID, s.DNSNames = e.NetworkID, e.ID, e.DNSNames
	s.MacAddress = wireMAC(e.MAC)
	s.Gateway, s.IPv6Gateway = e.Gateway4, e.Gateway6
	s.IPAddress, s.IPPrefixLen = splitPrefix(e.IPv4)
	s.GlobalIPv6Address, s.GlobalIPv6PrefixLen = splitPrefix(e.IPv6)
	return s
}

// wantedSettings is an endpoint that is only wanted so far.
func wantedSettings(c cnm.EndpointConfig) *network.EndpointSettings {
	s := &network.EndpointSettings{
		Links:      slices.Clone(c.Links),
		Aliases:    slices.Clone(c.Aliases),
		DriverOpts: maps.Clone(c.DriverOpts),
		GwPriority: c.GwPriority,
		MacAddress: wireMAC(c.MAC),
	}
	if c.IPv4.IsValid() || c.IPv6.IsValid() || len(c.LinkLocal) > 0 {
		s.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: c.IPv4, IPv6Address: c.IPv6, LinkLocalIPs: c.LinkLocal}
	}
	return s
}

func splitPrefix(p netip.Prefix) (netip.Addr, int) {
	if !p.IsValid() {
		return netip.Addr{}, 0
	}
	return p.Addr(), p.Bits()
}

// wireMAC is a MAC on the wire, nil (an empty string) for none.
func wireMAC(m frame.MAC) network.HardwareAddr {
	if m == (frame.MAC{}) {
		return nil
	}
	return network.HardwareAddr(m[:])
}

// notNil makes an empty map of none, for {} in place of null.
func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
