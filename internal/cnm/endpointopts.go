package cnm

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The driver options of an endpoint: Docker's, and weft's own.
const (
	// OptIfName fixes the name of the interface.
	OptIfName = "com.docker.network.endpoint.ifname"
	// OptSysctls holds settings for the interface, K=V joined by commas, the
	// word IFNAME standing for its name.
	OptSysctls = "com.docker.network.endpoint.sysctls"

	optAllowRA   = "weft.allow-ra"
	optAllowDHCP = "weft.allow-dhcp"
	optGuard     = "weft.guard"
	optMACLimit  = "weft.mac-limit"
	optQueues    = "weft.queues"
)

// The bounds of the options that are numbers.
const (
	maxMACLimit = 1 << 20
	// MaxQueues is the most queues an endpoint's interface may have.
	MaxQueues = 8
)

// EndpointOptions are an endpoint's driver options, read and checked.
type EndpointOptions struct {
	IfName  string // empty: the next free one
	Sysctls string // for [EndpointSysctls]
	// AllowRA and AllowDHCP let a guarded endpoint be a router or a DHCP server.
	AllowRA, AllowDHCP bool
	// NoGuard lets the endpoint send from any address.
	NoGuard bool
	// MACLimit bounds the addresses learned from an endpoint without a guard; 0
	// is the switch's default.
	MACLimit int
	// Queues is how many queues the interface has, and so how many workers may
	// serve it; 0 is one.
	Queues int
}

// ParseEndpointOptions reads the driver options of an endpoint that was validated.
func ParseEndpointOptions(m map[string]string) (EndpointOptions, error) {
	o, bad := parseEndpointOptions(m)
	return o, bad.join(Invalid, "invalid endpoint settings:")
}

func parseEndpointOptions(m map[string]string) (o EndpointOptions, bad problems) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		bad.add(o.set(key, m[key]))
	}
	return o, bad
}

func (o *EndpointOptions) set(key, value string) (err error) {
	switch key {
	case OptIfName:
		o.IfName = value
		if !validIfName(value) || value == "lo" {
			return fmt.Errorf("invalid interface name %q: expected 1 to 15 characters, no space, slash or colon, not lo", value)
		}
	case OptSysctls:
		o.Sysctls = value
		_, err = EndpointSysctls(value, "IFNAME")
	case optAllowRA:
		o.AllowRA, err = parseSwitch(key, value)
	case optAllowDHCP:
		o.AllowDHCP, err = parseSwitch(key, value)
	case optGuard:
		var on bool
		on, err = parseSwitch(key, value)
		o.NoGuard = !on
	case optMACLimit:
		o.MACLimit, err = parseCount(key, value, maxMACLimit)
	case optQueues:
		o.Queues, err = parseCount(key, value, MaxQueues)
	default:
		return fmt.Errorf("unknown driver option %q for an endpoint", key)
	}
	return err
}

// parseSwitch reads true and false, also as on and off.
func parseSwitch(key, value string) (bool, error) {
	switch value {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("invalid driver option %s=%s: expected on or off, or true or false", key, value)
	}
	return on, nil
}

func parseCount(key, value string, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("invalid driver option %s=%s: expected a number from 1 to %d", key, value, most)
	}
	return n, nil
}

// EndpointSysctls reads the value of [OptSysctls] for an interface of the given
// name and returns paths below /proc/sys and values. What belongs to an interface
// may be set: net.ipv4 and net.ipv6, conf and neigh. (Docker also lets
// net.mpls.conf through, which no sandbox here has a use for.)
func EndpointSysctls(value, ifName string) (map[string]string, error) {
	out := map[string]string{}
	for kv := range strings.SplitSeq(value, ",") {
		k, v, ok := strings.Cut(kv, "=")
		parts := strings.Split(k, ".")
		if !ok || len(parts) != 5 || parts[0] != "net" || parts[1] != "ipv4" && parts[1] != "ipv6" ||
			parts[2] != "conf" && parts[2] != "neigh" || parts[3] != "IFNAME" {
			return nil, fmt.Errorf("unrecognised network interface sysctl %q; expected net.{ipv4,ipv6}.{conf,neigh}.IFNAME.KEY=VALUE", kv)
		}
		if err := checkSysctl(k, v); err != nil {
			return nil, err
		}
		if strings.Contains(k, "/") {
			return nil, fmt.Errorf("unrecognised network interface sysctl %q: dots separate, IFNAME stands for the interface", kv)
		}
		// Names with dots need slashes as separator: sysctl(8).
		parts[3] = ifName
		out[strings.Join(parts, "/")] = v
	}
	return out, nil
}
