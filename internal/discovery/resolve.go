package discovery

import (
	"math/rand/v2"
	"net"
	"strings"

	"github.com/miekg/dns"
)

// maxChain is how many CNAME records are followed.
const maxChain = 8

// maxServices is how many SRV records an answer has at most: more do not fit a message
// with their addresses.
const maxServices = 1024

// An answer is what there is to say to one question from the records.
type answer struct {
	rcode   int
	rrs     []dns.RR
	extra   []dns.RR
	known   bool   // the name is ours
	forward string // what is left to be asked elsewhere, as a name with its last dot; empty: nothing
}

// resolve answers a question of any type from the records. The question's name is used
// as it was asked, in its own upper and lower case.
func (v *View) resolve(s *viewState, qname string, qtype uint16) answer {
	var a answer
	for asked := qname; len(a.rrs) <= maxChain; {
		name, ok := normalize(asked)
		if !ok {
			a.forward = asked
			return a
		}
		target := a.step(v, s, asked, name, qtype)
		if target == "" {
			return a
		}
		asked = target
	}
	v.table.stats.count(Loops)
	return answer{rcode: dns.RcodeServerFailure, known: true}
}

// step answers for one name and returns the name it is an alias of, if it is one.
func (a *answer) step(v *View, s *viewState, asked, name string, qtype uint16) (target string) {
	var buf [8]match
	of := v.matches(s, []byte(name), buf[:0])
	for _, m := range of {
		if m.cname != nil && len(m.addrs(qtype)) == 0 {
			a.known = true
			a.rrs = append(a.rrs, m.in.named(m.cname, asked, m.entry))
			if qtype == dns.TypeCNAME {
				return ""
			}
			return m.cname.Target
		}
		if len(m.addrs(qtype)) > 0 || m.host && !isAddress(qtype) {
			break
		}
	}
	host, n := false, len(a.rrs)
	for _, m := range of {
		host = host || m.host
	}
	switch {
	case isAddress(qtype):
		for _, m := range s.addresses(of, qtype) {
			a.rrs = m.addressRRs(a.rrs, asked, qtype)
		}
	case qtype == dns.TypeMX: // so that mail goes to the address (RFC 5321, 5.1)
	default:
		a.records(of, asked, qtype)
		switch {
		case len(a.rrs) > n:
		case qtype == dns.TypePTR:
			a.pointer(v, s, asked, name)
		case qtype == dns.TypeSRV:
			a.service(v, s, asked, name)
		}
		host = false // what Docker has no records of is asked of others
	}
	switch {
	case len(a.rrs) > n, a.rcode != dns.RcodeSuccess, host:
		a.known = true
	case len(of) > 0 && s.forward == nil:
		a.known = true
	default:
		a.forward = dns.Fqdn(asked)
	}
	return ""
}

// records appends the static records of a type, of the first network that has any.
func (a *answer) records(of []match, asked string, qtype uint16) {
	for _, m := range of {
		for _, rr := range m.rrs {
			if rr.Header().Rrtype == qtype {
				a.rrs = append(a.rrs, m.in.named(rr, asked, m.entry))
			}
		}
		if len(a.rrs) > 0 && a.rrs[len(a.rrs)-1].Header().Rrtype == qtype {
			return
		}
	}
}

// named returns a static record as the answer to a name.
func (r *records) named(rr dns.RR, asked string, e *entry) dns.RR {
	rr = dns.Copy(rr)
	rr.Header().Name, rr.Header().Ttl = dns.Fqdn(asked), r.ttlOf(e)
	return rr
}

// pointer answers who has an address, on the first of the client's networks where
// somebody has it: NAME.NETWORK.
func (a *answer) pointer(v *View, s *viewState, asked, name string) {
	addr, ok := reverseAddr(name)
	if !ok {
		return
	}
	nets := v.table.nets.Load()
	for i := range s.Networks {
		z := nets.byID[s.Networks[i].Network]
		if z == nil {
			continue
		}
		r := z.snap.Load()
		if p, ok := r.reverse.get(addrKey(addr)); ok {
			h := header(asked, dns.TypePTR, r.ttl)
			a.rrs = append(a.rrs, &dns.PTR{Hdr: h, Ptr: r.qualified(p.claims[0].owner)})
			return
		}
	}
}

// service answers _PORT._PROTOCOL.NAME with one record for each that listens there and
// is in rotation, and adds their addresses (RFC 2782). The port of a name of ours where
// nobody listens does not exist.
func (a *answer) service(v *View, s *viewState, asked, name string) {
	port, protocol, rest, ok := serviceName(name)
	if !ok {
		return
	}
	var buf [8]match
	of := v.matches(s, []byte(rest), buf[:0])
	for _, m := range of {
		seen := map[dns.SRV]bool{}
		for i := range m.claims {
			c := &m.claims[i]
			if !c.in {
				continue
			}
			for p := range c.listens() {
				srv := dns.SRV{Hdr: header(asked, dns.TypeSRV, m.in.ttl), Port: p.Number, Target: m.in.qualified(c.owner)}
				if p.Protocol == protocol && p.is(port) && !seen[srv] && len(seen) < maxServices {
					seen[srv] = true
					a.rrs = append(a.rrs, &srv)
					a.extra = c.addressRRs(a.extra, srv.Target, m.in.ttl)
				}
			}
		}
		if len(seen) > 0 {
			return
		}
	}
	for _, m := range of {
		if m.host {
			a.rcode = dns.RcodeNameError
		}
	}
}

// addressRRs appends the addresses of a match in random order.
func (m match) addressRRs(to []dns.RR, asked string, qtype uint16) []dns.RR {
	from, row, size := len(to), m.addrs(qtype), 4
	if qtype == dns.TypeAAAA {
		size = 16
	}
	for ; len(row) > 0; row = row[size:] {
		to = append(to, addressRR(dns.Fqdn(asked), net.IP(row[:size:size]), m.in.ttlOf(m.entry)))
	}
	rand.Shuffle(len(to)-from, func(i, j int) { to[from+i], to[from+j] = to[from+j], to[from+i] })
	return to
}

// addressRRs appends the addresses of a claim's owner.
func (c *claim) addressRRs(to []dns.RR, name string, ttl uint32) []dns.RR {
	for _, a := range c.addrs {
		to = append(to, addressRR(name, a.AsSlice(), ttl))
	}
	return to
}

func addressRR(name string, ip net.IP, ttl uint32) dns.RR {
	if len(ip) == 4 {
		return &dns.A{Hdr: header(name, dns.TypeA, ttl), A: ip}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA, ttl), AAAA: ip}
}

func header(name string, kind uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: dns.Fqdn(name), Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// singleLabel reports whether a name has no dot but the last.
func singleLabel(qname string) bool {
	return !strings.Contains(strings.TrimSuffix(qname, "."), ".")
}
