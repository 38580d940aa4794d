package discovery

import (
	"context"
	"encoding/binary"

	"github.com/miekg/dns"
)

// A verdict is what becomes of a query.
type verdict uint8

const (
	drop    verdict = iota // no answer
	send                   // the answer is there
	forward                // the question is to be answered
)

// maxQuery is the longest query in bytes: a question and an OPT record with all options
// that anybody sends are shorter by far.
const maxQuery = 4096

// A pending query is one that others are asked for.
type pending struct {
	query, answer *dns.Msg
	prefix        []dns.RR // CNAME records that lead to what is asked
	name          string   // what is asked
	to            *Forwarder
}

// finish completes the answer with what others say.
func (p *pending) finish(ctx context.Context) *dns.Msg {
	m := p.answer
	got, err := p.to.ask(ctx, p.query, p.name)
	if err != nil || got.Rcode > 15 && m.IsEdns0() == nil {
		m.Rcode = dns.RcodeServerFailure
		return m
	}
	m.Rcode, m.Truncated = got.Rcode, got.Truncated
	m.Answer, m.Ns = append(p.prefix, got.Answer...), got.Ns
	if o := p.query.IsEdns0(); p.query.AuthenticatedData || o != nil && o.Do() { // RFC 6840, 5.8
		m.AuthenticatedData = got.AuthenticatedData && len(p.prefix) == 0
	}
	return m
}

// check reads a query that did not take the short way. What is wrong with it is
// answered at once, in the order of RFC 1035, 4.1.1, and RFC 6891, 6.1.3; with verdict
// forward it is a proper question, and the answer to it is begun. Nothing is sent for
// what has no header or is an answer itself.
func check(msg []byte, stats *Stats) (does verdict, q, m *dns.Msg) {
	if len(msg) < headerLen {
		stats.count(Malformed)
		return drop, nil, nil
	}
	if msg[2]&flagQR != 0 {
		stats.count(Dropped) // or two servers could be set to answer each other for ever
		return drop, nil, nil
	}
	if op := msg[2] >> 3 & 15; op != dns.OpcodeQuery {
		stats.count(NotImplemented)
		return send, nil, bare(msg, dns.RcodeNotImplemented)
	}
	q = new(dns.Msg)
	if len(msg) > maxQuery || binary.BigEndian.Uint16(msg[4:]) != 1 || binary.BigEndian.Uint16(msg[6:]) > 0 || q.Unpack(msg) != nil ||
		len(q.Question) != 1 || countOPT(q) > 1 {
		stats.count(Malformed)
		return send, nil, bare(msg, dns.RcodeFormatError)
	}
	m = answerTo(q)
	if o := q.IsEdns0(); o != nil && o.Version() != 0 {
		m.Rcode = dns.RcodeBadVers
		return send, q, m
	}
	switch qu := q.Question[0]; {
	case qu.Qclass != dns.ClassINET:
		return send, q, refuse(m, stats)
	case qu.Qtype == dns.TypeANY:
		m.Answer = []dns.RR{minimal(qu.Name)}
		return send, q, m
	case qu.Qtype == dns.TypeAXFR, qu.Qtype == dns.TypeIXFR:
	case qu.Qtype >= 128 && qu.Qtype < 255, qu.Qtype == dns.TypeOPT, qu.Qtype == 0: // of questions and meta types (RFC 6895, 3.1)
		return send, q, refuse(m, stats)
	}
	return forward, q, m
}

func refuse(m *dns.Msg, stats *Stats) *dns.Msg {
	stats.count(Refused)
	m.Rcode = dns.RcodeRefused
	return m
}

// local puts what the records have into the answer. With a pending query others are to
// be asked.
func (v *View) local(q, m *dns.Msg, stats *Stats) *pending {
	s := v.state.Load()
	qu := q.Question[0]
	if qu.Qtype == dns.TypeAXFR || qu.Qtype == dns.TypeIXFR {
		refuse(m, stats)
		return nil
	}
	a := v.resolve(s, qu.Name, qu.Qtype)
	switch {
	case a.forward == "":
		m.Authoritative = true
		m.Rcode, m.Answer = a.rcode, a.rrs
		m.Extra = append(a.extra, m.Extra...)
		if len(a.rrs) > 0 {
			stats.count(AnsweredLocal)
		} else {
			stats.count(AnsweredEmpty)
		}
		return nil
	case s.Ndots && isAddress(qu.Qtype) && singleLabel(a.forward):
		m.Answer = a.rrs
		stats.count(AnsweredEmpty)
		return nil
	case s.forward == nil:
		stats.count(NotForwarded)
		m.Rcode = dns.RcodeServerFailure // as Docker, for what it may not forward
		return nil
	}
	return &pending{query: q, answer: m, prefix: a.rrs, name: a.forward, to: s.forward}
}

// minimal is the answer to ANY: one record that says why it is all (RFC 8482, 4.2).
func minimal(name string) dns.RR {
	return &dns.HINFO{Hdr: header(name, dns.TypeHINFO, 3789), Cpu: "RFC8482"}
}

// bare is an answer that has only a header, for a query of which the rest is not
// understood.
func bare(msg []byte, rcode int) *dns.Msg {
	m := new(dns.Msg)
	m.Id, m.Response, m.Rcode = binary.BigEndian.Uint16(msg), true, rcode
	m.Opcode = int(msg[2] >> 3 & 15)
	m.RecursionDesired = msg[2]&flagRD != 0
	m.RecursionAvailable = true
	return m
}

// answerTo begins the answer to a query: the same question, and an OPT record if it has
// one (RFC 6891, 6.1.1).
func answerTo(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	m.Compress = true
	if o := q.IsEdns0(); o != nil {
		m.SetEdns0(maxUDP, o.Do())
	}
	return m
}

func countOPT(q *dns.Msg) (n int) {
	for _, rr := range q.Extra {
		if rr.Header().Rrtype == dns.TypeOPT {
			n++
		}
	}
	return n
}

// udpSize is how many bytes the client of a query takes in a datagram.
func udpSize(m *dns.Msg) int {
	if o := m.IsEdns0(); o != nil {
		return min(max(int(o.UDPSize()), minUDP), maxUDP)
	}
	return minUDP
}

// pack writes an answer of at most limit bytes; what does not fit is left out, and TC
// says so. An answer that cannot be written at all becomes SERVFAIL.
func pack(m *dns.Msg, out []byte, limit int, stats *Stats) []byte {
	m.Truncate(limit)
	if m.Truncated {
		stats.count(Truncated)
	}
	if b, err := m.PackBuffer(out[:cap(out)]); err == nil && len(b) <= limit {
		return b
	}
	stats.count(Failed)
	f := new(dns.Msg)
	f.Id, f.Response, f.Opcode, f.Rcode, f.Question = m.Id, true, m.Opcode, dns.RcodeServerFailure, m.Question
	b, err := f.PackBuffer(out[:cap(out)])
	if err != nil {
		return nil
	}
	return b
}
