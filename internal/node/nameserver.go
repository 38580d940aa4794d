package node

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/cnm"
	"weft/internal/discovery"
	"weft/internal/sandbox"
)

// Theory of operation: a sandbox's name server
//
// A sandbox that is on a network with names has a server of its own at 127.0.0.11: a
// discovery.Server on the sockets that its agent opened inside. It is there from before
// the command starts, or from the sandbox's first such network on, until the sandbox
// ends; a daemon that is restarted is given the same sockets. Where they cannot be had,
// resolv.conf stays as it is on the default network, and the log says why.
//
// What the table does not know is forwarded: to the servers of --dns from inside, by the
// sandbox's own way out, for it may be that only the sandbox reaches them; without --dns to the host's
// servers, if the sandbox has a way out at all: from inside as well, but those on
// the host's loopback by the daemon itself. The forwarder is made anew when the servers
// are others, with its cache.
//
// Who exposes or publishes port 53 has a server of its own, which mostly listens on all
// addresses: port 53 of 127.0.0.11 would be in its way. It has resolv.conf as on the
// default network, and finds nobody by name. (Docker listens elsewhere and has netfilter
// translate, which tracks all connections of the sandbox for it.)
//
// Foreign namespaces have none: their resolv.conf is not weft's to write. Who is in one
// is found by name all the same.

// resolvCache is how many bytes of answers the forwarder of a sandbox keeps.
const resolvCache = 256 << 10

// dnsPort is where servers are asked (RFC 1035, 4.2).
const dnsPort = 53

// A nameServer is what answers at 127.0.0.11 of one sandbox.
type nameServer struct {
	view   *discovery.View
	server *discovery.Server
	dial   discovery.DialFunc // from inside
	// Guarded by names.op:
	upstreams []discovery.Upstream
	forwarder *discovery.Forwarder
}

// wantsNames reports whether a sandbox is to have a name server.
func wantsNames(sb *cnm.Sandbox) bool {
	own := slices.ContainsFunc(sb.Spec.Expose, func(p string) bool { return strings.HasPrefix(p, "53/") }) ||
		slices.ContainsFunc(sb.Spec.Ports, func(m cnm.PortMapping) bool { return m.Port == dnsPort })
	return !own && slices.ContainsFunc(sb.Endpoints, func(e cnm.Endpoint) bool { return !e.WayOut && e.Network != cnm.NetBridge })
}

// serveNames sees to b's name server, if it is to have one. The caller holds b.op, and
// writes resolv.conf afterwards.
func (n *Node) serveNames(ctx context.Context, b *box) {
	n.mu.Lock()
	a, name, needs := b.agent, b.sb.Spec.Name, b.names == nil && wantsNames(&b.sb)
	n.mu.Unlock()
	if a == nil || !needs {
		return
	}
	pc, l, err := a.Names(ctx)
	n.mu.Lock()
	b.nameless = err != nil
	n.mu.Unlock()
	if err != nil {
		if !gone(err) {
			n.log.Warn("a sandbox has no name server of its own: names of others are not known to it", "sandbox", name, "error", err)
		}
		return
	}
	s := &nameServer{view: n.names.table.NewView(discovery.ViewConfig{}), dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		return n.dialInside(ctx, b, network, address)
	}}
	s.server = discovery.NewServer(discovery.ServerConfig{View: s.view.ForAll, Stats: n.names.stats, Failed: func(err error) {
		n.log.Warn("a sandbox's name server", "sandbox", name, "error", err)
	}})
	n.mu.Lock()
	b.names = s
	n.mu.Unlock()
	n.tendNames() // before the first question
	s.server.ServePacket(pc)
	s.server.ServeStream(l)
}

// stopNames ends b's name server. Nothing of it runs when it returns.
func (n *Node) stopNames(b *box) {
	n.mu.Lock()
	s := b.names
	b.names, b.nameless = nil, false
	n.mu.Unlock()
	if s != nil {
		s.server.Close()
	}
}

// dialInside opens a connection from inside b.
func (n *Node) dialInside(ctx context.Context, b *box, network, address string) (net.Conn, error) {
	a, done := n.lend(b)
	defer done()
	if a == nil {
		return nil, sandbox.ErrNotRunning
	}
	return a.Dial(ctx, network, address)
}

// dialHost opens a connection from this process.
func dialHost(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	return d.DialContext(ctx, network, address)
}

// look sets what a client sees. The caller holds names.op.
func (n *Node) look(c *client, host cnm.ResolvConf) {
	s := c.server
	up := upstreams(c.dns, host, c.v4, c.v6)
	if len(c.options) > 0 {
		host.Options = c.options
	}
	if !slices.Equal(up, s.upstreams) {
		s.upstreams, s.forwarder = up, nil
		if len(up) > 0 {
			s.forwarder = discovery.NewForwarder(discovery.ForwarderConfig{
				Servers: up, Own: cnm.EmbeddedDNS, Dial: s.dial, HostDial: dialHost, Cache: resolvCache, Stats: n.names.stats,
			})
		}
	}
	s.view.Set(discovery.ViewConfig{Networks: c.on, Ndots: ndots(host.Options) > 0, Forwarder: s.forwarder})
}

// upstreams are the servers that a sandbox's questions are forwarded to.
func upstreams(dns []netip.Addr, host cnm.ResolvConf, v4, v6 bool) (up []discovery.Upstream) {
	switch {
	case len(dns) > 0:
		host.Servers = dns
	case !v4 && !v6:
		return nil
	default:
		host.Servers = host.Reachable(v4, v6)
	}
	for _, a := range host.Servers {
		up = append(up, discovery.Upstream{Addr: netip.AddrPortFrom(a, dnsPort), Host: len(dns) == 0 && a.IsLoopback()})
	}
	return up[:min(len(up), discovery.MaxServers)]
}

// ndots is what resolv.conf(5) options say of it, 0 where they do not.
func ndots(options []string) (n int) {
	for _, o := range options {
		if v, ok := strings.CutPrefix(o, "ndots:"); ok {
			n, _ = strconv.Atoi(v)
		}
	}
	return n
}

// describeUpstream names a server as Docker's resolv.conf does.
func describeUpstream(u discovery.Upstream) string {
	if u.Host {
		return "host(" + u.Addr.Addr().String() + ")"
	}
	return u.Addr.Addr().String()
}

// nameRestored is serveNames for a sandbox that was just restored, whose resolv.conf is
// as it was. The caller holds b.op.
func (n *Node) nameRestored(b *box) {
	ctx, cancel := n.bounded(n.ctx)
	defer cancel()
	n.serveNames(ctx, b)
}
