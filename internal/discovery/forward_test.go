package discovery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weft/internal/nettest"
)

// via has a forwarder ask, and says what came: an rcode, or the answers' values.
func via(t testing.TB, f *Forwarder, q *dns.Msg) string {
	t.Helper()
	m, err := f.ask(context.Background(), q, q.Question[0].Name)
	switch {
	case err != nil:
		return err.Error()
	case m.Rcode != dns.RcodeSuccess:
		return dns.RcodeToString[m.Rcode]
	}
	var out []string
	for _, rr := range m.Answer {
		out = append(out, rdata(rr))
	}
	if m.Truncated {
		out = append(out, "truncated")
	}
	return strings.Join(out, " ")
}

func forwarder(stats *Stats, timeout time.Duration, servers ...*fakeServer) *Forwarder {
	c := ForwarderConfig{Dial: plainDial, Timeout: timeout, Stats: stats}
	for _, s := range servers {
		c.Servers = append(c.Servers, Upstream{Addr: s.addr})
	}
	return NewForwarder(c)
}

// rcode has a server answer everything so.
func rcode(t *testing.T, rcode int) func(q *dns.Msg, tcp bool) [][]byte {
	return func(q *dns.Msg, _ bool) [][]byte { return [][]byte{packed(t, new(dns.Msg).SetRcode(q, rcode))} }
}

func silence(*dns.Msg, bool) [][]byte { return nil }

// TestForwardingRules is which server's answer is given on.
func TestForwardingRules(t *testing.T) {
	nettest.CheckLeaks(t)
	data := zoneData{"x. A": "192.0.2.2"}
	for _, c := range []struct {
		rule  string
		first func(*dns.Msg, bool) [][]byte
		ask   string
		want  string
	}{
		{"in order", nil, "x.", "192.0.2.1"},
		{"SERVFAIL: the next", rcode(t, dns.RcodeServerFailure), "x.", "192.0.2.2"},
		{"REFUSED: the next", rcode(t, dns.RcodeRefused), "x.", "192.0.2.2"},
		{"NXDOMAIN is final", rcode(t, dns.RcodeNameError), "x.", "NXDOMAIN"},
		{"FORMERR without EDNS is final", rcode(t, dns.RcodeFormatError), "x.", "FORMERR"},
		{"no answer in time: the next", silence, "x.", "192.0.2.2"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			one, two := newFakeServer(t, zoneData{"x. A": "192.0.2.1"}), newFakeServer(t, data)
			if c.first != nil {
				one.set(c.first)
			}
			timeout := 5 * time.Second
			if c.want == "192.0.2.2" {
				timeout = time.Second
			}
			f := forwarder(&Stats{}, timeout, one, two)
			if got := via(t, f, ask(c.ask, dns.TypeA)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	t.Run("nothing worked: an error", func(t *testing.T) {
		one := newFakeServer(t, nil)
		one.set(rcode(t, dns.RcodeServerFailure))
		f := forwarder(&Stats{}, 200*time.Millisecond, one)
		if got := via(t, f, ask("x.", dns.TypeA)); got != errNoAnswer.Error() {
			t.Error(got)
		}
	})
	t.Run("up to 3 servers, not its own address", func(t *testing.T) {
		u := func(s string, host bool) Upstream { return Upstream{netip.MustParseAddrPort(s), host} }
		f := NewForwarder(ForwarderConfig{Dial: plainDial, HostDial: plainDial, Own: netip.MustParseAddr("127.0.0.11"),
			Servers: []Upstream{u("127.0.0.11:53", false), u("127.0.0.11:53", true), u("192.0.2.1:53", false), u("192.0.2.2:53", false), u("192.0.2.3:53", false)}})
		if len(f.servers) != 3 || !f.servers[0].Host || f.servers[2].Addr.Addr().String() != "192.0.2.2" {
			t.Errorf("%+v", f.servers)
		}
	})
	t.Run("a server that hung is asked last", func(t *testing.T) {
		one, two, stats := newFakeServer(t, nil), newFakeServer(t, data), &Stats{}
		one.set(silence)
		f := forwarder(stats, time.Second, one, two)
		for range 2 {
			f.cache = newCache(1<<20, stats)
			if got := via(t, f, ask("x.", dns.TypeA)); got != "192.0.2.2" {
				t.Fatal(got)
			}
		}
		if one.asked("x.") != 1 || stats.Get(Timeouts) != 1 {
			t.Errorf("asked %d times, %d timeouts", one.asked("x."), stats.Get(Timeouts))
		}
	})
	t.Run("zones: the longest name", func(t *testing.T) {
		all, corp, lab := newFakeServer(t, data), newFakeServer(t, zoneData{"a.corp. A": "192.0.2.3"}), newFakeServer(t, zoneData{"a.lab.corp. A": "192.0.2.4"})
		f := NewForwarder(ForwarderConfig{Dial: plainDial, Servers: []Upstream{{Addr: all.addr}}, Zones: []ForwardZone{{"corp", []Upstream{{Addr: corp.addr}}}, {"Lab.Corp.", []Upstream{{Addr: lab.addr}}}}})
		for name, want := range map[string]string{"a.corp.": "192.0.2.3", "A.LAB.corp.": "192.0.2.4", "x.": "192.0.2.2", "notcorp.": "NXDOMAIN", "b.corp.": "NXDOMAIN"} {
			if got := via(t, f, ask(name, dns.TypeA)); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		if all.asked("notcorp.") != 1 || corp.asked("b.corp.") != 1 {
			t.Error("asked the wrong server")
		}
	})
}

// TestHostileServers forwards to servers that lie. The honest answer, which comes last,
// counts.
func TestHostileServers(t *testing.T) {
	nettest.CheckLeaks(t)
	good := zoneData{"x.example. A": "192.0.2.1"}
	change := func(f func(m *dns.Msg)) func(*dns.Msg, bool) [][]byte {
		return func(q *dns.Msg, _ bool) [][]byte {
			bad, ok := good.answer(q), good.answer(q)
			bad.Answer = []dns.RR{record("x.example. 300 IN A 203.0.113.66")}
			f(bad)
			return [][]byte{packed(t, bad), packed(t, ok)}
		}
	}
	for _, c := range []struct {
		lie     string
		answer  func(*dns.Msg, bool) [][]byte
		want    string
		counter Counter
	}{
		{"wrong id", change(func(m *dns.Msg) { m.Id++ }), "192.0.2.1", Spoofed},
		{"another name", change(func(m *dns.Msg) { m.Question[0].Name = "y.example." }), "192.0.2.1", Spoofed},
		{"another type", change(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT }), "192.0.2.1", Spoofed},
		{"another class", change(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "192.0.2.1", Spoofed},
		{"no question", change(func(m *dns.Msg) { m.Question = nil }), "192.0.2.1", Spoofed},
		{"two questions", change(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), "192.0.2.1", Spoofed},
		{"a question", change(func(m *dns.Msg) { m.Response = false }), "192.0.2.1", Spoofed},
		{"another opcode", change(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), "192.0.2.1", Spoofed},
		{"rubbish", func(q *dns.Msg, _ bool) [][]byte { return [][]byte{{}, {1, 2, 3}, packed(t, good.answer(q))} }, "192.0.2.1", Spoofed},
		{"cut off", func(q *dns.Msg, _ bool) [][]byte { b := packed(t, good.answer(q)); return [][]byte{b[:len(b)-2], b} }, "192.0.2.1", Spoofed},
		{"a flood", func(q *dns.Msg, _ bool) (out [][]byte) {
			m := good.answer(q)
			for range maxSpoofed + 8 { // what a socket's buffer holds
				m.Id++
				out = append(out, packed(t, m))
			}
			return out
		}, errNoAnswer.Error(), Spoofed},
		{"hangs", silence, errNoAnswer.Error(), Timeouts},
		{"truncated: TCP", func(q *dns.Msg, tcp bool) [][]byte {
			m := good.answer(q)
			if !tcp {
				m.Truncated, m.Answer = true, nil
			}
			return [][]byte{packed(t, m)}
		}, "192.0.2.1", RetriedTCP},
		{"truncated, TCP hangs", func(q *dns.Msg, tcp bool) [][]byte {
			m := good.answer(q)
			m.Truncated = true
			if tcp {
				return nil
			}
			return [][]byte{packed(t, m)}
		}, "192.0.2.1 truncated", RetriedTCP},
		{"truncated, TCP lies", func(q *dns.Msg, tcp bool) [][]byte {
			m := good.answer(q)
			if m.Truncated = !tcp; tcp {
				m.Id++
			}
			return [][]byte{packed(t, m)}
		}, "192.0.2.1 truncated", Spoofed},
		{"records of other names", change(func(m *dns.Msg) {
			m.Answer = append(m.Answer, record("bank.example. 300 IN A 203.0.113.66"), record("x.example. 300 CH TXT no"))
			m.Answer[0] = record("x.example. 300 IN A 192.0.2.1")
			m.Extra = append(m.Extra, record("bank.example. 300 IN A 203.0.113.66"))
			m.Ns = append(m.Ns, record("example. 300 IN NS evil."))
		}), "192.0.2.1", AnsweredRemote},
		{"an alias that loops", change(func(m *dns.Msg) {
			m.Answer = []dns.RR{record("x.example. 300 IN CNAME y.example."), record("y.example. 300 IN CNAME x.example."), record("z.example. 300 IN A 203.0.113.66")}
		}), "y.example. x.example.", AnsweredRemote},
		{"an alias, its records before it", change(func(m *dns.Msg) {
			m.Answer = []dns.RR{record("y.example. 300 IN A 192.0.2.9"), record("X.example. 300 IN CNAME Y.example.")}
		}), "192.0.2.9 Y.example.", AnsweredRemote},
	} {
		t.Run(c.lie, func(t *testing.T) {
			s, stats := newFakeServer(t, nil), &Stats{}
			s.set(c.answer)
			timeout := 5 * time.Second
			if strings.Contains(c.lie, "hangs") || c.lie == "a flood" {
				timeout = 500 * time.Millisecond
			}
			f := forwarder(stats, timeout, s)
			if got := via(t, f, ask("x.example.", dns.TypeA)); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if stats.Get(c.counter) == 0 {
				t.Errorf("%s is 0", c.counter)
			}
			if c.lie == "a flood" && (stats.Get(Spoofed) != maxSpoofed || stats.Get(Timeouts) != 0) {
				t.Errorf("gave up after %d wrong answers, %d timeouts", stats.Get(Spoofed), stats.Get(Timeouts))
			}
			if m := f.cache.message(string(appendKey(nil, []byte("bank.example"), dns.TypeA, false, false))); m != nil {
				t.Errorf("the cache believes %v", m)
			}
		})
	}
}

// TestOtherSource has somebody answer who knows ID, question and port, and is not the server.
func TestOtherSource(t *testing.T) {
	nettest.CheckLeaks(t)
	server, liar := newPacketConn(t), newPacketConn(t)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer server.Close()
	defer liar.Close()
	wg.Go(func() {
		b := make([]byte, 512)
		n, from, err := server.ReadFrom(b)
		q := new(dns.Msg)
		if err != nil || q.Unpack(b[:n]) != nil {
			return
		}
		liar.WriteTo(packed(t, zoneData{"x. A": "203.0.113.66"}.answer(q)), from)
		server.WriteTo(packed(t, zoneData{"x. A": "192.0.2.1"}.answer(q)), from)
	})
	f := NewForwarder(ForwarderConfig{Dial: plainDial, Servers: []Upstream{{Addr: server.LocalAddr().(*net.UDPAddr).AddrPort()}}})
	if got := via(t, f, ask("x.", dns.TypeA)); got != "192.0.2.1" {
		t.Error(got)
	}
}

// TestUnguessable asks many questions: IDs and ports are not to be foreseen.
func TestUnguessable(t *testing.T) {
	nettest.CheckLeaks(t)
	s := newFakeServer(t, nil)
	f := forwarder(&Stats{}, 5*time.Second, s)
	ids := map[uint16]bool{}
	for i := range 64 {
		q := ask(fmt.Sprintf("n%d.", i), dns.TypeA)
		q.Id = 7
		via(t, f, q)
	}
	steps := map[uint16]bool{}
	last := uint16(0)
	for _, q := range s.queries() {
		ids[q.Id], steps[q.Id-last] = true, true
		last = q.Id
	}
	if len(ids) < 60 || len(steps) < 60 || len(s.ports) < 50 {
		t.Errorf("%d IDs in %d steps and %d ports for 64 questions", len(ids), len(steps), len(s.ports))
	}
}

// TestPassing is what of a query goes on to a server, and of the answer to the client.
func TestPassing(t *testing.T) {
	nettest.CheckLeaks(t)
	s := newFakeServer(t, zoneData{"x. A": "192.0.2.1"})
	f := forwarder(&Stats{}, 5*time.Second, s)
	q := ask("x.", dns.TypeA)
	q.SetEdns0(4096, true)
	q.CheckingDisabled, q.AuthenticatedData = true, true
	q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"},
		&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0)}}
	for range 2 { // an answer for a subnet is not another's: not kept
		via(t, f, q)
	}
	via(t, f, ask("x.", dns.TypeA))
	seen := s.queries()
	if len(seen) != 3 {
		t.Fatalf("asked %d times, want 3", len(seen))
	}
	o := seen[0].IsEdns0()
	if o == nil || o.UDPSize() != ednsSize || !o.Do() || len(o.Option) != 1 || o.Option[0].Option() != dns.EDNS0SUBNET || !seen[0].CheckingDisabled || !seen[0].AuthenticatedData {
		t.Errorf("passed on: %v", seen[0])
	}
	if seen[2].IsEdns0() != nil || seen[2].CheckingDisabled {
		t.Errorf("passed on without EDNS: %v", seen[2])
	}
	t.Run("a server without EDNS", func(t *testing.T) {
		s := newFakeServer(t, nil)
		s.set(func(q *dns.Msg, _ bool) [][]byte {
			if q.IsEdns0() != nil {
				return rcode(t, dns.RcodeFormatError)(q, false)
			}
			return [][]byte{packed(t, zoneData{"x. A": "192.0.2.1"}.answer(q))}
		})
		q := ask("x.", dns.TypeA)
		q.SetEdns0(1232, false)
		if got := via(t, forwarder(&Stats{}, 5*time.Second, s), q); got != "192.0.2.1" {
			t.Error(got)
		}
	})
}

// TestConcurrency has a server hang: so many questions wait for it, one more is
// refused, the same question is asked once, and another server's are answered
// meanwhile.
func TestConcurrency(t *testing.T) {
	nettest.CheckLeaks(t)
	hung, good := newFakeServer(t, nil), newFakeServer(t, zoneData{"a.good. A": "192.0.2.1"})
	hung.set(silence)
	stats := &Stats{}
	f := NewForwarder(ForwarderConfig{Dial: plainDial, Timeout: time.Minute, Concurrency: 20, Stats: stats,
		Servers: []Upstream{{Addr: hung.addr}}, Zones: []ForwardZone{{"good", []Upstream{{Addr: good.addr}}}}})
	tb := NewTable(TableConfig{})
	v := tb.NewView(ViewConfig{Networks: on("n"), Forwarder: f})
	s, addr := serve(t, ServerConfig{View: v.ForAll, Stats: stats})
	var wg sync.WaitGroup
	for i := range 19 {
		wg.Go(func() { exchange(t, "udp", addr, ask(fmt.Sprintf("n%d.", i/2), dns.TypeA), 200*time.Millisecond) })
	}
	wg.Wait()
	underWay := func(n int64) {
		for end := time.Now().Add(10 * time.Second); f.active.Load() != n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d are under way, want %d", f.active.Load(), n)
			}
		}
	}
	underWay(19)
	if m := exchange(t, "udp", addr, ask("a.good.", dns.TypeA), 5*time.Second); m == nil || len(m.Answer) != 1 {
		t.Errorf("the good server's answer: %v", m)
	}
	exchange(t, "udp", addr, ask("n99.", dns.TypeA), 100*time.Millisecond)
	underWay(20)
	if m := exchange(t, "udp", addr, ask("b.good.", dns.TypeA), 5*time.Second); m == nil || m.Rcode != dns.RcodeRefused {
		t.Errorf("one too many: %v, want REFUSED", m)
	}
	if n := stats.Get(Joined); n != 9 || hung.asked("n3.") != 1 {
		t.Errorf("%d joined, want 9; asked %d times", n, hung.asked("n3."))
	}
	start := time.Now()
	s.Close()
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("Close took %v with questions under way", d)
	}
}

// exchange asks a server as a client does; nil if there is no answer.
func exchange(t testing.TB, network string, addr netip.AddrPort, q *dns.Msg, timeout time.Duration) *dns.Msg {
	t.Helper()
	m, _, err := (&dns.Client{Net: network, Timeout: timeout}).Exchange(q, addr.String())
	if err != nil {
		return nil
	}
	return m
}

// TestQuery asks a view without a socket.
func TestQuery(t *testing.T) {
	nettest.CheckLeaks(t)
	s := newFakeServer(t, zoneData{"far.example. TXT": `"hi"`})
	f := NewForwarder(ForwarderConfig{Dial: plainDial, Timeout: 5 * time.Second, Concurrency: 1, Servers: []Upstream{{Addr: s.addr}}})
	v := world(t).NewView(ViewConfig{Networks: on("front"), Forwarder: f})
	for _, c := range []struct{ name, kind, want string }{
		{"rose", "", "NOERROR true [rose. 5 IN A 10.0.1.2] <nil>"},
		{"Rose.front.", "aaaa", "NOERROR true [Rose.front. 5 IN AAAA fd00:1::2] <nil>"},
		{"lily", "AAAA", "NOERROR true [] <nil>"},
		{"far.example", "TXT", `NOERROR false [far.example. 300 IN TXT "hi"] <nil>`},
		{"nobody", "A", "NXDOMAIN false [] <nil>"},
		{"rose", "XYZ", ` false [] invalid record: type "XYZ" is not known`},
		{"a..b", "A", ` false [] invalid record: "a..b" is no name`},
	} {
		r, err := v.Query(t.Context(), c.name, c.kind)
		if got := fmt.Sprint(r.Rcode, " ", r.Local, " ", r.Records, " ", err); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.name, c.kind, got, c.want)
		}
	}
	f.acquire()
	if r, _ := v.Query(t.Context(), "other.example", "A"); r.Rcode != "REFUSED" {
		t.Errorf("one too many: %v", r)
	}
}
