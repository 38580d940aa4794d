package api

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/cnm"
	"weft/internal/node"
)

// Where a node listens and what it is known by is said when its daemon is
// started. Docker's requests to make and to join a swarm can say it too: here
// they may only repeat it.

// controlPort is where managers listen unless told otherwise, as in Docker.
const controlPort = 2377

// anyControl is what Docker's command asks for when it was told nothing.
const anyControl = "0.0.0.0:2377"

// sameAddresses refuses a request that names other addresses than the daemon's
// own. Empty ones leave it to the daemon; of finds those of an interface.
func sameAddresses(own cnm.SwarmInfo, of func(string) []netip.Addr, listen, advertise, dataPath string) error {
	control := own.Control
	if !control.IsValid() {
		control = netip.AddrPortFrom(own.Addr, controlPort)
	}
	if listen != "" && listen != anyControl {
		addrs, port := readAddress(listen, of)
		if port != 0 && port != control.Port() {
			return notOwn("listen", listen, "control-port", strconv.Itoa(int(port)))
		}
		if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.IsUnspecified() || a == control.Addr() }) {
			return notOwn("listen", listen, "advertise-addr", hostPart(listen))
		}
	}
	if advertise != "" {
		addrs, port := readAddress(advertise, of)
		if port != 0 && port != control.Port() {
			return notOwn("advertised", advertise, "control-port", strconv.Itoa(int(port)))
		}
		if !slices.Contains(addrs, control.Addr()) {
			return notOwn("advertised", advertise, "advertise-addr", hostPart(advertise))
		}
	}
	if dataPath != "" {
		addrs, _ := readAddress(dataPath, of)
		if !slices.ContainsFunc(own.DataPath, func(p netip.AddrPort) bool { return slices.Contains(addrs, p.Addr()) }) {
			return notOwn("data path", dataPath, "data-path-addr", hostPart(dataPath))
		}
	}
	return nil
}

// sameDataPathPort is sameAddresses for the port of the overlays, 0 leaves it to
// the daemon.
func sameDataPathPort(own cnm.SwarmInfo, port uint32) error {
	have := uint32(node.DefaultDataPathPort)
	if len(own.DataPath) > 0 {
		have = uint32(own.DataPath[0].Port())
	}
	if port == 0 || port == have {
		return nil
	}
	text := strconv.Itoa(int(port))
	return cnm.Errorf(cnm.Invalid, "data path port %s is not this daemon's, which has %d: start it with --data-path-port %s", text, have, text)
}

func notOwn(what, address, flag, value string) error {
	return cnm.Errorf(cnm.Invalid, "the %s address %s is not this daemon's: start it with --%s %s", what, clip(address), flag, clip(value))
}

// readAddress reads an address or the name of an interface, with a port or
// without (0).
func readAddress(s string, of func(string) []netip.Addr) (addrs []netip.Addr, port uint16) {
	host := hostPart(s)
	if _, text, err := net.SplitHostPort(s); err == nil {
		n, _ := strconv.ParseUint(text, 10, 16)
		port = uint16(n)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, port
	}
	return of(host), port
}

// hostPart is an address without its port and brackets.
func hostPart(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
}

// interfaceAddrs are the addresses of an interface of this machine, none where
// it has no such interface.
func interfaceAddrs(name string) []netip.Addr {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil
	}
	list, _ := i.Addrs()
	var addrs []netip.Addr
	for _, x := range list {
		if p, err := netip.ParsePrefix(x.String()); err == nil {
			addrs = append(addrs, p.Addr())
		}
	}
	return addrs
}

// remoteManagers reads where a node that joins finds managers: addresses or
// names, with a port or without.
func remoteManagers(ctx context.Context, r *net.Resolver, list []string) ([]netip.AddrPort, error) {
	if len(list) == 0 {
		return nil, cnm.Errorf(cnm.Invalid, "at least 1 RemoteAddr is required to join")
	}
	var remotes []netip.AddrPort
	for _, s := range list {
		host, port := hostPart(s), uint16(controlPort)
		if _, text, err := net.SplitHostPort(s); err == nil {
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil || n == 0 {
				return nil, cnm.Errorf(cnm.Invalid, "manager %q: expected ADDRESS:PORT with a port from 1 to 65535", clip(s))
			}
			port = uint16(n)
		}
		if host == "" {
			return nil, cnm.Errorf(cnm.Invalid, "manager %q: expected ADDRESS:PORT", clip(s))
		}
		addrs, err := r.LookupNetIP(ctx, "ip", host) // an address is itself
		if err != nil {
			return nil, cnm.Errorf(cnm.Invalid, "manager %q: %w", clip(s), err)
		}
		for _, a := range addrs {
			remotes = append(remotes, netip.AddrPortFrom(a.Unmap(), port))
		}
	}
	return remotes, nil
}
