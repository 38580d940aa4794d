package lab

import (
	"net/netip"
	"slices"
	"strings"

	"weft/internal/cnm"
	"weft/internal/frame"
)

// check looks at what the objects of a lab say about each other.
func (r *reader) check(l *Lab) {
	r.checkNetworks(l)
	r.checkNodes(l)
	r.checkAddresses(l)
	for _, s := range l.Sandboxes {
		where := "sandboxes." + s.Name
		r.checkNode(l, s.line, where, s.Node)
		for _, j := range s.Networks {
			r.checkNetwork(l, s.line, where, j.Network)
		}
		if s.Service != "" && !slices.ContainsFunc(l.Services, func(v Service) bool { return v.Name == s.Service }) {
			r.fail(s.line, where, "service %q is not in this file", s.Service)
		}
		if err := cnm.ValidateSandbox(s.SandboxSpec); err != nil {
			r.fail(s.line, where, "%v", err)
		}
	}
	for _, s := range l.Services {
		for _, n := range s.Networks {
			r.checkNetwork(l, s.line, "services."+s.Name, n)
		}
	}
	r.checkPorts(l)
	for _, k := range l.Links {
		if !slices.ContainsFunc(l.Ports, func(p Port) bool { return p.Name == k.Name }) &&
			!slices.ContainsFunc(l.Sandboxes, func(s Sandbox) bool { return s.Name == k.Name }) {
			r.fail(k.line, "links."+k.Name, "no sandbox or port has this name")
		}
	}
}

// checkNetworks refuses subnets that overlap: one node may have to hold both.
func (r *reader) checkNetworks(l *Lab) {
	var others []cnm.Network
	for _, n := range l.Networks {
		if err := cnm.CheckConflict(n.Network, others); err != nil {
			r.fail(n.line, "networks."+n.Name, "%v", err)
		}
		others = append(others, n.Network)
	}
}

func (r *reader) checkNode(l *Lab, line int, where, name string) {
	known := slices.ContainsFunc(l.Nodes, func(n Node) bool { return n.Name == name })
	var names []string
	for _, n := range l.Nodes {
		names = append(names, n.Name)
	}
	switch {
	case known, name == "" && len(l.Nodes) < 2:
	case name == "":
		r.fail(line, where, "node is missing: this lab has %s", strings.Join(names, ", "))
	case len(l.Nodes) == 0:
		r.fail(line, where, "node %q is not in this file, which has no nodes", name)
	default:
		r.fail(line, where, "node %q is not in this file: expected %s", name, strings.Join(names, ", "))
	}
}

func (r *reader) checkNetwork(l *Lab, line int, where, name string) *Network {
	var names []string
	for i := range l.Networks {
		if l.Networks[i].Name == name {
			return &l.Networks[i]
		}
		names = append(names, l.Networks[i].Name)
	}
	switch {
	case cnm.IsPredefined(name) && strings.HasPrefix(where, "sandboxes."):
	case name == "":
		r.fail(line, where, "network is missing")
	case len(names) == 0:
		r.fail(line, where, "network %q is not in this file, which has no networks", name)
	default:
		r.fail(line, where, "network %q is not in this file: expected %s", name, strings.Join(names, ", "))
	}
	return nil
}

// checkNodes refuses VTEPs that could not be told apart, and addresses that none
// can have.
func (r *reader) checkNodes(l *Lab) {
	taken := map[netip.AddrPort]string{}
	for i := range l.Nodes {
		n := &l.Nodes[i]
		where := "nodes." + n.Name
		families := map[bool]netip.Addr{}
		for _, at := range n.vtep() {
			a := at.Addr()
			if a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || a.Is6() && a.IsLinkLocalUnicast() {
				r.fail(n.line, where, "%s is no address that a VTEP can have here", a)
			}
			if other := families[a.Is4()]; other.IsValid() {
				r.fail(n.line, where, "data-path-addr has %s and %s: expected at most one of each family", other, a)
			}
			families[a.Is4()] = a
			if other, twice := taken[at]; twice {
				r.fail(n.line, where, "%s is already that of node %s: give it another data-path-port", at, other)
			}
			taken[at] = n.Name
		}
		r.checkUplink(n, where)
	}
}

// checkWire refuses a wire of a node that has no place on it, and a second one.
func (r *reader) checkWire(l *Lab, p *Port, wires map[string]string) {
	where := "ports." + p.Name
	n := l.node(p.Node)
	if n == nil || len(n.vtep()) == 0 {
		r.fail(p.line, where, "an underlay port needs a node with an address: nodes: {n1: {advertise-addr: 192.0.2.1}}")
		return
	}
	if other, twice := wires[n.Name]; twice {
		r.fail(p.line, where, "node %s has the underlay port %s already", n.Name, other)
	}
	wires[n.Name] = p.Name
}

// checkPorts refuses ports that could not be told apart.
func (r *reader) checkPorts(l *Lab) {
	files, macs, wires, ways := map[string]string{}, map[macKey]string{}, map[string]string{}, map[string]string{}
	for i := range l.Ports {
		p := &l.Ports[i]
		where := "ports." + p.Name
		r.checkNode(l, p.line, where, p.Node)
		if other, taken := files[strings.ToLower(p.Name)]; taken {
			r.fail(p.line, where, "differs from port %s only in case: their captures would be one file on some machines", other)
		}
		files[strings.ToLower(p.Name)] = p.Name
		if p.Underlay {
			r.checkWire(l, p, wires)
			continue
		}
		if p.Outside {
			r.checkOutside(l, p, ways)
			continue
		}
		n := r.checkNetwork(l, p.line, where, p.Network)
		if n == nil {
			continue
		}
		if on := l.node(p.Node); len(p.Publish) > 0 && (on == nil || len(on.UplinkAddrs) == 0) {
			r.fail(p.line, where, "publish needs a node with an address outside: nodes: {n1: {uplink-addr: 192.0.2.1/24}}")
		}
		key := macKey{n.Name, p.Node, p.MAC}
		if other, taken := macs[key]; taken && p.MAC != (frame.MAC{}) {
			r.fail(p.line, where, "mac %s is already that of port %s", p.MAC, other)
		}
		macs[key] = p.Name
	}
}

type macKey struct {
	network, node string
	mac           frame.MAC
}
