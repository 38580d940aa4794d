package cnm

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The bridge driver's options under Docker's full names. Users may leave out
// the prefix: enable_icc stands for com.docker.network.bridge.enable_icc.
const (
	bridgePrefix     = "com.docker.network.bridge."
	optName          = bridgePrefix + "name"
	optMasquerade    = bridgePrefix + "enable_ip_masquerade"
	optICC           = bridgePrefix + "enable_icc"
	optBindIPv4      = bridgePrefix + "host_binding_ipv4"
	optGatewayMode4  = bridgePrefix + "gateway_mode_ipv4"
	optGatewayMode6  = bridgePrefix + "gateway_mode_ipv6"
	optInhibitIPv4   = bridgePrefix + "inhibit_ipv4"
	optTrusted       = bridgePrefix + "trusted_host_interfaces"
	optDefaultBridge = bridgePrefix + "default_bridge"
	optMTU           = "com.docker.network.driver.mtu"
	optHostIPv4      = "com.docker.network.host_ipv4"
	optIfPrefix      = "com.docker.network.container_iface_prefix"
)

// The smallest and largest MTU of a network in bytes: what IPv4 demands (RFC
// 791, 3.1; IPv6 demands 1280, RFC 8200, 5), and what an IP length can say.
const (
	minMTU  = 68
	minMTU6 = 1280
	maxMTU  = 65535
	// DefaultMTU is used when a network's options do not say.
	DefaultMTU = 1500
)

// GatewayMode says how a bridge network's gateway treats traffic of one family.
type GatewayMode string

// The modes, in Docker's words.
const (
	ModeNAT            GatewayMode = "nat"
	ModeNATUnprotected GatewayMode = "nat-unprotected"
	ModeRouted         GatewayMode = "routed"
	ModeIsolated       GatewayMode = "isolated" // no gateway address at all; internal networks only
)

// BridgeOptions are a bridge network's driver options, read and checked.
type BridgeOptions struct {
	Name          string // of the bridge; shown only
	DefaultBridge bool   // the predefined network: no name service
	Masquerade    bool
	ICC           bool       // endpoints may talk to each other
	HostBinding   netip.Addr // where published ports are bound by default; invalid for anywhere
	Mode4, Mode6  GatewayMode
	InhibitIPv4   bool     // the gateway does not hold its IPv4 address
	Trusted       []string // host interfaces that may reach endpoints directly
	MTU           int
	HostIPv4      netip.Addr // source address of masqueraded traffic; invalid for any
	IfPrefix      string     // of interface names in sandboxes, "eth"
}

// ParseBridgeOptions reads the options of a bridge network. Options it does not
// know are refused by name; so are two spellings of one option that disagree.
func ParseBridgeOptions(opts map[string]string) (BridgeOptions, error) {
	o := BridgeOptions{Masquerade: true, ICC: true, Mode4: ModeNAT, Mode6: ModeNAT, MTU: DefaultMTU, IfPrefix: "eth"}
	seen := make(map[string]string, len(opts))
	// In order, so that the same mistakes give the same error.
	for _, key := range slices.Sorted(maps.Keys(opts)) {
		value, full := opts[key], fullOption(key)
		if other, twice := seen[full]; twice && other != value {
			return o, Errorf(Invalid, "driver option %s is given twice, as %q and %q", full, other, value)
		}
		seen[full] = value
		if err := o.set(key, full, value); err != nil {
			return o, err
		}
	}
	return o, nil
}

// BridgeOptionNames are the options a user may give a bridge, by their full names.
func BridgeOptionNames() []string {
	return []string{optGatewayMode4, optGatewayMode6, optHostIPv4, optICC, optInhibitIPv4, optIfPrefix, optMTU, optMasquerade, optName, optBindIPv4, optTrusted}
}

// Masquerades reports whether what endpoints send beyond their node leaves with an
// address of the node's, of IPv4 or of IPv6. What does not is for who routes the
// network's subnet, and nobody does that for a switch that is no part of the kernel: it
// leaves by no uplink.
func (o BridgeOptions) Masquerades(v4 bool) bool {
	mode := o.Mode6
	if v4 {
		mode = o.Mode4
	}
	return o.Masquerade && (mode == ModeNAT || mode == ModeNATUnprotected)
}

// leadOut reports whether the gateway of IPv4 or of IPv6 is the switch's own, and what goes
// by it masqueraded.
func (o BridgeOptions) leadOut(v4 bool) bool { return o.Masquerades(v4) && !(v4 && o.InhibitIPv4) }

// Warning says which options set make no difference yet, and which cut the network
// off; empty if there are none.
func (o BridgeOptions) Warning() string {
	type option struct {
		set  bool
		what string
	}
	list := func(options ...option) (names []string) {
		for _, f := range options {
			if f.set {
				names = append(names, f.what)
			}
		}
		return names
	}
	idle := list(option{o.Mode4 == ModeNATUnprotected, "gateway_mode_ipv4=" + string(o.Mode4)},
		option{o.Mode6 == ModeNATUnprotected, "gateway_mode_ipv6=" + string(o.Mode6)},
		option{len(o.Trusted) > 0, "trusted_host_interfaces"},
		option{o.HostIPv4.IsValid() && !o.HostIPv4.IsUnspecified(), "host_ipv4"})
	shut := list(option{o.Mode4 == ModeRouted, "gateway_mode_ipv4=" + string(o.Mode4)},
		option{o.Mode6 == ModeRouted, "gateway_mode_ipv6=" + string(o.Mode6)},
		option{!o.Masquerade, "enable_ip_masquerade=false"})
	var out []string
	if len(idle) > 0 {
		out = append(out, driverOptions(idle, " has no effect yet", " have no effect yet"))
	}
	if len(shut) > 0 {
		out = append(out, driverOptions(shut, " lets", " let")+" nothing leave this node: nobody routes to the network, and only what is masqueraded is answered")
	}
	return strings.Join(out, "; ")
}

// driverOptions is the beginning of a sentence about one or several options.
func driverOptions(names []string, one, several string) string {
	if len(names) == 1 {
		return "driver option " + names[0] + one
	}
	return "driver options " + strings.Join(names, ", ") + several
}

// fullOption returns the full name of an option given by its short one.
func fullOption(key string) string {
	switch key {
	case "name", "enable_ip_masquerade", "enable_icc", "host_binding_ipv4", "gateway_mode_ipv4", "gateway_mode_ipv6",
		"inhibit_ipv4", "trusted_host_interfaces":
		return bridgePrefix + key
	case "mtu":
		return optMTU
	case "host_ipv4":
		return optHostIPv4
	case "container_iface_prefix":
		return optIfPrefix
	}
	return key
}

// set reads one option; key is the name the user gave, for errors.
func (o *BridgeOptions) set(key, full, value string) (err error) {
	switch full {
	case optName:
		if !validIfName(value) {
			return badOption(key, value, "an interface name has 1 to 15 characters, no space, slash or colon")
		}
		o.Name = value
	case optDefaultBridge:
		o.DefaultBridge, err = boolOption(key, value)
	case optMasquerade:
		o.Masquerade, err = boolOption(key, value)
	case optICC:
		o.ICC, err = boolOption(key, value)
	case optInhibitIPv4:
		o.InhibitIPv4, err = boolOption(key, value)
	case optBindIPv4:
		o.HostBinding, err = ipv4Option(key, value)
	case optHostIPv4:
		o.HostIPv4, err = ipv4Option(key, value)
	case optGatewayMode4:
		o.Mode4, err = modeOption(key, value)
	case optGatewayMode6:
		o.Mode6, err = modeOption(key, value)
	case optTrusted:
		o.Trusted, err = interfacesOption(key, value)
	case optMTU:
		o.MTU, err = mtuOption(key, value, DefaultMTU)
	case optIfPrefix:
		if !validIfName(value+"999") || endsInDigit(value) {
			return badOption(key, value, "a prefix has 1 to 12 characters and does not end in a digit")
		}
		o.IfPrefix = value
	case "parent":
		return Errorf(Unsupported, "driver option %q: attaching a host interface to a bridge network is not supported yet", key)
	default:
		return Errorf(Invalid, "unknown driver option %q for the bridge driver", key)
	}
	return err
}

// endsInDigit reports whether a prefix would run into the interface number.
func endsInDigit(s string) bool {
	return s == "" || '0' <= s[len(s)-1] && s[len(s)-1] <= '9'
}

// badOption is Docker's error for a value it cannot read.
func badOption(key, value, why string) error {
	return Errorf(Invalid, "failed to parse %s value: %s (%s)", key, value, why)
}

func boolOption(key, value string) (bool, error) {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return false, badOption(key, value, "expected true or false")
	}
	return b, nil
}

func ipv4Option(key, value string) (netip.Addr, error) {
	a, err := netip.ParseAddr(value)
	if err != nil || !a.Is4() {
		return netip.Addr{}, badOption(key, value, "expected an IPv4 address")
	}
	return a, nil
}

func modeOption(key, value string) (GatewayMode, error) {
	switch m := GatewayMode(value); m {
	case "":
		return ModeNAT, nil
	case ModeNAT, ModeNATUnprotected, ModeRouted, ModeIsolated:
		return m, nil
	}
	return "", badOption(key, value, "unknown gateway mode "+value)
}

func interfacesOption(key, value string) ([]string, error) {
	names := strings.FieldsFunc(value, func(r rune) bool { return r == ':' })
	for _, n := range names {
		if !validIfName(n) {
			return nil, badOption(key, value, "not an interface name: "+n)
		}
	}
	return names, nil
}

// mtuOption reads an MTU; unset is what 0 stands for.
func mtuOption(key, value string, unset int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, badOption(key, value, "expected a number")
	}
	if n == 0 {
		return unset, nil
	}
	if n < minMTU || n > maxMTU {
		return 0, Errorf(Invalid, "invalid MTU number: %d (expected %d to %d)", n, minMTU, maxMTU)
	}
	return n, nil
}
