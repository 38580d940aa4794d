package uplink

import (
	"net/netip"
	"time"

	"weft/internal/frame"
)

// Flows returns what goes through now, in no order.
func (h *Host) Flows() []FlowInfo {
	now := h.now()
	var all []FlowInfo
	h.mu.Lock()
	for k, s := range h.streams {
		f := FlowInfo{Proto: "tcp", Endpoint: k.endpoint, Remote: k.remote, State: stateNames[s.state.Load()],
			BytesOut: s.out.Load(), BytesIn: s.in.Load(), Age: time.Duration(now - s.started), Idle: time.Duration(now - s.last.Load())}
		if s.port != nil {
			f.Published = s.port.addr
		}
		all = append(all, f)
	}
	h.mu.Unlock()
	for _, c := range h.allClients() {
		c.mu.Lock()
		for k, d := range c.flows {
			f := FlowInfo{Proto: protoNames(k.proto), Endpoint: k.endpoint, Remote: k.remote, State: "unreplied",
				BytesOut: d.out, BytesIn: d.in, Age: time.Duration(now - d.started), Idle: time.Duration(now - d.last)}
			if d.sent > 0 && d.got > 0 {
				f.State = "replied"
			}
			if d.sock.port != nil {
				f.Published = d.sock.port.addr
			}
			all = append(all, f)
		}
		c.mu.Unlock()
	}
	return all
}

// Flush resets the connections of an endpoint and forgets its datagram flows; of
// all endpoints when the address is the zero Addr. It returns how many flows that
// were.
func (h *Host) Flush(endpoint netip.Addr) (n int) {
	for _, c := range h.allClients() {
		if endpoint.IsValid() && c.addr != endpoint {
			continue
		}
		c.mu.Lock()
		n += len(c.flows)
		c.endAll(h)
		c.mu.Unlock()
		for _, s := range h.streamsOf(c.addr) {
			s.abort()
			n++
		}
	}
	return n
}

// Forget ends the datagram flows of an endpoint that has gone, so that nothing of them
// reaches who has its address next. What its connections sent last is still carried;
// they end by themselves, or by the sweep.
func (h *Host) Forget(endpoint netip.Addr) {
	if c := h.client(endpoint, false); c != nil {
		c.endAll(h)
		c.mu.Unlock()
	}
}

// Stats returns the counters.
func (h *Host) Stats() Stats {
	s := Stats{BytesOut: h.out.Load(), BytesIn: h.in.Load(), Counts: h.counts.named()}
	h.mu.Lock()
	s.TCP = len(h.streams)
	h.mu.Unlock()
	for _, c := range h.allClients() {
		c.mu.Lock()
		for k := range c.flows {
			if k.proto == frame.ProtoUDP {
				s.UDP++
			} else {
				s.ICMP++
			}
		}
		c.mu.Unlock()
	}
	return s
}

func (h *Host) allClients() (all []*client) {
	h.clientsMu.RLock()
	defer h.clientsMu.RUnlock()
	for _, c := range h.clients {
		all = append(all, c)
	}
	return all
}

func protoNames(p uint8) string {
	switch p {
	case frame.ProtoUDP:
		return "udp"
	case frame.ProtoICMP:
		return "icmp"
	}
	return "icmpv6"
}
