package cli

import (
	"fmt"

	"github.com/moby/moby/api/types/network"

	"weft/internal/cnm"
)

// ports reads the values of --publish and --expose. As in Docker, what is published is
// also exposed.
func (f *runFlags) ports() (network.PortSet, network.PortMap, error) {
	var set network.PortSet
	var bindings network.PortMap
	expose := func(p network.Port) {
		if set == nil {
			set = make(network.PortSet)
		}
		set[p] = struct{}{}
	}
	for _, s := range f.publish {
		ms, err := cnm.ParsePublish(s)
		if err != nil {
			return nil, nil, fmt.Errorf("-p %s: %w", s, err)
		}
		for _, m := range ms {
			p, b := binding(m)
			if bindings == nil {
				bindings = make(network.PortMap)
			}
			bindings[p] = append(bindings[p], b)
			expose(p)
		}
	}
	for _, s := range f.expose {
		each, err := cnm.ParseExpose(s)
		if err != nil {
			return nil, nil, err
		}
		for _, one := range each {
			p, err := network.ParsePort(one)
			if err != nil {
				return nil, nil, fmt.Errorf("--expose %s: %w", s, err)
			}
			expose(p)
		}
	}
	return set, bindings, nil
}

// binding is a mapping in the API's words.
func binding(m cnm.PortMapping) (network.Port, network.PortBinding) {
	p, _ := network.PortFrom(m.Port, network.IPProtocol(m.Proto)) // a parsed mapping has a protocol
	b := network.PortBinding{HostIP: m.HostIP}
	if m.HostPort != 0 {
		b.HostPort = fmt.Sprint(m.HostPort)
	}
	if m.HostPortEnd != 0 {
		b.HostPort += fmt.Sprintf("-%d", m.HostPortEnd)
	}
	return p, b
}
