package vswitch

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"weft/internal/frame"
)

// Theory of operation.
//
// On a domain that snoops (RFC 4541), IP multicast goes to the ports that have
// reported the group (groups.go) and to those that take all multicast (takers):
//
//	fresh   nobody has asked what is behind the port: since it was added, or
//	        since the domain went without queries for groupAge. Once a general
//	        query went out, the port stays a taker for twice the time that the
//	        query gave to answer
//	router  a query came from it in the last routerAge seconds
//	full    a group reported there found no room in the table: for groupAge
//
// So whoever may listen is never cut off: a domain that nobody queries floods,
// a full table falls back to flooding towards the ports that overfilled it, and
// only to them.
//
// Frames that are not IP, VLAN-tagged ones, broadcast, and the groups of the link
// (groupKey.everywhere; neighbour discovery lives there) go on to forward, which
// floods them. So do queries.
//
// Reports go to every port but those of endpoints, for an endpoint that hears
// another's report may keep its own to itself (RFC 2236, 3; RFC 4541, 2.1.1
// (1)); behind tunnels other switches learn from them. A report for which there is
// nobody is consumed.
//
// Readers load the takers' slice, which is immutable; writers hold mu. The lock
// of the group table is not held together with it.

// Times in seconds.
const (
	routerAge = 255 // RFC 3376, 8.5: other querier present interval
	maxWait   = groupAge
)

type snooper struct {
	sw      *Switch
	domain  *Domain
	groups  *groupTable
	mu      sync.Mutex
	takers  [ipFamilies]atomic.Pointer[[]taker]
	queries [ipFamilies]querier
}

// A taker is a port that gets all multicast of a family.
type taker struct {
	port   *Port
	fresh  bool   // a fresh port has no end yet
	until  uint32 // in seconds
	router uint32 // until when as a router; at most until
}

func newSnooper(s *Switch, d *Domain) *snooper {
	n := d.cfg.MaxGroups
	if n == 0 {
		n = DefaultGroups
	}
	sn := &snooper{sw: s, domain: d, groups: newGroupTable(n, s.cfg.Seed)}
	for f := range sn.takers {
		sn.takers[f].Store(&[]taker{})
	}
	return sn
}

// snoop is the step for IP multicast on a domain that snoops: it learns from
// reports and queries, sends to those who listen, and reports whether the frame
// has ended.
func (w *Worker) snoop(in *Port, f *frame.Frame) bool {
	s, dst := in.domain.snoop, f.DstMAC()
	if s == nil || unicast(dst) || f.View.VLAN != 0 || reservedGroup(dst) || dst == (frame.MAC{255, 255, 255, 255, 255, 255}) {
		return false
	}
	key, ok := destination(f)
	if !ok {
		return false
	}
	var m groupMessage
	switch m.read(f); m.verb {
	case saysNothing:
		// Unknown IGMP is flooded: RFC 4541, 2.1.1 (3).
		if key.everywhere() || f.View.EtherType == frame.EtherIPv4 && f.View.Proto == protoIGMP {
			return false
		}
		w.listeners(in, f, key)
	case malformed:
		f.Drop(frame.BadIGMP)
	case asks:
		if !w.quiet {
			s.heard(in, &m, w.now)
		}
		return false
	default:
		if !w.quiet {
			s.reported(in, &m, w.now)
		}
		w.tell(in, f)
	}
	return true
}

// listeners sends a frame to the ports that listen to a group, and to those that
// take all.
func (w *Worker) listeners(in *Port, f *frame.Frame, key groupKey) {
	s, nobody := in.domain.snoop, frame.NoListener
	for _, t := range *s.takers[key.family()].Load() {
		nobody = w.offer(in, t.port, f, nobody)
	}
	if g := s.groups.lookup(key); g != nil {
		for _, l := range *g.listeners.Load() {
			nobody = w.offer(in, l.port, f, nobody)
		}
	}
	if f.Copies == 0 {
		f.Drop(nobody)
		return
	}
	f.Verdict = frame.Forwarded
}

// tell sends a report on to whoever may be, or may have behind it, a router or
// another switch.
func (w *Worker) tell(in *Port, f *frame.Frame) {
	for _, out := range *in.domain.members.Load() {
		if !out.guard.on || out.cfg.AllowRA {
			w.offer(in, out, f, frame.NotDropped)
		}
	}
	f.Verdict = frame.Consumed
	if f.Copies > 0 {
		f.Verdict = frame.Forwarded
	}
}

// offer sends the frame to a port unless it came from there, has been sent there,
// or may not go there. It returns nobody, or in the last case why not.
func (w *Worker) offer(in, out *Port, f *frame.Frame, nobody frame.Reason) frame.Reason {
	// A port that is not in the turn's port table comes or goes.
	if out == in || int(out.slot) >= len(w.ports) || w.ports[out.slot] != out || !out.carries(0) {
		return nobody
	}
	if !in.reaches(out) {
		return in.apart(out)
	}
	if l := w.tx[out.slot]; l == nil || l.n == 0 || l.frames[l.n-1] != f {
		w.send(out, f)
	}
	return nobody
}

// reported notes what a report says. Groups that go everywhere are not entered.
func (s *snooper) reported(in *Port, m *groupMessage, now uint32) {
	if m.verb != saysMany {
		s.note(in, m.group, m.verb, now)
		return
	}
	for r := m.records; r.left > 0; {
		group, verb, _ := r.next()
		s.note(in, group, verb, now)
	}
}

func (s *snooper) note(in *Port, k groupKey, v groupVerb, now uint32) {
	switch {
	case v == saysNothing || k.everywhere():
	case v == saysLeave:
		s.groups.leave(k, in)
	case !s.groups.join(k, in, now):
		s.take(k.family(), taker{port: in, until: now + groupAge})
	}
}

// take makes a port a taker until a time, at least.
func (s *snooper) take(f ipFamily, t taker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := *s.takers[f].Load()
	i := slices.IndexFunc(list, func(o taker) bool { return o.port == t.port })
	if i < 0 {
		list = append(slices.Clone(list), t)
		s.takers[f].Store(&list)
		return
	}
	old := list[i]
	t.fresh, t.until, t.router = old.fresh || t.fresh, max(old.until, t.until), max(old.router, t.router)
	if t != old {
		list = slices.Clone(list)
		list[i] = t
		s.takers[f].Store(&list)
	}
}

// welcome makes a port that was just added a taker, and has the querier ask it.
func (s *snooper) welcome(p *Port) {
	if s == nil {
		return
	}
	for f := range ipFamilies {
		s.take(f, taker{port: p, fresh: true})
		s.mu.Lock()
		s.queries[f].startup = startupQueries
		s.mu.Unlock()
	}
}

// forget removes a port that goes away.
func (s *snooper) forget(p *Port) {
	if s == nil {
		return
	}
	s.groups.pruneAll(func(l *listener) bool { return l.port == p })
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range ipFamilies {
		s.keep(f, func(t *taker) bool { return t.port != p })
	}
}

// age forgets what nobody has said again in time.
func (s *snooper) age(now uint32) {
	if s == nil {
		return
	}
	s.groups.pruneAll(func(l *listener) bool { return l.until <= now })
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range ipFamilies {
		s.keep(f, func(t *taker) bool { return t.fresh || t.until > now })
		if q := &s.queries[f]; q.asked && now > q.askedAt+groupAge {
			q.asked = false
			s.refresh(f)
		}
	}
}

// keep drops all takers but some. The caller holds mu.
func (s *snooper) keep(f ipFamily, which func(*taker) bool) {
	old := *s.takers[f].Load()
	var list []taker
	for i := range old {
		if which(&old[i]) {
			list = append(list, old[i])
		}
	}
	if len(list) < len(old) {
		s.takers[f].Store(&list)
	}
}

// refresh makes every port a fresh taker. The caller holds mu.
func (s *snooper) refresh(f ipFamily) {
	var list []taker
	for _, p := range *s.domain.members.Load() {
		list = append(list, taker{port: p, fresh: true})
	}
	s.takers[f].Store(&list)
}

// describeSnoop says what the step did to a frame that ended in it.
func describeSnoop(f *frame.Frame, ports int) string {
	key, _ := destination(f)
	switch f.Verdict {
	case frame.Dropped:
		return fmt.Sprintf("%v: dropped: %s", key.addr(), f.Reason)
	case frame.Consumed:
		return "a report of groups, of use to the switch alone"
	}
	return fmt.Sprintf("%v: to %d ports that listen or may", key.addr(), ports)
}
