package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

func ask(name string, kind uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, kind) }

func packed(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// quick answers by the short way, nil if that is not possible.
func quick(t testing.TB, v *View, m *dns.Msg) *dns.Msg {
	t.Helper()
	tn := turn{out: make([]byte, maxUDP)}
	msg := packed(t, m)
	if !tn.q.parse(msg, tn.name[:]) || !isAddress(tn.q.qtype) {
		return nil
	}
	n := v.answer(msg, tn.out, &tn.q, false)
	if n == 0 {
		return nil
	}
	r := new(dns.Msg)
	if err := r.Unpack(tn.out[:n]); err != nil {
		t.Fatalf("%s: %v", m.Question[0].String(), err)
	}
	return r
}

// slow answers by the library.
func slow(t testing.TB, v *View, m *dns.Msg) *dns.Msg {
	t.Helper()
	does, q, a := check(packed(t, m), v.table.stats)
	if does == forward {
		if p := v.local(q, a, v.table.stats); p != nil {
			return nil
		}
	}
	r := new(dns.Msg)
	if err := r.Unpack(pack(a, nil, udpSize(q), v.table.stats)); err != nil {
		t.Fatal(err)
	}
	return r
}

// canon is a message as text, its answers in order.
func canon(m *dns.Msg) string {
	for _, of := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		slices.SortFunc(of, func(a, b dns.RR) int { return cmpString(a.String(), b.String()) })
	}
	return m.String()
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// many adds names with n addresses of each family.
func many(t testing.TB, tb *Table, network string, sizes ...int) {
	for _, n := range sizes {
		for i := 0; i < n; i += maxAddrs {
			e := ep(network, fmt.Sprint("m", n, "-", i), fmt.Sprint("m", n), "")
			for j := i; j < min(n, i+maxAddrs); j++ {
				e.Addrs = append(e.Addrs, netip.AddrFrom4([4]byte{10, 50, byte(j >> 8), byte(j)}), netip.AddrFrom16([16]byte{0xfd, 14: byte(j >> 8), 15: byte(j)}))
			}
			half := e
			half.ID, half.Addrs = e.ID+"b", nil
			if len(e.Addrs) > maxAddrs {
				half.Addrs, e.Addrs = e.Addrs[maxAddrs:], e.Addrs[:maxAddrs]
			}
			update(t, tb, e, half)
		}
	}
}

// TestDifferential holds the short way against the library's: the same answers, to the
// byte where nothing is random.
func TestDifferential(t *testing.T) {
	tb := world(t)
	many(t, tb, "front", 20, 28, 29, 40, 300)
	update(t, tb, Static{Network: "front", Name: "st.example", Type: "A", Values: []string{"192.0.2.1"}, TTL: -1},
		Static{Network: "front", Name: "ttl.example", Type: "AAAA", Values: []string{"2001:db8::1"}, TTL: 77e9},
		Static{Network: "front", Name: "text.example", Type: "TXT", Values: []string{"x"}}, Static{Name: "*.wild", Type: "A", Values: []string{"192.0.2.2"}})
	v := tb.NewView(ViewConfig{Networks: on("front", "back")})
	names := []string{"rose.", "ROSE.", "lily.", "flower.", "web.", "tasks.web.", "rr.", "none.", "rose.front.", "dotted.name.", "only.Back.Net.", "m20.", "m28.",
		"m29.", "m40.", "m300.", "st.example.", "ttl.example.", "text.example.", "a.wild.", "b.a.wild.", "nobody.", "."}
	quickly := 0
	for _, name := range names {
		for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT} {
			for _, size := range []int{0, 100, 512, 513, 1232, 4096, 65535} {
				for flags := range 8 {
					m := ask(name, kind)
					m.Id, m.RecursionDesired, m.CheckingDisabled = uint16(size+flags), flags&1 != 0, flags&2 != 0
					if size > 0 {
						m.SetEdns0(uint16(size), flags&4 != 0)
					}
					q, s := quick(t, v, m), slow(t, v, m)
					if q == nil {
						continue
					}
					quickly++
					if s == nil {
						t.Fatalf("%s %d: only the short way knows it", name, kind)
					}
					if q.Truncated || s.Truncated { // random parts: as many, and each one of the whole
						if q.Truncated != s.Truncated || len(q.Answer) != len(s.Answer) {
							t.Fatalf("%s %d size %d: truncated %v with %d answers, %v with %d", name, kind, size, q.Truncated, len(q.Answer), s.Truncated, len(s.Answer))
						}
						q.Answer, s.Answer = nil, nil
					}
					if a, b := canon(q), canon(s); a != b {
						t.Fatalf("%s %d size %d:\n%s\nthe library says\n%s", name, kind, size, a, b)
					}
				}
			}
		}
	}
	if quickly < 1500 {
		t.Errorf("only %d questions went the short way", quickly)
	}
}

// TestAllocation counts what an answer to a question for addresses allocates: nothing.
func TestAllocation(t *testing.T) {
	tb := world(t)
	v := tb.NewView(ViewConfig{Networks: on("back", "front")})
	tn := turn{out: make([]byte, maxUDP)}
	s := NewServer(ServerConfig{View: v.ForAll})
	defer s.Close()
	for _, name := range []string{"rose.", "flower.", "tasks.web.front.", "lily."} {
		for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
			msg := packed(t, ask(name, kind))
			if n := testing.AllocsPerRun(100, func() { s.respond(&tn, v, netip.Addr{}, msg, false) }); n > 0 {
				t.Errorf("%s %d: %v allocations", name, kind, n)
			}
		}
	}
}
