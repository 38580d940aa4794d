package cnm

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// WarnHostPorts is what a user is told who publishes ports of a sandbox in network mode
// host.
const WarnHostPorts = "Published ports are discarded when using host network mode"

// Mappings returns the ports that the sandbox publishes when it runs: those asked for
// and, with PublishAll, those exposed that nobody asked for, each once. In the network
// modes none and host there are none. Fixed ports of the host stand first, then ranges,
// then those that the node chooses, so that nobody who allocates in this order gives
// away a port that is asked for; each of the three is sorted.
func (s *SandboxSpec) Mappings() []PortMapping {
	if s.NetworkMode == NetNone || s.NetworkMode == NetHost {
		return nil
	}
	all := slices.Clone(s.Ports)
	if s.PublishAll {
		type port struct {
			proto string
			port  uint16
		}
		asked := map[port]bool{}
		for _, m := range s.Ports {
			asked[port{m.Proto, m.Port}] = true
		}
		for _, e := range s.Expose {
			ps, err := ParseExpose(e)
			if err != nil {
				continue // refused by ValidatePorts
			}
			for _, p := range ps {
				var m PortMapping
				if m, err = exposed(p); err == nil && !asked[port{m.Proto, m.Port}] {
					all = append(all, m)
				}
			}
		}
	}
	slices.SortFunc(all, compareMappings)
	return slices.Compact(all)
}

// exposed is the mapping of an exposed port, in the form of [ParseExpose], to one that
// the node chooses.
func exposed(port string) (PortMapping, error) {
	number, protocol, _ := strings.Cut(port, "/")
	proto, err := publishedProto(protocol)
	if err != nil {
		return PortMapping{}, err
	}
	n, err := parsePort(number)
	return PortMapping{Proto: proto, Port: n}, err
}

func compareMappings(a, b PortMapping) int {
	return cmp.Or(cmp.Compare(a.freedom(), b.freedom()), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto),
		a.HostIP.Compare(b.HostIP), cmp.Compare(a.HostPort, b.HostPort), cmp.Compare(a.HostPortEnd, b.HostPortEnd))
}

// freedom is how much of a choice a mapping leaves: none, a range, any.
func (m PortMapping) freedom() int {
	switch {
	case m.HostPort == 0:
		return 2
	case m.HostPortEnd > m.HostPort:
		return 1
	}
	return 0
}

// ComparePublished orders published ports by the sandbox's port and protocol, then by
// where the host listens.
func ComparePublished(a, b PublishedPort) int {
	return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto), a.Host.Compare(b.Host))
}

// ValidatePorts checks the ports that a sandbox exposes and publishes by themselves: two
// that want the same port of the host are refused here, other holders of a port are found
// when it is taken.
func ValidatePorts(s SandboxSpec) error {
	for _, e := range s.Expose {
		if _, err := ParseExpose(e); err != nil {
			return err
		}
	}
	for _, m := range s.Ports {
		if err := m.validate(); err != nil {
			return err
		}
	}
	if s.PublishAll && slices.ContainsFunc(s.Expose, func(e string) bool { return strings.HasSuffix(strings.ToLower(e), "/"+ProtoSCTP) }) {
		return Errorf(Unsupported, "cannot publish all exposed ports: %w", errSCTP)
	}
	return sharedHostPort(s.Mappings())
}

func (m PortMapping) validate() error {
	proto, err := publishedProto(m.Proto)
	switch {
	case err == errSCTP:
		return Errorf(Unsupported, "%w", err)
	case err != nil || proto != m.Proto:
		return Errorf(Invalid, "invalid proto: %s", m.Proto)
	case m.Port == 0:
		return Errorf(Invalid, "invalid port specification: %q", fmt.Sprintf("%d/%s", m.Port, m.Proto))
	case m.HostIP.Zone() != "":
		return Errorf(Invalid, "invalid IP address: %s", m.HostIP)
	case m.HostPortEnd != 0 && (m.HostPort == 0 || m.HostPortEnd < m.HostPort):
		return Errorf(Invalid, "invalid port range: %d-%d", m.HostPort, m.HostPortEnd)
	}
	return nil
}

// sharedHostPort finds two mappings that want one port of the host on one address, or on
// one address and all of its family. What has no address waits for what the network or
// the daemon says.
func sharedHostPort(all []PortMapping) error {
	type place struct {
		proto string
		port  uint16
		ip    netip.Addr
	}
	at := map[place]PortMapping{}
	family := map[place]PortMapping{} // some one of the family whose unspecified address is ip
	for _, m := range all {
		if m.freedom() > 0 {
			continue
		}
		here, everywhere := place{m.Proto, m.HostPort, m.HostIP}, place{m.Proto, m.HostPort, unspecified(m.HostIP)}
		o, taken := at[here]
		if !taken {
			o, taken = at[everywhere]
		}
		if !taken && here == everywhere {
			o, taken = family[everywhere]
		}
		switch {
		case taken && m.Port == o.Port:
			return Errorf(Invalid, "host port %d/%s is given twice: %s and %s", m.HostPort, m.Proto, o, m)
		case taken:
			return Errorf(Invalid, "ports %d and %d cannot both be published on host port %d/%s: %s and %s", o.Port, m.Port, m.HostPort, m.Proto, o, m)
		}
		at[here], family[everywhere] = m, m
	}
	return nil
}

// unspecified is the address that stands for all of an address's family.
func unspecified(a netip.Addr) netip.Addr {
	switch {
	case a.Is4():
		return netip.IPv4Unspecified()
	case a.Is6():
		return netip.IPv6Unspecified()
	}
	return a
}
