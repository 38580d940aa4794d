package node

import "weft/internal/uplink"

// openExit opens the exit of a network: a stack of its own, whose flows are sockets of
// this process.
func (n *Node) openExit(c exitConfig) (exit, error) {
	return uplink.NewHost(uplink.HostConfig{
		Name: c.name, MAC: c.mac, Addrs: c.addrs, MTU: c.mtu, Neighbour: c.neighbour, Inside: n.isInside,
		HostLoopback: n.cfg.HostLoopback, Log: n.log,
	})
}
