package vswitch

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"weft/internal/frame"
)

// Theory of operation.
//
// Hosts report their groups when they join, and when asked. The switch asks
// itself, so that snooping works where there is no router: every queryInterval,
// and soon after a port was added, twice startupInterval apart, lest one query be
// lost; after a leave it asks for the group (groups.go). Whoever runs the switch
// calls Queries once a second and Originate with what it returns.
//
// Election (RFC 3376, 6.6.2; RFC 3810, 7.6.2): the lowest address asks. A domain
// is silent while it has heard another querier with a lower address in the last
// routerAge seconds. Its own is 0.0.0.0, to which any other is preferred (RFC
// 4541, 2.1.1), and the link-local address of its gateway. Every switch of the
// network has the same two; a query from them is another switch's: it counts as a
// query, makes no router of the port it came from, and elects nobody. A domain
// without a gateway never asks.

// Times in seconds: RFC 3376, 8.2, 8.3, 8.8. The startup interval is shorter than
// 8.6 has it, so that the second query is answered before fresh ports, having had
// the first, stop taking all multicast.
const (
	queryInterval   = 125
	queryResponse   = 10
	memberResponse  = 1
	startupInterval = 10
	startupQueries  = 2
	// groupQueries bounds the questions after leaves, per call.
	groupQueries = 16
)

// A querier is the asking on a domain, for one family. Under the snooper's mu.
type querier struct {
	startup int    // queries still to send for ports that were added
	next    uint32 // when the next is due
	last    uint32 // when the last one was sent
	sent    bool
	asked   bool // by anybody, and lately
	askedAt uint32
	silent  uint32 // another asks, until then
}

// Queries returns the frames the switch has to originate on a domain now, in
// seconds of the clock that Tick is given. Call it once a second.
func (s *Switch) Queries(d *Domain, now uint32) (frames [][]byte) {
	if d.snoop == nil || !d.gateway.on {
		return nil
	}
	for f := range ipFamilies {
		general, silent := d.snoop.due(f, now)
		if general {
			frames = append(frames, d.gateway.query(f, groupKey{}, queryResponse))
		}
		if silent {
			continue
		}
		for _, k := range d.snoop.groups.asking(f, now, groupQueries) {
			frames = append(frames, d.gateway.query(f, k, memberResponse))
		}
	}
	return frames
}

// due decides about a general query, and takes it for sent.
func (s *snooper) due(f ipFamily, now uint32) (general, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.queries[f]
	if q.silent > now {
		return false, true
	}
	added := q.startup > 0 && now >= q.last+startupInterval
	if q.sent && now < q.next && !added {
		return false, false
	}
	q.startup = max(q.startup-1, 0)
	q.sent, q.last, q.next = true, now, now+queryInterval
	s.asked(f, now, queryResponse)
	return true, false
}

// asked notes that all ports have been asked: what is behind fresh ones is known
// soon. The caller holds mu.
func (s *snooper) asked(f ipFamily, now, respond uint32) {
	q := &s.queries[f]
	q.asked, q.askedAt = true, now
	until := now + min(max(2*respond, 2*queryResponse), maxWait)
	old := *s.takers[f].Load()
	list, changed := make([]taker, len(old)), false
	for i, t := range old {
		if t.fresh {
			t.fresh, t.until, changed = false, max(t.until, until), true
		}
		list[i] = t
	}
	if changed {
		s.takers[f].Store(&list)
	}
}

// heard notes a query that came in.
func (s *snooper) heard(in *Port, m *groupMessage, now uint32) {
	if m.general {
		s.mu.Lock()
		s.asked(m.family, now, m.respond)
		if s.preferred(m) {
			s.queries[m.family].silent = now + routerAge
		}
		s.mu.Unlock()
	}
	if !s.own(m) {
		s.take(m.family, taker{port: in, until: now + routerAge, router: now + routerAge})
	}
}

// own reports whether a query is from the address that this switch asks from, as
// do all others of the network. From 0.0.0.0 there are other proxies (RFC 4541,
// 2.1.1), which are no routers either.
func (s *snooper) own(m *groupMessage) bool {
	if m.family == ip4Family {
		return m.from == [16]byte{}
	}
	return s.domain.gateway.on && m.from == linkLocal(s.domain.gateway.mac)
}

// preferred reports whether the sender of a query wins against this switch.
func (s *snooper) preferred(m *groupMessage) bool {
	if m.family == ip4Family {
		return !s.own(m)
	}
	mine := linkLocal(s.domain.gateway.mac)
	return bytes.Compare(m.from[:], mine[:]) < 0
}

// foreignQuery judges a frame from the gateway's MAC: it may come only through a
// tunnel, as another switch's query. It is not learned.
func (s *snooper) foreignQuery(in *Port, f *frame.Frame) frame.Reason {
	var m groupMessage
	if s != nil && in.cfg.Horizon != 0 && f.View.VLAN == 0 && !unicast(f.DstMAC()) {
		if m.read(f); m.verb == asks && s.own(&m) {
			return frame.NotDropped
		}
	}
	return frame.SpoofedMAC
}

// query returns a frame that asks for a group, or for all when it is zero: IGMPv3
// (RFC 3376, 4.1) from 0.0.0.0 or MLDv2 (RFC 3810, 5.1) from the gateway's
// link-local address, with a router alert. respond is in seconds.
func (g *gateway) query(f ipFamily, k groupKey, respond uint16) []byte {
	to := k.addr()
	if f == ip4Family {
		return g.query4(to, respond)
	}
	return g.query6(to, respond)
}

const (
	robustness  = 2 // RFC 3376, 8.1
	alertLength = 4 // RFC 2113, 2.1
)

func (g *gateway) query4(group netip.Addr, respond uint16) []byte {
	dst, asked := [4]byte{224, 0, 0, 1}, [4]byte{}
	if group.Is4() {
		dst, asked = group.As4(), group.As4()
	}
	const size = 20 + alertLength + igmpQuery3
	b := append([]byte{1, 0, 0x5e, dst[1] & 0x7f, dst[2], dst[3]}, g.mac[:]...) // RFC 1112, 6.4
	b = append(b, frame.EtherIPv4>>8, frame.EtherIPv4&0xff,
		0x46, 0xc0, 0, size, 0, 0, 0x40, 0, 1, protoIGMP, 0, 0, 0, 0, 0, 0)
	b = append(b, dst[:]...)
	b = append(b, 0x94, alertLength, 0, 0)
	frame.SetIPv4Checksum(b[frame.EtherLen:])
	at := len(b)
	b = append(b, igmpQuery, byte(respond*10), 0, 0)
	b = append(b, asked[:]...)
	b = append(b, robustness, queryInterval, 0, 0)
	binary.BigEndian.PutUint16(b[at+2:], frame.Checksum(b[at:], 0))
	return b
}

func (g *gateway) query6(group netip.Addr, respond uint16) []byte {
	dst, asked, src := [16]byte{0xff, 2, 15: 1}, [16]byte{}, linkLocal(g.mac)
	if !group.IsUnspecified() {
		dst, asked = group.As16(), group.As16()
	}
	const options = 8
	b := append([]byte{0x33, 0x33}, dst[12:]...) // RFC 2464, 7
	b = append(b, g.mac[:]...)
	b = append(b, frame.EtherIPv6>>8, frame.EtherIPv6&0xff, 0x60, 0, 0, 0, 0, options+mldQuery2, 0, 1)
	b = append(append(b, src[:]...), dst[:]...)
	b = append(b, frame.ProtoICMPv6, 0, 5, 2, 0, 0, 0, 0) // router alert (RFC 2711), Pad1 twice
	at := len(b)
	b = binary.BigEndian.AppendUint16(append(b, icmp6Query, 0, 0, 0), respond*1000)
	b = append(append(b, 0, 0), asked[:]...)
	b = append(b, robustness, queryInterval, 0, 0)
	sum := frame.Sum(b[frame.EtherLen+8:frame.EtherLen+40], mldQuery2+frame.ProtoICMPv6)
	binary.BigEndian.PutUint16(b[at+2:], frame.Checksum(b[at:], sum))
	return b
}
