package discovery

import (
	"net/netip"
	"slices"
	"strings"
)

// SetEndpoint says what there is to know of an endpoint; it replaces what was said of
// the one with its ID, and costs next to nothing where that was the same.
func (tx *Tx) SetEndpoint(e Endpoint) error {
	if e.Network == "" || e.ID == "" {
		return invalid("an endpoint without ID or network")
	}
	z, err := tx.zone(e.Network)
	if err != nil {
		return err
	}
	if err := tx.room(&tx.t.endpoints, tx.t.limits.Endpoints, z.endpoints, e.ID, "endpoint"); err != nil {
		return err
	}
	o := newOwner(tx.t.stats, FromEndpoint, e.ID, e.Names, e.Addrs, e.Ports)
	o.state, o.group, o.node = min(e.State, Draining), e.Service, e.Node
	if old := z.endpoints[e.ID]; old == nil || !old.same(o) {
		z.set(z.endpoints, old, o)
	}
	return nil
}

// RemoveEndpoint forgets an endpoint.
func (tx *Tx) RemoveEndpoint(network, id string) {
	if z, err := tx.zone(network); err == nil && z.endpoints[id] != nil {
		z.set(z.endpoints, z.endpoints[id], nil)
		tx.t.endpoints--
	}
}

// KeepEndpoints forgets the endpoints of a network that keep does not want, for who
// knows all that there are.
func (tx *Tx) KeepEndpoints(network string, keep func(id string) bool) {
	if z, err := tx.zone(network); err == nil {
		for id := range z.endpoints {
			if !keep(id) {
				tx.RemoveEndpoint(network, id)
			}
		}
	}
}

// SetService says what there is to know of a service on a network. Its backends may be
// said before or after.
func (tx *Tx) SetService(s Service) error {
	if s.Network == "" || s.ID == "" {
		return invalid("a service without ID or network")
	}
	z, err := tx.zone(s.Network)
	if err != nil {
		return err
	}
	if err := tx.room(&tx.t.services, tx.t.limits.Services, z.services, s.ID, "service"); err != nil {
		return err
	}
	o := newOwner(tx.t.stats, FromService, s.ID, s.Names, s.VIPs, s.Ports)
	o.group = s.ID
	if old := z.services[s.ID]; old == nil || !old.same(o) {
		z.setService(old, o)
	}
	return nil
}

// RemoveService forgets a service; its backends keep their own names.
func (tx *Tx) RemoveService(network, id string) {
	if z, err := tx.zone(network); err == nil && z.services[id] != nil {
		z.setService(z.services[id], nil)
		tx.t.services--
	}
}

// KeepServices forgets the services on a network that keep does not want.
func (tx *Tx) KeepServices(network string, keep func(id string) bool) {
	if z, err := tx.zone(network); err == nil {
		for id := range z.services {
			if !keep(id) {
				tx.RemoveService(network, id)
			}
		}
	}
}

// SetStatic writes down records; it replaces those of the same network, name and type.
func (tx *Tx) SetStatic(s Static) error {
	o, err := parseStatic(s)
	if err != nil {
		return err
	}
	z, err := tx.zone(s.Network)
	if err != nil {
		return err
	}
	if err := tx.room(&tx.t.statics, tx.t.limits.Statics, z.statics, o.id, "static record"); err != nil {
		return err
	}
	z.set(z.statics, z.statics[o.id], o)
	return nil
}

// RemoveStatic takes back the records of a network, name and type, and reports whether
// there were any. An empty type stands for all.
func (tx *Tx) RemoveStatic(network, name, kind string) (found bool) {
	z, err := tx.zone(network)
	if err != nil {
		return false
	}
	own, _ := normalizeOwner(name)
	for k := range staticTypes {
		n := own
		if a, err := netip.ParseAddr(name); err == nil && k == "PTR" {
			n = reverseName(a)
		}
		if o := z.statics[k+" "+n]; o != nil && (kind == "" || strings.EqualFold(kind, k)) {
			z.set(z.statics, o, nil)
			tx.t.statics--
			found = true
		}
	}
	return found
}

// KeepStatics forgets the static records of a network that keep does not want.
func (tx *Tx) KeepStatics(network string, keep func(name, kind string) bool) {
	if z, err := tx.zone(network); err == nil {
		for id := range z.statics {
			if kind, name, _ := strings.Cut(id, " "); !keep(name, kind) {
				tx.RemoveStatic(network, name, kind)
			}
		}
	}
}

// same reports whether two owners say the same.
func (o *owner) same(p *owner) bool {
	return o.state == p.state && o.group == p.group && o.node == p.node && o.host == p.host && o.label == p.label &&
		slices.Equal(o.names, p.names) && slices.Equal(o.addrs, p.addrs) && slices.Equal(o.ports, p.ports)
}
