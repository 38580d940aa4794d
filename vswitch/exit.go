package vswitch

import "weft/internal/frame"

// Theory of operation: the way out
//
// The gateway of a domain answers ARP, neighbour discovery and ping (answer.go). What
// else is sent to its MAC is for somewhere beyond the domain, or for something that
// the gateway serves: it leaves by the domain's exit, a port with [PortConfig].Exit,
// behind which there is an uplink. A domain without one has no way out: such a frame
// is a drop.
//
// An exit takes part in nothing else. Nothing is flooded to it, nothing is learned
// from it, and it alone may send from the gateway's MAC. Its frames are for one
// endpoint each, by a MAC that is known.

// exitTo sends a frame that is for the gateway's MAC out by the domain's exit.
func (w *Worker) exitTo(in *Port, f *frame.Frame) frame.Reason {
	d := in.domain
	exit := d.exit.Load()
	// An exit added since this turn began has no list yet.
	if exit == nil || int(exit.slot) >= len(w.ports) || w.ports[exit.slot] != exit {
		return d.gateway.unserved(f)
	}
	switch {
	case in == exit:
		return frame.SamePort
	case in.tunnel(), f.View.VLAN != 0:
		return d.gateway.unserved(f) // the gateway is this node's, and untagged
	}
	w.send(exit, f)
	return frame.NotDropped
}

// fromExit judges the source of a frame that came by an exit.
func (p *Port) fromExit(f *frame.Frame) frame.Reason {
	if f.SrcMAC() != p.domain.gateway.mac || !unicast(f.DstMAC()) {
		return frame.SpoofedMAC
	}
	return frame.NotDropped
}
