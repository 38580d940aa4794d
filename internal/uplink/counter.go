package uplink

import "sync/atomic"

// A counter names something that was refused or lost.
type counter uint8

// The counters, in the order of the ways a frame can take.
const (
	badHeader          counter = iota // length fields that contradict the frame
	badChecksum                       // a checksum that does not fit
	badSource                         // a source that is no endpoint, or not that endpoint's MAC
	notCarried                        // a protocol that is not carried
	tcpFragment                       // TCP in IP fragments
	ttlExceeded                       // no hop left
	destinationInside                 // in a subnet of weft's
	destinationRefused                // loopback, link-local, multicast, no address at all
	gatewayRefused                    // the gateway's own address, without HostLoopback
	halfOpenFull                      // more connections under way than an endpoint may have
	endpointFull                      // more flows than an endpoint may have
	tableFull                         // more flows than all may have
	evicted                           // an idle datagram flow made room for a new one
	noSocket                          // the host gave no socket
	pingForbidden                     // the host's ping_group_range forbids ping sockets
	connectRefused                    // a connection refused outside
	connectUnreachable                // a connection's destination unreachable outside
	connectTimeout                    // a connection nobody answered outside
	sendFailed                        // a datagram the host refused to send
	sendBlocked                       // a datagram the host's socket had no room for
	unsolicited                       // a datagram from outside that no flow expects
	truncated                         // a datagram from outside longer than a packet
	publishedRefused                  // a client of a published port, refused by its target
	publishedFull                     // a client of a published port, one too many
	noNeighbour                       // a packet for an endpoint that nobody knows
	ringFull                          // a packet of the stack's that the switch did not fetch in time
	icmpLimited                       // an ICMP error not sent, there being too many
	counterCount
)

var counterNames = [counterCount]string{
	badHeader: "bad-header", badChecksum: "bad-checksum", badSource: "bad-source", notCarried: "not-carried",
	tcpFragment: "tcp-fragment", ttlExceeded: "ttl-exceeded",
	destinationInside: "destination-inside", destinationRefused: "destination-refused", gatewayRefused: "gateway-refused",
	halfOpenFull: "half-open-full", endpointFull: "endpoint-full", tableFull: "table-full", evicted: "evicted",
	noSocket: "no-socket", pingForbidden: "ping-forbidden",
	connectRefused: "connect-refused", connectUnreachable: "connect-unreachable", connectTimeout: "connect-timeout",
	sendFailed: "send-failed", sendBlocked: "send-blocked", unsolicited: "unsolicited", truncated: "truncated",
	publishedRefused: "published-refused", publishedFull: "published-full",
	noNeighbour: "no-neighbour", ringFull: "ring-full", icmpLimited: "icmp-limited",
}

type counters [counterCount]atomic.Uint64

func (c *counters) add(n counter) { c[n].Add(1) }

// named returns all counts by name.
func (c *counters) named() map[string]uint64 {
	m := make(map[string]uint64, counterCount)
	for i := range c {
		m[counterNames[i]] = c[i].Load()
	}
	return m
}
