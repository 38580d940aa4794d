package discovery

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// fuzzTable is a table with a bit of everything.
func fuzzTable(f *testing.F) (*View, *Zone) {
	tb := world(f)
	many(f, tb, "front", 300)
	update(f, tb, Static{Network: "front", Name: "www", Type: "CNAME", Values: []string{"rose"}}, Static{Name: "*.wild", Type: "TXT", Values: []string{"x\x00y"}},
		Static{Name: "l1", Type: "CNAME", Values: []string{"l2"}}, Static{Name: "l2", Type: "CNAME", Values: []string{"l1"}})
	fw := NewForwarder(ForwarderConfig{})
	m := new(dns.Msg).SetReply(ask("cached.", dns.TypeA))
	m.Answer = []dns.RR{record("cached. 3600 IN CNAME other."), record("other. 3600 IN A 192.0.2.1")}
	fw.cache.now = func() time.Time { return time.Unix(1000, 0) }
	key, _ := questionKey(ask("cached.", dns.TypeA), "cached.")
	fw.cache.store(key, m)
	z, err := NewZone(tb, "weft", func(netip.Addr) bool { return true })
	if err != nil {
		f.Fatal(err)
	}
	return tb.NewView(ViewConfig{Networks: on("front", "back"), Forwarder: fw}), z
}

// FuzzQuery gives a server bytes. What it says is an answer to them that another
// library can read, no longer than the client takes, and the same by the short way and
// the long.
func FuzzQuery(f *testing.F) {
	v, z := fuzzTable(f)
	for _, name := range []string{"rose.", "ROSE.front.", "web.", "www.", "l1.", "m300.", "a.wild.", "_80._tcp.rose.", "2.1.0.10.in-addr.arpa.", "cached.", "rose.front.weft.", "weft.", "nobody."} {
		for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeANY, dns.TypeAXFR, dns.TypeSOA} {
			m := ask(name, kind)
			f.Add(packed(f, m), false)
			m.SetEdns0(1400, true)
			f.Add(packed(f, m), true)
		}
	}
	f.Add([]byte{0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}, true)
	plainServer, zoneServer := NewServer(ServerConfig{View: v.ForAll}), NewServer(ServerConfig{View: v.ForAll, Zone: z})
	f.Fuzz(func(t *testing.T, msg []byte, stream bool) {
		tn := turn{out: make([]byte, maxUDP)}
		a, p := plainServer.respond(&tn, v, netip.Addr{}, msg, stream)
		check1(t, msg, a, p, stream)
		a = append([]byte(nil), a...)
		// A server with a zone goes the long way.
		b, p2 := zoneServer.respond(&turn{out: make([]byte, maxUDP)}, v, netip.Addr{}, msg, stream)
		check1(t, msg, b, p2, stream)
		q := new(dns.Msg)
		if q.Unpack(msg) != nil || len(q.Question) != 1 || dns.IsSubDomain("weft.", q.Question[0].Name) || p != nil {
			return
		}
		if p2 != nil { // the long way would ask the cache in a goroutine
			if q.Question[0].Qtype != dns.TypeA || len(a) == 0 {
				t.Fatalf("% x: only the short way has an answer", msg)
			}
			return
		}
		ma, mb := new(dns.Msg), new(dns.Msg)
		if len(a) == 0 && len(b) == 0 {
			return
		}
		if ma.Unpack(a) != nil || mb.Unpack(b) != nil {
			t.Fatal("not to be read")
		}
		if ma.Truncated && mb.Truncated && len(ma.Answer) == len(mb.Answer) {
			ma.Answer, mb.Answer = nil, nil
		}
		if x, y := canon(ma), canon(mb); x != y {
			t.Fatalf("% x: the short way\n%s\nthe long way\n%s", msg, x, y)
		}
	})
}

func check1(t *testing.T, msg, a []byte, p *pending, stream bool) {
	t.Helper()
	if p != nil {
		if a != nil || len(p.query.Question) != 1 || !dns.IsFqdn(p.name) {
			t.Fatalf("pending %v with answer % x", p, a)
		}
		return
	}
	if a == nil {
		return
	}
	q, limit := new(dns.Msg), minUDP
	if q.Unpack(msg) == nil {
		limit = udpSize(q)
	}
	if stream {
		limit = maxTCP
	}
	m := new(dns.Msg)
	if err := m.Unpack(a); err != nil || !m.Response || m.Id != binary.BigEndian.Uint16(msg) || len(a) > limit || msg[2]&flagQR != 0 {
		t.Fatalf("% x answered with % x: %v, limit %d", msg, a, err, limit)
	}
	if len(m.Question) == 1 && (len(q.Question) != 1 || m.Question[0] != q.Question[0]) {
		t.Fatalf("another question: %v for %v", m.Question, q.Question)
	}
}

// FuzzServerAnswer gives a forwarder bytes that a server sent. What is left of them is
// about the question, and comes out of the cache as it went in.
func FuzzServerAnswer(f *testing.F) {
	q := ask("x.example.", dns.TypeA)
	q.Id = 7
	for _, rrs := range [][]string{{"x.example. 60 IN A 192.0.2.1"}, {"x.example. 60 IN CNAME y.", "y. 5 IN CNAME x.example."}, {"example. 60 IN DNAME other.", "bad. 1 IN A 192.0.2.9"}} {
		m := new(dns.Msg).SetReply(q)
		for _, s := range rrs {
			m.Answer = append(m.Answer, record(s))
		}
		m.Ns = append(m.Ns, record("example. 60 IN SOA a. b. 1 2 3 4 5"), record("evil. 60 IN NS x."))
		m.SetEdns0(1232, true)
		f.Add(packed(f, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := matching(q, b)
		if m == nil {
			return
		}
		sanitize(m)
		for _, rr := range m.Answer {
			if n := rr.Header().Name; n == "bad." || rr.Header().Class != dns.ClassINET {
				t.Fatalf("believed: %v", rr)
			}
		}
		if len(m.Extra) > 0 {
			t.Fatalf("believed: %v", m.Extra)
		}
		c := newCache(1<<20, &Stats{})
		c.store("k", m)
		got := c.message("k")
		if got == nil {
			return
		}
		want := new(dns.Msg)
		m.Id, m.Compress = 0, true
		if wire, err := m.Pack(); err != nil || want.Unpack(wire) != nil {
			t.Fatal(err)
		}
		if canon(got) != canon(want) {
			t.Fatalf("kept\n%s\nwas\n%s", got, want)
		}
	})
}

// FuzzName reads names from text and wire: what is one comes back as itself.
func FuzzName(f *testing.F) {
	for _, s := range []string{"rose", "Web.Front.", "*.apps", "*", "a..b", ".", "2.1.0.10.in-addr.arpa", "-", "a b", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := normalize(s)
		if !ok {
			return
		}
		wire := make([]byte, 300)
		end, err := dns.PackDomainName(dns.Fqdn(s), wire, 0, nil, false)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		var buf [maxName + 2]byte
		got, at, ok := wireName(buf[:0], wire[:end], 0)
		if !ok || at != end || string(got) != n {
			t.Fatalf("%q is %q, on the wire %q, %v", s, n, got, ok)
		}
		if a, ok := reverseAddr(n); ok && reverseName(a) != n {
			t.Fatalf("%q is %v, which is %q", n, a, reverseName(a))
		}
	})
}
