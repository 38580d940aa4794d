package api

import (
	"net/netip"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"weft/internal/cnm"
)

// A legacyInspect is a container as it was before API 1.52: NetworkSettings
// repeats the default network's endpoint at the top, which scripts that say
// {{.NetworkSettings.IPAddress}} still read.
type legacyInspect struct {
	container.InspectResponse
	NetworkSettings legacySettings
}

type legacySettings struct {
	Bridge                 string
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []string
	SecondaryIPv6Addresses []string
	EndpointID             string
	Gateway                netip.Addr
	GlobalIPv6Address      netip.Addr
	GlobalIPv6PrefixLen    int
	IPAddress              netip.Addr
	IPPrefixLen            int
	IPv6Gateway            netip.Addr
	MacAddress             network.HardwareAddr
	*container.NetworkSettings
}

// inspectFor is a sandbox in the shape of an API version.
func inspectFor(v version, b cnm.Sandbox) any {
	c := inspect(b)
	if v >= slimNetwork {
		return c
	}
	l := legacyInspect{InspectResponse: c, NetworkSettings: legacySettings{NetworkSettings: c.NetworkSettings}}
	if e := c.NetworkSettings.Networks["bridge"]; e != nil {
		n := &l.NetworkSettings
		n.EndpointID, n.MacAddress = e.EndpointID, e.MacAddress
		n.Gateway, n.IPAddress, n.IPPrefixLen = e.Gateway, e.IPAddress, e.IPPrefixLen
		n.IPv6Gateway, n.GlobalIPv6Address, n.GlobalIPv6PrefixLen = e.IPv6Gateway, e.GlobalIPv6Address, e.GlobalIPv6PrefixLen
	}
	return l
}
