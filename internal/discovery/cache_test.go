package discovery

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weft/internal/nettest"
)

// TestCacheLife is how long an answer is kept (RFC 2308).
func TestCacheLife(t *testing.T) {
	soa := func(ttl, minimum int) string { return fmt.Sprintf("example. %d IN SOA a. b. 1 2 3 4 %d", ttl, minimum) }
	for _, c := range []struct {
		rule   string
		rcode  int
		answer []string
		ns     []string
		want   time.Duration
	}{
		{"the least TTL", 0, []string{"x.example. 60 IN CNAME y.example.", "y.example. 30 IN A 192.0.2.1"}, nil, 30 * time.Second},
		{"of the authorities too", 0, []string{"x.example. 60 IN A 192.0.2.1"}, []string{soa(10, 99)}, 10 * time.Second},
		{"TTL 0: not at all", 0, []string{"x.example. 0 IN A 192.0.2.1"}, nil, 0},
		{"a TTL with the highest bit is 0 (RFC 2181, 8)", 0, []string{"x.example. 2147483648 IN A 192.0.2.1"}, nil, 0},
		{"an hour at most", 0, []string{"x.example. 86400 IN A 192.0.2.1"}, nil, time.Hour},
		{"NXDOMAIN: the SOA's minimum", dns.RcodeNameError, nil, []string{soa(100, 20)}, 20 * time.Second},
		{"NXDOMAIN: the SOA's TTL", dns.RcodeNameError, nil, []string{soa(15, 20)}, 15 * time.Second},
		{"NXDOMAIN: 5 minutes at most", dns.RcodeNameError, nil, []string{soa(86400, 86400)}, 5 * time.Minute},
		{"NXDOMAIN without SOA: not at all", dns.RcodeNameError, nil, nil, 0},
		{"nothing of the type", 0, nil, []string{soa(100, 7)}, 7 * time.Second},
		{"nothing of the type behind an alias", 0, []string{"x.example. 60 IN CNAME y.example."}, []string{soa(100, 7)}, 7 * time.Second},
		{"nothing of the type without SOA", 0, nil, nil, 0},
		{"SERVFAIL: not at all", dns.RcodeServerFailure, []string{"x.example. 60 IN A 192.0.2.1"}, nil, 0},
	} {
		t.Run(c.rule, func(t *testing.T) {
			m := new(dns.Msg).SetRcode(ask("x.example.", dns.TypeA), c.rcode)
			for _, s := range c.answer {
				m.Answer = append(m.Answer, record(s))
			}
			for _, s := range c.ns {
				m.Ns = append(m.Ns, record(s))
			}
			if got := lifetime(m); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
			now := time.Unix(1000, 0)
			ca := newCache(1<<20, &Stats{})
			ca.now = func() time.Time { return now }
			ca.store("k", m)
			if got := ca.message("k") != nil; got != (c.want > 0) {
				t.Fatalf("kept: %v", got)
			}
			if now = now.Add(c.want - 1); c.want > 0 && ca.message("k") == nil {
				t.Error("gone too early")
			}
			if now = now.Add(1); ca.message("k") != nil || ca.used != 0 || len(ca.by) != 0 {
				t.Error("kept too long")
			}
		})
	}
}

// TestCacheAge lets an answer grow old; both ways to it say the same.
func TestCacheAge(t *testing.T) {
	nettest.CheckLeaks(t)
	s := newFakeServer(t, zoneData{"x.example. A": "192.0.2.1"})
	stats := &Stats{}
	f := forwarder(stats, 5*time.Second, s)
	now := time.Now()
	f.cache.now = func() time.Time { return now }
	v := NewTable(TableConfig{}).NewView(ViewConfig{Networks: on("n"), Forwarder: f})
	q := ask("X.Example.", dns.TypeA)
	via(t, f, q)
	now = now.Add(100*time.Second + 500*time.Millisecond)
	for _, edns := range []bool{false, true} {
		q := q.Copy()
		if edns {
			q.SetEdns0(1232, false)
		}
		m := quick(t, v, q)
		if m == nil || len(m.Answer) != 1 || m.Answer[0].Header().Ttl != 200 || m.Question[0].Name != "X.Example." || m.Id != q.Id || m.Authoritative || (m.IsEdns0() != nil) != edns {
			t.Errorf("the short way: %v", m)
		}
	}
	if m, _ := f.ask(t.Context(), q, "x.example."); len(m.Answer) != 1 || m.Answer[0].Header().Ttl != 200 {
		t.Errorf("the long way: %v", m)
	}
	if s.asked("x.example.") != 1 || stats.Get(AnsweredCached) != 3 {
		t.Errorf("asked %d times, %d from the cache", s.asked("x.example."), stats.Get(AnsweredCached))
	}
	for _, other := range []func(m *dns.Msg){
		func(m *dns.Msg) { m.CheckingDisabled = true }, func(m *dns.Msg) { m.SetEdns0(1232, true) }, func(m *dns.Msg) { m.RecursionDesired = false },
		func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }, func(m *dns.Msg) { m.Question[0].Name = "y.example." },
	} {
		q := q.Copy()
		other(q)
		if m := quick(t, v, q); m != nil {
			t.Errorf("another question is answered with it: %v", m)
		}
	}
	if off := NewForwarder(ForwarderConfig{Cache: -1}); off.cache != nil || off.answer(packed(t, q), nil, &question{}, 512) != 0 {
		t.Error("the cache is not off")
	}
}

// TestCacheBound fills a cache: it stays within its bytes, and who is used stays.
func TestCacheBound(t *testing.T) {
	stats := &Stats{}
	c := newCache(20000, stats)
	fill := func(name string) {
		m := new(dns.Msg).SetReply(ask(name, dns.TypeA))
		m.Answer = []dns.RR{record(name + " 60 IN A 192.0.2.1")}
		c.store(name, m)
	}
	fill("keep.")
	for i := range 1000 {
		fill(fmt.Sprintf("n%d.", i))
		if c.message("keep.") == nil {
			t.Fatal("what is used was evicted")
		}
	}
	if c.used > c.bytes || len(c.by) != c.lru.Len() || len(c.by) < 40 || stats.Get(Evicted) != uint64(1001-len(c.by)) {
		t.Errorf("%d bytes of %d, %d and %d entries, %d evicted", c.used, c.bytes, len(c.by), c.lru.Len(), stats.Get(Evicted))
	}
	huge := new(dns.Msg).SetReply(ask("huge.", dns.TypeTXT))
	for range 100 {
		huge.Answer = append(huge.Answer, &dns.TXT{Hdr: header("huge.", dns.TypeTXT, 60), Txt: []string{fmt.Sprintf("%0200d", 1)}})
	}
	if c.store("huge.", huge); c.message("huge.") != nil {
		t.Error("one answer took most of the cache")
	}
}
