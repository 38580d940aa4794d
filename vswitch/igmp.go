package vswitch

import (
	"encoding/binary"

	"weft/internal/frame"
)

// The messages by which hosts say what groups they listen to and routers ask
// them: IGMP (v1 RFC 1112, v2 RFC 2236, v3 RFC 3376) and its likeness for IPv6,
// MLD (v1 RFC 2710, v2 RFC 3810). In bytes from the IGMP or ICMPv6 header, A
// being 4 or 16, the length of an address:
//
//	0      1      2          4        8
//	| type | resp | checksum | group of A |                               IGMP v1, v2
//	| type | code | checksum | resp | 0 | group of A |                    MLD v1
//	  a query of v3 or v2 goes on: | S, QRV | QQIC | N | N sources of A |
//	| type | 0    | checksum | 0    | M | M records |                     v3, v2 reports
//	  a record: | type | aux length/4 | N | group of A | N sources of A | aux |

const (
	igmpQuery   = 0x11
	igmpReport1 = 0x12
	igmpReport2 = 0x16
	igmpLeave   = 0x17
	igmpReport3 = 0x22
	igmpLen     = 8
	igmpQuery3  = 12 // without sources
)

// ICMPv6 types of multicast listener discovery (RFC 2710, 3; RFC 3810, 5.2).
const (
	icmp6Query   = 130
	icmp6Report  = 131
	icmp6Done    = 132
	icmp6Report2 = 143
	mldLen       = 24
	mldQuery2    = 28 // without sources
)

// Record types (RFC 3376, 4.2.12; RFC 3810, 5.2.12).
const (
	recordIsInclude = 1 + iota
	recordIsExclude
	recordToInclude
	recordToExclude
	recordAllow
	recordBlock
)

// An ipFamily is 0 for IPv4 and 1 for IPv6: an index.
type ipFamily uint8

const (
	ip4Family ipFamily = iota
	ip6Family
	ipFamilies
)

// A groupVerb is what a message, or a record of one, says about a group.
type groupVerb uint8

const (
	saysNothing groupVerb = iota
	saysJoin
	saysLeave
	saysMany // a report of records
	asks     // a query
	malformed
)

// A groupMessage is an IGMP or MLD message in place.
//
// borrowed: records are the frame's bytes.
type groupMessage struct {
	verb    groupVerb
	family  ipFamily
	group   groupKey // of a join, a leave, a query for one group
	general bool     // a query for all groups
	from    [16]byte // sender of a query; IPv4 in the first four bytes
	respond uint32   // seconds a query gives to answer, rounded up
	records groupRecords
}

// read finds a message in f, which has been parsed. Everything else, what is
// unknown, and fragments say nothing.
func (m *groupMessage) read(f *frame.Frame) {
	*m = groupMessage{}
	v := &f.View
	switch {
	case v.Fragment:
	case v.EtherType == frame.EtherIPv4 && v.Proto == protoIGMP:
		m.read4(f.Bytes()[v.L3:])
	case v.EtherType == frame.EtherIPv6 && v.Proto == frame.ProtoICMPv6 && v.L4 != 0:
		m.family = ip6Family
		m.read6(f)
	}
}

// read4 reads an IPv4 packet whose header has been parsed. RFC 4541, 2.1.1 (5):
// nothing is taken from one with a wrong checksum.
func (m *groupMessage) read4(ip []byte) {
	ihl := int(ip[0]&15) * 4
	p := ip[ihl:binary.BigEndian.Uint16(ip[2:])]
	if len(p) < igmpLen {
		m.verb = malformed
		return
	}
	switch p[0] {
	case igmpQuery, igmpReport1, igmpReport2, igmpLeave, igmpReport3:
	default:
		return
	}
	if frame.Checksum(ip[:ihl], 0) != 0 || frame.Checksum(p, 0) != 0 {
		m.verb = malformed
		return
	}
	switch p[0] {
	case igmpQuery:
		m.verb = asks
		copy(m.from[:], ip[12:16])
		m.respond = respond4(p)
		if len(p) != igmpLen && (len(p) < igmpQuery3 || igmpQuery3+4*int(binary.BigEndian.Uint16(p[10:])) > len(p)) {
			m.verb = malformed // RFC 3376, 7.1
		}
		m.aim(groupKey4(p[4:]))
	case igmpReport1, igmpReport2:
		m.say(saysJoin, groupKey4(p[4:]))
	case igmpLeave:
		m.say(saysLeave, groupKey4(p[4:]))
	case igmpReport3:
		m.list(p)
	}
}

// respond4 returns the seconds a query gives: 10 in version 1 (RFC 2236, 4),
// else a number of tenths, of which version 3 writes the larger ones as floating
// point (RFC 3376, 4.1.1).
func respond4(p []byte) uint32 {
	tenths := uint32(p[1])
	switch {
	case tenths == 0 && len(p) == igmpLen:
		return 10
	case tenths >= 128 && len(p) > igmpLen:
		tenths = (tenths&15 | 16) << (tenths>>4&7 + 3)
	}
	return (tenths + 9) / 10
}

// read6 reads an ICMPv6 message. RFC 3810, 6.2 and 7.4: it is dropped unless it
// comes from a link-local address (a report perhaps from none, 5.2.13), with hop
// limit 1 and a router alert.
func (m *groupMessage) read6(f *frame.Frame) {
	ip, p := f.Bytes()[f.View.L3:], f.Bytes()[f.View.L4:][:f.L4Len()]
	kind := p[0]
	switch kind {
	case icmp6Query, icmp6Report, icmp6Done, icmp6Report2:
	default:
		return
	}
	copy(m.from[:], ip[8:24])
	nobody := kind != icmp6Query && m.from == [16]byte{}
	least := mldLen
	if kind == icmp6Report2 {
		least = 8
	}
	if len(p) < least || ip[7] != 1 || !alertsRouters(ip) || !nobody && (m.from[0] != 0xfe || m.from[1]&0xc0 != 0x80) || !sumOK6(f, p) {
		m.verb = malformed
		return
	}
	switch kind {
	case icmp6Query:
		m.verb = asks
		m.respond = respond6(p)
		if len(p) != mldLen && (len(p) < mldQuery2 || mldQuery2+16*int(binary.BigEndian.Uint16(p[26:])) > len(p)) {
			m.verb = malformed // RFC 3810, 8.1
		}
		m.aim(groupKey6(p[8:]))
	case icmp6Report:
		m.say(saysJoin, groupKey6(p[8:]))
	case icmp6Done:
		m.say(saysLeave, groupKey6(p[8:]))
	case icmp6Report2:
		m.list(p)
	}
}

// respond6 returns the seconds an MLD query gives (RFC 2710, 3.4; RFC 3810,
// 5.1.3).
func respond6(p []byte) uint32 {
	ms := uint32(binary.BigEndian.Uint16(p[4:]))
	if ms >= 32768 && len(p) > mldLen {
		ms = (ms&0xfff | 0x1000) << (ms>>12&7 + 3)
	}
	return (ms + 999) / 1000
}

// sumOK6 verifies the checksum unless the sender, a local kernel, left it undone.
func sumOK6(f *frame.Frame, p []byte) bool {
	if f.Offload.Flags&frame.NeedsCsum != 0 {
		return f.Offload.CsumStart == f.View.L4 && f.Offload.CsumOffset == 2 && f.Offload.GSO == frame.GSONone
	}
	return frame.Checksum(p, f.PseudoSum(len(p))) == 0
}

// alertsRouters reports whether the IPv6 header at ip is followed by hop-by-hop
// options with a router alert for MLD (RFC 2711, 2.1). Their length has been
// checked when the frame was parsed.
func alertsRouters(ip []byte) bool {
	if ip[6] != 0 {
		return false
	}
	options := ip[42 : 40+(int(ip[41])+1)*8]
	for len(options) >= 2 {
		if options[0] == 0 { // Pad1
			options = options[1:]
			continue
		}
		n := 2 + int(options[1])
		if n > len(options) {
			return false
		}
		if options[0] == 5 && n == 4 && options[2] == 0 && options[3] == 0 {
			return true
		}
		options = options[n:]
	}
	return false
}

// aim sets whom a query asks about; of the well-formed ones that is a group, or
// every group when it says none.
func (m *groupMessage) aim(group groupKey) {
	m.group, m.general = group, group.unspecified()
	if !m.general && !group.multicast() {
		m.verb = malformed
	}
}

func (m *groupMessage) say(v groupVerb, group groupKey) {
	m.verb, m.group = v, group
	if !group.multicast() {
		m.verb = malformed
	}
}

// list sets the records of a report, if every one of them fits.
func (m *groupMessage) list(p []byte) {
	m.verb = saysMany
	m.records = groupRecords{family: m.family, left: int(binary.BigEndian.Uint16(p[6:])), bytes: p[8:]}
	for r := m.records; r.left > 0; {
		if _, _, ok := r.next(); !ok {
			m.verb = malformed
			return
		}
	}
}

// groupRecords are the records of a report not yet looked at.
type groupRecords struct {
	family ipFamily
	left   int
	bytes  []byte
}

// next takes off the first record. ok is false when there is none or it does not
// fit.
func (r *groupRecords) next() (group groupKey, verb groupVerb, ok bool) {
	size := 4
	if r.family == ip6Family {
		size = 16
	}
	b := r.bytes
	if r.left == 0 || len(b) < 4+size {
		return groupKey{}, saysNothing, false
	}
	sources := int(binary.BigEndian.Uint16(b[2:]))
	n := 4 + size + sources*size + 4*int(b[1])
	if n > len(b) {
		return groupKey{}, saysNothing, false
	}
	if r.family == ip6Family {
		group = groupKey6(b[4:])
	} else {
		group = groupKey4(b[4:])
	}
	r.left--
	r.bytes = b[n:]
	if group.multicast() {
		verb = recordVerb(b[0], sources)
	}
	return group, verb, true
}

// recordVerb is what a record means where sources are not told apart: whoever
// listens to some source listens to the group. Who blocks sources may listen to
// others still; if not, ageing finds out.
func recordVerb(kind byte, sources int) groupVerb {
	switch kind {
	case recordIsExclude, recordToExclude:
		return saysJoin
	case recordIsInclude, recordAllow:
		if sources > 0 {
			return saysJoin
		}
	case recordToInclude:
		if sources > 0 {
			return saysJoin
		}
		return saysLeave
	}
	return saysNothing
}
