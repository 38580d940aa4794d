package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"weft/internal/api"
	"weft/internal/frame"
)

// Surroundings are what the open ends of a description are looked up in: those
// of a daemon, or of a lab file.
type surroundings struct {
	neighbours []api.Neighbour
	ports      []api.PortStats
	subnets    []subnet
	nobody     string // what is said of a name that nobody has: no running sandbox …
}

// A subnet is one that a network has.
type subnet struct {
	network string
	prefix  netip.Prefix
	gateway netip.Addr // invalid: none
}

// A way is how a described frame could leave: the port, and both ends.
type way struct {
	port     api.PortStats
	from, to api.Neighbour
}

// resolve finds out what a description leaves open: the addresses of names, the
// port and MAC of the source, the MAC of the destination or of the gateway. The
// note says where the frame is another one than was described.
func (s *surroundings) resolve(what, port string) (r api.TraceRequest, note string, err error) {
	d, err := parseDescription(what)
	if err != nil {
		return r, "", err
	}
	if d.src == "" {
		d.src, _, _ = strings.Cut(port, ":")
	}
	if d.src == "" {
		return r, "", errors.New("src= is missing: an address or a sandbox's name, or --port")
	}
	froms, err := s.locate(d.src)
	if err != nil {
		return r, "", err
	}
	tos, err := s.locate(d.dst)
	if err != nil {
		return r, "", err
	}
	w := s.choose(port, froms, tos)
	if d.smac.IsZero() {
		if len(w.port.MAC) == 6 {
			d.smac = frame.MAC(w.port.MAC)
		}
		if d.smac.IsZero() && len(w.from.MAC) == 6 {
			d.smac = frame.MAC(w.from.MAC)
		}
	}
	if d.dmac.IsZero() {
		note = s.address(&d, w)
	}
	b, err := d.build(w.from.Addr, w.to.Addr)
	return api.TraceRequest{Port: w.port.Port, Frame: b}, note, err
}

// locate returns all that an address or a name may mean. An address that
// nobody is known to have stands for itself, on no network.
func (s *surroundings) locate(what string) (found []api.Neighbour, err error) {
	addr, parseErr := netip.ParseAddr(what)
	for _, n := range s.neighbours {
		if n.Addr == addr || (parseErr != nil && n.Sandbox == what) {
			found = append(found, n)
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case parseErr == nil:
		return []api.Neighbour{{Addr: addr}}, nil
	}
	for _, p := range s.ports {
		if p.Sandbox == what {
			return nil, fmt.Errorf("%s has no address: give one, as in src=10.0.0.2", what)
		}
	}
	return nil, fmt.Errorf("%q is no address, and %s", what, s.nobody)
}

// choose takes the way that the source's own stack would: through the port named
// or any that the source has, from the address on that port's network, to the
// address that is reached without a gateway. Of several the first counts, and
// IPv4 before IPv6.
func (s *surroundings) choose(port string, froms, tos []api.Neighbour) way {
	best, most := way{port: api.PortStats{Port: port}, from: froms[0], to: tos[0]}, -1
	for _, from := range froms {
		for _, p := range s.ports {
			if port == "" && !has(p, from) || port != "" && p.Port != port && p.Sandbox != port {
				continue
			}
			for _, to := range tos {
				if score := s.score(p, from, to); score > most {
					best, most = way{p, from, to}, score
				}
			}
		}
	}
	return best
}

// has reports whether a neighbour is the sandbox's end of a port.
func has(p api.PortStats, n api.Neighbour) bool {
	return p.Network == n.Network && (p.Sandbox == n.Sandbox && n.Sandbox != "" || p.MAC.String() == n.MAC.String())
}

// score ranks ways; each condition outweighs all that follow.
func (s *surroundings) score(p api.PortStats, from, to api.Neighbour) (n int) {
	for _, holds := range []bool{
		from.Addr.Is4() == to.Addr.Is4(), from.Network == p.Network, to.Network == p.Network, s.onLink(p.Network, to.Addr), to.Addr.Is4(),
	} {
		n *= 2
		if holds {
			n++
		}
	}
	return n
}

// onLink reports whether an address is reached on a network without a gateway.
func (s *surroundings) onLink(network string, addr netip.Addr) bool {
	if addr.IsLinkLocalUnicast() && addr.Is6() {
		return true
	}
	for _, sub := range s.subnets {
		if sub.network == network && sub.prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// address gives the described frame the destination that the source's own stack
// would choose: the neighbour's on the same network, a group's for multicast and
// questions, else the gateway's. One on the same network that nobody is known to
// have is asked for instead, which the note says.
func (s *surroundings) address(d *description, w way) (note string) {
	dst, network := w.to.Addr, w.port.Network
	a := dst.AsSlice()
	switch {
	case d.proto == "arp" || s.broadcast(network, dst):
		d.dmac = frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	case d.proto == "nd": // RFC 4291 2.7.1, RFC 2464 7
		d.dmac = frame.MAC{0x33, 0x33, 0xff, a[13], a[14], a[15]}
	case dst.IsMulticast() && dst.Is4(): // RFC 1112 6.4
		d.dmac = frame.MAC{0x01, 0x00, 0x5e, a[1] & 0x7f, a[2], a[3]}
	case dst.IsMulticast():
		d.dmac = frame.MAC{0x33, 0x33, a[12], a[13], a[14], a[15]}
	case len(w.to.MAC) == 6 && w.to.Network == network:
		d.dmac = frame.MAC(w.to.MAC)
	case s.onLink(network, dst):
		question := "an ARP request"
		if d.proto = "arp"; dst.Is6() {
			d.proto, question = "nd", "a neighbour solicitation"
		}
		s.address(d, w)
		return fmt.Sprintf("nobody on %s is known to have %s: %s for it goes first, and is shown here", network, dst, question)
	default:
		d.dmac = s.gateway(network, dst)
	}
	return ""
}

// broadcast reports whether an address means everybody on a network.
func (s *surroundings) broadcast(network string, addr netip.Addr) bool {
	if addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	for _, sub := range s.subnets {
		if sub.network == network && addr.Is4() && sub.prefix.Contains(addr) && sub.prefix.Bits() < 31 && !sub.prefix.Contains(addr.Next()) {
			return true // RFC 3021: a /31 has none
		}
	}
	return false
}

// gateway is the MAC of a network's gateway of an address's family.
func (s *surroundings) gateway(network string, dst netip.Addr) frame.MAC {
	for _, sub := range s.subnets {
		if sub.network != network || !sub.gateway.IsValid() || sub.gateway.Is4() != dst.Is4() {
			continue
		}
		for _, n := range s.neighbours {
			if n.Network == network && n.Addr == sub.gateway && len(n.MAC) == 6 {
				return frame.MAC(n.MAC)
			}
		}
	}
	return frame.MAC{}
}
