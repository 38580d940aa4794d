package node

import (
	"net/netip"
	"slices"
	"time"

	"weft/internal/frame"
	"weft/internal/uplink"
	"weft/nat"
)

// A packetTracker shows the flows of one network in the packet uplink's table.
type packetTracker struct {
	table   *nat.Table
	subnets []netip.Prefix
	now     uint32
}

// tracker returns that of a network which the uplink leads out. The caller holds d.mu.
func (p *packetUplink) tracker(network string) (tracker, bool) {
	subnets := p.path.out[network]
	return packetTracker{p.table, subnets, coarse(time.Now())}, len(subnets) > 0
}

// Flows lists the flows of the network's endpoints. Bytes and ages are not counted there.
func (t packetTracker) Flows() (all []uplink.FlowInfo) {
	for f := range t.table.Flows {
		if info := t.describe(&f); t.has(info.Endpoint.Addr()) {
			all = append(all, info)
		}
	}
	return all
}

func (t packetTracker) has(a netip.Addr) bool {
	return slices.ContainsFunc(t.subnets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// describe says a flow in the words of the host uplink's.
func (t packetTracker) describe(f *nat.Flow) uplink.FlowInfo {
	i := uplink.FlowInfo{Proto: protoName(f.Proto), Endpoint: f.Source, Remote: f.Destination, State: f.State}
	if f.Published {
		i.Endpoint, i.Remote, i.Published = f.TranslatedDestination, f.Source, f.Destination
	}
	switch f.State {
	case "syn-sent", "syn-received":
		i.State = "connecting"
	case "fin-wait":
		i.State = "half-closed"
	case "time-wait", "reset":
		i.State = "closing"
	case "untracked":
		i.State = "established"
	case "assured":
		i.State = "replied"
	}
	if idle := int32(t.now - f.Seen); idle > 0 {
		i.Idle = time.Duration(idle) * time.Second
	}
	return i
}

func protoName(proto uint8) string {
	switch proto {
	case frame.ProtoTCP:
		return "tcp"
	case frame.ProtoUDP:
		return "udp"
	case frame.ProtoICMP:
		return "icmp"
	}
	return "icmpv6"
}

// Flush ends the flows of an endpoint of the network's, of all for the zero Addr.
func (t packetTracker) Flush(endpoint netip.Addr) int {
	return t.table.Flush(func(f nat.Flow) bool {
		a := t.describe(&f).Endpoint.Addr()
		return t.has(a) && (!endpoint.IsValid() || a == endpoint)
	})
}

// Forget is Flush of an endpoint's datagram flows alone.
func (t packetTracker) Forget(endpoint netip.Addr) {
	t.table.Flush(func(f nat.Flow) bool { return f.Proto != frame.ProtoTCP && t.describe(&f).Endpoint.Addr() == endpoint })
}

// Stats counts the network's flows, and what the table has refused, and flows that had to give
// way, of all networks together.
func (t packetTracker) Stats() uplink.Stats {
	n := t.table.Stats()
	s := uplink.Stats{Counts: map[string]uint64{
		"ports-exhausted": n.PortsExhausted, "source-limit": n.SourceLimit,
		"evicted": n.EvictedUnanswered + n.EvictedLoose + n.EvictedEstablished,
	}}
	for _, f := range t.Flows() {
		switch f.Proto {
		case "tcp":
			s.TCP++
		case "udp":
			s.UDP++
		default:
			s.ICMP++
		}
	}
	return s
}
