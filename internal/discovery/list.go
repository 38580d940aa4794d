package discovery

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// A Record is one that the table answers with, as shown to people.
type Record struct {
	Network string // its name; empty for those of no network
	Name    string
	Type    string
	TTL     uint32 // seconds
	Value   string
	Origin  Origin
	Owner   string // what the origin calls it: the endpoint's or service's first name, the static record's type and name
	OwnerID string
	Node    string // of an endpoint
	State   State
	In      bool // is among the answers now; else it is unhealthy, drains, or is shadowed
}

func (r Record) compare(o Record) int {
	return cmp.Or(cmp.Compare(r.Network, o.Network), cmp.Compare(r.Name, o.Name), cmp.Compare(r.Type, o.Type),
		cmp.Compare(r.Origin, o.Origin), cmp.Compare(r.OwnerID, o.OwnerID), cmp.Compare(r.Value, o.Value))
}

// Records yields every record in order of network, name, type, origin and owner. It
// shows each network as it was when the iteration came to it, holds no lock, and may
// take its time.
func (t *Table) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for _, z := range t.zones() {
			for r := range z.snap.Load().list() {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// zones returns all, that of no network first, then by name.
func (t *Table) zones() []*zone {
	nets := t.nets.Load()
	all := slices.SortedFunc(maps.Values(nets.byID), func(a, b *zone) int {
		return cmp.Or(cmp.Compare(a.snap.Load().network, b.snap.Load().network), cmp.Compare(a.id, b.id))
	})
	return append([]*zone{nets.all}, all...)
}

// A row is a name or an address, for both are listed in one order.
type row struct {
	name string
	e    *entry
	p    *pointer
}

func (r *records) list() iter.Seq[Record] {
	rows := make([]row, 0, r.names.size+r.reverse.size)
	for name, e := range r.names.all() {
		rows = append(rows, row{name: name, e: e})
	}
	for key, p := range r.reverse.all() {
		a, _ := netip.AddrFromSlice([]byte(key))
		rows = append(rows, row{name: reverseName(a), p: p})
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.name, b.name) })
	return func(yield func(Record) bool) {
		var of []Record
		for i, row := range rows {
			of = r.show(of, row)
			if i+1 < len(rows) && rows[i+1].name == row.name {
				continue // a static PTR record of an address that somebody has
			}
			slices.SortFunc(of, Record.compare)
			for _, rec := range of {
				if !yield(rec) {
					return
				}
			}
			of = of[:0]
		}
	}
}

// show appends the records of one row.
func (r *records) show(of []Record, row row) []Record {
	if row.p != nil {
		for i, c := range row.p.claims {
			rec := r.record(row.name, "PTR", r.ttl, c.owner)
			rec.Value, rec.In = r.qualified(c.owner), i == 0
			of = append(of, rec)
		}
		return of
	}
	for i := range row.e.claims {
		c := &row.e.claims[i]
		for _, a := range c.answers() {
			kind := "AAAA"
			if a.Is4() {
				kind = "A"
			}
			rec := r.record(row.name, kind, r.ttlOf(row.e), c.owner)
			rec.Value, rec.In = a.String(), c.in
			of = append(of, rec)
		}
		of = r.showStatic(of, row, c)
		of = r.showPorts(of, row.name, c)
	}
	return of
}

func (r *records) showStatic(of []Record, row row, c *claim) []Record {
	if c.static == nil {
		return of
	}
	for _, rr := range c.static.rrs {
		rec := r.record(row.name, dns.TypeToString[c.static.kind], r.ttlOf(row.e), c.owner)
		rec.Value, rec.In = rdata(rr), c.static.kind != dns.TypeCNAME || rr == row.e.cname
		of = append(of, rec)
	}
	return of
}

// rdata is a record's value in the presentation format.
func rdata(rr dns.RR) string { return strings.TrimPrefix(rr.String(), rr.Header().String()) }

// showPorts appends the SRV records that follow from ports.
func (r *records) showPorts(of []Record, name string, c *claim) []Record {
	for p := range c.listens() {
		for _, label := range p.labels() {
			rec := r.record(fmt.Sprintf("_%s._%s.%s", label, p.Protocol, name), "SRV", r.ttl, c.owner)
			rec.Value, rec.In = fmt.Sprintf("0 0 %d %s", p.Number, r.qualified(c.owner)), c.in
			of = append(of, rec)
		}
	}
	return of
}

func (r *records) record(name, kind string, ttl uint32, o *owner) Record {
	return Record{Network: r.network, Name: name, Type: kind, TTL: ttl, Origin: o.origin, Owner: o.label, OwnerID: o.id, Node: o.node, State: o.state}
}

func (r *records) ttlOf(e *entry) uint32 {
	if e.ttl != noTTL {
		return e.ttl
	}
	return r.ttl
}

// qualified is an owner's first name with the network's, which finds it from every
// network of the client. It is the first name alone where DNS cannot carry both.
func (r *records) qualified(o *owner) string {
	if s := o.host + "." + r.network; r.network != "" {
		if _, ok := normalize(s); ok {
			return s + "."
		}
	}
	return o.host + "."
}

// A Conflict is one name that several answer to which have nothing to do with each
// other, or a name of no network that a network's hides.
type Conflict struct {
	Network string
	Name    string
	Owners  []string // their kind and what they are called, in order, at most 8
	Shadow  bool     // the static records of no network are hidden from the network's clients
}

func (c Conflict) compare(o Conflict) int {
	return cmp.Or(cmp.Compare(c.Network, o.Network), cmp.Compare(c.Name, o.Name))
}

func (c Conflict) String() string {
	if c.Shadow {
		return fmt.Sprintf("%s on network %s hides a static record of the same name", c.Name, c.Network)
	}
	return fmt.Sprintf("%s on network %q is answered by several: %s", c.Name, c.Network, strings.Join(c.Owners, ", "))
}

const maxShown = 8

func conflict(network, name string, claims []claim) Conflict {
	c := Conflict{Network: network, Name: name}
	for _, cl := range claims {
		c.Owners = append(c.Owners, cl.origin.String()+" "+cl.label)
	}
	slices.Sort(c.Owners)
	c.Owners = slices.Compact(c.Owners)
	c.Owners = c.Owners[:min(len(c.Owners), maxShown)]
	return c
}

// Conflicts returns all that there are, in order.
func (t *Table) Conflicts() (all []Conflict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	nets := t.nets.Load()
	global := nets.all.snap.Load().names
	for _, z := range t.zones() {
		r := z.snap.Load()
		for name := range z.contested {
			if e, ok := r.names.get(name); ok {
				all = append(all, conflict(r.network, name, e.claims))
			}
		}
		if z == nets.all {
			continue
		}
		few, many := global, r.names
		if few.size > many.size {
			few, many = many, few
		}
		for name := range few.all() {
			if _, ok := many.get(name); ok {
				all = append(all, Conflict{Network: r.network, Name: name, Shadow: true})
			}
		}
	}
	slices.SortFunc(all, Conflict.compare)
	return all
}
