package cnm

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The ranges a link-local address may come from (RFC 3927, RFC 4291 2.5.6).
var (
	linkLocal4 = netip.MustParsePrefix("169.254.0.0/16")
	linkLocal6 = netip.MustParsePrefix("fe80::/10")
)

// ValidateEndpoint checks what a user wants of an endpoint on an existing
// network. Whether an address is free is for the IPAM to say.
func ValidateEndpoint(n Network, c EndpointConfig) error {
	if n.ConfigOnly {
		return Errorf(Forbidden, "cannot create endpoint on configuration-only network")
	}
	if err := checkLinks(n, c.Links); err != nil {
		return err
	}
	if n.Driver == DriverHost || n.Driver == DriverNone {
		return validateNoEndpoint(n, c)
	}
	var bad problems
	if IsPredefined(n.Name) {
		bad.add(checkPredefined(c))
	} else {
		bad.add(checkStatic(n, c.IPv4, true))
		bad.add(checkStatic(n, c.IPv6, false))
	}
	for _, a := range c.LinkLocal {
		if !linkLocal4.Contains(a) && !linkLocal6.Contains(a) {
			bad.add(fmt.Errorf("invalid link-local IP address: %s (expected one in %s or %s)", a, linkLocal4, linkLocal6))
		}
	}
	if c.MAC.IsGroup() {
		bad.add(fmt.Errorf("invalid MAC address %s: it is a group address, an interface needs a unicast one", c.MAC))
	}
	for _, a := range c.Aliases {
		if !validHost(a) {
			bad.add(fmt.Errorf("invalid alias %q: expected a host name", a))
		}
	}
	_, wrong := parseEndpointOptions(c.DriverOpts)
	bad = append(bad, wrong...)
	return bad.join(Invalid, "invalid endpoint settings:")
}

// validateNoEndpoint is for the networks host and none, which have no
// interfaces to configure.
func validateNoEndpoint(n Network, c EndpointConfig) error {
	if c.IPv4.IsValid() || c.IPv6.IsValid() || len(c.LinkLocal) > 0 {
		return Errorf(Invalid, "user specified IP address is supported on user defined networks only")
	}
	if len(c.Aliases) > 0 {
		return Errorf(Invalid, "network-scoped alias is supported only for containers in user defined networks")
	}
	if !c.MAC.IsZero() {
		return Errorf(Invalid, "conflicting options: mac-address and the network mode %s", n.Name)
	}
	return nil
}

// checkPredefined refuses what Docker's default bridge does not offer.
func checkPredefined(c EndpointConfig) error {
	if c.IPv4.IsValid() || c.IPv6.IsValid() {
		return fmt.Errorf("user specified IP address is supported on user defined networks only")
	}
	if len(c.Aliases) > 0 {
		return fmt.Errorf("network-scoped alias is supported only for containers in user defined networks")
	}
	return nil
}

// checkStatic checks an address asked for against the network's pools.
func checkStatic(n Network, a netip.Addr, v4 bool) error {
	if !a.IsValid() {
		return nil
	}
	if a.Is4() != v4 {
		return fmt.Errorf("invalid %s address: %s", map[bool]string{true: "IPv4", false: "IPv6"}[v4], a)
	}
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Zone() != "" {
		return fmt.Errorf("invalid %s address: %s (expected the address of one host)", family(a), a)
	}
	user := false
	for _, p := range n.IPAM.Config {
		if !p.Subnet.IsValid() || p.Auto || p.AnySubnet() || p.Subnet.Addr().Is4() != v4 {
			continue
		}
		user = true
		if p.Subnet.Contains(a) {
			return nil
		}
	}
	if !user {
		return fmt.Errorf("user specified IP address is supported only when connecting to networks with user configured subnets")
	}
	return fmt.Errorf("no configured subnet contains IP address %s", a)
}

// checkLinks checks the names that one endpoint alone has for others: there are some
// where there are names.
func checkLinks(n Network, links []string) error {
	for _, l := range links {
		if _, _, err := ParseLink(l); err != nil {
			return err
		}
	}
	if IsPredefined(n.Name) {
		return CheckLegacyLinks(links)
	}
	return nil
}

// CheckLegacyLinks refuses links that are not of one network, or of one that has no
// names: Docker's, on its default network, hand on environment and ports.
func CheckLegacyLinks(links []string) error {
	for _, l := range links {
		if _, _, err := ParseLink(l); err != nil {
			return err
		}
	}
	if len(links) > 0 {
		return Errorf(Unsupported, "links are not supported on the default network (%s): on others names are found without them", links[0])
	}
	return nil
}

// ParseLink reads CONTAINER[:ALIAS].
func ParseLink(s string) (target, alias string, err error) {
	target, alias, found := strings.Cut(s, ":")
	if !found {
		alias = target
	}
	if target == "" || alias == "" || strings.Contains(alias, ":") || !validHost(alias) {
		return "", "", Errorf(Invalid, "bad format for links: %s", s)
	}
	return target, alias, nil
}

// DNSNames returns the names an endpoint is known by on its network, the first
// being the one shown for its address: the sandbox's name, its aliases, short
// ID and hostname, each once.
func DNSNames(s SandboxSpec, id string, c EndpointConfig) []string {
	names := append([]string{s.Name}, c.Aliases...)
	names = append(names, ShortID(id), s.Hostname)
	out := names[:0]
	for _, n := range names {
		if n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
