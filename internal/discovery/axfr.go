package discovery

import (
	"fmt"
	"iter"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// A Zone gives the records of a table to other name servers, as one zone that they may
// transfer (AXFR, RFC 5936) or ask. Below its origin, "weft." for example, are
//
//	NAME.NETWORK.weft.   A, AAAA, SRV, TXT, CNAME: what is on a network, with tasks.NAME and
//	                     _PORT._PROTOCOL.NAME
//	NAME.weft.           static records of no network
//	weft.                SOA, NS
//
// and of each what is among the answers at the time: nothing that is unhealthy, drains
// or is shadowed. PTR records are of other zones and not in it. The serial number
// follows each change; there is no NOTIFY, and IXFR is answered with the whole zone
// (RFC 1995, 4). There is no TSIG: Allow says who may ask, by address.
type Zone struct {
	origin string // with the last dot, lower case
	view   *View
	allow  func(netip.Addr) bool
}

// NewZone returns the zone of a table's records below an origin.
func NewZone(t *Table, origin string, allow func(netip.Addr) bool) (*Zone, error) {
	name, ok := normalize(origin)
	if !ok {
		return nil, invalid("origin %q is no name", origin)
	}
	v := &View{table: t}
	v.state.Store(&viewState{zone: true})
	return &Zone{name + ".", v, allow}, nil
}

// has reports whether a question is one for the zone. A nil zone has none.
func (z *Zone) has(q *dns.Msg) bool { return z != nil && dns.IsSubDomain(z.origin, q.Question[0].Name) }

// answer answers a question for a name in the zone.
func (z *Zone) answer(q, m *dns.Msg, client netip.Addr, stats *Stats) {
	qu := q.Question[0]
	if !z.allow(client.Unmap()) || qu.Qtype == dns.TypeAXFR || qu.Qtype == dns.TypeIXFR { // transfers come over TCP
		refuse(m, stats)
		return
	}
	m.Authoritative = true
	below := strings.TrimSuffix(qu.Name[:len(qu.Name)-len(z.origin)], ".")
	if below == "" {
		switch qu.Qtype {
		case dns.TypeSOA:
			m.Answer = []dns.RR{z.soa()}
			return
		case dns.TypeNS:
			m.Answer = []dns.RR{z.ns()}
			return
		}
		m.Ns = []dns.RR{z.soa()}
		return
	}
	network := ""
	if key, ok := normalize(below); ok {
		if of := z.view.table.nets.Load().qualified([]byte(key), nil); len(of) > 0 {
			network = of[0].in.network
		}
	}
	a := z.view.resolve(z.view.state.Load(), below, qu.Qtype)
	if m.Rcode = a.rcode; !a.known && len(a.rrs) == 0 {
		m.Rcode = dns.RcodeNameError
	}
	for _, rr := range a.rrs {
		if rr.Header().Name == dns.Fqdn(below) { // what an alias leads to is asked for by its own name
			m.Answer = append(m.Answer, z.move(rr, "", network))
		}
	}
	for _, rr := range a.extra {
		m.Extra = append([]dns.RR{z.move(rr, "", "")}, m.Extra...)
	}
	if len(m.Answer) > 0 {
		stats.count(AnsweredLocal)
		return
	}
	stats.count(AnsweredEmpty)
	m.Ns = []dns.RR{z.soa()}
}

// move moves a record into the zone: its own name, with what is missing of it, and of
// what it points to the names that are in the zone. Network is the one whose clients
// are given the record.
func (z *Zone) move(rr dns.RR, missing, network string) dns.RR {
	rr = dns.Copy(rr)
	h := rr.Header()
	if missing != "" {
		h.Name += strings.ToLower(missing) + "."
	}
	h.Name += z.origin
	switch rr := rr.(type) {
	case *dns.CNAME:
		rr.Target = z.target(rr.Target, network)
	case *dns.SRV:
		rr.Target = z.target(rr.Target, network)
	}
	return rr
}

// target is a name in the zone where there is such a one.
func (z *Zone) target(name, network string) string {
	n, _ := normalize(name)
	nets := z.view.table.nets.Load()
	if network != "" {
		if full := n + "." + strings.ToLower(network); len(nets.qualified([]byte(full), nil)) > 0 {
			return full + "." + z.origin
		}
	}
	if len(nets.qualified([]byte(n), nil)) > 0 {
		return n + "." + z.origin
	}
	return name
}

func (z *Zone) soa() *dns.SOA {
	t := z.view.table
	return &dns.SOA{Hdr: header(z.origin, dns.TypeSOA, t.ttl), Ns: "ns." + z.origin, Mbox: "hostmaster." + z.origin,
		Serial: t.Serial(), Refresh: 30, Retry: 10, Expire: 86400, Minttl: t.ttl}
}

func (z *Zone) ns() *dns.NS {
	return &dns.NS{Hdr: header(z.origin, dns.TypeNS, z.view.table.ttl), Ns: "ns." + z.origin}
}

// records yields the zone's records but SOA and NS, each once.
func (z *Zone) records() iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		last := ""
		seen := map[string]bool{} // values of one name and type
		for r := range z.view.table.Records() {
			if !r.In || r.Type == "PTR" {
				continue
			}
			if key := r.Network + " " + r.Name + " " + r.Type; key != last {
				last = key
				clear(seen)
			}
			rr, err := dns.NewRR(fmt.Sprintf("%s. %d IN %s %s", r.Name, r.TTL, r.Type, r.Value))
			if err != nil || seen[r.Value] {
				continue
			}
			seen[r.Value] = true
			if rr = z.move(rr, r.Network, r.Network); fits(rr) && !yield(rr) {
				return
			}
		}
	}
}

// fits reports whether a record's names are not too long where they are now.
func fits(rr dns.RR) bool {
	_, err := dns.PackRR(rr, make([]byte, maxTCP), 0, nil, false)
	return err == nil
}

// transferBytes is about how long the messages of a transfer are.
const transferBytes = 16 << 10

// transfer answers a query over TCP if it is one for a transfer of the zone, and
// reports whether it was. SOA records are first and last (RFC 5936, 2.2).
func (z *Zone) transfer(s *Server, c *stream, client netip.Addr, msg []byte) bool {
	q := new(dns.Msg)
	if z == nil || len(msg) < headerLen || msg[2]&0xf8 != 0 || q.Unpack(msg) != nil || len(q.Question) != 1 ||
		q.Question[0].Qtype != dns.TypeAXFR && q.Question[0].Qtype != dns.TypeIXFR ||
		!strings.EqualFold(q.Question[0].Name, z.origin) || !z.allow(client) {
		return false
	}
	s.stats.count(Transfers)
	soa := z.soa()
	m := answerTo(q)
	m.Authoritative = true
	m.Answer = []dns.RR{soa, z.ns()}
	if len(q.Ns) == 1 { // IXFR of who may have it all (RFC 1995, 2)
		if has, ok := q.Ns[0].(*dns.SOA); ok && has.Serial == soa.Serial {
			m.Answer = m.Answer[:1]
			if b, err := m.Pack(); err == nil {
				c.send(b)
			}
			return true
		}
	}
	size := 0
	flush := func() bool {
		b, err := m.Pack()
		if err != nil || s.ctx.Err() != nil || c.send(b) != nil {
			c.Close()
			return false
		}
		m.Answer, size = nil, 0
		return true
	}
	for rr := range z.records() {
		if m.Answer, size = append(m.Answer, rr), size+dns.Len(rr); size > transferBytes && !flush() {
			return true
		}
	}
	m.Answer = append(m.Answer, soa)
	flush()
	return true
}
