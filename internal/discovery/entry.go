package discovery

import (
	"net/netip"

	"github.com/miekg/dns"
)

// A role is on what grounds an owner answers to a name.
type role uint8

const (
	roleOwn     role = iota // a name or alias of the endpoint itself
	roleService             // a name of a service, answered with its VIPs
	roleStatic
	roleTasks   // tasks.NAME of a service, which is known without backends too
	roleBackend // a name of a service, answered with its backends
)

// A claim is an owner's part in a name.
type claim struct {
	*owner
	role role
	svc  *owner // of a backend's claim: its service
	in   bool   // in rotation: its addresses are in the answer
}

// An entry is all there is to say of one name. It is immutable.
//
// Who is in rotation: VIPs and static records always; the backends of a service only
// while they serve, so that a name without one that serves has an empty answer; an
// endpoint under a name of its own while it serves, and else when nobody better answers
// to the name: who asks for one container by name gets it, whatever its state, as in
// Docker, and of several with one alias those that are well.
type entry struct {
	claims []claim
	v4, v6 []byte // the addresses of the answers, 4 and 16 bytes each
	ttl    uint32 // least of the static records; noTTL: the network's
	host   bool   // has addresses, or would have if anybody served; else static records of other types
	cname  *dns.CNAME
	rrs    []dns.RR // other static records
}

// noTTL stands for no TTL of an entry's own; it is no TTL (RFC 2181, 8).
const noTTL = 1 << 31

// newEntry makes an entry of claims, which become its own.
func newEntry(claims []claim) *entry {
	e := &entry{claims: claims, ttl: noTTL}
	best := Draining
	for i := range claims {
		if c := &claims[i]; len(c.answers()) > 0 && (c.role != roleBackend || c.state == Serving) {
			best = min(best, c.state) // services and static records have state Serving
		}
	}
	for i := range claims {
		c := &claims[i]
		switch c.role {
		case roleOwn:
			c.in = c.state == best
		case roleBackend:
			c.in = c.state == Serving
		default:
			c.in = true
		}
		if c.in {
			e.add(c)
		}
		e.host = e.host || c.static == nil || len(c.addrs) > 0
	}
	if len(e.v4)+len(e.v6) > 0 {
		e.cname = nil // CNAME stands alone (RFC 1034, 3.6.2)
	}
	return e
}

// answers returns the addresses that the claim may bring into the answer.
func (c *claim) answers() []netip.Addr {
	if c.role == roleTasks {
		return nil
	}
	return c.addrs
}

func (e *entry) add(c *claim) {
	for _, a := range c.answers() {
		if a.Is4() {
			b := a.As4()
			e.v4 = appendNew(e.v4, b[:])
		} else {
			b := a.As16()
			e.v6 = appendNew(e.v6, b[:])
		}
	}
	s := c.static
	if s == nil {
		return
	}
	if s.ownTTL {
		e.ttl = min(e.ttl, s.ttl)
	}
	for _, rr := range s.rrs {
		if cn, ok := rr.(*dns.CNAME); ok {
			e.cname = cn
		} else {
			e.rrs = append(e.rrs, rr)
		}
	}
}

// appendNew appends b to a row of its like unless it is there. Addresses are unique on
// a network but where somebody erred or wrote static records, so only short rows are
// searched: a double in a long one costs nothing but its place.
func appendNew(row, b []byte) []byte {
	if len(row) <= 64*len(b) {
		for i := 0; i < len(row); i += len(b) {
			if string(row[i:i+len(b)]) == string(b) {
				return row
			}
		}
	}
	return append(row, b...)
}

// addrs returns the row of addresses for a question's type.
func (e *entry) addrs(qtype uint16) []byte {
	switch qtype {
	case dns.TypeA:
		return e.v4
	case dns.TypeAAAA:
		return e.v6
	}
	return nil
}

// contested reports whether several owners that have nothing to do with each other
// answer to the name: backends and their service are one, and so are static records.
func (e *entry) contested() bool {
	for i := range e.claims[1:] {
		if a, b := e.claims[0].owner, e.claims[1+i].owner; a.party() != b.party() {
			return true
		}
	}
	return false
}

// A party is whoever owns names together.
type party struct {
	origin Origin
	id     string
}

func (o *owner) party() party {
	switch {
	case o.group != "":
		return party{FromService, o.group}
	case o.origin == FromStatic:
		return party{origin: FromStatic}
	}
	return party{o.origin, o.id}
}

// A pointer is who has an address, for PTR records.
type pointer struct {
	claims []claim // the first is answered with
}

// newPointer puts endpoints before services, and either in order of ID, so that the
// answer does not depend on who came first.
func newPointer(claims []claim) *pointer {
	for i, c := range claims {
		f := claims[0]
		if c.origin < f.origin || c.origin == f.origin && c.id < f.id {
			claims[0], claims[i] = c, f
		}
	}
	return &pointer{claims}
}

// addrKey is an address as a key.
func addrKey(a netip.Addr) string {
	b := a.As16()
	return string(b[:])
}
