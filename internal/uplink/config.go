package uplink

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"weft/internal/frame"
)

// A HostConfig describes a host uplink.
type HostConfig struct {
	// Name is the network's, for errors and log lines.
	Name string
	// MAC is the gateway's: the source of every frame.
	MAC frame.MAC
	// Addrs are the gateway's addresses, at most one of each family.
	Addrs []netip.Addr
	// MTU is the network's, in bytes; 0 is 1500.
	MTU int
	// Neighbour returns the MAC of an endpoint. The uplink never asks the network.
	// It is called often, by several goroutines, and must not block.
	Neighbour func(netip.Addr) (frame.MAC, bool)
	// Inside reports whether an address is in a subnet of weft's: it never leaves.
	// nil is never.
	Inside func(netip.Addr) bool
	// Begins reports whether an endpoint may begin flows. One that may not is reached by
	// published ports alone, has no route to who calls, and is called by the gateway's
	// address. nil is always.
	Begins func(netip.Addr) bool
	// HostLoopback makes the gateway's address stand for the host's loopback.
	// Without it, connections to the gateway are refused.
	HostLoopback bool
	// MaxFlows and MaxFlowsPerEndpoint bound the flows; 0 is the default.
	MaxFlows, MaxFlowsPerEndpoint int
	// Log may be nil.
	Log *slog.Logger
}

// Defaults of [HostConfig].
const (
	DefaultMaxFlows            = 65536
	DefaultMaxFlowsPerEndpoint = 4096
)

// ErrNotSupported is what [NewHost] returns where the operating system lacks what
// a host uplink is built on.
var ErrNotSupported = errors.New("the host uplink needs Linux")

// complete fills in defaults and refuses what cannot be.
func (c *HostConfig) complete() error {
	if c.MTU == 0 {
		c.MTU = 1500
	}
	if c.MaxFlows == 0 {
		c.MaxFlows = DefaultMaxFlows
	}
	if c.MaxFlowsPerEndpoint == 0 {
		c.MaxFlowsPerEndpoint = min(DefaultMaxFlowsPerEndpoint, c.MaxFlows)
	}
	if c.Inside == nil {
		c.Inside = func(netip.Addr) bool { return false }
	}
	if c.Begins == nil {
		c.Begins = func(netip.Addr) bool { return true }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	lowest := 68 // RFC 791
	for i, a := range c.Addrs {
		switch {
		case !a.IsValid() || a.Is4In6() || a.Zone() != "":
			return fmt.Errorf("uplink of %s: gateway address %q is not one", c.Name, a)
		case i == 1 && a.Is4() == c.Addrs[0].Is4() || i > 1:
			return fmt.Errorf("uplink of %s: more than one gateway address of a family: %v", c.Name, c.Addrs)
		case a.Is6():
			lowest = 1280 // RFC 8200, 5
		}
	}
	switch {
	case len(c.Addrs) == 0:
		return fmt.Errorf("uplink of %s: the gateway has no address", c.Name)
	case c.MAC.IsZero() || c.MAC.IsGroup():
		return fmt.Errorf("uplink of %s: %s is no gateway's MAC address", c.Name, c.MAC)
	case c.Neighbour == nil:
		return fmt.Errorf("uplink of %s: no neighbour table", c.Name)
	case c.MTU < lowest || c.MTU > 65535:
		return fmt.Errorf("uplink of %s: MTU %d is not between %d and 65535", c.Name, c.MTU, lowest)
	case c.MaxFlows < 1 || c.MaxFlowsPerEndpoint < 1:
		return fmt.Errorf("uplink of %s: limits of %d flows, %d per endpoint: expected at least 1", c.Name, c.MaxFlows, c.MaxFlowsPerEndpoint)
	}
	return nil
}

// halfOpen is how many connections of one endpoint may be under way at a time.
func (c *HostConfig) halfOpen() int { return max(c.MaxFlowsPerEndpoint/8, 4) }

// gateway returns the gateway's address of a family, or the zero Addr.
func (c *HostConfig) gateway(of netip.Addr) netip.Addr {
	for _, a := range c.Addrs {
		if a.Is4() == of.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// A Binding is a published port.
type Binding struct {
	// Proto is "tcp" or "udp".
	Proto string
	// Listen is where on the host: an address of its own, or the unspecified one
	// of a family for all of that family. Port 0 has the kernel choose.
	Listen netip.AddrPort
	// Target is the endpoint's address and port.
	Target netip.AddrPort
}

// String describes the binding as "tcp 0.0.0.0:8080 to 172.18.0.2:80".
func (b Binding) String() string { return fmt.Sprintf("%s %s to %s", b.Proto, b.Listen, b.Target) }

// A FlowInfo describes one flow.
type FlowInfo struct {
	// Proto is "tcp", "udp", "icmp" or "icmpv6". For the latter two the
	// endpoint's port is the identifier, and the remote's is 0.
	Proto string
	// Endpoint and Remote are the two ends as the endpoint sees them.
	Endpoint, Remote netip.AddrPort
	// Published is the published port's address on the host by which the flow
	// came in; not valid for flows that the endpoint began.
	Published netip.AddrPort
	// State is "connecting", "established", "half-closed" or "closing" for TCP,
	// "unreplied" or "replied" for the others.
	State string
	// BytesOut and BytesIn are payload, from and to the endpoint; 0 where Age is.
	BytesOut, BytesIn uint64
	// Age is the time since it began, 0 where that is not counted; Idle since something
	// was last carried.
	Age, Idle time.Duration
}

// Stats is the sum of an uplink's counters.
type Stats struct {
	// TCP, UDP and ICMP are the numbers of flows now.
	TCP, UDP, ICMP int
	// BytesOut and BytesIn are payload carried, from and to endpoints.
	BytesOut, BytesIn uint64
	// Counts says by name how often something was refused or lost; all names are
	// always there.
	Counts map[string]uint64
}
