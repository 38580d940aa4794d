package lab

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/vxlan"
)

// lab reads the whole file: the keys here are the keys there are.
func (r *reader) lab(n *yaml.Node) *Lab {
	l := &Lab{Path: r.path}
	r.object(n, "",
		field{"networks", r.named(func(name string, v *yaml.Node, where string) {
			l.Networks = append(l.Networks, r.network(name, v, where))
		})},
		field{"nodes", r.named(func(name string, v *yaml.Node, where string) { l.Nodes = append(l.Nodes, r.node(name, v, where)) })},
		field{"sandboxes", r.named(func(name string, v *yaml.Node, where string) {
			l.Sandboxes = append(l.Sandboxes, r.sandbox(name, v, where))
		})},
		field{"services", r.named(func(name string, v *yaml.Node, where string) {
			l.Services = append(l.Services, r.service(name, v, where))
		})},
		field{"ports", r.named(func(name string, v *yaml.Node, where string) { l.Ports = append(l.Ports, r.port(name, v, where)) })},
		field{"links", r.named(func(name string, v *yaml.Node, where string) { l.Links = append(l.Links, r.link(name, v, where)) })},
	)
	slices.SortFunc(l.Networks, func(a, b Network) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(l.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(l.Sandboxes, func(a, b Sandbox) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(l.Services, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(l.Ports, func(a, b Port) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(l.Links, func(a, b Link) int { return cmp.Compare(a.Name, b.Name) })
	return l
}

func (r *reader) network(name string, v *yaml.Node, where string) Network {
	n := Network{Network: cnm.Network{Name: name, EnableIPv4: true}, line: v.Line}
	var subnets, ranges, gateways []string
	var aux map[string]string
	r.object(v, where,
		field{"driver", r.text(&n.Driver)},
		field{"subnet", r.texts(&subnets)},
		field{"ip-range", r.texts(&ranges)},
		field{"gateway", r.texts(&gateways)},
		field{"aux-address", r.table(&aux)},
		field{"ipam-driver", r.text(&n.IPAM.Driver)},
		field{"ipam-opt", r.table(&n.IPAM.Options)},
		field{"internal", r.flag(&n.Internal)},
		field{"attachable", r.flag(&n.Attachable)},
		field{"ipv4", r.flag(&n.EnableIPv4)},
		field{"ipv6", r.flag(&n.EnableIPv6)},
		field{"options", r.table(&n.Options)},
		field{"labels", r.table(&n.Labels)},
	)
	flags := make([]string, 0, len(aux))
	for _, key := range slices.Sorted(maps.Keys(aux)) {
		flags = append(flags, key+"="+aux[key])
	}
	pools, err := cnm.PoolsFromFlags(subnets, ranges, gateways, flags)
	if err != nil {
		r.fail(v.Line, where, "%v", err)
	}
	n.IPAM.Config = pools
	r.validNetwork(&n, where)
	return n
}

// validNetwork applies the rules of the object model. Drivers that this version
// cannot run are left to whoever would have to run them.
func (r *reader) validNetwork(n *Network, where string) {
	switch driver := cnm.NormalDriver(n.Driver); driver {
	case cnm.DriverBridge:
		ok, err := cnm.ValidateNetwork(n.Network)
		if err != nil {
			r.fail(n.line, where, "%v", err)
			return
		}
		n.Network = ok
	case cnm.DriverOverlay:
		ok, err := cnm.ValidateNetwork(n.Network)
		if err == nil {
			n.Network = ok
		} else if !errors.Is(err, cnm.Unsupported) {
			r.fail(n.line, where, "%v", err)
		}
	case "macvlan", "ipvlan":
		as := n.Network
		as.Driver, as.Options = cnm.DriverBridge, nil
		if _, err := cnm.ValidateNetwork(as); err != nil {
			r.fail(n.line, where, "%v", err)
		}
	default:
		r.fail(n.line, where, "driver %q: expected bridge, overlay, macvlan or ipvlan", n.Driver)
	}
}

func (r *reader) node(name string, v *yaml.Node, where string) Node {
	n := Node{Name: name, line: v.Line}
	port := vxlan.Port
	r.object(v, where,
		field{"advertise-addr", r.addr(&n.AdvertiseAddr)},
		field{"data-path-addr", r.addrs(&n.DataPathAddrs)},
		field{"data-path-port", r.number(&port, 1, 65535)},
		field{"uplink-addr", r.prefixes(&n.UplinkAddrs)},
		field{"uplink-gateway", r.addrs(&n.UplinkGateways)},
	)
	n.DataPathPort = uint16(port)
	return n
}

func (r *reader) sandbox(name string, v *yaml.Node, where string) Sandbox {
	s := Sandbox{line: v.Line}
	s.Name = name
	var networks []string
	var env map[string]string
	r.object(v, where,
		field{"network", r.texts(&networks)},
		field{"node", r.text(&s.Node)},
		field{"command", r.texts(&s.Cmd)},
		field{"hostname", r.text(&s.Hostname)},
		field{"env", r.table(&env)},
		field{"workdir", r.text(&s.Dir)},
		field{"rootfs", r.text(&s.Rootfs)},
		field{"sysctls", r.table(&s.Sysctls)},
		field{"labels", r.table(&s.Labels)},
		field{"dns", r.addrs(&s.DNS)},
		field{"extra-hosts", r.texts(&s.ExtraHosts)},
		field{"service", r.text(&s.Service)},
		field{"publish", r.texts(&s.Publish)},
	)
	for _, key := range slices.Sorted(maps.Keys(env)) {
		s.Env = append(s.Env, key+"="+env[key])
	}
	for _, flag := range networks {
		j, err := cnm.ParseNetworkFlag(flag)
		if err != nil {
			r.fail(v.Line, where, "%v", err)
			continue
		}
		s.Networks = append(s.Networks, j)
	}
	return s
}

func (r *reader) service(name string, v *yaml.Node, where string) Service {
	s := Service{Name: name, line: v.Line}
	r.object(v, where,
		field{"network", r.texts(&s.Networks)},
		field{"publish", r.texts(&s.Publish)},
		field{"endpoint-mode", r.text(&s.EndpointMode)},
	)
	if m := s.EndpointMode; m != "" && m != "vip" && m != "dnsrr" {
		r.fail(v.Line, where, "endpoint-mode %q: expected vip or dnsrr", m)
	}
	return s
}

func (r *reader) port(name string, v *yaml.Node, where string) Port {
	p := Port{Name: name, line: v.Line}
	var allow []string
	r.object(v, where,
		field{"network", r.text(&p.Network)},
		field{"node", r.text(&p.Node)},
		field{"mac", r.mac(&p.MAC)},
		field{"ip", r.addrs(&p.Addrs)},
		field{"mac-limit", r.number(&p.MACLimit, 1, 1<<20)},
		field{"vlans", r.vlans(&p.VLANs)},
		field{"mtu", r.number(&p.MTU, 68, 65535)},
		field{"allow", r.texts(&allow)},
		field{"underlay", r.flag(&p.Underlay)},
		field{"outside", r.flag(&p.Outside)},
		field{"publish", r.publish(&p.Publish)},
	)
	for _, a := range allow {
		switch a {
		case "ra":
			p.AllowRA = true
		case "dhcp":
			p.AllowDHCP = true
		default:
			r.fail(v.Line, where, "allow %q: expected ra or dhcp", a)
		}
	}
	if p.Underlay {
		r.wire(&p, where)
		return p
	}
	if p.Outside {
		r.outside(&p, where)
		p.somebody()
		return p
	}
	if p.MAC == (frame.MAC{}) {
		if i := slices.IndexFunc(p.Addrs, isIPv4); i >= 0 {
			p.MAC = cnm.MACFromIPv4(p.Addrs[i])
		} else if len(p.Addrs) > 0 {
			r.fail(v.Line, where, "ip without an IPv4 address needs mac: there is none to derive it from")
		}
	}
	return p
}

// minUnderlay is the smallest MTU an underlay may have: every host takes that much
// (RFC 791, 3.1).
const minUnderlay = 576

// wire refuses what belongs to a port of a network.
func (r *reader) wire(p *Port, where string) {
	for _, k := range []struct {
		key   string
		given bool
	}{
		{"network", p.Network != ""}, {"mac", p.MAC != frame.MAC{}}, {"ip", p.Addrs != nil}, {"mac-limit", p.MACLimit != 0},
		{"vlans", p.VLANs != nil}, {"allow", p.AllowRA || p.AllowDHCP}, {"outside", p.Outside}, {"publish", p.Publish != nil},
	} {
		if k.given {
			r.fail(p.line, where, "%s is not for an underlay port, which is on no network: it may have node and mtu", k.key)
		}
	}
	if p.MTU != 0 && p.MTU < minUnderlay {
		r.fail(p.line, where, "mtu %d: an underlay carries packets of %d bytes at least", p.MTU, minUnderlay)
	}
}

// outside refuses what belongs to a port of a network.
func (r *reader) outside(p *Port, where string) {
	for _, k := range []struct {
		key   string
		given bool
	}{
		{"network", p.Network != ""}, {"mac-limit", p.MACLimit != 0}, {"vlans", p.VLANs != nil},
		{"allow", p.AllowRA || p.AllowDHCP}, {"publish", p.Publish != nil},
	} {
		if k.given {
			r.fail(p.line, where, "%s is not for an outside port, which is on no network: it may have node, mtu, ip and mac", k.key)
		}
	}
	if p.MAC != (frame.MAC{}) && len(p.Addrs) == 0 {
		r.fail(p.line, where, "mac without ip: whose it is outside is not said")
	}
}

// vlans reads identifiers; an empty list carries nothing, which nobody means.
func (r *reader) vlans(to *[]uint16) func(*yaml.Node, string) {
	return each(func(v *yaml.Node, where string) {
		var id int
		before := len(r.errs)
		if r.number(&id, 0, 4094)(v, where); len(r.errs) == before {
			*to = append(*to, uint16(id))
		}
	})
}

func (r *reader) link(name string, v *yaml.Node, where string) Link {
	l := Link{Name: name, line: v.Line}
	r.object(v, where,
		field{"delay", r.duration(&l.Delay)},
		field{"jitter", r.duration(&l.Jitter)},
		field{"loss", r.percent(&l.Loss)},
		field{"rate", r.rate(&l.Rate)},
	)
	if l.Jitter > l.Delay {
		r.fail(v.Line, where, "jitter %s is more than delay %s", strconv.Quote(l.Jitter.String()), strconv.Quote(l.Delay.String()))
	}
	return l
}
