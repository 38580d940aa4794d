package discovery

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// A staticSet is a Static as it is published.
type staticSet struct {
	kind   uint16 // dns.TypeA and so on
	ttl    uint32
	ownTTL bool     // else the network's counts
	rrs    []dns.RR // but of A and AAAA, without name and TTL; read-only
}

// staticTypes are the types of static records.
var staticTypes = map[string]uint16{
	"A": dns.TypeA, "AAAA": dns.TypeAAAA, "CNAME": dns.TypeCNAME, "TXT": dns.TypeTXT, "SRV": dns.TypeSRV, "PTR": dns.TypePTR,
}

// parseStatic checks static records and returns their owner. Values are
//
//	A, AAAA     an address
//	CNAME, PTR  a name; the PTR record's own name may be written as an address
//	TXT         text, at most 4,096 bytes
//	SRV         PRIORITY WEIGHT PORT TARGET (RFC 2782)
func parseStatic(s Static) (*owner, error) {
	kind := staticTypes[strings.ToUpper(s.Type)]
	if kind == 0 {
		return nil, invalid("type %q, one of A, AAAA, CNAME, TXT, SRV, PTR was expected", s.Type)
	}
	name, ok := normalizeOwner(s.Name)
	if a, err := netip.ParseAddr(s.Name); err == nil && kind == dns.TypePTR {
		name, ok = reverseName(a), true
	}
	switch {
	case !ok:
		return nil, invalid("name %q: labels of 1 to %d letters, digits, - and _ were expected, at most %d characters", s.Name, maxLabel, maxName)
	case len(s.Values) == 0 || len(s.Values) > maxValues:
		return nil, invalid("%s %s has %d values, 1 to %d are possible", s.Type, s.Name, len(s.Values), maxValues)
	case kind == dns.TypeCNAME && len(s.Values) > 1:
		return nil, invalid("CNAME %s has %d values, one is possible (RFC 2181, 10.1)", s.Name, len(s.Values))
	}
	id := dns.TypeToString[kind] + " " + name
	o := &owner{origin: FromStatic, id: id, label: id, names: []string{name}, static: &staticSet{kind: kind, ttl: seconds(s.TTL, 0), ownTTL: s.TTL != 0}}
	for _, v := range s.Values {
		if err := o.parseValue(kind, v); err != nil {
			return nil, err
		}
	}
	if kind == dns.TypeCNAME && o.static.rrs[0].(*dns.CNAME).Target == name+"." {
		return nil, invalid("CNAME %s points to itself", name)
	}
	return o, nil
}

func (o *owner) parseValue(kind uint16, v string) error {
	h := dns.RR_Header{Rrtype: kind, Class: dns.ClassINET}
	target := func(s string) (string, error) {
		t, ok := normalize(s)
		if !ok {
			return "", invalid("%q is no name", s)
		}
		return t + ".", nil
	}
	var rr dns.RR
	var err error
	switch kind {
	case dns.TypeA, dns.TypeAAAA:
		a, perr := netip.ParseAddr(v)
		if a = a.Unmap(); perr != nil || a.Is4() != (kind == dns.TypeA) || a.Zone() != "" {
			return invalid("%q is no address of an %s record", v, dns.TypeToString[kind])
		}
		o.addrs = append(o.addrs, a)
		return nil
	case dns.TypeCNAME:
		c := &dns.CNAME{Hdr: h}
		c.Target, err = target(v)
		rr = c
	case dns.TypePTR:
		p := &dns.PTR{Hdr: h}
		p.Ptr, err = target(v)
		rr = p
	case dns.TypeTXT:
		rr, err = parseText(h, v)
	case dns.TypeSRV:
		f := strings.Fields(v)
		if len(f) != 4 {
			return invalid("SRV value %q, PRIORITY WEIGHT PORT TARGET was expected", v)
		}
		var n [3]uint64
		for i := range n {
			if n[i], err = strconv.ParseUint(f[i], 10, 16); err != nil {
				return invalid("SRV value %q: %q is not a number of 16 bits", v, f[i])
			}
		}
		r := &dns.SRV{Hdr: h, Priority: uint16(n[0]), Weight: uint16(n[1]), Port: uint16(n[2])}
		r.Target, err = target(f[3])
		rr = r
	}
	o.static.rrs = append(o.static.rrs, rr)
	return err
}

// parseText makes a TXT record of text: character strings of at most 255 bytes (RFC
// 1035, 3.3.14). The library writes its strings with escapes; "\" and bytes that are
// not printable are given to it as \DDD.
func parseText(h dns.RR_Header, v string) (dns.RR, error) {
	if len(v) > 4096 {
		return nil, invalid("text of %d bytes, at most 4096 are possible", len(v))
	}
	t := &dns.TXT{Hdr: h}
	for {
		part := v[:min(len(v), 255)]
		var b strings.Builder
		for i := range len(part) {
			if c := part[i]; c == '\\' || c == '"' || c < ' ' || c > '~' {
				b.WriteString("\\" + strconv.Itoa(1000 + int(c))[1:])
			} else {
				b.WriteByte(c)
			}
		}
		t.Txt = append(t.Txt, b.String())
		if v = v[len(part):]; v == "" {
			return t, nil
		}
	}
}
