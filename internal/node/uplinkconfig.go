package node

import (
	"fmt"
	"net/netip"
	"strings"

	"weft/internal/cnm"
)

// An Uplink says how what is sent beyond all networks leaves the machine. The zero
// value is the host's sockets.
type Uplink struct {
	Kind UplinkKind
	// Of UplinkPacket:
	Interface string
	// Addrs are its addresses, which the kernel must not have, each with the length of the
	// network's prefix that it is in; a whole one leaves it to the kernel's routes what
	// else is on the link.
	Addrs []netip.Prefix
	// Gateways are the next hops to everything beyond, at most one of a family; without one
	// the kernel's routes by the interface say.
	Gateways []netip.Addr
	// InterfaceMAC has it use the MAC of the interface. Else it has one of its own, which
	// follows from its first address.
	InterfaceMAC bool
}

// UplinkKind is a kind of uplink.
type UplinkKind uint8

// The kinds.
const (
	UplinkHost   UplinkKind = iota // by sockets of the daemon's own
	UplinkNone                     // not at all
	UplinkPacket                   // by an interface of the machine, frame for frame
)

// String writes it as ParseUplink reads it.
func (u Uplink) String() string {
	switch u.Kind {
	case UplinkNone:
		return "none"
	case UplinkPacket:
		return "packet:" + u.Interface
	}
	return "host"
}

// ParseUplink reads host, none or packet:INTERFACE.
func ParseUplink(s string) (Uplink, error) {
	kind, name, named := strings.Cut(s, ":")
	switch {
	case s == "host":
		return Uplink{}, nil
	case s == "none":
		return Uplink{Kind: UplinkNone}, nil
	case kind == "packet" && named && cnm.ValidInterface(name):
		return Uplink{Kind: UplinkPacket, Interface: name}, nil
	}
	return Uplink{}, fmt.Errorf("uplink %q: expected host, none, or packet: and the name of an interface", s)
}

// checkUplink refuses what does not go together.
func (c *Config) checkUplink() error {
	if c.HostLoopback && c.Uplink.Kind != UplinkHost {
		return fmt.Errorf("node: host-loopback: uplink %s cannot reach this machine's loopback, expected uplink host", c.Uplink)
	}
	if err := c.Uplink.Check(); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return nil
}

// Check refuses what does not go together.
func (u *Uplink) Check() error {
	switch {
	case u.Kind != UplinkPacket && (len(u.Addrs) > 0 || len(u.Gateways) > 0 || u.InterfaceMAC):
		return fmt.Errorf("uplink-addr, uplink-gateway and uplink-mac are for uplink packet:INTERFACE, not for %s", u)
	case u.Kind == UplinkPacket && len(u.Addrs) == 0:
		return fmt.Errorf("uplink %s needs an address: --uplink-addr A[/LEN], one on the interface's network that no machine there has", u)
	}
	for i, p := range u.Addrs {
		if !p.IsValid() || !hostAddr(p.Addr()) {
			return fmt.Errorf("uplink-addr %s: expected an address of one host, as 192.0.2.7/24", p)
		}
		for _, q := range u.Addrs[:i] {
			if p.Addr() == q.Addr() {
				return fmt.Errorf("uplink-addr %s stands twice", p.Addr())
			}
		}
	}
	for i, a := range u.Gateways {
		if !a.IsValid() || a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() || a.Is4In6() || a.Zone() != "" {
			return fmt.Errorf("uplink-gateway %s: expected the address of a router on the interface's network, without a zone", a)
		}
		for _, b := range u.Gateways[:i] {
			if a.Is4() == b.Is4() {
				return fmt.Errorf("uplink-gateway %s and %s are of one family: expected at most one of each", b, a)
			}
		}
	}
	return nil
}

// hostAddr reports whether an address can be a host's beyond its own link.
func hostAddr(a netip.Addr) bool {
	return a.IsValid() && a.IsGlobalUnicast() && !a.Is4In6() && a.Zone() == ""
}

// ParseUplinkAddr reads ADDRESS or ADDRESS/LENGTH.
func ParseUplinkAddr(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("uplink-addr %q: expected an address, with or without the length of its network's prefix, as 192.0.2.7/24", s)
	}
	return p, nil
}
