package uplink

import "net/netip"

// A Route says how packets for a range of addresses leave by an interface.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr // the next hop; not valid: the destination itself is on the link
}
