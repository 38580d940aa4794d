package vswitch

import (
	"net/netip"
	"slices"
)

// A GroupEntry is one row of what a domain knows from snooping: that a port
// listens to a group.
type GroupEntry struct {
	Group netip.Addr
	Port  *Port
	Left  uint32 // seconds until it is forgotten, unless reported again
}

// Groups returns who listens to what, by group and the port's index. It is empty
// where the domain does not snoop.
func (d *Domain) Groups() (rows []GroupEntry) {
	if d.snoop == nil {
		return nil
	}
	now, t := d.snoop.sw.now.Load(), d.snoop.groups
	t.mu.Lock()
	t.each(func(g *group) {
		for _, l := range *g.listeners.Load() {
			rows = append(rows, GroupEntry{g.key.addr(), l.port, l.until - min(now, l.until)})
		}
	})
	t.mu.Unlock()
	slices.SortFunc(rows, func(a, b GroupEntry) int {
		if c := a.Group.Compare(b.Group); c != 0 {
			return c
		}
		return int(a.Port.slot) - int(b.Port.slot)
	})
	return rows
}

// Routers returns the ports behind which there is a multicast router, of IPv4 or
// IPv6, by what queries came from them.
func (d *Domain) Routers() (ports []*Port) {
	if d.snoop == nil {
		return nil
	}
	now := d.snoop.sw.now.Load()
	for f := range ipFamilies {
		for _, t := range *d.snoop.takers[f].Load() {
			if t.router > now && !slices.Contains(ports, t.port) {
				ports = append(ports, t.port)
			}
		}
	}
	return ports
}
