package api

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"weft/internal/cnm"
)

// portModel fills in the ports that a client exposes and publishes.
func portModel(spec *cnm.SandboxSpec, c *container.Config, h *container.HostConfig) error {
	for _, p := range slices.SortedFunc(maps.Keys(c.ExposedPorts), comparePorts) {
		if err := checkPort(p); err != nil {
			return err
		}
		spec.Expose = append(spec.Expose, p.String())
	}
	for _, p := range slices.SortedFunc(maps.Keys(h.PortBindings), comparePorts) {
		if err := checkPort(p); err != nil {
			return err
		}
		for _, b := range h.PortBindings[p] {
			first, last, err := hostPorts(b.HostPort)
			if err != nil {
				return err
			}
			spec.Ports = append(spec.Ports, cnm.MapPort(string(p.Proto()), p.Num(), b.HostIP, first, last))
		}
	}
	spec.PublishAll = h.PublishAllPorts
	return cnm.ValidatePorts(*spec)
}

func checkPort(p network.Port) error {
	switch proto := p.Proto(); {
	case !p.IsValid() || p.Num() == 0:
		return cnm.Errorf(cnm.Invalid, "invalid port specification: %q", clip(p.String()))
	case proto != network.TCP && proto != network.UDP && proto != network.SCTP:
		return cnm.Errorf(cnm.Invalid, "invalid proto: %s", clip(string(proto)))
	}
	return nil
}

// hostPorts reads the HostPort of a binding: a port, a range to choose from, or nothing
// or 0 for any.
func hostPorts(s string) (first, last uint16, err error) {
	if s == "" {
		return 0, 0, nil
	}
	first, last, err = cnm.ParsePortRange(s)
	if err != nil || first == 0 && last != 0 {
		return 0, 0, cnm.Errorf(cnm.Invalid, "invalid port specification: %q", clip(s))
	}
	return first, last, nil
}

// emptyBindings gives ports with an empty list of bindings what clients of their time
// meant by it: before API 1.53 any port of the host, since then nothing. It returns a
// warning for clients of the version between (moby daemon/server/router/container).
func emptyBindings(h *container.HostConfig, v version) []string {
	if h == nil || v >= emptyIsNone {
		return nil
	}
	var empty []string
	for _, p := range slices.SortedFunc(maps.Keys(h.PortBindings), comparePorts) {
		if len(h.PortBindings[p]) == 0 {
			h.PortBindings[p] = []network.PortBinding{{}}
			empty = append(empty, p.String())
		}
	}
	if len(empty) == 0 || v < emptyIsNone-1 {
		return nil
	}
	return []string{fmt.Sprintf("Following container port(s) have an empty list of port-bindings: %s. Starting with API 1.%d, such bindings will be discarded.",
		strings.Join(empty, ", "), emptyIsNone)}
}

func comparePorts(a, b network.Port) int {
	return cmp.Or(cmp.Compare(a.Num(), b.Num()), cmp.Compare(a.Proto(), b.Proto()))
}

// exposedPorts are the ports that the command is said to serve; nil without any.
func exposedPorts(s cnm.SandboxSpec) network.PortSet {
	var set network.PortSet
	for _, e := range s.Expose {
		each, _ := cnm.ParseExpose(e) // checked when the sandbox was created
		for _, one := range each {
			if p, err := network.ParsePort(one); err == nil {
				if set == nil {
					set = network.PortSet{}
				}
				set[p] = struct{}{}
			}
		}
	}
	return set
}

// portBindings are the ports to be published, as they were asked for.
func portBindings(s cnm.SandboxSpec) network.PortMap {
	m := network.PortMap{}
	for _, p := range s.Ports {
		port, ok := network.PortFrom(p.Port, network.IPProtocol(p.Proto))
		if !ok {
			continue
		}
		b := network.PortBinding{HostIP: p.HostIP}
		if p.HostPort != 0 {
			b.HostPort = itoa(int(p.HostPort))
		}
		if p.HostPortEnd > p.HostPort {
			b.HostPort += "-" + itoa(int(p.HostPortEnd))
		}
		m[port] = append(m[port], b)
	}
	return m
}

// openPorts are the ports of a running sandbox and where the host listens for them: nil
// for a port that is exposed and not published. A sandbox that does not run, or has no
// network of its own, has none.
func openPorts(b cnm.Sandbox) network.PortMap {
	m := network.PortMap{}
	if b.State != cnm.Running || b.Spec.NetworkMode != "" {
		return m
	}
	for p := range exposedPorts(b.Spec) {
		m[p] = nil
	}
	for p := range portBindings(b.Spec) {
		m[p] = nil
	}
	for _, p := range b.Ports {
		if port, ok := network.PortFrom(p.Port, network.IPProtocol(p.Proto)); ok {
			m[port] = append(m[port], network.PortBinding{HostIP: p.Host.Addr(), HostPort: itoa(int(p.Host.Port()))})
		}
	}
	return m
}

// portSummaries are the open ports in a listing, one for each place where the host
// listens.
func portSummaries(b cnm.Sandbox) []container.PortSummary {
	list := []container.PortSummary{}
	open := openPorts(b)
	for _, p := range slices.SortedFunc(maps.Keys(open), comparePorts) {
		one := container.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())}
		if len(open[p]) == 0 {
			list = append(list, one)
		}
		for _, at := range open[p] {
			n, _ := strconv.ParseUint(at.HostPort, 10, 16) // written above
			one.IP, one.PublicPort = at.HostIP, uint16(n)
			list = append(list, one)
		}
	}
	return list
}

// A portFilter is the values of the filters publish and expose.
type portFilter struct {
	publish, expose []network.PortRange
}

func parsePortFilter(f filters) (p portFilter, err error) {
	for key, list := range map[string]*[]network.PortRange{"publish": &p.publish, "expose": &p.expose} {
		for _, v := range f[key] {
			if strings.Contains(v.text, ":") {
				return p, cnm.Errorf(cnm.Invalid, "filter for '%s' should not contain ':': %s", key, clip(v.text))
			}
			r, err := network.ParsePortRange(v.text)
			if err != nil {
				return p, cnm.Errorf(cnm.Invalid, "error while looking up for %s %s: %w", key, clip(v.text), err)
			}
			*list = append(*list, r)
		}
	}
	return p, nil
}

// match reports whether a sandbox has one of the ports, published or open, or no filter
// was given. As in Docker, one of either filter is enough.
func (f portFilter) match(b cnm.Sandbox) bool {
	if len(f.publish)+len(f.expose) == 0 {
		return true
	}
	for _, p := range portSummaries(b) {
		if among(f.publish, p.PublicPort, p.Type) || among(f.expose, p.PrivatePort, p.Type) {
			return true
		}
	}
	return false
}

func among(list []network.PortRange, port uint16, proto string) bool {
	return slices.ContainsFunc(list, func(r network.PortRange) bool {
		return string(r.Proto()) == proto && r.Start() <= port && port <= r.End()
	})
}
