package discovery

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A zone is what is known of one network. Readers load records and take no lock. The
// rest belongs to who holds the table's lock.
//
// An update puts what it retracts and asserts into edits; commit makes each entry that
// is concerned anew, once, and publishes them together.
type zone struct {
	id    string
	stats *Stats
	snap  atomic.Pointer[records]

	endpoints map[string]*owner
	services  map[string]*owner
	statics   map[string]*owner
	members   map[string]map[string]*owner // service ID → endpoint ID → backend
	contested map[string]bool

	names   map[string]*edit // by name
	reverse map[string]*edit // by address
}

// records are one state of a zone.
type records struct {
	network string // as given, for people and PTR records
	lower   string // for NAME.NETWORK
	ttl     uint32
	names   trie[*entry]
	reverse trie[*pointer]
	wild    int // names that are wildcards
}

// An edit is what an update does to one key.
type edit struct {
	retract map[*owner]bool
	assert  []claim
}

// maxClaims bounds the owners of one name: more addresses do not fit a message.
const maxClaims = 4096

func newZone(s *Stats, id string) *zone {
	z := &zone{
		id: id, stats: s, endpoints: map[string]*owner{}, services: map[string]*owner{}, statics: map[string]*owner{},
		members: map[string]map[string]*owner{}, contested: map[string]bool{}, names: map[string]*edit{}, reverse: map[string]*edit{},
	}
	z.snap.Store(&records{names: newTrie[*entry](), reverse: newTrie[*pointer]()})
	return z
}

// describe sets what the network is called and how long its records live.
func (z *zone) describe(name string, ttl time.Duration, fallback uint32) {
	r := *z.snap.Load()
	r.network, r.lower, r.ttl = name, strings.ToLower(name), seconds(ttl, fallback)
	z.snap.Store(&r)
}

// claims yields every name that an owner answers to.
func (z *zone) claims(o *owner, yield func(name string, c claim)) {
	role := [...]role{roleOwn, roleService, roleStatic}[o.origin]
	for _, n := range o.names {
		yield(n, claim{owner: o, role: role})
	}
	if o.origin == FromService { // known even while it has no backend
		for _, n := range o.names {
			if tasks, ok := normalize("tasks." + n); ok {
				yield(tasks, claim{owner: o, role: roleTasks})
			}
		}
		return
	}
	svc := z.services[o.group]
	if o.group == "" || svc == nil {
		return
	}
	for _, n := range svc.names {
		if tasks, ok := normalize("tasks." + n); ok {
			yield(tasks, claim{owner: o, role: roleBackend, svc: svc})
		}
		if len(svc.addrs) == 0 { // dnsrr
			yield(n, claim{owner: o, role: roleBackend, svc: svc})
		}
	}
}

// set puts an owner in the place of an old one; either may be nil.
func (z *zone) set(of map[string]*owner, old, o *owner) {
	if old != nil {
		z.retract(old)
		delete(of, old.id)
		z.enrol(old, false)
	}
	if o != nil {
		of[o.id] = o
		z.enrol(o, true)
		z.assert(o)
	}
}

// setService does the same for a service, on which depends what its backends answer to.
func (z *zone) setService(old, o *owner) {
	group := o
	if o == nil {
		group = old
	}
	for _, m := range z.members[group.id] {
		z.retract(m)
	}
	z.set(z.services, old, o)
	for _, m := range z.members[group.id] {
		z.assert(m)
	}
}

func (z *zone) enrol(o *owner, in bool) {
	if o.origin != FromEndpoint || o.group == "" {
		return
	}
	m := z.members[o.group]
	switch {
	case in && m == nil:
		z.members[o.group] = map[string]*owner{o.id: o}
	case in:
		m[o.id] = o
	case len(m) == 1:
		delete(z.members, o.group)
	default:
		delete(m, o.id)
	}
}

func (z *zone) retract(o *owner) {
	z.claims(o, func(name string, c claim) { editOf(z.names, name).drop(c.owner) })
	for _, a := range o.pointed() {
		editOf(z.reverse, addrKey(a)).drop(o)
	}
}

func (z *zone) assert(o *owner) {
	z.claims(o, func(name string, c claim) { e := editOf(z.names, name); e.assert = append(e.assert, c) })
	for _, a := range o.pointed() {
		e := editOf(z.reverse, addrKey(a))
		e.assert = append(e.assert, claim{owner: o})
	}
}

// pointed returns the addresses that have PTR records: not those of static records, of
// which a PTR is written like all else.
func (o *owner) pointed() []netip.Addr {
	if o.origin == FromStatic || o.host == "" {
		return nil
	}
	return o.addrs
}

func editOf(m map[string]*edit, key string) *edit {
	e := m[key]
	if e == nil {
		e = &edit{retract: map[*owner]bool{}}
		m[key] = e
	}
	return e
}

// drop takes back what an owner has said under the key, in this update too.
func (e *edit) drop(o *owner) {
	e.retract[o] = true
	e.assert = slices.DeleteFunc(e.assert, func(c claim) bool { return c.owner == o })
}

// apply returns what is left of the claims on a key, and what was added, at most
// maxClaims. What is beyond is lost until its owner is set again.
func (e *edit) apply(old []claim, s *Stats) []claim {
	out := make([]claim, 0, len(old)+len(e.assert))
	for _, c := range old {
		if !e.retract[c.owner] {
			out = append(out, c)
		}
	}
	out = append(out, e.assert...)
	for len(out) > maxClaims {
		s.count(NameFull)
		out = out[:len(out)-1]
	}
	return out
}

// edited reports whether there is anything to publish.
func (z *zone) edited() bool { return len(z.names)+len(z.reverse) > 0 }

// commit publishes what the update did and appends the conflicts that begin with it.
func (z *zone) commit(found []Conflict) []Conflict {
	if !z.edited() {
		return found
	}
	r := *z.snap.Load()
	for name, ed := range z.names {
		var old []claim
		if e, ok := r.names.get(name); ok {
			old = e.claims
		}
		claims := ed.apply(old, z.stats)
		if name[0] == '*' {
			r.wild += min(len(claims), 1) - min(len(old), 1)
		}
		if len(claims) == 0 {
			r.names = r.names.without(name)
			delete(z.contested, name)
			continue
		}
		e := newEntry(claims)
		r.names = r.names.with(name, e)
		if !e.contested() {
			delete(z.contested, name)
		} else if !z.contested[name] {
			z.contested[name] = true
			found = append(found, conflict(r.network, name, e.claims))
		}
	}
	for key, ed := range z.reverse {
		var old []claim
		if p, ok := r.reverse.get(key); ok {
			old = p.claims
		}
		if claims := ed.apply(old, z.stats); len(claims) == 0 {
			r.reverse = r.reverse.without(key)
		} else {
			r.reverse = r.reverse.with(key, newPointer(claims))
		}
	}
	z.snap.Store(&r)
	clear(z.names)
	clear(z.reverse)
	return found
}
