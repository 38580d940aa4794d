package uplink

import (
	"container/list"
	"net/netip"
	"sync"

	"weft/internal/frame"
)

// A client is an endpoint that has flows, or published ports.
type client struct {
	addr netip.Addr

	mu      sync.Mutex
	flows   map[flowKey]*datagrams
	sockets map[flowKey]*socket // by protocol and endpoint
	// recent has the datagram flows, the last used first: those the endpoint
	// began, and those that came by published ports. Each has the bound of an
	// endpoint, so that neither can drive out the other.
	recent  [2]list.List
	streams [2]int  // connections, likewise; and of the former
	opening int     // those under way
	ports   int     // published
	missing int     // rounds of the sweep it was not known in
	gone    bool    // no longer in the table: look it up again
	msg     message // of sends
}

// idle reports whether nothing is left to remember.
func (c *client) idle() bool {
	return len(c.flows) == 0 && c.streams == [2]int{} && c.ports == 0
}

// client returns the client of an address, locked; nil when it is not in the table
// and not to be created.
func (h *Host) client(a netip.Addr, create bool) *client {
	for {
		h.clientsMu.RLock()
		c := h.clients[a]
		h.clientsMu.RUnlock()
		if c == nil {
			if !create || h.closed.Load() {
				return nil
			}
			c = h.newClient(a)
		}
		c.mu.Lock()
		if !c.gone {
			return c
		}
		c.mu.Unlock()
	}
}

func (h *Host) newClient(a netip.Addr) *client {
	h.clientsMu.Lock()
	defer h.clientsMu.Unlock()
	c := h.clients[a]
	if c == nil {
		c = &client{addr: a, flows: map[flowKey]*datagrams{}, sockets: map[flowKey]*socket{}}
		h.clients[a] = c
	}
	return c
}

// forget takes a client of which nothing is left out of the table.
func (h *Host) forget(c *client) {
	h.clientsMu.Lock()
	defer h.clientsMu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone && c.idle() {
		c.gone = true
		delete(h.clients, c.addr)
	}
}

func (h *Host) closeClients() {
	h.clientsMu.Lock()
	defer h.clientsMu.Unlock()
	for a, c := range h.clients {
		c.mu.Lock()
		c.endAll(h)
		c.gone = true
		c.mu.Unlock()
		delete(h.clients, a)
	}
}

// is reports whether a MAC is that of an endpoint with the address.
func (h *Host) is(a netip.Addr, mac frame.MAC) bool {
	known, ok := h.cfg.Neighbour(a)
	return ok && known == mac
}

// admitStream counts a connection in, unless a bound is reached, which it names.
func (h *Host) admitStream(c *client, way direction) (counter, bool) {
	switch {
	case way == began && c.opening >= h.cfg.halfOpen():
		return halfOpenFull, false
	case c.streams[way] >= h.cfg.MaxFlowsPerEndpoint:
		return endpointFull, false
	case !h.takeFlow():
		return tableFull, false
	}
	c.streams[way]++
	if way == began {
		c.opening++
	}
	return 0, true
}

// takeFlow counts a flow in, unless there are too many.
func (h *Host) takeFlow() bool {
	if h.flows.Add(1) > int64(h.cfg.MaxFlows) {
		h.flows.Add(-1)
		return false
	}
	return true
}

// direction tells flows that the endpoint began from those that came in.
type direction uint8

const (
	began direction = iota
	cameIn
)
