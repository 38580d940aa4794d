package api

import (
	"net/netip"
	"time"
)

// A Flow is an element of GET /weft/v1/conntrack: a connection of an endpoint with the
// world outside, or what stands for one where there are no connections.
type Flow struct {
	Network string
	Sandbox string // empty: it has gone
	Proto   string // tcp, udp, icmp, icmpv6
	State   string
	// Endpoint and Remote are its ends as the endpoint sees them; of echo requests the
	// endpoint's port is the identifier.
	Endpoint, Remote netip.AddrPort
	// Published is where it came in, if the endpoint did not begin it.
	Published netip.AddrPort
	// TxBytes and RxBytes are payload from and to the endpoint, 0 where Age is.
	TxBytes, RxBytes uint64
	// Age is the time since it began, 0 where the uplink does not count it, Idle since
	// something was last carried, in nanoseconds.
	Age, Idle time.Duration
}

// FlushFlowsRequest is the body of POST /weft/v1/conntrack/flush. Empty fields stand
// for all.
type FlushFlowsRequest struct{ Network, Sandbox string }

// FlushedFlows is its answer.
type FlushedFlows struct{ Flows int }

// UplinkStats is an element of GET /weft/v1/conntrack/stats: the counters of a
// network's way out.
type UplinkStats struct {
	Network          string
	TCP, UDP, ICMP   int // flows now
	TxBytes, RxBytes uint64
	Counts           map[string]uint64 // what was refused or lost, by reason
}
