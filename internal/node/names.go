package node

import (
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"weft/internal/cnm"
	"weft/internal/discovery"
)

// Theory of operation: names
//
// One table (internal/discovery) holds the records of all networks of this node. It is
// brought in line after each publishing, and after a rename: with who is on the switch here, and
// with who is elsewhere on networks of the swarm, as the gossip's rows have it in the
// network's filling. The views of all sandboxes with a name server follow in the same
// go, as do the servers that they forward to (nameserver.go).
//
// names.op is held for it and guards what is not the table's own. It comes before
// Node.mu, of which a snapshot is taken.

// names is a node's name service.
type names struct {
	table *discovery.Table
	stats *discovery.Stats

	op      sync.Mutex
	known   map[string]string           // networks that the table has: id → name
	statics map[string]discovery.Static // written down, by staticKey
}

func newNames() *names {
	s := new(discovery.Stats)
	return &names{table: discovery.NewTable(discovery.TableConfig{Stats: s}), stats: s, known: make(map[string]string), statics: make(map[string]discovery.Static)}
}

// hasNames reports whether who is on a network is known there by name: nobody is on
// Docker's default network.
func hasNames(nw *cnm.Network) bool { return nw.Switched() && nw.Name != cnm.NetBridge }

// wanted is what the table and the views are to be.
type wanted struct {
	networks  map[string]string
	endpoints []discovery.Endpoint
	clients   []client
}

// A client is a sandbox that asks.
type client struct {
	server  *nameServer
	dns     []netip.Addr // its own servers, of --dns
	options []string     // its own, of --dns-option
	on      []discovery.Attachment
	v4, v6  bool // by which families it leads out
}

// tendNames brings the table and the views in line with the desired state.
func (n *Node) tendNames() {
	n.names.op.Lock()
	defer n.names.op.Unlock()
	n.mu.Lock()
	w := n.wantedNamesLocked()
	n.mu.Unlock()
	for _, c := range n.names.update(&w, n.log.Warn) {
		n.log.Warn("a name that several answer to", "name", c.Name, "network", c.Network, "conflict", c.String())
	}
	host, _ := os.ReadFile(n.cfg.ResolvConf)
	resolv := cnm.ParseResolvConf(host)
	for i := range w.clients {
		n.look(&w.clients[i], resolv)
	}
}

// update brings the table in line and returns the conflicts that began with it. The caller
// holds op.
func (s *names) update(w *wanted, warn func(string, ...any)) []discovery.Conflict {
	have := make(map[string]bool, len(w.endpoints))
	return s.table.Update(func(tx *discovery.Tx) {
		for id := range s.known {
			if _, ok := w.networks[id]; !ok {
				tx.RemoveNetwork(id)
				delete(s.known, id)
			}
		}
		for id, name := range w.networks {
			was, known := s.known[id]
			if known && was == name {
				continue
			}
			if err := tx.SetNetwork(discovery.Network{ID: id, Name: name}); err != nil {
				warn("a network without names", "network", name, "error", err)
				continue
			}
			s.known[id] = name
			for _, st := range s.statics {
				if st.Network == id {
					tx.SetStatic(st) // it was good when it was written down
				}
			}
		}
		for _, e := range w.endpoints {
			have[e.ID] = true
			tx.SetEndpoint(e) // what it refuses is counted
		}
		for id := range s.known {
			tx.KeepEndpoints(id, func(e string) bool { return have[e] })
		}
	})
}

func (n *Node) wantedNamesLocked() wanted {
	w := wanted{networks: make(map[string]string, len(n.networks)), endpoints: make([]discovery.Endpoint, 0, len(n.boxes)), clients: make([]client, 0, len(n.boxes))}
	here := n.clusterConfig().Name
	for id, nw := range n.networks {
		if hasNames(&nw.Network) {
			w.networks[id] = nw.Name
		}
	}
	inUse := make(map[string]bool)
	for _, b := range n.boxes {
		for i := range b.sb.Endpoints {
			e := &b.sb.Endpoints[i]
			if _, ok := w.networks[e.NetworkID]; !ok || e.WayOut || b.devices[e.IfName] == nil {
				continue
			}
			inUse[e.NetworkID] = true
			w.endpoints = append(w.endpoints, discovery.Endpoint{
				Network: e.NetworkID, ID: e.ID, Names: e.DNSNames, Addrs: endpointAddrs(e), Ports: namedPorts(&b.sb), Node: here,
			})
		}
		if b.names != nil {
			c := client{server: b.names, dns: b.sb.Spec.DNS, options: b.sb.Spec.DNSOptions, on: n.attachmentsLocked(b)}
			c.v4, c.v6 = n.leadsOutLocked(b.sb.Endpoints)
			w.clients = append(w.clients, c)
		}
	}
	for id := range inUse {
		for _, r := range n.fillings[id].remotes {
			w.endpoints = append(w.endpoints, discovery.Endpoint{Network: id, ID: r.id, Names: r.names, Addrs: r.addrs, Node: r.node})
		}
	}
	return w
}

// attachmentsLocked are the networks on which b is.
func (n *Node) attachmentsLocked(b *box) (on []discovery.Attachment) {
	for i := range b.sb.Endpoints {
		e := &b.sb.Endpoints[i]
		nw := n.networks[e.NetworkID]
		if nw == nil || e.WayOut || b.devices[e.IfName] == nil {
			continue
		}
		a := discovery.Attachment{
			Network: nw.ID, Name: nw.Name, Dynamic: nw.Driver == cnm.DriverOverlay, Priority: e.Config.GwPriority, Internal: nw.Internal,
			Gateway: e.Gateway4.IsValid() || e.Gateway6.IsValid(),
		}
		for _, l := range e.Config.Links {
			if to, alias, err := cnm.ParseLink(l); err == nil {
				if a.Links == nil {
					a.Links = make(map[string]string)
				}
				a.Links[alias] = to
			}
		}
		on = append(on, a)
	}
	return on
}

// namedPorts are the ports that a sandbox exposes or publishes, for SRV records.
func namedPorts(sb *cnm.Sandbox) (ports []discovery.Port) {
	for _, e := range sb.Spec.Expose {
		number, proto, _ := strings.Cut(e, "/")
		if p, err := strconv.ParseUint(number, 10, 16); err == nil {
			ports = append(ports, discovery.Port{Number: uint16(p), Protocol: proto})
		}
	}
	for _, p := range sb.Ports {
		ports = slices.DeleteFunc(ports, func(o discovery.Port) bool { return o == discovery.Port{Number: p.Port, Protocol: p.Proto} })
		ports = append(ports, discovery.Port{Number: p.Port, Published: p.Host.Port(), Protocol: p.Proto})
	}
	return slices.Compact(ports) // one that is published for each family stands there twice
}
