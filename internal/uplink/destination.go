package uplink

import "net/netip"

// A judgement says what becomes of what is sent to a destination.
type judgement uint8

const (
	allowed    judgement = iota
	inside               // weft's own: answered as prohibited
	prohibited           // never forwarded: answered as prohibited
	silent               // never forwarded, and never answered: for several, for nobody, or of a family without a gateway
	refused              // the gateway, which offers nothing: as a host without a listener
)

// judge says whether an endpoint may send to dst, and where that is outside.
//
// The host's own addresses are allowed, as in Docker, but for its loopback, which
// only the gateway's address stands for, and only if asked. What a router never
// forwards is prohibited: link-local addresses (RFC 3927, 2.7; RFC 4291, 2.5.6),
// IPv4-mapped ones (RFC 4291, 2.5.5.2), for the host's kernel would take them for
// IPv4, loopback (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3).
func (c *HostConfig) judge(dst netip.Addr) (outside netip.Addr, j judgement) {
	gw := c.gateway(dst)
	if !gw.IsValid() {
		return dst, silent // this family has no way out here, and nobody to say so
	}
	if dst == gw {
		switch {
		case !c.HostLoopback:
			return dst, refused
		case dst.Is4():
			return netip.AddrFrom4([4]byte{127, 0, 0, 1}), allowed
		}
		return netip.IPv6Loopback(), allowed
	}
	switch {
	case dst.IsMulticast(), dst.IsUnspecified(), dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return dst, silent
	case dst.Is4() && dst.As4()[0] == 0: // "this network": RFC 1122, 3.2.1.3
		return dst, silent
	case dst.IsLoopback(), dst.IsLinkLocalUnicast(), dst.Is4In6():
		return dst, prohibited
	case c.Inside(dst):
		return dst, inside
	}
	return dst, allowed
}

// judgeFrom is judge for an endpoint that may not begin flows at all.
func (c *HostConfig) judgeFrom(src, dst netip.Addr) (outside netip.Addr, j judgement) {
	if outside, j = c.judge(dst); j == allowed && !c.Begins(src) {
		j = prohibited
	}
	return outside, j
}

// count returns the counter of a judgement other than allowed.
func (j judgement) count() counter {
	switch j {
	case inside:
		return destinationInside
	case refused:
		return gatewayRefused
	}
	return destinationRefused
}

// seenAs returns the address that an outside address has for the endpoints: the
// host's loopback is the gateway.
func (c *HostConfig) seenAs(outside netip.Addr) netip.Addr {
	if outside.IsLoopback() {
		return c.gateway(outside)
	}
	return outside
}
