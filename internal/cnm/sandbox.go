package cnm

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// HostGateway is the address in name:host-gateway that stands for the default
// bridge's gateway.
const HostGateway = "host-gateway"

// ValidateSandbox checks a sandbox a user wants, the networks' endpoint settings
// aside: those need the networks, see [ValidateEndpoint].
func ValidateSandbox(s SandboxSpec) error {
	if err := ValidateSandboxName(s.Name); err != nil {
		return err
	}
	var bad problems
	checkProcess(s, &bad)
	checkNames(s, &bad)
	checkSysctls(s.Sysctls, s.NetworkMode, &bad)
	bad.add(validateLabels(s.Labels))
	bad.add(checkNetworks(s))
	bad.add(ValidatePorts(s))
	if len(bad) == 1 {
		return Errorf(Invalid, "%w", bad[0])
	}
	return bad.join(Invalid, "invalid sandbox:")
}

// checkProcess checks what concerns the process or, for a foreign namespace,
// that there is none.
func checkProcess(s SandboxSpec, bad *problems) {
	if s.Foreign != nil {
		bad.add(checkForeign(s))
		return
	}
	if len(s.Cmd) == 0 || s.Cmd[0] == "" {
		bad.add(fmt.Errorf("no command specified"))
	}
	for _, e := range s.Env {
		if k, _, _ := strings.Cut(e, "="); k == "" || strings.ContainsRune(e, 0) {
			bad.add(fmt.Errorf("invalid environment variable: %q", e))
		}
	}
	if s.Dir != "" && !path.IsAbs(s.Dir) {
		bad.add(fmt.Errorf("the working directory '%s' is invalid, it needs to be an absolute path", s.Dir))
	}
	if s.Rootfs != "" && !path.IsAbs(s.Rootfs) {
		bad.add(fmt.Errorf("the rootfs '%s' is invalid, it needs to be an absolute path", s.Rootfs))
	}
	if s.StopSignal != "" {
		_, err := ParseSignal(s.StopSignal)
		bad.add(err)
	}
	if s.StopTimeout < 0 {
		bad.add(fmt.Errorf("invalid stop timeout %s: it is negative", s.StopTimeout))
	}
}

func checkForeign(s SandboxSpec) error {
	f := s.Foreign
	switch {
	case (f.PID != 0) == (f.NetNS != ""):
		return fmt.Errorf("invalid namespace: exactly one of --pid and --netns is needed")
	case f.PID < 0:
		return fmt.Errorf("invalid process id %d: it is negative", f.PID)
	case f.NetNS != "" && !path.IsAbs(f.NetNS):
		return fmt.Errorf("invalid namespace %q: expected an absolute path", f.NetNS)
	case len(s.Cmd) > 0:
		return fmt.Errorf("no command can be started in a namespace made by somebody else")
	}
	return nil
}

// checkNames checks what goes into hostname, hosts and resolv.conf.
func checkNames(s SandboxSpec, bad *problems) {
	// HOST_NAME_MAX is 64 on Linux, a DNS label's limit 63.
	if s.Hostname != "" && (!validHost(s.Hostname) || len(s.Hostname) > 63) {
		bad.add(fmt.Errorf("invalid hostname format: %s", s.Hostname))
	}
	if s.Domainname != "" && (!validHost(s.Domainname) || len(s.Domainname) > 64) {
		bad.add(fmt.Errorf("invalid domainname format: %s", s.Domainname))
	}
	for _, h := range s.ExtraHosts {
		if _, _, err := ParseExtraHost(h); err != nil {
			bad.add(err)
		}
	}
	for _, a := range s.DNS {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			bad.add(fmt.Errorf("IP address is not correctly formatted: %s", a))
		}
	}
	for _, d := range s.DNSSearch {
		if d != "." && !validHost(strings.TrimSuffix(d, ".")) {
			bad.add(fmt.Errorf("%s is not a valid domain", d))
		}
	}
	for _, o := range s.DNSOptions {
		if o == "" || strings.ContainsAny(o, " \t\n\x00") {
			bad.add(fmt.Errorf("invalid DNS option %q: expected one word such as ndots:2", o))
		}
	}
}

// ParseExtraHost reads NAME:IP or NAME=IP of --add-host, the IP possibly in
// brackets. An invalid address stands for [HostGateway].
func ParseExtraHost(s string) (name string, a netip.Addr, err error) {
	name, ip, ok := strings.Cut(s, "=")
	if !ok {
		name, ip, ok = strings.Cut(s, ":")
	}
	if !ok || !validHost(name) {
		return "", a, Errorf(Invalid, "bad format for add-host: %q", s)
	}
	if ip == HostGateway {
		return name, a, nil
	}
	if n := len(ip); n > 2 && ip[0] == '[' && ip[n-1] == ']' {
		ip = ip[1 : n-1]
	}
	if a, err = netip.ParseAddr(ip); err != nil || a.Zone() != "" {
		return "", netip.Addr{}, Errorf(Invalid, "invalid IP address in add-host: %q", ip)
	}
	return name, a, nil
}

// checkNetworks checks that the networks asked for go together.
func checkNetworks(s SandboxSpec) error {
	mode := s.NetworkMode
	switch mode {
	case "", netDefault, NetBridge:
	case NetNone, NetHost:
		for _, j := range s.Networks {
			if j.Network == mode {
				continue
			}
			if mode == NetHost {
				return fmt.Errorf("container sharing network namespace with another container or host cannot be connected to any other network")
			}
			return fmt.Errorf("container cannot be connected to multiple networks with one of the networks in private (none) mode")
		}
		if s.Foreign != nil {
			return fmt.Errorf("network mode %s cannot be used with a namespace made by somebody else", mode)
		}
	default:
		return Errorf(Unsupported, "network mode %q is not supported (available: none, host, or networks by name)", mode)
	}
	for i, j := range s.Networks {
		if j.Network == "" {
			return fmt.Errorf("invalid network: the name is empty")
		}
		if slices.ContainsFunc(s.Networks[:i], func(o NetworkJoin) bool { return o.Network == j.Network }) {
			return fmt.Errorf("network %q is specified multiple times", j.Network)
		}
		if (j.Network == NetHost || j.Network == NetNone) && len(s.Networks) > 1 {
			return fmt.Errorf("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
		}
	}
	return nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
