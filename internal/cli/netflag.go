package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
)

// A netAttachment is one --network flag: a network and what is asked of the
// endpoint on it.
type netAttachment struct {
	name       string
	ip, ip6    netip.Addr
	linkLocal  []netip.Addr
	mac        network.HardwareAddr
	aliases    []string
	links      []string
	driverOpts map[string]string
	gwPriority int
}

// netFlag is --network NET[,ip=…,ip6=…,alias=…,mac=…,link-local-ip=…,gw-priority=…],
// repeatable; Docker's name=NET,… form is the same thing.
type netFlag struct{ list []netAttachment }

// String shows the networks so far.
func (f *netFlag) String() string {
	names := make([]string, len(f.list))
	for i, n := range f.list {
		names[i] = n.name
	}
	return strings.Join(names, " ")
}

// Type names the value in help texts.
func (f *netFlag) Type() string { return "network" }

// Set parses one flag.
func (f *netFlag) Set(s string) error {
	n, err := parseNetwork(s)
	if err != nil {
		return err
	}
	for _, have := range f.list {
		if have.name == n.name {
			return fmt.Errorf("network %q is given twice", n.name)
		}
	}
	f.list = append(f.list, n)
	return nil
}

func parseNetwork(s string) (netAttachment, error) {
	var n netAttachment
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return n, fmt.Errorf("network %q: expected NET[,key=value…]", s)
	}
	for i, field := range fields {
		k, v, hasValue := strings.Cut(field, "=")
		if i == 0 && !hasValue {
			k, v = "name", field
		}
		if err := n.set(strings.ToLower(strings.TrimSpace(k)), strings.TrimSpace(v)); err != nil {
			return n, fmt.Errorf("network %q: %w", s, err)
		}
	}
	if n.name == "" {
		return n, fmt.Errorf("network %q: a network's name is missing, expected NET[,key=value…]", s)
	}
	return n, nil
}

func (n *netAttachment) set(k, v string) (err error) {
	if v == "" {
		return fmt.Errorf("%q has no value", k)
	}
	switch k {
	case "name":
		n.name = v
	case "ip":
		if n.ip.IsValid() {
			return errors.New("a second ip= is not there yet: one address per family")
		}
		n.ip, err = parseIP(v, 4)
	case "ip6":
		if n.ip6.IsValid() {
			return errors.New("a second ip6= is not there yet: one address per family")
		}
		n.ip6, err = parseIP(v, 6)
	case "link-local-ip":
		var a netip.Addr
		if a, err = parseLinkLocal(v); err == nil {
			n.linkLocal = append(n.linkLocal, a)
		}
	case "mac", "mac-address":
		n.mac, err = parseMAC(v)
	case "alias":
		n.aliases = append(n.aliases, v)
	case "driver-opt":
		dk, dv, ok := strings.Cut(v, "=")
		if !ok || dk == "" {
			return fmt.Errorf("driver-opt %q is not KEY=VALUE", v)
		}
		if n.driverOpts == nil {
			n.driverOpts = make(map[string]string)
		}
		n.driverOpts[dk] = dv
	case "gw-priority":
		if n.gwPriority, err = strconv.Atoi(v); err != nil {
			err = fmt.Errorf("gw-priority %q is not a whole number", v)
		}
	default:
		return fmt.Errorf("unknown key %q, expected ip, ip6, alias, mac, link-local-ip, driver-opt or gw-priority", k)
	}
	return err
}

// settings is the attachment in the API's words.
func (n netAttachment) settings() *network.EndpointSettings {
	s := &network.EndpointSettings{
		Aliases: n.aliases, Links: n.links, DriverOpts: n.driverOpts, GwPriority: n.gwPriority, MacAddress: n.mac,
	}
	if n.ip.IsValid() || n.ip6.IsValid() || len(n.linkLocal) > 0 {
		s.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: n.ip, IPv6Address: n.ip6, LinkLocalIPs: n.linkLocal}
	}
	return s
}

// parseIP reads an address of one family (4 or 6, 0 for either).
func parseIP(s string, family int) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", s)
	case family == 4 && !a.Is4():
		return netip.Addr{}, fmt.Errorf("%q is not an IPv4 address", s)
	case family == 6 && !a.Is6():
		return netip.Addr{}, fmt.Errorf("%q is not an IPv6 address", s)
	}
	return a.Unmap(), nil
}

func parseLinkLocal(s string) (netip.Addr, error) {
	a, err := parseIP(s, 0)
	if err == nil && !a.IsLinkLocalUnicast() {
		err = fmt.Errorf("%q is not a link-local address (169.254.0.0/16 or fe80::/10)", s)
	}
	return a, err
}

// parseMAC reads an Ethernet address that a station may have.
func parseMAC(s string) (network.HardwareAddr, error) {
	var m network.HardwareAddr
	if err := m.UnmarshalText([]byte(s)); err != nil || len(m) != 6 {
		return nil, fmt.Errorf("%q is not a MAC address such as 02:42:0a:00:00:05", s)
	}
	if m[0]&1 != 0 {
		return nil, fmt.Errorf("MAC address %q is a multicast address, a station needs one with an even first byte", s)
	}
	return m, nil
}

// addrList and addrFlag are flags that hold addresses.

type addrFlag struct {
	addr   netip.Addr
	family int
}

func (f *addrFlag) String() string {
	if !f.addr.IsValid() {
		return ""
	}
	return f.addr.String()
}
func (f *addrFlag) Type() string { return "ip" }
func (f *addrFlag) Set(s string) (err error) {
	f.addr, err = parseIP(s, f.family)
	return err
}

type addrList struct {
	list  []netip.Addr
	parse func(string) (netip.Addr, error)
}

func (f *addrList) String() string {
	if len(f.list) == 0 {
		return ""
	}
	return fmt.Sprint(f.list)
}
func (f *addrList) Type() string { return "ip" }
func (f *addrList) Set(s string) error {
	for _, one := range strings.Split(s, ",") {
		a, err := f.parse(one)
		if err != nil {
			return err
		}
		f.list = append(f.list, a)
	}
	return nil
}

type macFlag struct{ mac network.HardwareAddr }

func (f *macFlag) String() string { return f.mac.String() }
func (f *macFlag) Type() string   { return "mac" }
func (f *macFlag) Set(s string) (err error) {
	f.mac, err = parseMAC(s)
	return err
}
