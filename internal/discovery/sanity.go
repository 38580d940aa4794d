package discovery

import (
	"strings"

	"github.com/miekg/dns"
)

// sanitize leaves in an answer what belongs to its question. A server, or who speaks
// for it, can send records of any name with an answer; a client that believes them has
// been poisoned. Kept are
//
//   - of the answers, the records of the name that was asked for and of the names it is an
//     alias of, by CNAME or DNAME (RFC 1034, 3.6.2; RFC 6672), with their signatures,
//   - of the authorities, what negative answers and DNSSEC need: SOA, NSEC, NSEC3, their
//     signatures (RFC 2308, RFC 4035),
//   - of the rest nothing: the OPT record is between server and forwarder, and glue is for
//     who asks on.
func sanitize(m *dns.Msg) {
	name := m.Question[0].Name
	ours := map[string]bool{strings.ToLower(name): true}
	for range maxRemoteChain {
		before := len(ours)
		for _, rr := range m.Answer {
			switch rr := rr.(type) {
			case *dns.CNAME:
				if ours[strings.ToLower(rr.Hdr.Name)] {
					ours[strings.ToLower(rr.Target)] = true
				}
			case *dns.DNAME:
				above := "." + strings.TrimPrefix(strings.ToLower(rr.Hdr.Name), ".")
				for n := range ours {
					if strings.HasSuffix(n, above) {
						ours[strings.ToLower(rr.Hdr.Name)] = true
						break
					}
				}
			}
		}
		if len(ours) == before {
			break
		}
	}
	m.Answer = keep(m.Answer, func(rr dns.RR) bool { return ours[strings.ToLower(rr.Header().Name)] })
	m.Ns = keep(m.Ns, func(rr dns.RR) bool {
		switch rr.Header().Rrtype {
		case dns.TypeSOA, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeRRSIG:
			return true
		}
		return false
	})
	m.Extra = nil
}

// maxRemoteChain bounds the aliases of one remote answer that are followed in it.
const maxRemoteChain = 16

// keep returns the records of class IN, but for OPT, that a condition holds for.
func keep(of []dns.RR, cond func(dns.RR) bool) []dns.RR {
	var out []dns.RR
	for _, rr := range of {
		h := rr.Header()
		if h.Class == dns.ClassINET && h.Rrtype != dns.TypeOPT && cond(rr) {
			out = append(out, rr)
		}
	}
	return out
}
