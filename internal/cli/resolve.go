package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"weft/internal/api"
	"weft/internal/frame"
)

// resolve finds out what a description leaves open: the addresses of names, the
// port and MAC of the source, the MAC of the destination or of the gateway.
func resolve(what, port string, neighbours []api.Neighbour, stats []api.PortStats) (api.TraceRequest, error) {
	d, err := parseDescription(what)
	if err != nil {
		return api.TraceRequest{}, err
	}
	if d.src == "" {
		d.src, _, _ = strings.Cut(port, ":")
	}
	if d.src == "" {
		return api.TraceRequest{}, errors.New("src= is missing: an address or a sandbox's name, or --port")
	}
	from, src, err := locate(d.src, "", neighbours, netip.Addr{})
	if err != nil {
		return api.TraceRequest{}, err
	}
	if from.Network == "" { // not a neighbour: what its port's network knows counts
		from.Network = networkOf(stats, port)
	}
	to, dst, err := locate(d.dst, from.Network, neighbours, src)
	if err != nil {
		return api.TraceRequest{}, err
	}
	if port == "" {
		port = portOn(stats, from)
	}
	if d.smac.IsZero() {
		if d.smac = macOf(stats, port); d.smac.IsZero() && len(from.MAC) == 6 {
			d.smac = frame.MAC(from.MAC)
		}
	}
	if d.dmac.IsZero() {
		d.dmac = destinationMAC(d.proto, dst, to, from.Network, neighbours)
	}
	b, err := d.build(src, dst)
	return api.TraceRequest{Port: port, Frame: b}, err
}

// locate finds an address or a sandbox's name among the neighbours, on network
// if given, of the family that peer has.
func locate(what, network string, all []api.Neighbour, peer netip.Addr) (api.Neighbour, netip.Addr, error) {
	addr, parseErr := netip.ParseAddr(what)
	var found *api.Neighbour
	for i, n := range all {
		hit := n.Addr == addr || (parseErr != nil && n.Sandbox == what && (!peer.IsValid() || n.Addr.Is4() == peer.Is4()))
		if hit && (found == nil || (n.Network == network && found.Network != network) || (found.Addr.Is6() && n.Addr.Is4())) {
			found = &all[i]
		}
	}
	switch {
	case found != nil:
		return *found, found.Addr, nil
	case parseErr == nil:
		return api.Neighbour{}, addr, nil
	}
	return api.Neighbour{}, addr, fmt.Errorf("%q is no address, and no running sandbox on a network has that name", what)
}

// portOn is the port of a neighbour's sandbox on its network.
func portOn(stats []api.PortStats, n api.Neighbour) string {
	for _, p := range stats {
		if p.Network == n.Network && (p.Sandbox == n.Sandbox && n.Sandbox != "" || p.MAC.String() == n.MAC.String()) {
			return p.Port
		}
	}
	return ""
}

// networkOf is the network that a port, or a sandbox's first port, is on.
func networkOf(stats []api.PortStats, port string) string {
	for _, p := range stats {
		if p.Port == port || p.Sandbox == port {
			return p.Network
		}
	}
	return ""
}

func macOf(stats []api.PortStats, port string) frame.MAC {
	for _, p := range stats {
		if (p.Port == port || p.Sandbox == port) && len(p.MAC) == 6 {
			return frame.MAC(p.MAC)
		}
	}
	return frame.MAC{}
}

// destinationMAC is what the source's own stack would choose: the neighbour's
// on the same network, a group's for multicast and questions, else the
// gateway's.
func destinationMAC(proto string, dst netip.Addr, to api.Neighbour, network string, all []api.Neighbour) frame.MAC {
	a := dst.AsSlice()
	switch {
	case proto == "arp" || dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	case proto == "nd": // RFC 4291 2.7.1, RFC 2464 7
		return frame.MAC{0x33, 0x33, 0xff, a[13], a[14], a[15]}
	case dst.IsMulticast() && dst.Is4(): // RFC 1112 6.4
		return frame.MAC{0x01, 0x00, 0x5e, a[1] & 0x7f, a[2], a[3]}
	case dst.IsMulticast():
		return frame.MAC{0x33, 0x33, a[12], a[13], a[14], a[15]}
	case len(to.MAC) == 6 && to.Network == network:
		return frame.MAC(to.MAC)
	}
	for _, n := range all {
		if n.Network == network && n.Sandbox == "" && n.Static && n.Addr.Is4() == dst.Is4() && len(n.MAC) == 6 {
			return frame.MAC(n.MAC)
		}
	}
	return frame.MAC{}
}
