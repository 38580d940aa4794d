package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strings"

	"weft/internal/cnm"
	"weft/internal/sandbox"
)

// allocateAll gives a sandbox that starts its endpoints, all or none.
func (n *Node) allocateAll(ctx context.Context, b *box) error {
	n.mu.Lock()
	joins := b.sb.Spec.Networks
	n.mu.Unlock()
	ls, done, err := n.lease(ctx, joins)
	if err != nil {
		return err
	}
	defer done()
	n.mu.Lock()
	for _, join := range joins {
		if _, err = n.joinLocked(b, join, ls); err != nil {
			break
		}
	}
	needs := n.needsGatewayLocked(b)
	n.mu.Unlock()
	if err == nil && needs != cnm.NeedsNone {
		_, err = n.joinGateway(b, needs) // the last: its interface is, too
	}
	if err != nil {
		n.mu.Lock()
		n.releaseAllLocked(b)
		n.giveBackLocked(ls)
		n.mu.Unlock()
	}
	return err
}

// joinLocked gives b an endpoint on a network: addresses, MAC, interface name. On a
// network of the swarm it uses up the lease there is for it.
func (n *Node) joinLocked(b *box, join cnm.NetworkJoin, ls leases) (cnm.Endpoint, error) {
	nw, err := n.findNetworkLocked(join.Network)
	if err == nil && nw.going {
		err = cnm.Errorf(cnm.NotFound, "network %s not found", join.Network)
	}
	if err == nil {
		err = cnm.ValidateEndpoint(nw.Network, join.Config)
	}
	if err != nil {
		return cnm.Endpoint{}, err
	}
	if indexOf(b.sb.Endpoints, nw.ID) >= 0 {
		return cnm.Endpoint{}, cnm.Errorf(cnm.Forbidden, "endpoint with name %s already exists in network %s", b.sb.Spec.Name, nw.Name)
	}
	e := cnm.Endpoint{
		ID: cnm.NewID(), NetworkID: nw.ID, Network: nw.Name, SandboxID: b.sb.ID, Config: join.Config, MTU: n.mtuLocked(nw),
		DNSNames: cnm.DNSNames(b.sb.Spec, b.sb.ID, join.Config),
	}
	if e.IfName, err = ifName(&b.sb, nw, join.Config); err != nil {
		return cnm.Endpoint{}, err
	}
	if nw.Scope == cnm.ScopeSwarm {
		l, ok := ls[nw.ID]
		if !ok {
			return cnm.Endpoint{}, n.noLeaseLocked(nw)
		}
		delete(ls, nw.ID)
		e.ID, e.IPv4, e.IPv6 = l.id, l.ipv4, l.ipv6
	} else if err := n.addressLocked(nw, &e); err != nil {
		return cnm.Endpoint{}, err
	}
	e.Gateway4, e.Gateway6 = gateways(nw)
	if err = n.macLocked(&e); err == nil {
		err = n.linkLocalsLocked(nw, &e)
	}
	if err != nil {
		n.releaseLocked(&e)
		return cnm.Endpoint{}, err
	}
	b.sb.Endpoints = append(b.sb.Endpoints[:len(b.sb.Endpoints):len(b.sb.Endpoints)], e)
	return e, nil
}

// ifName is the name the user fixed, or the first free one in join order.
func ifName(sb *cnm.Sandbox, nw *network, c cnm.EndpointConfig) (string, error) {
	var used []string
	for _, e := range sb.Endpoints {
		used = append(used, e.IfName)
	}
	name := c.DriverOpts[cnm.OptIfName]
	if name == "" {
		return cnm.NextIfName(nw.options.IfPrefix, used), nil
	}
	for _, u := range used {
		if u == name {
			return "", cnm.Errorf(cnm.Conflict, "interface name %q is already in use by another network of container %s", name, sb.Spec.Name)
		}
	}
	return name, nil
}

// macLocked gives e the MAC asked for or one derived from its address, and
// refuses one that another endpoint of the network has.
func (n *Node) macLocked(e *cnm.Endpoint) error {
	e.MAC = e.Config.MAC
	if e.MAC.IsZero() {
		switch {
		case e.IPv4.IsValid():
			e.MAC = deriveMAC(e.IPv4.Addr())
		case e.IPv6.IsValid():
			e.MAC = deriveMAC(e.IPv6.Addr())
		default:
			e.MAC = cnm.RandomMAC()
		}
	}
	if nw := n.networks[e.NetworkID]; nw != nil && e.MAC == gatewayMAC(&nw.Network) {
		return cnm.Errorf(cnm.Conflict, "MAC address %s is the gateway's on network %s", e.MAC, e.Network)
	}
	for _, b := range n.boxes {
		for _, o := range b.sb.Endpoints {
			if o.NetworkID == e.NetworkID && o.MAC == e.MAC && o.ID != e.ID {
				return cnm.Errorf(cnm.Conflict, "MAC address %s is already in use by container %s on network %s", e.MAC, b.sb.Spec.Name, e.Network)
			}
		}
	}
	return nil
}

// linkLocalsLocked refuses link-local addresses for e that somebody else on the
// network has or may be given: no allocator keeps them apart.
func (n *Node) linkLocalsLocked(nw *network, e *cnm.Endpoint) error {
	inUse := func(a netip.Addr, by string) error {
		return cnm.Errorf(cnm.Conflict, "link-local address %s is already in use by %s on network %s", a, by, nw.Name)
	}
	gw := gatewayMAC(&nw.Network)
	for i, a := range e.Config.LinkLocal {
		if pool := nw.poolOf(a); pool != nil {
			return cnm.Errorf(cnm.Conflict, "link-local address %s lies in the subnet %s of network %s: ask for it as IP address", a, pool.Subnet, nw.Name)
		}
		if slices.Contains(e.Config.LinkLocal[:i], a) {
			return cnm.Errorf(cnm.Invalid, "link-local address %s is asked for twice", a)
		}
		if !gw.IsZero() && a == linkLocal(gw) {
			return inUse(a, "the gateway")
		}
	}
	mine := append(slices.Clone(e.Config.LinkLocal), linkLocal(e.MAC))
	for _, b := range n.boxes {
		for i := range b.sb.Endpoints {
			o := &b.sb.Endpoints[i]
			if o.NetworkID != e.NetworkID || o.ID == e.ID {
				continue
			}
			for _, a := range mine {
				if slices.Contains(o.Config.LinkLocal, a) || a == linkLocal(o.MAC) {
					return inUse(a, "container "+b.sb.Spec.Name)
				}
			}
		}
	}
	return nil
}

// gateways are the addresses endpoints of nw route by: the switch's own, or the
// auxiliary addresses that Docker's bridge driver takes for somebody else's router.
// A network that gives no routes, and one whose gateway is isolated, offers none.
func gateways(nw *network) (gw4, gw6 netip.Addr) {
	if !nw.GivesRoutes() {
		return
	}
	for _, p := range nw.IPAM.Config {
		switch {
		case p.Gateway.Is4() && nw.options.Mode4 != cnm.ModeIsolated:
			gw4 = routerOr(p, cnm.AuxGateway4)
		case p.Gateway.Is6() && nw.options.Mode6 != cnm.ModeIsolated:
			gw6 = routerOr(p, cnm.AuxGateway6)
		}
	}
	return gw4, gw6
}

// routerOr is the auxiliary address named aux, or p's own gateway.
func routerOr(p cnm.Pool, aux string) netip.Addr {
	if a := p.Aux[aux]; a.IsValid() {
		return a
	}
	return p.Gateway
}

// releaseAllLocked gives back everything b's endpoints hold.
func (n *Node) releaseAllLocked(b *box) {
	for i := range b.sb.Endpoints {
		n.releaseLocked(&b.sb.Endpoints[i])
	}
	b.sb.Endpoints = nil
}

// indexOf returns which of eps is on a network, or -1.
func indexOf(eps []cnm.Endpoint, network string) int {
	for i := range eps {
		if eps[i].NetworkID == network {
			return i
		}
	}
	return -1
}

// modeEndpointLocked is a running sandbox's place on the network of its mode, host
// or none. There is no interface to it and no address, only an identity, which
// follows from the sandbox's: nothing of it is kept anywhere.
func (n *Node) modeEndpointLocked(sb *cnm.Sandbox) (cnm.Endpoint, bool) {
	if sb.Spec.NetworkMode == "" || sb.State != cnm.Running {
		return cnm.Endpoint{}, false
	}
	nw, err := n.findNetworkLocked(sb.Spec.NetworkMode)
	if err != nil {
		return cnm.Endpoint{}, false
	}
	id := sha256.Sum256([]byte(sb.ID + nw.ID))
	return cnm.Endpoint{ID: hex.EncodeToString(id[:]), NetworkID: nw.ID, Network: nw.Name, SandboxID: sb.ID}, true
}

// interfaces describes a sandbox's interfaces for its agent, in endpoint order,
// with the default routes on the endpoints chosen for them.
func (n *Node) interfaces(sb *cnm.Sandbox) []sandbox.Interface {
	gw4, gw6 := cnm.DefaultGateway(sb.Endpoints)
	out := make([]sandbox.Interface, len(sb.Endpoints))
	for i := range sb.Endpoints {
		out[i] = n.describe(&sb.Endpoints[i])
		if i == gw4 {
			out[i].Gateway4 = sb.Endpoints[i].Gateway4
		}
		if i == gw6 {
			out[i].Gateway6 = sb.Endpoints[i].Gateway6
		}
	}
	return out
}

// describe is an endpoint's interface without default routes.
func (n *Node) describe(e *cnm.Endpoint) sandbox.Interface {
	// The options were checked when the network was joined.
	o, _ := cnm.ParseEndpointOptions(e.Config.DriverOpts)
	i := sandbox.Interface{Name: e.IfName, MAC: e.MAC, MTU: e.MTU, Highest: n.cfg.TAPOffload, Queues: o.Queues}
	if o.Sysctls != "" {
		i.Sysctls, _ = cnm.EndpointSysctls(o.Sysctls, e.IfName)
	}
	i.MaxSuperframe = n.maxSuperframe(e.NetworkID, e.MTU)
	for _, p := range []netip.Prefix{e.IPv4, e.IPv6} {
		if p.IsValid() {
			i.Addrs = append(i.Addrs, p)
		}
	}
	for _, a := range e.Config.LinkLocal {
		bits := 64
		if a.Is4() {
			bits = 16
		}
		i.Addrs = append(i.Addrs, netip.PrefixFrom(a, bits))
	}
	return i
}

// files returns a sandbox's /etc/hosts and /etc/resolv.conf.
func (n *Node) files(sb *cnm.Sandbox) (hosts, resolv []byte) {
	hosts = cnm.HostsFile{
		Hostname: sb.Spec.Hostname, Domainname: sb.Spec.Domainname, Endpoints: sb.Endpoints, Extra: sb.Spec.ExtraHosts,
		HostGateway: n.hostGateway(sb),
	}.Bytes()
	n.mu.Lock()
	embedded := wantsNames(sb)
	if b := n.boxes[sb.ID]; b != nil && b.nameless {
		embedded = false
	}
	v4, v6 := n.leadsOutLocked(sb.Endpoints)
	n.mu.Unlock()
	if embedded {
		content, _ := os.ReadFile(n.cfg.ResolvConf) // its own server asks those on the host's loopback, too
		host := cnm.ParseResolvConf(content).Override(sb.Spec)
		var external []string
		for _, u := range upstreams(sb.Spec.DNS, host, v4, v6) {
			external = append(external, describeUpstream(u))
		}
		return hosts, host.Embedded(external)
	}
	host := cnm.ParseResolvConf(n.hostResolvConf()).Override(sb.Spec)
	switch {
	case sb.Spec.NetworkMode == cnm.NetHost:
		return hosts, host.Plain(true)
	case len(sb.Spec.DNS) > 0:
		return hosts, host.Plain(slices.ContainsFunc(sb.Endpoints, func(e cnm.Endpoint) bool { return e.IPv6.IsValid() }))
	case !v4 && !v6:
		return hosts, host.Alone()
	}
	return hosts, host.Plain(v6)
}

// leadsOutLocked reports by which families a sandbox's default routes lead out of this node.
func (n *Node) leadsOutLocked(eps []cnm.Endpoint) (v4, v6 bool) {
	if n.cfg.Uplink.Kind == UplinkNone {
		return false, false
	}
	gw4, gw6 := cnm.DefaultGateway(eps)
	leads := func(at int, family4 bool) bool {
		if at < 0 {
			return false
		}
		nw := n.networks[eps[at].NetworkID]
		return nw != nil && slices.ContainsFunc(exitAddrs(&nw.Network, nw.options), func(a netip.Addr) bool { return a.Is4() == family4 })
	}
	return leads(gw4, true), leads(gw6, false)
}

// hostGateway is what host-gateway in an extra host stands for: the gateway that the
// sandbox's own default route goes to, for only there --host-loopback lets it reach the
// host; without one Docker's, the default network's.
func (n *Node) hostGateway(sb *cnm.Sandbox) netip.Addr {
	if r := routesOf(sb.Endpoints); r.gw4.IsValid() {
		return r.gw4
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if nw, err := n.findNetworkLocked(cnm.NetBridge); err == nil {
		for _, p := range nw.IPAM.Config {
			if p.Gateway.Is4() {
				return p.Gateway
			}
		}
	}
	return netip.Addr{}
}

// The host's resolver configuration, and where systemd-resolved keeps the one
// behind its stub on the loopback.
const (
	hostResolv       = "/etc/resolv.conf"
	hostResolvBehind = "/run/systemd/resolve/resolv.conf"
)

// hostResolvConf returns the host's resolv.conf with servers that are not on its
// loopback, if there is one. It may be empty.
func (n *Node) hostResolvConf() []byte {
	b, _ := os.ReadFile(n.cfg.ResolvConf)
	for _, a := range cnm.ParseResolvConf(b).Servers {
		if !a.IsLoopback() {
			return b
		}
	}
	if strings.Contains(string(b), "127.0.0.53") {
		if behind, err := os.ReadFile(hostResolvBehind); err == nil {
			return behind
		}
	}
	return b
}
