package vswitch

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"weft/arp"
	"weft/internal/frame"
)

// A DomainConfig describes a bridge domain: one broadcast domain, one network's
// subnet on this node.
type DomainConfig struct {
	// Name is shown to users.
	Name string
	// GatewayMAC is the switch's own address on the network; zero for none.
	GatewayMAC frame.MAC
	// Gateways are its IP addresses: they answer ARP, neighbour discovery and
	// ping.
	Gateways []netip.Addr
	// DropUnknownMAC drops unicast to unknown addresses instead of flooding it.
	DropUnknownMAC bool
	// DropUnknownNeighbour drops ARP requests and solicitations for unknown
	// addresses instead of flooding them.
	DropUnknownNeighbour bool
	// QuietTunnels keeps broadcast and multicast out of tunnels: ports with a
	// Horizon. It excludes Snooping, which finds out who listens by multicast
	// through them.
	QuietTunnels bool
	// MaxMACs bounds the FDB, MaxNeighbours the neighbour table; 0 is
	// DefaultDomainMACs and DefaultNeighbours.
	MaxMACs, MaxNeighbours int
	// Snooping sends IP multicast only to ports that listen to the group, by
	// what IGMP and MLD reports say; see snoop.go. MaxGroups bounds the groups
	// known; 0 is DefaultGroups.
	Snooping  bool
	MaxGroups int
	// Outside makes the domain a router's outside (router.go): its port learns nothing,
	// and the switch answers for the gateway's addresses alone.
	Outside bool
	// AgeSeconds is how long a learned address stays without being seen; 0 is
	// DefaultAge.
	AgeSeconds uint32
}

// The defaults of a domain. The age is that of IEEE 802.1Q, table 8-6.
const (
	DefaultDomainMACs = 8192
	DefaultNeighbours = 4096
	DefaultGroups     = 1024
	DefaultAge        = 300
)

// A Domain is a bridge domain. Ports of different domains never exchange
// frames.
type Domain struct {
	cfg        DomainConfig
	fdb        *fdb
	neighbours *arp.Table
	gateway    gateway
	members    atomic.Pointer[[]*Port]
	exit       atomic.Pointer[Port]
	router     atomic.Pointer[Router]
	snoop      *snooper // nil where the domain does not
}

// A gateway is the switch's own presence on a domain.
type gateway struct {
	on  bool
	mac frame.MAC
	ip4 []uint32
	ip6 [][16]byte
	// first4 is the first of ip4 as it stands in packets.
	first4 [4]byte
}

func newDomain(s *Switch, c DomainConfig) (*Domain, error) {
	if c.QuietTunnels && c.Snooping {
		return nil, fmt.Errorf("vswitch: domain %s: QuietTunnels and Snooping exclude each other", c.Name)
	}
	if c.MaxMACs == 0 {
		c.MaxMACs = DefaultDomainMACs
	}
	if c.MaxNeighbours == 0 {
		c.MaxNeighbours = DefaultNeighbours
	}
	if c.AgeSeconds == 0 {
		c.AgeSeconds = DefaultAge
	}
	d := &Domain{cfg: c, fdb: newFDB(s, c.MaxMACs, s.cfg.Seed), neighbours: arp.NewTable(c.MaxNeighbours)}
	d.members.Store(&[]*Port{})
	if c.Snooping {
		d.snoop = newSnooper(s, d)
	}
	d.gateway = gateway{on: c.GatewayMAC != frame.MAC{}, mac: c.GatewayMAC}
	if c.Outside && !d.gateway.on {
		return nil, fmt.Errorf("vswitch: domain %s is outside and has no gateway", c.Name)
	}
	for _, a := range d.addresses() {
		if err := d.neighbours.SetStatic(a, c.GatewayMAC); err != nil {
			return nil, err
		}
		if a.Is4() {
			b := a.As4()
			if len(d.gateway.ip4) == 0 {
				d.gateway.first4 = b
			}
			d.gateway.ip4 = append(d.gateway.ip4, binary.BigEndian.Uint32(b[:]))
		} else {
			d.gateway.ip6 = append(d.gateway.ip6, a.As16())
		}
	}
	return d, nil
}

// addresses returns those of the gateway. Outside, it has the link-local one of its MAC too,
// if it speaks IPv6: routers there are told it, and ask for it.
func (d *Domain) addresses() []netip.Addr {
	all := d.cfg.Gateways
	if d.cfg.Outside && slices.ContainsFunc(all, netip.Addr.Is6) {
		all = append(slices.Clone(all), netip.AddrFrom16(linkLocal(d.cfg.GatewayMAC)))
	}
	return all
}

// Name returns the configured name.
func (d *Domain) Name() string { return d.cfg.Name }

// Neighbours returns the domain's neighbour table, which the control plane fills
// and unguarded ports teach.
func (d *Domain) Neighbours() *arp.Table { return d.neighbours }

// SetStatic binds an address on an 802.1Q VLAN (0: untagged) to a port: it wins
// over everything learned and does not age. It reports whether there was room.
func (d *Domain) SetStatic(vlan uint16, mac frame.MAC, p *Port) bool {
	return d.fdb.setStatic(fdbKey(vlan, mac), p)
}

// Forget removes an address, learned or static.
func (d *Domain) Forget(vlan uint16, mac frame.MAC) {
	key := fdbKey(vlan, mac)
	d.fdb.remove(func(k, v uint64) bool { return k == key })
}

// An FDBEntry is one row of the forwarding database.
type FDBEntry struct {
	VLAN   uint16
	MAC    frame.MAC
	Port   *Port
	Static bool
	Age    uint32 // seconds since last seen, 0 for static entries
}

// FDB returns the domain's forwarding database, in no order.
func (s *Switch) FDB(d *Domain) []FDBEntry {
	var rows []FDBEntry
	ports, now := *s.ports.Load(), s.now.Load()
	d.fdb.each(func(key, val uint64) {
		slot := valPort(val)
		if int(slot) >= len(ports) || ports[slot] == nil {
			return
		}
		e := FDBEntry{Port: ports[slot], Static: val&valStatic != 0}
		e.VLAN, e.MAC = keyMAC(key)
		if !e.Static && now > valStamp(val) {
			e.Age = now - valStamp(val)
		}
		rows = append(rows, e)
	})
	return rows
}

// DomainStats are a domain's own counters.
type DomainStats struct {
	Entries int    // addresses in the FDB now
	Moves   uint64 // learned addresses that changed their port
	Full    uint64 // frames whose source found no room
	// Groups that somebody listens to now, and reports of groups that found no
	// room; where the domain snoops.
	Groups     int
	GroupsFull uint64
}

// Stats returns the domain's counters.
func (d *Domain) Stats() DomainStats {
	s := DomainStats{Entries: int(d.fdb.entries.Load()), Moves: d.fdb.moves.Load(), Full: d.fdb.full.Load()}
	if d.snoop != nil {
		s.Groups, s.GroupsFull = int(d.snoop.groups.entries.Load()), d.snoop.groups.full.Load()
	}
	return s
}
