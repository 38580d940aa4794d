package discovery

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/miekg/dns"
)

// A query as nearly all are: a header (RFC 1035, 4.1.1), one question without
// compression, and behind it nothing or one OPT record (RFC 6891, 6.1.2):
//
//	0     2       4         6         8         10        12
//	+-----+-------+---------+---------+---------+---------+--------------------------+
//	| ID  | flags | QD = 1  | AN = 0  | NS = 0  | AR ≤ 1  | name, type, class        |
//	+-----+-------+---------+---------+---------+---------+--------------------------+
//	| 0   | 41    | size    | 0, version, DO    | length  | options                  |
//	+-----+-------+---------+-------------------+---------+--------------------------+
//
// Those for addresses that the records have are answered here, in place and without an
// allocation. All else takes the way through the library (query.go), which gives the
// same answers: a test holds one against the other.
const (
	headerLen = 12
	optLen    = 11 // an OPT record without options
	recordLen = 12 // a record before its data, with a pointer for a name

	flagQR = 1 << 7 // in the first byte of the flags
	flagAA = 1 << 2
	flagTC = 1 << 1
	flagRD = 1 << 0
	flagRA = 1 << 7 // in the second
	flagAD = 1 << 5
	flagCD = 1 << 4

	doBit = 1 << 7 // in the third byte of an OPT record's TTL
)

// Sizes of messages in bytes.
const (
	minUDP = 512  // what everybody takes (RFC 1035, 4.2.1)
	maxUDP = 4096 // what is sent at most, whatever is asked for
	maxTCP = 65535
)

// A question is what was read of a query; its name is in the buffer it was given.
type question struct {
	name  []byte
	end   int // offset behind the question
	qtype uint16
	edns  bool
	size  int // what the client takes over UDP
	do    bool
}

// parse reads a query of the form above. With ok false it is of another one.
func (q *question) parse(msg []byte, buf []byte) (ok bool) {
	if len(msg) < headerLen || msg[2]&0xf8 != 0 ||
		binary.BigEndian.Uint32(msg[4:]) != 1<<16 || binary.BigEndian.Uint16(msg[8:]) != 0 || msg[10] != 0 || msg[11] > 1 {
		return false
	}
	name, end, ok := wireName(buf[:0], msg, headerLen)
	if !ok || end+4 > len(msg) || binary.BigEndian.Uint16(msg[end+2:]) != dns.ClassINET {
		return false
	}
	q.name, q.qtype, q.size = name, binary.BigEndian.Uint16(msg[end:]), minUDP
	q.end, q.edns, q.do = end+4, false, false
	if msg[11] == 0 {
		return q.end == len(msg)
	}
	return q.parseOPT(msg[q.end:])
}

func (q *question) parseOPT(b []byte) bool {
	if len(b) < optLen || b[0] != 0 || binary.BigEndian.Uint16(b[1:]) != dns.TypeOPT || b[5] != 0 || b[6] != 0 {
		return false // another version is answered with BADVERS
	}
	if int(binary.BigEndian.Uint16(b[9:])) != len(b)-optLen {
		return false
	}
	if len(b) > optLen {
		return false // options have forms of their own
	}
	q.edns, q.do = true, b[7]&doBit != 0
	q.size = min(max(int(binary.BigEndian.Uint16(b[3:])), minUDP), maxUDP)
	return true
}

// answer writes the answer to a question for addresses into out, from the records or a
// forwarder's cache, and returns its length; 0 means that it is not to be had here. A
// datagram into which not all addresses fit has as many as do, and TC.
func (v *View) answer(msg, out []byte, q *question, stream bool) int {
	s := v.state.Load()
	limit := q.size
	if stream {
		limit = len(out)
	}
	var buf [8]match
	of := v.matches(s, q.name, buf[:0])
	if len(of) == 0 {
		if s.forward == nil || s.Ndots {
			return 0
		}
		return s.forward.answer(msg, out, q, limit)
	}
	got := s.addresses(of, q.qtype)
	switch {
	case len(got) > 1 || len(got) == 1 && len(got[0].addrs(q.qtype)) == 0: // merged, or an alias
		return 0
	case len(got) == 0:
		return v.empty(msg, out, q, of)
	}
	n := reply(msg, out, q)
	m, room := got[0], limit-n
	if q.edns {
		room -= optLen
	}
	row, size := m.addrs(q.qtype), 4
	if q.qtype == dns.TypeAAAA {
		size = 16
	}
	count := len(row) / size
	if each := recordLen + size; count*each > room {
		if stream {
			return 0
		}
		count = room / each
		out[2] |= flagTC
		v.table.stats.count(Truncated)
	}
	binary.BigEndian.PutUint16(out[6:], uint16(count))
	n = putAddresses(out, n, row, size, count, q.qtype, m.in.ttlOf(m.entry))
	if q.edns {
		n = putOPT(out, n, q.do)
	}
	v.table.stats.count(AnsweredLocal)
	return n
}

// empty writes the answer for a name that has no address of the family: no error and no
// records, so that nobody asks others for it.
func (v *View) empty(msg, out []byte, q *question, of []match) int {
	host := false
	for _, m := range of {
		host = host || m.host
	}
	if !host {
		return 0
	}
	n := reply(msg, out, q)
	if q.edns {
		n = putOPT(out, n, q.do)
	}
	v.table.stats.count(AnsweredEmpty)
	return n
}

// reply writes header and question of an answer.
func reply(msg, out []byte, q *question) int {
	n := copy(out, msg[:q.end])
	out[2] = flagQR | flagAA | msg[2]&flagRD
	out[3] = flagRA | msg[3]&flagCD
	clear(out[6:headerLen])
	if q.edns {
		out[11] = 1
	}
	return n
}

// putAddresses writes count records of the row in random order, from a random place on
// where not all of them fit.
func putAddresses(out []byte, n int, row []byte, size, count int, qtype uint16, ttl uint32) int {
	if count == 0 {
		return n
	}
	start, each, total := n, recordLen+size, len(row)/size
	at := 0
	if count < total {
		at = rand.IntN(total)
	}
	for range count {
		b := out[n : n+each]
		b[0], b[1] = 0xc0, headerLen // the question's name (RFC 1035, 4.1.4)
		binary.BigEndian.PutUint16(b[2:], qtype)
		binary.BigEndian.PutUint16(b[4:], dns.ClassINET)
		binary.BigEndian.PutUint32(b[6:], ttl)
		binary.BigEndian.PutUint16(b[10:], uint16(size))
		copy(b[12:], row[at*size:(at+1)*size])
		n += each
		if at++; at == total {
			at = 0
		}
	}
	for i := count - 1; i > 0; i-- {
		j := rand.IntN(i + 1)
		a, b := out[start+i*each+12:][:size], out[start+j*each+12:][:size]
		for k := range a {
			a[k], b[k] = b[k], a[k]
		}
	}
	return n
}

// putOPT writes an OPT record.
func putOPT(out []byte, n int, do bool) int {
	b := out[n : n+optLen]
	clear(b)
	binary.BigEndian.PutUint16(b[1:], dns.TypeOPT)
	binary.BigEndian.PutUint16(b[3:], maxUDP)
	if do {
		b[7] = doBit
	}
	return n + optLen
}
