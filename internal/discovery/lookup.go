package discovery

import (
	"context"
	"strings"

	"github.com/miekg/dns"
)

// A Reply is the answer to a Query, as shown to people.
type Reply struct {
	Rcode   string   // NOERROR, NXDOMAIN, SERVFAIL, REFUSED, …
	Local   bool     // from the records, not from others
	Records []string // as in a zone file: name, TTL in seconds, class, type, value
}

// Query answers a question as the view's client is answered, over no socket. The kind
// is a record type's name, A where it is empty.
func (v *View) Query(ctx context.Context, name, kind string) (Reply, error) {
	qtype := dns.TypeA
	if kind != "" {
		known := false
		if qtype, known = dns.StringToType[strings.ToUpper(kind)]; !known {
			return Reply{}, invalid("type %q is not known", kind)
		}
	}
	if _, ok := dns.IsDomainName(name); !ok {
		return Reply{}, invalid("%q is no name", name)
	}
	msg, err := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype).Pack()
	if err != nil {
		return Reply{}, invalid("%q: %v", name, err)
	}
	does, q, m := check(msg, v.table.stats)
	if does == forward {
		if p := v.local(q, m, v.table.stats); p != nil {
			if !p.to.acquire() {
				return Reply{Rcode: dns.RcodeToString[dns.RcodeRefused]}, nil
			}
			defer p.to.release()
			m = p.finish(ctx)
		}
	}
	r := Reply{Rcode: dns.RcodeToString[m.Rcode], Local: m.Authoritative}
	for _, rr := range m.Answer {
		r.Records = append(r.Records, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	return r, nil
}
